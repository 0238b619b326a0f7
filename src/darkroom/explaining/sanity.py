"""Can an explanation be trusted? It must find what the answer rests on, and change when the network does."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from darkroom.explaining.attribution import CHUNK, Method, attribute, colourless, edges
from darkroom.models.explainable import Explainable

STEPS = 16  # shares of the picture that are taken away one after another
GRID = 8  # squares along each side that are taken away as a whole
ORDERS = 4  # random orders that a method is compared with
REDRAWS = 2  # networks with random weights
SURVIVES = 0.5  # an explanation that correlates more than this with one of random weights says little of the network
CERTAIN = 0.01  # the chance of calling a method better than random order that is not
FEWEST = 8  # pictures below which nothing can be said
CONTROL = "edges"  # the name of the row for what looks at the picture alone
TRUST = "trust"
SURVIVOR = "flagged: survives random weights"
PLACES_SURVIVE = "flagged: its places survive random weights, its signs do not"
NO_BETTER = "no better than random order"
TOO_FEW = "too few pictures to say"
ALONE = "control: looks at the picture alone"


@dataclass(frozen=True)
class Finding:
    """What the tests say of one method.

    ``deletion`` and ``insertion`` are mean probabilities of the target, ``(STEPS + 1,)``, after shares 0 to 1 of the
    pixels were taken away or brought back, the most important first. ``same_order`` and ``same_places`` are Spearman
    correlations between the explanations of the network and of one with random weights: of the values, and of their
    magnitudes. Random order itself has no correlations.
    """

    name: str
    deletion: list[float]
    insertion: list[float]
    same_order: float | None
    same_places: float | None
    verdict: str

    @property
    def deletion_area(self) -> float:
        """The mean probability while pixels are taken away: low when the important ones go first."""
        return area(torch.tensor(self.deletion)).item()

    @property
    def insertion_area(self) -> float:
        """The mean probability while pixels are brought back: high when the important ones come first."""
        return area(torch.tensor(self.insertion)).item()

    def to_dict(self) -> dict[str, Any]:
        """Return plain containers."""
        return {**vars(self), "deletion_area": self.deletion_area, "insertion_area": self.insertion_area}


def examine(
    explainable: Explainable,
    methods: Mapping[str, Method],
    images: Tensor,
    targets: Tensor,
    seed: int,
) -> list[Finding]:
    """Test every method on these pictures ``(N, C, H, W)``; the control and random order come last.

    ``explainable`` is ``ready``. ``seed`` gives the random orders and the random weights.
    """
    generator = torch.Generator().manual_seed(seed)
    shape = (len(images), *images.shape[2:])
    drawn = [curves(explainable, images, targets, torch.rand(shape, generator=generator)) for _ in range(ORDERS)]
    by_chance = tuple(torch.stack(parts).mean(dim=0) for parts in zip(*drawn, strict=True))
    strangers = [redrawn(explainable, images, seed + number) for number in range(REDRAWS)]
    findings = []
    for name, method in {**methods, CONTROL: edges}.items():
        maps = attribute(method, explainable, images, targets)
        deletion, insertion = curves(explainable, images, targets, maps, seed)
        others = [attribute(method, stranger, images, targets) for stranger in strangers]
        same_order = float(np.mean([correlation(maps, other) for other in others]))
        same_places = float(np.mean([correlation(maps.abs(), other.abs()) for other in others]))
        words = verdict(area(deletion), area(by_chance[0]), same_order, same_places)
        findings.append(
            Finding(
                name,
                deletion.mean(dim=0).tolist(),
                insertion.mean(dim=0).tolist(),
                same_order,
                same_places,
                ALONE if name == CONTROL else words,
            )
        )
    chance = [curve.mean(dim=0).tolist() for curve in by_chance]
    return [*findings, Finding("random order", chance[0], chance[1], None, None, "")]


def verdict(areas: Tensor, areas_by_chance: Tensor, same_order: float, same_places: float) -> str:
    """Return in words what deletion areas ``(N,)``, those of random order, and the correlations amount to."""
    from scipy.stats import ttest_rel

    if same_order > SURVIVES:
        return SURVIVOR
    if same_places > SURVIVES:
        return PLACES_SURVIVE
    if len(areas) < FEWEST:
        return TOO_FEW
    better = ttest_rel(areas.double().numpy(), areas_by_chance.double().numpy(), alternative="less")
    return TRUST if better.pvalue < CERTAIN else NO_BETTER


@torch.no_grad()
def curves(
    explainable: Explainable, images: Tensor, targets: Tensor, maps: Tensor, seed: int = 0
) -> tuple[Tensor, Tensor]:
    """Return the probability of each picture's target under deletion and under insertion, ``(N, STEPS + 1)`` each.

    What goes, or comes, are the squares of a grid, in order of the mean of ``maps`` ``(N, H, W)`` in them, equal ones
    in random order; where one is gone stands the picture's mean colour (after Petsiuk et al. 2018). Pixel by pixel,
    random order would win too easily: scattered holes are a noise that blinds a network wherever they are.
    """
    grid = (min(GRID, maps.shape[1]), min(GRID, maps.shape[2]))
    squares = F.adaptive_avg_pool2d(maps, grid).flatten(1)
    count, total = squares.shape
    shuffled = torch.randperm(total, generator=torch.Generator().manual_seed(seed))
    order = shuffled[squares[:, shuffled].argsort(dim=1, descending=True, stable=True)]
    places = torch.empty_like(order).scatter_(1, order, torch.arange(total).expand_as(order))
    places = F.interpolate(places.view(count, 1, *grid).float(), tuple(maps.shape[1:]), mode="nearest").to(
        images.device
    )
    empty = colourless(images)
    deletion: list[Tensor] = []
    insertion: list[Tensor] = []
    for step in range(STEPS + 1):
        first = places < round(step * total / STEPS)
        for seen, curve in (
            (torch.where(first, empty, images), deletion),
            (torch.where(first, images, empty), insertion),
        ):
            parts = zip(torch.split(seen, CHUNK), torch.split(targets, CHUNK), strict=True)
            curve.append(torch.cat([explainable.probabilities(some, wanted) for some, wanted in parts]).float().cpu())
    return torch.stack(deletion, dim=1), torch.stack(insertion, dim=1)


def area(curve: Tensor) -> Tensor:
    """Return the area under curves ``(..., S)`` over shares 0 to 1, by trapezia."""
    return torch.trapezoid(curve, dim=-1) / (curve.shape[-1] - 1)


def correlation(one: Tensor, other: Tensor) -> float:
    """Return Spearman's rank correlation of the maps ``(N, H, W)`` of each picture, averaged; 0 for a constant map."""
    from scipy.stats import rankdata

    ranks = [rankdata(maps.flatten(1).double().numpy(), axis=1) for maps in (one, other)]
    first, second = (rank - rank.mean(axis=1, keepdims=True) for rank in ranks)
    scale = np.sqrt((first**2).sum(axis=1) * (second**2).sum(axis=1))
    return float(np.divide((first * second).sum(axis=1), scale, out=np.zeros(len(scale)), where=scale > 0).mean())


@torch.no_grad()
def redrawn(explainable: Explainable, images: Tensor, seed: int) -> Explainable:
    """Return the same outputs of a network with random weights (Adebayo et al. 2018).

    Matrices and kernels become normal noise of the same power, vectors (biases, scales) are put in random order, and
    batch normalisation takes its statistics from these pictures, so that activations keep their size.
    """
    outputs: nn.Module
    outputs, layers = copy.deepcopy((explainable.outputs, explainable.layers))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for weight in outputs.parameters():
            if weight.ndim > 1:
                power = weight.square().mean().sqrt()
                weight.copy_(torch.randn(weight.shape).to(weight) * power)
            elif weight.ndim == 1:
                weight.copy_(weight[torch.randperm(len(weight)).to(weight.device)])
        torch.optim.swa_utils.update_bn(torch.split(images, CHUNK), outputs)
    return replace(explainable, outputs=outputs.eval(), layers=layers)
