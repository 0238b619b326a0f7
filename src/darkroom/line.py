r"""A typed line, read by what each setting is: a text is taken as it stands, and a list needs no brackets.

Hydra has a grammar of its own for values, in which ``=``, commas and brackets mean something, and most of the world's
letters are not allowed. A setting that is a text, by its type, is handed to Hydra in quotes, whatever is in it.

The rules, in full:

* A text is everything behind ``key=``. Only ``null`` is none, quotes around all of it are Hydra's (``'a b'``), and
  ``${…}`` refers to another setting (``\${`` does not).
* A list takes ``[a,b]``, ``a,b`` or ``a``; a text with a comma or bracket in it stands in quotes there.
* In a grid (``-m``) a comma stands between two points, unless it is in quotes; for a list, also unless in brackets.
"""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass

from darkroom import numbers

_TEXTS = {"str", "Path", "PathLike"}
_SCALARS = {"int", "float", "bool", *numbers.names()}
_LISTS = {"list", "List", "tuple", "Tuple", "Sequence", "Collection", "Iterable", "set", "frozenset"}
_MAPPINGS = {"dict", "Dict", "Mapping", "MutableMapping"}
_CONSTANTS = {"null", "true", "false"}
# What Hydra has to say several values with in a grid.
_SWEEP = re.compile(r"(choice|range|interval|glob|shuffle|sort|tag)\(.*\)", re.DOTALL)
_QUOTED = re.compile(r"'(?:\\.|[^'\\])*'|\"(?:\\.|[^\"\\])*\"", re.DOTALL)
_PLAIN = re.compile(r"[\w/.\-]+", re.ASCII)
_ASSIGNMENT = re.compile(r"(\+{0,2})([A-Za-z_][\w.]*)=(.*)", re.DOTALL)


@dataclass(frozen=True)
class Kind:
    """What may stand in a setting: a text, a number, a mapping, a list of ``"texts"``, ``"scalars"``, ``"others"``."""

    text: bool = False
    scalar: bool = False
    mapping: bool = False
    listed: str = ""

    @classmethod
    def of(cls, annotation: str) -> "Kind":
        """Read it off an annotation, as source text: ``"str | None"``, ``"Sequence[str]"``."""
        try:
            options = list(_options(ast.parse(annotation, mode="eval").body)) if annotation else []
        except SyntaxError:
            return cls()
        names = [_name(option) for option in options]
        listed = [option for option, name in zip(options, names, strict=True) if name in _LISTS]
        return cls(
            text=any(name in _TEXTS for name in names),
            scalar=any(name in _SCALARS for name in names),
            mapping=any(name in _MAPPINGS for name in names),
            listed=next(filter(None, map(_elements, listed)), "others" if listed else ""),
        )

    @property
    def known(self) -> bool:
        """Whether there is anything to be done for a value of this kind."""
        return self.text or self.listed in ("texts", "scalars")


def _options(node: ast.expr) -> Iterator[ast.expr]:
    """Yield the members of a union, ``None`` left out."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        yield from _options(node.left)
        yield from _options(node.right)
    elif isinstance(node, ast.Subscript) and _name(node) in ("Annotated", "Supplied"):
        yield from _options(node.slice.elts[0] if isinstance(node.slice, ast.Tuple) else node.slice)
    elif isinstance(node, ast.Subscript) and _name(node) in ("Union", "Optional"):
        for inner in node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]:
            yield from _options(inner)
    elif isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield from _options(ast.parse(node.value, mode="eval").body)
    elif not (isinstance(node, ast.Constant) and node.value is None):
        yield node


def _name(node: ast.expr) -> str:
    """Return the last word of a type's name, without what stands in its brackets."""
    if isinstance(node, ast.Subscript):
        return _name(node.value)
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def _elements(listed: ast.expr) -> str:
    """Return what a list holds, as in `Kind`; "" when that can be neither."""
    if not isinstance(listed, ast.Subscript):
        return ""
    inner = listed.slice.elts if isinstance(listed.slice, ast.Tuple) else [listed.slice]
    names = {_name(option) for each in inner for option in _options(each)}
    return "texts" if names & _TEXTS else "scalars" if names & _SCALARS else ""


def split(override: str) -> tuple[str, str, str] | None:
    """Return the plus signs, the key and the value of ``+key=value``; None of what sets no value."""
    found = _ASSIGNMENT.fullmatch(override)
    return (found[1], found[2], found[3]) if found else None


def read(value: str, kind: Kind, grid: bool = False) -> str:
    """Return a value as Hydra has to be told it, so that it reads what was typed; read twice it stays the same."""
    if not kind.known or (grid and _SWEEP.fullmatch(value.strip())):
        return value
    if grid:
        return ",".join(_point(piece, kind) for piece in _pieces(value, brackets=bool(kind.listed)))
    return _point(value, kind)


def _point(value: str, kind: Kind) -> str:
    if value in ("", "null") or _QUOTED.fullmatch(value):
        return value if kind.text or not value or value == "null" else f"[{value}]"
    bare = value.strip()
    if kind.listed and bare.startswith("[") and bare.endswith("]"):
        return _list(bare[1:-1], kind) if kind.listed == "texts" else value
    if kind.mapping and bare.startswith("{") and bare.endswith("}"):
        return value
    if kind.text:
        return value if kind.scalar and _constant(bare) else literal(value)
    pieces = list(_pieces(value, brackets=False))
    return value if kind.scalar and len(pieces) == 1 else _list(value, kind)


def _list(inner: str, kind: Kind) -> str:
    if not inner.strip():
        return "[]"
    pieces = _pieces(inner, brackets=False)
    if kind.listed == "texts":
        pieces = (piece if _QUOTED.fullmatch(piece) or piece == "null" else literal(piece) for piece in pieces)
    return f"[{','.join(pieces)}]"


def _pieces(value: str, brackets: bool) -> Iterator[str]:
    """Yield what stands between commas, without the space around; quotes, and ``brackets``, hide a comma.

    Both are what they look like at the beginning of a piece alone: the apostrophe of ``it's`` is none.
    """
    start = 0
    while True:
        hidden = re.match(r"\s*", value[start:])
        begin = start + (hidden.end() if hidden else 0)
        after = begin
        if quoted := _QUOTED.match(value, begin):
            after = quoted.end()
        elif brackets and value[begin : begin + 1] == "[":
            closing = value.find("]", begin)
            after = closing if closing >= 0 else begin
        comma = value.find(",", after)
        yield (value[begin:comma] if comma >= 0 else value[begin:]).strip()
        if comma < 0:
            return
        start = comma + 1


def literal(text: str) -> str:
    """Return a text in quotes, where Hydra would otherwise read something else."""
    if _PLAIN.fullmatch(text) and not _constant(text):
        return text
    return "'" + re.sub(r"(\\*)('|\Z)", lambda found: found[1] * 2 + ("\\'" if found[2] else ""), text) + "'"


def unquoted(override: str) -> str:
    """Return ``key=value`` without the quotes that `literal` has put around a value, as a person would type it."""
    parts = split(override)
    if parts is None or not _QUOTED.fullmatch(parts[2]) or not parts[2].startswith("'"):
        return override
    text = re.sub(r"(\\+)('|\Z)", lambda found: found[1][: len(found[1]) // 2] + found[2], parts[2][1:-1])
    same = literal(text) == parts[2] and text not in ("", "null") and not _QUOTED.fullmatch(text)
    return f"{parts[0]}{parts[1]}={text}" if same else override


def _constant(text: str) -> bool:
    """Say whether Hydra would read a number or the like."""
    try:
        float(text)
    except ValueError:
        return text.lower() in _CONSTANTS
    return True
