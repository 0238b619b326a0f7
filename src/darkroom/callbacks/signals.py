"""An interruption that loses nothing."""

import signal
from types import FrameType
from typing import Any

import pytorch_lightning as pl

from darkroom.callbacks.checkpoints import Checkpoints


class Signals(pl.Callback):
    """On SIGINT or SIGTERM finish the step, save ``last``, and stop; a second signal stops at once.

    ``received`` is the signal's name, for whoever closes the run.
    """

    def __init__(self, checkpoints: Checkpoints) -> None:
        self.checkpoints = checkpoints
        self.received: str | None = None
        self._before: dict[int, Any] = {}

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Listen."""
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._receive)

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Give the signals back."""
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self.received:
            raise KeyboardInterrupt
        self.received = signal.Signals(number).name

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, index: int) -> None:
        """Between two steps, where the state is whole, do what was asked."""
        received = self.received
        if trainer.world_size > 1:
            received = trainer.strategy.broadcast(received)
        if received:
            self.received = received
            self.checkpoints.save(trainer, "last")
            raise KeyboardInterrupt
