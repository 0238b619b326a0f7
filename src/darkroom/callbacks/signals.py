"""An interruption that loses nothing."""

import signal
import threading
from types import FrameType
from typing import Any

import pytorch_lightning as pl
import torch

LISTENED = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)


class Signals(pl.Callback):
    """On SIGINT, SIGTERM or SIGUSR1 finish the step and stop training; a second signal stops at once.

    SIGUSR1 is what a queue sends before a job's time is up. ``received`` is the signal's name, for whoever closes the
    run. Only a process's main thread can listen; trained in another, as on Ray, a run is stopped by whoever started it.
    """

    def __init__(self) -> None:
        self.received: str | None = None
        self._before: dict[int, Any] = {}

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Listen; Lightning's own handlers, which would raise in the middle of a step, were set before."""
        if threading.current_thread() is not threading.main_thread():
            return
        for number in LISTENED:
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
        """Stop if any process of the run was told to: by the same step in all, and for the same reason."""
        own = 1 + LISTENED.index(signal.Signals[self.received]) if self.received else 0
        told = trainer.strategy.reduce(torch.tensor(own, device=trainer.strategy.root_device), reduce_op="max")
        if number := int(told):
            self.received = LISTENED[number - 1].name
            trainer.should_stop = True
