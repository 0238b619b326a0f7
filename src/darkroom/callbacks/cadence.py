"""When something is due that happens every so many images."""


class Cadence:
    """Due whenever ``images`` more real images have been seen, counted from the start of training.

    The answer depends on the count alone: a run that continues asks and gets the same as one that never stopped.
    """

    def __init__(self, images: int) -> None:
        self.images = images

    def due(self, before: int, after: int) -> bool:
        """Say whether a multiple of the interval lies in ``(before, after]``."""
        return after // self.images > before // self.images
