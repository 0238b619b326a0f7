"""One page from runs, which needs nothing beside itself: no network, no other file."""

import base64
import functools
import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from darkroom.reporting import charts, tables, words
from darkroom.reporting.album import Album, album
from darkroom.reporting.boards import Board, boards, family, spoken
from darkroom.reporting.cards import Card, card
from darkroom.reporting.charts import Chart, Level, Series
from darkroom.reporting.told import Told
from darkroom.tracking import tag
from darkroom.tracking.comparison import Comparison, Row

MARK = "darkroom report"  # what the page says made it, and what it is known again by
_POINTS = 6000  # of all curves of one drawing
_LOSSES = 6  # drawings of training curves on a board
_PICTURE_BYTES = 900_000  # of one run, when there are few
_UNSEARCHED = 3  # so few runs are found by eye

Drawings = Sequence[tuple[str, Chart]]  # under their titles


def written(comparison: Comparison, told: Iterable[Told], title: str | None, megabytes: float) -> str:
    """Return the page as HTML: the same runs make the same bytes.

    ``megabytes`` are about what all pictures together may take: of more runs each shows fewer and smaller ones.
    """
    by_id = {each.record.run_id: each for each in told}
    share = int(min(_PICTURE_BYTES, megabytes * 1e6 / max(1, len(by_id))))
    page = _Page(comparison, by_id, {key: album(each.record.folder, share) for key, each in by_id.items()})
    return _templates().get_template("page.html").render(page.views(), title=title or page.title)


def is_report(path: Path) -> bool:
    """Say whether a file is such a page, which a new one may take the place of."""
    with path.open("rb") as file:
        return f'content="{MARK}"'.encode() in file.read(2000)


@functools.cache
def _templates() -> Environment:
    made = Environment(
        loader=PackageLoader("darkroom.reporting"),
        autoescape=True,  # names, tags and settings are what people typed
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"counted": words.counted, "digest": _digest, "images": words.images}
    made.filters |= {"look": charts.look, "shape": charts.shape, "short": charts.short}
    beside = {name: (Path(__file__).parent / f"page.{name}").read_text("utf-8") for name in ("css", "js")}
    made.globals |= {"MARK": MARK, "STYLES": charts.STYLES, **beside}
    return made


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


@dataclass(frozen=True)
class _Page:
    comparison: Comparison
    told: Mapping[str, Told]
    albums: Mapping[str, Album]

    @property
    def title(self) -> str:
        experiments = list(dict.fromkeys(row.experiment for row in reversed(self.comparison.rows)))
        if len(experiments) <= 2:
            return " and ".join(experiments) or "Runs"
        families = [name for name in dict.fromkeys(map(family, reversed(self.comparison.rows))) if name]
        return ", ".join(families) if len(families) <= 4 else f"{len(experiments)} experiments"

    def views(self) -> dict[str, Any]:
        """Return what the template is told."""
        made = boards(self.comparison)
        ranked = {row.run_id for board in made for row in board.rows}
        # What only holds a grid or a search together is told of by itself, with its points.
        holding = {
            each.record.tags[tag.PARENT] for each in self.told.values() if tag.PARENT in each.record.tags
        } & self.told.keys()
        rest = [row for row in self.comparison.rows if row.run_id not in ranked | holding]
        return {
            "facts": self._facts(len(made), len(holding)),
            "searched": len(self.told) - len(holding) > _UNSEARCHED,
            "holders": [self._holder(row) for row in self.comparison.rows if row.run_id in holding],
            "boards": [self._section(board) for board in made],
            "rest": {"table": tables.of_unscored(rest, self.told), "cards": [self._card(row) for row in rest]},
        }

    def _facts(self, protocols: int, holding: int) -> list[str]:
        records = [each.record for each in self.told.values()]
        days = sorted({record.started.strftime("%Y-%m-%d") for record in records})
        when = days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}" if days else ""
        states = words.states(record for record in records if record.status != "FINISHED")
        runs = words.counted(len(records) - holding, "run") + (f" ({states})" if states else "")
        return [runs, words.counted(protocols, "protocol"), *([when] if when else [])]

    def _section(self, board: Board) -> dict[str, Any]:
        objective = board.objective[0]
        styles = {row.run_id: place for place, group in enumerate(board.groups) for row in group.rows}
        names = {name for row in board.rows for name in self.told[row.run_id].curves if name.startswith("train/")}
        # Losses first: what else a step returns is of use to whoever asks why.
        ordered = sorted(names, key=lambda name: ("loss" not in name, name))[:_LOSSES]
        cards = []
        for place, group in enumerate(board.groups, start=1):
            order = f"{place}. " if len(board.groups) > 1 else ""
            for row in group.rows:
                standing = f"{order}{spoken(objective)} {words.number(row.value)}"
                cards.append(self._card(row, standing, board.settings))
        return {
            "board": board,
            "best": tables.of_group(board.groups[0], objective),
            "table": tables.of_board(board, self.told),
            "scores": [*self._watched(board, styles), *self._costs(board, styles)],
            "losses": [drawn for name in ordered for drawn in self._curves(board, styles, name, spoken(name))],
            "cards": cards,
        }

    def _holder(self, row: Row) -> dict[str, Any]:
        records = [each.record for each in self.told.values() if each.record.tags.get(tag.PARENT) == row.run_id]
        rows = {each.run_id: each for each in self.comparison.rows}
        table = tables.of_points(row, [rows[record.run_id] for record in records], self.told)
        return {"row": row, "card": self._card(row), "states": words.states(records), "table": table}

    def _card(self, row: Row, standing: str = "", settings: Sequence[str] = ()) -> Card:
        return card(row, self.told, self.albums[row.run_id], standing, settings)

    # --- curves ---

    def _watched(self, board: Board, styles: Mapping[str, int]) -> Drawings:
        """Draw the objective while training, and what the references reach."""
        metric = f"val/{board.objective[0].rpartition('/')[2]}"
        across: dict[str, float] = {}
        for row in board.rows:
            curves = self.told[row.run_id].curves
            for name, reference in row.references.items():
                beside = reference.metric == metric and reference.kind != "class"
                if beside and curves.get(metric) and (points := curves.get(name)):
                    across.setdefault(reference.row, points[-1][1])
        levels = [Level(word, value) for word, value in across.items() if math.isfinite(value)]
        return self._curves(board, styles, metric, f"{spoken(metric)} on the validation split", levels)

    def _curves(
        self, board: Board, styles: Mapping[str, int], metric: str, title: str, levels: Sequence[Level] = ()
    ) -> Drawings:
        series = [
            Series(row.run_name, points, styles[row.run_id])
            for row in board.rows
            if (points := self.told[row.run_id].curves.get(metric))
        ]
        if not series:
            return []
        most = max(12, min(240, _POINTS // len(series)))
        label = f"{title}, {words.counted(len(series), 'run')} over images seen"
        drawn = charts.curves(series, levels, label, "images seen", most)
        return [(title, drawn)] if drawn else []

    def _costs(self, board: Board, styles: Mapping[str, int]) -> Drawings:
        """Draw each run's score against what it took."""
        if len(board.rows) < 2:
            return []
        metric = spoken(board.objective[0])
        series = [
            Series(row.run_name, [(row.metrics["cost/seconds"], row.value)], styles[row.run_id])
            for row in board.rows
            if row.value is not None and "cost/seconds" in row.metrics
        ]
        drawn = charts.cloud(series, f"{metric} of each run against its seconds of training", "seconds of training")
        return [(f"{metric} against what it took", drawn)] if drawn else []
