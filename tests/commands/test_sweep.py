import csv
import json
import os
import shlex
import subprocess
import sys
from contextlib import suppress

import pytest

from benchmarks import sweep as benchmark
from darkroom.commands import sweep
from darkroom.commands.check import SEARCHED
from darkroom.config import recorded
from darkroom.config.checking import check
from darkroom.config.composing import compose
from darkroom.config.groups import options
from darkroom.errors import Interrupted, UserError
from darkroom.sweeping import launching, scheduling
from darkroom.sweeping.plan import Plan
from darkroom.tracking import run, tag
from darkroom.tracking.store import Store

RATES = """
space:
  model.optimizer.lr: {low: 0.001, high: 0.1, log: true}
sampler: random
trials: 3
budget: {images: 4000}
scores: 4
"""
LINE = "sweep --config-dir own search=rates experiment=classifier/digits tracking.experiment=small"


@pytest.fixture
def own(store, tmp_path, monkeypatch):
    """A folder of one's own with a search called rates, in an empty project."""
    (tmp_path / "own" / "search").mkdir(parents=True)
    (tmp_path / "own" / "search" / "rates.yaml").write_text(RATES)
    monkeypatch.chdir(tmp_path)
    return store


class Stage:
    """An engine that trains nothing: ``behave(number, settings)`` says what becomes of each process.

    A float is what the run scores; a sentence refuses before there is a run; an exception ends the run; ``"killed"``
    and ``"killed, saved"`` leave one without and with a checkpoint; after a list, a curve, it waits to be stopped.
    """

    def __init__(self, store, behave):
        self.store, self.behave = store, behave
        self.lines, self.stopped = [], 0

    def __call__(self, command, environment, output):
        assert command[:4] == [sys.executable, "-m", "darkroom", "train"]
        self.lines.append(command[4:])
        output.parent.mkdir(parents=True, exist_ok=True)
        return Actor(self, self.lines[-1], environment, output)


class Actor:
    def __init__(self, stage, line, environment, output):
        self.stage, self.output, self.over, self.open = stage, output, False, None
        store = stage.store
        settings = dict(part.lstrip("+").split("=", 1) for part in line if "=" in part)
        does = stage.behave(len(stage.lines), settings)
        self.code = 2 if isinstance(does, str) and not does.startswith("killed") else 0
        if self.code:
            output.write_text(f"a warning\ndarkroom train: {does}\n")
            return
        if "resume" in settings:
            self.context = run.resume(store, store.run(settings["resume"]), {}, {}, system_metrics=None)
        else:
            overrides = [part for part in line if part not in ("--config-dir",) and "=" in part]
            digest = recorded.digest(compose("train", overrides))
            parent = environment["DARKROOM_GRID_PARENT"]
            name = settings["name"].strip("'")
            self.context = run.start(
                store, "small", name, {}, {"lr": settings["model.optimizer.lr"]}, {tag.POINT: digest}, parent, None
            )
        opened = self.context.__enter__()
        if isinstance(does, list):
            for number, value in enumerate(does, 1):
                opened.log_metrics({"val/accuracy": value}, step=1000 * number)
            opened.flush()
            self.open = opened
        elif isinstance(does, float):
            opened.log_metrics({"cost/seconds": 2.0}, step=4000)
            opened.set_objective("val/accuracy", "max", does)
            self.leave()
        else:
            if does == "killed, saved":
                (opened.folder / "checkpoints").mkdir(parents=True)
                (opened.folder / "checkpoints" / "last.ckpt").touch()
            self.leave(does if isinstance(does, Exception) else Interrupted("SIGTERM"))

    def leave(self, error=None):
        with suppress(Interrupted, ArithmeticError):
            self.context.__exit__(type(error) if error else None, error, None)
        self.code = 1 if error else 0

    def poll(self):
        return None if self.open else self.code

    def stop(self):
        self.stage.stopped += 1
        if self.open:
            self.open = None
            self.leave(Interrupted("SIGTERM"))
            self.code = 143

    kill = stop


@pytest.fixture
def act(own, typed, monkeypatch):
    """Type a line of a sweep whose processes do as they are told."""
    monkeypatch.setattr(scheduling, "_POLL_SECONDS", 0.0)
    monkeypatch.setattr(scheduling, "_CURVE_SECONDS", 0.0)
    monkeypatch.setattr("darkroom.sweeping.trials._LOOK_SECONDS", 0.0)

    def play(line, behave):
        stage = Stage(own, behave)
        monkeypatch.setattr(launching, "engine", lambda name: stage)
        return (*typed(line), stage)

    return play


def rate(settings):
    """The nearer the rate is to 0.01, the better."""
    return 1 - abs(float(settings["model.optimizer.lr"]) - 0.01)


def family(store):
    """Return the run of the sweep and those of its trials."""
    records = store.runs("small")
    (parent,) = [record for record in records if tag.STUDY in record.tags]
    return parent, [record for record in records if record.tags.get(tag.PARENT) == parent.run_id]


def study(parent):
    return json.loads((parent.folder / "study.json").read_text())["points"]


def test_a_sweep_says_what_to_type_and_goes_on_when_it_is_typed_again(act, own, typed):
    code, out, err, stage = act(LINE, lambda _, settings: rate(settings))
    assert code == 0, err
    parent, trials = family(own)
    assert len(stage.lines) == len(trials) == 3
    assert {record.status for record in [parent, *trials]} == {"FINISHED"}
    for line in stage.lines:
        folder = str(own.root / "own")
        assert line[:2] == ["--config-dir", folder]
        assert {"experiment=classifier/digits", "budget.images=4000", "metrics.every=1000", "seed=0"} <= set(line)
    best = max(trials, key=lambda record: record.objective_value)
    assert parent.tags[tag.BEST_TRIAL] == best.run_id
    said = next(line for line in out.splitlines() if line.startswith("darkroom train"))
    assert said == (
        f"darkroom train experiment=classifier/digits tracking.experiment=small model.optimizer.lr={best.params['lr']}"
    )
    assert f"{best.name} has the highest val/accuracy" in out

    code, out, err, stage = act(f"{LINE} trials=5 workers=2", lambda _, settings: rate(settings))
    assert code == 0, err
    assert "3 of 5 points are done" in err
    again, trials = family(own)
    assert again.run_id == parent.run_id
    assert (len(stage.lines), len(trials)) == (2, 5)
    assert len({record.params["lr"] for record in trials}) == 5
    points = study(again)
    assert [point["state"] for point in points] == ["finished"] * 5
    with (again.folder / "trials.csv").open() as file:
        assert [row["val/accuracy"] for row in csv.DictReader(file)] == [str(p["objectives"][0]) for p in points]
    assert (again.folder / "parallel.png").read_bytes().startswith(b"\x89PNG")
    assert again.metrics["sweep/finished"] == 5

    code, out, err = typed(f"compare runs=[{parent.short_id}] format=json")
    assert code == 0, err
    assert {row["run_id"] for row in json.loads(out)} == {record.run_id for record in trials}


def test_what_fails_is_on_record_as_failed_and_the_rest_go_on(act, own):
    def behave(number, settings):
        if number == 1:
            return ArithmeticError("loss became NaN")
        return {2: "the network is too deep.", 3: float("nan")}.get(number, rate(settings))

    code, out, err, stage = act(f"{LINE} trials=5", behave)
    assert code == 0, err
    parent, trials = family(own)
    assert [point["state"] for point in study(parent)] == ["failed"] * 3 + ["finished"] * 2
    assert [point["reason"] for point in study(parent)][:2] == [
        "ArithmeticError: loss became NaN", "the network is too deep."]  # fmt: skip
    assert sorted(record.status for record in trials) == ["FAILED"] * 2 + ["FINISHED"] * 3
    assert parent.status == "FINISHED"
    assert "loss became NaN" in out
    code, _, err, stage = act(f"{LINE} trials=5", behave)
    assert (code, stage.lines) == (0, []), "what failed is not tried again"


def test_what_would_fail_for_all_stops_the_sweep_and_leaves_nothing_done(act, own):
    code, _out, err, stage = act(f"{LINE} trials=9", lambda *_: "There are no data.")
    assert code == 2
    assert err.splitlines()[-1] == "darkroom sweep: There are no data."
    assert len(stage.lines) == 2
    parent, _ = family(own)
    assert parent.status == "FAILED"
    code, _out, err, stage = act(f"{LINE} trials=9", lambda _, settings: rate(settings))
    assert code == 0, err
    parent, _ = family(own)
    assert [point["state"] for point in study(parent)] == ["finished"] * 9, "the first two as well, now"


def test_an_interrupted_run_is_resumed_if_it_can_be_and_else_begun_anew(act, own):
    def behave(number, settings):
        return {1: "killed, saved", 3: "killed"}.get(number, 0.5)

    code, _, err, stage = act(LINE, behave)
    assert code == 0, err
    parent, trials = family(own)
    resumed = next(line for line in stage.lines if any(part.startswith("resume=") for part in line))
    assert len(resumed) == 3
    assert stage.lines.index(resumed) == 1
    assert stage.lines[2] == stage.lines[3]
    assert sorted(record.status for record in trials) == ["FINISHED"] * 3 + ["KILLED"]
    assert [point["state"] for point in study(parent)] == ["finished"] * 3


def test_what_is_killed_every_time_is_given_up(act, own):
    code, _, err, stage = act(f"{LINE} trials=1", lambda *_: "killed")
    assert code == 2
    assert "No point came to a score" in err
    assert len(stage.lines) == 3
    parent, _ = family(own)
    assert study(parent)[0]["reason"] == "interrupted by SIGTERM, 3 times"


def test_a_trial_below_the_median_is_ended_before_its_time(act, own, monkeypatch):
    def behave(number, settings):
        return 0.9 if number <= 4 else [0.1, 0.1, 0.1]

    # The curves of those that finished, which this stage does not draw.
    monkeypatch.setattr(
        scheduling.Trial, "curve", lambda trial, metric, known=scheduling.Trial.curve:
        known(trial, metric) or ({1: 0.8, 2: 0.85, 3: 0.9} if not trial.working else {}),
    )  # fmt: skip
    code, _out, err, stage = act(f"{LINE} search.pruner=median trials=5", behave)
    assert code == 0, err
    parent, trials = family(own)
    (pruned,) = [record for record in trials if record.status == "KILLED"]
    reason = "val/accuracy 0.1 after 3,000 images, where the median is 0.9"
    assert pruned.tags[tag.PRUNED] == reason
    assert pruned.tags[tag.ENDED] == f"pruned: {reason}"
    assert (stage.stopped, study(parent)[-1]["state"]) == (1, "pruned")
    # and when the sweep was killed before it could write that down
    record = json.loads((parent.folder / "study.json").read_text())
    record["points"][-1] |= {"state": "open", "reason": "", "runs": [], "curve": {}}
    (parent.folder / "study.json").write_text(json.dumps(record))
    code, _out, err, stage = act(f"{LINE} search.pruner=median trials=5", behave)
    assert (code, stage.lines, study(parent)[-1]["state"]) == (0, [], "pruned")


def test_points_of_several_seeds_count_by_their_mean(act, own):
    code, out, err, _stage = act(f"{LINE} trials=1 seeds=3 seed=5", lambda _, settings: float(settings["seed"]))
    assert code == 0, err
    parent, trials = family(own)
    assert {record.name.rpartition(" ")[2] for record in trials} == {"seed=5", "seed=6", "seed=7"}
    (point,) = study(parent)
    assert (point["objectives"], point["spreads"], len(point["runs"])) == ([6.0], [1.0], 3)
    assert "6 ± 1" in out


def test_what_is_trained_already_is_not_trained_again_by_another_sweep(act, own):
    (own.root / "own" / "search" / "rates.yaml").write_text("space: {model.optimizer.lr: {choices: [0.01, 0.02]}}")
    _, _, _, stage = act(f"{LINE} trials=1", lambda _, settings: rate(settings))
    (own.root / "own" / "search" / "rates.yaml").write_text(
        "space: {model.optimizer.lr: {choices: [0.01, 0.02, 0.03]}}"
    )
    code, _out, err, more = act(f"{LINE} trials=24", lambda _, settings: rate(settings))
    assert code == 0, err
    assert err.count("is trained already, by another command, and not trained again") == 1
    assert (len(stage.lines), len(more.lines)) == (1, 2)


def test_what_interrupts_a_sweep_ends_its_processes_and_it_goes_on_later(act, own):
    def behave(number, settings):
        if number == 3:
            raise KeyboardInterrupt
        return 0.5 if number == 1 else [0.1]

    code, _, err, stage = act(f"{LINE} workers=2", behave)
    assert code == 130
    assert stage.stopped == 1
    assert f"To go on, type: darkroom sweep --config-dir={own.root / 'own'} search=rates" in err
    parent, trials = family(own)
    assert parent.status == "KILLED"
    assert {record.status for record in trials} == {"KILLED", "FINISHED"}
    code, _, err, stage = act(f"{LINE} workers=2", lambda _, settings: rate(settings))
    assert code == 0, err
    assert len(stage.lines) == 2
    parent, trials = family(own)
    assert [point["state"] for point in study(parent)] == ["finished"] * 3


def test_an_objective_that_no_run_has_is_told_after_the_first(act):
    code, _, err, _ = act(f"{LINE} search.objectives={{val/acuracy:max}}", lambda *_: 0.5)
    assert code == 2
    assert "has no 'val/acuracy' to be ranked by" in err
    assert "it has cost/seconds." in err


def test_the_same_sweep_is_conducted_once_at_a_time(root):
    plan = type("Any", (), {"search": "gan"})
    again = sweep._alone("1a2b", plan)
    with sweep._alone("1a2b", plan), pytest.raises(UserError, match=rf"is being conducted by \S+:{os.getpid()}"):
        again.__enter__()
    with sweep._alone("1a2b", plan):
        pass


def planned(typed, line):
    found = []
    code, _, err = typed(f"sweep {line}", lambda node: found.append((plan := Plan.of(node, "x"), lines(plan))))
    assert code == 0, err
    return found[0]


def lines(plan):
    return [plan.line(point, 0) for point in plan.space.values() or []]


@pytest.mark.slow
def test_the_strength_of_a_penalty_is_a_sweep_over_four_values(typed, root):
    plan, points = planned(typed, "search=r1_gamma experiment=gan/mnist")
    assert plan.trials == 4
    assert [point.name for point in points] == [f"r1=r2={value}" for value in ("0.061", "0.24", "0.98", "3.9")]
    for point, value in zip(points, (0.061, 0.24, 0.98, 3.9), strict=True):
        node = compose("train", list(point.overrides))
        assert node["model"]["penalty"]["r1"] == node["model"]["penalty"]["r2"] == value
        assert node["budget"] == {"images": 30000, "minutes": None}
        assert node["metrics"]["every"] == point.every == 7500
    plan, points = planned(
        typed, "search=r1_gamma search.start=2 search.factors=[3,1] budget.images=4000 data.batch_size=32"
    )
    assert [point.name for point in points] == ["r1=r2=2", "r1=r2=6"]
    assert {point.every for point in points} == {1000}
    assert plan.command_line({"model.penalty.r1": 2.0}) == (
        "darkroom train budget.images=4000 data.batch_size=32 model.penalty.r1=2.0 model.penalty.r2=2.0"
    )
    _, points = planned(typed, "search=r1_gamma penalty@model.penalty=r1")
    assert all("model.penalty.r2" not in " ".join(point.overrides) for point in points)


@pytest.mark.slow
def test_what_makes_a_sweep_the_same_one(typed, root):
    def digest(line):
        return planned(typed, line)[0].digest({"val/fid": "min"})

    base = digest("search=r1_gamma")
    assert digest("search=r1_gamma trials=2 workers=2 name=other saving.samples=10") == base
    others = [
        digest(f"search=r1_gamma {more}") for more in ("seed=1", "seeds=2", "data.batch_size=32", "search.start=1")
    ]
    assert len({base, *others}) == 5


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("sweep", "type search=<one of classifier, gan,"),
        ("sweep search=r1_gamma penalty@model.penalty=none", "type model=gan penalty@model.penalty=r1_r2"),
        ("sweep search=r1_gamma model=classifier", "which this model does not have"),
        ("sweep search=gan model=classifier", "is not for model=classifier: type model=gan"),
        ("sweep search=r1_gamma metrics=none", "type metrics=generative"),
        ("sweep search=r1_gamma search.factors=[0]", "'search.factors'"),
        ("sweep search=r1_gamma search.factors=[1e400]", "search.factors"),
        ("sweep search=r1_gamma search.sampler=tpp", "did you mean 'tpe'"),
        ("sweep search=gan search.sampler=grid", "too many values"),
        ("sweep search=gan search.pruner=middle", "'search.pruner'"),
        ("sweep search=gan search.objectives={test/fid:min}", "the test split is read once"),
        ("sweep search=gan search.objectives={val/fid:low}", "min or val/fid: max"),
        ("sweep search=gan +search.sapce=1", "search.sapce"),
        ("sweep search=r1_gama", "'r1_gamma'"),
        ("sweep search=gan trails=3", "did you mean 'trials'"),
        ("sweep search=gan trials=0", "'trials' is 0"),
        ("sweep search=gan workers=0", "'workers' is 0"),
        ("sweep search=gan engine=horses", "one of processes"),
        ("sweep search=gan -m seed=1,2", "leave out -m"),
        ("sweep search=gan resume=latest", "search and resume were both given"),
        ("sweep search=gan fork=latest", "search and fork were both given"),
        ("sweep search=gan seed=abc", "'seed' is 'abc'"),
        ("sweep search=gan ++search.space.data.batch_size={choices:[0]}", "batch_size"),
        ("train search=r1_gamma seed=1", "type darkroom sweep search=r1_gamma seed=1"),
    ],
)  # fmt: skip
def test_what_cannot_be_searched_is_refused_before_anything_is_made(line, sentence, root, typed):
    code, _, err = typed(line)
    assert (code, err.count("\n")) == (2, 1), err
    assert sentence in err
    assert not any(root.iterdir())


def test_a_sweep_takes_all_that_training_takes_and_says_the_same_of_it():
    sweeps, trains = compose("sweep", []), compose("train", [])
    assert {key: sweeps[key] for key in trains} == trains
    assert set(sweeps) - set(trains) == {"search", "trials", "workers", "seeds", "engine"}


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_both_processes_of_a_trial_get_the_same_values(store, tmp_path):
    """Lightning starts the second process by the line of the first, which is one point of the sweep."""
    noted = tmp_path / "noted"
    noted.mkdir()
    (tmp_path / "sitecustomize.py").write_text(
        "import os\n"
        "line = open('/proc/self/cmdline').read().split('\\0')\n"
        f"if any('train' in word for word in line): open(os.path.join({str(noted)!r}, str(os.getpid())), 'w')"
        ".write('\\n'.join([os.environ.get('LOCAL_RANK', '0'), *line]))\n"
    )
    command = [sys.executable, "-m", "darkroom", "sweep", *benchmark.LINE[:-1], "trials=2", "workers=1"]
    command += ["trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2"]
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}"}
    subprocess.run(command, env=environment, check=True, capture_output=True, timeout=800, stdin=subprocess.DEVNULL)
    rates = {"0": [], "1": []}
    for file in noted.iterdir():
        rank, *line = file.read_text().split("\n")
        rates[rank] += [word for word in line if word.startswith("model.optimizer.lr=")]
    trials = [record for record in store.runs(benchmark.EXPERIMENT) if tag.PARENT in record.tags]
    assert {record.status for record in trials} == {"FINISHED"}
    recorded = sorted(f"model.optimizer.lr={record.params['model.optimizer.lr']}" for record in trials)
    assert len(set(recorded)) == 2
    assert sorted(set(rates["0"])) == sorted(set(rates["1"])) == recorded


def test_the_line_that_is_said_can_be_typed(typed, root):
    plan, _ = planned(typed, "search=gan data.batch_size=32")
    for point in plan.space.ends():
        program, name, *overrides = shlex.split(plan.command_line(point))
        assert (program, name) == ("darkroom", "train")
        check(compose(name, overrides), name)
    assert Store


@pytest.mark.slow
@pytest.mark.parametrize("search", options("search"))
def test_both_ends_of_every_range_that_is_shipped_can_be_trained(search, typed, root):
    plan, _ = planned(typed, " ".join([f"search={search}", *SEARCHED.get(search, [])]))
    assert plan.config["search"]["needs"]
    assert plan.trials == min(24, len(plan.space.values() or range(24)))
