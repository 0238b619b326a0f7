"""The curves of training: what each step returned, averaged over a stretch of images."""

import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from darkroom.callbacks.cadence import Cadence
from darkroom.errors import Failure
from darkroom.models.model import Model
from darkroom.tracking.run import Run


class Diverged(Failure):
    """A loss, or a weight, is not a number any more."""

    @classmethod
    def of(cls, what: str, images: int, best: Path) -> "Diverged":
        """Say what it was, when, and what may help; and where the best state is, if one was kept."""
        kept = f"; {best} holds the best state so far" if best.exists() else ""
        return cls(
            f"{what} became NaN or infinite after {images:,} images: lower the learning rate, raise the penalty, or"
            f" train in precision=32{kept}."
        )


class Curves(pl.Callback):
    """Log the mean of every curve each ``every`` images, with images per second, on the axis of images seen.

    Sums stay on the device until they are due, so that nothing waits for the accelerator in between.

    Raises:
        Diverged: a curve is NaN or infinite when it is due, and nobody has asked to be ``forgiving``.
    """

    def __init__(self, run: Run | None, every: int) -> None:
        self.run = run
        self.best = run.folder / "checkpoints" / "best.ckpt" if run is not None else Path("best.ckpt")
        self.cadence = Cadence(every)
        self.forgiving = False
        self.latest: dict[str, float] = {}
        self._sums: dict[str, Tensor] = {}
        self._steps = 0
        self._seen = 0
        self._counted_from = 0
        self._since = 0.0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock."""
        assert isinstance(pl_module, Model)
        self._seen = self._counted_from = pl_module.images_seen
        self._since = time.monotonic()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Add this step; log when due."""
        assert isinstance(pl_module, Model)
        for name, value in outputs.items():
            value = value.detach().float()
            self._sums[name] = self._sums[name] + value if name in self._sums else value
        self._steps += 1
        before, self._seen = self._seen, pl_module.images_seen
        if not self.cadence.due(before, self._seen):
            return
        now = time.monotonic()
        self.latest = {name: float(total) / self._steps for name, total in self._sums.items()}
        self._sums, self._steps = {}, 0
        broken = _broken(self.latest)
        speed = (self._seen - self._counted_from) / max(now - self._since, 1e-9)
        self._counted_from, self._since = self._seen, now
        if self.run is not None and trainer.is_global_zero:
            curves = {f"train/{name}": value for name, value in self.latest.items()}
            optimizer = pl_module._optimizers()[-1]
            curves["train/learning_rate"] = optimizer.param_groups[0]["lr"]
            self.run.log_metrics({**curves, "train/images_per_second": speed}, step=self._seen)
        self.latest["images_per_second"] = speed
        self._refuse(broken)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """See that what was summed since the last point is still a number."""
        self._refuse(_broken(self.means()))

    def _refuse(self, broken: list[str]) -> None:
        if broken and not self.forgiving:
            raise Diverged.of(", ".join(broken), self._seen, self.best)

    def means(self) -> dict[str, float]:
        """Return the mean of every curve since the last point, or that point when nothing has come since."""
        return {name: float(total) / self._steps for name, total in self._sums.items()} or self.latest

    def reset(self) -> None:
        """Drop what was summed: the steps have been undone."""
        self.latest, self._sums, self._steps = {}, {}, 0

    def state_dict(self) -> dict[str, Any]:
        """Return the sums not yet logged."""
        return {"sums": dict(self._sums), "steps": self._steps}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up the sums not yet logged."""
        self._sums, self._steps = {k: torch.as_tensor(v) for k, v in state_dict["sums"].items()}, state_dict["steps"]


def _broken(values: Mapping[str, float]) -> list[str]:
    return [name for name, value in values.items() if not math.isfinite(value)]
