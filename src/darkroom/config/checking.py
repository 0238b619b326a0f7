"""Whether a configuration is right: everything that can be known before anything is loaded."""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from darkroom import annotations
from darkroom.config import several
from darkroom.config.contradictions import check_sweep, check_training
from darkroom.config.groups import GROUPS, options
from darkroom.config.nodes import Node, targets
from darkroom.config.schema import SCHEMAS, Submit
from darkroom.config.spread import SPREAD
from darkroom.errors import UserError, did_you_mean
from darkroom.signatures import TargetError, signature


def check(config: Node, command: str, grid: bool = False) -> None:
    """Refuse a composed configuration that could not run, alone or as one point of a ``grid``.

    Raises:
        UserError: an unknown, missing or misspelt key, a value of the wrong type or out of range, or keys that
            contradict each other.
    """
    _check_schema(config, SCHEMAS[command], "")
    trains = command in ("train", "sweep")
    if "metrics" in config:
        several.check(config["metrics"])
    if trains:
        for group in ("data", "model", "metrics", "trainer", "sentinel"):
            by_name = group == "metrics" and config[group]
            if not isinstance(config[group], Mapping) or not ("_target_" in config[group] or by_name):
                raise UserError(f"There is no {group}: type {group}=<one of {', '.join(options(group))}>.")
    for path, node in targets(in_full(config)):
        check_target("" if path == SPREAD.get(command) else path, node)
    for key in ("runs", "generators"):
        if config.get(key) == []:
            raise UserError(f"'{key}' is an empty list, so nothing would be done: name some, or leave it out.")
    if trains:
        if config["submit"] is not None:
            _check_schema(config["submit"], Submit, "submit.")
        check_training(config, grid)
    if command == "sweep":
        check_sweep(config)


def in_full(config: Node) -> Node:
    """Return a configuration in which each of several metrics has the settings that stand beside them."""
    node = config.get("metrics")
    if not isinstance(node, Mapping) or "_target_" in node:
        return config
    return {**config, "metrics": several.named(node)}


def check_part(node: Node, path: str) -> None:
    """Refuse the configuration of a part that was recorded in a file, as `check` refuses one that was composed.

    Raises:
        UserError: an unknown or missing key, or a value of the wrong type or out of range.
    """
    if not isinstance(node, Mapping) or "_target_" not in node:
        raise UserError(f"'{path}' says no _target_, the class that it is to be: type {path}=<file>, or write one.")
    for place, part in targets(node, path):
        check_target(place, part)


def _check_schema(node: Mapping[str, Any], schema: type, path: str) -> None:
    known = {f.name: f for f in fields(schema)}
    said = signature(f"{schema.__module__}.{schema.__qualname__}").parameters
    for key, value in node.items():
        if key not in known:
            raise UserError(f"There is no setting '{path}{key}'{did_you_mean(key, [*known, *GROUPS])}.")
        kind = known[key].type
        if isinstance(kind, type) and is_dataclass(kind) and isinstance(value, Mapping):
            _check_schema(value, kind, f"{path}{key}.")
        else:
            annotations.check(f"{path}{key}", value, said[key].annotation)
    for key in known:
        if key not in node:
            raise UserError(f"'{path}{key}' was deleted, and the lab reads it: leave out ~{path}{key}.")


def check_target(path: str, node: Node) -> None:
    """Refuse one part whose settings its ``_target_`` would not take; an empty ``path``: they are typed alone.

    Raises:
        UserError: an unknown or missing key, or a value of the wrong type or out of range.
    """
    inside = f"{path}." if path else ""
    target = node["_target_"]
    if not isinstance(target, str) or not isinstance(node.get("_partial_", False), bool):
        raise UserError(f"'{path or 'a part'}' needs a _target_ that is a text, and a _partial_ that is true or false.")
    try:
        accepted = signature(target)
    except TargetError as error:
        raise UserError(f"{inside}_target_ is '{target}', but {error}.") from None
    given = {key: value for key, value in node.items() if not key.startswith("_")}
    for key, value in given.items():
        if key not in accepted.parameters:
            if accepted.open:
                continue
            known = [name for name, parameter in accepted.parameters.items() if not parameter.supplied]
            hint = did_you_mean(key, known) or f" (it takes {', '.join(known)})"
            raise UserError(f"There is no setting '{inside}{key}': {target} takes no such argument{hint}.")
        parameter = accepted.parameters[key]
        if parameter.supplied:
            raise UserError(f"'{inside}{key}' is not yours to set: the lab passes it to {target} itself.")
        annotations.check(f"{inside}{key}", value, parameter.annotation)
        if target.startswith("darkroom."):  # elsewhere a capital may be an alias of texts and numbers
            annotations.check_part(f"{inside}{key}", value, parameter.annotation)
    if not node.get("_partial_"):
        for name, parameter in accepted.parameters.items():
            if parameter.required and parameter.supplied and "." in path:
                raise UserError(f"'{path}' lacks _partial_: true, since the lab itself passes '{name}' to {target}.")
            if parameter.required and name not in given and not parameter.supplied:
                raise UserError(f"'{inside}{name}' is missing: {target} needs it; type {inside}{name}=<value>.")
