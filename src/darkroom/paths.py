"""Where things are: the project root, conf/, data, runs and the cache."""

import os
from pathlib import Path

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
    """Return the folder of things that can be made again: ``DARKROOM_CACHE``, else the user's cache folder."""
    if value := os.environ.get("DARKROOM_CACHE"):
        return Path(value).expanduser().resolve()
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "darkroom"


def settings() -> Path | None:
    """Return the folder of what a person has said once and for all, of no project; None for a user without a home."""
    if value := os.environ.get("XDG_CONFIG_HOME"):
        return Path(value) / "darkroom"
    try:
        return Path.home() / ".config" / "darkroom"
    except RuntimeError:
        return None
