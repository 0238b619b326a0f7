"""What scores look like, as uint8 ``(H, W, 3)`` pictures: confusion, reliability, and the classes one by one."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from darkroom.figures import rendered
from darkroom.metrics.reliability import Reliability

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BLUE, RED, GREY = "#084878", "#b03020", "#8a8a8a"
LONGEST = 40  # classes drawn one by one; of more, those with the lowest F1


def draw_reliability(after: Reliability, before: Reliability | None = None, temperature: float = 1.0) -> np.ndarray:
    """Return a reliability diagram (Guo et al. 2017, fig. 4), two of them where a temperature changed the confidence.

    Bars reach to the accuracy in each bin of confidence, thin lines are its 95% intervals (Jeffreys); the gap to the
    mean confidence is red where that is higher and pale where it is lower. Below, on a logarithmic scale, the share of
    pictures in each bin.
    """
    from matplotlib.figure import Figure

    if before is None:
        panels = [(after, f"ECE {after.error:.4f}")]
    else:
        panels = [
            (before, f"as trained: ECE {before.error:.4f}"),
            (after, f"with temperature {temperature:.3g}: ECE {after.error:.4f}"),
        ]
    figure = Figure(figsize=(0.6 + 4.2 * len(panels), 6.3), dpi=110, layout="constrained")
    axes = figure.subplots(2, len(panels), sharex=True, sharey="row", squeeze=False, height_ratios=[3.4, 1])
    for column, (panel, title) in enumerate(panels):
        _draw_gaps(axes[0, column], panel)
        _draw_histogram(axes[1, column], panel)
        axes[0, column].set_title(title, fontsize=11)
        axes[1, column].set_xlabel("confidence")
    axes[0, 0].set_ylabel("accuracy")
    axes[1, 0].set_ylabel("share of pictures")
    handles = [handle for row in axes[:, 0] for handle in row.get_legend_handles_labels()[0]]
    figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    figure.suptitle(f"Right as often as it is sure? {int(after.counts.sum()):,} pictures", fontsize=12)
    return rendered(figure)


def _draw_gaps(axes: "Axes", panel: Reliability) -> None:
    from scipy.stats import beta

    width = 1 / len(panel.counts)
    filled = panel.counts > 0
    centres = ((np.arange(len(panel.counts)) + 0.5) * width)[filled]
    right, sure = panel.accuracy[filled], panel.confidence[filled]
    lower = np.minimum(right, sure)
    axes.bar(centres, lower, 0.94 * width, color=BLUE, label="right")
    axes.bar(centres, sure - lower, 0.94 * width, lower, color=RED, alpha=0.45, label="too sure by")
    axes.bar(centres, right - lower, 0.94 * width, lower, color=BLUE, alpha=0.35, label="not sure enough by")
    axes.plot([0, 1], [0, 1], color=GREY, linestyle="--", linewidth=1)
    hits, misses = panel.right[filled] + 0.5, (panel.counts - panel.right)[filled] + 0.5
    low, high = (beta.ppf(quantile, hits, misses) for quantile in (0.025, 0.975))
    axes.vlines(centres, low, high, color="black", linewidth=0.9, label="95% interval")
    axes.set(xlim=(0, 1), ylim=(0, 1.01))
    _bare(axes)


def _draw_histogram(axes: "Axes", panel: Reliability) -> None:
    count = panel.counts.sum()
    width = 1 / len(panel.counts)
    centres = (np.arange(len(panel.counts)) + 0.5) * width
    axes.bar(centres, panel.counts / count, 0.94 * width, color="#bcbcbc")
    axes.axvline(panel.right.sum() / count, color=BLUE, label="accuracy")
    axes.axvline(panel.sure.sum() / count, color=RED, linestyle="--", label="mean confidence")
    axes.set_yscale("log")
    axes.set(xlim=(0, 1), ylim=(0.5 / count, 1.3))
    axes.yaxis.set_major_formatter(lambda share, _: f"{100 * share:g}%")
    _bare(axes)


def draw_classes(scores: Mapping[str, Sequence[float]], counts: Sequence[int]) -> np.ndarray:
    """Return precision, recall and F1 of every class as rows of marks; of more than 40, the 40 with the lowest F1.

    ``scores`` are by class, ``counts`` the pictures of each.
    """
    from matplotlib.figure import Figure

    rows = list(zip(scores.items(), counts, strict=True))
    title = "Class by class"
    if len(rows) > LONGEST:
        title = f"The {LONGEST} hardest of {len(rows)} classes"
        rows = sorted(rows, key=lambda row: row[0][1][2])[:LONGEST]
    figure = Figure(figsize=(7.2, 1.5 + 0.3 * len(rows)), dpi=110, layout="constrained")
    axes = figure.subplots()
    heights = np.arange(len(rows))
    values = np.array([triple for (_, triple), _ in rows])
    axes.hlines(heights, values.min(axis=1), values.max(axis=1), color=GREY, linewidth=1.5, zorder=1)
    looks = (("precision", RED, ">"), ("recall", BLUE, "<"), ("F1", "black", "|"))
    for column, (name, colour, marker) in enumerate(looks):
        axes.scatter(values[:, column], heights, color=colour, marker=marker, s=44, label=name, zorder=2)
    axes.set_yticks(heights, [f"{name} ({count:,})" for (name, _), count in rows])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    lowest = float(values.min())
    axes.set_xlim(max(0.0, lowest - 0.06 * (1.02 - lowest) - 0.002), 1 + 0.03 * (1.02 - lowest))
    axes.grid(axis="x", color="#e4e4e4")
    axes.set_axisbelow(True)
    axes.set_title(title, fontsize=12, loc="left")
    figure.legend(loc="outside lower center", ncols=3, frameon=False)
    _bare(axes)
    return rendered(figure)


def _bare(axes: "Axes") -> None:
    axes.spines[["top", "right"]].set_visible(False)


def draw_confusion(table: np.ndarray, class_names: list[str]) -> np.ndarray:
    """Return a confusion matrix as a uint8 ``(H, W, 3)`` picture: true classes are rows, named classes columns.

    ``table`` holds counts ``(K, K)``. A cell is the darker the larger its share of the row, on a square root scale, so
    that one mistake in a hundred is visible; up to 30 classes have names and counts in them.
    """
    classes = len(class_names)
    labelled = classes <= 30
    cell = 40 if classes <= 12 else 28 if labelled else max(2, 600 // classes)
    font = ImageFont.load_default(size=13 if cell >= 40 else 10)
    names = [name if len(name) <= 14 else f"{name[:13]}…" for name in class_names]
    margin = int(max(font.getlength(name) for name in names)) + 34 if labelled else 30
    side = margin + classes * cell + 12
    picture = Image.new("RGB", (side, side), "white")
    draw = ImageDraw.Draw(picture)
    rows = table.sum(axis=1, keepdims=True)
    darkness = np.sqrt(table / np.maximum(rows, 1))
    for row in range(classes):
        for column in range(classes):
            left, top = margin + column * cell, margin + row * cell
            ink = np.array([8, 72, 120] if row == column else [176, 48, 32])
            colour = np.round(255 + (ink - 255) * darkness[row, column]).astype(int)
            draw.rectangle((left, top, left + cell - 2, top + cell - 2), fill=(colour[0], colour[1], colour[2]))
            count = int(table[row, column])
            if labelled and count:
                draw.text(
                    (left + cell / 2, top + cell / 2),
                    str(count) if count < 10_000 else f"{count / 1000:.0f}k",
                    fill="white" if darkness[row, column] > 0.55 else "black",
                    font=font,
                    anchor="mm",
                )
    for index, name in enumerate(names if labelled else []):
        centre = margin + index * cell + cell / 2
        draw.text((margin - 6, centre), name, fill="black", font=font, anchor="rm")
        _write_upwards(picture, name, font, centre, margin - 6)
    draw.text((margin + classes * cell / 2, 10), "named", fill="gray", font=font, anchor="mm")
    _write_upwards(picture, "true", font, 10, margin + classes * cell / 2 + 14, "gray")
    return np.asarray(picture)


def _write_upwards(
    picture: Image.Image,
    text: str,
    font: "ImageFont.FreeTypeFont | ImageFont.ImageFont",
    centre: float,
    bottom: float,
    fill: str = "black",
) -> None:
    """Write a text that reads from bottom to top."""
    strip = Image.new("RGB", (int(font.getlength(text)) + 2, 18), "white")
    ImageDraw.Draw(strip).text((0, 9), text, fill=fill, font=font, anchor="lm")
    strip = strip.rotate(90, expand=True)
    picture.paste(strip, (int(centre - strip.width / 2), int(bottom - strip.height)))
