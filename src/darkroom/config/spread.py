"""Settings of a part that are typed like the command's own: ``darkroom edit operation=move rotate=15``."""

import re
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

from darkroom import documents, paths
from darkroom.config.groups import GROUPS, file_of, options
from darkroom.config.schema import SCHEMAS
from darkroom.errors import UserError, did_you_mean
from darkroom.signatures import TargetError, signature

SPREAD = {"edit": "operation"}  # of a command, the group whose settings are typed without its name
_TYPED = re.compile(r"([+~]{0,2})([^=@.]+)(.*)", re.DOTALL)


def bare(key: str) -> str:
    """Return a setting as it is typed: ``operation.rotate`` as ``rotate``."""
    for group in SPREAD.values():
        key = key.removeprefix(f"{group}.")
    return key


def spread(command: str, overrides: Sequence[str], folder: Path | None) -> list[str]:
    """Return overrides in which settings of the part that was chosen are named as belonging to it.

    Raises:
        UserError: no part was chosen, or one that takes no such setting.
    """
    if (group := SPREAD.get(command)) is None:
        return list(overrides)
    own = {each.name for each in fields(SCHEMAS[command])} | {"hydra", "local"}
    chosen = [each for word in overrides if word.startswith(f"{group}=") for each in word.partition("=")[2].split(",")]
    return [_spread(override, group, own, chosen, folder) for override in overrides]


def _spread(override: str, group: str, own: set[str], chosen: list[str], folder: Path | None) -> str:
    typed = _TYPED.fullmatch(override)
    if typed is None or "=" not in override or typed[2] in own or "/" in typed[2]:
        return override
    sign, key, rest = typed.groups()
    places = [*([folder] if folder else []), paths.conf()]
    known = options(group, places)
    takes = {name: _takes(group, name, places) for name in chosen if name in known}
    if not chosen:
        raise UserError(f"{key}= says nothing without {group}=<one of {', '.join(known)}>.")
    for name, settings in takes.items():
        if key not in settings:
            others = [other for other in known if key in _takes(group, other, places)]
            if others:
                said = ", ".join(settings) or "what all take"
                raise UserError(
                    f"{key}= says nothing to {group}={name}, which takes {said}: leave it out, or type"
                    f" {group}={' or '.join(others[:3])}."
                )
            raise UserError(f"There is no setting '{key}'{did_you_mean(key, [*settings, *own, *GROUPS])}.")
    return f"{sign or '++'}{group}.{key}{rest}"


def _takes(group: str, name: str, places: Sequence[Path]) -> list[str]:
    """Return the settings that a part takes, by the name of its file."""
    file = file_of(group, name, places)
    try:
        return list(signature(str(documents.read_yaml(file).get("_target_", ""))).parameters)
    except TargetError as error:
        raise UserError(f"{file}: {error}.") from None
