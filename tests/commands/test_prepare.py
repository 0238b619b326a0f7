import json

import numpy as np
import pytest
import torch
from PIL import Image

from darkroom import lab
from darkroom.commands import prepare
from darkroom.config.composing import compose

SMALL = "data=moving_digits data.source.train=1500 data.source.val=10 data.source.test=10"


@pytest.fixture
def here(root, monkeypatch):
    monkeypatch.chdir(root)
    monkeypatch.setenv("DARKROOM_CACHE", str(root / "cache"))
    monkeypatch.delenv("DARKROOM_DATA", raising=False)
    return root


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_folder_says_what_data_are_and_comes_out_the_same(here, typed):
    code, out, err = typed("prepare data=digits output=prepared")
    assert code == 0, err
    facts = json.loads((here / "prepared" / "data.json").read_text())
    assert f"digest     {facts['digest']}" in out
    data = lab.open_data(compose("train", ["data=digits"])["data"], None)
    assert (facts["digest"], facts["splits"]) == (data.digest, data.split_digests)
    assert {split: found["images"] for split, found in facts["statistics"].items()} == {
        "train": 1079,
        "val": 359,
        "test": 359,
    }
    pixels = data.pictures("train").batch(torch.arange(1079)).double()
    train = facts["statistics"]["train"]
    assert train["mean"] == pytest.approx([pixels.mean().item()], rel=1e-12)
    assert train["deviation"] == pytest.approx([pixels.std(correction=0).item()], rel=1e-9)
    assert sum(train["classes"].values()) == 1079
    assert list(train["classes"]) == [str(digit) for digit in range(10)]

    before = contents(here / "prepared")
    assert typed("prepare data=digits output=prepared")[0] == 0
    assert contents(here / "prepared") == before
    assert typed("prepare data=digits data.limit=500 output=prepared")[0] == 0
    assert json.loads((here / "prepared" / "data.json").read_text())["digest"] != facts["digest"]
    assert sorted(contents(here / "prepared")) == ["data.json", "sheet.png"]


def test_clips_are_counted_in_parts_and_shown_a_row_each(here, typed):
    assert typed(f"prepare {SMALL} output=prepared")[0] == 0
    facts = json.loads((here / "prepared" / "data.json").read_text())
    data = lab.open_data(compose("train", SMALL.split())["data"], None)
    whole = data.pictures("train").batch(torch.arange(1500)).double()
    assert facts["frames"] == 10
    assert facts["statistics"]["train"]["mean"] == pytest.approx([whole.mean().item()], rel=1e-12)
    assert facts["statistics"]["train"]["images"] == 1500
    sheet = np.asarray(Image.open(here / "prepared" / "sheet.png"))
    assert sheet.shape[1] > sheet.shape[0]  # ten frames across, six clips down


def test_channels_are_measured_apart():
    class Data:
        image_shape = (3, 2, 2)
        class_names = ()

        def pictures(self, split):
            from darkroom.data.pictures import TensorPictures

            pixels = torch.zeros(4, 3, 2, 2, dtype=torch.uint8)
            pixels[:, 1] = 255
            pixels[:2, 2] = 100
            return TensorPictures(pixels)

    found = prepare.statistics(Data(), "train")
    assert found == {"images": 4, "classes": {}, "mean": [0.0, 255.0, 50.0], "deviation": [0.0, 0.0, 50.0]}


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("prepare", "There is nothing to prepare: type data="),
        ("prepare data=digit", "There is no data 'digit'"),
        ("prepare data=digits output=mine", "holds 'letter.txt', which this command did not write"),
        ("prepare data=mnist data.source.download=false", "mnist"),
    ],
)
def test_what_cannot_be_prepared(line, complaint, here, typed):
    (here / "mine").mkdir()
    (here / "mine" / "letter.txt").write_text("dear")
    code, _, err = typed(line)
    assert (code, len(err.strip().splitlines())) == (2, 1)
    assert complaint in err
    assert (here / "mine" / "letter.txt").read_text() == "dear"
