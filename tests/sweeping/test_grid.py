import os
import subprocess
import sys

import pytest

from darkroom.sweeping import grid
from darkroom.tracking import tag


@pytest.mark.parametrize(
    ("keys", "typed", "name"),
    [
        ("seed", ["seed=1"], "seed=1"),
        ("seed,model.generator_optimizer.lr", ["model.generator_optimizer.lr=0.0002", "seed=1"], "lr=0.0002 seed=1"),
        ("model.generator_optimizer.lr,model.discriminator_optimizer.lr",
         ["model.generator_optimizer.lr=1", "model.discriminator_optimizer.lr=2"],
         "model.discriminator_optimizer.lr=2 model.generator_optimizer.lr=1"),
        ("experiment", ["experiment=gan/mnist", "seed=4"], "experiment=gan/mnist"),
        ("network@model.generator", ["network@model.generator=mlp_generator"], "generator=mlp_generator"),
        ("model.loss,penalty@model.penalty", ["model.loss=hinge", "penalty@model.penalty=r1"], "loss=hinge penalty=r1"),
        ("trainer.x", ["+trainer.x=3"], "x=3"),
    ],
)  # fmt: skip
def test_a_point_is_named_by_what_is_swept(keys, typed, name, monkeypatch):
    monkeypatch.setenv("DARKROOM_GRID_KEYS", keys)
    assert grid.point_name(typed) == name


def test_outside_a_grid_there_is_no_point(monkeypatch):
    monkeypatch.delenv("DARKROOM_GRID_KEYS", raising=False)
    assert grid.point_name(["seed=1"]) is None
    assert grid.parent() is None


SMALL = (
    "model=classifier profile=smoke budget.images=128 data.image_size=8 model.network.width=4 metrics.every=128"
    " tracking.experiment=small"
)


def test_a_grid_leaves_one_parent_and_a_run_for_each_point(project, typed, runs):
    code, _, err = typed(f"train {SMALL} -m seed=1,2 optimizer@model.optimizer=adam,sgd")
    assert code == 0, err
    parent = runs()["grid over optimizer seed"]
    points = [record for record in runs().values() if record.tags.get(tag.PARENT) == parent.run_id]
    assert {record.name for record in points} == {
        f"optimizer={optimizer} seed={seed}" for optimizer in ("adam", "sgd") for seed in (1, 2)
    }
    assert {record.status for record in [*points, parent]} == {"FINISHED"}
    assert {record.experiment for record in [*points, parent]} == {"small"}
    assert {record.params["seed"] for record in points} == {"1", "2"}
    assert not {"DARKROOM_GRID_PARENT", "DARKROOM_GRID_KEYS"} & set(os.environ)
    assert sorted(file.name for file in project.iterdir()) == ["mlruns"]


def test_a_wrong_point_is_refused_before_the_first_is_made(project, typed, runs):
    for line in (
        f"train -m {SMALL} seed=1,abc",
        f"train {SMALL} -m model.network.width=4,0",
        f"train -m {SMALL} data=digits,digts",
    ):
        code, _, err = typed(line)
        assert (code, err.count("\n")) == (2, 1), err
    assert set(runs()) == {"painter", "namer"}


def test_a_point_that_fails_does_not_stop_the_others(project, typed, runs):
    small = (
        "budget.images=64 model.generator.width=4 model.discriminator.width=4 metrics=none tracking.experiment=small"
    )
    code, _, err = typed(f"train {small} -m data.image_size=4,8")
    assert code == 2
    assert err.count("darkroom train: ") == 1
    assert "too small for dcgan" in err
    assert {name: record.status for name, record in runs().items() if record.experiment == "small"} == {
        "grid over image_size": "FINISHED", "image_size=8": "FINISHED"}  # fmt: skip


@pytest.mark.slow
def test_points_of_a_grid_may_be_trained_at_the_same_time(store):
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher", reason="hydra-joblib-launcher, the extra 'grid'")
    command = [sys.executable, "-m", "darkroom", "train", *SMALL.split(), "-m", "seed=1,2"]
    command += ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]
    subprocess.run(command, check=True, capture_output=True, timeout=280, stdin=subprocess.DEVNULL)
    found = {record.name: record for record in store.runs("small")}
    assert set(found) == {"grid over seed", "seed=1", "seed=2"}
    assert {record.status for record in found.values()} == {"FINISHED"}
    for seed in ("1", "2"):
        point = found[f"seed={seed}"]
        assert (point.tags[tag.PARENT], point.params["seed"]) == (found["grid over seed"].run_id, seed)
