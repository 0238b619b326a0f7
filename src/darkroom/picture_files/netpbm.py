"""PBM, PGM, PPM and PAM: a header in letters, and samples from 0 to a white that it names."""

import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from darkroom.picture_files import limits
from darkroom.picture_files.picture import Carried, Raster, Unfit, scaled

_COUNTS = {b"P1": 1, b"P2": 1, b"P3": 3, b"P4": 1, b"P5": 1, b"P6": 3}
_WORD = re.compile(rb"(?:\s|#([^\r\n]*)[\r\n])*([^\s#]+)")
_PAM = re.compile(rb"P7\n(.*?)^ENDHDR\n", re.DOTALL | re.MULTILINE)


def is_one(data: bytes) -> bool:
    """Say whether a file starts as one of these does."""
    return data[:2] in (*_COUNTS, b"P7", b"PF", b"Pf") and data[2:3].isspace()


class Netpbm:
    """A file of this family whose header has been read."""

    kind = "ppm"
    orientation = 1
    frames = 1

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._magic = data[:2]
        self.comments: list[bytes] = []
        self._end = len(data)
        if self._magic in (b"PF", b"Pf"):
            raise Unfit("holds floating-point numbers without a white: convert it first, to a TIFF of 16 bits say")
        if self._magic == b"P7":
            self._read_lines()
        else:
            self._read_words()
        if not 1 <= self._white <= 65_535:
            raise ValueError(f"its white is {self._white}")

    def _read_words(self) -> None:
        place = 2
        numbers: list[int] = []
        bits = self._magic in (b"P1", b"P4")
        while len(numbers) < (2 if bits else 3):
            found = _WORD.match(self._data, place)
            if found is None:
                raise ValueError("its header is damaged")
            if found.group(1):
                self.comments.append(found.group(1).strip())
            numbers.append(int(found.group(2)))
            place = found.end()
        self.size = numbers[0], numbers[1]
        self._white = 1 if bits else numbers[2]
        self._count = _COUNTS[self._magic]
        self._start = place + 1

    def _read_lines(self) -> None:
        found = _PAM.match(self._data)
        if found is None:
            raise ValueError("its header is damaged")
        lines = [line for line in found.group(1).splitlines() if line and not line.startswith(b"#")]
        said = dict(line.split(None, 1) for line in lines)
        self.size = int(said[b"WIDTH"]), int(said[b"HEIGHT"])
        self._white, self._count, self._start = int(said[b"MAXVAL"]), int(said[b"DEPTH"]), found.end()
        if not 1 <= self._count <= 4:
            raise Unfit(f"has {self._count} samples a pixel, which is no picture here: take them apart")

    def raster(self, least: int | None = None) -> Raster:
        """Decode it."""
        width, height = self.size
        limits.check(self.size, len(self._data), self._count * (2 if self._white > 255 else 1))
        levels = scaled(self._samples(width, height), self._white)
        if self._magic in (b"P1", b"P4"):
            levels = 255 - levels  # 1 is black
            return Raster(levels, mode="1")
        clear = self._count in (2, 4)
        mode = f"{'L' if self._count < 3 else 'RGB'}{'A' if clear else ''}"
        if self._white > 255:
            mode += f";{self._white.bit_length()}"
        return Raster(levels[:, :, : self._count - clear], levels[:, :, -1] if clear else None, mode=mode)

    def _samples(self, width: int, height: int) -> NDArray[Any]:
        """Return its numbers ``(H, W, samples)``."""
        wanted = width * height * self._count
        if self._magic in (b"P1", b"P2", b"P3"):
            text = self._data[self._start - 1 :]
            words = text.split() if self._magic != b"P1" else list(b"".join(text.split()).decode("ascii"))
            if len(words) < wanted:
                raise ValueError(f"it holds {len(words)} of {wanted} numbers")
            found: NDArray[Any] = np.array(words[:wanted], np.int64)
        elif self._magic == b"P4":
            row = (width + 7) // 8
            packed = np.frombuffer(self._content(row * height), np.uint8).reshape(height, row)
            found = np.unpackbits(packed, axis=1, count=width)
        else:
            size = 2 if self._white > 255 else 1
            found = np.frombuffer(self._content(wanted * size), f">u{size}").astype(f"u{size}")
        if found.size and (found.max() > self._white or found.min() < 0):
            raise ValueError(f"it holds {found.max()}, and its white is {self._white}")
        return found.reshape(height, width, self._count)

    def _content(self, wanted: int) -> bytes:
        content = self._data[self._start : self._start + wanted]
        if len(content) < wanted:
            raise ValueError(f"it holds {len(content)} of {wanted} bytes")
        self._end = self._start + wanted
        return content

    def carried(self, raster: Raster) -> Carried:
        """Return the comments of its header."""
        if self._magic in self._data[self._end : self._end + 3]:
            raster.notes.append("further pictures behind the first are left out")
        return Carried(format=self.kind, comments=tuple(comment for comment in self.comments if comment))
