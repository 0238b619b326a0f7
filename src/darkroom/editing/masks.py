"""Masks: where a picture is to be repaired. White means repair, whatever kind of picture says so."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ImageColor

from darkroom.editing.pictures import Levels, Picture, read
from darkroom.errors import UserError

Holes = NDArray[np.bool_]
Weights = NDArray[np.float32]

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
    """Return what a picture of any mode marks white, bool ``(H, W)``; what it does not show marks nothing.

    Raises:
        UserError: it cannot be read.
    """
    return white(read(file))


def white(picture: Picture) -> Holes:
    """Return where a picture is closer to white than to black, transparent places counting as black."""
    light = picture.levels.astype(np.float32).mean(axis=2) / picture.most
    if picture.alpha is not None:
        light *= picture.alpha / picture.most
    return np.asarray(light >= 0.5)


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
