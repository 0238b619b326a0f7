"""Arrays in an ``.npz`` from elsewhere: looked at before they are unpacked, and read a piece at a time."""

import math
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from darkroom.errors import UserError

_HEADER = 10_000  # characters of the header of an array
_LARGE = 64 * 2**20  # bytes from which on an array may not unpack to more than so many times what it was packed to
_TIMES = 200  # of flat drawings; a bomb has a thousand
_WHOLE = 2**30  # bytes of an array that cannot be read in pieces


@dataclass(frozen=True)
class Stored:
    """An array in an archive, of which only the header was read."""

    archive: Path
    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    fortran: bool

    def blocks(self, rows: int) -> Iterator[np.ndarray]:
        """Yield the array ``rows`` at a time along its first axis.

        Raises:
            UserError: it is damaged.
        """
        if self.fortran:
            yield from self._whole(rows)
            return
        width = self.dtype.itemsize * math.prod(self.shape[1:])
        with _opened(self) as file:
            for first in range(0, self.shape[0], rows):
                count = min(rows, self.shape[0] - first)
                with _reading(self.archive):
                    content = _exactly(file, count * width)
                yield np.frombuffer(content, dtype=self.dtype).reshape(count, *self.shape[1:])

    def _whole(self, rows: int) -> Iterator[np.ndarray]:
        size = self.dtype.itemsize * math.prod(self.shape)
        if size > _WHOLE:
            raise UserError(
                f"`{self.name}` in {self.archive} is {size / 2**30:.1f} GB in the order of Fortran, which cannot be"
                " read in pieces: save np.ascontiguousarray of it."
            )
        with _opened(self) as file, _reading(self.archive):
            array = np.frombuffer(_exactly(file, size), dtype=self.dtype).reshape(self.shape[::-1]).T
        for first in range(0, self.shape[0], rows):
            yield array[first : first + rows]

    def read(self) -> np.ndarray:
        """Return the whole array; for small ones."""
        return np.concatenate([np.empty((0, *self.shape[1:]), self.dtype), *self.blocks(2**16)])


def stored(source: Path) -> dict[str, Stored]:
    """Return the arrays of plain numbers or texts in an ``.npz``, by name; nothing of them is unpacked.

    Raises:
        UserError: it is no such archive, is damaged, or an array in it is not as large as it says, or would unpack to
            far more than was packed.
    """
    found: dict[str, Stored] = {}
    with _reading(source), zipfile.ZipFile(source) as archive:
        for entry in archive.infolist():
            name = entry.filename.removesuffix(".npy")
            if name == entry.filename:
                continue
            if name in found:
                raise UserError(f"{source} holds an array `{name}` twice: save it again.")
            with archive.open(entry) as file:
                shape, fortran, dtype = _header(file)
                offset = file.tell()
            if dtype.hasobject or not shape:
                continue
            found[name] = Stored(source, name, dtype, shape, fortran)
            size = dtype.itemsize * math.prod(shape)
            if entry.file_size != offset + size:
                raise UserError(
                    f"`{name}` in {source} says that it is {dtype} {shape}, {size} bytes, and there are"
                    f" {entry.file_size - offset}: it is damaged, save it again."
                )
            if size > _LARGE and size > _TIMES * entry.compress_size:
                raise UserError(
                    f"`{name}` in {source} would unpack from {entry.compress_size / 2**20:.0f} MB to"
                    f" {size / 2**20:.0f} MB, which pictures never do: save what you mean to score."
                )
    return found


@contextmanager
def _opened(array: Stored) -> Iterator[Any]:
    """Open an array at its first number."""
    with ExitStack() as opened:
        with _reading(array.archive):
            archive = opened.enter_context(zipfile.ZipFile(array.archive))
            file = opened.enter_context(archive.open(f"{array.name}.npy"))
            _header(file)
        yield file


@contextmanager
def _reading(source: Path) -> Iterator[None]:
    """Say in one sentence whatever is wrong with an archive."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # damaged bytes lead zipfile, zlib and NumPy into every kind of exception
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{source} is no .npz file, or it is damaged ({reason}).") from error


def _header(file: Any) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Return shape, order and type of an array; the file then stands at its first number."""
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(file, max_header_size=_HEADER)
    elif version == (2, 0):
        shape, fortran, dtype = np.lib.format.read_array_header_2_0(file, max_header_size=_HEADER)
    else:
        raise ValueError(f"its format {version} is not known")
    if any(length < 0 for length in shape):
        raise ValueError(f"its shape is {shape}")
    return shape, fortran, dtype


def _exactly(file: Any, size: int) -> bytes:
    """Return so many bytes; a file at its end may have fewer."""
    content: bytes = file.read(size)
    if len(content) != size:
        raise EOFError("it is cut short")
    return content
