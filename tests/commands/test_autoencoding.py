"""Autoencoders by the commands that people type."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

SMALL = (
    "profile=smoke budget.images=1280 data.image_size=8 model.latent_dim=4 model.flow_steps=3 model.components=2"
    " metrics.images=100 metrics.test_images=100 metrics.every=640 metrics.kid_subsets=2 metrics.nll_images=20"
    " data.held_out=null metrics.nll_samples=5 saving.samples=10 sentinel.every=640 sentinel.grace=0"
    " sentinel.patience=1"
)
CODER = (
    f"{SMALL} name=coder model=vae network@model.encoder=mlp_encoder network@model.decoder=mlp_decoder model.beta=1000"
    " model.average_half_life=100"
)


@pytest.fixture(scope="module")
def coded(trained, tmp_path_factory):
    """A project folder with one run, of a variational autoencoder that is told to say nothing."""
    import sys

    from hydra.core.hydra_config import HydraConfig

    from darkroom.commands import train

    folder = tmp_path_factory.mktemp("coded")
    (folder / "mlruns").mkdir()
    shutil.copytree(trained / "mlruns", folder / "mlruns", dirs_exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DARKROOM_ROOT", str(folder))
        patch.setenv("DARKROOM_CACHE", str(trained / "cache"))
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        patch.setattr(sys, "argv", ["darkroom", *CODER.split()])
        with pytest.raises(SystemExit) as left:
            train.main()
        assert not left.value.code
    HydraConfig.instance().cfg = None
    return folder


@pytest.fixture
def here(coded, trained, monkeypatch, tmp_path):
    monkeypatch.setenv("DARKROOM_ROOT", str(coded))
    monkeypatch.setenv("DARKROOM_CACHE", str(trained / "cache"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    return coded


def run_of(folder):
    from darkroom.tracking.store import Store

    return next(record for record in Store.open(folder).runs() if record.name == "coder")


def test_a_run_leaves_numbers_sheets_and_its_samplers(here):
    from darkroom.tracking import checkpoints

    record = run_of(here)
    values = json.loads((record.folder / "metrics.json").read_text())["test"]
    numbers, protocol = values["values"], values["protocol"]
    assert numbers["elbo"] == pytest.approx(-numbers["rate"] - numbers["distortion"])
    assert {"nll", "bits_per_dim", "mse", "psnr", "ssim", "fid_reconstructed", "active_units"} <= set(numbers)
    assert protocol["sampler"] in ("prior", "gaussian", "mixture", "flow")
    assert (protocol["coded.nll_samples"], protocol["coded.nll_images"]) == (5, 20)
    sheets = {file.name.rpartition("_")[0] for file in (record.folder / "samples").glob("test_*.png")}
    assert {"test_reconstructions", "test_latents", "test_interpolation", "test_traversal"} <= sheets
    state = checkpoints.load(record.folder / "checkpoints" / "best.ckpt")["state_dict"]
    assert state["samplers.kinds.mixture.weights"].sum() == pytest.approx(1)


def test_it_is_ranked_beside_a_gan(typed, here):
    code, out, error = typed("compare runs=[coder,painter]")
    assert not code, error
    assert "(1)" in out
    assert "(2)" in out


def test_posterior_collapse_is_named_with_what_to_change(here):
    events = json.loads((run_of(here).folder / "events.json").read_text())
    assert [event["ailment"] for event in events] == ["posterior collapse"]
    assert "free_bits" in events[0]["advice"]
    assert "0 nats" in events[0]["reason"] or "nats of a picture" in events[0]["reason"]


def test_samplers_are_chosen_when_drawing(typed, here):
    pictures = {}
    for name in ("prior", "mixture", "gaussian"):
        code, _, error = typed(f"generate checkpoint=coder sampler={name} count=4 output={name}.npz")
        assert not code, error
        pictures[name] = np.load(f"{name}.npz")["images"]
    assert not np.array_equal(pictures["prior"], pictures["mixture"])
    assert not typed("generate checkpoint=coder output=sheet.png count=4")[0]
    assert Image.open("sheet.png").size[0] > 8


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("generate checkpoint=coder sampler=mixtrue", "did you mean 'mixture'"),
        ("generate checkpoint=coder sampler=normal", "prior"),
        ("generate checkpoint=painter sampler=mixture", "leave sampler out"),
        ("evaluate checkpoint=painter metrics=autoencoding", "metrics=generative"),
        ("train model=vae likelihood@model.likelihood=bernoulli data.image_size=8", "data=mnist_binarised"),
        ("train model=gan metrics=likelihood", "metrics=generative"),
        ("train model=vae model.sampler=best", "type one of"),
        ("train model=vae model.latent_dim=0", "latent_dim"),
        ("train model=vae init=painter data.image_size=8", "same family"),
    ],
)
def test_mistakes_are_said_in_one_sentence(line, said, typed, here):
    code, _, error = typed(line)
    assert code == 2
    assert said in error
    assert "Traceback" not in error


def test_the_score_names_the_sampler(typed, here):
    code, _, error = typed("evaluate checkpoint=coder sampler=prior split=val")
    assert not code, error
    kept = sorted((run_of(here).folder / "evaluations").glob("val-*.json"))
    assert json.loads(kept[-1].read_text())["protocol"]["sampler"] == "prior"
