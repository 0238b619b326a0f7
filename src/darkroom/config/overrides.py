"""What was typed for a setting, as Hydra has to be told it: by the type that the setting has; see `darkroom.line`."""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from darkroom import line, paths
from darkroom.config.nodes import Node
from darkroom.config.registering import COMPOSITION_ERRORS, hydra_composed
from darkroom.config.schema import SCHEMAS, TYPED, Submit
from darkroom.config.spread import spread
from darkroom.signatures import TargetError, signature


def read(command: str, overrides: Sequence[str], folder: Path | None, grid: bool = False) -> list[str]:
    """Return overrides as Hydra has to be told them, each by the type of its setting: see `darkroom.line`.

    Raises:
        UserError: a setting that the part which was chosen does not take.
    """
    typed = [each for override in overrides for each in _by_name(_renamed(command, override), grid)]
    overrides = spread(command, typed, folder)
    groups = tuple(override for override in overrides if _chooses(override, folder))
    return [override if override in groups else _read_one(command, override, groups, folder, grid)
            for override in overrides]  # fmt: skip


def _by_name(override: str, grid: bool) -> list[str]:
    """Return ``metrics=generative,likelihood`` as both, by name; in a grid a comma stands between two points."""
    key, _, value = override.partition("=")
    chosen = value.strip("[]").split(",")
    if key != "metrics" or grid or len(chosen) < 2 or not all(map(str.isidentifier, chosen)):
        return [override]
    return ["metrics=several", *(f"+metrics@metrics.{name}={name}" for name in chosen)]


def _renamed(command: str, argument: str) -> str:
    """Return ``compare experiment=…`` as ``within=…``: Hydra takes the former for a file of conf/experiment."""
    key, equals, value = argument.partition("=")
    looks = command in ("compare", "report") and (key, equals) == ("experiment", "=")
    return f"within={value}" if looks else argument


def _read_one(command: str, override: str, groups: tuple[str, ...], folder: Path | None, grid: bool) -> str:
    parts = line.split(override)
    if parts is None:
        return override
    plus, key, value = parts
    kind = line.Kind.of(_annotation(command, key, groups, folder))
    return f"{plus}{key}={line.read(value, kind, grid)}"


def _chooses(override: str, folder: Path | None) -> bool:
    """Say whether an override chooses a file of a group, or what is built: the types of other settings follow it."""
    key = override.lstrip("+~").partition("=")[0]
    group = key.partition("@")[0]
    folders = [*([folder] if folder else []), paths.conf()]
    return key.endswith("._target_") or (bool(group) and any((each / group).is_dir() for each in folders))


def _annotation(command: str, key: str, groups: tuple[str, ...], folder: Path | None) -> str:
    """Return the type of a setting as source text: of the schema, or of the parameter that it becomes; "" if none."""
    schema: Any = SCHEMAS[command]
    *above, last = key.split(".")
    for depth, name in enumerate([*above, last]):
        known = {each.name: each for each in fields(schema)} if is_dataclass(schema) else {}
        if name not in known:
            return "str" if str(schema) == str(dict[str, str]) else ""
        schema = known[name].metadata.get(TYPED) or known[name].type
        if depth < len(above) and str(schema) != str(dict[str, str]) and not is_dataclass(schema):
            return _annotation_below(command, tuple(above), last, groups, folder)
    return schema.__name__ if isinstance(schema, type) and not hasattr(schema, "__args__") else str(schema)


def _annotation_below(
    command: str, above: tuple[str, ...], last: str, groups: tuple[str, ...], folder: Path | None
) -> str:
    if above == ("submit",):
        return next((str(each.type) for each in fields(Submit) if each.name == last), "")
    node: Any = _files_chosen(command, groups, folder)
    for name in above:
        node = node.get(name) if isinstance(node, Mapping) else None
    try:
        known = signature(node["_target_"]).parameters if isinstance(node, Mapping) else {}
    except (KeyError, TargetError):
        return ""
    return known[last].annotation if last in known else ""


@functools.lru_cache(maxsize=64)
def _files_chosen(command: str, groups: tuple[str, ...], folder: Path | None) -> Node:
    """Return what the chosen files make, settings aside; of a grid over files the first of each; {} if that is none."""
    single = [override.partition(",")[0] for override in groups if "(" not in override]
    try:
        found = OmegaConf.to_container(hydra_composed(command, single, folder))
    except (*COMPOSITION_ERRORS, ValueError, AssertionError):
        return {}
    return {str(key): value for key, value in found.items()} if isinstance(found, dict) else {}
