"""Explanations and their tests as pictures."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from darkroom.explaining.explanation import Explanation
from darkroom.explaining.sanity import CONTROL, Finding
from darkroom.figures import rendered
from darkroom.images import enlarged, to_uint8

if TYPE_CHECKING:
    from torch import Tensor

CELL = 112  # pixels that the shorter side of a picture is enlarged to, at least
COLUMNS, WIDEST = 10, 1400  # pictures beside each other, and the pixels that they take
FOR, AGAINST = (255, 176, 0), (64, 128, 255)  # told apart by people with any colour vision, on black and on white
PAPER, INK, FAINT = (255, 255, 255), (24, 24, 24), (120, 120, 120)
GAP, LINE, LEFT = 6, 15, 92
EMPTY, FULL = 0.1, 0.99  # the quantiles shown in no and in full colour: one loud pixel must not silence the rest


def draw(explanation: Explanation, title: str) -> np.ndarray:
    """Return the sheet as a uint8 ``(H, W, 3)`` picture: a column a picture, a row a method, captions above.

    Pictures are enlarged by whole factors without smoothing. Each map has its own scale: full colour is its 99th
    percentile.
    """
    count, _, height, width = explanation.images.shape
    scale = max(1, -(-CELL // min(height, width)))
    rows = len(explanation.maps) + 1
    cell_width, cell_height = max(width * scale, CELL) + GAP, height * scale + GAP
    columns = min(count, COLUMNS, max(1, WIDEST // cell_width))
    band = 2 * LINE + GAP + rows * cell_height + GAP
    bands = -(-count // columns)
    font = ImageFont.load_default(size=12)
    least = int(max(font.getlength(title) + 20, LEFT + 470))
    page = Image.new("RGB", (max(LEFT + columns * cell_width + GAP, least), 30 + bands * band + 2 * LINE), PAPER)
    write = ImageDraw.Draw(page)
    write.text((10, 15), title, fill=INK, font=ImageFont.load_default(size=14), anchor="lm")
    shown = [enlarged(to_uint8(explanation.images), scale)]
    shown += [enlarged(overlay(explanation.images, maps), scale) for maps in explanation.maps.values()]
    names = ["picture", *(name.replace("_", "\n") for name in explanation.maps)]
    for first in range(0, count, columns):
        top = 30 + first // columns * band
        for row, name in enumerate(names):
            middle = top + 2 * LINE + row * cell_height + cell_height // 2
            write.multiline_text((LEFT - 10, middle), name, fill=FAINT, font=font, anchor="rm", align="right")
        for column in range(min(columns, count - first)):
            left, number = LEFT + column * cell_width, first + column
            for line, text in enumerate(explanation.captions[number].split("\n")):
                fitted = _fitted(text, font, cell_width - GAP)
                write.text((left, top + line * LINE), fitted, fill=INK if line else FAINT, font=font)
            for row, pictures in enumerate(shown):
                page.paste(Image.fromarray(pictures[number]), (left, top + 2 * LINE + GAP // 2 + row * cell_height))
    _legend(write, font, 30 + bands * band + 4, explanation.about)
    return np.asarray(page)


def overlay(images: "Tensor", maps: "Tensor") -> np.ndarray:
    """Return grey pictures under their maps ``(B, H, W)``, uint8 ``(B, H, W, 3)``: the stronger, the denser.

    Of a map that is never negative only what rises above its 10th percentile is shown: it says where, not whether.
    """
    base = maps.flatten(1).quantile(EMPTY, dim=1).clamp(min=0)[:, None, None]
    maps = torch.where((maps >= 0).flatten(1).all(dim=1)[:, None, None], (maps - base).clamp(min=0), maps)
    size = maps.abs().flatten(1).quantile(FULL, dim=1).clamp(min=1e-12)[:, None, None]
    strength = (maps / size).clamp(-1, 1)[..., None]
    # Grey and of little contrast, so that black ink, white paper and the colours can be told apart.
    ground = 64 + 0.5 * to_uint8(images).float().mean(dim=1)[..., None].expand(*maps.shape, 3)
    colour = torch.where(strength > 0, torch.tensor(FOR), torch.tensor(AGAINST)).float()
    density = strength.abs() ** 0.7 * 0.9
    mixed = ground * (1 - density) + colour * density
    return mixed.round().clamp(0, 255).to(torch.uint8).numpy()


def draw_curves(findings: Sequence[Finding], title: str) -> np.ndarray:
    """Return deletion and insertion curves as a uint8 ``(H, W, 3)`` picture."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4), dpi=100, layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    for axes, which, words in ((left, "deletion", "taken away"), (right, "insertion", "brought back")):
        for finding in findings:
            values = getattr(finding, which)
            known = finding.same_order is not None and finding.name != CONTROL
            style = {"linewidth": 2} if known else {"linewidth": 1.2, "color": "gray"}
            dashes = "-" if known else "--" if finding.name == CONTROL else ":"
            label = f"{finding.name.replace('_', ' ')}  {getattr(finding, f'{which}_area'):.2f}"
            axes.plot(np.linspace(0, 100, len(values)), values, dashes, label=label, **style)
        best = "lower is better" if which == "deletion" else "higher is better"
        axes.set(xlabel=f"pixels {words}, %", title=f"{which} ({best})", xlim=(0, 100), ylim=(0, 1.02))
        axes.legend(title="area", fontsize=8, title_fontsize=8, frameon=False)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.2)
    left.set_ylabel("mean probability")
    figure.suptitle(title, fontsize=11)
    return rendered(figure)


def _fitted(text: str, font: "ImageFont.FreeTypeFont | ImageFont.ImageFont", width: int) -> str:
    """Return as much of a text as there is room for; its end, which tells more, stays."""
    if font.getlength(text) <= width:
        return text
    kept = text
    while kept and font.getlength(f"…{kept}") > width:
        kept = kept[1:]
    return f"…{kept}"


def _legend(
    write: ImageDraw.ImageDraw, font: "ImageFont.FreeTypeFont | ImageFont.ImageFont", top: int, about: str
) -> None:
    """Write what the colours mean, with a bar that runs through them."""
    ramp = torch.linspace(-1, 1, 120)[None, None]
    bar = overlay(torch.zeros(1, 1, 1, 120), ramp)[0].repeat(12, axis=0)
    before = f"speaks against {about}"
    write.text((10, top + 8), before, fill=FAINT, font=font, anchor="lm")
    left = 10 + int(font.getlength(before)) + 8
    write._image.paste(Image.fromarray(bar), (left, top + 2))
    write.text((left + 128, top + 8), "speaks for it; each map on its own scale", fill=FAINT, font=font, anchor="lm")
