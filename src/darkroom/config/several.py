"""Metrics by name: ``metrics: {fid: {_target_: …}, likelihood: {_target_: …}, objective: fid, every: 20000}``.

A single metric is a part like any other, with a ``_target_``. Of several, what stands beside them is a setting of all
that take it, unless one says it itself; ``objective`` names the one that says which state is best, the first if none.
"""

from collections.abc import Callable, Mapping
from typing import Any

from darkroom.config.nodes import Node
from darkroom.errors import UserError, did_you_mean
from darkroom.signatures import TargetError, signature


def named(node: Mapping[str, Any]) -> dict[str, Node]:
    """Return the metrics of a node by their names, each with all of its settings; a single one has the name ""."""
    if "_target_" in node:
        return {"": dict(node)}
    shared = _shared(node)
    return {
        name: {**{key: value for key, value in shared.items() if key in _takes(part)}, **part}
        for name, part in _parts(node).items()
    }


def leading(node: Mapping[str, Any]) -> Node:
    """Return the one that says which state is best."""
    parts = named(node)
    return parts[node.get("objective") or next(iter(parts))] if "" not in parts else parts[""]


def path_of(node: Mapping[str, Any], key: str) -> str:
    """Return where a setting of the leading metric is typed, ``metrics.every``."""
    if "_target_" in node or key in node:
        return f"metrics.{key}"
    return f"metrics.{node.get('objective') or next(iter(named(node)))}.{key}"


def changed(node: Mapping[str, Any], change: Callable[[Node], Node]) -> Node:
    """Return a node of which a change was made to the settings of all, and to those of each."""
    if "_target_" in node:
        return change(dict(node))
    parts = {name: change(part) for name, part in _parts(node).items()}
    return {**change(_shared(node)), **parts, **({"objective": node["objective"]} if "objective" in node else {})}


def check(node: Any, path: str = "metrics") -> None:
    """Refuse what are no metrics by name.

    Raises:
        UserError: a name without a ``_target_``, an objective that is none of them, or a setting that none takes.
    """
    if not isinstance(node, Mapping) or "_target_" in node:
        return
    parts = _parts(node)
    if not parts:
        raise UserError(f"There are no {path}: type metrics=<one of the files in conf/metrics>.")
    for name, part in parts.items():
        if "_target_" not in part:
            raise UserError(f"'{path}.{name}' says no _target_, the class that it is to be.")
    if (objective := node.get("objective")) is not None and objective not in parts:
        raise UserError(f"'{path}.objective' is '{objective}', but one of {', '.join(parts)} was expected.")
    known = {key for part in parts.values() for key in _takes(part)}
    for key in _shared(node):
        if key not in known:
            raise UserError(f"There is no setting '{path}.{key}'{did_you_mean(key, [*known, *parts, 'objective'])}.")


def _parts(node: Mapping[str, Any]) -> dict[str, Node]:
    return {name: dict(part) for name, part in node.items() if isinstance(part, Mapping)}


def _shared(node: Mapping[str, Any]) -> Node:
    return {key: value for key, value in node.items() if key != "objective" and not isinstance(value, Mapping)}


def _takes(part: Mapping[str, Any]) -> set[str]:
    try:
        return set(signature(str(part.get("_target_"))).parameters)
    except TargetError:  # said where targets are checked
        return set()
