"""The certificate of a judge as a picture: what it was shown, and what it made of it."""

from typing import TYPE_CHECKING

import numpy as np
import torch

from darkroom import images
from darkroom.data.contract import Data
from darkroom.figures import rendered
from darkroom.judges.certificate import LEAST, Certificate
from darkroom.judges.certifying import CHUNK, damaged, seed_of
from darkroom.judges.judge import Judge

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = ("#084878", "#b03020", "#3c7a3c", "#a06a10")
SHOWN = 2  # pictures, each damaged in every way


def draw_certificate(judge: Judge, certificate: Certificate, data: Data) -> np.ndarray:
    """Return a uint8 ``(H, W, 3)`` picture: damaged pictures with the judge's distance under each, and the curves."""
    from matplotlib.figure import Figure

    columns = 1 + max(len(ranking.strengths) for ranking in certificate.rankings.values())
    rows = SHOWN * len(certificate.rankings)
    figure = Figure(figsize=(1.05 * columns + 5.4, 1.22 * rows + 0.9), dpi=100, layout="constrained")
    left, right = figure.subfigures(1, 2, squeeze=False, width_ratios=[1.05 * columns, 5.2])[0]
    tiles = left.subplots(rows, columns, squeeze=False)
    indices = torch.arange(min(CHUNK, certificate.images))  # as they were certified: noise depends on the whole chunk
    batch = data.pictures(certificate.split).batch(indices)
    chosen = torch.linspace(0, len(indices) - 1, SHOWN).long()
    for number, (kind, ranking) in enumerate(certificate.rankings.items()):
        top = SHOWN * number
        for row, picture in enumerate(batch[chosen]):
            _draw_tile(tiles[top + row, 0], picture, "as it is" if row == 0 else "")
        tiles[top, 0].set_ylabel(kind, fontsize=11, color=COLOURS[number % len(COLOURS)], fontweight="bold")
        for column, strength in enumerate(ranking.strengths, start=1):
            worse = damaged(batch, kind, strength, seed_of(certificate.seed, 0))[chosen]
            far = judge.distance(batch[chosen], worse)
            for row, picture in enumerate(worse):
                _draw_tile(tiles[top + row, column], picture, f"{far[row]:.2g}", f"{strength:g}" if row == 0 else "")

    panels = right.subplots(3, 1, sharex=True)
    for number, (kind, ranking) in enumerate(certificate.rankings.items()):
        steps = np.arange(1, 1 + len(ranking.strengths))
        colour = COLOURS[number % len(COLOURS)]
        looks = {"color": colour, "marker": "o", "markersize": 3.5, "linewidth": 1.4}
        panels[0].fill_between(steps, ranking.low, ranking.high, color=colour, alpha=0.15, linewidth=0)
        panels[0].plot(steps, ranking.distances, label=f"{kind} ({ranking.spearman:.3f})", **looks)
        panels[1].plot(steps, ranking.feature_distances, **looks)
        panels[2].plot(steps, ranking.fids, **looks)
    titles = (
        "distance through all layers: mean, and eight in ten pictures",
        "distance between features: mean",
        "FID of the damaged pictures against themselves undamaged",
    )
    for axes, title in zip(panels, titles, strict=True):
        axes.set_title(title, fontsize=10, loc="left")
        axes.set_yscale("log")
        axes.grid(color="#e8e8e8")
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].legend(frameon=False, fontsize=8, title="rank correlation, picture by picture", title_fontsize=8)
    panels[2].set_xlabel("strength of the damage, from the weakest to the strongest")
    verdict = "passed" if certificate.passed else "FAILED"
    figure.suptitle(
        f"{judge.name}-{judge.hash[:8]}: certificate {verdict}"
        f" ({certificate.images:,} pictures of {certificate.data} {certificate.split}; at least {LEAST} is asked for)",
        fontsize=12,
    )
    return rendered(figure)


def _draw_tile(axes: "Axes", picture: torch.Tensor, below: str, above: str = "") -> None:
    array = np.asarray(images.to_pil(picture))
    axes.imshow(array, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
    axes.set_xlabel(below, fontsize=8, labelpad=2)
    axes.set_title(above, fontsize=8, pad=2, color="#606060")
