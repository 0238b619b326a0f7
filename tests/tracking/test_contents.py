"""A checkpoint holds what every command relies on, or is refused by the name of the first thing that is wrong."""

import math
from pathlib import Path

import pytest
import torch

from darkroom import lab
from darkroom.errors import UserError
from darkroom.tracking import checkpoints, contents

NEEDED = [
    ("state_dict",), ("images_seen",), ("darkroom", "config", "model"), ("darkroom", "config", "model", "_target_"),
    ("darkroom", "config", "data"), ("darkroom", "config", "metrics"), ("darkroom", "config", "seed"),
    ("darkroom", "config", "paths"), ("darkroom", "config", "paths", "data"), ("darkroom", "config", "tracking"),
    ("darkroom", "image_shape"), ("darkroom", "class_names"), ("darkroom", "data_digest"),
]  # fmt: skip
FOR_TRAINING = [
    ("epoch",), ("global_step",), ("pytorch-lightning_version",), ("callbacks",), ("callbacks", "Budget"),
    ("callbacks", "Budget", "elapsed"), ("callbacks", "Budget", "pace"), ("callbacks", "Curves", "sums"),
    ("callbacks", "Scoring", "best"), ("callbacks", "Sentinel", "watch"), ("optimizer_states",), ("loops",),
    ("optimizer_states", 0, "param_groups"), ("optimizer_states", 0, "state"), ("loops", "fit_loop"),
    ("loops", "fit_loop", "epoch_loop.batch_progress", "total", "ready"),
]  # fmt: skip
WRONG = {
    "text": "abc", "negative": -1, "nan": math.nan, "list": [[1]], "mapping": {"a": 1}, "tensor": torch.zeros(2, 3),
    "huge": 10**18,
}  # fmt: skip


@pytest.fixture(scope="module")
def checkpoint(trained):
    (path,) = (path for path in trained.glob("mlruns/*/*/artifacts/checkpoints/last.ckpt") if path.stat().st_size < 2e5)
    return checkpoints.load(path)


PATH = Path("x.ckpt")


def but(checkpoint, place, *value):
    """Return a checkpoint with one thing put in the place of another, or with that taken away."""
    key, *rest = place
    content = list(checkpoint) if isinstance(checkpoint, list) else type(checkpoint)(checkpoint)
    if rest:
        content[key] = but(content[key], rest, *value)
    elif value:
        content[key] = value[0]
    else:
        del content[key]
    return content


@pytest.fixture
def changed(checkpoint, tmp_path):
    """Return what saves the checkpoint with one thing changed, and returns its path."""

    def change(place, *value):
        checkpoints.save(tmp_path / PATH, but(checkpoint, place, *value))
        return tmp_path / PATH

    return change


def named(place):
    return ".".join(map(str, place))


def test_what_a_run_saves_is_whole(checkpoint, changed):
    path = changed(("images_seen",), 7)
    model, description = lab.restore(path)
    contents.check_training(checkpoint, path)
    contents.check_optimizers(checkpoint["optimizer_states"], model, path)
    assert model.images_seen == 7
    assert description.config["name"] == "namer"


@pytest.mark.parametrize("place", NEEDED, ids=named)
def test_each_thing_that_is_needed_must_be_there(checkpoint, place):
    with pytest.raises(
        UserError, match=r"x\.ckpt (cannot be used as a checkpoint: its|is not a checkpoint of this lab)"
    ):
        lab.Description.of(but(checkpoint, place), PATH)


@pytest.mark.parametrize("place", NEEDED, ids=named)
def test_each_thing_must_be_of_its_type(checkpoint, place):
    for name, value in WRONG.items():
        changed = but(checkpoint, place, value)
        if (place[-2:], name) in {(("darkroom", "data_digest"), "text"), (("paths", "data"), "text"),
                                  (("model", "_target_"), "text"), (("images_seen",), "huge")}:  # fmt: skip
            contents.check(changed, PATH)
            continue
        with pytest.raises(UserError, match="cannot be used as a checkpoint"):
            contents.check(changed, PATH)


@pytest.mark.parametrize("place", FOR_TRAINING, ids=named)
def test_a_run_goes_on_only_from_a_whole_state(checkpoint, place):
    for value in ((), ("abc",), ([[1]],), (torch.zeros(2, 3),)):
        with pytest.raises(UserError, match="cannot be used as a checkpoint"):
            contents.check_training(but(checkpoint, place, *value), PATH)


def test_another_models_optimizer_is_refused(checkpoint, changed):
    path = changed(("images_seen",), 7)
    model, _ = lab.restore(path)
    (state,) = checkpoint["optimizer_states"]
    first = next(iter(state["state"]))
    for broken in (
        {**state, "state": {**state["state"], first: {**state["state"][first], "exp_avg": torch.zeros(2, 3, 4, 5)}}},
        {**state, "state": {**state["state"], first: {**state["state"][first], "exp_avg": "abc"}}},
        {**state, "param_groups": []},
        {**state, "param_groups": [{**state["param_groups"][0], "params": [0]}]},
    ):
        with pytest.raises(UserError, match=r"optimizer_states\.0"):
            contents.check_optimizers([broken], model, path)
    with pytest.raises(UserError, match="holds 2 optimizers, and this model has 1"):
        contents.check_optimizers([state, state], model, path)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda weights: weights * math.nan, "holds NaN or infinity"),
        (lambda weights: weights / 0, "holds NaN or infinity"),
        (lambda weights: weights[None], "do not fit the model that it describes"),
        (lambda weights: weights.long(), "of int64 there"),
        (lambda weights: "weights", "state_dict"),
    ],
)
def test_weights_are_numbers_and_fit(checkpoint, changed, change, what):
    name = next(reversed(checkpoint["state_dict"]))
    with pytest.raises(UserError, match=what):
        lab.restore(changed(("state_dict", name), change(checkpoint["state_dict"][name].abs() + 1)))
    with pytest.raises(UserError, match="is absent there"):
        lab.restore(changed(("state_dict", name)))
    with pytest.raises(UserError, match="absent was expected"):
        lab.restore(changed(("state_dict", "more"), torch.zeros(3)))


@pytest.mark.parametrize(
    ("place", "value", "what"),
    [
        (("network", "width"), 10**9, "far larger than the weights beside it"),
        (("network", "width"), 10**12, "model that cannot be built"),
        (("network", "width"), 0, "'model.network.width' is 0"),
        (("network", "unknown"), 1, "takes no such argument"),
        (("unknown",), 1, "takes no such argument"),
        (("network",), {}, "a part was expected"),
        (("network",), None, "a part was expected"),
        (("network", "_target_"), "darkroom.networks.convnet.Nothing", "no class there"),
        (("_target_",), "darkroom.networks.convnet.ConvNet", "model"),
    ],
)
def test_what_is_described_is_built_or_named(changed, place, value, what):
    with pytest.raises(UserError, match=what) as refused:
        lab.restore(changed(("darkroom", "config", "model", *place), value))
    assert "x.ckpt" in str(refused.value)


def test_what_an_optimizer_remembers_of_a_single_number_may_be_negative():
    scalar, vector = torch.nn.Parameter(torch.tensor(1.0)), torch.nn.Parameter(torch.ones(3))
    assert contents._fits(torch.tensor(-0.5), scalar)
    assert contents._fits(torch.tensor(2.0), vector)
    assert not contents._fits(torch.tensor(-1.0), vector)
    assert not contents._fits(torch.tensor(float("nan")), scalar)
