import json

import numpy as np
import pytest
import torch
from PIL import Image

from darkroom import lab
from darkroom.explaining.subjects import from_data, sheets

FAST = "images=8 count=3 steps=4"


def looked_at(folder):
    return np.asarray(Image.open(folder / "explanation.png"))


def test_a_classifier_is_explained_and_everything_is_kept(project, typed, runs):
    code, out, err = typed(f"explain checkpoint=namer {FAST} output=explanation.png")
    assert code == 0, err
    for words in ("grad cam", "integrated gradients", "random order", "8 pictures of digits test"):
        assert words in out
    assert "from maps of 8x8, 4x4, 2x2 pixels" in err
    picture = looked_at(project)
    kept = runs()["namer"].folder / "explanations"
    names = sorted(file.name.rpartition("-best-")[0] or file.name for file in kept.iterdir())
    assert len(names) == 3
    (facts,) = (json.loads(file.read_text()) for file in kept.glob("*.json"))
    (sheet,) = (file for file in kept.glob("class-best-*.png") if "curves" not in file.name)
    assert np.array_equal(np.asarray(Image.open(sheet)), picture)
    assert facts["pictures"] == 8
    rows = {row["name"]: row for row in facts["findings"]}
    assert set(rows) == {"grad_cam", "integrated_gradients", "edges", "random order"}
    assert rows["edges"]["same_order"] == pytest.approx(1)
    assert all(0 <= row["deletion_area"] <= 1 for row in rows.values())
    # Equal commands give equal results.
    assert typed(f"explain checkpoint=namer {FAST} output=explanation.png")[0] == 0
    assert np.array_equal(looked_at(project), picture)
    assert len(list(kept.iterdir())) == 3


def test_what_is_typed_reaches_the_sheet(project, typed):
    pictures = []
    for more in ("", "target=3", "layer=2x2", "methods=[saliency]"):
        assert typed(f"explain checkpoint=namer {FAST} output=explanation.png {more}")[0] == 0
        pictures.append(looked_at(project))
    assert len({picture.tobytes() for picture in pictures}) == 4
    assert pictures[3].shape[0] < pictures[0].shape[0]


def test_pictures_from_anywhere_are_explained(project, typed, runs):
    (project / "shots").mkdir()
    for number in range(3):
        noise = np.random.default_rng(number).integers(0, 256, (12, 20, 3), dtype=np.uint8)
        Image.fromarray(noise).save(project / "shots" / f"{number}.png")
    sheets = []
    for given in ("shots", "'shots/*.png'", "shots/1.png"):
        code, out, err = typed(f'explain checkpoint=namer "input={given}" {FAST} output=explanation.png')
        assert code == 0, err
        assert "resized to the 8x8 pixels with 1 channel" in err
        assert "too few" in out
        sheets.append(looked_at(project))
    assert np.array_equal(sheets[0], sheets[1])
    assert sheets[2].shape[1] <= sheets[0].shape[1]


def test_a_gan_explains_what_looks_real_in_real_and_in_drawn_pictures(project, typed, runs):
    code, out, err = typed(f"explain checkpoint=painter {FAST}")
    assert code == 0, err
    assert "each second one drawn" in out
    assert (project / f"explanation-{runs()['painter'].run_id[:8]}.png").exists()


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("input=nowhere", "names no picture"),
        ("target=eleven", "no such class"),
        ("layer=5x5", "it has 8x8, 4x4, 2x2"),
        ("methods=[gradcam]", "did you mean 'grad_cam'"),
        ("output=explanation.jpg", "is no .png"),
        ("images=0", "at least 1"),
    ],
)
def test_what_cannot_be_is_told_in_one_sentence(line, words, project, typed):
    code, _, err = typed(f"explain checkpoint=namer {line}")
    assert code == 2
    assert words in err
    assert len(err.strip().splitlines()) == 1


def test_a_broken_picture_is_named(project, typed):
    (project / "broken.png").write_bytes(b"no picture")
    code, _, err = typed("explain checkpoint=namer input=broken.png")
    assert code == 2
    assert "broken.png cannot be read as a picture" in err


def test_a_family_that_explains_nothing_says_so(project, typed, monkeypatch):
    from darkroom.models.classifier import Classifier

    monkeypatch.setattr(Classifier, "explainable", lambda self: [])
    code, _, err = typed("explain checkpoint=namer")
    assert code == 2
    assert "A Classifier explains nothing yet" in err


@pytest.fixture
def opened(project, runs):
    def open_one(name):
        model, description = lab.restore(runs()[name].folder / "checkpoints" / "best.ckpt")
        return model, lab.open_data(description.config["data"], None)

    return open_one


def test_the_classes_take_turns_and_drawn_pictures_come_in_pairs(opened):
    model, data = opened("namer")
    assert from_data(model, data, 10).labels.tolist() == list(range(10))
    painter, data = opened("painter")
    pairs = from_data(painter, data, 5)
    assert pairs.labels.tolist() == [0, 0, 1, 1, 2]
    assert [origin.split()[0] for origin in pairs.origins] == ["test", "drawn", "test", "drawn", "test"]
    assert torch.equal(pairs.images[0], from_data(model, data, 1).images[0])


def test_training_leaves_a_sheet_and_the_model_as_it_is(opened, runs):
    record = runs()["namer"]
    assert len(list((record.folder / "samples").glob("test_explained_class_*.png"))) == 1
    assert not list((runs()["painter"].folder / "samples").glob("test_explained*"))
    model, data = opened("namer")
    model.train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    state = torch.get_rng_state()
    assert set(sheets(model, data, "title", 2)) == {"class"}
    assert model.network.training
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert all(weight.grad is None and weight.requires_grad for weight in model.network.parameters())
