"""Where curves and clouds lie in a drawing; the template makes SVG of it, in whose attributes the mouse reads."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar

STYLES = 8  # colours, dashes and marks of the style sheet; further series are drawn alike, thin and grey
_LOGARITHMIC = 20  # the largest over the smallest value from which on an axis is logarithmic
_HUGE = 1e300  # the store keeps infinities as the largest double
# Marks that are told apart without colour: circle, square, triangle, diamond, cross, turned triangle, plus, star.
_MARKS = (
    "M-4 0a4 4 0 1 0 8 0a4 4 0 1 0-8 0z",
    "M-3.5-3.5h7v7h-7z",
    "M0-4.5 4.2 3.5h-8.4z",
    "M0-5 5 0 0 5-5 0z",
    "M-4-4 4 4M-4 4 4-4",
    "M0 4.5 4.2-3.5h-8.4z",
    "M-5 0h10M0-5v10",
    "M0-5 1.5-1.5 5 0 1.5 1.5 0 5-1.5 1.5-5 0-1.5-1.5z",
)

Points = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Series:
    """Points under a name; series of one ``style`` look alike and share a line of the legend.

    A style from `STYLES` on is drawn as one of many others.
    """

    name: str
    points: Points
    style: int

    @property
    def values(self) -> str:
        """What the page's script tells of the points."""
        return " ".join(f"{x:.6g},{y:.5g}" for x, y in self.points)


@dataclass(frozen=True)
class Level:
    """A value that something else reaches, drawn across."""

    name: str
    value: float


@dataclass(frozen=True)
class Axis:
    """A range of values laid out between two places of the drawing."""

    least: float
    most: float
    first: float
    last: float
    logarithmic: bool

    @classmethod
    def over(cls, values: Sequence[float], first: float, last: float, margin: float, zero: bool = False) -> "Axis":
        """Lay out these values from ``zero`` or the least; logarithmically if all are positive and far apart."""
        least, most = min(values), max(values)
        if not zero and least > 0 and most / least > _LOGARITHMIC:
            apart = margin * math.log10(most / least)
            return cls(least * 10**-apart, most * 10**apart, first, last, True)
        if zero:
            least = min(least, 0.0)
        apart = margin * (most - least) or 0.05 * abs(most) or 1.0
        return cls(least if zero else least - apart, most + apart, first, last, False)

    def place(self, value: float) -> float:
        """Return where a value stands."""
        if self.logarithmic:
            share = math.log(value / self.least) / math.log(self.most / self.least)
        else:
            share = (value - self.least) / (self.most - self.least)
        return self.first + share * (self.last - self.first)

    def at(self, value: float) -> str:
        """Return where a value stands, as the drawing spells it."""
        return f"{self.place(value):.1f}"

    def ticks(self, count: int) -> list[float]:
        """Return round values that lie on the axis."""
        if self.logarithmic:
            decades = range(math.floor(math.log10(self.least)), math.ceil(math.log10(self.most)) + 1)
            for steps in ((1, 2, 5), (1, 3), (1,)):
                found = [step * 10.0**decade for decade in decades for step in steps]
                inside = [value for value in found if self.least <= value <= self.most]
                if len(inside) <= count + 1:
                    return inside
            return inside[:: math.ceil(len(inside) / count)]
        rough = (self.most - self.least) / count
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough)
        first = math.ceil(self.least / step)
        return [number * step for number in range(first, math.floor(self.most / step + 1e-9) + 1)]

    def words(self) -> str:
        """Return what the page's script needs to read values off places."""
        kind = "log" if self.logarithmic else "linear"
        return f"{kind} {self.least:.6g} {self.most:.6g} {self.first:g} {self.last:g}"


@dataclass(frozen=True)
class Chart:
    """Series and levels on two axes; the sides of the drawing are in its own units."""

    width: ClassVar = 620
    height: ClassVar = 300
    left: ClassVar = 64
    right: ClassVar = 604
    top: ClassVar = 14
    bottom: ClassVar = 260

    series: Sequence[Series]
    levels: Sequence[Level]
    across: Axis
    upwards: Axis
    label: str
    unit: str
    joined: bool

    def places(self, series: Series) -> list[str]:
        """Return where the points of a series stand."""
        return [f"{self.across.at(x)} {self.upwards.at(y)}" for x, y in series.points]


def curves(series: Iterable[Series], levels: Sequence[Level], label: str, unit: str, most_points: int) -> Chart | None:
    """Return lines over images seen, each with a mark at its end, thinned to ``most_points``; None without points."""
    drawn = [Series(one.name, thinned(_finite(one.points), most_points), one.style) for one in series]
    return _chart([one for one in drawn if one.points], levels, label, unit, joined=True)


def cloud(series: Iterable[Series], label: str, unit: str) -> Chart | None:
    """Return marks without lines; None without points."""
    drawn = [Series(one.name, _finite(one.points), one.style) for one in series]
    return _chart([one for one in drawn if one.points], [], label, unit, joined=False)


def look(style: int) -> str:
    """Return the class of a style in the style sheet."""
    return f"s{style}" if style < STYLES else "others"


def shape(style: int) -> str:
    """Return the path of a style's mark."""
    return _MARKS[style % STYLES]


def thinned(points: Points, most: int) -> Points:
    """Return at most so many of the points: the first, the last, and of every stretch its lowest and its highest."""
    if len(points) <= most:
        return points
    inner, parts = points[1:-1], max(1, (most - 2) // 2)
    kept: list[tuple[float, float]] = [points[0]]
    for part in range(parts):
        stretch = inner[part * len(inner) // parts : (part + 1) * len(inner) // parts]
        ends = {min(stretch, key=lambda point: point[1]), max(stretch, key=lambda point: point[1])}
        kept += sorted(ends)
    return [*kept, points[-1]]


def short(value: float) -> str:
    """Return a number for an axis: ``20k``, ``1.5M``, ``0.002``."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.4g}{letter}"
    return f"{0.0 if abs(value) < 1e-12 else value:.4g}"


def _finite(points: Points) -> Points:
    return [(x, y) for x, y in points if math.isfinite(x) and math.isfinite(y) and abs(y) < _HUGE]


def _chart(series: list[Series], levels: Sequence[Level], label: str, unit: str, joined: bool) -> Chart | None:
    if not series:
        return None
    ends = [one.points[-1][0] for one in series]
    apart = joined and min(ends) > 0 and max(ends) / min(ends) > _LOGARITHMIC  # short runs beside long ones
    if apart:
        series = [Series(one.name, [p for p in one.points if p[0] > 0], one.style) for one in series]
    xs = [x for one in series for x, _ in one.points]
    ys = [y for one in series for _, y in one.points]
    near = [level for level in levels if _near(level.value, ys)]
    across = Axis.over(xs, Chart.left, Chart.right, 0.02 if joined else 0.06, zero=joined and not apart)
    upwards = Axis.over(ys + [level.value for level in near], Chart.bottom, Chart.top, 0.06)
    return Chart(series, near, across, upwards, label, unit, joined)


def _near(value: float, ys: Sequence[float]) -> bool:
    """Say whether a level can be drawn without pressing the curves together."""
    least, most = min(ys), max(ys)
    if value > 0 and least > 0 and most / least > _LOGARITHMIC:
        return least / 10 <= value <= most * 10
    apart = (most - least) or abs(most)
    return least - 0.6 * apart <= value <= most + 0.6 * apart
