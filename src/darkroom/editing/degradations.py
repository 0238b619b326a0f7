"""Damage to learn from: what an autoencoder is shown instead of the picture that it is to return.

A degradation draws its random numbers with ``draw(kind, count, *shape)``, where ``kind`` is ``torch.randn`` or
``torch.rand``, so that whoever trains on several devices can hand each its part of the same numbers.
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from darkroom.errors import UserError

Draw = Callable[..., Tensor]


def plainly(kind: Callable[..., Tensor], count: int, *shape: int) -> Tensor:
    """Draw from the global random state."""
    return kind(count, *shape)


class Degradation:
    """No damage at all, and what the others have in common.

    ``operation`` is what undoes the damage, ``scale`` how many times smaller it makes a picture. ``leveled``: the
    deviation of the noise is to be known to whoever removes it; ``masked``: so is where the picture still shows.

        damaged, seen = degradation(images)     # (B, C, H / scale, W / scale), and (B, 1, H / scale, W / scale)
    """

    operation = "restore"
    scale = 1
    leveled = False
    masked = False

    def levels(self, count: int, draw: Draw = plainly) -> Tensor | None:
        """Return the deviation of the noise in each of so many pictures, in 255ths, ``(count,)``; None without one."""
        return None

    def __call__(self, images: Tensor, draw: Draw = plainly, levels: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the damaged images in [-1, 1], and where they still show: 1, or 0 where nothing is left.

        ``images`` are ``(B, C, H, W)`` in [-1, 1]; ``levels`` are drawn here unless they were before.
        """
        return images, images.new_ones(len(images), 1, *images.shape[2:])


class Noise(Degradation):
    """White Gaussian noise, of a strength drawn for each picture between two (Vincent et al. 2008).

    Strengths are deviations in the 255 levels of a file: 25 is the customary one. What leaves [-1, 1] stays outside,
    as papers have it. Of a range of strengths each picture's is to be known.
    """

    operation = "denoise"

    def __init__(self, least: float = 25.0, most: float = 25.0) -> None:
        if not 0 <= least <= most:
            raise UserError(f"noise from {least:g} to {most:g} is not possible: give 0 <= least <= most.")
        self.least, self.most = least, most

    @property
    def leveled(self) -> bool:  # type: ignore[override]
        """Whether there is more than one strength."""
        return self.least < self.most

    def levels(self, count: int, draw: Draw = plainly) -> Tensor:
        """Return strengths from the least to the most, all as likely."""
        return self.least + (self.most - self.least) * draw(torch.rand, count, 1, 1, 1).flatten()

    def __call__(self, images: Tensor, draw: Draw = plainly, levels: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the images with noise; all of them still show."""
        strength = self.levels(len(images), draw) if levels is None else levels
        noise = draw(torch.randn, len(images), *images.shape[1:]) * strength.view(-1, 1, 1, 1) / 127.5
        return images + noise.to(images), super().__call__(images)[1]


class Mask(Degradation):
    """Square patches are blacked out (He et al. 2022), a fixed share of them, in another choice for each picture."""

    operation = "inpaint"
    masked = True

    def __init__(self, share: float = 0.75, patch: int = 4) -> None:
        if not 0 <= share < 1:
            raise UserError(f"a mask of a share of {share:g} is not possible: give 0 or more and less than 1.")
        if patch < 1:
            raise UserError(f"patches of {patch} pixels are not possible: give 1 or more.")
        self.share, self.patch = share, patch

    def __call__(self, images: Tensor, draw: Draw = plainly, levels: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the images with mid-grey, 0, where nothing shows."""
        height, width = images.shape[2:]
        rows, columns = math.ceil(height / self.patch), math.ceil(width / self.patch)
        ranks = draw(torch.rand, len(images), rows * columns).argsort(dim=1).argsort(dim=1)
        kept = (ranks >= round(self.share * rows * columns)).view(len(images), 1, rows, columns).to(images)
        seen = kept.repeat_interleave(self.patch, dim=2).repeat_interleave(self.patch, dim=3)[:, :, :height, :width]
        return images * seen, seen


# The high-pass filter of two vanishing moments (Daubechies 1992), which a slope leaves at nothing.
_FINEST = (-0.12940952255126037, -0.2241438680420134, 0.8365163037378079, -0.48296291314453416)


def noise_level(images: Tensor) -> Tensor:
    """Return the deviation of the noise in each image ``(B, C, H, W)``, in 255ths, ``(B,)`` float32, as it looks.

    The median of the finest diagonal wavelet coefficients, most of which are noise alone (Donoho & Johnstone 1994), in
    the mean of the channels. Texture counts as noise: on photographs it reads a little high where there is hardly any.
    """
    height, width = images.shape[2:]
    if min(height, width) < len(_FINEST):
        return torch.zeros(len(images), device=images.device)
    finest = torch.tensor(_FINEST, device=images.device)
    single = images.float().reshape(-1, 1, height, width)
    details = F.conv2d(single, finest.outer(finest)[None, None], stride=2).abs().flatten(1)
    found = details.median(dim=1).values / 0.6744897501960817  # the median of the absolute value of a normal number
    return found.view(len(images), -1).mean(dim=1) * 127.5
