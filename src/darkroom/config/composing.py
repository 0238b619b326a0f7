"""From a command and its overrides to a plain configuration."""

import re
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import GrammarParseError, MissingMandatoryValue, OmegaConfBaseException

from darkroom.config.nodes import Node
from darkroom.config.overrides import read
from darkroom.config.registering import hydra_composed
from darkroom.config.spread import bare
from darkroom.errors import UserError


def compose(name: str, overrides: list[str], overlay: Path | None = None) -> Node:
    """Return the plain configuration that ``darkroom <name> <overrides>`` would use.

    ``overlay`` is a folder of further files beside this lab's conf/.
    """
    return resolve(composed(name, overrides, overlay))


def composed(name: str, overrides: list[str], overlay: Path | None, **more: Any) -> DictConfig:
    """Return what Hydra makes of overrides as a person types them; ``more`` is for ``hydra.compose``."""
    return hydra_composed(name, read(name, overrides, overlay), overlay, **more)


def resolve(composed: DictConfig) -> Node:
    """Return a composed configuration as plain containers, every interpolation filled in."""
    try:
        plain = OmegaConf.to_container(composed, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        raise UserError(about_value(error)) from None
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}


_TYPES = {"Integer": "a whole number", "Float": "a number", "Boolean": "true or false"}


def about_value(error: OmegaConfBaseException, where: str = "") -> str:
    """Return what OmegaConf found wrong with one value as a sentence; ``where`` names the file that it stands in."""
    key = bare(str(error.full_key or error.key or "?"))
    text = str(error).partition("\n")[0]
    if isinstance(error, GrammarParseError):
        return f"'{key}' cannot be read{where} ({text}): a ${{ that refers to nothing is typed \\${{."
    if isinstance(error, MissingMandatoryValue):
        return f"'{key}' has no value yet{where}: type {key}=<value>."
    if found := re.search(r"Interpolation key '([^']+)' not found", text):
        return f"'{key}' refers to '{found.group(1)}'{where}, and there is no such setting."
    if found := re.search(r"Environment variable '([^']+)' not found", text):
        return f"'{key}' reads the environment variable {found.group(1)}{where}, which is not set."
    if found := re.search(r"Value '(.*)' of type '\w+' could not be converted to (\w+)", text):
        return f"'{key}' is '{found.group(1)}'{where}, but {_TYPES.get(found.group(2), found.group(2))} was expected."
    if re.search(r"is not Optional|Incompatible value 'None'|None to non-optional", text):
        return f"'{key}' is null{where}, but it needs a value."
    if found := re.search(r"is not a subclass of (\w+)|Cannot merge|Invalid type assigned", text):
        key = (found.group(1) or key).lower() if key == "?" else key
        return f"'{key}' holds several settings{where}, not one value: type {key}.<setting>=<value>."
    return f"'{key}' cannot be used{where}: {text}."
