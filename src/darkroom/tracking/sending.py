"""The thread that sends a run's outbox to the store, at its own pace; training never waits for it."""

import logging
import threading
import time
from collections.abc import Callable
from typing import Protocol

from darkroom.tracking.delivery import refused
from darkroom.tracking.outbox import Entry, Outbox
from darkroom.tracking.secrets import redacted

log = logging.getLogger("darkroom")

CLOSING_SECONDS = 30.0  # that a run which is over waits for a store that is away
_LONGEST_WAIT = 5.0  # between two looks whether it is back
_HANGING_SECONDS = 90.0  # after which a request that is not an upload will not come back
_AWAY = 2  # failures in a row: one alone happens, among many writers


class Recipient(Protocol):
    """What takes the records: see `delivery.Delivery`."""

    def reachable(self) -> None:
        """Raise when nobody answers."""

    def send(self, entries: list[Entry], *, doubtful: bool) -> None:
        """Take a batch or raise."""


class Sender:
    """Sends an outbox in order, batch by batch, each confirmed before the next.

    ``place`` is what a person calls the store. What was in the outbox when it was opened may have been received before.
    """

    def __init__(self, outbox: Outbox, recipient: Recipient, place: str, every: float) -> None:
        self.outbox, self.place = outbox, place
        self._recipient, self._every = recipient, every
        self._doubtful = outbox.end  # what lies before it may have been received
        self._singly = 0  # what lies before it is sent record by record, to find the one that is refused
        self._failures = 0
        self._failing_since: float | None = None
        self._asking_since: float | None = None
        self._uploading = False
        self._stuck = False  # the record that closes the run was refused
        self._told_away = self._told_full = False
        self._changed = threading.Condition()
        self._urgent, self._ended = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._work, name="darkroom-sender", daemon=True)

    def start(self) -> None:
        """Begin to send."""
        self._thread.start()

    def flush(self) -> bool:
        """Wait until all that was recorded so far is in the store; False when the store is away, or refuses."""
        target = self.outbox.end
        self._urgent.set()
        with self._changed:
            self._changed.wait_for(lambda: self._sent(target) or self._hopeless())
        return self._sent(target)

    def close(self, patience: float) -> bool:
        """Send what is left, then stop; False when the store stayed away for ``patience`` seconds and all of it waits.

        An interruption ends the waiting, and nothing else.
        """
        began, target = time.monotonic(), self.outbox.end
        self._urgent.set()
        try:
            with self._changed:
                while not self._sent(target) and not self._gave_up(began, patience):
                    self._changed.wait(0.2)
        finally:
            self._ended.set()
            self._urgent.set()
        self._thread.join(1.0)
        return self._sent(target)

    @property
    def unreachable(self) -> bool:
        """Whether the store was away when it was asked last."""
        return self._failures >= _AWAY

    def _sent(self, target: int) -> bool:
        return self.outbox.sent >= target

    def _hopeless(self) -> bool:
        return self.unreachable or self._stuck or not self._thread.is_alive()

    def _gave_up(self, began: float, patience: float) -> bool:
        now = time.monotonic()
        if self._stuck or not self._thread.is_alive():
            return True
        if self._failing_since is not None and now - max(began, self._failing_since) > patience:
            return True
        asking = self._asking_since
        return asking is not None and not self._uploading and now - max(began, asking) > _HANGING_SECONDS

    def _work(self) -> None:
        while not self._ended.is_set():
            if self._failures:
                self._ended.wait(min(_LONGEST_WAIT, 0.1 * 2**self._failures))
            else:
                self._urgent.wait(self._every)
            self._urgent.clear()
            try:
                self._send_all()
            except Exception as error:  # the thread must outlive whatever is wrong with a record
                if not self._ended.is_set():
                    log.error("The records of a run could not be sent: %s", redacted(str(error)))
                    self._failed(error)

    def _send_all(self) -> None:
        if not self.outbox.waiting or self._stuck or self._ended.is_set():
            return
        if self._failures or self.outbox.full:
            self.outbox.sync()
        if self.outbox.full and not self._told_full:
            self._told_full = True
            log.warning("The disk with %s takes nothing more: what is recorded is kept in memory.", self.outbox.path)
        while self.outbox.waiting and not self._stuck and not self._ended.is_set() and self._send_one():
            pass

    def _send_one(self) -> bool:
        """Send the next batch; say whether to go on."""
        sent = self.outbox.sent
        batch, behind = self.outbox.batch(sent, alone=sent < self._singly)
        if not batch:
            return False
        self._asking_since = time.monotonic()
        self._uploading = batch[0]["kind"] in ("file", "picture", "model", "end")
        try:
            if self._failures:
                self._recipient.reachable()
            self._recipient.send(batch, doubtful=sent < self._doubtful)
        except Exception as error:
            if not refused(error):
                self._doubtful = max(self._doubtful, behind)
                self._failed(error)
                return False
            if len(batch) > 1:
                self._singly = behind
                return True
            self._refused(batch[0], error)
            if self._stuck:
                return False
        finally:
            self._asking_since = None
        self._succeeded(behind)
        return True

    def _succeeded(self, behind: int) -> None:
        self.outbox.confirm(behind)
        self._failures, self._failing_since = 0, None
        if self._told_away:
            self._told_away = False
            log.warning("The run store at %s answers again: what waited is sent to it.", self.place)
        self._notify()

    def _failed(self, error: Exception) -> None:
        if self._ended.is_set():
            return
        self._failures += _AWAY if "timeout" in str(error).lower() else 1  # which has been waited for long enough
        if self._failing_since is None:
            self._failing_since = time.monotonic()
        if self.unreachable and not self._told_away:
            self._told_away = True
            log.warning(
                "The run store at %s does not answer (%s): training goes on, and what is recorded waits in %s.",
                self.place,
                reason(error),
                self.outbox.path,
            )
        self._notify()

    def _refused(self, entry: Entry, error: Exception) -> None:
        """Pass over what the store will never take, which must not keep the rest waiting; but never over the end."""
        self._stuck = entry["kind"] == "end"
        log.error("The run store at %s refuses a record (%s): %s", self.place, entry["kind"], reason(error))
        self._notify()

    def _notify(self) -> None:
        with self._changed:
            self._changed.notify_all()


def drain(outbox: Outbox, recipient: Recipient, say: Callable[[Entry, Exception], None]) -> None:
    """Send an outbox that another process has left, all of which may have been received before.

    Raises:
        Exception: the store is away, or refuses to close the run; what is left stays.
    """
    alone = outbox.sent
    while outbox.waiting:
        batch, behind = outbox.batch(outbox.sent, alone=outbox.sent < alone)
        try:
            recipient.send(batch, doubtful=True)
        except Exception as error:
            if not refused(error) or batch[0]["kind"] == "end":
                raise
            if len(batch) > 1:
                alone = behind
                continue
            say(batch[0], error)
        outbox.confirm(behind)


def reason(error: Exception) -> str:
    """Return why the store did not take something, in one short line without passwords."""
    text = " ".join(redacted(str(error)).split())
    lowered = text.lower()
    for sign, words in (
        ("connection refused", "connection refused"),
        ("timeout", "no answer in time"),
        ("timed out", "no answer in time"),
        ("connection aborted", "the connection was cut"),
        ("connection reset", "the connection was cut"),
        ("locked", "locked by another process"),
    ):
        if sign in lowered:
            return words
    return text[:200] or type(error).__name__
