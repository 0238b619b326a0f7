"""How alike are two pictures patch by patch, wherever in them the patches lie: the sliced Wasserstein distance.

A patch is a point of so many numbers. Two clouds of such points are compared along random directions, along each of
which the best assignment is that of equal ranks (Rabin et al. 2011; Elnekave & Weiss 2022, GPDM). A direction is a
filter of the size of a patch: to project all patches is to convolve.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

SIZE = 7  # pixels a side of a patch


def directions(count: int, channels: int, size: int = SIZE, generator: torch.Generator | None = None) -> Tensor:
    """Return random unit vectors of patches, ``(count, channels, size, size)``."""
    drawn = torch.randn(count, channels * size * size, generator=generator)
    return F.normalize(drawn, dim=1).view(count, channels, size, size)


def patch_distance(images: Tensor, others: Tensor, filters: Tensor, stride: int = 1, power: int = 1) -> Tensor:
    """Return the sliced Wasserstein distance of each picture's patches from those of its other one, ``(B,)``.

    Mean over directions of the mean of ``|difference|^power`` of equal quantiles: 0 for equal pictures, in units of
    pixel values for a power of 1. ``images`` ``(B, C, H, W)`` and ``others``, as many or one for all, may differ in
    size; ``filters`` are `directions`. Only every ``stride``-th patch of both is looked at, each way.
    """
    return distance(projected(images, filters, stride), projected(others, filters, stride), power)


def projected(images: Tensor, filters: Tensor, stride: int = 1) -> Tensor:
    """Return the patches of images along each direction, in ascending order, ``(B, directions, patches)``."""
    return F.conv2d(images, filters.to(images), stride=stride).flatten(2).float().sort(dim=2).values


def distance(first: Tensor, second: Tensor, power: int = 1) -> Tensor:
    """Return the mean distance of equal quantiles of numbers in ascending order, ``(B, K, n)`` and ``(B or 1, K, m)``.

    Of the second as many are taken as there are of the first.
    """
    apart = first - quantiles(second, first.shape[2])
    return (apart.abs() if power == 1 else apart.abs() ** power).mean(dim=(1, 2))


def quantiles(ascending: Tensor, count: int) -> Tensor:
    """Return ``count`` numbers ``(..., count)`` spread as those ``(..., n)`` in ascending order are."""
    if ascending.shape[-1] == count:
        return ascending
    places = (torch.arange(count, device=ascending.device) + 0.5) * (ascending.shape[-1] / count) - 0.5
    places = places.clamp(0, ascending.shape[-1] - 1)
    below = places.floor().long()
    above = (below + 1).clamp(max=ascending.shape[-1] - 1)
    return torch.lerp(ascending[..., below], ascending[..., above], (places - below).to(ascending))
