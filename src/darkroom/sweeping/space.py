"""What a search chooses among: settings, their ranges and choices, and when each is chosen at all."""

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from darkroom.config.nodes import Node, flatten
from darkroom.errors import UserError, did_you_mean

Values = dict[str, Any]  # setting -> value, those that are chosen at this point; in the order of the space
_WORDS = ("low", "high", "log", "step", "int", "choices", "start", "factors", "also", "when")
_DIGITS = 4  # to which a value within a range is rounded, so that it can be typed
_MOST = 100_000  # points of a finite space; of more no list is made


@dataclass(frozen=True)
class Dimension:
    """One setting, with every setting that takes the same value, and what it may be."""

    settings: tuple[str, ...]  # as they are typed: model.optimizer.lr, penalty@model.penalty
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    step: float | None = None
    whole: bool = False
    choices: tuple[Any, ...] = ()  # instead of a range
    when: tuple[tuple[str, Any], ...] = ()  # setting -> the value, or list of values, under which this one is chosen
    around: bool = False  # the choices are multiples of a start, and others may be asked for

    @property
    def key(self) -> str:
        """The setting by which it is known."""
        return self.settings[0]

    def applies(self, chosen: Values) -> bool:
        """Say whether it is chosen beside what is chosen already."""
        return all(key in chosen and chosen[key] in _listed(value) for key, value in self.when)

    def has(self, value: Any) -> bool:
        """Say whether a value is a number or one of the choices; how large it may be is checked when it is typed."""
        return type(value) in (int, float) or any(type(value) is type(each) and value == each for each in self.choices)

    def values(self) -> list[Any] | None:
        """Return every value there is; None where there are infinitely many."""
        if self.choices:
            return list(self.choices)
        if self.whole:
            return list(range(int(self.low), int(self.high) + 1, int(self.step or 1)))
        if self.step:
            count = math.floor((self.high - self.low) / self.step * (1 + 1e-9)) + 1
            return [rounded(self.low + index * self.step, 12) for index in range(count)]
        return None

    def within(self, value: float) -> float:
        """Return a value of the range as it can be typed, and still within the range."""
        return value if self.step else min(max(rounded(value, _DIGITS), self.low), self.high)

    def at_the_end(self, value: Any) -> str:
        """Return ``"low"`` or ``"high"`` when a value lies at that end of what was tried, else nothing."""
        if self.choices and not self.around:
            return ""
        low, high = (min(self.choices), max(self.choices)) if self.choices else (self.low, self.high)
        if low == high:
            return ""
        scale: Callable[[float], float] = math.log if self.log or self.around else float
        place = (scale(value) - scale(low)) / (scale(high) - scale(low))
        return "low" if place <= 0.02 else "high" if place >= 0.98 else ""


@dataclass(frozen=True)
class Space:
    """The dimensions, in the order in which they are chosen: a condition comes after what it depends on."""

    dimensions: tuple[Dimension, ...]

    @classmethod
    def read(cls, name: str, space: Mapping[str, Any], base: Node, needs: str = "") -> "Space":
        """Read the ``space`` of a search, for a composed configuration of ``darkroom train``.

        ``needs`` is what to type when the configuration lacks what is chosen.

        Raises:
            UserError: a misspelt word, a range that is none, or a condition that can never hold.
        """
        known = flatten(base)
        dimensions: list[Dimension] = []
        for key, spec in space.items():
            dimension = _dimension(f"search.space['{key}']", str(key), spec, known, name, needs)
            conditions = []
            for other, wanted in dimension.when:
                if (condition := _condition(key, other, wanted, dimensions, known)) is False:
                    break
                conditions += [(other, wanted)] if condition is None else []
            else:
                dimensions.append(Dimension(**{**vars(dimension), "when": tuple(conditions)}))
        if not dimensions:
            raise UserError(f"search={name} chooses nothing here{_type(needs)}: its space is empty.")
        return cls(tuple(dimensions))

    def values(self) -> list[Values] | None:
        """Return every point, in the order of the space; None when there are more than can be listed."""
        points: list[Values] = [{}]
        for dimension in self.dimensions:
            values = dimension.values()
            if values is None:
                return None
            points = [
                {**point, dimension.key: value} if dimension.applies(point) else point
                for point in points
                for value in (values if dimension.applies(point) else [None])
            ]
            if len(points) > _MOST:
                return None
        return points

    def choose(self, pick: Callable[[Dimension], Any]) -> Values:
        """Return a point, every value that applies picked in turn."""
        chosen: Values = {}
        for dimension in self.dimensions:
            if dimension.applies(chosen):
                chosen[dimension.key] = pick(dimension)
        return chosen

    def ends(self) -> Iterator[Values]:
        """Yield points that together hold both ends of every range and every choice: where mistakes show."""
        extremes = [
            list(dimension.choices) or [dimension.within(dimension.low), dimension.within(dimension.high)]
            for dimension in self.dimensions
        ]
        extremes = [
            [int(value) for value in values] if dimension.whole else values
            for dimension, values in zip(self.dimensions, extremes, strict=True)
        ]
        seen = set()
        # Whatever a condition asks for comes in turn: what depends on a choice is tried beside it.
        for dimension, values in zip(self.dimensions, extremes, strict=True):
            for value in values:
                wanted = {dimension.key: value} | {key: _listed(needed)[0] for key, needed in dimension.when}
                point = self.choose(
                    lambda each, wanted=wanted: wanted.get(  # type: ignore[misc]
                        each.key, extremes[self.dimensions.index(each)][0]
                    )
                )
                if (text := json.dumps(point)) not in seen:
                    seen.add(text)
                    yield point

    def check(self, point: Any) -> None:
        """Refuse a recorded point that is none of this space: it would be typed again to be trained.

        Raises:
            UserError: it chooses among other settings, or what they do not offer.
        """
        known = {dimension.key: dimension for dimension in self.dimensions}
        if not isinstance(point, dict) or not all(key in known and known[key].has(each) for key, each in point.items()):
            raise UserError(
                f"The sweep's study.json has a point that is none of its space ({repr(point)[:200]}): the file was"
                " changed; restore it, or type tracking.experiment=<another> for a new sweep."
            )

    def overrides(self, point: Values) -> list[str]:
        """Return a point as it is typed."""
        return [
            f"{setting}={text(point[dimension.key])}"
            for dimension in self.dimensions
            if dimension.key in point
            for setting in dimension.settings
        ]

    def labels(self) -> dict[str, str]:
        """Return each dimension's key with few words for it, ``r1=r2`` or ``generator_optimizer.lr``."""
        words = {each.key: _plain(each.key).split(".") for each in self.dimensions}
        found = {}
        for dimension in self.dimensions:
            own = words[dimension.key]
            others = [other for key, other in words.items() if key != dimension.key]
            enough = (n for n in range(1, len(own) + 1) if all(other[-n:] != own[-n:] for other in others))
            lasts = [_plain(setting).rpartition(".")[2] for setting in dimension.settings[1:]]
            first = ".".join(own[-next(enough, len(own)) :])
            found[dimension.key] = "=".join([first, *(last for last in dict.fromkeys(lasts) if last != own[-1])])
        return found

    def label(self, point: Values) -> str:
        """Return a point in few words, ``"lr=0.0002 r1=r2=0.3"``."""
        words = self.labels()
        return " ".join(f"{words[key]}={brief(value)}" for key, value in point.items())


def text(value: Any) -> str:
    """Return a value as it is typed on the line, read by Hydra as the same."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        plain = value and all(letter.isalnum() or letter in "_-/" for letter in value)
        number = value.lower() in ("null", "true", "false", "nan", "inf") or value[:1].isdigit()
        return value if plain and not number else "'{}'".format(value.replace("\\", "\\\\").replace("'", "\\'"))
    if isinstance(value, list | tuple):
        return f"[{','.join(map(text, value))}]"
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{key}:{text(each)}" for key, each in value.items()) + "}"
    return repr(value)


def brief(value: Any) -> str:
    """Return a value for a table or a name."""
    return f"{value:g}" if isinstance(value, float) else text(value).strip("'")


def rounded(value: float, digits: int) -> float:
    """Return a number with so many significant digits."""
    return float(f"{value:.{digits}g}")


def _dimension(place: str, key: str, spec: Any, known: Mapping[str, Any], name: str, needs: str) -> Dimension:
    if not isinstance(spec, Mapping):
        raise UserError(f"{place} is {spec!r}, but {{low, high}} or {{choices}} was expected.")
    for word in spec:
        if word not in _WORDS:
            raise UserError(f"{place} has no '{word}'{did_you_mean(str(word), _WORDS)}: it takes {', '.join(_WORDS)}.")
    kinds = [kind for kind in ("low", "choices", "factors") if kind in spec]
    if len(kinds) != 1:
        raise UserError(
            f"{place} needs one of {{low, high}}, {{choices}} and {{start, factors}}, and has {len(kinds)}."
        )
    settings = (key, *map(str, spec.get("also", [])))
    when = tuple((str(other), wanted) for other, wanted in (spec.get("when") or {}).items())
    if kinds == ["choices"]:
        choices = spec["choices"]
        if not isinstance(choices, list) or not choices:
            raise UserError(f"{place}.choices is {choices!r}, but a list of values was expected.")
        if len({json.dumps(choice) for choice in choices}) < len(choices):
            raise UserError(f"{place}.choices holds a value twice: {', '.join(map(text, choices))}.")
        return Dimension(settings, choices=tuple(choices), when=when)
    if kinds == ["factors"]:
        start, factors = spec.get("start"), spec["factors"]
        if not _positive(start):
            raise UserError(
                f"search={name} multiplies a start, which is {start}: type search.start=<a number above 0>."
            )
        if not isinstance(factors, list) or not factors or not all(map(_positive, factors)):
            raise UserError(f"'search.factors' is {factors!r}, but a list of numbers above 0 was expected.")
        # What a configuration sets to 0 is left out on purpose and stays so; what it lacks cannot be set.
        settings = tuple(setting for setting in settings if known.get(setting))
        if not settings:
            chosen = " and ".join([key, *map(str, spec.get("also", []))])
            raise UserError(f"search={name} chooses {chosen}, which this model does not have{_type(needs)}.")
        values = tuple(dict.fromkeys(rounded(start * factor, 2) for factor in sorted(factors)))
        return Dimension(settings, choices=values, when=when, around=True)
    low, high = spec["low"], spec.get("high")
    log, step, whole = bool(spec.get("log", False)), spec.get("step"), bool(spec.get("int", False))
    for word, number in (("low", low), ("high", high), ("step", 1 if step is None else step)):
        if isinstance(number, bool) or not isinstance(number, int | float) or not math.isfinite(number):
            raise UserError(f"{place}.{word} is {number!r}, but a number was expected.")
        if whole and number != int(number):
            raise UserError(f"{place}.{word} is {number}, but a whole number was expected, for it says int.")
    assert high is not None
    if low >= high:
        raise UserError(f"{place} goes from {low} to {high}: low must be below high.")
    if log and low <= 0:
        raise UserError(f"{place} is logarithmic and begins at {low}: low must be above 0.")
    if step is not None and (log or step <= 0):
        raise UserError(f"{place} has step={step}: a step is above 0, and goes without log.")
    if step is None and whole and not log:
        step = 1
    return Dimension(settings, float(low), float(high), log, step, whole, when=when)


def _condition(key: str, other: str, wanted: Any, before: Sequence[Dimension], known: Mapping[str, Any]) -> bool | None:
    """Say whether a condition holds in any case or in none; None when it depends on what is chosen."""
    found = next((dimension for dimension in before if dimension.key == other), None)
    place = f"search.space['{key}'].when"
    if found is not None:
        allowed = found.values()
        for value in _listed(wanted):
            if allowed is not None and value not in allowed:
                raise UserError(f"{place} asks for {other}={text(value)}, which is not among its choices.")
        return None
    if other not in known:
        raise UserError(
            f"{place} asks for '{other}', which is neither chosen above it nor a setting{did_you_mean(other, known)}."
        )
    return known[other] in _listed(wanted)


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _positive(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < math.inf


def _type(needs: str) -> str:
    return f": type {needs}, or another search" if needs else ""


def _plain(setting: str) -> str:
    """Return the path of a setting without signs: ``penalty@model.penalty`` is set at ``model.penalty``."""
    return setting.lstrip("+~").rpartition("@")[2]
