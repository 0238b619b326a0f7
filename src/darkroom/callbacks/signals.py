"""An interruption that loses nothing."""

import signal
from types import FrameType
from typing import Any

import pytorch_lightning as pl


class Signals(pl.Callback):
    """On SIGINT or SIGTERM finish the step and stop training; a second signal stops at once.

    ``received`` is the signal's name, for whoever closes the run.
    """

    def __init__(self) -> None:
        self.received: str | None = None
        self._before: dict[int, Any] = {}

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Listen; Lightning's own handlers, which would raise in the middle of a step, were set before."""
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._receive)

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Give the signals back."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self.received:
            raise KeyboardInterrupt
        self.received = signal.Signals(number).name

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Stop if any process of the run was told to."""
        if trainer.strategy.reduce_boolean_decision(self.received is not None, all=False):
            self.received = self.received or "SIGTERM"
            trainer.should_stop = True
