"""Precision, recall, density and coverage: is what was drawn among the real pictures, and are all of those drawn?

Around every picture lies a ball that reaches to its k-th nearest neighbour of its own kind; the balls of the real
pictures are the real manifold, those of the generated ones the generated manifold.

Sources: Kynkäänniemi et al. 2019, arXiv 1904.06991 (precision and recall, eq. 1 and 2; k = 3); Naeem et al. 2020,
arXiv 2002.09797 (density and coverage, eq. 4 and 6; k = 5). Balls are closed, as both papers write them.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

CELLS = 500_000  # distances held at once, in float64: they stay in the processor's cache


@dataclass(frozen=True)
class Manifold:
    """Features of one kind of pictures with the radii of their balls."""

    features: Tensor  # (n, d)
    precision_radii: Tensor  # (n,), float64: distance to the neighbour that precision and recall count to
    density_radii: Tensor  # (n,), float64: distance to the neighbour that density and coverage count to


def manifold(features: Tensor, precision_neighbours: int = 3, density_neighbours: int = 5) -> Manifold:
    """Return the balls around ``(n, d)`` features; ``n`` must exceed both numbers of neighbours."""
    most = max(precision_neighbours, density_neighbours) + 1  # the nearest neighbour found is always the picture itself
    radii = torch.empty(2, len(features), dtype=torch.float64)
    for rows, distances in _distances(features, features):
        nearest = distances.topk(most, dim=1, largest=False).values
        radii[0, rows], radii[1, rows] = nearest[:, precision_neighbours], nearest[:, density_neighbours]
    return Manifold(features, radii[0].clone(), radii[1].clone())


def compare(generated: Manifold, real: Manifold, density_neighbours: int = 5) -> dict[str, float]:
    """Return precision, recall, density and coverage of generated against real pictures.

    Memory does not grow with the product of the two sizes; time does.
    """
    precise, inside = 0, 0
    recalled = torch.zeros(len(real.features), dtype=torch.bool)
    covered = torch.zeros(len(real.features), dtype=torch.bool)
    for rows, distances in _distances(generated.features, real.features):
        precise += int((distances <= real.precision_radii).any(dim=1).sum())
        recalled |= (distances <= generated.precision_radii[rows, None]).any(dim=0)
        within = distances <= real.density_radii
        inside += int(within.sum())
        covered |= within.any(dim=0)
    return {
        "precision": precise / len(generated.features),
        "recall": recalled.double().mean().item(),
        "density": inside / (density_neighbours * len(generated.features)),
        "coverage": covered.double().mean().item(),
    }


def _distances(left: Tensor, right: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Yield ``(rows of left, distances (rows, len(right)))`` in float64, a bounded number at once, in one reused block.

    By the identity |x - y|² = |x|² + |y|² - 2 x·y, which is fast and loses the last digits: what is left of two equal
    vectors is rounding noise of about 1e-16 |x|², so anything that small counts as no distance at all. Without that,
    whether a copy lies inside a ball of radius 0 would be up to chance.
    """
    right = right.double()
    right_squares = right.square().sum(dim=1)
    step = max(1, min(len(left), CELLS // max(1, len(right))))
    squares, distances = torch.empty(2, step, len(right), dtype=torch.float64)  # used again and again
    for start in range(0, len(left), step):
        part = left[start : start + step].double()
        rows = slice(start, start + len(part))
        scale, block = squares[: len(part)], distances[: len(part)]
        torch.add(part.square().sum(dim=1, keepdim=True), right_squares, out=scale)
        torch.addmm(scale, part, right.T, alpha=-2, out=block)
        block.masked_fill_(block < scale.mul_(1e-12), 0)
        yield rows, block.sqrt_()
