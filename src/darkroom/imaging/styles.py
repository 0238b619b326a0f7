"""Pictures to take a style from: files, folders of them, and a few that come with scikit-image."""

import importlib.util
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from darkroom.errors import UserError, did_you_mean
from darkroom.images import from_uint8
from darkroom.losses.structure import luminance
from darkroom.picture_files import reading
from darkroom.picture_files.picture import UnreadablePicture

# Colour pictures in the package of scikit-image itself; others it would download.
CARRIED = {
    "tissue": "ihc.png",
    "retina": "retina.jpg",
    "coffee": "coffee.png",
    "cat": "chelsea.png",
    "galaxies": "hubble_deep_field.jpg",
    "rocket": "rocket.jpg",
    "motorcycle": "motorcycle_left.png",
    "astronaut": "astronaut.png",
}
SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})


def picture(reference: str | Path, channels: int = 3) -> Tensor:
    """Return the picture that a file name or the name of a carried one stands for, ``(C, H, W)`` in [-1, 1].

    Upright, and on white where it is transparent.

    Raises:
        UserError: there is no such picture, or it cannot be read.
    """
    path = Path(reference).expanduser()
    if str(reference) in CARRIED and not path.exists():
        place = carried(CARRIED[str(reference)])
        if place is None:
            raise UserError(f"style={reference} comes with scikit-image, and that is not installed here: name a file.")
        path = place
    if not path.is_file():
        raise UserError(
            f"style={reference} is no picture{did_you_mean(str(reference), CARRIED)}: name a file, or one of"
            f" {', '.join(CARRIED)}, which come with scikit-image."
        )
    try:
        array = np.asarray(reading.shown(path).convert("L" if channels == 1 else "RGB"))
    except UnreadablePicture as error:
        raise UserError(f"style={reference} cannot be read as a picture ({error.reason}).") from error
    return from_uint8(torch.from_numpy(array.reshape(*array.shape[:2], channels).transpose(2, 0, 1).copy()))


def in_channels(style: Tensor, channels: int) -> Tensor:
    """Return a style ``(3 or 1, h, w)`` in grey where so many channels are wanted, as it is elsewhere."""
    return luminance(style[None])[0] if channels == 1 else style


def references(folder: str | None) -> list[str | Path]:
    """Return what `picture` finds the styles of a folder by, all below it; without one, those that are carried.

    Raises:
        UserError: there is no such folder, or no picture in it.
    """
    if folder is None:
        return list(CARRIED)
    root = Path(folder).expanduser()
    if root.is_file():
        return [root]
    if not root.is_dir():
        raise UserError(f"styles={folder} does not exist: name a folder of pictures, or a picture.")
    files = sorted(file for file in root.rglob("*") if file.suffix.lower() in SUFFIXES and file.is_file())
    if not files:
        raise UserError(f"styles={folder} holds no pictures ({', '.join(sorted(SUFFIXES))}): put some there.")
    return list(files)


def carried(file: str) -> Path | None:
    """Return where a picture lies that scikit-image carries; None where it is not installed, or without it."""
    found = importlib.util.find_spec("skimage")
    places = [Path(place, "data", file) for place in (found.submodule_search_locations or [])] if found else []
    return next((place for place in places if place.is_file()), None)
