"""Scores on the validation split while training, and which state was the best."""

import json
from typing import Any

import pytorch_lightning as pl

from darkroom.callbacks.budget import Budget
from darkroom.callbacks.cadence import Cadence
from darkroom.callbacks.curves import Diverged
from darkroom.callbacks.saving import Checkpoints
from darkroom.data.module import ImageData
from darkroom.metrics import several
from darkroom.metrics.metric import Metric
from darkroom.metrics.scores import Scores
from darkroom.models.model import Model
from darkroom.tracking.run import Run


class Scoring(pl.Callback):
    """Score on ``val`` every ``metrics.every`` images and at the end; keep the best state as ``best.ckpt``."""

    def __init__(
        self, run: Run | None, metrics: Metric, data: ImageData, checkpoints: Checkpoints, budget: Budget
    ) -> None:
        self.run, self.metrics, self.data, self.checkpoints, self.budget = run, metrics, data, checkpoints, budget
        self.leading = next(iter(metrics.parts))
        self.cadences = {name: Cadence(part.every) for name, part in metrics.parts.items() if part.every}
        self.best: float | None = None
        self.best_at = 0
        self.latest: dict[str, float] = {}
        self.best_scores: dict[str, Any] | None = None  # values and protocol, as they stand in JSON
        self._seen = 0
        self._scored_at = -1

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Remember where this stretch of training starts."""
        assert isinstance(pl_module, Model)
        self._seen = pl_module.images_seen

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Score when due."""
        assert isinstance(pl_module, Model)
        before, self._seen = self._seen, pl_module.images_seen
        due = [name for name, cadence in self.cadences.items() if cadence.due(before, self._seen)]
        if self.budget.finished:
            due = list(self.cadences)
        if due and self._scored_at != self._seen:
            self._score(trainer, pl_module, due)

    @property
    def cadence(self) -> Cadence | None:
        """When the metric is due that says which state is best."""
        return self.cadences.get(self.leading)

    def _score(self, trainer: pl.Trainer, model: Model, due: list[str]) -> None:
        if self.metrics.objective is None:
            return
        if not all(bool(weights.isfinite().all()) for weights in model.parameters()):
            raise Diverged.of("Weights", self._seen, self.checkpoints.path("best"))
        self._scored_at = self._seen
        scores: Scores | None = None
        name, mode = self.metrics.objective
        value = 0.0
        if trainer.is_global_zero:
            model.ready(self.data)
            scores = several.score(self.metrics, due, model, self.data, "val")
            self.latest = self.latest | scores.values
            value = scores.values[name] if self.leading in due else value
            if self.run is not None:
                curves = {f"val/{key}": number for key, number in scores.values.items()}
                self.run.log_metrics(curves, step=self._seen)
                for key, picture in scores.pictures.items():
                    self.run.log_picture(f"val_{key}", picture, step=self._seen)
                for key, frames in scores.animations.items():
                    self.run.log_animation(f"val_{key}", frames, step=self._seen)
        if self.leading not in due:
            return
        # Of equals the later one: accuracy on a few hundred pictures often ties, and more training breaks the tie.
        better = self.best is None or (value <= self.best if mode == "min" else value >= self.best)
        value, better = trainer.strategy.broadcast((value, better))
        if better:
            self.best, self.best_at = value, self._seen
            if scores is not None:
                whole = due == list(self.cadences)  # else val is scored once more in the end
                self.best_scores = json.loads(json.dumps(scores.written())) if whole else None
            self.checkpoints.save(trainer, "best")
            if self.run is not None and trainer.is_global_zero:
                self.run.log_metrics({f"val/best_{name}": value}, step=self._seen)

    def state_dict(self) -> dict[str, Any]:
        """Return the best so far."""
        return {
            "best": self.best,
            "best_at": self.best_at,
            "best_scores": self.best_scores,
            "scored_at": self._scored_at,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up the best so far, if its weights are here to be used."""
        self._scored_at = state_dict["scored_at"]
        if self.checkpoints.path("best").exists():
            self.best, self.best_at = state_dict["best"], state_dict["best_at"]
            self.best_scores = state_dict.get("best_scores")
