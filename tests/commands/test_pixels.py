"""Models of pixels by the commands that people type."""

import json

import numpy as np
import pytest
import torch

SMALL = (
    "experiment=pixelrnn/digits budget.images=640 data.image_size=8 model.network.width=4 model.network.layers=1"
    " model.network.vertical_width=4 model.network.vertical_layers=1 metrics.images=20 metrics.every=320"
    " saving.samples_every=640 saving.samples=10 sentinel.every=320"
)


@pytest.fixture(scope="module")
def here_once(tmp_path_factory):
    return tmp_path_factory.mktemp("pixels")


@pytest.fixture
def here(here_once, trained, monkeypatch, tmp_path):
    monkeypatch.setenv("DARKROOM_ROOT", str(here_once))
    monkeypatch.setenv("DARKROOM_CACHE", str(trained / "cache"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    return here_once


def run_of(folder, name):
    from darkroom.tracking.store import Store

    return next(record for record in Store.open(folder).runs() if record.name == name)


def values_of(folder, name):
    return json.loads((run_of(folder, name).folder / "metrics.json").read_text())["test"]["values"]


def test_from_training_to_pictures(typed, here):
    code, out, error = typed(f"train {SMALL} name=pixels")
    assert not code, error
    assert "bits per dim" in out
    values = values_of(here, "pixels")
    assert 0 < values["nll"] < 64 * np.log(17)
    sheets = {file.name.rpartition("_")[0] for file in (run_of(here, "pixels").folder / "samples").glob("*.png")}
    assert {"samples", "test_samples", "test_completions", "val_completions"} <= sheets

    code, out, error = typed("evaluate checkpoint=pixels")
    assert not code, error
    assert f"{values['nll']:.4g}" in out
    code, _, error = typed("evaluate checkpoint=pixels metrics=generative metrics.test_images=130")
    assert not code, error
    code, _, error = typed("generate checkpoint=pixels count=5 labels=3 output=drawn.npz")
    assert not code, error
    drawn = np.load("drawn.npz")["images"]
    assert drawn.shape == (5, 8, 8, 1)
    assert set(np.unique(drawn)) <= {round(level * 255 / 16) for level in range(17)}


@pytest.mark.slow
def test_interrupted_and_resumed_equals_uninterrupted(typed, here):
    from darkroom.tracking import checkpoints

    same = "saving.every_minutes=0.00001 schedule@model.schedule=constant"
    for line in (
        f"train {SMALL} {same} name=whole",
        f"train {SMALL} {same} name=parted budget.images=320",
        "train resume=parted budget.images=640",
    ):
        code, _, error = typed(line)
        assert not code, error
    states = [
        checkpoints.load(run_of(here, name).folder / "checkpoints" / "last.ckpt")["state_dict"]
        for name in ("whole", "parted")
    ]
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    assert values_of(here, "whole") == values_of(here, "parted")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("train model=pixelrnn model.levels=2 data=digits data.image_size=8", "data=mnist_binarised"),
        ("train model=gan metrics=exact_likelihood", "type metrics=generative"),
        ("train model=vae metrics=exact_likelihood", "type metrics=autoencoding"),
        ("train model=classifier metrics=exact_likelihood", "type metrics=classification"),
        ("train model=pixelrnn metrics=autoencoding", "type metrics=exact_likelihood"),
        ("train model=pixelrnn model.levels=1", "2"),
        ("train model=pixelrnn model.network.activation=gates", "did you mean 'gate'"),
        ("train model=pixelrnn model.network.cell=0", "model.network.cell"),
    ],
)
def test_mistakes_are_said_in_one_sentence(line, said, typed, here):
    code, _, error = typed(line)
    assert code == 2
    assert said in error
    assert "Traceback" not in error
