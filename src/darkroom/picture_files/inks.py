"""Colours that are said otherwise than as red, green and blue: inks and palettes."""

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageCms

from darkroom.picture_files.picture import Levels, eight_bits


def from_inks(inks: Levels, icc: bytes | None) -> tuple[Levels, list[str], bytes | None]:
    """Return inks ``(H, W, 4)`` as colours of 8 bits, what was done, and what describes the colours.

    That is sRGB when the inks were described, and nothing otherwise.
    """
    notes = []
    if inks.dtype == np.uint16:
        notes.append("its 16 bits became 8: inks are converted with 8")
    opened = Image.fromarray(np.ascontiguousarray(eight_bits(inks)), "CMYK")
    seen, described = None, None
    if icc:
        wanted = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
        try:
            seen = ImageCms.profileToProfile(opened, io.BytesIO(icc), wanted, outputMode="RGB")
            described = wanted.tobytes()
        except (ImageCms.PyCMSError, OSError):  # not a profile of inks, or damaged: the plain conversion is left
            seen = None
    notes.append(f"its CMYK is converted{' by its profile' if seen is not None else ''}, and comes out as RGB")
    return np.array(seen if seen is not None else opened.convert("RGB")), notes, described


def of_palette(numbers: Levels, table: Sequence[int], colours: int) -> Levels:
    """Return the colours that numbers ``(H, W)`` stand for in the ColorMap of a TIFF, all reds, greens, then blues.

    They are 8 bits where the table can be so written, whatever its writer took for white, and 16 otherwise.
    """
    if len(table) != 3 * colours:
        raise ValueError(f"its palette lists {len(table)} of {3 * colours} numbers")
    found = np.asarray(table, np.uint32).reshape(3, colours).T
    if found.max() <= 255:
        return found.astype(np.uint8)[numbers]
    if (found % 257 == 0).all() or (found % 256 == 0).all():
        return (found >> 8).astype(np.uint8)[numbers]
    return found.astype(np.uint16)[numbers]
