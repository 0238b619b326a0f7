"""Fetch a published file once, whole or not at all."""

import contextlib
import logging
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path

from filelock import FileLock

from darkroom.errors import UserError
from darkroom.files import scratch

LOG = logging.getLogger(__name__)


def fetch(addresses: Sequence[str], target: Path, md5: str, name: str, wanted: str) -> None:
    """Fetch a file from the first address that answers, showing progress, and check its md5.

    It is written aside and moved when its checksum is right, under a lock, so that a second process waits for the
    first and an interrupted download leaves nothing behind.

    Raises:
        UserError: when no address gives the right file; says which files to put where (``wanted``).
    """
    from torchvision.datasets import utils  # slow to import, and only needed when something is missing

    problem: Exception | None = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(target.parent / ".fetching.lock"), _patience(20):
            if target.is_file():
                return
            with scratch(target.parent) as aside:
                for address in addresses:
                    LOG.info("%s: fetching %s", name, address)
                    try:
                        utils.download_url(address, str(aside), target.name, md5)
                    except (OSError, RuntimeError) as error:
                        problem = error
                        continue
                    (aside / target.name).replace(target)
                    return
    except OSError as error:
        problem = error
    raise UserError(
        f"{name} is not in the data folder and could not be fetched ({problem}): put {wanted}, or set paths.data to "
        "where they are"
    ) from problem


@contextlib.contextmanager
def _patience(seconds: float) -> Iterator[None]:
    """Let a silent network fail instead of hanging: torchvision sets no time limit of its own."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
