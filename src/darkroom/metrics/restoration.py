"""How good is a model that repairs damaged pictures, and is it better than what needs no training?"""

import math
import typing
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from darkroom import images as convention
from darkroom.editing.degradations import Degradation, Noise
from darkroom.errors import UserError
from darkroom.metrics import paired
from darkroom.metrics.isolation import evaluating
from darkroom.metrics.protocol import of_pictures
from darkroom.metrics.scores import Scores
from darkroom.metrics.subjects import Data, Progress

CHUNK = 100  # pictures damaged and restored at once; the damage of a picture depends on it
SHOWN = 8  # pictures on a sheet
WAVELET, SUPPORT = "sym4", 8  # of the baseline, and the pixels that one of its filters takes
MOST = 100.0  # decibels that a perfect picture counts, where the mean would be infinite


class Restoring(typing.Protocol):
    """A model that repairs what its degradation damages."""

    device: torch.device
    degradation: Degradation

    def restore(self, damaged: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return whole pictures in [-1, 1] for damaged ones ``(B, C, H, W)``."""


@dataclass(frozen=True)
class Case:
    """Some pictures, what is shown of them, and their labels or None."""

    whole: Tensor
    damaged: Tensor
    labels: Tensor | None


class Restoration:
    """Damage held-out pictures as the model was taught, the same damage for every model, and compare what it returns.

        metric = Restoration()
        metric.score(model, data, "test", exact=True).values["psnr_gain"]      # decibels

    All competitors are clipped and rounded to the levels of a file. The wavelet denoiser stands beside a model that
    removes noise, in the end only; it is told the true deviation. ``psnr_gain`` is the model's lead over it.
    """

    objective: tuple[str, str] | None = ("psnr", "max")

    def __init__(self, every: int = 10_000, images: int = 500, seed: int = 0) -> None:
        """Choose after how many training images to score, how many pictures of val, and the seed of the damage."""
        for name, number in {"every": every, "images": images}.items():
            if number < 1:
                raise UserError(f"metrics.{name}={number} is too small: give 1 or more")
        self.every, self.images, self.seed = every, images, seed

    def score(
        self, model: Restoring, data: Data, split: str, exact: bool = False, progress: Progress | None = None
    ) -> Scores:
        """Damage and restore held-out pictures; ``exact`` takes all of them, and the baseline."""
        held_out = len(data.pictures(split))
        count = held_out if exact else min(self.images, held_out)
        restorers = self._restorers(model, exact)
        sums = {f"{measure}{suffix}": 0.0 for measure in ("psnr", "ssim") for suffix in restorers}
        done = 0
        with evaluating(model, model.device):
            for case in self._cases(model, data, split, torch.arange(count)):
                for suffix, restorer in restorers.items():
                    made = _on_file(restorer(case))
                    sums[f"psnr{suffix}"] += paired.psnr(made, case.whole).clamp(max=MOST).sum().item()
                    sums[f"ssim{suffix}"] += paired.ssim(made, case.whole).sum().item()
                done += len(case.whole)
                if progress:
                    progress(done, count)
            pictures = {"restored": self._sheet(model, data, split, restorers)}
        values = {name: total / count for name, total in sums.items()}
        if "psnr_wavelet" in values:
            values["psnr_gain"] = values["psnr"] - values["psnr_wavelet"]
        protocol = of_pictures(data, split, count, model) | {
            "degradation": described(model.degradation),
            "value_type": "uint8, rounded",
            "seed": self.seed,
        }
        return Scores(values, protocol, pictures)

    def _restorers(self, model: Restoring, exact: bool) -> dict[str, Callable[[Case], Tensor]]:
        """Return what makes something of a damaged picture, by the suffix of its values."""
        found: dict[str, Callable[[Case], Tensor]] = {
            "": lambda case: model.restore(case.damaged, case.labels).cpu(),
            "_damaged": lambda case: case.damaged,
        }
        if exact and isinstance(model.degradation, Noise):
            found["_wavelet"] = lambda case: wavelet_denoised(case.damaged, deviations(case.damaged - case.whole))
        return found

    def _cases(self, model: Restoring, data: Data, split: str, indices: Tensor) -> Iterator[Case]:
        pictures = data.pictures(split)
        generator = torch.Generator().manual_seed(self.seed)

        def draw(kind: Callable[..., Tensor], count: int, *shape: int) -> Tensor:
            return kind(count, *shape, generator=generator)

        for part in torch.split(indices, CHUNK):
            whole = convention.from_uint8(pictures.batch(part))
            labels = None if pictures.labels is None else pictures.labels[part]
            yield Case(whole, model.degradation(whole, draw)[0], labels)

    def _sheet(
        self, model: Restoring, data: Data, split: str, restorers: dict[str, Callable[[Case], Tensor]]
    ) -> np.ndarray:
        """Return rows of whole, damaged, where there is the baseline denoised, and restored pictures."""
        held_out = len(data.pictures(split))
        chosen = convention.evenly(held_out, SHOWN)
        (case,) = self._cases(model, data, split, chosen)
        order = [suffix for suffix in ("_damaged", "_wavelet", "") if suffix in restorers]
        rows = torch.cat([case.whole, *(restorers[suffix](case) for suffix in order)])
        return convention.sheet(convention.to_uint8(rows), columns=len(chosen), least=96)


def described(degradation: Degradation) -> str:
    """Return a degradation and its strength in a few words: ``noise, least 25, most 25``."""
    settings = (f"{name} {value:g}" for name, value in vars(degradation).items())
    return ", ".join([type(degradation).__name__.lower(), *settings])


def deviations(noise: Tensor) -> list[float]:
    """Return the deviation of the noise in each image ``(B, C, H, W)``, as a share of the range [-1, 1] of values."""
    found: list[float] = (noise.double() / 2).square().flatten(1).mean(dim=1).sqrt().tolist()
    return found


def wavelet_denoised(images: Tensor, sigmas: list[float]) -> Tensor:
    """Return images ``(B, C, H, W)`` in [-1, 1] without noise of these deviations, as shares of the range of values.

    Wavelet coefficients are shrunk by as much as suits their scale (Chang et al. 2000, BayesShrink), of colours in
    YCbCr. Smooth wavelets on as many as three scales: scikit-image's own choice is up to 0.8 dB worse on photographs.
    """
    from skimage.restoration import denoise_wavelet  # takes most of a second, and only a test needs it

    colour = images.shape[1] == 3
    scales = int(math.log2(min(images.shape[2:]) / (SUPPORT - 1)))  # on coarser ones nothing but the edges is left
    made = []
    for image, sigma in zip(images.double().numpy(), sigmas, strict=True):
        levels = (image.transpose(1, 2, 0) if colour else image[0]) / 2 + 0.5
        clean = denoise_wavelet(
            levels,
            sigma=sigma,
            method="BayesShrink",
            mode="soft",
            wavelet=WAVELET,
            wavelet_levels=min(3, max(1, scales)),
            rescale_sigma=True,
            convert2ycbcr=colour,
            channel_axis=-1 if colour else None,
        )
        made.append(torch.from_numpy(clean.transpose(2, 0, 1) if colour else clean[None]))
    return torch.stack(made).mul(2).sub(1).to(images.dtype)


def _on_file(images: Tensor) -> Tensor:
    """Return images in [-1, 1] as they would come out of a file: clipped, and rounded to 256 levels."""
    return convention.from_uint8(convention.to_uint8(images))
