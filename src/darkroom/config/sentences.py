"""What Hydra and OmegaConf found wrong with what was typed, in one sentence."""

import re
from difflib import get_close_matches
from typing import Any

from hydra.errors import MissingConfigException, OverrideParseException
from omegaconf import open_dict
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException
from yaml import YAMLError

from darkroom.config import composing
from darkroom.config.composing import about_value, compose, resolve
from darkroom.config.contradictions import NOT_THE_TRAINERS
from darkroom.config.groups import GROUPS, options
from darkroom.config.nodes import Node, flatten
from darkroom.config.registering import COMPOSITION_ERRORS
from darkroom.config.schema import SCHEMAS
from darkroom.config.typed import Typed
from darkroom.errors import UserError, cause, did_you_mean, nearest
from darkroom.signatures import TargetError, signature


def explain(error: BaseException, typed: Typed) -> str:
    """Return what Hydra and OmegaConf found wrong as one sentence, with the nearest thing that exists."""
    if isinstance(error, OverrideParseException):
        return _about_grammar(error.override, str(error), typed)
    text = str(error)
    if isinstance(error, YAMLError):
        return f"A file is not YAML: {' '.join(text.split())}."
    if "Additional config directory" in text:
        return f"--config-dir is '{typed.folder}', which is no folder."
    place = re.match(r"In '([^']+)'", text)
    where = f" in {place.group(1)}.yaml" if place and place.group(1) != typed.command else ""
    if isinstance(error, MissingConfigException):
        return _about_file(error, typed, where)
    if found := re.search(r"Could not override '([^']+)'|Could not delete from config. '([^']+)'", text):
        return _about_key(found.group(1) or found.group(2), typed, "")
    if found := re.search(r"Ambiguous value for argument '([^=]+)=([^']*)'", text):
        key, values = found.groups()
        return f"'{key}' was given several values: type {key}=[{values}] for a list, or add -m for a run with each."
    if isinstance(error, AssertionError):  # OmegaConf, about a setting below a group that is null
        typed_below = {override.lstrip("+").partition(".")[0] for override in typed.overrides}
        group = next((group for group in GROUPS if group in typed_below), "group")
        return f"A setting of {group} was given without one: type {group}=<one of {', '.join(options(group))}>."
    if "Config group override must be" in text:
        return _about_choice(typed)
    if inner := cause(error, OmegaConfBaseException):
        if isinstance(inner, ConfigKeyError | ConfigAttributeError):
            return _about_key(str(inner.full_key or inner.key), typed, where)
        return about_value(inner, where)
    return " ".join(text.split())


def _about_grammar(override: str, text: str, typed: Typed) -> str:
    if "=" not in override:
        if override in options("experiment", typed.folders()):
            return f"'{override}' stands alone: type experiment={override}."
        if override in SCHEMAS:
            return f"'{override}' is a command of its own: type darkroom {override}."
        return f"'{override}' has no value: type {override.lstrip('+')}=<value>."
    if controls := sorted({letter for letter in override if not letter.isprintable()}):
        return f"'{override}' holds {' and '.join(map(repr, controls))}, which no number or word does: leave it out."
    reason = text.splitlines()[0]
    return f"'{override}' cannot be read ({reason}): put the value in quotes, \"{override.partition('=')[0]}='…'\"."


def _about_file(error: MissingConfigException, typed: Typed, where: str) -> str:
    missing = str(error.missing_cfg_file or "")
    group, _, option = missing.partition("/")
    if option and any(override.endswith(option) for override in typed.overrides):
        where = ""
    if known := options(group, typed.folders()):
        return f"There is no {group} '{option}'{where}: the nearest are {nearest(option, known)}."
    if error.options:
        return f"There is no '{missing}'{where}: there are {', '.join(error.options)}."
    return f"There is no configuration '{missing}'{where} in {' or '.join(map(str, typed.folders()))}."


def _about_choice(typed: Typed) -> str:
    for override in typed.overrides:
        group, _, value = override.partition("=")
        if known := options(group.partition("@")[0], typed.folders()):
            if value in ("null", "") or value not in known:
                return f"{override} names no file: type {group}=<one of {', '.join(known)}>."
        elif not group:
            return f"'{override}' names no setting: type <setting>={value}."
    return f"A group was given something else than the name of a file: {' '.join(typed.overrides)}."


def _about_key(key: str, typed: Typed, where: str) -> str:
    """Say that there is no such setting, and which was meant or how it can be added."""
    group, _, slot = key.partition("@")
    if group.partition(".")[0] == "search" and typed.command == "train":
        return f"A search is a sweep of trials: type darkroom sweep {' '.join(typed.overrides)}."
    config, slots = _known(typed, key)
    if group in GROUPS and (used := [known for known in slots if known.startswith(f"{group}@")]):
        nearby = get_close_matches(key, used, n=1, cutoff=0.8) if slot else []
        return f"'{key}' is not used here{where}: type {' or '.join(f'{known}=<file>' for known in nearby or used)}."
    *parents, last = key.split(".")
    if parents == ["trainer"] and last in NOT_THE_TRAINERS:
        return f"'{key}' would not do what it says here: use {NOT_THE_TRAINERS[last]}."
    parent: Any = config
    for part in parents:
        parent = parent.get(part) if isinstance(parent, dict) else None
    if parents and isinstance(parent, dict) and not where and _takes(parent, parents[-1], last):
        return f"'{key}' is not in the file yet, so it is added with a plus: type +{key}=<value>."
    known = flatten(config)
    if not parents and (below := [path for path in known if path.endswith(f".{key}")]):
        return f"There is no setting '{key}'{where} (did you mean {' or '.join(map(repr, below[:3]))}?)."
    if key in config:
        return f"'{key}' holds several settings{where}: type {key}.<setting>=<value>."
    inner = {path.rsplit(".", depth)[0] for path in known for depth in range(1, path.count(".") + 1)}
    return f"There is no setting '{key}'{where}{did_you_mean(key, [*known, *inner, *GROUPS])}."


def _takes(node: Node, name: str, key: str) -> bool:
    """Say whether a setting that a file does not have could be added to it."""
    if "_target_" not in node:
        return name == "tags"
    try:
        accepted = signature(node["_target_"])
    except TargetError:
        return False
    return key in accepted.parameters and not accepted.parameters[key].supplied


def _known(typed: Typed, bad: str) -> tuple[Node, list[str]]:
    """Return a configuration near the one that was meant, and where its groups are used.

    What was typed, the bad key left out, may hold further mistakes; then the command's own defaults are taken.
    """
    kept = [override for override in typed.overrides if override.lstrip("+~").partition("=")[0] != bad]
    without_files = [override for override in kept if not override.startswith(("experiment=", "profile=", "local="))]
    for overrides in (kept, without_files):
        try:
            composed = composing.composed(typed.command, overrides, typed.folder, return_hydra_config=True)
            slots = list(composed.hydra.runtime.choices)
            with open_dict(composed):
                del composed["hydra"]
            return resolve(composed), slots
        except (*COMPOSITION_ERRORS, UserError, ValueError):
            continue
    return compose(typed.command, []), []
