"""Runs that were made before the code was moved about: they load, answer as they did, go on, edit, and are reported.

``before/runs.tar.xz`` is the mlruns/ of a run of each family, small as it can be, and two folders of pictures, made by
the code of 2026-11-22; ``before/answers.npz`` is what each of them answered then, to the questions below.
"""

import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from darkroom import documents, lab, recorded_names
from darkroom.config.recorded import admitted, digest
from darkroom.models.abilities import Classifies, Draws, Forecasts, Repairs, Stylises, Translates
from darkroom.tracking import tag
from darkroom.tracking.store import Store

HERE = Path(__file__).parent / "before"
ANSWERS = dict(np.load(HERE / "answers.npz"))
# What goes on a little, where a run stopped: at 640 images or at 128.
FURTHER = {name: 192 if name in ("adain", "cyclegan", "moves", "sequence", "stylizer") else 704 for name in ANSWERS}
EDITS = {
    "denoiser": "operation=denoise input=picture.png",
    "restorer": "operation=denoise input=picture.png",
    "inpaint": "operation=inpaint input=picture.png mask=mask.png",
    "moves": "operation=move input=picture.png rotate=20 frames=3",
    "sequence": "operation=continue input=frames frames=2",
    "pixelrnn": "operation=complete input=picture.png hide=top count=2",
    "stylizer": "operation=stylize method=feedforward input=picture.png",
    "adain": "operation=stylize method=adain style=coffee input=picture.png",
    "cyclegan": "operation=translate input=picture.png",
    "vae": "operation=interpolate input=picture.png other=mask.png steps=3",
    "autoencoder": "operation=interpolate input=picture.png other=mask.png steps=3",
    "gan": "operation=interpolate input=picture.png other=mask.png steps=3 refine=2",
}


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory):
    folder = tmp_path_factory.mktemp("before")
    with tarfile.open(HERE / "runs.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    return folder


@pytest.fixture
def before(unpacked, monkeypatch):
    monkeypatch.setenv("DARKROOM_ROOT", str(unpacked))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("DARKROOM_DATA", str(unpacked / "data"))
    monkeypatch.chdir(unpacked)
    return unpacked


def asked(model, name):
    """Return what a model answers; the same questions for all of its kind."""
    generator = torch.Generator().manual_seed(0)

    def noise(*shape):
        return torch.rand(2, *shape, generator=generator) * 2 - 1

    shape = model.image_shape
    images = noise(*shape)
    if isinstance(model, Draws):
        return model.sample(torch.arange(4), 0)
    if isinstance(model, Classifies):
        return model.predict(images)
    if isinstance(model, Forecasts):
        frames = noise(model.inputs, *shape)
        told = torch.zeros(2, model.inputs + 2, len(model.actions)) if model.actions else None
        return model.forecast(frames, 3, told)
    if isinstance(model, Stylises):
        return model.stylise(images, noise(*shape) if model.any_style else None)
    if isinstance(model, Translates):
        return model.translate(images)
    assert isinstance(model, Repairs), name
    holes = torch.arange(shape[1] * shape[2]).view(1, 1, *shape[1:]).expand(2, -1, -1, -1) % 5 == 0
    return model.restore(images, mask=holes if model.masked else None)


@pytest.mark.parametrize("name", ANSWERS)
def test_a_run_of_before_answers_as_it_did(name, before):
    record = Store.open(before).find(name)
    model, _ = lab.restore(record.folder / "checkpoints" / "best.ckpt")
    answer = torch.from_numpy(ANSWERS[name])
    # Another processor rounds otherwise, and what a network repeats it repeats that too.
    torch.testing.assert_close(asked(model, name), answer, atol=2e-3, rtol=2e-3)


@pytest.mark.parametrize("name", ANSWERS)
def test_a_run_of_before_is_named_by_what_it_computes(name, before):
    record = Store.open(before).find(name)
    config = documents.read_yaml(record.folder / "config.yaml")
    assert record.tags[tag.CONFIG_DIGEST] == digest(admitted(config, name))
    assert not [value for value in record.params.values() if recorded_names.now(value) != value]


def test_runs_of_before_are_compared_and_reported(typed, before):
    code, out, _ = typed("compare")
    assert code in (0, None)
    assert all(name in out for name in ANSWERS)
    code, _, _ = typed("report output=page.html")
    assert code in (0, None)
    page = (before / "page.html").read_text()
    assert all(name in page for name in ANSWERS)


@pytest.mark.slow
@pytest.mark.parametrize("name", ANSWERS)
def test_a_run_of_before_goes_on(name, typed, before):
    code, _, err = typed(f"train resume={name} budget.images={FURTHER[name]}")
    assert code in (0, None), err
    record = Store.open(before).find(name)
    assert record.status == "FINISHED"
    last = torch.load(record.folder / "checkpoints" / "last.ckpt", weights_only=True)
    assert last["images_seen"] == FURTHER[name]


@pytest.mark.slow
@pytest.mark.parametrize("name", EDITS)
def test_a_run_of_before_edits(name, typed, before, tmp_path):
    ramp = np.linspace(0, 255, 24 * 20).reshape(24, 20).astype(np.uint8)
    Image.fromarray(ramp).save("picture.png")
    Image.fromarray((ramp > 200).astype(np.uint8) * 255).save("mask.png")
    Path("frames").mkdir(exist_ok=True)
    for number in range(12):
        Image.fromarray(np.roll(ramp, number)).save(f"frames/{number:02d}.png")
    code, out, err = typed(f"edit {EDITS[name]} checkpoint={name} output={tmp_path / 'made.png'}")
    assert code in (0, None), out + err
    assert Image.open(tmp_path / "made.png").size > (19, 19)
