"""The tables of the page, cell by cell."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from darkroom.reporting.boards import COSTS, Board, Group, differing, family, spoken
from darkroom.reporting.told import Told
from darkroom.reporting.words import amount, between, counted, cut, number
from darkroom.tracking import tag
from darkroom.tracking.comparison import Row

COST_WORDS = {
    "seconds": ("seconds", "of training, validation included"),
    "images_per_second": ("images/s", "training images over those seconds"),
    "peak_memory_mb": ("peak MB", "the most memory that the process held"),
    "peak_gpu_memory_mb": ("peak GPU MB", "the most memory that tensors held on the GPU"),
    "parameters": ("parameters", "numbers that are learnt"),
    "multiply_adds": ("multiply-adds", "of the way forwards, for one picture or sequence"),
}
_POINT_SETTINGS = 6  # of a grid's points, in the table of the grid


@dataclass(frozen=True)
class Head:
    """The heading of a column, which sorts as ``text`` or as ``number``."""

    name: str
    kind: str = "text"
    about: str = ""


@dataclass(frozen=True)
class Link:
    """A run that is spoken of; one that is not on the page is known by the head of its id alone."""

    run_id: str
    name: str
    shown: bool


@dataclass(frozen=True)
class Cell:
    """A cell of the classes ``kind``: links to runs, or a text, which a number sorts by."""

    text: str = ""
    kind: str = ""
    sorted_by: str | None = None
    spread: str = ""
    runs: tuple[Link, ...] = ()


@dataclass(frozen=True)
class Line:
    """A row: the run or what else it is of, the mark that its curves have, what its fold says, and its cells."""

    cells: Sequence[Cell]
    run: Link | None = None
    name: str = ""
    about: str = ""
    rank: str = ""
    style: int | None = None
    fold: str = ""
    state: str = ""
    kind: str = ""


@dataclass(frozen=True)
class Body:
    """Lines that are sorted as one."""

    lines: Sequence[Line]
    kind: str = ""


@dataclass(frozen=True)
class Table:
    """A table under its headings, the first of which is that of the lines themselves."""

    caption: str
    heads: Sequence[Head]
    bodies: Sequence[Body]
    ranked: bool = False


def of_board(board: Board, told: Mapping[str, Told]) -> Table:
    """Return a body for each configuration, its runs beneath it, and one for each reference."""
    costs = [name for name in COSTS if any(f"cost/{name}" in row.metrics for row in board.rows)]
    watched = any(row.health for row in board.rows)
    nested = any(tag.PARENT in told[row.run_id].record.tags for row in board.rows)
    objective, mode = board.objective
    arrows = {objective: " ↓" if mode == "min" else " ↑"}
    heads = [
        Head("run"),
        *(Head(spoken(name) + arrows.get(name, ""), "number", name) for name in board.columns),
        *(Head(COST_WORDS[name][0], "number", COST_WORDS[name][1]) for name in costs),
        *([Head("health", about="what the sentinel found")] if watched else []),
        *([Head("part of", about="a grid or a search")] if nested else []),
        *_setting_heads(board.settings),
    ]

    def cells(rows: Sequence[Row], measured: Iterable[Cell]) -> list[Cell]:
        means = [_mean(row.metrics.get(f"cost/{name}") for row in rows) for name in costs]
        health = "; ".join(dict.fromkeys(row.health for row in rows if row.health))
        parents = dict.fromkeys(told[row.run_id].record.tags.get(tag.PARENT, "") for row in rows)
        settings = [", ".join(dict.fromkeys(row.params.get(name, "") for row in rows)) for name in board.settings]
        return [
            *measured,
            *(Cell(amount(mean), sorted_by=_sortable(mean)) for mean in means),
            *([Cell(health, "text bad" if ill(health) else "text")] if watched else []),
            *([Cell(kind="text", runs=tuple(_link(run, told) for run in parents if run))] if nested else []),
            *(Cell(cut(text), "text") for text in settings),
        ]

    def kind(name: str) -> str:
        return "objective" if name == objective else ""

    bodies = []
    for place, group in enumerate(board.groups):
        rank = str(place + 1) if len(board.groups) > 1 else ""
        many = len(group.rows) > 1
        lines = []
        if many:
            measured = [of_group(group, name, kind(name)) for name in board.columns]
            seeds = counted(len(group.seeds), "seed")
            fold = seeds if len(group.seeds) == len(group.rows) else f"{seeds}, {counted(len(group.rows), 'run')}"
            whole = cells(group.seeds, measured)
            lines.append(Line(whole, name=group.name, rank=rank, style=place, fold=fold, kind="group"))
            rank = ""
        for row in group.rows:
            values = {name: _value(row, name) for name in board.columns}
            measured = [Cell(number(value), kind(name), _sortable(value)) for name, value in values.items()]
            lines.append(
                Line(
                    cells([row], measured),
                    _link(row.run_id, told),
                    rank=rank,
                    style=None if many else place,
                    state="" if row.status == "FINISHED" else row.status.lower(),
                    kind="member" if many else "",
                )
            )
        bodies.append(Body(lines))
    beside = [Cell()] * (len(heads) - 1 - len(board.columns))
    for word, known in board.references.items():
        reached = [
            Cell(between(*known[name]), sorted_by=_sortable(known[name][0])) if name in known else Cell()
            for name in board.columns
        ]
        about = "what no model is expected to beat" if word in board.oracles else "takes no learning"
        bodies.append(Body([Line([*reached, *beside], name=word, about=about)], "reference"))
    return Table(f"{board.title}, {counted(len(board.rows), 'run')}", heads, bodies, ranked=True)


def of_points(holder: Row, points: Sequence[Row], told: Mapping[str, Told]) -> Table:
    """Return a line for each point of a grid or a search, the best first, those without a score last."""
    settings = [name for name in differing(points) if not name.endswith("._target_")][:_POINT_SETTINGS]
    bodies = []
    for row in sorted(points, key=_order):
        scored = row.objective and row.value is not None
        score = f"{number(row.value)} {spoken(row.objective[0])}" if row.objective and scored else ""
        cells = [
            Cell(row.status.lower(), "text" if row.status == "FINISHED" else "text bad"),
            Cell(score, sorted_by=_sortable(row.value)),
            *(Cell(cut(row.params.get(name, "")), "text") for name in settings),
        ]
        bodies.append(Body([Line(cells, _link(row.run_id, told), kind="point")]))
    heads = [Head("run"), Head("status"), Head("score", "number"), *_setting_heads(settings)]
    return Table(f"The points of {holder.run_name}", heads, bodies)


def of_unscored(rows: Iterable[Row], told: Mapping[str, Told]) -> Table:
    """Return a line for each run that recorded no score: how far it came, and why it ended."""
    bodies = []
    for row in rows:
        best = next((row.metrics[name] for name in row.metrics if name.startswith("val/best_")), None)
        seen = max((points[-1][0] for points in told[row.run_id].curves.values() if points), default=None)
        ended = told[row.run_id].record.tags.get(tag.ENDED, "not said")
        cells = [
            Cell(family(row), "text"),
            Cell(row.experiment, "text"),
            Cell(row.status.lower(), "text bad" if row.status in ("FAILED", "KILLED") else "text"),
            Cell(cut(ended, 160), "text"),
            Cell(amount(seen), sorted_by=_sortable(seen)),
            Cell(number(best), sorted_by=_sortable(best)),
        ]
        bodies.append(Body([Line(cells, _link(row.run_id, told))]))
    heads = [
        *(Head(name) for name in ("run", "family", "experiment", "status", "why it ended")),
        Head("images seen", "number"),
        Head("best on val", "number", "the objective while training"),
    ]
    return Table("Runs without a score", heads, bodies)


def of_group(group: Group, metric: str, kind: str = "") -> Cell:
    """Return the mean of a configuration, and how far its seeds lie apart where it has several."""
    mean, spread = group.mean(metric), group.spread(metric)
    return Cell(number(mean), kind, _sortable(mean), "" if spread is None else f"{spread:.2g}")


def ill(health: str) -> bool:
    """Say whether the sentinel found something."""
    return health not in ("", "healthy")


def _link(run_id: str, told: Mapping[str, Told]) -> Link:
    return Link(run_id, told[run_id].record.name if run_id in told else run_id[:8], run_id in told)


def _setting_heads(names: Sequence[str]) -> list[Head]:
    return [Head(_label(name, names), about=name) for name in names]


def _label(name: str, names: Sequence[str]) -> str:
    """Return the last word of a setting, or as many as tell it from the others."""
    words = name.split(".")
    for count in range(1, len(words)):
        tail = ".".join(words[-count:])
        if tail != "_target_" and sum(other == tail or other.endswith(f".{tail}") for other in names) == 1:
            return tail
    return name


def _value(row: Row, name: str) -> float | None:
    return row.value if row.objective is not None and row.objective[0] == name else row.metrics.get(name)


def _order(row: Row) -> tuple[bool, float]:
    if row.objective is None or row.value is None:
        return True, 0.0
    return False, row.value if row.objective[1] == "min" else -row.value


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None and math.isfinite(value)]
    return math.fsum(known) / len(known) if known else None


def _sortable(value: float | None) -> str:
    return "" if value is None or not math.isfinite(value) else f"{value:.9g}"
