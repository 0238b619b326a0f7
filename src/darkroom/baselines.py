"""What a number is that is not a model's own: of what knows the answer, takes no learning, or is a single class."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeVar

Value = TypeVar("Value")


@dataclass(frozen=True)
class Reference:
    """Beside which metric a number stands, and whose it is in words; of a single class, its name."""

    metric: str
    row: str
    kind: Literal["oracle", "baseline", "class"] = "baseline"


References = dict[str, Reference]  # by the names of the numbers


def ending(names: Iterable[str], rows: Mapping[str, str]) -> References:
    """Return what numbers ``<metric>_<word>`` are that stand beside ``<metric>``; ``rows`` says whose, by the word."""
    known = set(names)
    return {
        name: Reference(metric, row, "oracle" if word == "oracle" else "baseline")
        for word, row in rows.items()
        for name in sorted(known)
        if (metric := name.removesuffix(f"_{word}")) != name and metric in known
    }


def of_classes(measures: Iterable[str], names: Iterable[str]) -> References:
    """Return what numbers ``<measure>_<name>`` are: those of single classes."""
    labels = list(names)
    return {f"{measure}_{label}": Reference(measure, label, "class") for measure in measures for label in labels}


def own(values: Mapping[str, Value], references: Mapping[str, Reference]) -> dict[str, Value]:
    """Return a model's own numbers, of all classes together."""
    return {name: value for name, value in values.items() if name not in references}


def by_row(references: Mapping[str, Reference]) -> dict[str, dict[str, str]]:
    """Return ``{"noise": {"fid": "fid_noise"}}``: the numbers of each row by the metric that they stand beside."""
    return _rows((name, each) for name, each in references.items() if each.kind != "class")


def by_class(references: Mapping[str, Reference]) -> dict[str, dict[str, str]]:
    """Return ``{"7": {"recall": "recall_7"}}``: the numbers of each class by their metric."""
    return _rows((name, each) for name, each in references.items() if each.kind == "class")


def _rows(references: Iterable[tuple[str, Reference]]) -> dict[str, dict[str, str]]:
    rows: dict[str, dict[str, str]] = {}
    for name, reference in references:
        rows.setdefault(reference.row, {})[reference.metric] = name
    return rows


def within(split: str, references: Mapping[str, Reference]) -> References:
    """Return references as a run knows its numbers: ``test/fid`` for ``fid``."""
    return {
        f"{split}/{name}": Reference(f"{split}/{each.metric}", each.row, each.kind) for name, each in references.items()
    }


def written(references: Mapping[str, Reference]) -> dict[str, Any]:
    """Return references as they stand in JSON."""
    return {name: asdict(reference) for name, reference in references.items()}


def read(content: Mapping[str, Any]) -> References:
    """Return references from JSON."""
    return {name: Reference(**each) for name, each in content.items()}


# Runs that recorded none: the last word of a metric, and whose it is.
_WORDS = {
    "oracle": "real train images",
    "noise": "noise",
    "majority": "largest class",
    "damaged": "damaged",
    "wavelet": "wavelet denoiser",
    "bicubic": "bicubic",
    "biharmonic": "biharmonic",
    "telea": "Telea",
    "unsharp": "unsharp mask",
    "bilateral": "bilateral",
    "stretched": "auto-levels",
    "median": "median",
    "content": "as it was",
    "colour": "colours alone",
    "style": "style itself",
    "black": "black frame",
    "mean_image": "mean image",
    "mean_input": "inputs' mean",
    "copy": "last frame",
    "linear": "straight line",
}
_CLASS_MEASURES = ("precision", "recall", "f1")


def guessed(names: Iterable[str]) -> References:
    """Return what numbers are, by their names alone, where nobody recorded it."""
    known = dict.fromkeys(names)
    classes: References = {}
    for name in known:
        place, slash, last = name.rpartition("/")
        measure, _, label = last.partition("_")
        siblings = {f"{place}{slash}{each}_{label}": f"{place}{slash}{each}" for each in _CLASS_MEASURES}
        if label and measure in _CLASS_MEASURES and siblings.keys() <= known.keys():
            classes |= {each: Reference(metric, label, "class") for each, metric in siblings.items()}
    return classes | {name: each for name, each in ending(known, _WORDS).items() if name not in classes}
