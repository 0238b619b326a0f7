"""Names for content: the same content always has the same name, and no other content has it."""

import functools
import hashlib
import json
from collections.abc import Mapping

from torch import Tensor, nn

from darkroom import paths

_FROM_FILE_TO_SCORE = (
    *("picture_files", "data", "imaging", "judges", "metrics"),
    *("digests.py", "images.py", "isolation.py", "references.py"),
)


def of_tensors(tensors: Mapping[str, Tensor]) -> str:
    """Return the sha256 of named tensors: names in sorted order, each with its type, shape and bytes."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()


def of_weights(model: object) -> str:
    """Return the sha256 of what a model has learnt."""
    assert isinstance(model, nn.Module)
    return of_tensors(model.state_dict())


def of_mapping(mapping: Mapping[str, object]) -> str:
    """Return the sha256 of a mapping of plain values, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(mapping, sort_keys=True).encode()).hexdigest()


@functools.cache
def of_code() -> str:
    """Return the sha256 of the code between a picture's file and a score: what was kept by other code is not used."""
    digest = hashlib.sha256()
    places = (paths.PACKAGE / name for name in _FROM_FILE_TO_SCORE)
    files = [path for place in places for path in (place.glob("*.py") if place.is_dir() else [place])]
    for path in sorted(files):
        digest.update(f"{path.relative_to(paths.PACKAGE)}\n".encode() + path.read_bytes())
    return digest.hexdigest()
