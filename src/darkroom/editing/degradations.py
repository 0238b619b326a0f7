"""Damage to learn from: what an autoencoder is shown instead of the picture that it is to return.

A degradation draws its random numbers with ``draw(kind, count, *shape)``, where ``kind`` is ``torch.randn`` or
``torch.rand``, so that whoever trains on several devices can hand each its part of the same numbers.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from darkroom.errors import UserError

Draw = Callable[..., Tensor]


def plainly(kind: Callable[..., Tensor], count: int, *shape: int) -> Tensor:
    """Draw from the global random state."""
    return kind(count, *shape)


class Degradation:
    """No damage at all.

    damaged, seen = degradation(images)     # both (B, C, H, W); seen is 1 where the picture still shows, 0 where not
    """

    def __call__(self, images: Tensor, draw: Draw = plainly) -> tuple[Tensor, Tensor]:
        """Return the damaged images ``(B, C, H, W)`` in [-1, 1], and where they still show, ``(B, 1, H, W)``."""
        return images, images.new_ones(len(images), 1, *images.shape[2:])


class Noise(Degradation):
    """White Gaussian noise, of a strength drawn for each picture between two (Vincent et al. 2008).

    Strengths are deviations in the 255 levels of a file: 25 is the customary one. What leaves [-1, 1] stays outside,
    as papers have it.
    """

    def __init__(self, least: float = 25.0, most: float = 25.0) -> None:
        if not 0 <= least <= most:
            raise UserError(f"noise from {least:g} to {most:g} is not possible: give 0 <= least <= most.")
        self.least, self.most = least, most

    def __call__(self, images: Tensor, draw: Draw = plainly) -> tuple[Tensor, Tensor]:
        """Return the images with noise; all of them still show."""
        strength = self.least + (self.most - self.least) * draw(torch.rand, len(images), 1, 1, 1)
        noise = draw(torch.randn, len(images), *images.shape[1:]) * strength / 127.5
        return images + noise.to(images), super().__call__(images)[1]


class Mask(Degradation):
    """Square patches are blacked out (He et al. 2022), a fixed share of them, in another choice for each picture."""

    def __init__(self, share: float = 0.75, patch: int = 4) -> None:
        if not 0 <= share < 1:
            raise UserError(f"a mask of a share of {share:g} is not possible: give 0 or more and less than 1.")
        if patch < 1:
            raise UserError(f"patches of {patch} pixels are not possible: give 1 or more.")
        self.share, self.patch = share, patch

    def __call__(self, images: Tensor, draw: Draw = plainly) -> tuple[Tensor, Tensor]:
        """Return the images with mid-grey, 0, where nothing shows."""
        height, width = images.shape[2:]
        rows, columns = math.ceil(height / self.patch), math.ceil(width / self.patch)
        ranks = draw(torch.rand, len(images), rows * columns).argsort(dim=1).argsort(dim=1)
        kept = (ranks >= round(self.share * rows * columns)).view(len(images), 1, rows, columns).to(images)
        seen = kept.repeat_interleave(self.patch, dim=2).repeat_interleave(self.patch, dim=3)[:, :, :height, :width]
        return images * seen, seen
