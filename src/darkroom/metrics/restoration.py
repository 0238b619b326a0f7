"""How good is a model that repairs damaged pictures, and is it better than what needs no training?"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from darkroom import baselines
from darkroom import images as convention
from darkroom.data.contract import Data, Progress
from darkroom.imaging import classical
from darkroom.imaging.degradations import Degradation, Noise
from darkroom.isolation import evaluating
from darkroom.metrics import paired
from darkroom.metrics.metric import Metric
from darkroom.metrics.protocol import of_pictures
from darkroom.metrics.scores import Scores
from darkroom.models.abilities import Repairs, Restores
from darkroom.numbers import Count, Seed

CHUNK = 100  # pictures damaged and restored at once; the damage of a picture depends on it
SHOWN = 8  # pictures on a sheet
MOST = 100.0  # decibels that a perfect picture counts, where the mean would be infinite
LEVEL = 25.0  # of the noise that figures are customarily given at, where a model knows many
FURTHER = (15.0, 50.0)  # the next most customary ones
STRIDE = 100_003  # between the seeds of two protocols; more than there are photographs in a split

Restore = Callable[["Case"], Tensor]


@dataclass(frozen=True)
class Case:
    """Some pictures, what is shown of them, where they are to be repaired, their noise, and their labels or None."""

    whole: Tensor
    damaged: Tensor
    mask: Tensor
    levels: Tensor | None
    labels: Tensor | None


class Restoration(Metric):
    """Damage held-out pictures as the model was taught, the same damage for every model, and compare what it returns.

        metric = Restoration()
        metric.score(model, data, "test", exact=True).values["psnr_gain"]      # decibels

    All competitors are clipped and rounded to the levels of a file. What needs no training stands beside the model in
    the end only, at its best settings for each picture; ``psnr_gain`` is the model's lead over it. Noise is not
    clipped, and both the model, where it asks for it, and the wavelet denoiser are told its true deviation: 25 where a
    model knows many, and, in the end, 15 and 50 too. ``quantised_psnr`` is what is left of ``psnr`` when the noisy
    pictures come from files of 8 bits. Holes are strokes over a fifth of each picture; in the end ``psnr_taught`` says
    how it is with those that the model was taught on.
    """

    needs = Restores
    objective: tuple[str, str] | None = ("psnr", "max")

    def __init__(self, every: Count = 10_000, images: Count = 500, seed: Seed = 0, whole: bool = False) -> None:
        """State when to score and on what.

        Args:
            every: training images between two scores.
            images: pictures of val for each; in the end, all there are.
            seed: of the damage; the seed of each whole photograph follows from it and from its place among them.
            whole: score whole photographs, where the data have them, and not the tiles they are cut into.
        """
        self.every, self.images, self.seed, self.whole = every, images, seed, whole

    def score(
        self, model: Restores, data: Data, split: str, exact: bool = False, progress: Progress | None = None
    ) -> Scores:
        """Damage and restore held-out pictures; ``exact`` takes all of them, and what needs no training."""
        most = None if exact else self.images
        values: dict[str, float] = {}
        leveled, taught = _leveled(model), model.degradation
        damage = taught.customary()
        with evaluating(model, model.device):
            main = LEVEL if leveled else None
            count = self._add(values, "", model, self._cases(damage, data, split, most, main), exact, progress)
            for level in FURTHER if leveled and exact else ():
                self._add(values, f"_{level:g}", model, self._cases(damage, data, split, most, level), exact)
            if exact and isinstance(damage, Noise):
                files = (quantised(case) for case in self._cases(damage, data, split, most, main))
                self._add(values, "quantised_", model, files, exact)
            if exact and described(damage) != described(taught):
                self._add(values, "_taught", model, self._cases(taught, data, split, most, main), exact)
            pictures = {"restored": self._sheet(model, data, split)}
        protocol = of_pictures(data, split, count, model) | {
            "degradation": described(damage),
            "value_type": "uint8, rounded",
            "seed": self.seed,
        }
        if self.whole:
            protocol["image_size"] = "whole" if data.held_out is None else "the middle of whole"
        if leveled:
            protocol["level"] = LEVEL
        rivals = classical.RIVALS.get(model.degradation.operation, ())
        beside = {"damaged": "damaged", **{rival.name: rival.words for rival in rivals}}
        return Scores(values, protocol, pictures, references=baselines.ending(values, beside))

    def _add(
        self,
        values: dict[str, float],
        name: str,
        model: Restores,
        cases: Iterator[Case],
        exact: bool,
        progress: Progress | None = None,
    ) -> int:
        """Put the mean measures of some cases among the values, and return how many pictures they are.

        A ``name`` that starts with an underscore stands behind that of a measure, another before it.
        """
        sums: dict[str, float] = {}
        done = 0
        restorers = self._restorers(model, exact)
        if name:
            restorers = {suffix: restorer for suffix, restorer in restorers.items() if suffix != "_damaged"}
        for case in cases:
            for suffix, restorer in restorers.items():
                found = measured(convention.as_saved(restorer(case)), case, model.degradation)
                for measure in ("psnr",) if name else found:
                    called = f"{measure}{name}{suffix}" if name.startswith("_") else f"{name}{measure}{suffix}"
                    sums[called] = sums.get(called, 0.0) + found[measure].sum().item()
            done += len(case.whole)
            if progress:
                progress(done, done)
        values |= {called: total / done for called, total in sums.items()}
        if not name and (rivals := [suffix for suffix in restorers if suffix not in ("", "_damaged")]):
            values["psnr_gain"] = values["psnr"] - values[f"psnr{rivals[0]}"]
        return done

    def _restorers(self, model: Restores, exact: bool) -> dict[str, Restore]:
        """Return what makes something of a damaged picture, by the suffix of its values."""

        def restored(case: Case) -> Tensor:
            told: dict[str, Tensor] = {}
            if isinstance(model, Repairs) and model.masked:
                told["mask"] = case.mask
            if _leveled(model) and case.levels is not None:
                told["level"] = case.levels
            return model.restore(case.damaged, case.labels, **told).cpu()

        found: dict[str, Restore] = {"": restored}
        if model.degradation.scale == 1:
            found["_damaged"] = lambda case: case.damaged
        if exact:
            found |= {
                f"_{rival.name}": _rival(rival) for rival in classical.RIVALS.get(model.degradation.operation, ())
            }
        return found

    def _cases(
        self, damage: Degradation, data: Data, split: str, most: int | None, level: float | None
    ) -> Iterator[Case]:
        """Yield the first of a split's pictures, damaged, or all; noise is of this level, else drawn."""
        if self.whole:
            for number, photograph in enumerate(data.whole(split)):
                if most is not None and number >= most:
                    return
                yield self._damaged(damage, photograph[None], None, self._draws(number), level)
            return
        pictures = data.pictures(split)
        count = len(pictures) if most is None else min(most, len(pictures))
        yield from self._tiles(damage, data, split, torch.arange(count), level)

    def _tiles(
        self, damage: Degradation, data: Data, split: str, indices: Tensor, level: float | None
    ) -> Iterator[Case]:
        pictures, draw = data.pictures(split), self._draws(0)
        for part in torch.split(indices, CHUNK):
            labels = None if pictures.labels is None else pictures.labels[part]
            yield self._damaged(damage, pictures.batch(part), labels, draw, level)

    def _draws(self, number: int) -> Callable[..., Tensor]:
        generator = torch.Generator().manual_seed(self.seed * STRIDE + number)

        def draw(kind: Callable[..., Tensor], count: int, *shape: int) -> Tensor:
            return kind(count, *shape, generator=generator)

        return draw

    def _damaged(
        self,
        damage: Degradation,
        pictures: Tensor,
        labels: Tensor | None,
        draw: Callable[..., Tensor],
        level: float | None,
    ) -> Case:
        height, width = (side - side % damage.scale for side in pictures.shape[2:])
        whole = convention.from_uint8(pictures[:, :, :height, :width])
        levels = damage.levels(len(whole), draw) if level is None else torch.full((len(whole),), level)
        damaged, seen = damage(whole, draw, levels)
        return Case(whole, damaged, seen < 1, levels, labels)

    def _sheet(self, model: Restores, data: Data, split: str) -> np.ndarray:
        """Return rows of whole, damaged, classically restored, where anything is, and restored tiles."""
        chosen = convention.evenly(len(data.pictures(split)), SHOWN)
        (case,) = self._tiles(model.degradation, data, split, chosen, LEVEL if _leveled(model) else None)
        restorers = self._restorers(model, exact=True)
        order = [*(suffix for suffix in restorers if suffix), ""]
        rows = torch.cat([case.whole, *(restorers[suffix](case).to(case.whole) for suffix in order)])
        return convention.sheet(convention.to_uint8(rows), columns=len(chosen), least=96)


def measured(made: Tensor, case: Case, degradation: Degradation) -> dict[str, Tensor]:
    """Return how near pictures come to whole ones, ``(B,)`` each, by the name of the measure, ``psnr`` first.

    Of all colours together; of enlarged pictures that of luminance, without a border of as many pixels as they are
    times larger, as papers have it, and ``rgb_psnr`` of all colours; of filled holes that inside the holes.
    """
    whole = case.whole
    if degradation.scale > 1:
        inner = slice(degradation.scale, -degradation.scale)
        made, whole = made[:, :, inner, inner], whole[:, :, inner, inner]
        light = luminance(made), luminance(whole)
        return {
            "psnr": paired.psnr(*light).clamp(max=MOST),
            "ssim": paired.ssim(*light),
            "rgb_psnr": paired.psnr(made, whole).clamp(max=MOST),
        }
    found = paired.psnr(made, whole)
    if degradation.masked:
        # Outside the holes there is no error, so that only the number of pixels changes.
        found = found + 10 * torch.log10(case.mask.double().flatten(1).mean(dim=1))
    return {"psnr": found.clamp(max=MOST), "ssim": paired.ssim(made, whole)}


def luminance(images: Tensor) -> Tensor:
    """Return the luminance of pictures ``(B, C, H, W)`` in [-1, 1], ``(B, 1, H, W)``.

    That of ITU-R BT.601 in its studio range, 16 to 235 of 255, on which enlarging is customarily scored.
    """
    if images.shape[1] == 1:
        return images
    shares = (images.double() + 1) / 2
    red, green, blue = shares.unbind(1)
    light = (16 + 65.481 * red + 128.553 * green + 24.966 * blue) / 255
    return (2 * light - 1)[:, None]


def quantised(case: Case) -> Case:
    """Return a case as a file of 8 bits holds it."""
    return Case(case.whole, convention.as_saved(case.damaged), case.mask, case.levels, case.labels)


def described(degradation: Degradation) -> str:
    """Return a degradation and its strength in a few words: ``noise, least 25, most 25``."""
    words = [type(degradation).__name__.lower()]
    for name, value in vars(degradation).items():
        words.append(f"{name} {value:g}" if isinstance(value, int | float) else " and ".join(map(described, value)))
    return ", ".join(words)


def _rival(rival: classical.Rival) -> Restore:
    """Return what needs no training as something for a case: told what a model is, at its best settings."""

    def told(case: Case) -> Tensor:
        sigmas = [None] * len(case.whole)
        if case.damaged.shape == case.whole.shape:
            sigmas = ((case.damaged - case.whole).double().square().flatten(1).mean(dim=1).sqrt() * 127.5).tolist()
        scale = case.whole.shape[-1] // case.damaged.shape[-1]
        shown = zip(case.damaged, case.mask, sigmas, strict=True)
        return torch.stack([rival.apply(colours, classical.Told(mask, sigma, scale)) for colours, mask, sigma in shown])

    def best(case: Case) -> Tensor:
        tries = [torch.stack([method(colours) for colours in case.damaged]) for method in rival.tries]
        scores = torch.stack([paired.psnr(convention.as_saved(made), case.whole) for made in tries])
        return torch.stack([tries[best][place] for place, best in enumerate(scores.argmax(dim=0).tolist())])

    return best if rival.tries else told


def _leveled(model: Restores) -> bool:
    """Say whether a model is to be told how strong the noise is."""
    return isinstance(model, Repairs) and model.leveled
