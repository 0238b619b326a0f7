"""What a run or a file recorded of its configuration: whether it can be used, as what, and what it computes."""

import copy
import hashlib
import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from darkroom import annotations, recorded_names, trust
from darkroom.config import several
from darkroom.config.checking import check_target
from darkroom.config.nodes import Node, targets
from darkroom.config.schema import Train
from darkroom.errors import UserError
from darkroom.signatures import signature

# What only watches, queues or exports a run, and which a run may be older than.
_LATER = ("sentinel", "submit", "output", "trust")
_FORMER = ("search",)  # what older runs recorded, and which changed nothing about them


def admitted(recorded: Any, origin: str) -> Node:
    """Return a configuration that came with a file or a run, of parts that it may have and that could be built.

    Raises:
        UserError: it names what is no part of a model (`trust`), or settings that could not have been typed.
    """
    config = trust.admit(recorded, origin)
    try:
        _check_recorded(config, Train, "")
        several.check(config.get("metrics"))
        for path, node in targets(config):
            check_target(path, node)
    except UserError as error:
        raise UserError(f"{origin} cannot be used: {error}") from None
    return config


def check_whole(recorded: Node, origin: str) -> None:
    """Refuse a recorded configuration of a run that is to go on, or to be made again, in which a setting is missing.

    Raises:
        UserError: which one.
    """
    for key in (key.name for key in fields(Train) if key.name not in _LATER):
        if key not in recorded:
            raise UserError(f"The configuration in {origin} cannot be used: '{key}' is missing.")


def _check_recorded(config: Node, schema: type, path: str) -> None:
    """Compare what a run recorded at the top of its configuration with the types there; older ones recorded less."""
    said = signature(f"{schema.__module__}.{schema.__qualname__}").parameters
    for known in fields(schema):
        value, kind = config.get(known.name), known.type
        if known.name not in config:
            continue
        if isinstance(kind, type) and is_dataclass(kind):
            if not isinstance(value, dict):
                raise UserError(f"'{path}{known.name}' is {value!r}, but several settings were expected.")
            _check_recorded(value, kind, f"{known.name}.")
        else:
            annotations.check(f"{path}{known.name}", value, said[known.name].annotation)


def migrate(recorded: Node, current: Node) -> Node:
    """Return the recorded configuration of a run with what it is older than, taken from a current one."""
    kept = {key: value for key, value in recorded.items() if key not in _FORMER}
    return kept | {key: current[key] for key in _LATER if key not in kept}  # in its order: it is compared as text


def overlaid(recorded: Node, composed: Node, keys: set[str]) -> Node:
    """Return a recorded configuration with the given settings, or whole groups, taken from a composed one.

    Raises:
        UserError: a setting that the recorded configuration does not have.
    """
    result = copy.deepcopy(recorded)
    for key in sorted(keys):
        *parents, last = key.split(".")
        source, target = composed, result
        for parent in parents:
            source, target = source.get(parent, {}), target.get(parent, {})
        if last not in source or last not in target:
            raise UserError(
                f"'{key}' cannot be changed when a run goes on: it keeps its own configuration, of which single"
                " settings (and the groups data, trainer, metrics) can be replaced."
            )
        target[last] = source[last]
    return result


# Settings that change where or how fast a run goes, never what comes out.
_NOT_IN_DIGEST = ("name", "paths", "tracking", "saving", "resume", "fork", "search", "submit", "output", "trust")


def digest(config: Mapping[str, Any]) -> str:
    """Return a name for what a configuration computes: equal digests, equal results."""
    kept = {key: value for key, value in config.items() if key not in _NOT_IN_DIGEST}
    if isinstance(kept.get("metrics"), dict):
        kept["metrics"] = recorded_names.metrics_first(kept["metrics"])
    return hashlib.sha256(recorded_names.first(json.dumps(kept, sort_keys=True)).encode()).hexdigest()[:16]
