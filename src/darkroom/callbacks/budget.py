"""How long to train, and how much of that is spent."""

import time
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from darkroom.models.model import Model

# The fraction moves in steps of this size when minutes set the pace, so that the whole pace is a short list which a
# later run can follow to the bit.
_GRAIN = 0.002


class Budget(pl.Callback):
    """Stop when the images or the minutes are spent, and tell the model how far it has come.

    Minutes are those of training, validation included, summed over every time the run was resumed. ``pace`` is the
    record ``[images, fraction]`` of an earlier run: with it, the clock is not read at all.
    """

    def __init__(self, images: int | None, minutes: float | None, pace: list[list[float]] | None = None) -> None:
        self.images = images
        self.seconds = minutes * 60 if minutes else None
        self.followed = pace
        self.pace: list[list[float]] = []
        self.elapsed = 0.0
        self.finished = False
        self._since = 0.0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock where it stood."""
        self._since = time.monotonic()

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, index: int) -> None:
        """Set the fraction for this step."""
        now = time.monotonic()
        self.elapsed, self._since = self.elapsed + now - self._since, now
        self._advance(trainer, pl_module)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Stop after the step that spends the budget.

        The clock is read before a step and not after it, so that a run that follows a pace stops where this one does.
        """
        assert isinstance(pl_module, Model)
        images_spent = self.images is not None and pl_module.images_seen >= self.images
        self.finished = pl_module.fraction >= 1.0 or images_spent
        if self.finished:
            trainer.should_stop = True

    def _advance(self, trainer: pl.Trainer, model: pl.LightningModule) -> None:
        assert isinstance(model, Model)
        model.fraction = min(1.0, self._spent(trainer, model))

    def _spent(self, trainer: pl.Trainer, model: pl.LightningModule) -> float:
        assert isinstance(model, Model)
        seen = model.images_seen
        if self.followed is not None:
            return max((fraction for images, fraction in self.followed if images <= seen), default=0.0)
        by_images = seen / self.images if self.images else 0.0
        if self.seconds is None:
            return by_images
        spent = max(by_images, self._share_of_time(trainer))
        last = self.pace[-1][1] if self.pace else -1.0
        if spent >= last + _GRAIN or spent >= 1.0 > last:
            self.pace.append([seen, spent])
            last = spent
        return last

    def _share_of_time(self, trainer: pl.Trainer) -> float:
        assert self.seconds is not None
        share = self.elapsed / self.seconds
        if trainer.world_size > 1:  # every process must stop at the same step: the first one's clock counts
            agreed: Tensor = trainer.strategy.broadcast(torch.tensor(share))
            share = float(agreed)
        return share

    def state_dict(self) -> dict[str, Any]:
        """Return the time spent, the pace so far, and whether that was all."""
        return {"elapsed": self.elapsed, "pace": self.pace, "finished": self.finished}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up the time spent and the pace so far."""
        self.elapsed, self.pace = state_dict["elapsed"], state_dict["pace"]
