"""YAML and JSON from elsewhere: how deep and how large a file may be, found out before it becomes objects."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from darkroom.errors import UserError

DEPTH = 40  # how deep settings may lie in each other
_PARTS = 50_000  # settings of one file, what is repeated by *aliases counted each time
_LARGE = 2**20  # bytes of a YAML file
_LARGE_JSON = 2**28
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml, where there is one, is ten times as fast


def check_yaml(path: Path) -> str:
    """Return the text of a YAML file whose content is small enough to be read.

    Raises:
        UserError: it is no text in UTF-8, or too deep or too large, aliases written out.
        yaml.YAMLError: it is not YAML.
    """
    text = _text(path, _LARGE)
    parts = 0
    open_nodes: list[tuple[str | None, int]] = []  # the anchor of each, and how many parts there were before it
    anchors: dict[str, int] = {}
    for event in yaml.parse(text, Loader=_LOADER):
        anchor = getattr(event, "anchor", None)
        if isinstance(event, yaml.CollectionStartEvent):
            open_nodes.append((anchor, parts))
            parts += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, before = open_nodes.pop()
            if anchor is not None:
                anchors[anchor] = parts - before
        elif isinstance(event, yaml.AliasEvent):
            around = any(event.anchor == outer for outer, _ in open_nodes)  # what stands within itself has no end
            parts += _PARTS + 1 if around else anchors.get(event.anchor, 1)
        elif isinstance(event, yaml.ScalarEvent):
            parts += 1
            if anchor is not None:
                anchors[anchor] = 1
        if len(open_nodes) > DEPTH:
            line = event.start_mark.line + 1
            raise UserError(f"{path}, line {line}: settings lie more than {DEPTH} deep in each other: write fewer.")
        if parts > _PARTS:
            raise UserError(
                f"{path}, line {event.start_mark.line + 1}: there are more than {_PARTS} settings up to here, with all"
                " that *aliases repeat: write fewer."
            )
    return text


def read_yaml(path: Path) -> dict[str, Any]:
    """Return the content of a YAML file, a mapping.

    Raises:
        UserError: it cannot be read as one.
    """
    with understood(path):
        content = yaml.load(check_yaml(path), Loader=_LOADER)
        if not isinstance(content, dict):
            raise UserError(f"{path} holds no settings: it was expected to be a mapping, as `key: value`.")
        return {str(key): value for key, value in content.items()}


def read_json(path: Path, kind: Any = dict[str, Any]) -> Any:
    """Return the content of a JSON file that a command wrote, once it is found to be of a ``kind``.

    Raises:
        UserError: it is not JSON, or something else stands in it; the first place is named.
    """
    from pydantic import TypeAdapter, ValidationError

    text = _text(path, _LARGE_JSON)
    try:
        content = json.loads(text)
        TypeAdapter(kind).validate_json(text, strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"])) or "its content"
        raise UserError(f"{path} is damaged ({place}: {first['msg']}): restore it, or move it away.") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is damaged, it is not JSON ({error}): restore it, or move it away.") from error
    return content


@contextmanager
def understood(path: Path) -> Iterator[None]:
    """Say in one sentence what is wrong with the YAML of a file.

    Raises:
        UserError: its syntax, or a value that is of no type.
    """
    try:
        yield
    except yaml.YAMLError as error:
        said = " ".join(str(error).replace("<unicode string>", str(path)).split())
        raise UserError(f"{path} is not YAML: {said}.") from error
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:  # of the constructors of YAML
        raise UserError(f"{path} holds a value that cannot be read ({' '.join(str(error).split())[:200]}).") from error


def _text(path: Path, most: int) -> str:
    try:
        size = path.stat().st_size
        if size > most:
            raise UserError(f"{path} has {size / 2**20:.1f} MB, and a file of its kind at most {most >> 20}.")
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path} is no text in UTF-8 ({error.reason} at byte {error.start}): save it as UTF-8."
        ) from error
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}).") from error
