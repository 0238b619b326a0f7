"""Interrupted and resumed equals uninterrupted: to the bit, in weights and in metrics."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch

from darkroom import lab
from darkroom.callbacks.curves import Curves
from darkroom.commands.train import train
from darkroom.config.checking import check
from darkroom.config.composing import compose
from darkroom.errors import UserError
from darkroom.tracking import checkpoints, run

SMALL = ["data.image_size=8", "data.source.test=0.3", "saving.every_minutes=0.00001", "tracking.log_every=128"]
GAN = [
    *SMALL,
    "experiment=gan/digits",
    "budget.images=1280",
    "model.generator.width=4",
    "model.discriminator.width=4",
    "metrics.images=128",
    "metrics.test_images=128",
    "metrics.every=384",
    "saving.samples_every=640",
    "data.augment.shift=1",
]
CLASSIFIER = [
    *SMALL,
    "experiment=classifier/digits",
    "budget.images=1280",
    "metrics.every=384",
    "model.network.width=4",
    "model.network.dropout=0.2",
    "model.mixup=0.4",
    "model.cutmix=1.0",
    "model.average_half_life=300",
    "data.augment.shift=1",
    "data.sampling=balanced",
]
CODER = [
    *SMALL,
    "model=vae",
    "data=digits",
    "budget.images=1280",
    "network@model.encoder=mlp_encoder",
    "network@model.decoder=mlp_decoder",
    "prior@model.prior=flow",
    "model.latent_dim=4",
    "model.components=2",
    "model.flow_steps=3",
    "model.average_half_life=300",
    "metrics.images=128",
    "metrics.test_images=128",
    "metrics.every=384",
    "metrics.nll_samples=5",
    "saving.samples_every=640",
    "sentinel.every=256",
]
TIMES = ("train/images_per_second", "cost/seconds", "cost/images_per_second", "cost/peak_memory_mb")


class Killed(Exception):
    """Stands for a power cut: nothing after it runs but what any exception unwinds."""


def settings(overrides, **top):
    config = compose("train", overrides)
    check(config, "train")
    config["tracking"]["experiment"] = "test"
    return {**config, **top}


def outcome(store, run_id):
    """Return weights, test metrics, and every point of every curve."""
    record = store.run(run_id)
    state = checkpoints.load(record.folder / "checkpoints" / "last.ckpt")
    curves = {
        name: [(point.step, point.value) for point in store.client.get_metric_history(run_id, name)]
        for name in record.metrics
        if not name.startswith("system/") and name not in TIMES
    }
    scores = json.loads((record.folder / "metrics.json").read_text())
    return state, curves, scores


def assert_same(one, other):
    (state, curves, scores), (state_b, curves_b, scores_b) = one, other
    assert state["state_dict"].keys() == state_b["state_dict"].keys()
    for name, tensor in state["state_dict"].items():
        assert torch.equal(tensor, state_b["state_dict"][name]), name
    for optimizer, optimizer_b in zip(state["optimizer_states"], state_b["optimizer_states"], strict=True):
        for index, entries in optimizer["state"].items():
            for key, value in entries.items():
                assert torch.equal(torch.as_tensor(value), torch.as_tensor(optimizer_b["state"][index][key]))
    assert curves == curves_b
    assert scores == scores_b


def train_and_die(config, store, monkeypatch, images):
    """Train until a power cut just before the step after ``images`` is recorded; return the run's id."""
    record_step = Curves.on_train_batch_end

    def cut(self, trainer, model, *rest):
        if model.images_seen > images:
            raise Killed
        record_step(self, trainer, model, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(Curves, "on_train_batch_end", cut)
        with pytest.raises(Killed):
            train(config)
    return store.find("latest").run_id


# 1,078 training pictures and batches of 64: 448 lies inside the first pass over the data, 1152 inside the second.
@pytest.mark.parametrize(
    ("overrides", "images"),
    [
        pytest.param(GAN, 448, id="gan-448"),
        pytest.param(GAN, 1152, id="gan-1152"),
        pytest.param(CLASSIFIER, 448, id="classifier-448"),
        pytest.param(CLASSIFIER, 1152, id="classifier-1152"),
        pytest.param(CODER, 448, id="vae-448", marks=pytest.mark.slow),
    ],
)
def test_killed_and_resumed_equals_uninterrupted(store, monkeypatch, overrides, images):
    whole = train(settings(overrides))
    part = train_and_die(settings(overrides), store, monkeypatch, images)
    assert store.run(part).status == "FAILED"
    assert train(settings(overrides, resume=part)) == part
    assert store.run(part).status == "FINISHED"
    assert_same(outcome(store, whole), outcome(store, part))


def test_equal_commands_give_equal_numbers_and_seeds_matter(store):
    first, second = (train(settings([*GAN, "budget.images=256"])) for _ in range(2))
    assert_same(outcome(store, first), outcome(store, second))
    other = train(settings([*GAN, "budget.images=256", "seed=1"]))
    weights = [outcome(store, made)[0]["state_dict"]["generator.network.stem.weight"] for made in (first, other)]
    assert not torch.equal(*weights)


def test_how_often_a_run_is_scored_does_not_change_it(store):
    often = train(settings([*GAN, "metrics.every=64", "saving.samples_every=64", "budget.images=512"]))
    seldom = train(settings([*GAN, "metrics.every=512", "saving.samples_every=512", "budget.images=512"]))
    states = [outcome(store, made)[0]["state_dict"] for made in (often, seldom)]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_a_finished_run_goes_on_with_a_larger_budget(store):
    constant = ["schedule@model.schedule=constant"]
    short = train(settings([*GAN, *constant, "budget.images=640"]))
    config = settings([*GAN, *constant])
    assert train({**config, "resume": short}, typed={"budget.images"}) == short
    long = train(config)
    assert all(
        torch.equal(tensor, outcome(store, long)[0]["state_dict"][name])
        for name, tensor in outcome(store, short)[0]["state_dict"].items()
    )


def test_fork_goes_on_as_another_run_and_init_takes_weights_only(store):
    constant = ["schedule@model.schedule=constant"]
    short = train(settings([*GAN, *constant, "budget.images=640"]))
    before = outcome(store, short)[0]["state_dict"]
    config = settings([*GAN, *constant])
    fork = train({**config, "fork": short}, typed={"budget.images"})
    whole = train(config)
    forked, expected = outcome(store, fork)[0]["state_dict"], outcome(store, whole)[0]["state_dict"]
    assert fork != short
    assert all(torch.equal(tensor, expected[name]) for name, tensor in forked.items())
    assert all(torch.equal(tensor, before[name]) for name, tensor in outcome(store, short)[0]["state_dict"].items())
    started = train({**config, "init": short, "budget": {"images": 64, "minutes": None}})
    assert outcome(store, started)[0]["images_seen"] == 64
    assert store.run(started).tags["darkroom.init_from"] == short


def test_a_run_that_was_concluded_goes_on_as_if_it_had_not_been(store):
    constant = [*CLASSIFIER, "schedule@model.schedule=constant", "budget.images=832"]
    short = train(settings([*constant, "budget.images=448"]))
    assert state(store, short, "best")["temperature"] != 1
    assert state(store, short, "last")["temperature"] == 1
    resumed = train({**settings(constant), "resume": short}, typed={"budget.images"})
    whole = train(settings(constant))
    (last, _, scores), (expected, _, expected_scores) = outcome(store, resumed), outcome(store, whole)
    assert scores == expected_scores
    for which in ("best", "last"):
        one, other = state(store, resumed, which), state(store, whole, which)
        assert one.keys() == other.keys()
        assert all(torch.equal(tensor, other[name]) for name, tensor in one.items())
    assert last["images_seen"] == expected["images_seen"]


def state(store, run_id, which):
    return checkpoints.load(store.run(run_id).folder / "checkpoints" / f"{which}.ckpt")["state_dict"]


def test_training_starts_from_the_networks_own_confidence_whatever_a_checkpoint_says(store):
    short = train(settings([*CLASSIFIER, "budget.images=320"]))
    more = {**settings(CLASSIFIER), "budget": {"images": 384, "minutes": None}}
    for kind in ("init", "fork"):
        concluded = train({**more, kind: f"{short}/best"}, typed={"budget"})
        assert state(store, concluded, "last")["temperature"] == 1
    for which in ("best", "last"):
        path = store.run(short).folder / "checkpoints" / f"{which}.ckpt"
        older = checkpoints.load(path)  # from before there was a temperature
        del older["state_dict"]["temperature"]
        checkpoints.save(path, older)
    assert lab.restore(path)[0].temperature == 1
    assert train({**more, "resume": short}, typed={"budget"}) == short
    assert state(store, short, "last")["temperature"] == 1


def test_what_is_configured_wins_over_what_a_checkpoint_restores(store):
    short = train(settings([*GAN, "budget.images=640"]))
    changed = [
        "model.generator_optimizer.lr=0.0001",
        "model.discriminator_optimizer.betas=[0.5,0.9]",
        "budget.images=704",
    ]
    keys = {"model.generator_optimizer.lr", "model.discriminator_optimizer.betas", "budget.images"}
    fork = train({**settings([*GAN, *changed]), "fork": short}, typed=keys)
    discriminator, generator = (entry["param_groups"][0] for entry in outcome(store, fork)[0]["optimizer_states"])
    assert generator["initial_lr"] == 0.0001
    assert list(discriminator["betas"]) == [0.5, 0.9]
    assert store.run(fork).params["model.generator_optimizer.lr"] == "0.0001"


@pytest.mark.parametrize(
    ("budget", "sentence"),
    [({"images": 640, "minutes": None}, "has seen 640 images"), ({"images": None, "minutes": 1e-4}, "has trained for")],
)
def test_a_spent_budget_is_refused(store, budget, sentence):
    short = train(settings([*GAN, "budget.images=640"]))
    with pytest.raises(UserError, match=sentence):
        train({**settings(GAN), "resume": short, "budget": budget}, typed={"budget"})


def test_other_data_are_refused(store):
    short = train(settings([*GAN, "budget.images=640"]))
    config = settings([*GAN, "data.limit=500"])
    with pytest.raises(UserError, match="not those the run was trained on"):
        train({**config, "resume": short}, typed={"budget.images", "data.limit"})
    assert store.run(short).status == "FINISHED"


def test_latest_is_the_newest_run_that_can_go_on(store):
    short = train(settings([*GAN, "budget.images=640"]))
    with run.start(store, "test", "without a checkpoint", {}, {}, system_metrics=None):
        pass
    assert train({**settings(GAN), "resume": "latest"}, typed={"budget.images"}) == short


def test_minutes_leave_a_pace_that_can_be_followed(store):
    timed = train(settings([*GAN, "budget.images=null", "budget.minutes=0.03"]))
    record = store.run(timed)
    pace = json.loads((record.folder / "pace.json").read_text())
    assert pace[-1][1] >= 1.0
    again = train(settings([*GAN, "budget.images=null", "budget.minutes=0.03"]), pace=pace)
    assert_same(outcome(store, timed), outcome(store, again))


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_process_that_is_killed_leaves_a_run_that_goes_on(store, number):
    command = [sys.executable, "-m", "darkroom", "train"]
    overrides = [*GAN, "budget.images=6400"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen([*command, *overrides], env=environment, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        found = [made for made in store.runs() if (made.folder / "checkpoints" / "last.ckpt").exists()]
        if found and checkpoints.load(found[0].folder / "checkpoints" / "last.ckpt")["images_seen"] > 640:
            break
        time.sleep(0.05)
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    store.reap()
    record = store.find("latest")
    assert record.status == "KILLED"
    if number == signal.SIGTERM:
        assert process.returncode == 143
        assert f"darkroom train resume={record.short_id}" in said
        assert record.tags["darkroom.ended"] == "interrupted by SIGTERM"
    subprocess.run([*command, f"resume={record.short_id}"], env=environment, check=True, capture_output=True)
    subprocess.run([*command, *overrides], env=environment, check=True, capture_output=True)
    assert_same(outcome(store, record.run_id), outcome(store, store.find("latest").run_id))
