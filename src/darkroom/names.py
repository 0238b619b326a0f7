"""What MLflow takes for a name, so that it is asked before the work and not after it.

The rules are MLflow's own (``mlflow.utils.validation``), which takes a second to import; a test holds both together.
"""

import posixpath
import re
from collections.abc import Mapping

from darkroom.errors import UserError

_LONGEST = 250  # of a run's name and a tag's in a server's database
_LONGEST_ALIAS = 255
_LONGEST_VALUE = 8000
_RESERVED = re.compile(r"latest|v\d+", re.IGNORECASE)


def check_run(setting: str, name: str) -> None:
    """Refuse a name that no run or experiment can have.

    Raises:
        UserError: it is blank, too long, or holds bytes that are no text.
    """
    if not name.strip():
        raise UserError(f"{setting}= is blank: type {setting}=<a name>, or leave it out.")
    if len(name) > _LONGEST:
        raise UserError(f"{setting} has {len(name)} characters, and the store takes {_LONGEST}: type a shorter name.")
    _check_text(setting, name)


def check_model(setting: str, name: str) -> None:
    """Refuse a name that no registered model can have.

    Raises:
        UserError: see above.
    """
    check_run(setting, name)
    if "/" in name or ":" in name or _is_path(name):
        plain = re.sub(r"[/:]+", "-", name).strip(".-") or "digits"
        raise UserError(
            f"{setting}={name} cannot be the name of a registered model, which has no / or : and is not a path: type"
            f" {setting}={plain}."
        )


def check_alias(setting: str, alias: str) -> None:
    """Refuse what cannot be the alias of a version of a registered model.

    Raises:
        UserError: it is reserved, or holds more than letters, digits, ``_`` and ``-``.
    """
    if _RESERVED.fullmatch(alias):
        raise UserError(
            f"{setting}={alias} is reserved by MLflow, where latest and v1, v2, … name versions: type"
            f" {setting}=champion."
        )
    if not re.fullmatch(r"[\w\-]+", alias) or len(alias) > _LONGEST_ALIAS:
        raise UserError(
            f"{setting}={alias} is no alias, which has letters, digits, _ and - and at most {_LONGEST_ALIAS} of them:"
            f" type {setting}=champion."
        )
    _check_text(setting, alias)


def check_tags(setting: str, tags: Mapping[str, str]) -> None:
    """Refuse tags that a run cannot have.

    Raises:
        UserError: a name or a text that is too long, or a name with other characters than MLflow takes.
    """
    for name, value in tags.items():
        if not re.fullmatch(r"[/\w.\- :]+", name) or _is_path(name) or len(name) > _LONGEST:
            raise UserError(
                f"{setting} has a tag '{name}', and names of tags have letters, digits, _ - . : / and spaces, at most"
                f" {_LONGEST} of them: type another name."
            )
        if value is not None and len(str(value)) > _LONGEST_VALUE:
            raise UserError(
                f"{setting}.{name} has {len(str(value))} characters, and the store takes {_LONGEST_VALUE}: type less."
            )
        _check_text(f"{setting}.{name}", str(value))


def _is_path(name: str) -> bool:
    """Say whether a name would be taken for a path that leads elsewhere, ``..`` or ``a//b``."""
    normal = posixpath.normpath(name)
    return normal != name or normal == "." or normal.startswith(("..", "/"))


def _check_text(setting: str, text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise UserError(f"{setting} holds bytes that are no text ({text!r}): type it in UTF-8.") from None
