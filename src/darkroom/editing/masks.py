"""Masks: where a picture is to be repaired. White means repair, whatever kind of picture says so.

Masks of 0 and 1, strokes of one colour on black and strokes of one colour on nothing are understood as well. What can
be meant in two ways is refused, in a sentence that says what the mask holds.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ImageColor

from darkroom.editing.photographs import Levels, Picture, read
from darkroom.errors import UserError

Holes = NDArray[np.bool_]
Weights = NDArray[np.float32]

OF_COLOUR = 0.001  # share of a mask from which on its colours are meant, and are no trace of JPEG
NAMED = 3  # colours that a sentence names
NEAR = 16  # levels of 255 by which a colour that marks holes may be off: JPEG does not keep colours


@dataclass(frozen=True)
class Mask:
    """Where to repair, bool ``(H, W)``, and how much of the repair is taken there, float32 in [0, 1], 0 outside."""

    holes: Holes
    weights: Weights

    @property
    def share(self) -> float:
        """The share of the picture that is repaired."""
        return float(self.holes.mean())


def marked(file: Path) -> Holes:
    """Return what a picture of any mode marks, bool ``(H, W)``; what it does not show marks nothing.

    Raises:
        UserError: it cannot be read, or not be understood.
    """
    return white(read(file), str(file))


def white(picture: Picture, name: str = "The mask") -> Holes:
    """Return what a picture marks: what is nearer to white than to black and shows, or all that is painted.

    Raises:
        UserError: it can be meant in more than one way; ``name`` is what the sentence calls it.
    """
    levels, white = picture.levels, picture.most
    shown = None if picture.alpha is None else picture.alpha >= (white + 1) // 2
    if shown is not None and shown.any() and not shown.all() and _flat(levels[shown], white):
        return shown  # strokes of one colour on nothing
    if levels.shape[2] == 1 and levels.max() == 1:
        return _within(levels[:, :, 0] == 1, shown)  # 0 and 1
    if levels.shape[2] == 3:
        if levels.max() == 1 and (levels == levels[:, :, :1]).all():
            return _within(levels[:, :, 0] == 1, shown)
        spread = levels.max(axis=2).astype(np.float32) - levels.min(axis=2)
        if shown is not None:
            spread[~shown] = 0
        if float((spread > 2 * NEAR * white / 255).mean()) > OF_COLOUR:
            return _within(_strokes(levels, shown, white, name), shown)
    light = levels.astype(np.float32).mean(axis=2) / white
    if picture.alpha is not None:
        light *= picture.alpha / white
    holes = np.asarray(light >= 0.5)
    if not holes.any() and levels.max() > 0:
        raise UserError(
            f"{name} holds {_seen(levels, shown)}: none of it is nearer to white than to black, and white means repair."
        )
    if holes.all() and not _flat(levels.reshape(-1, levels.shape[2]), white):
        raise UserError(
            f"{name} holds {_seen(levels, shown)}: all of it is nearer to white than to black, and black is to stay."
        )
    return holes


def _within(holes: Holes, shown: Holes | None) -> Holes:
    return holes if shown is None else holes & shown


def _flat(colours: Levels, white: int) -> bool:
    """Say whether colours ``(N, C)`` are one, or nearly."""
    span = colours.max(axis=0).astype(np.int64) - colours.min(axis=0)
    return bool((span <= NEAR * white // 255).all())


def _strokes(levels: Levels, shown: Holes | None, white: int, name: str) -> Holes:
    """Return where one colour is painted on black.

    Raises:
        UserError: it is on something else, or there are several.
    """
    most = levels.max(axis=2)
    painted = _within(np.asarray(most >= (white + 1) // 2), shown)
    strongest = levels[painted].astype(np.float32) / most[painted].astype(np.float32)[:, None]
    shade = np.median(strongest, axis=0) if len(strongest) else np.zeros(3)
    same = bool(len(strongest)) and float((np.abs(strongest - shade).max(axis=1) <= 4 * NEAR / 255).mean()) > 0.99
    if same and float((most < white // 8).mean()) > OF_COLOUR:
        return painted
    raise UserError(
        f"{name} holds {_seen(levels, shown)}: a mask is black and white, or one colour on black or on nothing. Paint"
        " white what is to be repaired and black what is to stay; where holes are painted into the picture itself, type"
        " mask=colour:ff0000 with their colour."
    )


def _seen(levels: Levels, shown: Holes | None) -> str:
    """Say which colours a picture holds, the most frequent ones first, and how much of it each takes."""
    eight = (levels.astype(np.uint32) * 255 // int(np.iinfo(levels.dtype).max)).astype(np.uint8)
    flat = eight.reshape(-1, eight.shape[2]) if shown is None else eight[shown]
    found, counts = np.unique(flat, axis=0, return_counts=True)
    order = np.argsort(-counts, kind="stable")[:NAMED]
    said = [f"{_called(found[place])} ({counts[place] / (eight.shape[0] * eight.shape[1]):.0%})" for place in order]
    more = f" and {len(found) - NAMED} more" if len(found) > NAMED else ""
    kind = "level" if eight.shape[2] == 1 else "colour"
    plural = "s" if len(found) > 1 else ""
    clear = "" if shown is None else f", and {1 - float(shown.mean()):.0%} of it is transparent"
    return f"{len(found)} {kind}{plural}, {', '.join(said)}{more}{clear}"


def _called(colour: NDArray[np.uint8]) -> str:
    """Return the name of a colour, or its number where it has none."""
    if len(colour) == 1 or len(set(colour.tolist())) == 1:
        return {0: "black", 255: "white"}.get(int(colour[0]), f"grey {int(colour[0])} of 255")
    wanted = tuple(int(part) for part in colour)
    found = (name for name in ImageColor.colormap if ImageColor.getrgb(name)[:3] == wanted)
    return next(found, "#" + "".join(f"{part:02x}" for part in wanted))


def transparent(picture: Picture, name: str) -> Holes:
    """Return where a picture does not show.

    Raises:
        UserError: it has no transparency.
    """
    if picture.alpha is None:
        raise UserError(f"{name} has no transparency, so mask=alpha marks nothing: type mask=<picture of holes>.")
    return np.asarray(picture.alpha < (picture.most + 1) // 2)


def coloured(picture: Picture, colour: tuple[int, int, int]) -> Holes:
    """Return where a picture has a colour, given in 255ths, or nearly."""
    levels = picture.levels.astype(np.float32) * (255 / picture.most)
    return np.asarray((np.abs(levels - np.array(colour, np.float32)) <= NEAR).all(axis=2))


def parse_colour(given: str) -> tuple[int, int, int]:
    """Return the colour that ``#ff0000``, ``ff0000`` or ``red`` names.

    Raises:
        UserError: it names none.
    """
    word = given.strip()
    for spelling in (word, f"#{word}"):
        try:
            found: tuple[Any, ...] = ImageColor.getrgb(spelling)
        except ValueError:
            continue
        return int(found[0]), int(found[1]), int(found[2])
    raise UserError(f"mask=colour:{given} names no colour: type mask=colour:ff0000, or a name such as colour:red.")


def shaped(holes: Holes, invert: bool = False, grow: int = 0, feather: int = 0) -> Mask:
    """Return a mask of the holes, or of all else, grown by so many pixels, its edge softened inwards."""
    if invert:
        holes = ~holes
    if grow and holes.any():
        import cv2

        away = cv2.distanceTransform((~holes).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        holes = np.asarray(away <= grow)
    weights = holes.astype(np.float32)
    if feather and holes.any() and not holes.all():
        import cv2

        inside = cv2.distanceTransform(holes.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        weights = np.minimum(inside / (feather + 1), 1).astype(np.float32)
    return Mask(holes, weights)


def check_size(mask: Mask, picture: Picture, given: str) -> None:
    """Refuse a mask of another size than the picture.

    Raises:
        UserError: it has.
    """
    height, width = mask.holes.shape
    if (width, height) != picture.size:
        raise UserError(
            f"mask={given} has {width}x{height} pixels and the picture {picture.size[0]}x{picture.size[1]}: a mask has"
            " the size of its picture, upright."
        )


def check_share(mask: Mask, given: str) -> None:
    """Refuse a mask of nothing, or of everything.

    Raises:
        UserError: it is one.
    """
    if not mask.holes.any():
        raise UserError(
            f"mask={given} marks 0 % of the picture: paint white what is to be repaired, or type mask_invert=true."
        )
    if mask.holes.all():
        raise UserError(
            f"mask={given} marks 100 % of the picture, so nothing is left to repair it from: paint black what is to"
            " stay, or type mask_invert=true."
        )


def composited(picture: Levels, edited: NDArray[np.float32], weights: Weights | None) -> Levels:
    """Return levels of the picture, with edited ones, floats on the same scale ``(H, W, C)``, by their weights.

    Where the weight is 0 the level is the picture's own, to the bit.
    """
    most = int(np.iinfo(picture.dtype).max)
    if weights is not None:
        share = weights[:, :, None]
        edited = picture + share * (edited - picture)
    levels = np.clip(np.rint(edited), 0, most).astype(picture.dtype)
    return levels if weights is None else np.where(weights[:, :, None] == 0, picture, levels)
