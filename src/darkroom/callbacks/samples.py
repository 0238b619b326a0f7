"""Sheets of samples at fixed seeds, so that the dashboard's slider shows the same latents improving."""

from typing import Any

import pytorch_lightning as pl
import torch

from darkroom.callbacks.budget import Budget
from darkroom.callbacks.cadence import Cadence
from darkroom.images import captioned_sheet, sheet, to_uint8
from darkroom.models.abilities import Draws
from darkroom.models.model import Model
from darkroom.tracking.run import Run

PER_PROMPT = 8  # pictures of each caption on a sheet


class Samples(pl.Callback):
    """Log one sheet every so many images: a column a class, or a block a caption, when the model is conditional."""

    def __init__(self, run: Run, every: int, count: int, budget: Budget) -> None:
        self.run, self.budget = run, budget
        self.cadence = Cadence(every)
        self.count = count
        self._seen = 0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Show what an untrained model draws, so that improvement has a beginning."""
        assert isinstance(pl_module, Model)
        self._seen = pl_module.images_seen
        if self._seen == 0:
            self._log(pl_module)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Log a sheet when due."""
        assert isinstance(pl_module, Model)
        before, self._seen = self._seen, pl_module.images_seen
        if self.cadence.due(before, self._seen) or self.budget.finished:
            self._log(pl_module)

    def _log(self, model: Model) -> None:
        if isinstance(model, Draws):
            self.run.log_picture("samples", sample_sheet(model, self.count), step=self._seen)


def sample_sheet(model: Draws, count: int, seed: int = 0) -> Any:
    """Return a sheet of ``count`` samples, uint8 ``(H, W, 3)``; of a model that reads captions, eight to a prompt."""
    if model.vocabulary:
        prompts = model.prompts[: max(1, count // PER_PROMPT)]
        asked = [prompt for prompt in prompts for _ in range(min(count, PER_PROMPT))]
        indices = torch.arange(len(asked))
        images = model.sample(indices, seed, model.vocabulary.tokens(asked))
        return captioned_sheet(to_uint8(images).cpu(), asked, columns=PER_PROMPT)
    columns = model.classes if 1 < model.classes <= 20 else None
    rounded = count // columns * columns if columns and count >= columns else count
    return sheet(to_uint8(model.sample(torch.arange(rounded), seed)).cpu(), columns=columns)
