"""Scores on the validation split while training, and which state was the best."""

import json
from typing import Any

import pytorch_lightning as pl

from darkroom.callbacks.budget import Budget
from darkroom.callbacks.cadence import Cadence
from darkroom.callbacks.checkpoints import Checkpoints
from darkroom.callbacks.curves import Diverged
from darkroom.data.module import ImageData
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
        self.cadence = Cadence(metrics.every) if metrics.every else None
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
        if self.cadence and (self.cadence.due(before, self._seen) or self.budget.finished):
            self._score(trainer, pl_module)

    def _score(self, trainer: pl.Trainer, model: Model) -> None:
        if self.metrics.objective is None or self._scored_at == self._seen:
            return
        if not all(bool(weights.isfinite().all()) for weights in model.parameters()):
            raise Diverged.of("Weights", self._seen, self.checkpoints.path("best"))
        self._scored_at = self._seen
        scores: Scores | None = None
        name, mode = self.metrics.objective
        value = 0.0
        if trainer.is_global_zero:
            model.ready(self.data)
            scores = self.metrics.score(model, self.data, "val")
            self.latest = scores.values
            value = self.latest[name]
            if self.run is not None:
                curves = {f"val/{key}": number for key, number in self.latest.items()}
                self.run.log_metrics(curves, step=self._seen)
                for key, picture in scores.pictures.items():
                    self.run.log_picture(f"val_{key}", picture, step=self._seen)
                for key, frames in scores.animations.items():
                    self.run.log_animation(f"val_{key}", frames, step=self._seen)
        # Of equals the later one: accuracy on a few hundred pictures often ties, and more training breaks the tie.
        better = self.best is None or (value <= self.best if mode == "min" else value >= self.best)
        value, better = trainer.strategy.broadcast((value, better))
        if better:
            self.best, self.best_at = value, self._seen
            if scores is not None:
                self.best_scores = json.loads(json.dumps({"values": scores.values, "protocol": scores.protocol}))
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
