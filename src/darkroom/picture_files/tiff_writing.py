"""TIFF written: samples of 1, 8 or 16 bits, numbers of a palette, and what a picture carries."""

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np

from darkroom.picture_files import directories
from darkroom.picture_files.directories import BYTE, LONG, RATIONAL, SHORT, UNDEFINED, Entry, entry
from darkroom.picture_files.photoshop import caption
from darkroom.picture_files.picture import Carried, Levels
from darkroom.picture_files.tiff import ICC, IPTC, LAYERS, RESOLUTION, RESOURCES, STRUCTURE, XMP

_STRIP = 64  # rows that are packed together
_DENOMINATOR = 10_000  # of a resolution


@dataclass(frozen=True)
class Form:
    """How pixels are to be written: samples ``(H, W, S)``, of which so many are colours, then alpha, then others."""

    samples: Levels
    colours: int
    alpha: bool = False
    palette: Levels | None = None  # (256, 3) uint8; samples are numbers of its colours
    one_bit: bool = False


def write(file: BinaryIO, form: Form, carried: Carried) -> list[str]:
    """Write a TIFF; return the names of what its EXIF says that a TIFF cannot hold.

    What is packed is the difference from the pixel at the left, but for numbers of a palette and single bits.
    """
    height, width, channels = form.samples.shape
    bits = 1 if form.one_bit else form.samples.dtype.itemsize * 8
    stepped = carried.packed and not form.one_bit and form.palette is None
    strips = [_packed(form, top, stepped, carried.packed) for top in range(0, height, _STRIP)]
    entries, lost = _said(carried)
    meaning = 3 if form.palette is not None else 1 if form.colours == 1 else 2
    entries += [
        entry(256, LONG, (width,)),
        entry(257, LONG, (height,)),
        entry(258, SHORT, (bits,) * channels),
        entry(259, SHORT, (8 if carried.packed else 1,)),
        entry(262, SHORT, (meaning,)),
        entry(277, SHORT, (channels,)),
        entry(278, LONG, (_STRIP,)),
        entry(279, LONG, [len(strip) for strip in strips]),
        entry(284, SHORT, (1,)),
    ]
    if stepped:
        entries.append(entry(317, SHORT, (2,)))
    if form.palette is not None:
        entries.append(entry(320, SHORT, (form.palette.astype(np.uint16).T * 257).ravel().tolist()))
    if channels > form.colours:  # transparency beside the colours, which are whole; others say nothing of themselves
        kinds = [2] * form.alpha + [0] * (channels - form.colours - form.alpha)
        entries.append(entry(338, SHORT, kinds))
    _lay_out(file, entries, strips)
    return lost


def _lay_out(file: BinaryIO, entries: list[Entry], strips: Sequence[bytes]) -> None:
    lengths = [len(strip) for strip in strips]
    start = 8 + len(directories.laid_out([*entries, entry(273, LONG, lengths)], "<", 8))
    places = np.cumsum([start, *lengths[:-1]]).tolist()
    if places[-1] + lengths[-1] >= 2**32:
        raise OSError(27, "a TIFF takes 4 GB at most")
    file.write(b"II*\0" + struct.pack("<I", 8))
    file.write(directories.laid_out([*entries, entry(273, LONG, places)], "<", 8))
    for strip in strips:
        file.write(strip)


def _packed(form: Form, top: int, stepped: bool, packed: bool) -> bytes:
    rows = form.samples[top : top + _STRIP]
    rows = np.packbits(rows[:, :, 0] > 0, axis=1) if form.one_bit else rows.astype(rows.dtype.newbyteorder("<"))
    if stepped:
        rows[:, 1:] -= rows[:, :-1].copy()
    return zlib.compress(rows.tobytes()) if packed else rows.tobytes()


def _said(carried: Carried) -> tuple[list[Entry], list[str]]:
    """Return what a picture carries as entries, and the names of those that cannot be."""
    entries: list[Entry] = []
    lost: list[str] = []
    if carried.exif:
        directory, order = directories.parsed(carried.exif)
        apart = STRUCTURE | {XMP, IPTC, RESOURCES, ICC, LAYERS}
        kept, dropped = directories.writable(each for each in directory.entries if each.tag not in apart)
        entries, lost = list(directories.in_order(kept, order, "<")), [*directory.broken, *dropped]
    entries = _with_resolution(entries, carried)
    if carried.xmp:
        entries.append(entry(XMP, BYTE, carried.xmp))
    if carried.icc:
        entries.append(entry(ICC, UNDEFINED, carried.icc))
    if carried.resources:
        entries.append(entry(RESOURCES, BYTE, carried.resources))
        if iptc := caption(carried.resources):
            entries.append(entry(IPTC, UNDEFINED, iptc))
    return entries, lost


def _with_resolution(entries: list[Entry], carried: Carried) -> list[Entry]:
    """Return entries that say the resolution: as they do, unless the file said another outside of them."""
    if carried.dpi is None:
        return entries
    said = next((each.rational("<") for each in entries if each.tag == 282), 0.0)
    unit = next((each.whole("<")[0] for each in entries if each.tag == 296 and each.count), 2)
    if carried.format == "tiff" and said * {2: 1.0, 3: 2.54}.get(unit, 0.0) > 0:
        return entries
    sides = [(round(dots * _DENOMINATOR), _DENOMINATOR) for dots in carried.dpi]
    others = [each for each in entries if each.tag not in RESOLUTION]
    return [*others, entry(282, RATIONAL, sides[0]), entry(283, RATIONAL, sides[1]), entry(296, SHORT, (2,))]
