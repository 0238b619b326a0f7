"""What a person sees while a run trains."""

import sys
import time
from typing import Any

import pytorch_lightning as pl
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from darkroom.callbacks.curves import Curves
from darkroom.callbacks.scoring import Scoring
from darkroom.models.model import Model


class ProgressBar(pl.Callback):
    """A bar with images, speed, losses, the last score and the time left; plain lines without a terminal."""

    def __init__(self, curves: Curves, scoring: Scoring) -> None:
        self.curves, self.scoring = curves, scoring
        self.console = Console(file=sys.stderr)
        self.progress: Progress | None = None
        self._last = 0.0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Show the bar."""
        columns = (BarColumn(), TaskProgressColumn(), TimeRemainingColumn(), TextColumn("{task.description}"))
        self.progress = Progress(*columns, console=self.console, disable=not self.console.is_terminal)
        self.progress.add_task("", total=1.0)
        self.progress.start()
        self._last = time.monotonic()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Refresh a few times a second on a terminal, every half minute elsewhere."""
        assert isinstance(pl_module, Model)
        now = time.monotonic()
        terminal = self.console.is_terminal
        if self.progress is None or now - self._last < (0.2 if terminal else 30):
            return
        self._last = now
        words = self._words(pl_module)
        self.progress.update(self.progress.task_ids[0], completed=pl_module.fraction, description=words)
        if not terminal:
            self.console.print(f"{pl_module.fraction:4.0%}  {words}", highlight=False, soft_wrap=True)

    def _words(self, model: Model) -> str:
        shown = {k: v for k, v in self.curves.latest.items() if k.endswith("loss") or k in ("accuracy",)}
        parts = [f"{model.images_seen:,} images"]
        if speed := self.curves.latest.get("images_per_second"):
            parts.append(f"{speed:,.0f}/s")
        parts += [f"{name.replace('_', ' ')} {value:.3f}" for name, value in shown.items()]
        objective = self.scoring.metrics.objective
        if objective and objective[0] in self.scoring.latest:
            parts.append(f"val {objective[0]} {self.scoring.latest[objective[0]]:.4g}")
        return "  ".join(parts)

    def _stop(self) -> None:
        if self.progress is not None:
            self.progress.stop()
            self.progress = None

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Take the bar away."""
        self._stop()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Take the bar away, so that the error can be read."""
        self._stop()
