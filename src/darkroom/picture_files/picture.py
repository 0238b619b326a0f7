"""A picture out of a file: its levels, its transparency, and what else the file said."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from darkroom.errors import UserError

Levels = NDArray[Any]  # uint8 or uint16
Chunk = tuple[bytes, bytes]  # of a PNG: its name and its content

_DENSEST = 65_535  # dots per inch

_TURNS: dict[int, Callable[[Levels], Levels]] = {
    2: lambda levels: levels[:, ::-1],
    3: lambda levels: levels[::-1, ::-1],
    4: lambda levels: levels[::-1],
    5: lambda levels: levels.swapaxes(0, 1),
    6: lambda levels: levels.swapaxes(0, 1)[:, ::-1],
    7: lambda levels: levels[::-1, ::-1].swapaxes(0, 1),
    8: lambda levels: levels.swapaxes(0, 1)[::-1],
}  # what stands a picture up, by its EXIF orientation


class UnreadablePicture(UserError):
    """A file that is no picture, is damaged, or holds numbers that no picture here can hold.

    ``reason`` says why without naming the file, for whoever lists several.
    """

    def __init__(self, path: Path, reason: str, sentence: str | None = None) -> None:
        super().__init__(sentence or f"{path} cannot be read ({reason}).")
        self.path = path
        self.reason = reason


class Unfit(Exception):
    """A sound file of something that is not taken for a picture; the message goes on after the file's name."""


@dataclass(frozen=True)
class Carried:
    """What a file says beside its pixels, and how it says them."""

    format: str = "png"
    mode: str = "RGB"  # as Pillow names it, with ";16" or ";12" behind it for more than 8 bits a sample
    lossless: bool = True
    exif: bytes = b""  # a block that starts with its byte order, as it was but upright
    icc: bytes | None = None
    dpi: tuple[float, float] | None = None
    density: bytes | None = None  # the same as the format itself says it: PNG's pHYs, five bytes of a JPEG's JFIF
    xmp: bytes | None = None
    resources: bytes = b""  # Photoshop's image resources, among them the IPTC caption
    comments: tuple[bytes, ...] = ()
    texts: tuple[Chunk, ...] = ()  # chunks of a PNG, as they were
    chunks: tuple[Chunk, ...] = ()  # others of a PNG, which say what its colours mean
    segments: tuple[bytes, ...] = ()  # what continues the XMP of a JPEG
    subsampling: int = 0  # of colours in a JPEG, Pillow's number
    progressive: bool = False
    packed: bool = True  # a TIFF may not be


@dataclass(frozen=True)
class Picture:
    """A picture, upright: ``levels`` ``(H, W, 1 or 3)``, ``alpha`` ``(H, W)`` of the same type, uint8 or uint16.

    ``extra`` ``(H, W, K)`` are samples of a TIFF that are neither colour nor transparency; nothing edits them.
    """

    levels: Levels
    alpha: Levels | None = None
    carried: Carried = field(default_factory=Carried)
    notes: tuple[str, ...] = ()  # what reading it changed, in sentences
    extra: Levels | None = None

    @property
    def size(self) -> tuple[int, int]:
        """Width and height, as people say it."""
        return self.levels.shape[1], self.levels.shape[0]

    @property
    def most(self) -> int:
        """The level of white: 255 or 65535."""
        return int(np.iinfo(self.levels.dtype).max)


@dataclass
class Raster:
    """The pixels as they lie in a file, scaled to all 8 or 16 bits but not yet stood up."""

    levels: Levels
    alpha: Levels | None = None
    extra: Levels | None = None
    mode: str = "RGB"
    notes: list[str] = field(default_factory=list)
    described: bool = True  # whether the file's ICC profile still describes these levels
    icc: bytes | None = None  # the profile that describes them instead


class Source(Protocol):
    """A file's content, of which the header has been read."""

    kind: str

    @property
    def size(self) -> tuple[int, int]:
        """Width and height as they lie in the file."""
        ...

    @property
    def frames(self) -> int:
        """How many pictures there are, or pages."""
        ...

    @property
    def orientation(self) -> int:
        """How it is to be stood up, as EXIF counts."""
        ...

    def raster(self, least: int | None) -> Raster:
        """Decode the first frame; where only ``least`` pixels a side are needed, perhaps a smaller one."""
        ...

    def carried(self, raster: Raster) -> Carried:
        """Return what the file says beside its pixels."""
        ...


def upright(levels: Levels, orientation: int) -> Levels:
    """Return levels ``(H, W, …)`` stood up."""
    return np.ascontiguousarray(_TURNS.get(orientation, np.asarray)(levels))


def scaled(levels: Levels, most: int) -> Levels:
    """Return whole numbers from 0 to ``most`` on all 8 bits or, where they are more, on all 16, rounded."""
    white, kind = (255, np.uint8) if most <= 255 else (65_535, np.uint16)
    if most == white:
        return levels.astype(kind, copy=False)
    table = (np.arange(most + 1, dtype=np.int64) * white * 2 + most) // (2 * most)
    return table.astype(kind)[levels]


def samples_of(image: Image.Image) -> Levels:
    """Return what Pillow holds as samples ``(H, W, C)``, some rows after others, so that they are held twice only."""
    rows = np.asarray(image.crop((0, 0, image.width, 1)))
    made = np.empty((image.height, *rows.shape[1:]), rows.dtype)
    for top in range(0, image.height, 256):
        part = made[top : top + 256]
        part[:] = np.asarray(image.crop((0, top, image.width, top + len(part))))
    return made.reshape(*made.shape[:2], -1)


def resolution(across: float, down: float) -> tuple[float, float] | None:
    """Return dots per inch, unless they are none or more than any format can say."""
    return (across, down) if 0 < across <= _DENSEST and 0 < down <= _DENSEST else None


def eight_bits(levels: Levels) -> Levels:
    """Return levels of 16 bits on 8, rounded to the nearest; those of 8 as they are."""
    if levels.dtype == np.uint8:
        return levels
    return ((levels.astype(np.uint32) + 128) // 257).astype(np.uint8)


def whole_colours(levels: Levels, alpha: Levels) -> Levels:
    """Return colours that were multiplied by their transparency as they were before, rounded and at most white."""
    most = int(np.iinfo(levels.dtype).max)
    made = np.empty_like(levels)
    for top in range(0, len(levels), 256):  # as so many rows only are held as larger numbers
        share = np.maximum(alpha[top : top + 256, :, None].astype(np.int64), 1)
        rows = (levels[top : top + 256].astype(np.int64) * (2 * most) + share) // (2 * share)
        made[top : top + 256] = np.minimum(rows, most)
    return made
