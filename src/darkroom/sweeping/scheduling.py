"""Trials at work: as many at a time as there are workers, until every point of the study has an outcome."""

import csv
import io
import math
import os
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, suppress
from typing import Protocol

from darkroom import files
from darkroom.errors import UserError
from darkroom.sweeping import plots
from darkroom.sweeping.launching import Engine
from darkroom.sweeping.plan import Plan
from darkroom.sweeping.study import Point, Study
from darkroom.sweeping.trials import Outcome, Trial
from darkroom.tracking import run as tracked
from darkroom.tracking import tag
from darkroom.tracking.probing import Unreachable
from darkroom.tracking.run import Run
from darkroom.tracking.store import RunRecord

_POLL_SECONDS = 0.2
_CURVE_SECONDS = 3.0  # a run writes its metrics as often
_PICTURE_SECONDS = 20.0
_SAME = 2  # points that fail alike before anything was trained: then it is not the points


class Display(Protocol):
    """What a person sees of it."""

    def say(self, sentence: str) -> None:
        """Say something that stays."""

    def update(self, study: Study, working: int) -> None:
        """Show how far it has come."""


class NoTrialStarts(UserError):
    """Every point would fail as the first ones did."""


class _Slot:
    """A worker's place: one point, its seeds one after another."""

    def __init__(self, point: Point, open_trial: Callable[[Point, int], Trial]) -> None:
        self.point = point
        self.records: list[RunRecord] = []
        self._open = open_trial
        self.trial = open_trial(point, 0)

    def next_seed(self) -> None:
        """Go on with the next seed."""
        self.trial = self._open(self.point, len(self.records))


class Scheduler:
    """Keeps the workers busy and the record true."""

    def __init__(
        self,
        plan: Plan,
        study: Study,
        run: Run,
        engine: Engine,
        environment: dict[str, str],
        display: Display,
    ) -> None:
        self.plan, self.study, self.run, self.display = plan, study, run, display
        self._engine, self._environment = engine, environment
        self._slots: list[_Slot] = []
        self._left = study.open  # of an earlier sweep, the first to be gone on with
        self._trained = any(point.runs for point in study.points)
        self._unmade: dict[str, list[Point]] = {}  # what was said -> points that failed so before they had a run
        self._curves_read = self._drawn = 0.0
        self._alone = False  # the store does not answer

    def execute(self) -> None:
        """Train what is to be trained; whatever ends this early, every process is ended first and saves its state.

        Raises:
            NoTrialStarts: the first points failed before they had a run, all for the same reason.
            UserError: an objective is none that the runs record.
        """
        self._write()
        try:
            while self._fill():
                time.sleep(_POLL_SECONDS)
                try:
                    self._look()
                except Unreachable as silence:
                    self._tell(str(silence))
                else:
                    self._tell("")
                self.display.update(self.study, len(self._slots))
        finally:
            self._end_processes()
            self._draw()

    def _look(self) -> None:
        """See what has become of the trials, and end those that are worse than others were.

        Raises:
            Unreachable: the store does not answer: the trials go on without it, and are looked at again.
        """
        for slot in list(self._slots):
            if (outcome := slot.trial.poll()) is not None:
                self._take(slot, outcome)
        self._prune()

    def _tell(self, silence: str) -> None:
        """Say that the store has gone away, once, and that it is back."""
        if bool(silence) != self._alone:
            self._alone = bool(silence)
            self.display.say(f"{silence} The trials go on." if silence else "The run store answers again.")

    def _fill(self) -> bool:
        """Give every free worker a point; say whether any is at work."""
        while len(self._slots) < self.plan.config["workers"]:
            point = self._left.pop(0) if self._left else self._proposed()
            if point is None:
                break
            self._slots.append(_Slot(point, self._open))
        return bool(self._slots)

    def _proposed(self) -> Point | None:
        point = self.study.ask()
        if point is not None:
            self._write()  # before it is trained: a point that was begun is never proposed as another
        return point

    def _open(self, point: Point, index: int) -> Trial:
        line = self.plan.line(point.values, self.plan.seeds[index])
        output = self.run.folder / "trials" / f"{line.digest}.log"
        return Trial(
            self.run.store,
            self.plan.experiment,
            self.run.id,
            line,
            output,
            self._engine,
            self._environment,
            list(self.plan.options),
            self.display.say,
        )

    def _take(self, slot: _Slot, outcome: Outcome) -> None:
        """Take what came of one seed of a point."""
        point = slot.point
        if outcome.record is None:
            self._check_starts(point, outcome.reason)
            with suppress(UserError), self._failed_run(slot.trial.line.name):
                raise UserError(outcome.reason)
        else:
            self._trained = True
            point.runs.append(outcome.record.run_id)
            point.seconds += outcome.record.metrics.get("cost/seconds", 0.0)
        if outcome.state == "finished" and outcome.record is not None:
            if not slot.records:
                self._read_curve(slot)
            slot.records.append(outcome.record)
            values = self._values(outcome.record)
            if not all(map(math.isfinite, values)):
                outcome = Outcome("failed", f"{', '.join(self.study.objectives)} came out as {values}", outcome.record)
            elif len(slot.records) < len(self.plan.seeds):
                slot.next_seed()
                return
            else:
                point.finish([self._values(record) for record in slot.records])
        if outcome.state != "finished":
            point.end(outcome.state, outcome.reason)
        self._slots.remove(slot)
        self.study.tell(point)
        self._write()
        self._report(point)

    def _failed_run(self, name: str) -> AbstractContextManager[Run]:
        """Return a run that stands for a trial which came to none, so that it is seen beside the others.

        Without the digest of a point, by which runs are found again: the point may be tried once more after all.
        """
        return tracked.start(
            self.run.store, self.plan.experiment, name, {}, {}, parent=self.run.id, system_metrics=None
        )

    def _check_starts(self, point: Point, reason: str) -> None:
        """Stop when nothing was ever trained and the first points fail for the same reason; they stay open."""
        alike = self._unmade.setdefault(reason, [])
        alike.append(point)
        if not self._trained and len(alike) >= min(_SAME, self.study.trials):
            for earlier in alike[:-1]:
                earlier.state, earlier.reason = "open", ""
            self._write()
            raise NoTrialStarts(reason)

    def _values(self, record: RunRecord) -> list[float]:
        found = []
        for metric in self.study.objectives:
            own = record.objective is not None and record.objective[0] == metric
            value = record.objective_value if own else record.metrics.get(metric)
            if value is None:
                known = sorted(name for name in record.metrics if name.startswith(("val/", "cost/")))
                raise UserError(
                    f"Run {record.short_id} {record.name} has no '{metric}' to be ranked by: name others in"
                    f" search.objectives; it has {', '.join(known) or 'none'}."
                )
            found.append(value)
        return found

    def _prune(self) -> None:
        """Look at the curves of what is being trained, and end what is worse than the median was by then."""
        if time.monotonic() - self._curves_read < _CURVE_SECONDS:
            return
        self._curves_read = time.monotonic()
        for slot in self._slots:
            if not slot.records and slot.trial.working:
                self._read_curve(slot)

    def _read_curve(self, slot: _Slot) -> None:
        metric = next(iter(self.study.objectives))
        for score, value in sorted(slot.trial.curve(metric).items()):
            median = self.study.report(slot.point, score, value)
            if median is not None and slot.trial.working:
                seen = score * slot.trial.line.every
                slot.trial.prune(f"{metric} {value:.4g} after {seen:,} images, where the median is {median:.4g}")
                return

    def _report(self, point: Point) -> None:
        counts = {state: sum(each.state == state for each in self.study.points) for state in _SHOWN}
        done = sum(counts.values())
        best = self.study.best
        curves = {f"sweep/{state}": float(count) for state, count in counts.items()}
        if best:
            self.run.set_tags({tag.BEST_TRIAL: best[0].runs[0]})
            curves |= {
                f"sweep/best_{metric.rpartition('/')[2]}": value
                for metric, value in zip(self.study.objectives, best[0].objectives, strict=True)
            }
        self.run.log_metrics(curves, step=done)
        label = self.plan.space.label(point.values)
        said = (
            ", ".join(f"{metric} {came}" for metric, came in zip(self.study.objectives, point.came(), strict=True))
            if point.state == "finished"
            else f"{point.state}: {point.reason}"
        )
        mark = "  (best so far)" if best and best[0] is point else ""
        self.display.say(f"{done}/{self.study.trials}  {label}: {said}{mark}")
        if time.monotonic() - self._drawn > _PICTURE_SECONDS:
            self._draw()

    def _write(self) -> None:
        """Write the record, whole or not at all, and the table that people read."""
        search = {key: self.plan.config["search"][key] for key in ("space", "sampler", "pruner")}
        self.run.log_json("study.json", {"search": {"name": self.plan.search, **search}, **self.study.to_json()})
        self.run.log_text("trials.csv", table(self.plan, self.study))

    def _draw(self) -> None:
        self._drawn = time.monotonic()
        for name, picture in plots.draw(self.study).items():
            files.write(self.run.folder / name, picture)
            self.run.publish(self.run.folder / name)

    def _end_processes(self) -> None:
        """Ask every process that is left to save its state, and wait until the last has; a second Ctrl-C waits not."""
        working = [slot.trial for slot in self._slots if slot.trial.working]
        if not working:
            return
        self.display.say(f"{len(working)} trial{'s' if len(working) > 1 else ''} asked to save and end …")
        try:
            for trial in working:
                trial.stop()
            while any(trial.working for trial in working):
                time.sleep(_POLL_SECONDS)
        except KeyboardInterrupt:
            for trial in working:
                trial.kill()
            raise


_SHOWN = ("finished", "pruned", "failed")


def table(plan: Plan, study: Study) -> str:
    """Return the points as CSV: a column for each setting and each objective with its spread."""
    text = io.StringIO()
    writer = csv.writer(text)
    words = plan.space.labels()
    objectives = [column for metric in study.objectives for column in (metric, f"{metric} spread")]
    writer.writerow(["number", *words.values(), "state", *objectives, "seconds", "runs", "reason"])
    for point in study.points:
        spreads: Sequence[float | str] = point.spreads or [""] * len(point.objectives)
        numbers = [number for pair in zip(point.objectives, spreads, strict=True) for number in pair]
        writer.writerow(
            [
                point.number,
                *(point.values.get(key, "") for key in words),
                point.state,
                *(numbers if numbers else [""] * len(objectives)),
                point.seconds,
                " ".join(run[:8] for run in point.runs),
                point.reason,
            ]
        )
    return text.getvalue()


def thread_environment(workers: int) -> dict[str, str]:
    """Return the environment that shares the cores out among workers, unless somebody has."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    each = str(max(1, cores // workers))
    return {name: each for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS") if name not in os.environ}
