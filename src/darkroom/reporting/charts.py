"""Curves and clouds as SVG that stands in the page itself; what the mouse reads off them is in their attributes."""

import html
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

STYLES = 8  # colours, dashes and marks of the style sheet; further series are drawn alike, thin and grey
WIDTH, HEIGHT = 620, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 16, 14, 40
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


@dataclass(frozen=True)
class Level:
    """A value that something else reaches, drawn across."""

    name: str
    value: float


@dataclass(frozen=True)
class _Axis:
    """A range of values laid out between two places of the drawing."""

    least: float
    most: float
    first: float
    last: float
    logarithmic: bool

    @classmethod
    def over(cls, values: Sequence[float], first: float, last: float, margin: float, zero: bool = False) -> "_Axis":
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


def curves(series: Iterable[Series], levels: Iterable[Level], label: str, x_title: str, most_points: int) -> str:
    """Return lines over images seen, each with a mark at its end, thinned to ``most_points``; empty without points."""
    drawn = [Series(one.name, thinned(_finite(one.points), most_points), one.style) for one in series]
    return _drawing([one for one in drawn if one.points], list(levels), label, x_title, joined=True)


def cloud(series: Iterable[Series], label: str, x_title: str) -> str:
    """Return marks without lines; empty without points."""
    drawn = [Series(one.name, _finite(one.points), one.style) for one in series]
    return _drawing([one for one in drawn if one.points], [], label, x_title, joined=False)


def mark(style: int) -> str:
    """Return the sample of a style for a legend: a piece of its line, and its mark."""
    return (
        f'<svg class="sample {_class(style)}" viewBox="0 0 34 12" aria-hidden="true"><path class="line" d="M1 6H33"/>'
        f'<path class="mark" transform="translate(17 6)" d="{_MARKS[style % STYLES]}"/></svg>'
    )


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


def _drawing(series: list[Series], levels: list[Level], label: str, x_title: str, joined: bool) -> str:
    if not series:
        return ""
    ends = [one.points[-1][0] for one in series]
    apart = joined and min(ends) > 0 and max(ends) / min(ends) > _LOGARITHMIC  # short runs beside long ones
    if apart:
        series = [Series(one.name, [p for p in one.points if p[0] > 0], one.style) for one in series]
    xs = [x for one in series for x, _ in one.points]
    ys = [y for one in series for _, y in one.points]
    levels = [level for level in levels if _near(level.value, ys)]
    across = _Axis.over(xs, _LEFT, WIDTH - _RIGHT, 0.02 if joined else 0.06, zero=joined and not apart)
    upwards = _Axis.over(ys + [level.value for level in levels], HEIGHT - _BOTTOM, _TOP, 0.06)
    parts = [
        f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{html.escape(label, quote=True)}"'
        f' data-x="{across.words()}" data-y="{upwards.words()}" data-joined="{int(joined)}"'
        f' data-unit="{html.escape(x_title, quote=True)}">',
        *(_tick_across(across, value) for value in across.ticks(6)),
        *(_tick_upwards(upwards, value) for value in upwards.ticks(5)),
        f'<text class="title" x="{(_LEFT + WIDTH - _RIGHT) / 2:g}" y="{HEIGHT - 4}" text-anchor="middle">'
        f"{html.escape(x_title)}{', logarithmic' if across.logarithmic else ''}</text>",
    ]
    for level in levels:
        place = f"{upwards.place(level.value):.1f}"
        parts.append(
            f'<g class="level"><path d="M{_LEFT} {place}H{WIDTH - _RIGHT}"/><text x="{_LEFT + 6}" y="{place}"'
            f' dy="-4">{html.escape(level.name)} {level.value:.4g}</text></g>'
        )
    # The best stands first in the list, and is drawn last, on top.
    parts += [_series(one, across, upwards, joined) for one in reversed(series)]
    return "".join([*parts, '<path class="cursor" d=""/></svg>'])


def _series(series: Series, across: _Axis, upwards: _Axis, joined: bool) -> str:
    places = [(across.place(x), upwards.place(y)) for x, y in series.points]
    values = " ".join(f"{x:.6g},{y:.5g}" for x, y in series.points)
    name = html.escape(series.name, quote=True)
    parts = [f'<g class="series {_class(series.style)}" data-name="{name}" data-points="{values}">']
    if joined:
        parts.append(f'<path class="line" d="M{" ".join(f"{x:.1f} {y:.1f}" for x, y in places)}"/>')
    shape = _MARKS[series.style % STYLES]
    for x, y in places[-1:] if joined else places:
        parts.append(f'<path class="mark" transform="translate({x:.1f} {y:.1f})" d="{shape}"/>')
    return "".join([*parts, f"<title>{html.escape(series.name)}</title></g>"])


def _class(style: int) -> str:
    return f"s{style}" if style < STYLES else "others"


def _near(value: float, ys: Sequence[float]) -> bool:
    """Say whether a level can be drawn without pressing the curves together."""
    least, most = min(ys), max(ys)
    if value > 0 and least > 0 and most / least > _LOGARITHMIC:
        return least / 10 <= value <= most * 10
    apart = (most - least) or abs(most)
    return least - 0.6 * apart <= value <= most + 0.6 * apart


def _tick_across(axis: _Axis, value: float) -> str:
    place = f"{axis.place(value):.1f}"
    return (
        f'<g class="tick"><path d="M{place} {_TOP}V{HEIGHT - _BOTTOM}"/>'
        f'<text x="{place}" y="{HEIGHT - _BOTTOM + 15}" text-anchor="middle">{short(value)}</text></g>'
    )


def _tick_upwards(axis: _Axis, value: float) -> str:
    place = f"{axis.place(value):.1f}"
    return (
        f'<g class="tick"><path d="M{_LEFT} {place}H{WIDTH - _RIGHT}"/>'
        f'<text x="{_LEFT - 8}" y="{place}" dy="4" text-anchor="end">{short(value)}</text></g>'
    )
