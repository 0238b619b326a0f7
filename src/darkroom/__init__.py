"""Darkroom: a config-driven lab for generating and editing images."""

from typing import TYPE_CHECKING

from darkroom.version import __version__ as __version__

if TYPE_CHECKING:
    from pathlib import Path

    from darkroom.trained import Trained


def load(reference: "str | Path" = "latest", trust: "str | list[str] | None" = None) -> "Trained":
    """Return a trained run, to generate and edit pictures with: ``darkroom.load("latest").edit("photo.jpg")``.

    ``reference`` is a run (its id, the first digits of it, its name, latest or best), or a .ckpt file. A run of classes
    of your own needs the name of their package, ``trust="my_lab"``, unless you have named it before. What it needs is
    imported with the first call, so that ``import darkroom`` stays quick.
    """
    from darkroom.trained import Trained

    return Trained.of(reference, trust)
