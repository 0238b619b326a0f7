"""A run that is scored by several metrics, each in its own time."""

import json

import pytest

from darkroom.tracking.store import Store

BOTH = (
    "name=both profile=smoke model=pixelrnn data=digits model.levels=4 data.image_size=8 budget.images=256"
    " metrics=exact_likelihood,generative metrics.exact_likelihood.every=64 metrics.generative.every=128"
    " metrics.exact_likelihood.images=20 metrics.generative.images=80 metrics.generative.test_images=80"
    " model.network.width=4 saving.samples=4"
)


@pytest.fixture(scope="module")
def both(train_all):
    project = train_all("several", (BOTH,))
    return project, Store.open(project).find("both")


def test_each_is_scored_when_it_is_due_and_the_first_decides(both):
    project, record = both
    assert record.objective == ("val/nll", "min")
    store = Store.open(project)
    assert [step for step, _ in store.curve(record.run_id, "val/nll")] == [64, 128, 192, 256]
    assert [step for step, _ in store.curve(record.run_id, "val/fid")] == [128, 256]


def test_both_are_in_the_record_under_their_own_protocols(both):
    _, record = both
    content = json.loads((record.folder / "metrics.json").read_text())
    for split in ("val", "test"):
        assert {"nll", "bits_per_dim", "fid", "precision"} <= set(content[split]["values"])
    protocol = content["test"]["protocol"]
    assert "levels" in protocol
    assert protocol["generative.generated_images"] == 80
    assert content["test"]["references"]["fid_noise"]["row"] == "noise"


def test_it_is_evaluated_again_and_goes_on(both, typed, monkeypatch):
    project, _ = both
    monkeypatch.setenv("DARKROOM_ROOT", str(project))
    code, out, err = typed("evaluate checkpoint=both split=val")
    assert code == 0, err
    assert "fid" in out
    assert "nll" in out
    code, out, err = typed("evaluate checkpoint=both split=val metrics=generative metrics.images=80")
    assert code == 0, err
    assert "nll" not in out
    code, _, err = typed("train resume=both budget.images=320")
    assert code == 0, err
    assert Store.open(project).find("both").params["metrics.generative._target_"].endswith("Generative")
