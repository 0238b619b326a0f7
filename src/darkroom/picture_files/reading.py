"""Picture files read: one reader for what is edited, learnt from, marked with, styled by and explained.

    picture = read(path)               # upright, grey or colours, transparency apart, with all else that it says
    image = shown(path)                # the same pixels as a model sees them: 8 bits, on white where transparent

A file is opened from its bytes, and its header is looked at before anything is decoded. Whatever a decoder throws at
broken bytes becomes one sentence that names the file.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image

from darkroom.errors import UserError
from darkroom.picture_files import directories, limits, netpbm, photoshop, png, xmp
from darkroom.picture_files.netpbm import Netpbm
from darkroom.picture_files.others import Other
from darkroom.picture_files.picture import (
    Carried,
    Levels,
    Picture,
    Raster,
    Source,
    Unfit,
    UnreadablePicture,
    eight_bits,
    upright,
)
from darkroom.picture_files.png import Png
from darkroom.picture_files.tiff import Tiff

READER = 2  # goes up when the pixels of some file change, so that what was remembered of it is read again
MOST_BYTES = 6_000_000_000  # of a file: the largest pictures here, of 16 bits and not packed, have as many
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_WIDE = {"F": "floating-point numbers", "I": "whole numbers"}  # of 32 bits
Made = TypeVar("Made")


def read(path: Path) -> Picture:
    """Read a picture as it is meant to be seen, with all that it carries.

    Raises:
        UnreadablePicture: it is no picture, damaged, animated, or of numbers that a picture here cannot hold.
    """
    with _named(path):
        source = _opened(path)
        if source.frames > 1:
            what = "pages" if source.kind == "tiff" else "frames"
            raise Unfit(f"has {source.frames} {what}, and one picture is edited at a time: take the {what} apart")
        raster = source.raster(None)
        if raster.mode in _WIDE:
            raise Unfit(
                f"holds numbers of 32 bits ({_WIDE[raster.mode]}), which is no picture of 8 or 16 bits: convert it"
                " first, to a PNG or TIFF of 16 bits say"
            )
        carried = _upright(source.carried(raster), raster)
        orientation = source.orientation
        levels, alpha, extra = (
            None if part is None else upright(part, orientation) for part in (raster.levels, raster.alpha, raster.extra)
        )
        assert levels is not None
        return Picture(levels, alpha, carried, tuple(raster.notes), extra)


def shown(path: Path, least: int | None = None, frame: int = 0) -> Image.Image:
    """Return a picture as L or RGB, upright, on white where it is transparent.

    Where about ``least`` pixels a side are enough, a JPEG may come smaller than it is. Of an animated one it is the
    first frame, and of a TIFF the page ``frame``.

    Raises:
        UnreadablePicture: it is no picture, damaged, or of numbers that have no black and white.
    """
    with _named(path):
        source = _opened(path)
        if isinstance(source, Tiff):
            source = source.page(frame)
        raster = source.raster(least)
        levels = on_white(eight_bits(raster.levels), None if raster.alpha is None else eight_bits(raster.alpha))
        levels = upright(levels, source.orientation)
        return Image.fromarray(levels[:, :, 0] if levels.shape[2] == 1 else levels)


def size(path: Path) -> tuple[int, int]:
    """Return the width and height that a picture has when it stands upright, from its header.

    Raises:
        UnreadablePicture: it is no picture, or its header is damaged.
    """
    with _named(path):
        source = _opened(path)
        return source.size[::-1] if source.orientation >= 5 else source.size


def frames(path: Path) -> int:
    """Return how many pictures a file holds, from its header.

    Raises:
        UnreadablePicture: it is no picture, or its header is damaged.
    """
    with _named(path):
        return _opened(path).frames


def on_white(levels: Levels, alpha: Levels | None) -> Levels:
    """Return levels of 8 bits as they look on white, rounded to the nearest."""
    if alpha is None:
        return levels
    made = np.empty_like(levels)
    for top in range(0, len(levels), 256):  # as so many rows only are held as larger numbers
        share = alpha[top : top + 256, :, None].astype(np.uint32)
        made[top : top + 256] = (levels[top : top + 256] * share + 255 * (255 - share) + 127) // 255
    return made


def _opened(path: Path) -> Source:
    if path.is_file() and (length := path.stat().st_size) > MOST_BYTES:
        raise Unfit(f"has {length / 1e9:.1f} GB, and files of at most {MOST_BYTES / 1e9:.0f} GB are read")
    data = path.read_bytes()
    make: Callable[[bytes], Source] = Other
    if data.startswith(png.SIGNATURE):
        make = Png
    elif data.startswith(_TIFF):
        make = Tiff
    elif netpbm.is_one(data):
        make = Netpbm
    source = make(data)
    limits.check(source.size, len(data))
    return source


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Make one sentence that names the file of whatever goes wrong with it."""
    try:
        yield
    except UserError:
        raise
    except Unfit as error:
        raise UnreadablePicture(path, str(error), f"{path} {error}.") from None
    except MemoryError:
        raise UnreadablePicture(path, "there is not memory enough for it") from None
    except OSError as error:
        raise UnreadablePicture(path, _reason(error.strerror or str(error))) from None
    except Exception as error:  # broken bytes lead decoders into every kind of exception
        raise UnreadablePicture(path, _reason(str(error) or type(error).__name__)) from None


def _reason(words: str) -> str:
    return " ".join(words.split()).rstrip(".")


def _upright(carried: Carried, raster: Raster) -> Carried:
    """Return what a file says, saying that it is upright, and with the profile that its levels have now."""
    exif = carried.exif
    if exif:
        try:
            exif = directories.stood_up(exif)
        except ValueError:
            raster.notes.append("its EXIF is damaged and is left out")
            exif = b""
    described = carried.icc if raster.described else None
    return replace(
        carried,
        mode=raster.mode,
        exif=exif,
        icc=raster.icc or (described if raster.mode != "CMYK" else None),
        xmp=xmp.stood_up(carried.xmp),
        resources=photoshop.without_previews(carried.resources),
    )
