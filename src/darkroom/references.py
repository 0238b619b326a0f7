"""What is known about the real pictures, kept on disk: it costs as much as a score and never changes."""

import json
import logging
from collections.abc import Callable, Mapping
from pathlib import Path

import safetensors
import safetensors.torch
from torch import Tensor

from darkroom import digests, files

log = logging.getLogger(__name__)


def remembered(
    folder: Path, kind: str, key: Mapping[str, object], make: Callable[[], dict[str, Tensor]]
) -> dict[str, Tensor]:
    """Return tensors made earlier for exactly this key, or make and keep them.

    The key holds everything that the tensors depend on, digests of data and weights included, and stands in the file in
    full: a file is used only if its key is equal and its tensors are what was written. A damaged one is made again.
    """
    key = json.loads(json.dumps(key))  # as it will be read back: tuples are lists
    path = folder / f"{kind}-{digests.of_mapping(key)[:16]}.safetensors"
    if path.is_file():
        try:
            with safetensors.safe_open(path, framework="pt") as file:
                metadata = file.metadata() or {}
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
            whole = digests.of_tensors(tensors) == metadata.get("digest")
            if whole and json.loads(metadata["key"]) == key:
                return tensors
            reason = "its content is not what was written"
        except (safetensors.SafetensorError, KeyError, json.JSONDecodeError, OSError) as error:
            reason = str(error)
        log.warning("making %s again: %s", path, reason)
    tensors = {name: tensor.contiguous() for name, tensor in make().items()}
    metadata = {"key": json.dumps(key, sort_keys=True), "digest": digests.of_tensors(tensors)}
    files.write(path, safetensors.torch.save(tensors, metadata))
    return tensors
