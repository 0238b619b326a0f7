"""A configuration once it is composed: plain containers, and the ways through them."""

from collections.abc import Iterator, Mapping
from typing import Any

Node = dict[str, Any]


def targets(node: Any, path: str = "") -> Iterator[tuple[str, Node]]:
    """Yield every node with a ``_target_``, outermost first."""
    if isinstance(node, Mapping):
        if "_target_" in node:
            yield path, dict(node)
        for key, value in node.items():
            yield from targets(value, f"{path}.{key}" if path else str(key))
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from targets(value, f"{path}[{index}]")


def targets_below(node: Mapping[str, Any], prefix: str) -> list[str]:
    """Return the last names of everything that a configuration builds out of a package, outermost first."""
    names = [str(part["_target_"]) for _, part in targets(node)]
    return [name.rpartition(".")[2] for name in names if name.startswith(prefix)]


def _leaves(node: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(node, Mapping):
        for key, value in node.items():
            yield from _leaves(value, f"{path}.{key}" if path else str(key))
    else:
        yield path, node


def flatten(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``{"model.latent_dim": 64, …}``, without the names of classes and modes of building."""
    return {path: value for path, value in _leaves(config) if path.rpartition(".")[2] not in ("_partial_", "_convert_")}
