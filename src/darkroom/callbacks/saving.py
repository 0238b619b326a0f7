"""The two checkpoints of a run: ``last``, to continue from, and ``best``, to use."""

import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from darkroom.tracking.run import Run


class Checkpoints(pl.Callback):
    """Save ``last`` every so many minutes, at the end and at an interruption; save ``best`` when told to.

    Two files with two reasons: a ``last`` that only moves with the best would leave nothing to continue from.
    ``description`` is stored in every checkpoint: plain containers that suffice to build the model again.
    """

    def __init__(self, folder: Path, every_minutes: float, description: dict[str, Any], run: Run | None) -> None:
        self.folder = folder
        self.seconds = every_minutes * 60
        self.description = description
        self.run = run
        self._saved = time.monotonic()

    def path(self, which: str) -> Path:
        """Return the file of ``best`` or ``last``."""
        return self.folder / f"{which}.ckpt"

    def save(self, trainer: pl.Trainer, which: str) -> None:
        """Write a checkpoint; every process of a distributed run must call this."""
        if self.run is not None and trainer.is_global_zero:
            self.run.sync()  # a run that goes on from here does not compute again what was measured before
        trainer.save_checkpoint(self.path(which), weights_only=False)
        if which == "last":
            self._saved = time.monotonic()

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start counting minutes."""
        self._saved = time.monotonic()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save ``last`` when due and when training stops; as the last callback, so that the others' state is whole."""
        due = trainer.should_stop or time.monotonic() - self._saved > self.seconds
        if trainer.strategy.reduce_boolean_decision(due, all=False):
            self.save(trainer, "last")

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Put into the checkpoint what it takes to build the model without any file beside it."""
        checkpoint["darkroom"] = self.description
