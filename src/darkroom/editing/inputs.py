"""Which pictures a path, a pattern or a folder names, found in one pass that no link, pipe or locked folder stops."""

import errno
import glob
import os
import stat
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from darkroom.editing import heic
from darkroom.errors import UserError, printable, reason

LINKED, SPECIAL = "linked folder", "special file"  # the latter being a pipe, a socket or a device
Identity = tuple[int, int]  # of a file or folder on this machine, whatever it is called


@dataclass
class Found:
    """What was found below ``root``; names are relative to it."""

    root: Path
    several: bool  # whether there may be more than one, so that results go into a folder
    names: list[str] = field(default_factory=list)
    links: set[str] = field(default_factory=set)  # those of them that are symbolic links
    refused: dict[str, str] = field(default_factory=dict)  # why something that was named cannot be used, in words
    others: Counter[str] = field(default_factory=Counter)  # what is no picture here, by its ending

    def passed_over(self) -> str | None:
        """Return in a sentence what was passed over, None if nothing was."""
        if not (count := self.others.total()):
            return None
        most = sorted(self.others.items(), key=lambda item: (-item[1], item[0]))[:5]
        kinds = ", ".join(f"{n} {kind}{'s' if n > 1 and kind in (LINKED, SPECIAL) else ''}" for kind, n in most)
        more = ", …" if len(self.others) > 5 else ""
        said = f"{count} file{'s' if count > 1 else ''} of other kinds passed over ({kinds}{more})"
        return printable(f"{said}: {heic.ADVICE}." if heic.ENDINGS & set(self.others) else f"{said}.")


def find(given: str, suffixes: frozenset[str], results: Path | None) -> Found:
    """Return the pictures that are named, in the order of their paths; ``results`` is a folder not to look into.

    Hidden files and folders are passed over, and folders that are links, which may lead round in a circle.

    Raises:
        UserError: nothing is named.
    """
    path = expanded(given, "input")
    if path.is_file():
        if path.suffix.lower() in heic.ENDINGS and not heic.readable():
            raise UserError(printable(f"{path} is a HEIC file, which needs a package more: {heic.ADVICE}."))
        return Found(path.parent, False, [path.name])
    if path.is_dir():
        found = Found(path, True)
        _walk(found, suffixes, identity(results) if results is not None else None)
    elif os.path.lexists(path) or (first := _first_magic(path)) is None:
        raise UserError(printable(f"input={given} {_absent(path)}: name a picture, a folder, or a pattern such as"
                                  " 'photos/*.png'."))  # fmt: skip
    else:
        found = Found(Path(*path.parts[:first]), True)
        _match(found, path.parts[first:], suffixes, results)
    if not found.names and not found.refused:
        others = f" ({found.passed_over()})".replace(".)", ")") if found.others else ""
        raise UserError(
            printable(f"input={given} names no picture{others}: give a file, a folder, or a pattern such as")
            + " 'photos/*.png'."
        )
    found.names.sort()
    return found


def expanded(given: str, key: str) -> Path:
    """Return a path with ~ filled in.

    Raises:
        UserError: there is no such home, or it could be no path.
    """
    try:
        return Path(given).expanduser()
    except RuntimeError:
        raise UserError(
            printable(f"{key}={given} begins with a home that is not known: type the whole path.")
        ) from None


def identity(path: str | Path) -> Identity | None:
    """Return what tells a file or folder from all others, None when none can be seen; links are followed."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def not_a_file(path: str | Path) -> str | None:
    """Return in words why something with a picture's name is none: a link that leads nowhere, say."""
    try:
        mode = os.stat(path).st_mode
    except OSError as error:
        if error.errno == errno.ELOOP:
            return "is a link that leads to itself"
        if error.errno == errno.ENOENT and os.path.islink(path):
            return printable(f"is a link to {os.readlink(path)}, which is not there")
        return f"cannot be read ({reason(error)})"
    return None if stat.S_ISREG(mode) else "is no file, but a folder, a pipe, a socket or a device"


def _absent(path: Path) -> str:
    return (not_a_file(path) or "does not exist") if os.path.lexists(path) else "does not exist"


def _first_magic(path: Path) -> int | None:
    return next((place for place, part in enumerate(path.parts) if glob.has_magic(part)), None)


def _walk(found: Found, suffixes: frozenset[str], results: Identity | None) -> None:
    """Go through a folder and all below it, each listed once."""
    waiting = [""]
    while waiting:
        inside = waiting.pop()
        place = os.path.join(found.root, inside)
        try:
            with os.scandir(place) as entries:
                listed = [entry for entry in entries if not entry.name.startswith(".")]
        except OSError as error:
            if not inside:
                raise UserError(printable(f"input={found.root} cannot be listed ({reason(error)}).")) from None
            found.refused[inside] = f"cannot be listed ({reason(error)})"
            continue
        for entry in listed:
            name = os.path.join(inside, entry.name)
            if not entry.is_dir(follow_symlinks=False):
                _take(found, name, entry.is_symlink(), entry.is_file(follow_symlinks=False), suffixes)
            elif results is None or entry.inode() != results[1] or identity(entry.path) != results:
                waiting.append(name)


def _take(found: Found, name: str, link: bool, regular: bool, suffixes: frozenset[str]) -> None:
    """File something that is no folder under what it is."""
    suffix = os.path.splitext(name)[1].lower()
    path = os.path.join(found.root, name)
    if link and os.path.isdir(path):
        found.others[LINKED] += 1
    elif not (link or regular):
        found.others[SPECIAL] += 1
    elif suffix not in suffixes and not (suffix in heic.ENDINGS and heic.readable()):
        found.others[suffix or "without an ending"] += 1
    elif link and (why := not_a_file(path)) is not None:
        found.refused[name] = why
    else:
        found.names.append(name)
        if link:
            found.links.add(name)


def _match(found: Found, parts: tuple[str, ...], suffixes: frozenset[str], results: Path | None) -> None:
    """Take what a pattern names; ``**`` is any folders that are no links."""
    pattern = os.path.join(*(part if part == "**" else part.replace("**", "*") for part in parts))
    hidden = any(part.startswith(".") for part in parts)
    kept_out = None if results is None else Path(os.path.realpath(results))
    root = Path(os.path.realpath(found.root))
    if kept_out == root or (kept_out is not None and not kept_out.is_relative_to(root)):
        kept_out = None
    inside: dict[str, bool] = {}  # of each folder, whether earlier results lie there
    for name in {str(path.relative_to(found.root)) for path in found.root.glob(pattern)}:
        folder = os.path.dirname(name)
        if folder not in inside:
            real = os.path.realpath(os.path.join(found.root, folder))
            inside[folder] = kept_out is not None and Path(real).is_relative_to(kept_out)
        if inside[folder] or (not hidden and any(part.startswith(".") for part in name.split(os.sep))):
            continue
        mode = os.lstat(os.path.join(found.root, name)).st_mode
        if not stat.S_ISDIR(mode):
            _take(found, name, stat.S_ISLNK(mode), stat.S_ISREG(mode), suffixes)
