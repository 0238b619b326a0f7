import json
import re

import numpy as np
import pytest
from PIL import Image

from darkroom import lab
from darkroom.config.composing import compose
from darkroom.metrics.batches import as_often
from darkroom.reporting import summary
from darkroom.tracking import checkpoints


@pytest.fixture
def scored(monkeypatch):
    """The scores that were shown, in order."""
    seen = []
    table = summary.score_table
    monkeypatch.setattr(summary, "score_table", lambda scores, title: seen.append(scores) or table(scores, title))
    return seen


def recorded(record, split="test"):
    return json.loads((record.folder / "metrics.json").read_text())[split]


@pytest.mark.parametrize("name", ["painter", "namer"])
def test_a_checkpoint_scores_what_its_run_recorded_to_the_bit(name, project, typed, runs, scored):
    code, out, err = typed(f"evaluate checkpoint={name}")
    assert code == 0, err
    before = recorded(runs()[name])
    assert scored[0].values == before["values"]
    assert scored[0].protocol == before["protocol"]
    kept = list((runs()[name].folder / "evaluations").glob("test-best-*.json"))
    assert json.loads(kept[0].read_text())["values"] == before["values"]
    assert f"{name}: test split" in out


def test_split_seed_and_metrics_can_be_chosen(project, typed, runs, scored):
    for more in (
        "split=val",
        "seed=3",
        "metrics=generative metrics.images=70 metrics.test_images=70 metrics.kid_subsets=2",
    ):
        assert typed(f"evaluate checkpoint=painter {more}")[0] == 0
    val, other, few = scored
    assert val.protocol["split"] == "val"
    assert other.protocol["seed"] == 3
    assert other.values["fid"] != recorded(runs()["painter"])["values"]["fid"]
    assert few.protocol["generated_images"] == 70
    assert len(list((runs()["painter"].folder / "evaluations").iterdir())) == 3
    assert recorded(runs()["painter"])["protocol"]["seed"] == 0


SAME = "data=digits data.image_size=8 metrics=generative metrics.kid_subsets=2"


def test_pictures_in_files_score_as_the_model_that_drew_them(project, typed, runs, scored):
    data = lab.open_data(compose("train", SAME.split())["data"], None)
    labels = ",".join(map(str, as_often(data, 10, 100).tolist()))
    for output in ("all.npz", "folder"):
        assert typed(f"generate checkpoint=painter count=100 seed=0 labels=[{labels}] output={output}")[0] == 0
        code, _, err = typed(f"evaluate samples={output} {SAME}")
        assert code == 0, err
    before = recorded(runs()["painter"])["values"]
    assert scored[0].values == before
    assert scored[1].values == before
    (project / "folder" / "labels.csv").unlink()
    assert typed(f"evaluate samples=folder {SAME}")[0] == 0
    assert scored[2].values["fid"] == before["fid"]
    assert "label_accuracy" not in scored[2].values
    assert set(runs()) == {"painter", "namer"}


def test_bad_input_is_one_sentence(project, typed, runs, monkeypatch):
    images = np.zeros((100, 8, 8, 1), np.uint8)
    np.savez("wide.npz", images=np.zeros((100, 8, 9, 1), np.uint8))
    np.savez("float.npz", images=images.astype(np.float32))
    np.savez("nameless.npz", pictures=images)
    np.savez("labels.npz", images=images, labels=np.zeros(3, int))
    np.savez("objects.npz", images=np.array([{}], object))
    np.savez("few.npz", images=images[:5])
    np.savez("none.npz", images=images[:0])
    np.save("array.npy", images)
    whole = (project / "few.npz").read_bytes()
    (project / "short.npz").write_bytes(whole[: len(whole) // 2])
    (project / "text.npz").write_text("no")
    (project / "empty").mkdir()
    (project / "large").mkdir()
    Image.new("L", (9, 9)).save("large/a.png")
    (project / "broken").mkdir()
    (project / "broken" / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    expected = {
        "": "Give one thing to score",
        "checkpoint=painter samples=few.npz": "Give one thing to score",
        "samples=few.npz": "type data=<data>",
        f"samples=missing {SAME}": "does not exist",
        f"samples=wide.npz {SAME}": "uint8 (N, 8, 8, 1) was expected",
        f"samples=float.npz {SAME}": "is float32",
        f"samples=labels.npz {SAME}": "(100,) was expected",
        f"samples=few.npz {SAME}": "too few",
        f"samples=none.npz {SAME}": "no pictures",
        f"samples=empty {SAME}": "holds no pictures",
        f"samples=large {SAME}": "has 9x9 pixels, but 8x8 was expected",
        f"samples=broken {SAME}": "cannot be read as a picture",
        "samples=few.npz data=digits metrics=none": "metrics=generative",
        "checkpoint=painter data=digits": "set data.image_size",
        "checkpoint=painter data=mnist": "set data.image_size|mnist",
        "checkpoint=nobody": "No run's id begins",
        "checkpoint=painter metrics.images=5": "type metrics=<one of autoencoding, classification, exact_likelihood,",
    }
    expected |= {f"samples={name} {SAME}": "is not an .npz file with an array `images`"
                 for name in ("nameless.npz", "objects.npz", "array.npy", "short.npz", "text.npz")}  # fmt: skip
    for more, fragment in expected.items():
        code, _, err = typed(f"evaluate {more}")
        assert code == 2, (more, err)
        assert re.search(fragment if "|" in fragment else re.escape(fragment), err), (more, err)
        assert len([line for line in err.splitlines() if line.startswith("darkroom evaluate: ")]) == 1
        assert "Traceback" not in err
    assert set(runs()) == {"painter", "namer"}
    assert not (runs()["painter"].folder / "evaluations").exists()


def test_further_views_are_reported_beside_and_refused_where_they_mean_nothing(project, typed, runs, scored):
    code, out, err = typed("evaluate checkpoint=namer metrics=classification metrics.views=[shift]")
    assert code == 0, err
    assert "accuracy views" in out
    before = recorded(runs()["namer"])["values"]
    assert {name: value for name, value in scored[0].values.items() if name != "accuracy_views"} == before
    code, _, err = typed("evaluate checkpoint=namer metrics=classification metrics.views=[shift,flip]")
    assert (code, err.count("\n")) == (2, 1)
    assert "metrics.views=[shift]" in err


def test_a_namer_is_calibrated_and_says_how_it_was(project, typed, runs):
    record = runs()["namer"]
    best, last = (checkpoints.load(record.folder / "checkpoints" / f"{name}.ckpt") for name in ("best", "last"))
    scores = {split: recorded(record, split) for split in ("val", "test")}
    assert best["state_dict"]["temperature"].item() == scores["test"]["values"]["temperature"] != 1
    assert last["state_dict"]["temperature"] == 1
    assert record.metrics["fitted/temperature"] == scores["test"]["values"]["temperature"]
    assert record.metrics["fitted/loss_after"] < record.metrics["fitted/loss_before"]
    # In parts of another size, whose rounding differs on some processors.
    after = pytest.approx(scores["val"]["values"]["calibration_error"], abs=1e-6)
    assert record.metrics["fitted/calibration_error_after"] == after
    assert scores["test"]["protocol"]["calibrated"]
    shown = {path.name.rpartition("_")[0] for path in (record.folder / "samples").iterdir()}
    assert {"test_reliability", "test_classes", "test_confusion", "val_confusion"} <= shown
    assert "val_reliability" not in shown  # drawn once, when there is a before and an after
    assert not [name for name in runs()["painter"].metrics if name.startswith("fitted/")]
    code, out, _ = typed("evaluate checkpoint=namer/last")
    assert code == 0
    assert "class by class" in out


def test_metrics_of_another_family_are_refused(project, typed):
    for line in ("checkpoint=namer metrics=generative", "checkpoint=painter metrics=classification"):
        code, _, err = typed(f"evaluate {line}")
        assert code == 2, err
        assert err.count("\n") == 1
