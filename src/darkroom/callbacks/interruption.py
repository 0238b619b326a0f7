"""An interruption that loses nothing."""

import signal
from types import FrameType
from typing import Any

import pytorch_lightning as pl
import torch

from darkroom import signals
from darkroom.signals import LISTENED


class Signals(pl.Callback):
    """On a signal that asks for the end finish the step and stop training; a second Ctrl-C stops at once.

    Of other signals a second one changes nothing: a terminal that is closed may send SIGHUP twice. ``received`` is the
    first one's name, for whoever closes the run. Only a process's main thread can listen; trained in another, as on
    Ray, a run is stopped by whoever started it.
    """

    def __init__(self) -> None:
        self.received: str | None = None
        self._before: dict[int, Any] = {}

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Listen; Lightning's own handlers, which would raise in the middle of a step, were set before."""
        for number in signals.catchable():
            self._before[number] = signal.signal(number, self._receive)

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Give the signals back."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def _receive(self, number: int, frame: FrameType | None) -> None:
        signals.release_terminal(number)
        if self.received and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.received = self.received or signal.Signals(number).name

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Stop if any process of the run was told to: by the same step in all, and for the same reason."""
        own = 1 + LISTENED.index(signal.Signals[self.received]) if self.received else 0
        told = trainer.strategy.reduce(torch.tensor(own, device=trainer.strategy.root_device), reduce_op="max")
        if number := int(told):
            self.received = LISTENED[number - 1].name
            trainer.should_stop = True
