import json

import pytest
import yaml

from darkroom.tracking import checkpoints

DETECTOR = (
    "train experiment=classifier/real_or_generated profile=smoke budget.images=640 model.network.width=4"
    " metrics.every=320 data.source.images=100 data.source.held_out=30 saving.samples=10 name=detector"
)


@pytest.fixture
def recorded(runs):
    """Return what a run recorded of itself, the file's content."""

    def read(name, file):
        text = (runs()[name].folder / file).read_text()
        return yaml.safe_load(text) if file.endswith(".yaml") else json.loads(text)

    return read


def test_a_detector_is_trained_scored_repeated_and_gone_on_with(project, typed, runs, recorded):
    code, out, err = typed(f"{DETECTOR} data.source.generator=painter")
    assert code == 0, err
    assert "auroc" in out
    painter = runs()["painter"]
    config = recorded("detector", "config.yaml")
    # a name may come to mean another run; an id does not
    assert config["data"]["source"]["generator"] == f"{painter.run_id}/best"
    scores = recorded("detector", "metrics.json")["test"]
    assert scores["protocol"]["real_images"] == 60
    assert scores["values"]["recall_generated"] >= 0

    code, _, err = typed("evaluate checkpoint=detector")
    assert code == 0, err
    (kept,) = (runs()["detector"].folder / "evaluations").glob("*.json")
    assert json.loads(kept.read_text())["values"] == scores["values"]

    code, out, err = typed("reproduce run=detector")
    assert code == 0, err
    assert "The same to the bit." in out

    code, _, err = typed("train resume=detector budget.images=1280")
    assert code == 0, err
    assert recorded("detector", "metrics.json")["images_seen"] == 1280
    # the same run with other weights draws other pictures
    path = painter.folder / "checkpoints" / "best.ckpt"
    checkpoint = checkpoints.load(path)
    weights = checkpoint["state_dict"]
    checkpoint["state_dict"] = {key: 2 * value if "average" in key else value for key, value in weights.items()}
    checkpoints.save(path, checkpoint)
    code, _, err = typed("train resume=detector budget.images=1920")
    assert code == 2
    assert "The data are not those the run was trained on" in err


def test_a_folder_of_pictures_is_told_from_the_data_it_is_said_to_resemble(project, typed, recorded):
    assert typed("generate checkpoint=painter count=200 seed=5 output=drawn")[0] == 0
    line = f"{DETECTOR} data.source.generator=drawn"
    code, _, err = typed(line)
    assert code == 2
    assert "type data@data.source.real=<data> too" in err
    code, _, err = typed(f"{line} data@data.source.real=digits")
    assert code == 2
    assert "has 8x8 pixels, less than the 16x16" in err
    code, _, err = typed(f"{line} data@data.source.real=digits data.source.real.image_size=8")
    assert code == 0, err
    assert recorded("detector", "config.yaml")["data"]["source"]["generator"] == "drawn"

    code, out, err = typed("audit checkpoint=detector generators=[painter] resamples=100 output=audit.json")
    assert code == 0, err
    found = json.loads((project / "audit.json").read_text())
    assert found["verdict"] in out
    assert [row["kind"] for row in found["rows"]] == [
        "trained on", "never seen", "control", "changed alike", "changed alike", "changed alike",
    ]  # fmt: skip
    assert [row["name"] for row in found["rows"][:2]] == ["new pictures of drawn", "painter (other networks)"]
    assert (project / "audit-errors.png").is_file()


def test_what_draws_nothing_is_refused_before_a_run_exists(project, typed, runs):
    before = set(runs())
    for typed_more, fragment in (
        ("", "type data.source.generator=<run that draws, or folder of pictures>"),
        ("data.source.generator=namer", "which draws nothing: name a run of a generator"),
        ("data.source.generator=nobody", "none has that name"),
        ("data.source.generator=painter data@data.source.real=digits", "data.source.real.image_size"),
        ("data.source.generator=painter data.augment.flip=true", "would mirror"),
        ("data.source.generator=painter data.source.held_out=1", "'data.source.held_out' is 1"),
        ("data.source.generator=painter data.augment.jpeg=2", "'data.augment.jpeg' is 2"),
    ):
        code, _, err = typed(f"{DETECTOR} {typed_more}")
        assert code == 2, typed_more
        assert fragment in err
    assert set(runs()) == before


def test_an_id_of_digits_alone_is_no_number(typed):
    seen = []
    code, _, err = typed(f"{DETECTOR} data.source.generator=12345678", instead=seen.append)
    assert code == 0, err
    assert seen[0]["data"]["source"]["generator"] == "12345678"
