"""Output that nobody reads any more (``| head``), of which the rest is dropped, and what nobody need read."""

import io
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

CODE = 141  # what a shell calls a program that SIGPIPE ended: 128 and the signal's number
_closed: set[int] = set()


class _Quiet(io.RawIOBase):
    """A file descriptor whose reader may leave; from then on it leads nowhere."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def fileno(self) -> int:
        return self._descriptor

    def isatty(self) -> bool:
        return os.isatty(self._descriptor)

    def writable(self) -> bool:
        return True

    def write(self, content: bytes) -> int:  # type: ignore[override]  # any buffer
        left = memoryview(content)
        try:
            while left:
                left = left[os.write(self._descriptor, left) :]
        except BrokenPipeError:
            _closed.add(self._descriptor)
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._descriptor)  # for other processes that write here, too
            os.close(nowhere)
        return len(content)


def guard() -> None:
    """Let what is printed end quietly when its reader leaves; done once."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # closed before we began (>&-)
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115  # for as long as the process lives
        elif isinstance(_raw(stream), io.FileIO):
            stream.flush()
            setattr(sys, name, _guarded(stream))


def _raw(stream: TextIO) -> object:
    """Return what a stream ends in; with PYTHONUNBUFFERED there is nothing in between."""
    buffer = getattr(stream, "buffer", None)
    return getattr(buffer, "raw", buffer)


def _guarded(stream: TextIO) -> TextIO:
    quiet: Any = _Quiet(stream.fileno())
    buffer = quiet if _raw(stream) is stream.buffer else io.BufferedWriter(quiet)
    return io.TextIOWrapper(
        buffer,
        encoding=stream.encoding,
        errors=stream.errors,
        line_buffering=getattr(stream, "line_buffering", False),
        write_through=getattr(stream, "write_through", False),
    )


def exit_code(otherwise: int) -> int:
    """Return the exit code: `CODE` for a command that went well and whose output was not read to its end."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    return CODE if _closed and otherwise == 0 else otherwise


@contextmanager
def suppress_logging(level: int) -> Iterator[None]:
    """Let nothing up to a level be logged in a block."""
    before = logging.root.manager.disable
    logging.disable(level)
    try:
        yield
    finally:
        logging.disable(before)


def quiet_lightning() -> None:
    """Drop Lightning's greetings, not its warnings, and what nobody can act on; comes after it is imported."""
    for name in ("pytorch_lightning", "lightning.pytorch", "lightning_fabric", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # Inside Lightning, about PyTorch; gone when Lightning follows.
    warnings.filterwarnings("ignore", message=".*LeafSpec.*is deprecated.*")
    # Of a weight with one row, whose two layouts are the same.
    warnings.filterwarnings("ignore", message="Grad strides do not match bucket view strides")
    # Batches come from a stream that needs no workers: small data sets are in memory.
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
