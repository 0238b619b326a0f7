import json
import re

import numpy as np
import pytest
from PIL import Image

QUICK = "resamples=100"


@pytest.fixture
def audits(runs):
    return lambda name: sorted((runs()[name].folder / "audits").glob("*.json"))


def test_a_classifier_is_audited_by_its_classes(project, typed, audits):
    code, out, err = typed(f"audit checkpoint=namer {QUICK} output=more/audit.json")
    assert code == 0, err
    assert "namer: test split of digits by label" in out
    assert re.search(r"^accuracy, (within tolerance|beyond tolerance|cannot tell): ", out, re.MULTILINE)
    assert "Bonferroni over 10 groups" in out
    (kept,) = audits("namer")
    assert kept.name.startswith("test-label-best-")
    facts = json.loads(kept.read_text())
    assert facts["checkpoint"] == "best"
    assert facts["groups"].keys() == set("0123456789")
    assert facts["protocol"]["resamples"] == 100
    worst = next(iter(facts["groups"].values()))
    assert worst["gaps"]["accuracy"]["value"] == min(g["gaps"]["accuracy"]["value"] for g in facts["groups"].values())
    assert json.loads((project / "more" / "audit.json").read_text()) == facts
    for picture in (kept.with_suffix(".png"), project / "more" / "audit.png"):
        with Image.open(picture) as opened:
            assert opened.size[0] > 600


def test_accuracy_is_that_of_evaluate_and_equal_lines_give_equal_files(project, typed, audits, runs):
    assert typed(f"audit checkpoint=namer {QUICK}")[0] == 0
    first = audits("namer")[0].read_bytes()
    assert typed(f"audit checkpoint=namer {QUICK}")[0] == 0
    assert [path.read_bytes() for path in audits("namer")] == [first]
    assert typed(f"audit checkpoint=namer {QUICK} split=val")[0] == 0
    assert len(audits("namer")) == 2
    groups = json.loads(first)["groups"].values()
    right = sum(group["count"] * group["values"]["accuracy"]["value"] for group in groups)
    recorded = json.loads((runs()["namer"].folder / "metrics.json").read_text())["test"]["values"]
    assert right / sum(group["count"] for group in groups) == pytest.approx(recorded["accuracy"])


def test_a_generator_is_audited_by_its_classes(project, typed, audits):
    code, out, err = typed(f"audit checkpoint=painter images=150 {QUICK}")
    assert code == 0, err
    assert "painter: test split of digits by label" in out
    assert re.search(r"^precision, (within tolerance|beyond tolerance|cannot tell): ", out, re.MULTILINE)
    assert re.search(r"^too few pictures for (precision, recall and )?FID", out, re.MULTILINE)
    (kept,) = audits("painter")
    facts = json.loads(kept.read_text())
    assert sum(group["count"] for group in facts["groups"].values()) == 150
    assert facts["protocol"]["extractor"] == "digits"
    assert kept.with_suffix(".png").is_file()


@pytest.fixture
def album(project):
    """A folder of pictures of the digits' classes, half of them taken at night."""
    random = np.random.default_rng(0)
    rows = ["file_name,light,taker"]
    for number in range(60):
        name = f"{number % 10}/{number}.png"
        (project / "album" / str(number % 10)).mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (8, 8), dtype=np.uint8)).save(project / "album" / name)
        rows.append(f"{name},{'day' if number < 30 else 'night'},one")
    (project / "album" / "metadata.csv").write_text("\n".join(rows))
    return "data=folder data.source.root=album data.source.val=6 data.source.test=40 data.image_size=8"


def test_other_data_are_audited_by_their_metadata(album, typed, audits):
    code, out, err = typed(f"audit checkpoint=namer groups=light {album} {QUICK}")
    assert code == 0, err
    assert "by light" in out
    facts = json.loads(audits("namer")[0].read_text())
    assert facts["groups"].keys() == {"day", "night"}
    assert sum(group["count"] for group in facts["groups"].values()) == 40
    assert "recall" in facts["verdicts"]


def test_bad_input_is_one_sentence(album, typed, runs):
    expected = {
        "checkpoint=namer groups=labl": "did you mean 'label'",
        "checkpoint=namer groups=colour": "type groups=<one of label>",
        f"checkpoint=namer groups=lihgt {album}": "did you mean 'light'",
        f"checkpoint=namer groups=taker {album}": "nothing to compare: all 40 test pictures are 'one'",
        f"checkpoint=namer groups=light {album} data.source.labelled=false": "have no labels",
        "checkpoint=namer data=digits": "set data.image_size",
        "checkpoint=namer data=shapes data.image_size=8 data.channels=1": "audit it on pictures of its own classes",
        "checkpoint=namer split=tset": "train, val, test was expected (did you mean 'test'?)",
        "checkpoint=namer generators=[painter]": "are tried on a detector, and this run is a Classifier",
        "checkpoint=painter groups=colour": "audited by groups=label",
        "checkpoint=nobody": "No run's id begins",
        "checkpoint=namer output=audit.png": "is no .json",
        "checkpoint=namer tolerance=2": "a number of at least 0 and at most 1",
        "checkpoint=namer confidence=1": "a number of at least 0.5 and less than 1",
        "checkpoint=namer resamples=10": "at least 100",
        "checkpoint=namer group=label": "did you mean 'groups'",
    }
    for more, fragment in expected.items():
        code, _, err = typed(f"audit {more}")
        assert code == 2, (more, err)
        assert fragment in err, (more, err)
        assert len([line for line in err.splitlines() if line.startswith("darkroom audit: ")]) == 1
        assert "Traceback" not in err
    assert not (runs()["namer"].folder / "audits").exists()


def test_a_checkpoint_from_elsewhere_leaves_nothing_but_what_was_asked_for(project, typed, runs):
    checkpoint = runs()["namer"].folder / "checkpoints" / "best.ckpt"
    (project / "apart").mkdir()
    (project / "apart" / "mine.ckpt").write_bytes(checkpoint.read_bytes())
    before = set(project.rglob("*"))
    code, _, err = typed(f"audit checkpoint=apart/mine.ckpt {QUICK} output=audit.json")
    assert code == 0, err
    new = {path.name for path in project.rglob("*")} - {path.name for path in before}
    assert new == {"audit.json", "audit.png"}
