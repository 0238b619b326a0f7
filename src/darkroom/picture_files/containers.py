"""Files made of boxes: WebP (RIFF), and JPEG 2000 and AVIF (ISO). What Pillow does not say of them is read here."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

from darkroom.picture_files.picture import Unfit

_JP2_EXIF = b"JpgTiffExif->JP2"
_JP2_XMP = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")
_JP2_IPTC = bytes.fromhex("33c7a4d2b81d4723a0baf1a3e097ad38")


# --- WebP ------------------------------------------------------------------------------------------------------------


@dataclass
class WebP:
    """What the chunks of a WebP say."""

    size: tuple[int, int] = (0, 0)
    lossless: bool = False
    frames: int = 1
    exif: bytes = b""
    xmp: bytes = b""
    icc: bytes = b""


def webp(data: bytes) -> WebP:
    """Return what a WebP says before it is decoded: its decoder takes memory for what the header promises.

    Raises:
        ValueError: it is cut off.
    """
    found, played = WebP(), 0
    for name, content in _chunks(data):
        if name == b"VP8X" and len(content) >= 10:
            found.size = 1 + int.from_bytes(content[4:7], "little"), 1 + int.from_bytes(content[7:10], "little")
        elif name in (b"VP8 ", b"VP8L"):
            found.lossless = name == b"VP8L"
            if found.size == (0, 0):
                found.size = _size(name, content)
        elif name == b"ANMF":
            played += 1
            found.lossless = found.lossless or content[16:20] == b"VP8L"
        elif name == b"EXIF":
            found.exif = content.removeprefix(b"Exif\0\0")
        elif name == b"XMP ":
            found.xmp = content
        elif name == b"ICCP":
            found.icc = content
    found.frames = max(1, played)
    return found


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    place = 12
    while place + 8 <= len(data):
        name, length = struct.unpack_from("<4sI", data, place)
        content = data[place + 8 : place + 8 + length]
        if len(content) < length and name in (b"VP8 ", b"VP8L", b"ANMF", b"ALPH"):
            raise ValueError("it is cut off")
        yield name, content
        place += 8 + length + length % 2


def _size(name: bytes, content: bytes) -> tuple[int, int]:
    if name == b"VP8 ":
        across, down = struct.unpack_from("<2H", content, 6)
        return across & 0x3FFF, down & 0x3FFF
    (packed,) = struct.unpack_from("<I", content, 1)
    return (packed & 0x3FFF) + 1, (packed >> 14 & 0x3FFF) + 1


# --- boxes of ISO files ----------------------------------------------------------------------------------------------


def boxes(data: bytes, start: int = 0, end: int | None = None) -> Iterator[tuple[bytes, int, int]]:
    """Yield the boxes that lie side by side: the name of each, where its content begins, and where it ends."""
    end = len(data) if end is None else end
    while start + 8 <= end:
        length, name = struct.unpack_from(">I4s", data, start)
        begin = start + 8
        if length == 1 and start + 16 <= end:
            (length,) = struct.unpack_from(">Q", data, start + 8)
            begin += 8
        last = end if length == 0 else start + length
        if last < begin or last > end:
            return
        yield name, begin, last
        start = last


@dataclass
class Jp2:
    """What a JPEG 2000 says before it is decoded."""

    size: tuple[int, int]
    bits: int
    components: int
    exif: bytes = b""
    xmp: bytes = b""
    iptc: bytes = b""
    icc: bytes = b""
    lossless: bool = False
    kinds: list[bytes] = field(default_factory=list)


def jp2(data: bytes) -> Jp2:
    """Return what a JPEG 2000 says, with its boxes or as a bare codestream.

    Raises:
        ValueError: it is damaged.
        Unfit: its samples are signed, or of unequal depth.
    """
    start = 0 if data[:4] == b"\xff\x4f\xff\x51" else next(
        (begin for name, begin, _ in boxes(data) if name == b"jp2c"), -1)  # fmt: skip
    if start < 0 or data[start + 2 : start + 4] != b"\xff\x51":
        raise ValueError("it has no codestream")
    right, bottom, left, top = struct.unpack_from(">4I", data, start + 8)
    (count,) = struct.unpack_from(">H", data, start + 40)
    depths = {data[start + 42 + 3 * index] for index in range(min(count, 16))}
    if len(depths) != 1:
        raise Unfit("has samples of unequal depth: convert it first")
    depth = depths.pop()
    if depth & 0x80:
        raise Unfit("holds signed numbers, which have no black and no white: convert it first")
    found = Jp2((right - left, bottom - top), (depth & 0x7F) + 1, count)
    place = data.find(b"\xff\x52", start)  # which wavelet: number 1 is the one without losses
    found.lossless = place >= 0 and data[place + 13 : place + 14] == b"\x01"
    if start:
        _describe(data, found)
    return found


def _describe(data: bytes, found: Jp2) -> None:
    """Add what the boxes around the codestream say."""
    for name, begin, end in boxes(data):
        if name == b"uuid":
            content = data[begin + 16 : end]
            if data[begin : begin + 16] == _JP2_EXIF:
                found.exif = content.removeprefix(b"Exif\0\0")
            elif data[begin : begin + 16] == _JP2_XMP:
                found.xmp = content
            elif data[begin : begin + 16] == _JP2_IPTC:
                found.iptc = content
        elif name == b"jp2h":
            for inner, first, last in boxes(data, begin, end):
                found.kinds.append(inner)
                if inner == b"colr" and data[first] == 2:
                    found.icc = data[first + 3 : last]


def avif_bits(data: bytes) -> int:
    """Return how many bits a sample of an AVIF has, as its codec's configuration says."""
    deepest = 8
    for name, begin, end in boxes(data):
        if name == b"meta":
            for inner, first, last in boxes(data, begin + 4, end):
                if inner == b"iprp":
                    deepest = max([deepest, *_configured(data, first, last)])
    return deepest


def avif_exif(data: bytes) -> bytes:
    """Return the EXIF of an AVIF as its item holds it; empty when there is none in one piece."""
    for name, begin, end in boxes(data):
        if name == b"meta":
            inside = {inner: (first, last) for inner, first, last in boxes(data, begin + 4, end)}
            if b"iinf" in inside and b"iloc" in inside:
                item = _exif_item(data, *inside[b"iinf"])
                start, length = _place_of(data, item, inside[b"iloc"][0]) if item is not None else (0, 0)
                content = data[start : start + length]
                if len(content) > 4:
                    return content[4 + int.from_bytes(content[:4], "big") :]
    return b""


def _exif_item(data: bytes, begin: int, end: int) -> int | None:
    """Return the number of the item that is EXIF."""
    start = begin + (6 if data[begin] == 0 else 8)
    for name, first, last in boxes(data, start, end):
        if name == b"infe" and data[first] in (2, 3):
            wide = 2 if data[first] == 2 else 4
            if data[first + 6 + wide : min(last, first + 10 + wide)] == b"Exif":
                return int.from_bytes(data[first + 4 : first + 4 + wide], "big")
    return None


def _place_of(data: bytes, item: int, begin: int) -> tuple[int, int]:
    """Return where an item lies in the file, and how long it is; nowhere, if it is in pieces."""
    version, sizes = data[begin], data[begin + 4 : begin + 6]
    offsets, lengths, bases, indices = sizes[0] >> 4, sizes[0] & 15, sizes[1] >> 4, sizes[1] & 15
    wide = 4 if version == 2 else 2
    place = begin + 6

    def number(size: int) -> int:
        nonlocal place
        place += size
        return int.from_bytes(data[place - size : place], "big")

    for _ in range(number(wide)):
        found, method = number(wide), number(2) if version else 0
        number(2)
        base, extents = number(bases), []
        for _ in range(number(2)):
            number(indices if version else 0)
            extents.append((base + number(offsets), number(lengths)))
        if found == item and method & 15 == 0 and len(extents) == 1:
            return extents[0]
    return 0, 0


def _configured(data: bytes, begin: int, end: int) -> Iterator[int]:
    for name, first, last in boxes(data, begin, end):
        if name == b"ipco":
            for inner, at, after in boxes(data, first, last):
                if inner == b"av1C" and after - at >= 3:
                    flags = data[at + 2]
                    yield 12 if flags & 0x20 else 10 if flags & 0x40 else 8
