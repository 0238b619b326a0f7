"""Where things are: the project root, conf/, data, runs and the cache."""

import functools
import os
import tempfile
from pathlib import Path

from darkroom.errors import UserError

PACKAGE = Path(__file__).resolve().parent
_CHECKOUT = PACKAGE.parents[1]


def conf() -> Path:
    """Return the folder of configuration files: inside the package when installed as a wheel, else the checkout's."""
    packaged = PACKAGE / "conf"
    return packaged if packaged.is_dir() else _CHECKOUT / "conf"


def root() -> Path:
    """Return the folder that holds ``mlruns/`` and ``data/``.

    ``DARKROOM_ROOT`` wins, then ``DVC_ROOT`` (DVC runs stages from temporary copies of the project, whose runs would be
    deleted with them), then the checkout this package was installed from, then the current folder.
    """
    for variable in ("DARKROOM_ROOT", "DVC_ROOT"):
        if value := os.environ.get(variable):
            return Path(value).resolve()
    return _CHECKOUT if (_CHECKOUT / "conf" / "train.yaml").is_file() else Path.cwd()


def runs() -> Path:
    """Return the folder of every run ever made."""
    return root() / "mlruns"


def data(configured: str | None) -> Path:
    """Return the data folder: what was configured (relative to the current folder), else ``data/`` in the root."""
    return Path(configured).expanduser().resolve() if configured else root() / "data"


def cache() -> Path:
    """Return the folder of things that can be made again: ``DARKROOM_CACHE``, else the user's cache folder.

    Raises:
        UserError: it cannot be made or written.
    """
    chosen = os.environ.get("DARKROOM_CACHE")
    base = chosen or os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    try:
        folder = Path(base).expanduser().resolve()
    except RuntimeError as error:  # nobody's home
        raise UserError(_unusable(base, str(error))) from None
    return _usable(folder if chosen else folder / "darkroom")


@functools.cache
def _usable(folder: Path) -> Path:
    try:
        check_writable(folder)
    except OSError as error:
        raise UserError(_unusable(str(folder), error.strerror or str(error))) from None
    return folder


def _unusable(folder: str, reason: str) -> str:
    return (
        f"The cache {folder} cannot be used ({reason}): set the environment variable DARKROOM_CACHE to a folder that"
        " can be written."
    )


def check_writable(folder: Path) -> None:
    """Make a folder, and see that a file can be made in it.

    Raises:
        OSError: it cannot be.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder) as file:
        file.write(b"0")


def check_place(setting: str, target: Path) -> None:
    """Refuse a file or folder that cannot be made where it is wanted, before the work that is to be left there.

    Raises:
        UserError: its place is not there to be written, or is no folder.
    """
    try:
        place = target if target.is_dir() else next(each for each in target.absolute().parents if each.exists())
        with tempfile.TemporaryFile(dir=place):
            return
    except OSError as error:
        raise UserError(
            f"{setting}={target} cannot be written ({error.strerror}): type {setting}=<a place that can be>."
        ) from None


def settings() -> Path | None:
    """Return the folder of what a person has said once and for all, of no project; None for a user without a home."""
    if value := os.environ.get("XDG_CONFIG_HOME"):
        return Path(value) / "darkroom"
    try:
        return Path.home() / ".config" / "darkroom"
    except RuntimeError:
        return None
