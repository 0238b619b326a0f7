"""What a recorded configuration may build, and which packages a person trusts beyond that.

A configuration that a person types may name anything. One that came with a checkpoint, a run's folder, a server or a
DVC result was written by whoever made that file, so it is admitted part by part, wherever it lies:

- it holds plain values only: no interpolation, no positional arguments, nothing that Hydra would treat specially;
- every ``_target_`` is the defining name of a class of the base that its slot takes. A slot is a constructor's
  parameter, and what it takes is that parameter's annotation, so there is no list of classes to keep;
- the class is defined in a room of the lab where such parts live, or in a package that the person has named once with
  ``trust=<package>`` or by typing one of its classes. Names are compared before anything is imported.

Importing this module loads nothing heavy.
"""

import collections.abc
import functools
import importlib
import inspect
import itertools
import os
import re
import stat
import sys
import typing
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from darkroom import files, paths, recorded_names
from darkroom.errors import UserError
from darkroom.signatures import defining_module

Node = dict[str, Any]

# The base of what stands at the top of a configuration; the bases below follow from annotations.
_ROOTS = {
    "model": "darkroom.models.model.Model",
    "data": "darkroom.data.module.ImageData",
    "metrics": "darkroom.metrics.metric.Metric",
    "trainer": "pytorch_lightning.trainer.trainer.Trainer",
    "sentinel": "darkroom.callbacks.health.Health",
}
# Where the classes of a base live, when that is not the room that the base itself is defined in.
_ROOMS = {
    "torch.nn.modules.module.Module": ("darkroom.networks", "torch.nn.modules"),
    "torch.optim.optimizer.Optimizer": ("torch.optim",),
    "darkroom.metrics.metric.Metric": ("darkroom.metrics",),
    "darkroom.callbacks.health.Health": ("darkroom.callbacks.health",),
    "pytorch_lightning.trainer.trainer.Trainer": ("pytorch_lightning.trainer.trainer", "darkroom.scaling.ray_trainer"),
}
_OURS = tuple(f"darkroom.{room}" for room in ("data", "imaging", "losses", "metrics", "models", "networks"))
# What a parameter without an annotation takes, in a class of a package that the person trusts.
_PARTS = (
    "torch.nn.modules.module.Module",
    "torch.optim.optimizer.Optimizer",
    "darkroom.data.augment.Augment",
    "darkroom.data.module.ImageData",
    "darkroom.data.source.Source",
    "darkroom.imaging.degradations.Degradation",
    "darkroom.losses.penalties.Penalty",
    "darkroom.models.curriculum.Curriculum",
    "darkroom.models.schedule.Schedule",
)
# Settings of a run that say where to write or what to start, which is for the person who types the next line to say.
_NOT_TAKEN_OVER: dict[str, tuple[str, ...]] = {
    "": ("output", "submit", "resume", "fork", "trust"),
    "metrics": ("cache",),
    "trainer": ("default_root_dir", "profiler", "model_registry"),
}
_FETCHING = ("download", "pretrained")  # settings of the lab's own classes that reach for the network when true
_SPECIAL = ("_args_", "_convert_", "_partial_", "_recursive_", "_target_")
_LAB = ("darkroom", "torch", "pytorch_lightning")
_DEEPEST, _LARGEST, _LONGEST = 24, 20_000, 100_000  # levels, values, letters of a text
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*")
_heard: set[str] = set()  # packages named in this process


class Refusal(Exception):
    """Why a recorded configuration may not have something, as the end of a sentence."""


@dataclass(frozen=True)
class Slot:
    """A place in a configuration: the base of what it takes; ``partial`` when that is called later, None: either."""

    base: type
    partial: bool | None = False


# --- whose packages are trusted ---------------------------------------------------------------------------------------


def allow(words: Any, targets: Iterable[Any] = ()) -> None:
    """Trust the packages that a person named, in ``trust=`` or by typing one of their classes, from now on.

    They are kept in the person's own settings (`paths.settings`), which no run and no checkpoint writes to.

    Raises:
        UserError: a word that is no package's name.
    """
    given = [] if words is None else [words] if isinstance(words, str) else words
    if not isinstance(given, list):
        raise UserError(f"trust={given!r} is no package: type trust=<package>, or trust=[<package>,<package>].")
    for word in given:
        if not isinstance(word, str) or not _NAME.fullmatch(word):
            raise UserError(f"trust={word!r} is no package: type its name as it is imported, such as trust=my_lab.")
    typed = {str(target).partition(".")[0] for target in targets}
    new = {*given, *(name for name in typed if _NAME.fullmatch(name) and not _standard(name))} - trusted()
    _heard.update(new)
    if new:
        _remember(trusted())


def trusted() -> frozenset[str]:
    """Return every package that this person trusts beyond the lab's own rooms.

    Raises:
        UserError: others could have written the list.
    """
    return frozenset(_heard | _remembered(_list()))


def _standard(name: str) -> bool:
    return name in _LAB or name in sys.stdlib_module_names


def _list() -> Path | None:
    folder = paths.settings()
    return folder / "trusted" if folder else None


def _remembered(path: Path | None) -> set[str]:
    if path is None:
        return set()
    try:
        facts = path.stat()
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return set()
    others = stat.S_IWGRP | stat.S_IWOTH
    if hasattr(os, "getuid") and (facts.st_uid != os.getuid() or facts.st_mode & others):
        raise UserError(f"{path} lists the packages that you trust, and others can write it: type chmod 600 {path}.")
    return {line for line in text.split() if _NAME.fullmatch(line)}


def _remember(words: Iterable[str]) -> None:
    path = _list()
    if path is None:
        return
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        files.write(path, "".join(f"{word}\n" for word in sorted(words)).encode())
        path.chmod(0o600)
    except OSError as error:
        print(f"What you trust holds for this command only: {path} cannot be written ({error}).", file=sys.stderr)


# --- what a recorded configuration may hold ---------------------------------------------------------------------------


def admit(recorded: Any, origin: str) -> Node:
    """Return a recorded configuration as plain containers of parts that it may have.

    ``origin`` is the file that it came with, for the sentence. What says where to write is left out.

    Raises:
        UserError: it holds more than plain values, or names what is no part of this slot.
    """
    if not isinstance(recorded, Mapping) or not isinstance(recorded.get("model"), Mapping):
        raise UserError(f"{origin} records no model that could be built: name another run, or another file.")
    config: Node = _plain(recorded, origin, "", itertools.count())
    if isinstance(config.get("metrics"), dict):
        config["metrics"] = recorded_names.metrics_now(config["metrics"])
    for group, keys in _NOT_TAKEN_OVER.items():
        node = config.get(group) if group else config
        for each in _each(node) if group == "metrics" else (node,):
            if isinstance(each, dict):
                each |= {key: None for key in keys if each.get(key) is not None}
    words = trusted()
    for key, value in config.items():
        slots = (Slot(_located(_ROOTS[key])),) if key in _ROOTS else ()
        several = key == "metrics" and isinstance(value, dict) and "_target_" not in value and any(_each(value)[1:])
        if slots and not several and not (isinstance(value, dict) and "_target_" in value):
            raise UserError(f"{origin} records no {key} that could be built: name another run, or another file.")
        for name, part in value.items() if several else (("", value),):
            _inspect(part, slots, f"{key}.{name}".rstrip("."), origin, words)
    return config


def _each(metrics: Any) -> list[Any]:
    """Return what is recorded of metrics, and of each of several."""
    return (
        [metrics, *(part for part in metrics.values() if isinstance(part, dict))] if isinstance(metrics, dict) else []
    )


def offline(node: Any) -> Any:
    """Return a recorded node that fetches nothing: a file may be read for its weights, not for what to download."""
    if isinstance(node, Mapping):
        return {key: value is not True and offline(value) if key in _FETCHING else offline(value)
                for key, value in node.items()}  # fmt: skip
    return [offline(value) for value in node] if isinstance(node, list) else node


def _plain(value: Any, origin: str, path: str, counted: Iterator[int], depth: int = 0) -> Any:
    """Return a copy of plain containers and values, of exactly these types."""

    def refuse(reason: str) -> typing.NoReturn:
        raise UserError(f"{origin} cannot be used: '{shown(path) or 'its configuration'}' {reason}.")

    if depth > _DEEPEST or next(counted) > _LARGEST:
        refuse("is nested or repeated more than any configuration of this lab")
    if type(value) in (dict, OrderedDict):
        for key in value:
            if type(key) is not str or "${" in key:
                refuse(f"has the key {shown(repr(key))}, and names of settings were expected")
        return {
            key: _plain(part, origin, f"{path}.{key}" if path else key, counted, depth + 1)
            for key, part in value.items()
        }
    if type(value) in (list, tuple):
        return [_plain(part, origin, f"{path}[{index}]", counted, depth + 1) for index, part in enumerate(value)]
    if type(value) is str:
        if "${" in value or value == "???":
            refuse(f"is '{shown(value)}', and a recorded setting is a value, not a reference to one")
        if len(value) > _LONGEST:
            refuse(f"is a text of {len(value)} letters")
    elif type(value) is int:
        if abs(value) >= 2**63:
            refuse("is a number beyond 64 bits")
    elif type(value) not in (float, bool, type(None)):
        kind = f"{type(value).__module__}.{type(value).__qualname__}"
        refuse(f"is a {kind}, and numbers, texts, lists and settings were expected")
    return value


def _inspect(value: Any, slots: tuple[Slot, ...], path: str, origin: str, words: frozenset[str]) -> None:
    """Refuse what a value builds that one of these slots does not take; a renamed target gets its new name."""
    if isinstance(value, list):
        for index, part in enumerate(value):
            _inspect(part, slots, f"{path}[{index}]", origin, words)
    if not isinstance(value, dict):
        return
    special = [key for key in value if key in _SPECIAL or ("_target_" in value and key.startswith("_"))]
    if odd := [key for key in special if key not in ("_target_", "_partial_") or "_target_" not in value]:
        raise UserError(f"{origin} cannot be used: '{shown(path)}' has {shown(odd[0])}, and a recorded part has"
                        " settings by their names.")  # fmt: skip
    if "_target_" not in value:
        for key, part in value.items():
            _inspect(part, slots, f"{path}.{key}", origin, words)
        return
    target = value["_target_"]
    if isinstance(target, str):
        target = value["_target_"] = recorded_names.now(target)
    try:
        kind = part_of(target, slots, value.get("_partial_", False), words)
    except Refusal as reason:
        raise UserError(f"{origin} asks for {shown(str(target))} as its '{shown(path)}', {reason}.") from None
    for key, part in value.items():
        if isinstance(part, dict | list):
            _inspect(part, _slots_of(kind, key, words), f"{path}.{key}", origin, words)


def shown(text: str) -> str:
    """Return text of a stranger's as it can be printed: one line, without control characters, not too long."""
    kept = "".join(letter if letter.isprintable() else "?" for letter in text[:160])
    return kept if len(text) <= 160 else f"{kept}…"


# --- from a name to a class of a slot ---------------------------------------------------------------------------------


def part_of(target: Any, slots: Iterable[Slot], partial: Any, words: frozenset[str]) -> type:
    """Return the class that a name stands for, if one of the slots takes it.

    Raises:
        Refusal: it is no class, none of that base, imported there from elsewhere, or of a room that is not listed.
    """
    if not isinstance(target, str) or len(target) > 200 or not _NAME.fullmatch(target):
        raise Refusal("which is no name of a class")
    module, _, name = target.rpartition(".")
    slots = tuple(slots)
    if not slots:
        raise Refusal("and nothing is built there")
    rooms = {room for slot in slots for room in _rooms(slot.base)}
    if not (_within(module, rooms | words) or any(room.startswith(f"{module}.") for room in rooms)):
        raise Refusal(_stranger(target, slots))
    if (defining := defining_module(target)) is None:  # read from the source: nothing is imported that does not have it
        raise Refusal("which is no class there")
    # A package may show what its own modules define, torch.optim.Adam; what a module has imported is not its own.
    if not _within(defining, {module}):
        raise Refusal(f"which is only imported there, from {shown(defining)}")
    kind = _class(target, module, name)
    fitting = [slot for slot in slots if _is_a(kind, slot.base)]
    if not fitting:
        raise Refusal(f"which is no {' or '.join(sorted({slot.base.__name__ for slot in slots}))}")
    if not any(_within(kind.__module__, {*_rooms(slot.base), *words}) for slot in fitting):
        raise Refusal(_stranger(f"{kind.__module__}.{name}", slots))
    if not _within(kind.__module__, {module}):
        raise Refusal(f"which is only imported there, from {kind.__module__}")
    if all(slot.partial not in (None, partial) for slot in fitting):
        raise Refusal(f"which needs _partial_: {str(not partial).lower()} there")
    return kind


def _stranger(target: str, slots: tuple[Slot, ...]) -> str:
    package = target.partition(".")[0]
    what = f"which is no {' or '.join(sorted({slot.base.__name__ for slot in slots}))} of this lab"
    if _standard(package):
        return what
    return f"{what}: if that package is yours, or you trust it and this file, type trust={package}"


def _within(module: str, rooms: Iterable[str]) -> bool:
    return any(module == room or module.startswith(f"{room}.") for room in rooms)


def _rooms(base: type) -> tuple[str, ...]:
    """Return where classes of a base live; nowhere, for a base that is none of a slot's."""
    if listed := _ROOMS.get(f"{base.__module__}.{base.__qualname__}"):
        return listed
    return tuple(room for room in _OURS if _within(base.__module__, {room}))


@functools.cache
def _class(target: str, module: str, name: str) -> type:
    """Import the class of a name whose room is known to be allowed."""
    try:
        found: object = vars(importlib.import_module(module)).get(name)
    except ImportError as error:
        raise Refusal(f"which cannot be imported here ({error})") from None
    if not isinstance(found, type):
        raise Refusal("which is no class")
    if not _stands_at(found, target):
        raise Refusal("which is not what it says it is")
    if inspect.isabstract(found) or getattr(found, "_is_protocol", False):
        raise Refusal("which only says what others are to be")
    return found


def _stands_at(kind: type, target: str) -> bool:
    """Say whether a class is what its own name, and the name that Hydra would follow, lead to."""
    there = sys.modules.get(kind.__module__)
    return there is not None and vars(there).get(kind.__qualname__) is kind and _as_hydra_finds(target) is kind


def _as_hydra_finds(target: str) -> Any:
    """Return what a dotted name leads to, attribute by attribute: that is what would be built."""
    first, *rest = target.split(".")
    found: Any = sys.modules.get(first)
    for part in rest:
        below = sys.modules.get(f"{found.__name__}.{part}") if isinstance(found, ModuleType) else None
        found = getattr(found, part, below)
    return found


def _is_a(kind: type, base: type) -> bool:
    """Say whether a class has a base or, when that is a protocol, methods of these names with these parameters."""
    if not getattr(base, "_is_protocol", False):
        return base in kind.__mro__
    wanted = {name: made for name, made in vars(base).items() if inspect.isfunction(made) and not name.startswith("_")}
    return all(_takes_what(getattr(kind, name, None), made) for name, made in wanted.items())


def _takes_what(method: Any, wanted: Any) -> bool:
    if not inspect.isfunction(method):
        return False
    return inspect.signature(wanted).parameters.keys() <= inspect.signature(method).parameters.keys()


def _slots_of(kind: type, key: str, words: frozenset[str]) -> tuple[Slot, ...]:
    """Return what a parameter of a class takes, by its annotation."""
    own = _within(kind.__module__, words)
    if not own and not _within(kind.__module__, {"darkroom"}):
        return ()  # parts of PyTorch and Lightning are given numbers and words
    annotation = _annotation(kind, key)
    if annotation is None or annotation is Any:
        return tuple(Slot(_located(name), None) for name in _PARTS) if own else ()
    return tuple(_taken(annotation))


def _annotation(kind: type, key: str) -> Any:
    """Return the annotation of a constructor's parameter, of the class or of the first base that names it."""
    for each in kind.__mro__:
        made = vars(each).get("__init__")
        if made is None or not inspect.isfunction(made):
            continue
        parameters = inspect.signature(made).parameters
        if key in parameters:
            return _hints(made).get(key)
        if not any(each.kind is inspect.Parameter.VAR_KEYWORD for each in parameters.values()):
            return None
    return None


@functools.cache
def _hints(function: Any) -> dict[str, Any]:
    try:
        return typing.get_type_hints(function)
    except NameError:  # imported for the type checker alone
        return {}


def _taken(annotation: Any) -> Iterator[Slot]:
    """Yield the classes in an annotation; ``Callable[..., A]`` takes an A that is called later."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Literal:
        return
    if origin is collections.abc.Callable:
        yield from (Slot(slot.base, True) for slot in _taken(arguments[-1]))
    elif arguments:
        for argument in arguments:
            yield from _taken(argument)
    elif isinstance(annotation, type) and annotation.__module__ != "builtins":
        yield Slot(annotation)


@functools.cache
def _located(name: str) -> type:
    module, _, last = name.rpartition(".")
    found: type = getattr(importlib.import_module(module), last)
    return found
