"""The groups of configuration files, and which files there are in each."""

from collections.abc import Sequence
from pathlib import Path

from darkroom import paths

# Groups that a command adds to its own keys, for "did you mean".
GROUPS = (
    "data",
    "model",
    "architecture",
    "network",
    "optimizer",
    "schedule",
    "penalty",
    "augmentation",
    "likelihood",
    "prior",
    "degradation",
    "curriculum",
    "search",
    "submit",
    "metrics",
    "trainer",
    "sentinel",
    "experiment",
    "profile",
    "operation",
)


def file_of(group: str, option: str, folders: Sequence[Path]) -> Path:
    """Return the file of an option that there is, in the first folder that has one."""
    return next(file for folder in folders if (file := folder / group / f"{option}.yaml").is_file())


def options(group: str, folders: Sequence[Path] = ()) -> list[str]:
    """Return every file of a configuration group, ``gan/digits`` and the like."""
    bases = [folder / group for folder in folders or [paths.conf()]] if group else []
    return sorted({str(file.relative_to(base).with_suffix("")) for base in bases for file in base.rglob("*.yaml")})
