"""Edits side by side: a row an edit, said in words at its left, what is the same for all rows said above."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from darkroom.images import enlarged

PAPER, INK, FAINT = (255, 255, 255), (24, 24, 24), (110, 110, 110)
CELL = 52  # pixels that the longer side of a picture is enlarged to, at least
GAP, APART, LINE, LEFT = 3, 14, 15, 10


@dataclass(frozen=True)
class Row:
    """Uint8 pictures ``(C, H, W)`` in a row, None where there is none, and what to say of them, a line or more.

    The first line is what the row is, the others what was measured.
    """

    lines: Sequence[str]
    pictures: Sequence[Tensor | None]


def draw(
    rows: Sequence[Row],
    headings: Sequence[str],
    title: str,
    caption: str,
    blocks: Sequence[int] = (),
    together: int = 1,
    cell: int = CELL,
) -> np.ndarray:
    """Return a uint8 ``(H, W, 3)`` picture.

    ``headings`` stand above the columns; ``blocks`` are how many columns belong together, from the left, and every
    ``together`` rows lie closer to each other. Pictures are enlarged by whole factors without smoothing.
    """
    _, height, width = next(picture.shape for row in rows for picture in row.pictures if picture is not None)
    scale = max(1, -(-cell // max(height, width)))
    across, down = width * scale + GAP, height * scale + GAP
    font, bold = ImageFont.load_default(size=12), ImageFont.load_default(size=15)
    assert isinstance(font, ImageFont.FreeTypeFont)
    column = LEFT + max(int(font.getlength(line)) for row in rows for line in row.lines) + 2 * LEFT
    starts, end = [], 0
    for place in range(len(headings)):
        starts.append(column + place * across + end * APART)
        end += place + 1 in np.cumsum(blocks)
    right = max(starts[-1] + across + LEFT, column + 360)
    letters = int((right - 2 * LEFT) / font.getlength("abcdefghij klmnopqrst") * 21)
    said = textwrap.wrap(caption, letters)
    top = 34 + len(said) * LINE + 10 + LINE + 4
    band = max(down, max(len(row.lines) for row in rows) * LINE + GAP)
    gaps = [(number // together) * (APART if together > 1 else GAP) for number in range(len(rows))]
    page = Image.new("RGB", (right, top + len(rows) * band + gaps[-1] + LEFT), PAPER)
    write = ImageDraw.Draw(page)
    write.text((LEFT, 18), title, fill=INK, font=bold, anchor="lm")
    for number, line in enumerate(said):
        write.text((LEFT, 34 + number * LINE), line, fill=FAINT, font=font)
    for start, heading in zip(starts, headings, strict=True):
        write.text((start + (across - GAP) / 2, top - 4), heading, fill=FAINT, font=font, anchor="ms")
    for number, row in enumerate(rows):
        above = top + number * band + gaps[number]
        middle = above + down / 2 - len(row.lines) * LINE / 2
        for place, line in enumerate(row.lines):
            write.text((LEFT, middle + place * LINE), line, fill=FAINT if place else INK, font=font)
        for start, picture in zip(starts, row.pictures, strict=True):
            if picture is not None:
                page.paste(Image.fromarray(enlarged(picture[None], scale)[0]), (start, above))
    return np.asarray(page)
