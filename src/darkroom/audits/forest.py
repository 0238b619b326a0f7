"""An audit as a picture: a row a group, its numbers with their intervals, and the gap that is tolerated as a band."""

import math
from typing import TYPE_CHECKING

import numpy as np

from darkroom.audits.audit import Audit, Group, Measure
from darkroom.audits.fairness import BEYOND, UNKNOWN, WITHIN, Estimate
from darkroom.figures import rendered

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST = 40  # rows; of more groups, the worst
LOOKS = {WITHIN: ("#084878", "o"), BEYOND: ("#b03020", "D"), UNKNOWN: ("#8a8a8a", "s")}  # colour and marker
BAND, RING = "#dcebf5", "#d08700"


def draw(audit: Audit, title: str) -> np.ndarray:
    """Return a uint8 ``(H, W, 3)`` picture: groups, worst first, with what they are ranked by, all gaps, and FID."""
    from matplotlib.figure import Figure

    groups, first = audit.ranked[:MOST], audit.measures[0]
    with_fid = any(_known(group.values.get("fid")) for group in groups)
    columns = 1 + len(audit.measures) + with_fid
    figure = Figure(figsize=(1.6 + 2.9 * columns, 1.9 + 0.33 * len(groups)), dpi=110, layout="constrained")
    panels = figure.subplots(1, columns, sharey=True)
    _draw_numbers(panels[0], groups, first.name, 100)
    panels[0].set_xlabel(f"{first.name}, %")
    for panel, measure in zip(panels[1:], audit.measures, strict=False):
        _draw_gaps(panel, audit, groups, measure)
    if with_fid:
        _draw_numbers(panels[-1], groups, "fid", 1)
        panels[-1].set_xlabel("FID")
    panels[0].set_yticks(range(len(groups)), [f"{group.name}  ({group.count:,})" for group in groups])
    panels[0].set_ylim(len(groups) - 0.4, -0.6)
    for panel in panels:
        panel.grid(axis="x", color="#e4e4e4")
        panel.set_axisbelow(True)
        panel.spines[["top", "right", "left"]].set_visible(False)
        panel.tick_params(axis="y", length=0)
    among = "" if len(groups) == len(audit.groups) else f" (the worst {MOST} of {len(audit.groups)} groups)"
    figure.suptitle(f"{title}{among}", fontsize=12, x=0.01, ha="left")
    handles = _legend(audit, any(_known(_ring(group, first.name)) for group in groups))
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False, fontsize=9)
    return rendered(figure)


def _draw_numbers(panel: "Axes", groups: list[Group], name: str, scale: float) -> None:
    """Draw each group's own number, and a ring where real pictures stand."""
    for row, group in enumerate(groups):
        _draw_estimate(panel, row, group.values.get(name), scale, "#333333", "o")
        if _known(ring := _ring(group, name)):
            panel.plot(scale * ring.value, row, "o", markersize=9, fillstyle="none", color=RING, markeredgewidth=1.6)


def _draw_gaps(panel: "Axes", audit: Audit, groups: list[Group], measure: Measure) -> None:
    tolerance = 100 * audit.settings.tolerance
    panel.axvspan(-tolerance, tolerance, color=BAND, linewidth=0)
    panel.axvline(0, color="#555555", linewidth=0.9)
    for row, group in enumerate(groups):
        colour, marker = LOOKS[audit.verdict(group, measure)]
        _draw_estimate(panel, row, group.gaps[measure.name], 100, colour, marker)
    low, high = panel.get_xlim()
    panel.set_xlim(min(low, -1.3 * tolerance), max(high, 1.3 * tolerance))
    whom = measure.against.removeprefix("than ")
    panel.set_xlabel(f"{measure.name.replace('_', ' ')}: gap to\n{whom},{measure.unit}".replace(",%", ", %"))


def _draw_estimate(panel: "Axes", row: int, estimate: Estimate | None, scale: float, colour: str, marker: str) -> None:
    if estimate is None or not _known(estimate):
        panel.annotate("not known", (0.5, row), xycoords=("axes fraction", "data"), ha="center", va="center",
                       fontsize=8, color="#8a8a8a")  # fmt: skip
        return
    panel.hlines(row, scale * estimate.low, scale * estimate.high, color=colour, linewidth=2)
    panel.plot(scale * estimate.value, row, marker, color=colour, markersize=6)


def _ring(group: Group, name: str) -> Estimate:
    value = group.beside.get(name, math.nan)
    return Estimate(value, value, value)


def _known(estimate: Estimate | None) -> bool:
    return estimate is not None and not math.isnan(estimate.value)


def _legend(audit: Audit, rings: bool) -> list[object]:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    tolerance = f"{100 * audit.settings.tolerance:g}"
    band = Patch(color=BAND, label=f"tolerated: {tolerance} either way")
    marks = [Line2D([], [], color=colour, marker=marker, label=said) for said, (colour, marker) in LOOKS.items()]
    ring = Line2D([], [], color=RING, marker="o", markersize=9, fillstyle="none", linestyle="", label="real pictures")
    return [band, *marks, *([ring] if rings else [])]
