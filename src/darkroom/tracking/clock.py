"""The time of a run: that of the wall when it begins, and from then on by a clock that nobody sets."""

import time


class Clock:
    """Milliseconds since 1970 that only go forward, however the computer's clock is set meanwhile."""

    def __init__(self, not_before: int = 0) -> None:
        self.began = max(int(time.time() * 1000), not_before)
        self._since = time.monotonic()

    def now(self) -> int:
        """Return the time."""
        return self.began + int((time.monotonic() - self._since) * 1000)
