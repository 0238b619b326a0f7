"""``darkroom sweep``: search settings by short trials, a process each, and say what to type for the best."""

import json
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import filelock

from darkroom import advice, documents, paths
from darkroom.config.command import command
from darkroom.config.nodes import Node
from darkroom.config.typed import typed_line
from darkroom.errors import Interrupted, UserError
from darkroom.tracking import tag
from darkroom.tracking.store import RunRecord, Store

if TYPE_CHECKING:
    from rich.table import Table

    from darkroom.sweeping.plan import Plan
    from darkroom.sweeping.study import Point, Study
    from darkroom.tracking.run import Run


@command("sweep")
def main(config: Node) -> None:
    """Go on with the sweep that was typed, or begin it; print how the points compare, and which to use."""
    from darkroom.commands.train import experiment_of
    from darkroom.sweeping import grid
    from darkroom.sweeping.plan import Plan

    plan = Plan.of(config, experiment_of(config))
    objectives = _objectives(config)
    store = Store.open(paths.root())
    store.prepare_in_background()

    from darkroom.sweeping import launching, scheduling
    from darkroom.sweeping.study import Study, read

    digest = plan.digest(objectives)
    with _alone(digest, plan):
        store.reap()
        earlier = _earlier(store, plan, digest)
        points = read(_record(store, earlier)) if earlier is not None else []
        for point in points:
            plan.space.check(point.values)
        search = config["search"]
        study = Study(plan.space, objectives, search["sampler"], search["pruner"], config["seed"], plan.trials, points)
        with _run(store, plan, digest, earlier) as run, Display(study) as display:
            if points:
                done = len(points) - len(study.open)
                display.say(f"Going on with run {run.id[:8]} {run.name}: {done} of {study.trials} points are done.")
            environment = grid.child_environment(run.id) | scheduling.thread_environment(config["workers"])
            scheduler = scheduling.Scheduler(plan, study, run, launching.engine(config["engine"]), environment, display)
            try:
                scheduler.execute()
            except (KeyboardInterrupt, Interrupted):
                display.say(f"Interrupted; nothing is lost. To go on, type: {_typed()}")
                raise
    print_verdict(plan, study, run.id)


def _objectives(config: Node) -> dict[str, str]:
    """Return what the trials are ranked by: what the search says, else what the best checkpoint is chosen by."""
    if named := config["search"]["objectives"]:
        return dict(named)

    from darkroom import lab

    own = lab.metrics_of(config["metrics"]).objective
    if own is None:
        raise UserError("A sweep ranks its trials by their score, and nothing is scored: type metrics=generative.")
    return {f"val/{own[0]}": own[1]}


@contextmanager
def _alone(digest: str, plan: "Plan") -> Iterator[None]:
    """Refuse to conduct a sweep that another process conducts."""
    path = paths.runs() / "sweeps" / f"{digest}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(path)
    holder = path.with_suffix(".txt")
    try:
        lock.acquire(blocking=False)
    except filelock.Timeout as error:
        who = holder.read_text() if holder.exists() else "another process"
        raise UserError(
            f"This very sweep of {plan.search} is being conducted by {who}: wait for it, or end it and type the same"
            " line again."
        ) from error
    try:
        holder.write_text(f"{socket.gethostname()}:{os.getpid()}")
        yield
    finally:
        lock.release()


def _earlier(store: Store, plan: "Plan", digest: str) -> RunRecord | None:
    """Return the run of this sweep, if it was begun before."""
    store.experiment_id(plan.experiment)
    return next(iter(store.tagged(plan.experiment, tag.STUDY, digest)), None)


def _record(store: Store, run: RunRecord) -> Mapping[str, Any]:
    from darkroom.sweeping.study import Record

    path = store.fetch(run, "study.json")
    found: Mapping[str, Any] = documents.read_json(path, Record) if path is not None else {"points": []}
    return found


@contextmanager
def _run(store: Store, plan: "Plan", digest: str, earlier: RunRecord | None) -> Iterator["Run"]:
    """Open the run that holds the trials together, new or again."""
    from darkroom.tracking import run

    own = ("trials", "workers", "engine")  # which may be others when it goes on
    config = {key: value for key, value in plan.config.items() if key not in own}
    config["search"] = {key: value for key, value in config["search"].items() if key != "trials"}
    params = {key: config["search"][key] for key in ("sampler", "pruner")}
    params |= {"search": plan.search, "seeds": len(plan.seeds), "space": json.dumps(config["search"]["space"])}
    if earlier is not None:
        with run.resume(store, earlier, config, params, system_metrics=None) as opened:
            yield opened
        return
    tags = {**plan.config["tracking"]["tags"], tag.STUDY: digest}
    with run.group(store, plan.experiment, plan.title, config, params, tags) as opened:
        yield opened


def _typed() -> str:
    return advice.line("sweep", *typed_line())


class Display:
    """Sentences that stay and, in a terminal, a bar below them."""

    def __init__(self, study: "Study") -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        self._console = Console(stderr=True)
        columns = (BarColumn(30), MofNCompleteColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
        self._bar = Progress(*columns, console=self._console, transient=True, disable=not self._console.is_terminal)
        self._task = self._bar.add_task("", total=study.trials)

    def __enter__(self) -> "Display":
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def say(self, sentence: str) -> None:
        """Print a sentence."""
        self._console.print(sentence, highlight=False, markup=False, soft_wrap=True)

    def update(self, study: "Study", working: int) -> None:
        """Show how many are done, and the best so far."""
        counts = {state: sum(point.state == state for point in study.points) for state in ("pruned", "failed")}
        done = len(study.points) - len(study.open)
        words = [f"{working} at work", *(f"{count} {state}" for state, count in counts.items() if count)]
        if best := study.best:
            words.append(f"best {', '.join(f'{value:.4g}' for value in best[0].objectives)}")
        self._bar.update(self._task, completed=done, description=", ".join(words))


def print_verdict(plan: "Plan", study: "Study", run_id: str) -> None:
    """Print a row a point, best first, and the line to type for the best.

    Raises:
        UserError: no point came to a score.
    """
    from rich.console import Console

    best = study.best
    console = Console()
    if not console.is_terminal:
        console = Console(width=10_000)
    console.print(_table(plan, study))
    if not best:
        raise UserError(
            "No point came to a score; why, the table says: lower the learning rates, or search within other ranges."
        )
    label = plan.space.label
    lines = []
    if len(study.objectives) > 1:
        names = " and ".join(study.objectives)
        lines.append(f"None is better in {names} than these; to use one, type its line:")
        lines += [f"{_came(study, point)}:  {plan.command_line(point.values)}" for point in best]
    else:
        metric, mode = next(iter(study.objectives.items()))
        way = "lowest" if mode == "min" else "highest"
        lines += [
            f"{label(best[0].values)} has the {way} {metric}; to use it, type:",
            plan.command_line(best[0].values),
        ]
        lines += _edges(plan, best[0])
    lines.append(f"run        {run_id[:8]}  {plan.title}: study.json, trials.csv, importance.png, parallel.png")
    lines.append(f"compare    {advice.line('compare', f'runs={run_id[:8]}')}")
    console.print("\n".join(lines), highlight=False, markup=False, soft_wrap=True)


def _edges(plan: "Plan", point: "Point") -> list[str]:
    """Say where the best lies at an end of what was tried: better may lie beyond."""
    words, found = plan.space.labels(), []
    for dimension in plan.space.dimensions:
        if dimension.key in point.values and (end := dimension.at_the_end(point.values[dimension.key])):
            edge = "smallest" if end == "low" else "largest"
            value = point.values[dimension.key]
            beyond = (
                f"search.start={value:g} tries around it"
                if dimension.around
                else f"wider ranges are set in conf/search/{plan.search}.yaml, or in a file of your own"
            )
            found.append(f"{words[dimension.key]}={value:g} is at the {edge} that was tried: {beyond}.")
    return found


def _came(study: "Study", point: "Point") -> str:
    return ", ".join(f"{metric} {came}" for metric, came in zip(study.objectives, point.came(), strict=True))


def _table(plan: "Plan", study: "Study") -> "Table":
    from rich.table import Table
    from rich.text import Text

    from darkroom.sweeping.space import brief

    words = plan.space.labels()
    table = Table(title=plan.title, title_justify="left", title_style="bold")
    for title in (*words.values(), *study.objectives, "seconds"):
        table.add_column(Text(title), justify="right", overflow="fold")
    for title in ("came out", "runs"):
        table.add_column(Text(title), overflow="fold")
    ranks = {point.number: rank for rank, point in enumerate(study.ranked)}
    for point in sorted(study.points, key=lambda point: ranks.get(point.number, len(ranks))):
        values = [brief(point.values[key]) if key in point.values else "" for key in words]
        came = point.came() or [""] * len(study.objectives)
        state = point.state + (f": {point.reason}" if point.reason else "")
        cells = [*values, *came, f"{point.seconds:.0f}", state, " ".join(run[:8] for run in point.runs)]
        table.add_row(*map(Text, cells))
    return table


if __name__ == "__main__":
    main()
