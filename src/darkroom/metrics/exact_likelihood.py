"""How probable are held-out pictures to a model that can say so exactly?"""

import math

import numpy as np
import torch
from torch import Tensor

from darkroom import images as convention
from darkroom.data.contract import Data, Progress
from darkroom.isolation import evaluating
from darkroom.losses.likelihoods import bits_per_dim
from darkroom.metrics.metric import Metric
from darkroom.metrics.protocol import of_pictures
from darkroom.metrics.scores import Scores
from darkroom.models.abilities import Completes, Draws, HasLikelihood
from darkroom.numbers import Count, Seed

CHUNK = 100  # pictures whose probability is computed at once
SAMPLES = 64  # on the sheet of samples
SHOWN = 10  # pictures on the sheet of completions
COMPLETIONS = 3  # of each


class ExactLikelihood(Metric):
    """Score the negative log-likelihood of held-out pictures; nothing is estimated, no judge is needed.

        metric = ExactLikelihood()
        metric.score(model, data, "test", exact=True).values["nll"]      # nats a picture

    ``nll_error`` is the standard error from which pictures happen to be held out. Of a model with fewer than 256 levels
    the pictures are rounded to those first, and of a conditional one the likelihood is given the class: numbers that
    differ in either are not ranked.
    """

    needs = HasLikelihood
    objective: tuple[str, str] | None = ("nll", "min")

    def __init__(self, every: Count = 50_000, images: Count = 2000, seed: Seed = 0) -> None:
        """Choose after how many training images to score, how many pictures of val, and the seed of what is drawn."""
        self.every, self.images, self.seed = every, images, seed

    def score(
        self, model: HasLikelihood, data: Data, split: str, exact: bool = False, progress: Progress | None = None
    ) -> Scores:
        """Ask how probable held-out pictures are, all of them when ``exact``, and complete some of them.

        Samples are drawn for ``exact`` scores only: others have them from training.
        """
        held_out = len(data.pictures(split))
        count = held_out if exact else min(self.images, held_out)
        with evaluating(model, model.device):
            surprises = self._surprises(model, data, split, count, progress)
            pictures = {}
            if isinstance(model, Completes):
                pictures["completions"] = self.completion_sheet(model, data, split)
            if exact and isinstance(model, Draws):
                pictures["samples"] = self._sample_sheet(model)
        nll = surprises.mean().item()
        values = {
            "nll": nll,
            "nll_error": surprises.std().item() / math.sqrt(count) if count > 1 else math.nan,
            "bits_per_dim": bits_per_dim(nll, math.prod(data.image_shape)),
        }
        protocol = of_pictures(data, split, count, model) | {
            "levels": model.levels,
            "likelihood": "exact, given the class" if model.classes else "exact",
        }
        return Scores(values, protocol, pictures)

    @staticmethod
    def _surprises(model: HasLikelihood, data: Data, split: str, count: int, progress: Progress | None) -> Tensor:
        """Return the negative log-likelihood of the first so many pictures, float64 nats."""
        pictures, found, done = data.pictures(split), [], 0
        for part in torch.split(torch.arange(count), CHUNK):
            labels = None if pictures.labels is None else pictures.labels[part]
            images = convention.from_uint8(pictures.batch(part))
            found.append(-model.log_prob(images, labels).double().cpu())
            done += len(part)
            if progress:
                progress(done, count)
        return torch.cat(found)

    def _sample_sheet(self, model: Draws) -> np.ndarray:
        columns = model.classes if 1 < model.classes <= 20 else 8
        drawn = model.sample(torch.arange(SAMPLES // columns * columns), self.seed)
        return convention.sheet(convention.to_uint8(drawn), columns=columns)

    def completion_sheet(self, model: Completes, data: Data, split: str) -> np.ndarray:
        """Return rows of held-out pictures, their upper halves, and what the model makes of the lower, three times."""
        pictures = data.pictures(split)
        chosen = convention.evenly(len(pictures), SHOWN)
        images = convention.from_uint8(pictures.batch(chosen))
        labels = None if pictures.labels is None else pictures.labels[chosen]
        known = torch.zeros(1, 1, *images.shape[2:], dtype=torch.bool)
        known[:, :, : images.shape[2] // 2] = True
        shown = torch.where(known, images, torch.zeros(()))
        made = model.complete(
            images.repeat(COMPLETIONS, 1, 1, 1),
            known,
            self.seed,
            None if labels is None else labels.repeat(COMPLETIONS),
        )
        rows = torch.cat([images, shown, made.cpu()])
        return convention.sheet(convention.to_uint8(rows), columns=len(chosen))
