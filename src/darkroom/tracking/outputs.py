"""Folders that commands leave for a pipeline: whole or not there, and never in the place of somebody's files.

Each lists its own files in a JSON file, the index. A folder that stands for a run has the index ``run.json``, with the
id of the run: whatever takes a run's name takes such a folder too.
"""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from darkroom import files, paths
from darkroom.errors import UserError

RUN = "run.json"  # index of a folder that stands for a run
CHECKPOINT = "best.ckpt"  # in such a folder, when the run was trained


def check(folder: Path, index: str) -> None:
    """Refuse a place that holds anything but an earlier output of the same kind.

    Raises:
        UserError: it is a file, or a folder with files that its ``index`` does not list.
    """
    files.sweep(folder.parent)  # a kill while it was being replaced has left it there
    if not folder.exists():
        paths.check_place("output", folder)
        return
    if not folder.is_dir():
        raise UserError(
            f"output={folder} is a file, and a folder is written: type output=<a folder that is not there>."
        )
    there = _files(folder)
    known = {index, *_content(folder / index).get("files", [])}
    if strangers := [name for name in there if name not in known]:
        raise UserError(
            f"output={folder} holds {strangers[0]!r}, which this command did not write and would delete: type"
            " output=<a folder that is empty or not there>."
        )
    paths.check_place("output", folder)


@contextmanager
def writing(folder: Path, index: str, facts: dict[str, Any]) -> Iterator[Path]:
    """Yield an empty folder that takes the place of ``folder`` when the block is left without an error.

    ``facts`` become its index, with the list of ``files`` in it. An error leaves what was there before.

    Raises:
        UserError: see `check`.
    """
    check(folder, index)
    with files.atomic_folder(folder) as partial:
        yield partial
        content = {**facts, "files": _files(partial)}
        files.write(partial / index, (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode())


def run_id(folder: Path) -> str | None:
    """Return the id of the run that a folder stands for; None when it stands for none."""
    found = _content(folder / RUN).get("run_id")
    return found if isinstance(found, str) and re.fullmatch(r"\w[\w-]*", found) else None


def _content(index: Path) -> dict[str, Any]:
    try:
        content = json.loads(index.read_text())
    except (OSError, ValueError, RecursionError):
        return {}
    listed = content.get("files", []) if isinstance(content, dict) else None
    whole = isinstance(listed, list) and all(isinstance(name, str) for name in listed)
    return content if whole else {}


def _files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir())
