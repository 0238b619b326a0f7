import csv
import json
import shutil

import pytest

from darkroom.reporting import export
from darkroom.tracking import outputs, tag

LINE = (
    "train name=left model=classifier profile=smoke budget.images=640 data.image_size=8 model.network.width=4"
    " data.held_out=null"
    " metrics.every=320 saving.samples=10 output=left"
)


@pytest.fixture
def left(project, typed, monkeypatch):
    """A project with a third run, left in a folder, as a stage of DVC's would."""
    monkeypatch.setenv("DVC_STAGE", "train@left")
    monkeypatch.setenv("DVC_EXP_NAME", "bold-name")
    code, _, err = typed(LINE)
    assert code == 0, err
    return project / "left"


def read(path):
    return json.loads(path.read_text())


def test_a_result_stands_for_its_run(left, project, runs, typed, empty_database):
    run = runs()["left"]
    facts = read(left / "run.json")
    assert outputs.run_id(left) == run.run_id
    assert run.tags[tag.DVC_STAGE] == "train@left"
    assert run.tags[tag.DVC_EXPERIMENT] == "bold-name"
    assert (left / "best.ckpt").read_bytes() == (run.folder / "checkpoints" / "best.ckpt").read_bytes()

    # the data of the result, of the run, and what prepare says of them are one
    assert typed("prepare data=digits data.image_size=8 output=prepared")[0] == 0
    prepared = read(project / "prepared" / "data.json")
    assert run.tags[tag.DATA_DIGEST] == prepared["digest"] == facts["data"]["digest"]
    assert facts["data"]["splits"] == prepared["splits"]

    numbers, recorded = read(left / "metrics.json"), read(run.folder / "metrics.json")
    assert numbers["test"]["accuracy"] == recorded["test"]["values"]["accuracy"]
    assert not any(name.endswith("_majority") for name in numbers["test"])
    assert facts["test"]["protocol"] == recorded["test"]["protocol"]
    with (left / "curves" / "val.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["images"]) for row in rows] == [320, 640]
    assert float(rows[-1]["accuracy"]) == run.metrics["val/accuracy"]
    assert {f"samples/{key}.png" for key in ("test_confusion", "test_reliability")} <= set(facts["files"])

    # a reference like any other, and what is scored from it is what was scored
    assert typed("compare runs=[left] format=json")[1].count(run.run_id)
    code, _, err = typed("evaluate checkpoint=left output=scores")
    assert code == 0, err
    assert read(project / "scores" / "metrics.json")["test"] == numbers["test"]
    assert read(project / "scores" / "run.json")["run_id"] == run.run_id
    assert (project / "scores" / "pictures" / "confusion.png").is_file()
    assert len(list((run.folder / "evaluations").iterdir())) == 1

    # restored where the store knows nothing of the run
    shutil.copy(empty_database, project / "mlruns" / "mlflow.db")
    before = (project / "scores" / "metrics.json").read_bytes()
    assert typed("evaluate checkpoint=left output=scores")[0] == 0
    assert (project / "scores" / "metrics.json").read_bytes() == before
    code, _, err = typed("compare runs=[left]")
    assert code == 2
    assert f"left stands for run {run.run_id[:8]}, which the store" in err


def test_the_run_is_recorded_as_without_a_folder(left, runs):
    run = runs()["left"]
    assert "output" not in run.params
    assert "output: null" in (run.folder / "config.yaml").read_text()


@pytest.mark.parametrize(
    ("more", "complaint"),
    [
        ("output=mine", "holds 'letter.txt'"),
        ("output=left -m seed=0,1", "output and -m were both given"),
    ],
)
def test_a_folder_that_cannot_be_is_refused_before_there_is_a_run(more, complaint, project, typed, runs):
    (project / "mine").mkdir()
    (project / "mine" / "letter.txt").write_text("dear")
    before = set(runs())
    code, _, err = typed(f"train {more}")
    assert code == 2
    assert complaint in err
    assert set(runs()) - before <= {"grid over seed"}


def test_the_last_picture_of_each_series_is_kept(tmp_path):
    for name in ("samples_00000900.png", "samples_00010000.png", "test_confusion_00000640.png", "a_b_00000001.gif"):
        (tmp_path / name).touch()
    found = {key: path.name for key, path in export.last_pictures(tmp_path).items()}
    assert found == {
        "samples": "samples_00010000.png",
        "test_confusion": "test_confusion_00000640.png",
        "a_b": "a_b_00000001.gif",
    }
