"""The strips and tiles of a TIFF: bytes unpacked, and bytes as samples.

Bytes are unpacked by zlib, lzma and, through Pillow, libtiff; what they mean is worked out here, so that no decoder
decides what a sample is.
"""

import io
import lzma
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from darkroom.picture_files.directories import LONG, SHORT, Entry, Order, entry, laid_out

Samples = NDArray[Any]

NONE, CCITT, LZW, DEFLATE, PACKBITS, LZMA, ZSTD = 1, (2, 3, 4), 5, (8, 32946), 32773, 34925, 50000
KNOWN = frozenset({NONE, *CCITT, LZW, *DEFLATE, PACKBITS, LZMA, ZSTD})
_AT_ONCE = 16 * 2**20  # unpacked bytes that libtiff is asked for together
_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
_PIECE = 2**20  # samples of odd depths that are taken apart together


@dataclass(frozen=True)
class Layout:
    """How samples lie in the bytes of a strip: ``samples`` of a pixel side by side, each of ``bits``."""

    width: int
    samples: int
    bits: int
    floating: bool
    order: Order
    predictor: int = 1
    compression: int = NONE
    fill_order: int = 1
    fax: tuple[Entry, ...] = ()  # what CCITT has to be told

    @property
    def row_bytes(self) -> int:
        """How many bytes a row takes, filled up to a whole one."""
        return (self.width * self.samples * self.bits + 7) // 8


def unpacked(strips: Sequence[memoryview], rows: Sequence[int], layout: Layout) -> Iterator[Samples]:
    """Yield each strip, of so many rows, as samples ``(rows, width, samples)``.

    Raises:
        ValueError: one is damaged or too short.
    """
    for content, height in zip(_bytes(strips, rows, layout), rows, strict=True):
        wanted = layout.row_bytes * height
        if len(content) < wanted:
            raise ValueError(f"a strip of it holds {len(content)} of {wanted} bytes")
        yield _samples(memoryview(content)[:wanted], height, layout)


def _bytes(strips: Sequence[memoryview], rows: Sequence[int], layout: Layout) -> Iterator[bytes | memoryview]:
    """Yield the unpacked bytes of each strip."""
    strips = [_bits_in_order(strip) for strip in strips] if layout.fill_order == 2 else strips
    if layout.compression == NONE:
        yield from strips
    elif layout.compression in DEFLATE:
        for strip, height in zip(strips, rows, strict=True):
            yield zlib.decompressobj().decompress(strip, layout.row_bytes * height)
    elif layout.compression == LZMA:
        for strip, height in zip(strips, rows, strict=True):
            yield lzma.LZMADecompressor().decompress(bytes(strip), layout.row_bytes * height)
    else:
        yield from _by_libtiff(strips, rows, layout)


def _bits_in_order(strip: memoryview) -> memoryview:
    return memoryview(bytes(strip).translate(_REVERSED))


def _by_libtiff(strips: Sequence[memoryview], rows: Sequence[int], layout: Layout) -> Iterator[memoryview]:
    """Yield what libtiff unpacks, some strips at a time, told that they are grey of one byte a pixel, or of one bit."""
    together = max(1, _AT_ONCE // max(1, layout.row_bytes * max(rows)))
    for first in range(0, len(strips), together):
        some, heights = strips[first : first + together], rows[first : first + together]
        content = _unwrapped(some, heights, layout)
        start = 0
        for height in heights:
            yield content[start : start + height * layout.row_bytes]
            start += height * layout.row_bytes


def _unwrapped(strips: Sequence[memoryview], rows: Sequence[int], layout: Layout) -> memoryview:
    fax = layout.compression in CCITT
    width, depth = (layout.width, 1) if fax else (layout.row_bytes, 8)
    lengths = [len(strip) for strip in strips]
    entries = [
        entry(256, LONG, (width,)),
        entry(257, LONG, (sum(rows),)),
        entry(258, SHORT, (depth,)),
        entry(259, SHORT, (layout.compression,)),
        entry(262, SHORT, (1,)),
        entry(277, SHORT, (1,)),
        entry(278, LONG, (rows[0],)),
        entry(279, LONG, lengths),
        *layout.fax,
    ]
    start = 8 + len(laid_out([*entries, entry(273, LONG, lengths)], "<", 8))
    places = np.cumsum([start, *lengths[:-1]]).tolist()
    table = laid_out([*entries, entry(273, LONG, places)], "<", 8)
    whole = b"".join([b"II*\0\x08\0\0\0", table, *strips])
    with Image.open(io.BytesIO(whole), formats=["TIFF"]) as opened:
        return memoryview(opened.tobytes())


def _samples(content: memoryview, height: int, layout: Layout) -> Samples:
    """Return the bytes of a strip as samples, in the byte order of this machine, and without a predictor."""
    shape = (height, layout.width, layout.samples)
    if layout.floating:
        return _floats(content, shape, layout)
    if layout.bits not in (8, 16, 32):
        return _taken_apart(np.frombuffer(content, np.uint8).reshape(height, -1), shape, layout.bits)
    kind = np.dtype(f"u{layout.bits // 8}")
    found = np.frombuffer(content, kind.newbyteorder(layout.order)).reshape(shape)
    if layout.predictor == 2:  # differences from the pixel at the left, modulo the depth
        return np.cumsum(found, axis=1, dtype=kind)
    return found.astype(kind, copy=False)


def _floats(content: memoryview, shape: tuple[int, int, int], layout: Layout) -> Samples:
    height, width, samples = shape
    size = layout.bits // 8
    if layout.predictor != 3:
        return np.frombuffer(content, np.dtype(f"{layout.order}f{size}")).reshape(shape).astype(f"f{size}")
    # Technical note 3 of Adobe: differences of bytes, the most significant ones of a row first.
    steps = np.frombuffer(content, np.uint8).reshape(height, width * size, samples)
    planes = np.cumsum(steps, axis=1, dtype=np.uint8).reshape(height, size, width * samples)
    joined = np.ascontiguousarray(planes.transpose(0, 2, 1))
    return joined.view(f">f{size}").reshape(shape).astype(f"f{size}")


def _taken_apart(rows: NDArray[np.uint8], shape: tuple[int, int, int], bits: int) -> Samples:
    """Return samples of other depths than bytes, packed from the highest bit on, each row from a new byte on."""
    height, width, samples = shape
    made = np.empty((height, width * samples), np.uint8 if bits <= 8 else np.uint16)
    step = max(1, _PIECE // (width * samples))
    for top in range(0, height, step):
        flags = np.unpackbits(rows[top : top + step], axis=1, count=width * samples * bits)
        part = flags.reshape(-1, width * samples, bits)
        numbers = np.zeros(part.shape[:2], made.dtype)
        for place in range(bits):
            numbers = (numbers << 1) | part[:, :, place]
        made[top : top + step] = numbers
    return made.reshape(shape)
