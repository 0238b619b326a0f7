"""A study as pictures: which settings mattered, and how the points lie, as PNG files."""

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from darkroom.figures import as_png
from darkroom.sweeping.space import Dimension, brief, text
from darkroom.sweeping.study import Point, Study

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, RED, GREY = "#084878", "#b03020", "#9a9a9a"
_TICKS = 5


def draw(study: Study) -> dict[str, bytes]:
    """Return the pictures there are points enough for, by the name of their file."""
    found = {}
    if (importance := study.importance()) and sum(map(sum, importance.values())) > 0:
        found["importance.png"] = as_png(_draw_importance(study, importance))
    if len(study.finished) >= 2:
        found["parallel.png"] = as_png(_draw_parallel(study))
    return found


def _draw_importance(study: Study, importance: dict[str, list[float]]) -> "Figure":
    """Draw the share of the variance that each setting explains, the largest on top."""
    from matplotlib.figure import Figure

    words = study.space.labels()
    keys = sorted(importance, key=lambda key: importance[key][0])
    count = len(study.objectives)
    figure = Figure(figsize=(7.5, 1.4 + 0.45 * count * len(keys)), dpi=110, layout="constrained")
    axes = figure.subplots()
    for index, metric in enumerate(study.objectives):
        height = 0.75 / count
        places = np.arange(len(keys)) + (index - (count - 1) / 2) * height
        values = [importance[key][index] for key in keys]
        axes.barh(places, values, 0.92 * height, color=(BLUE, RED, GREY)[index % 3], label=metric)
        for place, value in zip(places, values, strict=True):
            axes.text(value + 0.01, place, f"{value:.0%}", va="center", fontsize=9)
    axes.set_yticks(range(len(keys)), [words[key] for key in keys])
    axes.set_xlim(0, 1.08)
    axes.set_xlabel("share of the variance it explains (fANOVA)")
    axes.spines[["top", "right"]].set_visible(False)
    if count > 1:
        axes.legend(frameon=False, loc="lower right")
    axes.set_title(f"What mattered for {', '.join(study.objectives)}: {len(study.finished)} points", fontsize=11)
    return figure


def _draw_parallel(study: Study) -> "Figure":
    """Draw every point as a line over the settings to what came of it; what came to nothing ends before that."""
    from matplotlib.colors import LinearSegmentedColormap, Normalize
    from matplotlib.figure import Figure

    dimensions, words = study.space.dimensions, study.space.labels()
    columns = len(dimensions) + len(study.objectives)
    figure = Figure(figsize=(1.6 + 1.55 * columns, 4.6), dpi=110, layout="constrained")
    axes = figure.subplots()
    finished = study.finished
    best = study.best
    scales = [_scale([point.objectives[index] for point in finished]) for index in range(len(study.objectives))]
    first, mode = [point.objectives[0] for point in finished], next(iter(study.objectives.values()))
    order = np.argsort(np.argsort(first if mode == "min" else [-value for value in first]))  # colours by rank
    ranks = {point.number: rank for point, rank in zip(finished, order, strict=True)}
    colours = LinearSegmentedColormap.from_list("ranks", [BLUE, "#86a9c4", "#dddddd"])
    normal = Normalize(0, max(1, len(finished) - 1))
    drawn = sorted(study.points, key=lambda point: -ranks.get(point.number, len(finished)))
    for point in drawn:
        if point.state == "open":
            continue
        heights = [_height(each, point) for each in dimensions]
        heights += (
            [scale(value) for scale, value in zip(scales, point.objectives, strict=False)]
            if point.state == "finished"
            else []
        )
        known = [(place, height) for place, height in enumerate(heights) if height is not None]
        style: dict[str, Any] = {"color": GREY, "linestyle": ":", "linewidth": 0.9}
        if point.state == "finished":
            top = any(point is each for each in best)
            colour = RED if top else colours(normal(ranks[point.number]))
            style = {"color": colour, "linewidth": 2.4 if top else 1.2, "zorder": 3 if top else 2}
        axes.plot([place for place, _ in known], [height for _, height in known], marker=".", **style)
    for place, dimension in enumerate(dimensions):
        _axis(axes, place, [(label, height) for label, height in _marks(dimension)])
    for index, scale in enumerate(scales):
        values = [point.objectives[index] for point in finished]
        marks = np.linspace(min(values), max(values), _TICKS) if min(values) < max(values) else [values[0]]
        _axis(axes, len(dimensions) + index, [(f"{value:.3g}", scale(value)) for value in marks])
    names = [words[each.key] for each in dimensions] + list(study.objectives)
    axes.set_xticks(range(columns), [name.replace(".", ".\n") for name in names], fontsize=9)
    axes.set_yticks([])
    axes.set_xlim(-0.35, columns - 0.35)
    axes.set_ylim(-0.06, 1.06)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    others = len([point for point in study.points if point.state in ("pruned", "failed")])
    ended = f", {others} pruned or failed (dotted)" if others else ""
    axes.set_title(f"{len(finished)} points{ended}; red is best, blue better than grey", fontsize=11)
    return figure


def _axis(axes: "Axes", place: int, marks: list[tuple[str, float]]) -> None:
    axes.plot([place, place], [0, 1], color="#444444", linewidth=0.8, zorder=1)
    for label, height in marks:
        axes.text(
            place + 0.04,
            height,
            label,
            fontsize=8,
            va="center",
            zorder=4,
            bbox={"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 0.6},
        )


def _scale(values: list[float]) -> Any:
    """Return what puts a value between 0 and 1."""
    low, high = min(values), max(values)
    return lambda value: 0.5 if high == low else (value - low) / (high - low)


def _height(dimension: Dimension, point: Point) -> float | None:
    if dimension.key not in point.values:
        return None
    value = point.values[dimension.key]
    if dimension.choices:
        texts = [text(choice) for choice in dimension.choices]
        return _spread(texts.index(text(value)), len(texts))
    low, high = dimension.low, dimension.high
    if dimension.log:
        return (math.log(value) - math.log(low)) / (math.log(high) - math.log(low))
    return float((value - low) / (high - low))


def _marks(dimension: Dimension) -> list[tuple[str, float]]:
    """Return what is written on an axis, and how high."""
    if dimension.choices:
        count = len(dimension.choices)
        return [(brief(choice), _spread(index, count)) for index, choice in enumerate(dimension.choices)]
    shares = [index / (_TICKS - 1) for index in range(_TICKS)]
    low, high = dimension.low, dimension.high
    values = [low * (high / low) ** share if dimension.log else low + share * (high - low) for share in shares]
    return [(f"{value:.2g}", share) for value, share in zip(values, shares, strict=True)]


def _spread(index: int, count: int) -> float:
    return 0.5 if count == 1 else index / (count - 1)
