"""The segments of a JPEG, which say all that its pixels do not."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

from darkroom.picture_files import photoshop
from darkroom.picture_files.picture import resolution

EXIF, XMP, MORE_XMP = b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0", b"http://ns.adobe.com/xmp/extension/\0"
ICC = b"ICC_PROFILE\0"
MOST = 65_533  # bytes of a payload
_APP0, _APP1, _APP2, _APP13, _APP14, _COMMENT, _SCAN = 0xE0, 0xE1, 0xE2, 0xED, 0xEE, 0xFE, 0xDA
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_ALONE = frozenset({0x01, *range(0xD0, 0xD9)})


@dataclass
class Said:
    """What the segments before the pixels say."""

    exif: bytes = b""
    xmp: bytes = b""
    more_xmp: list[bytes] = field(default_factory=list)  # payloads that continue it
    icc: bytes = b""
    resources: bytes = b""
    comments: list[bytes] = field(default_factory=list)
    density: bytes = b""  # unit, and five bytes in all, of JFIF
    bits: int = 8
    others: list[str] = field(default_factory=list)  # which are not understood


def segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the marker and the payload of every segment before the pixels.

    Raises:
        ValueError: they are cut off.
    """
    place = 2
    while place + 4 <= len(data):
        if data[place] != 0xFF:
            raise ValueError("its segments are damaged")
        marker = data[place + 1]
        if marker == 0xFF:  # filling
            place += 1
            continue
        if marker in _ALONE:
            place += 2
            continue
        (length,) = struct.unpack_from(">H", data, place + 2)
        if length < 2 or place + 2 + length > len(data):
            raise ValueError("it is cut off before its pixels")
        yield marker, data[place + 4 : place + 2 + length]
        if marker == _SCAN:
            return
        place += 2 + length


def said(data: bytes) -> Said:
    """Return what the segments of a JPEG say."""
    found, profile, resources = Said(), {}, []
    for marker, payload in segments(data):
        if marker == _APP1 and payload.startswith(EXIF) and not found.exif:
            found.exif = payload.removeprefix(EXIF)
        elif marker == _APP1 and payload.startswith(XMP) and not found.xmp:
            found.xmp = payload.removeprefix(XMP)
        elif marker == _APP1 and payload.startswith(MORE_XMP):
            found.more_xmp.append(payload)
        elif marker == _APP2 and payload.startswith(ICC) and len(payload) > 14:
            profile[payload[12]] = payload[14:]
        elif marker == _APP13 and payload.startswith(photoshop.HEAD):
            resources.append(payload)
        elif marker == _COMMENT:
            found.comments.append(payload)
        elif marker == _APP0 and payload.startswith(b"JFIF\0") and len(payload) >= 12:
            found.density = payload[7:12]
        elif marker in _FRAMES and payload:
            found.bits = payload[0]
        elif _APP0 <= marker <= 0xEF and not _understood(marker, payload):
            found.others.append(f"APP{marker - _APP0}")
    found.icc = b"".join(profile[number] for number in sorted(profile))
    found.resources = photoshop.of_segments(resources)
    return found


def _understood(marker: int, payload: bytes) -> bool:
    """Say whether a segment is of the pixels, or of a second picture, which is spoken of elsewhere."""
    return (
        marker in (_APP0, _APP14)
        or (marker == _APP2 and payload.startswith((b"MPF\0", b"urn:iso:std:iso:ts:21496")))
    )  # fmt: skip


def dpi(density: bytes) -> tuple[float, float] | None:
    """Return dots per inch of what JFIF says."""
    unit, across, down = struct.unpack(">B2H", density) if len(density) == 5 else (0, 0, 0)
    per_inch = {1: 1.0, 2: 2.54}.get(unit)
    return resolution(across * per_inch, down * per_inch) if per_inch else None


def segment(marker: int, payload: bytes) -> bytes:
    """Return a segment."""
    return struct.pack(">BBH", 0xFF, marker, len(payload) + 2) + payload


def profile_segments(icc: bytes) -> list[bytes]:
    """Return a profile as the payloads of segments APP2."""
    room = MOST - len(ICC) - 2
    parts = [icc[start : start + room] for start in range(0, len(icc), room)]
    return [ICC + bytes([number, len(parts)]) + part for number, part in enumerate(parts, 1)]


def written(exif: bytes, xmp: list[bytes], icc: bytes, resources: bytes, comments: tuple[bytes, ...]) -> bytes:
    """Return the segments that say all this, to stand behind the first one."""
    parts = [segment(_APP1, EXIF + exif)] if exif else []
    parts += [segment(_APP1, payload) for payload in xmp]
    parts += [segment(_APP13, payload) for payload in photoshop.as_segments(resources)]
    parts += [segment(_APP2, payload) for payload in profile_segments(icc)]
    parts += [segment(_COMMENT, comment[:MOST]) for comment in comments]
    return b"".join(parts)
