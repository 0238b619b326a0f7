"""One page from runs, which needs nothing beside itself: no network, no other file."""

import base64
import hashlib
import html
import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from darkroom.reporting import charts
from darkroom.reporting.boards import COSTS, Board, Group, boards, differing, family, judge, spoken
from darkroom.reporting.charts import Level, Series
from darkroom.reporting.pictures import Album, Frame, album, image
from darkroom.tracking import tag
from darkroom.tracking.comparison import REFERENCES, Comparison, Row, class_of, reference_of
from darkroom.tracking.store import RunRecord

MARK = "darkroom report"  # what the page says made it, and what it is known again by
_POINTS = 6000  # of all curves of one drawing
_LOSSES = 6  # drawings of training curves on a board
_PICTURE_BYTES = 900_000  # of one run, when there are few
_HEADS = {
    "seconds": ("seconds", "of training, validation included"),
    "images_per_second": ("images/s", "training images over those seconds"),
    "peak_memory_mb": ("peak MB", "the most memory that the process held"),
    "peak_gpu_memory_mb": ("peak GPU MB", "the most memory that tensors held on the GPU"),
    "parameters": ("parameters", "numbers that are learnt"),
    "multiply_adds": ("multiply-adds", "of the way forwards, for one picture or sequence"),
}
_FACTS = ("cpu", "threads", "gpus", "python")  # of environment.json


@dataclass(frozen=True)
class Told:
    """A run with everything that the page says of it beside its numbers.

    ``curves`` are points over images seen by metric; ``data`` the name and digest of the data by split;
    ``environment`` what ``environment.json`` holds.
    """

    record: RunRecord
    curves: Mapping[str, Sequence[tuple[float, float]]] = field(default_factory=dict)
    data: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    environment: Mapping[str, Any] = field(default_factory=dict)


def wanted(record: RunRecord) -> list[str]:
    """Return the names of the curves that the page draws of a run: the objective, and what training logs."""
    objective = [record.objective[0]] if record.objective and record.objective[0] in record.metrics else []
    references = [name for name in record.metrics if objective and name.startswith(f"{objective[0]}_")]
    losses = [name for name in record.metrics if name.startswith("train/") and name not in _UNDRAWN]
    return [*objective, *references, *sorted(losses)]


_UNDRAWN = ("train/learning_rate", "train/images_per_second")


def written(comparison: Comparison, told: Iterable[Told], title: str | None, megabytes: float) -> str:
    """Return the page as HTML: the same runs make the same bytes.

    ``megabytes`` are about what all pictures together may take: of more runs each shows fewer and smaller ones.
    """
    by_id = {each.record.run_id: each for each in told}
    share = int(min(_PICTURE_BYTES, megabytes * 1e6 / max(1, len(by_id))))
    page = _Page(comparison, by_id, {key: album(each.record.folder, share) for key, each in by_id.items()})
    style, script = (_beside(name) for name in ("page.css", "page.js"))
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="generator" content="{MARK}">\n'
        f'<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; '
        f"style-src 'sha256-{_digest(style)}'; script-src 'sha256-{_digest(script)}'\">\n"
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{html.escape(title or page.title)}</title>\n<style>{style}</style>\n</head>\n<body>\n"
        f"{page.body(title)}\n<script>{script}</script>\n</body>\n</html>\n"
    )


def is_report(path: Path) -> bool:
    """Say whether a file is such a page, which a new one may take the place of."""
    with path.open("rb") as file:
        return f'content="{MARK}"'.encode() in file.read(2000)


def _beside(name: str) -> str:
    return (Path(__file__).parent / name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _e(value: object) -> str:
    return html.escape(str(value), quote=True)


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

    def body(self, title: str | None) -> str:
        made = boards(self.comparison)
        ranked = {row.run_id for board in made for row in board.rows}
        # What only holds a grid or a search together is told of by itself, with its points.
        holding = {
            each.record.tags[tag.PARENT] for each in self.told.values() if tag.PARENT in each.record.tags
        } & self.told.keys()
        rest = [row for row in self.comparison.rows if row.run_id not in ranked | holding]
        parts = [self._head(title, made, len(rest), len(holding))]
        parts += [self._parent(row) for row in self.comparison.rows if row.run_id in holding]
        parts += [self._board(number, board) for number, board in enumerate(made, start=1)]
        parts.append(self._unranked(rest))
        parts.append(_FOOT)
        return f"<main>{''.join(parts)}</main>{_DIALOG}"

    def _head(self, title: str | None, made: list[Board], rest: int, holding: int) -> str:
        records = [each.record for each in self.told.values()]
        count = len(records) - holding
        days = sorted({record.started.strftime("%Y-%m-%d") for record in records})
        when = days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}" if days else ""
        states = _states(record for record in records if record.status != "FINISHED")
        facts = [_count(count, "run") + (f" ({states})" if states else ""), _count(len(made), "protocol"), when]
        apart = (
            "<p class=note>Runs that were not measured alike are not ranked against each other:"
            " each protocol has a table of its own.</p>"
            if len(made) > 1
            else ""
        )
        items = [
            f'<li><a href="#board-{number}"><span class=what>{_e(board.title)}</span>'
            f"<span class=who>{_e(board.groups[0].name)}</span>"
            f"<b>{_e(_with_spread(board.groups[0], board.objective[0]))}</b>"
            f"<span class=of>{_e(board.families)} · {_count(len(board.rows), 'run')}</span></a></li>"
            for number, board in enumerate(made, start=1)
        ]
        if rest:
            items.append(
                f'<li><a href="#unranked"><span class=what>Without a score</span><b>{_count(rest, "run")}</b>'
                "<span class=of>failed, interrupted, or never measured</span></a></li>"
            )
        contents = (
            f'<nav aria-label="Contents"><ul class=contents>{"".join(items)}</ul></nav>' if len(items) > 1 else ""
        )
        search = (
            "<p class=filter hidden><label for=filter>Show only runs with</label>"
            '<input id=filter type=search placeholder="a name, an experiment, a setting">'
            "<output for=filter></output></p>"
            if count > 3
            else ""
        )
        return (
            f"<header><p class=kicker>Darkroom report</p><h1>{_e(title or self.title)}</h1>"
            f"<p class=facts>{' · '.join(_e(fact) for fact in facts if fact)}</p>{apart}{contents}{search}</header>"
        )

    def _board(self, number: int, board: Board) -> str:
        styles = {row.run_id: place for place, group in enumerate(board.groups) for row in group.rows}
        drawings = self._drawings(board, styles)
        protocol = board.rows[0].protocol
        whole = (
            f"<details class=protocol><summary>The whole protocol</summary>{_pairs(protocol.items())}</details>"
            if protocol
            else ""
        )
        cards = "".join(
            self._card(row, self._standing(board, group, row, place), board.settings)
            for place, group in enumerate(board.groups, start=1)
            for row in group.rows
        )
        runs = f"<div><h3>{'Runs' if len(board.rows) > 1 else 'The run'}</h3><div class=cards>{cards}</div></div>"
        alone = len(board.rows) == 1 and drawings
        return (
            f'<section class=board id="board-{number}"><p class=kicker>{_e(board.families)}</p>'
            f"<h2>{_e(board.title)}</h2><p class=facts>{_e(board.measured)}</p>{whole}"
            f"<p class=verdict>{_e(board.verdict)}</p>{self._table(board)}"
            f"{f'<div class=pair>{drawings}{runs}</div>' if alone else drawings + runs}</section>"
        )

    def _standing(self, board: Board, group: Group, row: Row, place: int) -> str:
        value = "" if row.value is None else _number(row.value)
        order = f"{place}. " if len(board.groups) > 1 else ""
        return f"{order}{spoken(board.objective[0])} {value}"

    # --- the table ---

    def _table(self, board: Board) -> str:
        costs = [name for name in COSTS if any(f"cost/{name}" in row.metrics for row in board.rows)]
        watched = any(row.health for row in board.rows)
        nested = any(tag.PARENT in self.told[row.run_id].record.tags for row in board.rows)
        mode = board.objective[1]
        heads = ["<th scope=col class=rank>#</th>", _head("run", "", "text")]
        for name in board.columns:
            arrow = (" ↓" if mode == "min" else " ↑") if name == board.objective[0] else ""
            heads.append(_head(spoken(name) + arrow, name, "number"))
        heads += [_head(*_HEADS[name], "number") for name in costs]
        heads += [_head("health", "what the sentinel found", "text")] if watched else []
        heads += [_head("part of", "a grid or a search", "text")] if nested else []
        heads += [_head(_label(name, board.settings), name, "text") for name in board.settings]

        def cells(rows: Sequence[Row], numbers: Mapping[str, str], whole: bool) -> str:
            first = rows[0]
            parts = []
            for name in board.columns:
                mean = _mean(_value(row, name) for row in rows)
                strong = " class=objective" if name == board.objective[0] else ""
                parts.append(f'<td{strong} data-v="{_sortable(mean)}">{numbers[name]}</td>')
            for name in costs:
                mean = _mean(row.metrics.get(f"cost/{name}") for row in rows)
                parts.append(f'<td data-v="{_sortable(mean)}">{_amount(mean)}</td>')
            if watched:
                found = "; ".join(dict.fromkeys(row.health for row in rows if row.health))
                parts.append(f'<td class="text {_ill(found)}">{_e(found)}</td>')
            if nested:
                parents = dict.fromkeys(self.told[row.run_id].record.tags.get(tag.PARENT, "") for row in rows)
                parts.append(f"<td class=text>{' '.join(self._link(parent) for parent in parents if parent)}</td>")
            for name in board.settings:
                text = first.params.get(name, "")
                if whole and len(rows) > 1 and len({row.params.get(name) for row in rows}) > 1:
                    text = ", ".join(dict.fromkeys(row.params.get(name, "") for row in rows))
                parts.append(f"<td class=text>{_e(_cut(text))}</td>")
            return "".join(parts)

        bodies = []
        for place, group in enumerate(board.groups, start=1):
            many = len(group.rows) > 1
            lines = []
            rank = f"<td class=rank>{place if len(board.groups) > 1 else ''}</td>"
            if many:
                seeds = f"{_count(len(group.seeds), 'seed')}, {_count(len(group.rows), 'run')}"
                if len(group.seeds) == len(group.rows):
                    seeds = _count(len(group.seeds), "seed")
                lines.append(
                    f"<tr class=group>{rank}<th scope=row>{charts.mark(place - 1)}{_e(group.name)}"
                    f"<button type=button class=fold aria-expanded=true>{seeds}</button></th>"
                    + cells(group.seeds, {name: _mean_cell(group, name) for name in board.columns}, True)
                    + "</tr>"
                )
            for row in group.rows:
                sample = "" if many else charts.mark(place - 1)
                lines.append(
                    f'<tr{" class=member" if many else ""} data-run="{row.run_id}">'
                    f"{'<td class=rank></td>' if many else rank}<th scope=row>{sample}{self._link(row.run_id)}"
                    f"{_state(row)}</th>"
                    + cells([row], {name: _number(_value(row, name)) for name in board.columns}, False)
                    + "</tr>"
                )
            bodies.append(f"<tbody>{''.join(lines)}</tbody>")
        beside = len(costs) + watched + nested + len(board.settings)
        for word, values in board.references.items():
            numbers = "".join(
                f'<td data-v="{_sortable(values[name][0])}">{_e(_between(*values[name]))}</td>'
                if name in values
                else "<td></td>"
                for name in board.columns
            )
            about = "what no model is expected to beat" if word == REFERENCES["oracle"] else "takes no learning"
            bodies.append(
                f'<tbody class=reference><tr><td class=rank></td><th scope=row title="{about}">{_e(word)}</th>{numbers}'
                f"{'<td></td>' * beside}</tr></tbody>"
            )
        caption = f"{board.title}, {_count(len(board.rows), 'run')}"
        spread = (
            "<p class=note>± is the standard deviation between seeds, of which each counts once.</p>"
            if any(len(group.seeds) > 1 for group in board.groups)
            else ""
        )
        return (
            f'<div class=scroll role=region tabindex=0 aria-label="{_e(caption)}"><table>'
            f"<caption>{_e(caption)}</caption><thead><tr>{''.join(heads)}</tr></thead>{''.join(bodies)}</table></div>{spread}"
        )

    def _link(self, run_id: str) -> str:
        known = self.told.get(run_id)
        if known is None:
            return f"<span>{_e(run_id[:8])}</span>"
        return f'<a href="#run-{run_id}">{_e(known.record.name)}</a>'

    # --- curves ---

    def _drawings(self, board: Board, styles: Mapping[str, int]) -> str:
        metric = board.objective[0]
        watched = f"val/{metric.rpartition('/')[2]}"
        figures = [
            self._curves(board, styles, watched, f"{spoken(watched)} on the validation split", True),
            _figure(
                charts.cloud(
                    [
                        Series(row.run_name, [(row.metrics["cost/seconds"], row.value)], styles[row.run_id])
                        for row in board.rows
                        if row.value is not None and "cost/seconds" in row.metrics
                    ],
                    f"{spoken(metric)} of each run against its seconds of training",
                    "seconds of training",
                ),
                f"{spoken(metric)} against what it took",
                "",
            )
            if len(board.rows) > 1
            else "",
        ]
        legend = self._legend(board)
        names = dict.fromkeys(
            name for row in board.rows for name in self.told[row.run_id].curves if name.startswith("train/")
        )
        # Losses first: what else a step returns is of use to whoever asks why.
        ordered = sorted(names, key=lambda name: ("loss" not in name, name))
        losses = [self._curves(board, styles, name, spoken(name), False) for name in ordered[:_LOSSES]]
        more = "".join(losses)
        training = (
            f"<details class=losses><summary>Curves of training</summary><div class=charts>{more}</div></details>"
        )
        shown = "".join(figures)
        if not shown and not more:
            return ""
        return f"<div class=drawings>{legend}<div class=charts>{shown}</div>{training if more else ''}</div>"

    def _curves(self, board: Board, styles: Mapping[str, int], metric: str, title: str, levels: bool) -> str:
        rows = [row for row in board.rows if self.told[row.run_id].curves.get(metric)]
        if not rows:
            return ""
        series = [Series(row.run_name, self.told[row.run_id].curves[metric], styles[row.run_id]) for row in rows]
        across: dict[str, float] = {}
        for row in rows if levels else []:
            for suffix, word in REFERENCES.items():
                if points := self.told[row.run_id].curves.get(f"{metric}_{suffix}"):
                    across.setdefault(word, points[-1][1])
        drawn = charts.curves(
            series,
            [Level(word, value) for word, value in across.items() if math.isfinite(value)],
            f"{title}, {_count(len(rows), 'run')} over images seen",
            "images seen",
            max(12, min(240, _POINTS // len(rows))),
        )
        return _figure(drawn, title, "")

    def _legend(self, board: Board) -> str:
        if len(board.groups) < 2:
            return ""
        shown = board.groups[: charts.STYLES]
        items = [
            f'<li><button type=button aria-pressed=true data-style="{place}">{charts.mark(place)}{_e(group.name)}'
            "</button></li>"
            for place, group in enumerate(shown)
        ]
        if others := len(board.groups) - len(shown):
            items.append(
                f"<li><button type=button aria-pressed=true data-style=others>{charts.mark(charts.STYLES)}"
                f"{others} others</button></li>"
            )
        return f"<ul class=legend>{''.join(items)}</ul>"

    # --- runs ---

    def _card(self, row: Row, standing: str, settings: Sequence[str]) -> str:
        told = self.told[row.run_id]
        record, shown = told.record, self.albums[row.run_id]
        words = " ".join([row.run_name, row.experiment, row.run_id, *(row.params.get(name, "") for name in settings)])
        said = [_badge(row.status.lower(), "bad" if row.status in ("FAILED", "KILLED") else "plain")] if (
            row.status != "FINISHED"
        ) else []  # fmt: skip
        if row.health:
            said.append(_badge(row.health, _ill(row.health) or "good"))
        ended = record.tags.get(tag.ENDED, "")
        reason = f"<p class=reason>{_e(ended)}</p>" if row.status in ("FAILED", "KILLED") and ended else ""
        others = "".join(_picture(frame, name, row.run_name) for name, frame in shown.others)
        left = (
            f"<p class=note>{_count(shown.left_out, 'series')} more in the run's folder.</p>" if shown.left_out else ""
        )
        pictures = (
            f"<details><summary>{_count(len(shown.others), 'more picture')}</summary>"
            f"<div class=pictures>{others}</div>{left}</details>"
            if others
            else left
        )
        return (
            f'<article class=run id="run-{row.run_id}" data-words="{_e(words.lower())}"><header>'
            f"<h4>{_e(row.run_name)}</h4><p class=facts>"
            f"{' · '.join(_e(part) for part in (standing, family(row), row.experiment) if part)}"
            f" · <code>{row.run_id[:8]}</code></p>{''.join(said)}{reason}"
            f"</header>{_slider(shown, row.run_name)}{pictures}{self._facts(row, told)}</article>"
        )

    def _facts(self, row: Row, told: Told) -> str:
        record = told.record
        facts: list[tuple[str, str]] = [("run", row.run_id), ("status", row.status.lower())]
        if ended := record.tags.get(tag.ENDED):
            facts.append(("ended", ended))
        facts.append(("started", record.started.strftime("%Y-%m-%d %H:%M UTC")))
        if row.health:
            facts.append(("health", row.health))
        for name, (head, _) in _HEADS.items():
            if f"cost/{name}" in row.metrics:
                facts.append((head, _amount(row.metrics[f"cost/{name}"])))
        commit = record.tags.get(tag.GIT_COMMIT)
        if commit:
            dirty = record.tags.get(tag.GIT_DIRTY) == "true"
            facts.append(("commit", commit[:12] + (", with changes (git.diff in its folder)" if dirty else "")))
        data, protocol = told.data, row.protocol
        if not data and "data_digest" in protocol:
            data = {str(protocol["split"]): (str(protocol.get("data", "")), str(protocol["data_digest"]))}
        for split, (name, digest) in sorted(data.items()):
            facts.append((f"data, {split}" if split else "data", f"{name} {digest[:12]}"))
        if judge(row):
            facts.append(("judge", judge(row)))
        for word, origin in row.lineage.items():
            named = self.told[origin].record.name if origin in self.told else ""
            facts.append((word, f"{origin[:8]} {named}".strip()))
        if drift := record.tags.get(tag.DRIFT):
            changed = json.loads(drift)
            facts.append(("changed on the way", ", ".join(f"{k}: {a} to {b}" for k, (a, b) in changed.items())))
        facts += [(name, _plain(told.environment[name])) for name in _FACTS if told.environment.get(name)]
        packages = told.environment.get("packages", {})
        if "torch" in packages:
            facts.append(("torch", packages["torch"]))
        table = f"<details><summary>What it was made with</summary>{_pairs(facts)}</details>"
        return table + self._numbers(row) + self._again(row, record)

    def _numbers(self, row: Row) -> str:
        """Return everything that was measured of a run, unless so many runs are shown that nobody would look."""
        split = row.objective[0].partition("/")[0] if row.objective else "test"
        names = [
            name
            for name in row.metrics
            if name.partition("/")[0] in (split, "latents", "fitted")
            and reference_of(name, row.metrics) is None
            and class_of(name, row.metrics) is None
        ]
        if not names or len(self.told) > 60:
            return ""
        pairs = [(name.replace("_", " "), _number(row.metrics[name])) for name in names]
        return f"<details><summary>All its numbers</summary>{_pairs(pairs)}</details>"

    def _again(self, row: Row, record: RunRecord) -> str:
        command = record.tags.get(tag.COMMAND)
        lines = []
        if commit := record.tags.get(tag.GIT_COMMIT):
            lines.append(f"git checkout {commit[:12]}")
            if record.tags.get(tag.GIT_DIRTY) == "true":
                lines.append(f"git apply mlruns/{record.folder.parent.parent.name}/{row.run_id}/artifacts/git.diff")
        if command:
            lines.append(command)
        # A fork or a set of weights comes from another run, which reproduce asks for by itself.
        alone = not row.lineage.keys() - {"reproduces"}
        if not alone and not command:
            lines.append(f"darkroom train fork={row.run_id[:8]}")
        parts = [f"<pre>{_e(chr(10).join(lines))}</pre>"] if lines else []
        if alone:
            note = "made again from its own record, and compared number by number:"
            parts.append(f"<p class=note>{note}</p><pre>darkroom reproduce run={row.run_id[:8]}</pre>")
        return f"<details><summary>Make it again</summary>{''.join(parts)}</details>"

    def _parent(self, row: Row) -> str:
        points = [each.record for each in self.told.values() if each.record.tags.get(tag.PARENT) == row.run_id]
        rows = {each.run_id: each for each in self.comparison.rows}
        points.sort(key=lambda point: _order(rows[point.run_id]))
        varied = differing(rows[point.run_id] for point in points)
        settings = [name for name in varied if not name.endswith("._target_")][:6]
        heads = "".join([_head("run", "", "text"), _head("status", "", "text"), _head("score", "", "number"),
                         *(_head(_label(name, settings), name, "text") for name in settings)])  # fmt: skip
        lines = []
        for point in points:
            of = rows[point.run_id]
            score = (
                f"{_number(of.value)} {_e(spoken(of.objective[0]))}" if of.objective and of.value is not None else ""
            )
            lines.append(
                f"<tbody><tr class=point><th scope=row>{self._link(point.run_id)}</th>"
                f'<td class="text {"bad" if of.status != "FINISHED" else ""}">{_e(of.status.lower())}</td>'
                f'<td data-v="{_sortable(of.value)}">{score}</td>'
                + "".join(f"<td class=text>{_e(_cut(of.params.get(name, '')))}</td>" for name in settings)
                + "</tr></tbody>"
            )
        caption = f"The points of {row.run_name}"
        table = (
            f'<div class=scroll role=region tabindex=0 aria-label="{_e(caption)}"><table><caption>{_e(caption)}'
            f"</caption><thead><tr>{heads}</tr></thead>{''.join(lines)}</table></div>"
        )
        return (
            f"<section class=parent><p class=kicker>Grid or search</p><h2>{_e(row.run_name)}</h2>"
            f"<p class=facts>{_e(row.experiment)} · {_count(len(points), 'point')}: {_e(_states(points))}</p>{table}"
            f"<div class=cards>{self._card(row, '', ())}</div></section>"
        )

    def _unranked(self, rows: Sequence[Row]) -> str:
        if not rows:
            return ""
        lines = []
        for row in rows:
            record = self.told[row.run_id].record
            best = next((row.metrics[name] for name in row.metrics if name.startswith("val/best_")), None)
            seen = max((points[-1][0] for points in self.told[row.run_id].curves.values() if points), default=None)
            lines.append(
                f'<tbody><tr data-run="{row.run_id}"><th scope=row>{self._link(row.run_id)}</th>'
                f"<td class=text>{_e(family(row))}</td><td class=text>{_e(row.experiment)}</td>"
                f'<td class="text {"bad" if row.status in ("FAILED", "KILLED") else ""}">{_e(row.status.lower())}</td>'
                f"<td class=text>{_e(_cut(record.tags.get(tag.ENDED, 'not said'), 160))}</td>"
                f'<td data-v="{_sortable(seen)}">{_amount(seen)}</td>'
                f'<td data-v="{_sortable(best)}">{_number(best)}</td></tr></tbody>'
            )
        heads = "".join(
            _head(name, about, kind)
            for name, about, kind in (
                ("run", "", "text"),
                ("family", "", "text"),
                ("experiment", "", "text"),
                ("status", "", "text"),
                ("why it ended", "", "text"),
                ("images seen", "", "number"),
                ("best on val", "the objective while training", "number"),
            )
        )
        cards = "".join(self._card(row, "", ()) for row in rows)
        return (
            f"<section class=board id=unranked><h2>Without a score</h2><p class=verdict>{_count(len(rows), 'run')} "
            "recorded no score of a finished training: failed, interrupted, or never measured.</p>"
            '<div class=scroll role=region tabindex=0 aria-label="Runs without a score"><table>'
            f"<caption>Runs without a score</caption><thead><tr>{heads}</tr></thead>{''.join(lines)}</table></div>"
            f"<div class=cards>{cards}</div></section>"
        )


# --- pieces ----------------------------------------------------------------------------------------------------------

_DIALOG = (
    '<dialog id=large aria-label="Enlarged picture"><form method=dialog><button aria-label="Close">×</button></form>'
    '<img alt=""><p></p></dialog>'
)
_FOOT = (
    "<footer><p>Made by <code>darkroom report</code>. Lower is better where a heading points down (↓). Rows in italics"
    " are no models: real training images scored as if they had been drawn, and what takes no learning. All curves run"
    " over images seen; a logarithmic axis is used where values span more than a factor of 20.</p></footer>"
)


def _figure(drawn: str, title: str, more: str) -> str:
    if not drawn:
        return ""
    return (
        f"<figure class=drawing><figcaption>{_e(title)}</figcaption>{drawn}{more}<div class=tip hidden></div></figure>"
    )


def _slider(shown: Album, run: str) -> str:
    if not shown.slider:
        return ""
    frames = "".join(
        image(frame, shown.name, run, "" if number == len(shown.slider) - 1 else " hidden")
        for number, frame in enumerate(shown.slider)
    )
    last = shown.slider[-1]
    when = f"{last.step:,} images" if last.step >= 0 else ""
    control = ""
    if len(shown.slider) > 1:
        steps = ",".join(str(frame.step) for frame in shown.slider)
        control = (
            f"<input type=range class=steps min=0 max={len(shown.slider) - 1} value={len(shown.slider) - 1} step=1"
            f' data-steps="{steps}" aria-label="Images seen when the sheet was drawn" hidden>'
        )
    name = _e(shown.name)
    return (
        f'<figure class=sheet><button type=button class=picture aria-label="Enlarge {name} of {_e(run)}">{frames}'
        f"</button>{control}<figcaption>{name}{', ' if when else ''}<output>{when}</output></figcaption></figure>"
    )


def _picture(frame: Frame, name: str, run: str) -> str:
    when = f", {frame.step:,} images" if frame.step >= 0 else ""
    return (
        f'<figure><button type=button class=picture aria-label="Enlarge {_e(name)} of {_e(run)}">'
        f"{image(frame, name, run)}</button><figcaption>{_e(name)}{when}</figcaption></figure>"
    )


def _head(name: str, about: str, kind: str) -> str:
    title = f' title="{_e(about)}"' if about and about != name else ""
    return f"<th scope=col class={kind}><button type=button{title}>{_e(name)}</button></th>"


def _label(name: str, names: Sequence[str]) -> str:
    """Return the last word of a setting, or as many as tell it from the others."""
    words = name.split(".")
    for count in range(1, len(words)):
        tail = ".".join(words[-count:])
        if tail != "_target_" and sum(other == tail or other.endswith(f".{tail}") for other in names) == 1:
            return tail
    return name


def _pairs(pairs: Iterable[tuple[str, Any]]) -> str:
    items = "".join(f"<div><dt>{_e(str(key).replace('_', ' '))}</dt><dd>{_e(value)}</dd></div>" for key, value in pairs)
    return f"<dl>{items}</dl>"


def _badge(text: str, kind: str) -> str:
    return f'<span class="badge {kind}">{_e(text)}</span>'


def _state(row: Row) -> str:
    return "" if row.status == "FINISHED" else " " + _badge(row.status.lower(), "bad")


def _ill(health: str) -> str:
    return "bad" if health and health != "healthy" else ""


def _value(row: Row, name: str) -> float | None:
    return row.value if row.objective is not None and row.objective[0] == name else row.metrics.get(name)


def _order(row: Row) -> tuple[bool, float]:
    """Return what points of a grid are sorted by: the best first, those without a score last."""
    if row.objective is None or row.value is None:
        return True, 0.0
    return False, row.value if row.objective[1] == "min" else -row.value


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None and math.isfinite(value)]
    return math.fsum(known) / len(known) if known else None


def _with_spread(group: Group, metric: str) -> str:
    spread = group.spread(metric)
    mean = _number(group.mean(metric))
    return mean if spread is None else f"{mean} ± {spread:.2g}"


def _mean_cell(group: Group, metric: str) -> str:
    mean, _, spread = _with_spread(group, metric).partition(" ± ")
    return f"{mean} <small>± {spread}</small>" if spread else mean


def _number(value: float | None) -> str:
    if value is None:
        return ""
    whole = math.isfinite(value) and value == int(value) and abs(value) < 1e6
    return f"{int(value):,}" if whole else f"{value:.4g}"


def _amount(value: float | None) -> str:
    """Return a count as a person reads it: ``1.2 million``, ``480``."""
    if value is None:
        return ""
    for size, word in ((1e9, " billion"), (1e6, " million")):
        if abs(value) >= size:
            return f"{value / size:.3g}{word}"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _between(least: float, most: float) -> str:
    close = most - least <= 1e-3 * max(abs(most), abs(least))
    return _number(most) if close else f"{least:.3g} to {most:.3g}"


def _sortable(value: float | None) -> str:
    return "" if value is None or not math.isfinite(value) else f"{value:.9g}"


def _states(records: Iterable[RunRecord]) -> str:
    """Return how many runs ended how: ``2 failed, 1 killed``."""
    counts = Counter(record.status.lower() for record in records)
    return ", ".join(f"{number} {state}" for state, number in sorted(counts.items()))


def _count(number: int, word: str) -> str:
    return f"{number} {word}" if number == 1 or word == "series" else f"{number} {word}s"


def _cut(text: str, most: int = 60) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _plain(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
