"""A sweep that is killed at random moments comes to every point once."""

import sys
from pathlib import Path

import pytest

from benchmarks import sweep as benchmark

ACTORS = str(Path(__file__).with_name("actors.py"))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_twenty_four_trials_killed_five_times_are_twenty_four_points(store):
    line = ["search=classifier", "search.objectives={val/score:max}", "search.pruner=null", "search.sampler=random"]
    line += ["model=classifier", f"tracking.experiment={benchmark.EXPERIMENT}", "trials=24", "workers=2"]
    found = benchmark.harass([sys.executable, ACTORS, "sweep", *line], kills=5, between=(1.0, 12.0))
    print(found)
    assert found["exit"] == 0
    assert len(found["kills"]) == 5
    assert {kill["alone"] for kill in found["kills"]} == {True, False}
    assert (found["finished"], found["twice"], found["recorded"]) == (24, 0, {"finished": 24})
    assert set(found["runs"]) <= {"FINISHED", "KILLED"}


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_so_do_trials_that_train(store):
    command = [sys.executable, "-m", "darkroom", "sweep", *benchmark.LINE, "trials=6"]
    found = benchmark.harass(command, kills=2, between=(1.0, 6.0))
    assert found["exit"] == 0
    assert len(found["kills"]) == 2
    assert (found["finished"], found["twice"], found["recorded"]) == (6, 0, {"finished": 6})
