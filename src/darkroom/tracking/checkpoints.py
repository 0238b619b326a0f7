"""Checkpoints: whole files of tensors and plain containers, and the way from a run to its file."""

import errno
from collections import OrderedDict
from pathlib import Path
from typing import Any, Literal

import torch

from darkroom import files
from darkroom.errors import UserError
from darkroom.tracking import inspection, outputs
from darkroom.tracking.store import Store
from darkroom.version import __version__

_MARK = "darkroom_version"
# Exactly these types: a numpy float is a float to isinstance, and cannot be read back.
_PLAIN = (str, int, float, bool, bytes, type(None), torch.Size, torch.dtype, torch.device)
_TENSORS = (torch.Tensor, torch.nn.Parameter)  # a subclass would bring methods of its own
_MAPPINGS = (dict, OrderedDict)
_SEQUENCES = (list, tuple, set)
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def save(path: Path, checkpoint: dict[str, Any]) -> None:
    """Write a checkpoint that is whole or not there; the previous one stays until the new one is on the disk.

    Raises:
        TypeError: it holds something that could not be read back (`load` reads tensors and plain containers only).
        UserError: the disk is full or cannot be written.
    """
    _refuse_strangers(checkpoint, "checkpoint")
    path = Path(path)
    try:
        with files.atomic_file(path) as file:
            torch.save({_MARK: __version__, **checkpoint}, file)
    except (OSError, RuntimeError) as error:
        reason = _disk_error(error)
        if reason is None:
            raise
        raise UserError(
            f"The checkpoint {path} could not be written ({reason.strerror}); the previous one is intact: "
            f"{'free some space' if reason.errno in _NO_SPACE else 'make the folder writable'} and resume the run."
        ) from error


def load(path: Path) -> dict[str, Any]:
    """Read a checkpoint onto the CPU, without ever running code from it.

    Raises:
        UserError: there is no such file, it is cut short or damaged, or `save` did not write it.
    """
    path = Path(path)
    if path.is_dir():
        raise UserError(f"{path} is a folder and not a checkpoint; name a file in it, or a run.")
    try:
        file = path.open("rb")
    except FileNotFoundError:
        raise UserError(f"There is no checkpoint at {path}; darkroom compare lists the runs that have one.") from None
    except OSError as error:
        raise UserError(f"The checkpoint {path} cannot be read ({error.strerror}).") from error
    with file:
        try:
            inspection.inspect(file)
            file.seek(0)
            checkpoint = torch.load(file, map_location="cpu", weights_only=True)
        except Exception as error:  # damaged bytes lead a reader into every kind of exception
            reason = str(error) if isinstance(error, inspection.Unfit) else f"it is damaged ({type(error).__name__})"
            raise UserError(
                f"{path} is not a checkpoint that can be read: {reason}; take another one of the run, such as"
                " <run>/last."
            ) from error
    if not isinstance(checkpoint, dict) or _MARK not in checkpoint:
        raise UserError(f"{path} was not written by Darkroom; expected a checkpoint of one of its runs.")
    del checkpoint[_MARK]
    try:
        _refuse_strangers(checkpoint, "checkpoint")
    except TypeError as error:
        raise UserError(f"{path} holds more than tensors and plain containers: {error}") from None
    return checkpoint


def locate(ref: str, store: Store, which: Literal["best", "last"] = "best") -> Path:
    """Return the checkpoint file that a person means by ``ref``, downloading it when only a server has it.

    ``ref`` is a path to a file, a folder that ``train output=`` left, or whatever `Store.find` takes (``latest`` and
    ``best`` pass over runs without a checkpoint), with ``/last`` or ``/best`` behind it to overrule ``which``.

    Raises:
        UserError: no such file or run, or the run has no such checkpoint.
    """
    path = Path(ref).expanduser()
    if path.is_file():
        return path
    left = outputs.run_id(path) is not None
    if left and which == "best" and (path / outputs.CHECKPOINT).is_file():
        return path / outputs.CHECKPOINT
    if path.suffix == ".ckpt" or (path.is_dir() and not left):
        load(path)  # says what is wrong with it
    name = ref
    for choice in ("best", "last"):
        if ref.endswith(f"/{choice}"):
            name, which = ref.removesuffix(f"/{choice}"), choice
    record = store.find(name, having=f"checkpoints/{which}.ckpt")
    found = store.fetch(record, f"checkpoints/{which}.ckpt")
    if found is None:
        other = "last" if which == "best" else "best"
        hint = (
            f"type {record.short_id}/{other}" if store.fetch(record, f"checkpoints/{other}.ckpt") else "train it first"
        )
        raise UserError(
            f"Run {record.short_id} {record.name} ({record.status}) has no checkpoints/{which}.ckpt; {hint}."
        )
    return found


def _refuse_strangers(value: object, where: str, depth: int = 0) -> None:
    if depth > inspection.DEPTH:
        raise TypeError(f"{where[:200]}… is nested more than {inspection.DEPTH} deep, or in itself.")
    if isinstance(value, _MAPPINGS) and type(value) in _MAPPINGS:
        for key, part in value.items():
            _refuse_strangers(key, f"a key of {where}", depth + 1)
            _refuse_strangers(part, f"{where}[{key!r}]", depth + 1)
    elif isinstance(value, _SEQUENCES) and type(value) in _SEQUENCES:
        for index, part in enumerate(value):
            _refuse_strangers(part, f"{where}[{index}]", depth + 1)
    elif type(value) not in (*_TENSORS, *_PLAIN):
        kind = f"{type(value).__module__}.{type(value).__qualname__}"
        raise TypeError(f"{where} is a {kind}; a checkpoint holds tensors and plain containers only.")


def _disk_error(error: BaseException) -> OSError | None:
    """Return the disk's complaint: torch's writer wraps it in a RuntimeError of its own."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError):
            return seen
        seen = seen.__cause__ or seen.__context__
    return None
