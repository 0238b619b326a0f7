"""What has been tried and how it came out, and what to try next.

The record is one JSON file, ``study.json`` in the run of the sweep: every point is written down before it is trained,
and how it came out is read from its runs. Optuna keeps nothing: its study is made from the record whenever a sweep
begins or goes on, so there are no two accounts of the same thing to come apart when a process is killed between them.
"""

import json
import math
import random
import statistics
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np
import optuna
from pydantic import BaseModel

from darkroom.sweeping.space import Dimension, Space, Values, text

State = Literal["open", "finished", "pruned", "failed"]
_TRIES = 30  # to get a point that was not tried yet from a sampler that likes the old ones
_UNPRUNED = 4  # finished points before any is pruned
_FIRST_SCORES = 2  # of a trial, which tell too little to prune it by
_STATES = {
    "finished": optuna.trial.TrialState.COMPLETE,
    "pruned": optuna.trial.TrialState.PRUNED,
    "failed": optuna.trial.TrialState.FAIL,
}


@dataclass
class Point:
    """One point of the space, with what its runs have shown."""

    number: int
    values: Values
    state: State = "open"
    reason: str = ""  # why it was pruned or failed
    objectives: list[float] = field(default_factory=list)  # means over seeds
    spreads: list[float] = field(default_factory=list)  # standard deviations over seeds; empty for one seed
    seconds: float = 0.0  # of training, all seeds
    runs: list[str] = field(default_factory=list)  # a run for each seed
    curve: dict[int, float] = field(default_factory=dict)  # number of the score -> the objective then, first seed
    attributes: dict[str, Any] = field(default_factory=dict)  # the sampler's own notes

    def finish(self, per_seed: Sequence[Sequence[float]]) -> None:
        """Take what each seed reached: the mean counts, the spread is told."""
        columns = list(zip(*per_seed, strict=True))
        self.state = "finished"
        self.objectives = [statistics.fmean(column) for column in columns]
        self.spreads = [statistics.stdev(column) for column in columns] if len(per_seed) > 1 else []

    def came(self) -> list[str]:
        """Return each objective as people read it, ``"0.31 ± 0.02"``; nothing for a point that came to nothing."""
        spreads = self.spreads or [math.nan] * len(self.objectives)
        return [
            f"{value:.4g}" + (f" ± {spread:.2g}" if spread == spread else "")
            for value, spread in zip(self.objectives, spreads, strict=True)
        ]

    def end(self, state: State, reason: str) -> None:
        """Note that it came to nothing."""
        self.state, self.reason = state, reason


class Record(BaseModel):
    """What ``study.json`` holds."""

    points: list[Point]


class Study:
    """Points tried, and a sampler that proposes the next; ``objectives`` are metrics with ``min`` or ``max``."""

    def __init__(
        self,
        space: Space,
        objectives: Mapping[str, str],
        sampler: str,
        pruner: str | None,
        seed: int,
        trials: int,
        points: Sequence[Point] = (),
    ) -> None:
        self.space, self.objectives, self.trials, self.seed = space, dict(objectives), trials, seed
        self.points = list(points)
        self.all = space.values()  # of a finite space
        self._orderly = sampler == "grid"
        self._prunes = pruner is not None and len(objectives) == 1
        self._asked: dict[int, optuna.Trial] = {}
        self._kind = sampler
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._study = self._of_record()

    def _of_record(self) -> optuna.Study:
        """Return a study of the points there are: made anew for each that is proposed, it depends on nothing else."""
        self._study = optuna.create_study(
            directions=["minimize" if mode == "min" else "maximize" for mode in self.objectives.values()],
            sampler=self._sampler(),
            pruner=optuna.pruners.MedianPruner(_UNPRUNED, _FIRST_SCORES + 1),
        )
        self._asked = {}
        for point in self.points:
            if point.state == "open":
                self._asked[point.number] = self._again(point.values)
                for score, value in point.curve.items() if self._prunes else ():
                    self._asked[point.number].report(value, score)
            else:
                self._study.add_trial(self._frozen(point))
        return self._study

    def _sampler(self) -> optuna.samplers.BaseSampler:
        """Return a sampler for the next point, which is the same whether the study was interrupted before it or not."""
        number = int(np.random.SeedSequence([self.seed, len(self.points)]).generate_state(1)[0])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            return _sampler(self._kind, number, self.trials)

    @property
    def open(self) -> list[Point]:
        """Points that were proposed and have no outcome yet."""
        return [point for point in self.points if point.state == "open"]

    @property
    def finished(self) -> list[Point]:
        """Points that came to a score, in the order in which they were proposed."""
        return [point for point in self.points if point.state == "finished"]

    @property
    def ranked(self) -> list[Point]:
        """The same, the best by the first objective in front."""
        return sorted(self.finished, key=lambda point: self._badness(point)[0])

    def ask(self) -> Point | None:
        """Return a point that was never tried; None when there are enough, or none is left."""
        if len(self.points) >= self.trials:
            return None
        made = {_name(point.values) for point in self.points}
        left = None if self.all is None else [values for values in self.all if _name(values) not in made]
        if left == []:
            return None
        self._study = self._of_record()
        trial, values = None, None
        if left is not None and self._orderly:
            values = left[0]
        for _ in range(0 if self._orderly else _TRIES):
            trial = self._study.ask()
            proposed = self._chosen(trial)
            if _name(proposed) not in made:
                values = proposed
                break
            self._study.tell(trial, state=optuna.trial.TrialState.FAIL)
            trial = None
        if values is None and left is not None:
            values = random.Random(self.seed + len(self.points)).choice(left)
        if values is None:
            return None
        number = len(self.points) + 1
        self._asked[number] = trial if trial is not None else self._again(values)
        asked = self._study.get_trials(deepcopy=False)[self._asked[number].number]
        notes = {key: note for key, note in asked.system_attrs.items() if key != "fixed_params"}
        self.points.append(Point(number, values, attributes=notes))
        return self.points[-1]

    def report(self, point: Point, score: int, value: float) -> float | None:
        """Take the objective at a score, and return the median of the others there when the point should be pruned."""
        if not self._prunes or score in point.curve or not math.isfinite(value):
            return None
        point.curve[score] = value
        trial = self._asked[point.number]
        trial.report(value, score)
        if not trial.should_prune():
            return None
        others = [other.curve[score] for other in self.finished if score in other.curve]
        return statistics.median(others)

    def tell(self, point: Point) -> None:
        """Take the outcome of a point that is no longer open."""
        finished = point.state == "finished"
        self._study.tell(
            self._asked.pop(point.number), point.objectives if finished else None, state=_STATES[point.state]
        )

    @property
    def best(self) -> list[Point]:
        """The best point; with several objectives all that no other is better than in everything, best first."""
        ranked = self.ranked
        front = [point for point in ranked if not any(self._beats(other, point) for other in ranked)]
        return front if len(self.objectives) > 1 else front[:1]

    def importance(self) -> dict[str, list[float]]:
        """Return for each objective how much of its variance each dimension explains (Hutter et al. 2014, fANOVA).

        Only of dimensions that every finished point has; nothing for fewer than four points.
        """
        finished = self.finished
        shared = [
            each.key
            for each in self.space.dimensions
            if all(each.key in point.values for point in finished)
            and len({text(point.values[each.key]) for point in finished}) > 1
        ]
        if len(finished) < 4 or len(shared) < 2:
            return {}
        found: dict[str, list[float]] = {key: [] for key in shared}
        for index in range(len(self.objectives)):
            if len({point.objectives[index] for point in finished}) == 1:
                return {}
            shares = optuna.importance.get_param_importances(
                self._study,
                evaluator=optuna.importance.FanovaImportanceEvaluator(seed=self.seed),
                params=shared,
                target=lambda trial, index=index: trial.values[index],  # type: ignore[misc]
            )
            for key in shared:
                found[key].append(float(shares[key]))
        return found

    def to_json(self) -> dict[str, Any]:
        """Return the record as plain containers."""
        return {"objectives": self.objectives, "points": [asdict(point) for point in self.points]}

    def _badness(self, point: Point) -> list[float]:
        modes = self.objectives.values()
        return [value if mode == "min" else -value for value, mode in zip(point.objectives, modes, strict=True)]

    def _beats(self, one: Point, other: Point) -> bool:
        pairs = list(zip(self._badness(one), self._badness(other), strict=True))
        return all(a <= b for a, b in pairs) and any(a < b for a, b in pairs)

    def _chosen(self, trial: optuna.Trial) -> Values:
        def pick(dimension: Dimension) -> Any:
            if dimension.choices:
                texts = [text(choice) for choice in dimension.choices]
                return dimension.choices[texts.index(trial.suggest_categorical(dimension.key, texts))]
            low, high = dimension.low, dimension.high
            if dimension.whole:
                step = int(dimension.step or 1)
                return trial.suggest_int(dimension.key, int(low), int(high), step=step, log=dimension.log)
            return dimension.within(
                trial.suggest_float(dimension.key, low, high, step=dimension.step, log=dimension.log)
            )

        return self.space.choose(pick)

    def _again(self, values: Values) -> optuna.Trial:
        """Return a trial of exactly these values."""
        self._study.enqueue_trial(self._encoded(values))
        trial = self._study.ask()
        self._chosen(trial)
        return trial

    def _encoded(self, values: Values) -> dict[str, Any]:
        by_key = {each.key: each for each in self.space.dimensions}
        return {key: text(value) if by_key[key].choices else value for key, value in values.items()}

    def _frozen(self, point: Point) -> optuna.trial.FrozenTrial:
        finished = point.state == "finished"
        last = [point.curve[max(point.curve)]] if point.curve and len(self.objectives) == 1 else None
        return optuna.trial.create_trial(
            state=_STATES[point.state],
            values=point.objectives if finished else last if point.state == "pruned" else None,
            params=self._encoded(point.values),
            distributions={each.key: _distribution(each) for each in self.space.dimensions if each.key in point.values},
            intermediate_values=dict(point.curve),
            system_attrs=dict(point.attributes),
        )


def read(record: Mapping[str, Any]) -> list[Point]:
    """Return the points of a record that `Study.to_json` made."""
    return [
        Point(**{**each, "curve": {int(score): value for score, value in each["curve"].items()}})
        for each in record["points"]
    ]


def _sampler(name: str, seed: int, trials: int) -> optuna.samplers.BaseSampler:
    if name == "nsgaii":
        return optuna.samplers.NSGAIISampler(population_size=max(4, trials // 3), seed=seed)
    if name == "tpe":
        # What is still being trained counts as bad for the time being, so that two workers do not try the same.
        return optuna.samplers.TPESampler(
            n_startup_trials=max(4, min(10, trials // 3)), group=True, multivariate=True, constant_liar=True, seed=seed
        )
    return optuna.samplers.RandomSampler(seed)


def _distribution(dimension: Dimension) -> optuna.distributions.BaseDistribution:
    if dimension.choices:
        return optuna.distributions.CategoricalDistribution([text(choice) for choice in dimension.choices])
    if dimension.whole:
        return optuna.distributions.IntDistribution(
            int(dimension.low), int(dimension.high), dimension.log, int(dimension.step or 1)
        )
    return optuna.distributions.FloatDistribution(dimension.low, dimension.high, dimension.log, dimension.step)


def _name(values: Values) -> str:
    return json.dumps(values, sort_keys=True)
