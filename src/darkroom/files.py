"""Files that are either whole or not there."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def aside(path: Path, durable: bool = True) -> Iterator[BinaryIO]:
    """Write a file next to ``path`` and put it in its place when the block is left without an error.

    A kill, a full disk or an error leaves the previous file untouched and nothing else behind. ``durable`` waits until
    the content is on the disk, so that a power cut is survived too; it costs milliseconds.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as file:
            yield file
            file.flush()
            if durable:
                os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def write(path: Path, content: bytes, durable: bool = True) -> None:
    """Write a whole file at once, aside first."""
    with aside(path, durable) as file:
        file.write(content)
