"""What costs much and never changes, kept on disk: read back only as it was written, otherwise made again."""

import json
import logging
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from darkroom.files import atomic_path

LOG = logging.getLogger(__name__)


def save(path: Path, tensors: Mapping[str, Tensor], facts: Any = None) -> None:
    """Write tensors and what else is known, plain containers, aside first, with a checksum of all of it."""
    whole = {name: tensor.contiguous() for name, tensor in tensors.items()}
    told = json.dumps(facts)
    with atomic_path(path) as place:
        save_file(whole, place, metadata={"facts": told, "checksum": _checksum(whole, told)})


def load(path: Path) -> tuple[dict[str, Tensor], Any] | None:
    """Return what was kept in a file; None when there is none, or it is not what was written, which is logged."""
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            stated = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
        if "checksum" not in stated:
            raise ValueError("it was written without a checksum")
        if stated["checksum"] == _checksum(tensors, stated["facts"]):
            return tensors, json.loads(stated["facts"])
        reason = "its content is not what was written"
    except Exception as error:  # damaged bytes lead the reader into every kind of exception; all are told
        reason = " ".join(str(error).split()) or type(error).__name__
    LOG.warning("making '%s' again: %s", path, reason)
    return None


def _checksum(tensors: Mapping[str, Tensor], told: str) -> str:
    value = zlib.crc32(told.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        value = zlib.crc32(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode(), value)
        value = zlib.crc32(tensor.reshape(-1).view(torch.uint8).numpy().data, value)
    return f"{value:08x}"
