"""What an annotation expects of a value, read as text: nothing is imported to refuse one.

Understood are ``int``, ``float``, ``str``, ``bool``, ``None``, ``Literal``, the names in `darkroom.numbers`, a range
written out as ``Annotated[float, Range(0, 180)]``, sequences and mappings of these, and unions. Any other annotation
lets every value through.
"""

import ast
import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args

from darkroom import numbers
from darkroom.errors import UserError, did_you_mean
from darkroom.numbers import OneOf, Range

_PLAIN: dict[str, tuple[type, ...]] = {"int": (int,), "float": (int, float), "str": (str,), "bool": (bool,)}
_SPOKEN = {"int": "a whole number", "float": "a number", "str": "a text", "bool": "true or false"}
_SEQUENCES = ("Sequence", "list", "tuple")
_MAPPINGS = ("Mapping", "dict")
_NOT_PARTS = frozenset(
    {"Any", "Path", "Mapping", "Sequence", "Iterable", "Collection", "Literal", "Annotated", "Supplied"}
).union(numbers.names())
_COUNTED = {1: "one number", 2: "two numbers", 3: "three numbers"}


@dataclass(frozen=True)
class Plain:
    """A number, a text or a truth value, within ``bounds`` if there are any."""

    kind: str
    bounds: Range | OneOf | None = None


@dataclass(frozen=True)
class Choice:
    """One of some values."""

    values: tuple[Any, ...]


@dataclass(frozen=True)
class Listed:
    """Several values alike; ``length`` of them, if that is fixed."""

    element: "Options"
    length: int | None = None


@dataclass(frozen=True)
class Named:
    """Values alike, by name."""

    element: "Options"


@dataclass(frozen=True)
class Part:
    """What is built from settings with a ``_target_``, beside whatever else a union names."""


Option = Plain | Choice | Listed | Named | Part | None
Options = tuple[Option, ...]  # empty: anything is taken


def check(path: str, value: Any, annotation: str) -> None:
    """Refuse a value that the annotation of a setting does not take.

    Raises:
        UserError: it is of another type, or out of range.
    """
    _check(path, value, parsed(annotation))


def check_part(path: str, value: Any, annotation: str) -> None:
    """Refuse numbers and plain settings where an annotation names nothing but classes; a text may be of an alias.

    Raises:
        UserError: it is nothing that could be built.
    """
    classes, optional = _members(annotation)
    if not classes or not all(name[:1].isupper() and name not in _NOT_PARTS for name in classes):
        return
    if isinstance(value, str) or (value is None and optional):
        return
    if not _fits(value, Part()):
        raise UserError(f"'{path}' is {str(value)[:80]!r}, but a part was expected, settings with a _target_.")


@functools.cache
def _members(annotation: str) -> tuple[list[str], bool]:
    """Return the last words of what an annotation names, and whether None is among them."""
    try:
        options = _union(ast.parse(annotation, mode="eval").body) if annotation else []
    except SyntaxError:
        return [], False
    named = [option for option in options if not (isinstance(option, ast.Constant) and option.value is None)]
    names = [ast.unparse(option).partition("[")[0].rpartition(".")[2] for option in named]
    return names, len(named) < len(options)


def _union(node: ast.expr) -> list[ast.expr]:
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        return [*_union(node.left), *_union(node.right)]
    return [node]


def bounds(annotation: str) -> Range | None:
    """Return what a number with this annotation may be, alone or in a list; None when nothing is said of it."""
    for option in parsed(annotation):
        inner = option.element if isinstance(option, Listed) else (option,)
        for each in inner:
            if isinstance(each, Plain) and isinstance(each.bounds, Range):
                return each.bounds
    return None


def supplied(annotation: str) -> bool:
    """Say whether code passes this parameter, so that no file may set it."""
    return annotation.partition("[")[0].rpartition(".")[2] == "Supplied"


@functools.cache
def parsed(annotation: str) -> Options:
    """Return what an annotation allows; nothing where it is not understood."""
    try:
        return _options(ast.parse(annotation, mode="eval").body) if annotation else ()
    except (SyntaxError, LookupError, ValueError):
        return ()


def _options(node: ast.expr) -> Options:
    if len(members := _union(node)) > 1:
        return tuple(option for member in members for option in _member(member))
    if isinstance(node, ast.Constant) and node.value is None:
        return (None,)
    name = ast.unparse(node.value if isinstance(node, ast.Subscript) else node).rpartition(".")[2]
    inside = node.slice if isinstance(node, ast.Subscript) else None
    parts = inside.elts if isinstance(inside, ast.Tuple) else [inside] if inside is not None else []
    if inside is None:
        return (_plain(name),)
    if name == "Supplied":
        return _options(parts[0])
    if name == "Annotated":
        return tuple(_bounded(option, parts[1]) for option in _options(parts[0]))
    if name == "Literal":
        return (Choice(tuple(ast.literal_eval(part) for part in parts)),)
    if name == "tuple" and not (isinstance(parts[-1], ast.Constant) and parts[-1].value is ...):
        return (Listed(_options(parts[0]), len(parts)),)
    if name in _SEQUENCES:
        return (Listed(_options(parts[0])),)
    if name in _MAPPINGS:
        return (Named(_options(parts[-1])),)
    raise LookupError(name)


def _member(node: ast.expr) -> Options:
    """Return what a member of a union allows; a class whose name says nothing here stands for a part."""
    try:
        return _options(node)
    except LookupError:
        name = ast.unparse(node).rpartition(".")[2]
        if not name[:1].isupper() or not name.isidentifier() or name in _NOT_PARTS:
            raise
        return (Part(),)


def _plain(name: str) -> Plain:
    """Return what a single word stands for."""
    if name in _PLAIN:
        return Plain(name)
    kind, meaning = get_args(getattr(numbers, name, None)) or (None, None)
    if kind is None:
        raise LookupError(name)
    return Plain(kind.__name__, meaning)


def _bounded(option: Option, call: ast.expr) -> Plain:
    """Return a plain type with the range or the words that stand beside it: ``Range(0, 180)``."""
    if not (isinstance(option, Plain) and isinstance(call, ast.Call)):
        raise LookupError("only a plain type can be bounded")
    kind = {"Range": Range, "OneOf": OneOf}[ast.unparse(call.func).rpartition(".")[2]]
    positional = [ast.literal_eval(argument) for argument in call.args]
    return Plain(
        option.kind, kind(*positional, **{word.arg or "": ast.literal_eval(word.value) for word in call.keywords})
    )


def _check(path: str, value: Any, options: Options) -> None:
    if not options or (value is None and None in options):
        return
    expected: list[str] = []
    for option in options:
        if option is None:
            continue
        if _fits(value, option):
            _check_inside(path, value, option)
            return
        expected.append(_spoken(value, option))
    raise UserError(f"'{path}' is {value!r}, but {' or '.join(expected)} was expected.")


def _fits(value: Any, option: Option) -> bool:
    """Say whether a value is of the right type, whatever its size."""
    if isinstance(option, Plain):
        return isinstance(value, _PLAIN[option.kind]) and (option.kind == "bool" or not isinstance(value, bool))
    if isinstance(option, Choice):
        return value in option.values
    if isinstance(option, Listed):
        return isinstance(value, list | tuple) and option.length in (None, len(value))
    if isinstance(option, Part):
        return isinstance(value, Mapping) and "_target_" in value
    return isinstance(value, Mapping)


def _check_inside(path: str, value: Any, option: Option) -> None:
    """Refuse what is of the right type and out of range, or holds something that is not right."""
    if isinstance(option, Listed):
        for element in value:
            _check(path, element, option.element)
    elif isinstance(option, Named):
        for key, element in value.items():
            _check(f"{path}.{key}", element, option.element)
    elif isinstance(option, Plain) and isinstance(option.bounds, Range) and value not in option.bounds:
        raise UserError(f"'{path}' is {value}, but a number of {option.bounds} was expected.")
    elif isinstance(option, Plain) and isinstance(option.bounds, OneOf) and value not in option.bounds.words:
        raise UserError(f"'{path}' is '{value}', but one of {', '.join(option.bounds.words)} was expected"
                        f"{did_you_mean(value, option.bounds.words)}.")  # fmt: skip


def _spoken(value: Any, option: Option) -> str:
    """Say in words what was expected."""
    if isinstance(option, Plain):
        return _SPOKEN[option.kind]
    if isinstance(option, Choice):
        words = [str(choice) for choice in option.values]
        return f"one of {', '.join(words)}{did_you_mean(str(value), words)}"
    if isinstance(option, Listed):
        return f"a list of {_COUNTED[option.length]}" if option.length in _COUNTED else "a list"
    return "settings with a _target_" if isinstance(option, Part) else "several settings by name"
