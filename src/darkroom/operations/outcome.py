"""How well an edit went: against what is known to be right, against a classical way, and whether it looks sane."""

import math
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from darkroom.editing import applying
from darkroom.editing.applying import Manner
from darkroom.editing.editor import Editor
from darkroom.editing.masks import Mask
from darkroom.editing.photographs import Levels, Picture
from darkroom.errors import UserError
from darkroom.images import as_saved
from darkroom.metrics import paired

Scores = dict[str, float]

MOST = 100.0  # decibels of equal pictures, where they would be infinite
CROP = 512  # pixels a side of the middle that a self-test damages
CLASSICAL = 4_000_000  # pixels of a picture that a classical way is tried on: they hold all of it as doubles
PART = 512  # rows and columns that are compared at a time
MARGIN = 0.05  # decibels that count as better
SHIFTED, CLIPPED = 8.0, 0.02  # levels of 255, and the share of pixels, from which on something looks wrong


def classical(picture: Picture, editor: Editor, mask: Mask | None) -> Levels | None:
    """Return what the editor's baseline makes of a picture; None where there is none, or the picture is too large."""
    if editor.baseline is None or math.prod(picture.size) > CLASSICAL:
        return None
    plain = Editor(editor.baseline, scale=editor.scale, channels=editor.channels)
    return applying.edit(picture, plain, Manner(), mask).picture.levels


def against(reference: Picture, before: Picture, after: Picture, baseline: Levels | None, name: str) -> Scores:
    """Return PSNR and SSIM of a result, and of what it is to be better than, over the levels of a file.

    Raises:
        UserError: the reference has another size than the result.
    """
    if reference.size != after.size:
        raise UserError(
            f"its reference has {reference.size[0]}x{reference.size[1]} pixels and the result"
            f" {after.size[0]}x{after.size[1]}, so it is not scored"
        )
    others = {"": after.levels}
    if before.size == after.size:
        others["_before"] = before.levels
    if baseline is not None:
        others[f"_{name}"] = baseline
    scores = {}
    for suffix, levels in others.items():
        scores[f"psnr{suffix}"], scores[f"ssim{suffix}"] = compared(reference.levels, levels)
    if baseline is not None:
        scores["psnr_gain"] = scores["psnr"] - scores[f"psnr_{name}"]
    return scores


def compared(first: Levels, second: Levels) -> tuple[float, float]:
    """Return PSNR in decibels, at most 100, and SSIM of two pictures, holding a part of them as floats at a time."""
    squares, likeness, pixels, windows = 0.0, 0.0, 0, 0
    border = paired.SSIM_WINDOW - 1
    for rows, height in _parts(first.shape[0], border):
        for columns, width in _parts(first.shape[1], border):
            pair = [applying.in_channels(levels[rows, columns], 3)[None] for levels in (first, second)]
            inside = [part[:, :, :height, :width] for part in pair]
            squares += float(paired.mse(*inside)) * height * width
            pixels += height * width
            count = max(1, pair[0].shape[2] - border) * max(1, pair[0].shape[3] - border)
            likeness += float(paired.ssim(*pair)) * count
            windows += count
    mean = squares / pixels
    return (min(MOST, -10 * math.log10(mean)) if mean else MOST), likeness / windows


def _parts(length: int, border: int) -> Iterator[tuple[slice, int]]:
    """Yield parts of a side that overlap by the border, with how much of each no other part has."""
    start = 0
    while True:
        rest = length - start
        if rest <= PART + 2 * border:  # a last part is never smaller than a window
            yield slice(start, length), rest
            return
        yield slice(start, start + PART + border), PART
        start += PART


def self_test(picture: Picture, editor: Editor, manner: Manner, seed: int) -> Scores:
    """Damage the middle of a picture as the editor's run was taught, repair it, and compare with a classical way.

    Decibels over what was damaged: inside the holes where there are some.
    """
    assert editor.damage is not None
    levels = applying.middle(picture.levels, CROP, math.lcm(editor.multiple, editor.scale))
    whole = applying.in_channels(levels, editor.channels)
    damaged, holes = editor.damage(whole, seed)
    apply = editor.tuned(damaged, damaged)[0] if editor.tuned is not None else editor.apply
    plain = Editor(apply, scale=editor.scale)
    with torch.no_grad():
        made = applying.adapted(apply, plain, manner)(damaged, holes)
        scores = {"self_test": _psnr(made, whole, holes)}
        if damaged.shape == whole.shape:
            scores["self_test_damaged"] = _psnr(damaged, whole, holes)
        if editor.baseline is not None:
            scores[f"self_test_{editor.baseline_name}"] = _psnr(editor.baseline(damaged, holes), whole, holes)
            scores["self_test_gain"] = scores["self_test"] - scores[f"self_test_{editor.baseline_name}"]
    return scores


def _psnr(made: Tensor, whole: Tensor, holes: Tensor | None) -> float:
    """Return decibels as a file would have them: clipped, and rounded to 256 levels."""
    squares = ((as_saved(made.cpu()) - whole) / 2).double().square()
    if holes is not None:
        squares = squares[holes.expand_as(squares)]
    mean = float(squares.mean())
    return min(MOST, -10 * math.log10(mean)) if mean else MOST


def worse(scores: Scores, name: str) -> str | None:
    """Return in words that a classical way does better, or None."""
    for key, where in (
        ("psnr_gain", "on this picture"),
        ("self_test_gain", "when the middle of this picture is damaged"),
    ):
        if scores.get(key, 0.0) < -MARGIN:
            return f"{name} does better {where}, by {-scores[key]:.1f} dB: the run is of no help here"
    return None


def insane(before: Picture, after: Picture, editor: Editor) -> list[str]:
    """Return in words what makes a result look wrong: its mean has moved, or much of it is pure black or white."""
    if editor.recolours:
        return []
    found = []
    shift = (_mean(after.levels) - _mean(before.levels)) * 255
    if abs(shift) > SHIFTED:
        found.append(
            f"it became {abs(shift):.0f} levels of 255 {'brighter' if shift > 0 else 'darker'}, which this edit should"
            " not do: look at it"
        )
    clipped = _clipped(after.levels) - _clipped(before.levels)
    if clipped > CLIPPED:
        found.append(f"{clipped:.0%} more of it is pure black or white than before: look at it")
    return found


def _mean(levels: Levels) -> float:
    return float(levels.mean(dtype=np.float64)) / int(np.iinfo(levels.dtype).max)


def _clipped(levels: Levels) -> float:
    """Return the share of levels that are 0 or the highest; row by row, as all of them would take as much memory."""
    most = np.iinfo(levels.dtype).max
    return sum(int(np.count_nonzero((row == 0) | (row == most))) for row in levels) / levels.size
