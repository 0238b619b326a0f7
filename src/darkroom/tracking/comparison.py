"""Runs side by side: what differs between them, and which is best among those that were measured alike."""

import json
import math
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from rich.table import Table
from rich.text import Text

from darkroom import baselines, documents
from darkroom.baselines import Reference
from darkroom.tracking import tag
from darkroom.tracking.store import RunRecord

_SPLITS = ("test", "val")  # a table is made from the first of these that was measured
_COSTS = ("cost/seconds", "cost/images_per_second")  # shown of whatever was trained


@dataclass(frozen=True)
class Row:
    """One run: its numbers, and the protocol they were measured under (empty when none was)."""

    run_id: str
    run_name: str
    experiment: str
    status: str
    params: Mapping[str, str]
    metrics: Mapping[str, float]
    references: Mapping[str, Reference]  # of those of the metrics that are not the model's own
    protocol: Mapping[str, Any]
    objective: tuple[str, str] | None  # such as ("test/fid", "min")
    value: float | None  # of the objective; None when it was not measured or is not a number
    health: str  # what the sentinel found; empty where none was on watch
    lineage: Mapping[str, str]  # tag's last word -> run id


@dataclass(frozen=True)
class Comparison:
    """Rows, newest first; what differs; and rankings, one for each protocol and objective."""

    rows: list[Row]
    differing_params: list[str]
    differing_protocol: dict[str, list[Any]]  # entry -> its values, among runs that were measured
    rankings: list[list[Row]]  # best first; only runs of one protocol and one objective stand in one ranking

    @property
    def verdict(self) -> str:
        """Say who won, or why nobody can be said to have."""
        if not self.rankings:
            return "None of these runs has recorded the objective it is judged by."
        if len(self.rankings) == 1:
            best = self.rankings[0][0]
            metric, mode = best.objective or ("", "")
            way = "lowest" if mode == "min" else "highest"
            return f"{best.run_id[:8]} {best.run_name} has the {way} {metric}: {_number(best.value)}."
        apart = "so they are not ranked against each other"
        ranked = [ranking[0] for ranking in self.rankings]
        if len({row.objective for row in ranked}) > 1:
            return f"These runs are judged by different metrics, {apart}."
        if not all(row.protocol for row in ranked):
            return f"Some of these runs were measured under no protocol, {apart}. Try: darkroom evaluate"
        told = "; ".join(
            f"{entry}: {', '.join(_text(value) for value in values)}"
            for entry, values in self.differing_protocol.items()
        )
        return f"These runs were not measured alike, {apart}. {told}."

    def table(self) -> Table:
        """Return the runs as a table for the terminal."""
        titles, cells = self._grid()
        table = Table(caption=Text(self.verdict), caption_justify="left", header_style="bold")
        numeric = set(self._metric_columns())
        for title in titles:
            table.add_column(Text(title), overflow="fold", justify="right" if title in numeric else "left")
        for row in cells:
            table.add_row(*map(Text, row))  # as text: rich would swallow [a, b] as markup
        return table

    def json(self) -> str:
        """Return the rows as a JSON array, newest first; numbers that JSON has no word for are null."""
        fields = ("run_id", "run_name", "experiment", "status", "params", "metrics", "protocol")
        rows = [{name: _plain(getattr(row, name)) for name in fields} for row in self.rows]
        return json.dumps(rows, indent=2, ensure_ascii=False, allow_nan=False)

    def _grid(self) -> tuple[list[str], list[list[str]]]:
        """Return the column titles and, for every run, its cells."""
        metrics = self._metric_columns()
        places, numbers = self._places(), self._protocol_numbers()
        watched = any(row.health for row in self.rows)
        titles = ["run", "name", "experiment", "status", *metrics, *(["health"] if watched else [])]
        titles += self.differing_params
        cells = [
            [
                row.run_id[:8],
                row.run_name,
                row.experiment,
                row.status,
                *(
                    _number(row.value) + places.get(row.run_id, "")
                    if row.objective is not None and row.objective[0] == name
                    else _number(row.metrics.get(name))
                    for name in metrics
                ),
                *([row.health] if watched else []),
                *(row.params.get(name, "") for name in self.differing_params),
            ]
            for row in self.rows
        ]
        if numbers:
            titles.append("protocol")
            for row, line in zip(self.rows, cells, strict=True):
                line.append(f"#{numbers[_frozen(row.protocol)]}" if row.protocol else "")
        return titles, cells

    def _metric_columns(self) -> list[str]:
        """Return the objectives, what was measured on the same splits, with the objectives' own reference rows, costs.

        What was measured of single classes is left to the JSON: thirty columns of it would hide the rest.
        """
        objectives = [row.objective[0] for row in self.rows if row.objective and row.value is not None]
        splits = {name.split("/")[0] for name in objectives} or set(_SPLITS)
        names = (
            name
            for row in self.rows
            for name in sorted(row.metrics)
            if name.split("/")[0] in splits and self._wanted(row.references.get(name), objectives)
        )
        costs = (name for name in _COSTS if any(name in row.metrics for row in self.rows))
        return list(dict.fromkeys([*objectives, *names, *costs]))

    @staticmethod
    def _wanted(reference: Reference | None, objectives: Collection[str]) -> bool:
        """Say whether a number is a model's own, or stands beside an objective."""
        return reference is None or (reference.kind != "class" and reference.metric in objectives)

    def _places(self) -> dict[str, str]:
        """Return ``" (1)"`` and so on for runs that stand in a ranking with others."""
        return {
            row.run_id: f" ({place})"
            for ranking in self.rankings
            if len(ranking) > 1
            for place, row in enumerate(ranking, start=1)
        }

    def _protocol_numbers(self) -> dict[str, int]:
        distinct = dict.fromkeys(_frozen(row.protocol) for row in self.rows if row.protocol)
        return {protocol: number for number, protocol in enumerate(distinct, start=1)}


def compare(records: Iterable[RunRecord], noted: Callable[[str], bool] = lambda entry: False) -> Comparison:
    """Put runs side by side, newest first.

    ``noted`` says which entries of a protocol are written down and yet no reason not to rank.
    Numbers come from each run's ``metrics.json`` (test if it was measured, else val) and from its curves' last points.
    """
    ordered = sorted(records, key=lambda record: record.started, reverse=True)
    rows = [_row(record) for record in ordered]
    # What only holds the points of a grid together has no settings, from which all of theirs would differ.
    holding = {record.tags.get(tag.PARENT) for record in ordered}
    trained = [row for row in rows if row.run_id not in holding]
    names = sorted({name for row in trained for name in row.params})
    differing = [name for name in names if len({row.params.get(name) for row in trained}) > 1]
    rankings: dict[tuple[str, tuple[str, str]], list[Row]] = {}
    for row in rows:
        if row.objective is not None and row.value is not None:
            alike = {entry: value for entry, value in row.protocol.items() if not noted(entry)}
            rankings.setdefault((_frozen(alike), row.objective), []).append(row)
    for (_, (_, mode)), ranked in rankings.items():
        ranked.sort(key=lambda row: row.value or 0.0, reverse=mode == "max")
    protocols = [row.protocol for row in rows if row.protocol]
    entries = dict.fromkeys(entry for protocol in protocols for entry in protocol if not noted(entry))
    values = {entry: _distinct(protocol.get(entry) for protocol in protocols) for entry in entries}
    return Comparison(
        rows,
        differing,
        {entry: found for entry, found in values.items() if len(found) > 1},
        list(rankings.values()),
    )


def _row(record: RunRecord) -> Row:
    scored = measured(record.folder / "metrics.json")
    split = next((split for split in _SPLITS if split in scored), None)
    metrics = {name: value for name, value in record.metrics.items() if not name.startswith("system/")}
    for part, scores in scored.items():
        metrics |= {f"{part}/{name}": float(value) for name, value in scores.get("values", {}).items()}
    references: dict[str, Reference] = {}
    for part in _SPLITS:
        said = scored.get(part, {}).get("references")
        names = [name for name in metrics if name.startswith(f"{part}/")]
        references |= baselines.guessed(names) if said is None else baselines.within(part, baselines.read(said))
    objective, value = record.objective, record.objective_value
    if objective is not None and split is not None:
        judged = f"{split}/{objective[0].split('/')[-1]}"
        if judged in metrics:
            objective, value = (judged, objective[1]), metrics[judged]
    links = (tag.FORKED_FROM, tag.INIT_FROM, tag.REPRODUCES)
    return Row(
        record.run_id,
        record.name,
        record.experiment,
        record.status,
        dict(record.params),
        metrics,
        references,
        scored[split].get("protocol", {}) if split else {},
        objective,
        None if value is None or math.isnan(value) else value,
        record.tags.get(tag.HEALTH, ""),
        {link.split(".")[-1].replace("_", " "): record.tags[link] for link in links if link in record.tags},
    )


class _Scored(BaseModel):
    values: dict[str, float] = {}
    protocol: dict[str, Any] = {}
    references: dict[str, Reference] | None = None


class _Measured(BaseModel):
    """What ``metrics.json`` holds of each split that was measured."""

    test: _Scored = _Scored()
    val: _Scored = _Scored()


def measured(path: Path) -> dict[str, dict[str, Any]]:
    """Return the values and the protocol of each split in a ``metrics.json``; nothing when there is none.

    Raises:
        UserError: it is damaged.
    """
    if not path.is_file():
        return {}
    content = documents.read_json(path, _Measured)
    return {split: {"values": {}, "protocol": {}} | content[split] for split in _SPLITS if split in content}


def _distinct(values: Iterable[Any]) -> list[Any]:
    return list({_frozen(value): value for value in values}.values())


def _frozen(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=str)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(part) for key, part in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _text(value: Any) -> str:
    return "not given" if value is None else str(value)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"
