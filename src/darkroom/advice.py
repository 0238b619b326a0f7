"""Commands that are printed to be typed: quoted for a shell, and right in whatever folder they are typed in."""

import shlex
from pathlib import Path


def line(command: str, *words: str) -> str:
    """Return ``darkroom <command> <words>`` as it is typed.

    Where a word names something by a path from the current folder, the line goes to that folder first.
    """
    typed = shlex.join(["darkroom", command, *words])
    return f"cd {shlex.quote(str(Path.cwd()))} && {typed}" if any(map(_relative, words)) else typed


def mlflow(uri: str, *words: str) -> str:
    """Return ``mlflow <words>`` as it is typed, with the store it is about: MLflow on its own looks elsewhere."""
    return f"MLFLOW_TRACKING_URI={shlex.quote(uri)} {shlex.join(['mlflow', *words])}"


def run(reference: str) -> str:
    """Return how a run is called in a list of runs: in quotes where its name has a comma or the like."""
    plain = reference and not set(reference) & set(",[]'\"\\") and reference == reference.strip()
    return reference if plain else "'" + reference.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _relative(word: str) -> bool:
    """Say whether the value of a setting is a path that starts here: it is there, and not where the store is."""
    value = word.partition("=")[2].strip("'\"")
    if not value or value.startswith(("/", "~")):
        return False
    try:
        return Path(value).exists()
    except (OSError, ValueError):  # longer than a name can be, say
        return False
