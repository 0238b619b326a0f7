"""Files that are either whole or not there, and nothing left behind by a process that was killed.

What is being written lies beside its place as ``.darkroom-<machine>-<random>.partial``, a name that nobody can foresee,
opened for this writer alone and locked for as long as it lives. The lock goes with its owner, however it ends: whoever
next writes into that folder removes what no process holds.

A place that is a symbolic link is followed, and the link stays; one that leads nowhere or to itself, and what is no
file, such as a pipe or a device, is refused.
"""

import errno
import fcntl
import functools
import hashlib
import os
import re
import secrets
import shutil
import socket
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from darkroom.errors import UserError, printable

_OURS = re.compile(r"\.darkroom-([0-9a-f]{8})-[0-9a-f]{12}\.partial")
_FORMER = re.compile(r"\..+\.(\d+)\.partial")  # as earlier versions named them, by the number of their process
_NEW, _OLD = "new", "old"  # in a folder aside: what is being written, and what it takes the place of
_GRACE = 3600.0  # seconds for which what another machine may be writing, or an earlier version, is left alone
_UNKNOWN = 86_400.0  # seconds for which what cannot be locked on this file system is left alone
_swept: set[tuple[int, int]] = set()  # folders that this process has been through


@contextmanager
def atomic_file(path: Path, durable: bool = True) -> Iterator[BinaryIO]:
    """Write a file beside ``path`` and put it in its place when the block is left without an error.

    A kill, a full disk or an error leaves the previous file as it was. A file that is replaced hands its permissions
    on. ``durable`` waits until the content and its name are on the disk, so that a power cut is survived too; it costs
    milliseconds.

    Raises:
        UserError: the place is a link that leads nowhere, or no file.
        OSError: it cannot be written.
    """
    path = _real(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    sweep(path.parent)
    partial, descriptor = _opened(path.parent)
    try:
        with os.fdopen(descriptor, "w+b") as file:  # held, and so locked, until it is in its place
            _take_after(path, descriptor)
            yield file
            file.flush()
            if durable:
                os.fsync(descriptor)
            else:
                os.close(os.dup(descriptor))  # on a network a full disk is told when a file is closed
            partial.replace(path)
        if durable:
            _settle(path.parent)
    finally:
        partial.unlink(missing_ok=True)


def write(path: Path, content: bytes, durable: bool = True) -> None:
    """Write a whole file at once, aside first."""
    with atomic_file(path, durable) as file:
        file.write(content)


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield another place, for what writes by a file's name, and move the file when the block is left without error.

    Raises:
        UserError: the place is a link that leads nowhere, or no file.
        OSError: it cannot be written.
    """
    path = _real(path)
    with scratch(path.parent) as room:
        yield room / _NEW
        (room / _NEW).replace(path)


@contextmanager
def atomic_folder(folder: Path) -> Iterator[Path]:
    """Yield an empty folder that takes the place of ``folder`` when the block is left without an error.

    What was there before stays until then, also when the process is killed while the two change places.
    """
    folder = Path(os.path.realpath(folder))
    with scratch(folder.parent) as room:
        made, before = room / _NEW, room / _OLD
        made.mkdir()
        yield made
        if folder.exists():
            before.mkdir()
            folder.replace(before / folder.name)
        made.replace(folder)


@contextmanager
def scratch(parent: Path) -> Iterator[Path]:
    """Yield an empty folder in ``parent`` that is gone afterwards, also after a kill: the next writer removes it."""
    parent.mkdir(parents=True, exist_ok=True)
    sweep(parent)
    room, descriptor = _opened_folder(parent)
    try:
        yield room
    finally:
        try:
            _discard(room)
        finally:
            os.close(descriptor)


def sweep(folder: Path, again: bool = False) -> None:
    """Remove what killed processes have left in a folder; looks through it once in the life of a process, or again."""
    try:
        found = os.stat(folder)
        if (place := (found.st_dev, found.st_ino)) in _swept and not again:
            return
        _swept.add(place)
        with os.scandir(folder) as entries:
            leftover = [entry.path for entry in entries if _is_partial(entry.name)]
    except OSError:  # not there yet, or not ours to look into: whoever writes there is told
        return
    for path in leftover:
        with suppress(OSError):  # somebody else was faster, or may do what we may not
            _remove_if_abandoned(Path(path))


def sweep_below(folder: Path) -> None:
    """Remove what killed processes have left in a folder and in all below it."""
    for place, _, _ in os.walk(folder):
        sweep(Path(place), again=True)


# --- the place --------------------------------------------------------------------------------------------------------


def _real(path: Path) -> Path:
    """Return the file that a path stands for, its links followed, whether or not it is there yet.

    Raises:
        UserError: a link leads nowhere or to itself, or there is something that is no file.
    """
    try:
        found = path.lstat()
    except FileNotFoundError:
        return path
    if stat.S_ISLNK(found.st_mode):
        try:
            path = Path(os.path.realpath(path, strict=True))
            found = path.stat()
        except OSError as error:
            if error.errno not in (errno.ELOOP, errno.ENOENT, errno.ENOTDIR):
                raise
            leads = "to itself" if error.errno == errno.ELOOP else f"to {os.readlink(path)}, which is not there"
            raise UserError(
                printable(f"{path} is a link that leads {leads}: remove it, or name another place.")
            ) from None
    if not stat.S_ISREG(found.st_mode):
        what = "a folder" if stat.S_ISDIR(found.st_mode) else "a pipe, a socket or a device"
        raise UserError(printable(f"{path} is {what}, and a file is written: name another place."))
    return path


def _take_after(path: Path, descriptor: int) -> None:
    """Give a new file the owner and the permissions of the one that it is to replace, as far as that is allowed."""
    try:
        former = path.stat()
    except FileNotFoundError:
        return
    made = os.fstat(descriptor)
    with suppress(PermissionError):
        if (former.st_uid, former.st_gid) != (made.st_uid, made.st_gid):
            os.fchown(descriptor, former.st_uid, former.st_gid)
    if stat.S_IMODE(former.st_mode) != stat.S_IMODE(made.st_mode):
        with suppress(PermissionError):  # file systems of cards and sticks have no permissions
            os.fchmod(descriptor, stat.S_IMODE(former.st_mode))


def _settle(folder: Path) -> None:
    """Wait until the names in a folder are on the disk, where a file system can."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF, errno.EACCES):
            raise
    finally:
        os.close(descriptor)


# --- what lies aside --------------------------------------------------------------------------------------------------


def _opened(folder: Path) -> tuple[Path, int]:
    """Return a new file in a folder, of permissions as the umask has them, opened and locked."""
    while True:
        path = folder / _name()
        with suppress(FileExistsError):
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
            if _lock(descriptor) is not False and os.fstat(descriptor).st_nlink:
                return path, descriptor
            os.close(descriptor)  # a sweeper came between the two, and removes it


def _opened_folder(parent: Path) -> tuple[Path, int]:
    """Return a new folder that only this user sees into, opened and locked."""
    while True:
        path = parent / _name()
        with suppress(FileExistsError, FileNotFoundError):
            path.mkdir(0o700)
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            if _lock(descriptor) is not False and path.exists():
                return path, descriptor
            os.close(descriptor)


def _name() -> str:
    return f".darkroom-{_machine()}-{secrets.token_hex(6)}.partial"


@functools.cache
def _machine() -> str:
    """Return eight digits that stand for the running system, whose locks all its processes and containers share."""
    try:
        named = Path("/proc/sys/kernel/random/boot_id").read_text()
    except OSError:
        named = socket.gethostname()
    return hashlib.sha256(named.encode()).hexdigest()[:8]


def _lock(descriptor: int) -> bool | None:
    """Lock a file without waiting; False: another process has. None: this file system has no locks."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _is_partial(name: str) -> bool:
    return name.endswith(".partial") and bool(_OURS.fullmatch(name) or _FORMER.fullmatch(name))


def _remove_if_abandoned(path: Path) -> None:
    """Remove what nobody is writing any more: what can be locked, or is old where a lock says nothing."""
    found = path.lstat()
    age = time.time() - found.st_mtime
    if former := _FORMER.fullmatch(path.name):
        if age > _GRACE and not _runs(int(former.group(1))):
            _discard(path)
        return
    if not (stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode)):
        return
    writable = stat.S_ISREG(found.st_mode) and os.access(path, os.W_OK)
    way = os.O_RDWR if writable else os.O_RDONLY  # locks over a network ask for the former
    descriptor = os.open(path, way | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        free = _lock(descriptor)
        here = path.name.startswith(f".darkroom-{_machine()}-")
        if (free and (here or age > _GRACE)) or (free is None and age > _UNKNOWN):
            _discard(path)
    finally:
        os.close(descriptor)


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


def _discard(path: Path) -> None:
    """Remove a partial file or folder; what was moved into it, and has no successor yet, goes back first."""
    if path.is_symlink() or not path.is_dir():
        path.unlink(missing_ok=True)
        return
    before = path / _OLD
    for former in list(before.iterdir()) if before.is_dir() else []:
        if not (place := path.parent / former.name).exists():
            former.replace(place)
    shutil.rmtree(path, ignore_errors=True)
