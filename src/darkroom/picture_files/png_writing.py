"""PNG written: the chunks that a picture carries, and pixels of 16 bits, which Pillow writes for grey only."""

import struct
import zlib
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np

from darkroom.picture_files.photoshop import as_profile
from darkroom.picture_files.picture import Carried, Chunk, Levels
from darkroom.picture_files.png import (
    COLOURS,
    COLOURS_ALPHA,
    GREY,
    GREY_ALPHA,
    MEANING,
    OF_LAYOUT,
    SIGNATURE,
    chunk,
)

_ROWS = 64  # that are filtered at a time


def carried_chunks(carried: Carried, exif: bytes, same_layout: bool) -> bytes:
    """Return the chunks that go behind the header; ``same_layout``: channels and depth are those of the file read."""
    return b"".join(chunk(name, content) for name, content in _chunks(carried, exif, same_layout))


def _chunks(carried: Carried, exif: bytes, same_layout: bool) -> Iterator[Chunk]:
    own = [each for each in carried.chunks if each[0] != b"iCCP"]
    profile = [each for each in carried.chunks if each[0] == b"iCCP"]
    yield from (each for each in own if each[0] in MEANING)
    if carried.icc and profile:
        yield profile[0]  # with its name, as it was
    elif carried.icc:
        yield b"iCCP", b"ICC Profile\0\0" + zlib.compress(carried.icc)
    yield from (each for each in own if each[0] not in MEANING and (each[0] not in OF_LAYOUT or same_layout))
    if carried.format == "png" and carried.density:
        yield b"pHYs", carried.density
    elif carried.dpi:
        yield b"pHYs", struct.pack(">2IB", *(round(dots / 0.0254) for dots in carried.dpi), 1)
    if exif:
        yield b"eXIf", exif
    yield from carried.texts
    if carried.xmp:
        yield b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + carried.xmp
    if carried.format != "png":
        if carried.resources:
            yield b"zTXt", as_profile(b"8bim", carried.resources)
        yield from map(comment, carried.comments)


def comment(content: bytes) -> Chunk:
    """Return a comment as a text of a PNG: letters of UTF-8 as such, other bytes as Latin 1."""
    content = content.replace(b"\0", b"")
    try:
        content.decode("ascii")
    except UnicodeDecodeError:
        try:
            content.decode("utf-8")
        except UnicodeDecodeError:
            return b"tEXt", b"Comment\0" + content
        return b"iTXt", b"Comment\0\0\0\0\0" + content
    return b"tEXt", b"Comment\0" + content


def write_deep(file: BinaryIO, samples: Levels, chunks: bytes) -> None:
    """Write samples ``(H, W, 1 to 4)`` of 16 bits, each row as its difference from the one above."""
    height, width, channels = samples.shape
    colours = {1: GREY, 2: GREY_ALPHA, 3: COLOURS, 4: COLOURS_ALPHA}[channels]
    file.write(SIGNATURE + chunk(b"IHDR", struct.pack(">2I5B", width, height, 16, colours, 0, 0, 0)) + chunks)
    packer = zlib.compressobj(6)
    above = np.zeros((1, width * channels * 2), np.uint8)
    for top in range(0, height, _ROWS):
        rows = samples[top : top + _ROWS].astype(">u2").reshape(-1, width * channels).view(np.uint8)
        filtered = np.full((len(rows), 1 + rows.shape[1]), 2, np.uint8)
        filtered[:, 1:] = rows - np.concatenate([above, rows[:-1]])
        above = rows[-1:]
        if packed := packer.compress(filtered.tobytes()):
            file.write(chunk(b"IDAT", packed))
    file.write(chunk(b"IDAT", packer.flush()) + chunk(b"IEND", b""))
