"""How good is a model that encodes pictures and decodes them again?

What is left of held-out pictures (MSE, PSNR, SSIM, and the FID of reconstructions); of a variational autoencoder also
the evidence lower bound, split into rate and distortion, the tighter bound of many draws, and the health of latents.
"""

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from darkroom import images as convention
from darkroom.data.contract import Data, Progress
from darkroom.isolation import evaluating
from darkroom.losses.likelihoods import bits_per_dim
from darkroom.metrics import paired
from darkroom.metrics.batches import CHUNK
from darkroom.metrics.generative import Generative
from darkroom.metrics.latents import Facts, draw_latents
from darkroom.metrics.metric import Metric
from darkroom.metrics.protocol import Protocol
from darkroom.metrics.scores import Scores
from darkroom.models.abilities import Encodes, Infers, Restores
from darkroom.numbers import Count, Seed

AT_ONCE = 4096  # pictures decoded at a time
SHOWN = 10  # pictures on a sheet of reconstructions
DRAWN = 2000  # latents that pictures are drawn from, on the diagram


class Likelihood(Metric):
    """Score reconstructions and, where there is one, the likelihood; nothing is drawn and no judge is needed.

        metric = Likelihood(nll_samples=1000, nll_images=500)
        metric.score(model, data, "test").values["nll"]      # nats a picture

    All likelihoods are of the values that a file can hold, so that bits per dimension are a code's length and models
    with densities stand beside those with probabilities.
    """

    needs = Encodes
    objective: tuple[str, str] | None = ("loss", "min")

    def __init__(
        self,
        every: Count = 50_000,
        images: Count = 2000,
        nll_samples: Count = 1000,
        nll_images: Count | None = 500,
        seed: Seed = 0,
    ) -> None:
        """Choose what is measured and how.

        ``images`` of val are scored every ``every`` training images, all of test in the end. The tighter bound takes
        ``nll_samples`` draws for each of ``nll_images`` pictures (None: all), in the end only; ``nll_error`` is its
        standard error from choosing those.
        """
        self.every, self.images, self.seed = every, images, seed
        self.nll_samples, self.nll_images = nll_samples, nll_images

    def score(
        self, model: Encodes, data: Data, split: str, exact: bool = False, progress: Progress | None = None
    ) -> Scores:
        """Encode and decode held-out pictures; ``exact`` takes all of them, and the tighter bound."""
        with evaluating(model, model.device):
            values, pictures = self.measured(model, data, split, exact)
        protocol: Protocol = {
            "data": data.name,
            "data_digest": data.split_digests[split],
            "split": split,
            "real_images": self.count(data, split, exact),
            "averaged_weights": model.averaged,
            "seed": self.seed,
        }
        if "nll" in values:
            protocol |= {"nll_samples": self.nll_samples, "nll_images": self.nll_count(data, split)}
        return Scores(values, protocol, pictures)

    def count(self, data: Data, split: str, exact: bool) -> int:
        """Return how many pictures of a split are looked at."""
        return len(data.pictures(split)) if exact else min(self.images, len(data.pictures(split)))

    def nll_count(self, data: Data, split: str) -> int:
        """Return how many of them the tighter bound is of."""
        return min(self.nll_images or len(data.pictures(split)), len(data.pictures(split)))

    def measured(self, model: Encodes, data: Data, split: str, exact: bool) -> tuple[dict[str, float], dict[str, Any]]:
        """Return values and pictures."""
        count, dims = self.count(data, split, exact), math.prod(data.image_shape)
        values = self._reconstructions(model, data, split, count)
        pictures: dict[str, Any] = {"reconstructions": reconstruction_sheet(model, data, split)}
        if not isinstance(model, Infers):
            return values | {"loss": values["mse"]}, pictures
        bounds, facts = self._bounds(model, data, split, count)
        values |= bounds
        values["loss"] = -values["elbo"]
        if exact:
            values |= self._nll(model, data, split, values["loss"])
            values["bits_per_dim"] = bits_per_dim(values["nll"], dims)
        else:
            values["bits_per_dim"] = bits_per_dim(values["loss"], dims)
        pictures["latents"] = draw_latents(facts, model.typical(DRAWN).cpu().double(), f"{split}: {count:,} pictures")
        values |= facts.numbers()
        values["information"] = min(values["information"], values["rate"])  # two bounds of the same number
        return values, pictures

    def _reconstructions(self, model: Encodes, data: Data, split: str, count: int) -> dict[str, float]:
        sums = {"mse": 0.0, "psnr": 0.0, "ssim": 0.0}
        for images, labels in _batches(data, split, count, CHUNK):
            made = convention.from_uint8(convention.to_uint8(model.reconstruct(images, labels).cpu()))
            for name, measure in (("mse", paired.mse), ("psnr", paired.psnr), ("ssim", paired.ssim)):
                found = measure(made, images)
                sums[name] += found.clamp(max=100.0).sum().item()  # equal pictures would make the mean infinite
        return {name: total / count for name, total in sums.items()}

    def _bounds(self, model: Infers, data: Data, split: str, count: int) -> tuple[dict[str, float], Facts]:
        """Return the evidence lower bound with one draw a picture, in its two parts, and what the latents tell."""
        generator = torch.Generator().manual_seed(self.seed)
        rate, distortion, posteriors = 0.0, 0.0, []
        for images, labels in _batches(data, split, count, CHUNK):
            means, log_variances = model.posterior(images, labels)
            posteriors.append((means.cpu(), log_variances.cpu()))
            noise = torch.randn(len(images), 1, means.shape[1], generator=generator)
            log_likelihood, cost = model.log_weights(images, labels, noise)
            rate += cost.double().sum().item()
            distortion -= log_likelihood.double().sum().item()
        facts = Facts.of(*(torch.cat(part) for part in zip(*posteriors, strict=True)))
        values = {"elbo": -(rate + distortion) / count, "rate": rate / count, "distortion": distortion / count}
        return values, facts

    def _nll(self, model: Infers, data: Data, split: str, loss: float) -> dict[str, float]:
        """Return the bound of many draws a picture (Burda et al. 2016, eq. 8), never holding more than some at once.

        How much tighter it is than the evidence lower bound varies little from picture to picture, how probable they
        are varies much: so of ``nll_images``, evenly chosen, the difference is taken, and added to the ``loss`` of all.
        """
        pictures, count = data.pictures(split), self.nll_count(data, split)
        chosen = convention.evenly(len(pictures), count)
        generator = torch.Generator().manual_seed(self.seed)
        at_once = max(1, AT_ONCE // CHUNK)
        losses, differences = [], []
        for part in torch.split(chosen, CHUNK):
            images = convention.from_uint8(pictures.batch(part))
            labels = None if pictures.labels is None else pictures.labels[part]
            log_sum = torch.full((len(images),), -torch.inf, dtype=torch.float64)
            total = torch.zeros(len(images), dtype=torch.float64)
            for start in range(0, self.nll_samples, at_once):
                draws = min(at_once, self.nll_samples - start)
                noise = torch.randn(len(images), draws, model.code_dim, generator=generator)
                log_likelihood, cost = model.log_weights(images, labels, noise)
                weights = (log_likelihood.double() - cost.double()).cpu()
                log_sum = torch.logaddexp(log_sum, torch.logsumexp(weights, dim=1))
                total += weights.sum(dim=1)
            losses.append(-total / self.nll_samples)
            differences.append(losses[-1] + log_sum - math.log(self.nll_samples))
        gained = torch.cat(differences)
        if count == len(pictures):
            return {"nll": (torch.cat(losses) - gained).mean().item(), "nll_error": 0.0}
        return {"nll": loss - gained.mean().item(), "nll_error": (gained.std() / math.sqrt(count)).item()}


class Reconstructed(Generative):
    """Score what is left of held-out pictures as if it had been drawn, through the judge; in the end only.

    The FID of reconstructions (``fid_reconstructed``) is what no sampler can be expected to get below.
    """

    needs = Encodes
    objective: tuple[str, str] | None = None

    def score(
        self, model: Any, data: Data, split: str, exact: bool = False, progress: Progress | None = None
    ) -> Scores:
        """Encode and decode a whole split, and look at that."""
        if not exact:
            return Scores({})
        with evaluating(model, model.device):
            made = self.score_images(_reconstructed(model, data, split), None, data, split, exact=False)
        return Scores({f"{name}_reconstructed": made.values[name] for name in ("fid", "precision", "recall")})


def _reconstructed(model: Encodes, data: Data, split: str) -> Iterator[Tensor]:
    for images, labels in _batches(data, split, len(data.pictures(split)), CHUNK):
        yield convention.to_uint8(model.reconstruct(images, labels).cpu())


def _batches(data: Data, split: str, count: int, size: int) -> Iterator[tuple[Tensor, Tensor | None]]:
    pictures = data.pictures(split)
    for part in torch.split(torch.arange(count), size):
        yield convention.from_uint8(pictures.batch(part)), None if pictures.labels is None else pictures.labels[part]


def reconstruction_sheet(model: Encodes, data: Data, split: str) -> Any:
    """Return a sheet of held-out pictures, what was shown of them if that is less, and what was made of that."""
    pictures = data.pictures(split)
    chosen = convention.evenly(len(pictures), SHOWN)
    images = convention.from_uint8(pictures.batch(chosen))
    labels = None if pictures.labels is None else pictures.labels[chosen]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        shown = model.degradation(images)[0] if isinstance(model, Restores) else images
    rows = [images, model.reconstruct(shown, labels).cpu()]
    if not torch.equal(shown, images):
        rows.insert(1, shown)
    return convention.sheet(convention.to_uint8(torch.cat(rows)), columns=len(chosen))
