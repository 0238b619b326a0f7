"""Photoshop's image resources, in which captions (IPTC) are kept, and the three ways in which files hold them.

A JPEG has them in its segments APP13, a TIFF under its tags 34377 and 33723, a PNG as text of hexadecimal digits.
"""

import re
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

HEAD = b"Photoshop 3.0\0"
_CAPTION = 0x0404
_PREVIEWS = (0x0409, 0x040C)  # small copies, of what the picture was before it was edited
_MOST = 65_533 - len(HEAD)  # bytes in a segment of a JPEG
MOST_UNPACKED = 64 * 2**20  # bytes that a chunk of text may become


@dataclass(frozen=True)
class Resource:
    """One resource, and its bytes with all that stands before them."""

    number: int
    content: bytes
    whole: bytes


def _resources(block: bytes) -> Iterator[Resource]:
    place = 0
    while block[place : place + 4] in (b"8BIM", b"MeSa", b"PHUT", b"AgHg", b"DCSR"):
        (number,) = struct.unpack_from(">H", block, place + 4)
        name = block[place + 6] + 1
        start = place + 6 + name + name % 2
        (length,) = struct.unpack_from(">I", block, start)
        end = start + 4 + length
        if end > len(block):
            raise ValueError("its image resources are cut off")
        yield Resource(number, block[start + 4 : end], block[place : end + length % 2])
        place = end + length % 2


def without_previews(block: bytes) -> bytes:
    """Return resources less the small copies of the picture; those that cannot be told apart, as they are."""
    try:
        found = list(_resources(block))
    except (ValueError, struct.error, IndexError):
        return block
    if not any(each.number in _PREVIEWS for each in found):
        return block
    return b"".join(each.whole for each in found if each.number not in _PREVIEWS)


def caption(block: bytes) -> bytes:
    """Return the IPTC record among resources; empty when there is none."""
    try:
        return next((each.content for each in _resources(block) if each.number == _CAPTION), b"")
    except (ValueError, struct.error, IndexError):
        return b""


def of_tags(resources: bytes, iptc: bytes) -> bytes:
    """Return what a TIFF says under its two tags as resources."""
    if not iptc or caption(resources):
        return without_previews(resources)
    return without_previews(resources) + _wrapped(iptc)


def _wrapped(iptc: bytes) -> bytes:
    return b"8BIM" + struct.pack(">HHI", _CAPTION, 0, len(iptc)) + iptc + b"\0" * (len(iptc) % 2)


def of_segments(payloads: Sequence[bytes]) -> bytes:
    """Return what the segments APP13 of a JPEG hold together."""
    return without_previews(b"".join(payload.removeprefix(HEAD) for payload in payloads))


def as_segments(resources: bytes) -> list[bytes]:
    """Return resources as payloads of segments APP13."""
    return [HEAD + resources[start : start + _MOST] for start in range(0, len(resources), _MOST)]


def bounded(packed: bytes) -> bytes:
    """Return what zlib has packed, if it is not absurdly much.

    Raises:
        ValueError: it is.
    """
    packer = zlib.decompressobj()
    content = packer.decompress(packed, MOST_UNPACKED)
    if packer.unconsumed_tail:
        raise ValueError(f"a chunk of it unpacks to more than {MOST_UNPACKED // 2**20} MB")
    return content


def of_profile(text: bytes) -> bytes:
    """Return the bytes that ImageMagick has written as digits into a text of a PNG.

    Raises:
        ValueError: it is no such text.
    """
    found = re.fullmatch(rb"\s*[\w ]+\n\s*(\d+)\s*\n([0-9a-fA-F\s]*)", text)
    content = bytes.fromhex(found.group(2).decode()) if found else b""
    if not found or len(content) != int(found.group(1)):
        raise ValueError("a profile of it is damaged")
    return content


def as_profile(name: bytes, content: bytes) -> bytes:
    """Return bytes as a chunk zTXt of a PNG, the way ImageMagick and ExifTool have them."""
    digits = content.hex()
    lines = "\n".join(digits[start : start + 72] for start in range(0, len(digits), 72))
    text = b"\n" + name + f"\n{len(content):8d}\n{lines}\n".encode()
    return b"Raw profile type " + name + b"\0\0" + zlib.compress(text)
