"""A run that dies in any phase after training is finished by resume, and is what it would have been without."""

import json
import random
import re
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from darkroom.callbacks.sentinel import Sentinel
from darkroom.commands.train import train
from darkroom.config.checking import check
from darkroom.config.composing import compose
from darkroom.errors import UserError
from darkroom.tracking import checkpoints, run
from darkroom.tracking.run import Run
from darkroom.training import conclusion


class PowerCut(BaseException):
    """Nothing runs after it; the lock is let go of by the operating system."""


@pytest.fixture
def dying(monkeypatch):
    """Make what runs in a block die of a power cut, once ``place`` says so: ``dying(config, phase, when)``."""

    def die(self, *_):
        self._sender._ended.set()
        self._sender._urgent.set()
        self._sender._thread.join()
        if self._monitor is not None:
            self._monitor.finish()
        return False

    def attempt(config, phase, when):
        def cut(trained):
            if when == "before":
                raise PowerCut
            left = work(trained)
            if when == "unmarked":
                raise PowerCut
            return left

        def mark_and_die(self, name, left):
            mark(self, name, left)
            if name == phase and when == "marked":
                raise PowerCut

        work, mark = conclusion.PHASES[phase], conclusion.Trained.mark
        with monkeypatch.context() as patch:
            patch.setattr(Run, "_close", die)
            patch.setitem(conclusion.PHASES, phase, cut)
            patch.setattr(conclusion.Trained, "mark", mark_and_die)
            with pytest.raises(PowerCut):
                train(config)

    return attempt


def left_behind(store, run_id):
    """Return the files of a run, of the pictures in the dashboard how many there are for each key and step."""
    folder = store.run(run_id).folder
    files = [file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()]
    return Counter(re.sub(r"\+timestamp.*(?=\.)|\+timestamp.*%compressed", "", name) for name in files)


def versions(store, run_id):
    return [version.name for version in store.client.search_model_versions(f"run_id = '{run_id}'")]


SHORT = [
    "data.image_size=8",
    "data.source.test=0.3",
    "budget.images=320",
    "metrics.every=128",
    "tracking.log_every=128",
    "saving.samples_every=320",
    "saving.samples=10",
]
FAMILIES = {
    "classifier": ["model=classifier", "model.network.width=4", "model.average_half_life=300", *SHORT],
    "gan": [
        "experiment=gan/digits",
        "model.generator.width=4",
        "model.discriminator.width=4",
        "metrics.images=128",
        "metrics.test_images=128",
        *SHORT,
    ],
    "vae": [
        "model=vae",
        "data=digits",
        "network@model.encoder=mlp_encoder",
        "network@model.decoder=mlp_decoder",
        "model.latent_dim=4",
        "model.components=2",
        "model.flow_steps=30",
        "metrics.images=128",
        "metrics.test_images=128",
        "metrics.nll_samples=5",
        *SHORT,
    ],
}
TIMES = ("train/images_per_second", "cost/seconds", "cost/images_per_second", "cost/peak_memory_mb")


def settings(overrides):
    config = compose("train", overrides)
    check(config, "train")
    config["tracking"]["experiment"] = "test"
    return config


def left_of(store, run_id):
    """Return the weights of both states, every point of every curve in order, and the final numbers."""
    record = store.run(run_id)
    weights = {
        which: checkpoints.load(record.folder / "checkpoints" / f"{which}.ckpt")["state_dict"]
        for which in ("best", "last")
    }
    curves = {
        name: [(point.step, point.value) for point in store.client.get_metric_history(run_id, name)]
        for name in record.metrics
        if not name.startswith("system/") and name not in TIMES
    }
    return weights, curves, json.loads((record.folder / "metrics.json").read_text())


def assert_same(store, one, other):
    (weights, curves, scores), (expected, *numbers) = left_of(store, one), left_of(store, other)
    assert [curves, scores] == numbers
    for which, state in weights.items():
        assert state.keys() == expected[which].keys()
        assert all(torch.equal(tensor, expected[which][name]) for name, tensor in state.items())


@pytest.mark.parametrize(
    "family", ["classifier", pytest.param("gan", marks=pytest.mark.slow), pytest.param("vae", marks=pytest.mark.slow)]
)
def test_a_run_that_dies_in_every_phase_equals_one_that_never_did(store, tmp_path, dying, family):
    config = settings([*FAMILIES[family], "tracking.register=thing"])
    whole = train({**config, "output": str(tmp_path / "whole")})
    places = [(phase, "unmarked") for phase in conclusion.PHASES]
    dying({**config, "output": str(tmp_path / "part")}, *places[0])
    part = store.find("latest").run_id
    for place in [*places[1:], ("registering", "marked")]:
        assert store.run(part).status == "RUNNING"
        dying({**config, "resume": part}, *place)
    assert train({**config, "resume": part}) == part
    assert store.run(part).status == "FINISHED"
    assert_same(store, part, whole)
    assert left_behind(store, part) == left_behind(store, whole)
    assert versions(store, part) == versions(store, whole) == ["thing"]
    for name in ("curves/val.csv", "best.ckpt"):
        assert (tmp_path / "part" / name).exists()
    listed = [sorted(file.name for file in (tmp_path / each).rglob("*")) for each in ("whole", "part")]
    assert listed[0] == listed[1]
    with pytest.raises(UserError, match="has seen 320 images"):
        train({**config, "resume": part})


def test_what_is_done_counts_only_as_far_as_it_was_trained_and_under_the_same_settings(store, dying):
    config = settings([*FAMILIES["classifier"], "schedule@model.schedule=constant"])
    dying(config, "recording", "before")
    part = store.find("latest")
    assert set(conclusion.done_before(store, part, config, 320)) == {"concluding", "scoring val", "scoring test"}
    assert conclusion.done_before(store, part, config, 321) == {}
    assert conclusion.done_before(store, part, {**config, "seed": 1}, 320) == {}
    more = {**config, "budget": {"images": 448, "minutes": None}}
    longer = train({**more, "resume": part.run_id}, typed={"budget"})
    assert left_of(store, longer)[2]["images_seen"] == 448
    assert [step for step, _ in left_of(store, longer)[1]["test/loss"]] == [320, 448]
    assert "output" in conclusion.done_before(store, store.run(longer), more, 448)


def test_a_run_that_the_sentinel_stopped_is_not_trained_on(store, dying, monkeypatch):
    def stop(self, trainer, model, *_):
        if model.images_seen >= 192:
            trainer.should_stop = self.stopped = True

    monkeypatch.setattr(Sentinel, "on_train_batch_end", stop)
    config = settings(FAMILIES["classifier"])
    dying(config, "scoring test", "before")
    part = store.find("latest").run_id
    monkeypatch.undo()
    monkeypatch.setenv("DARKROOM_ROOT", str(store.root))
    train({**config, "resume": part})
    assert left_of(store, part)[2]["images_seen"] == 192
    assert store.run(part).status == "FINISHED"


def test_a_phase_draws_the_same_whatever_was_drawn_before(store):
    drawn = []
    for before in (1, 2):
        torch.manual_seed(before)
        random.seed(before)
        np.random.seed(before)
        with conclusion._seeded(0, "samples"):
            drawn.append((torch.rand(1).item(), random.random(), np.random.rand()))
        drawn.append((torch.rand(1).item(), random.random(), np.random.rand()))
    assert drawn[0] == drawn[2]
    assert drawn[1] != drawn[3]  # and what was drawn before goes on


def test_a_phase_is_marked_once_what_it_recorded_is_on_the_disk(store, monkeypatch):
    with run.start(store, "test", "away", {}, {}, system_metrics=None) as opened:
        trained = conclusion.Trained(opened, SimpleNamespace(config={"seed": 0}), None, SimpleNamespace(), 64, "cpu")
        order = []
        monkeypatch.setattr(opened, "sync", lambda: order.append("on the disk"))
        monkeypatch.setattr(opened, "log_json", lambda path, content: order.append(sorted(content["done"])))
        trained.mark("concluding", {})
        trained.mark("scoring val", None)
    assert order == ["on the disk", ["concluding"], "on the disk", ["concluding", "scoring val"]]
