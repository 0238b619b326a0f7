"""Runs side by side."""

import io
import json
from datetime import UTC, datetime, timedelta

import pytest
from rich.console import Console

from darkroom.baselines import Reference, guessed
from darkroom.tracking import tag
from darkroom.tracking.comparison import compare
from darkroom.tracking.store import RunRecord

MORNING = datetime(2025, 1, 1, tzinfo=UTC)
PROTOCOL = {"extractor": "digits-1a2b3c4d", "generated": 1000, "seed": 0}


@pytest.fixture
def record(tmp_path):
    """Make a run with what is on its disk; later calls are later runs."""
    count = 0

    def make(name, params=None, measured=None, metrics=None, objective=("val/fid", "min"), tags=None):
        nonlocal count
        count += 1
        folder = tmp_path / name.replace("/", "_")
        folder.mkdir()
        if measured is not None:
            (folder / "metrics.json").write_text(json.dumps(measured))
        judged = {tag.OBJECTIVE: objective[0], tag.OBJECTIVE_MODE: objective[1]} if objective else {}
        started = MORNING + timedelta(hours=count)
        return RunRecord(
            f"{count:032x}",
            name,
            "lab",
            "FINISHED",
            started,
            started,
            params or {},
            metrics or {},
            judged | (tags or {}),
            folder,
        )

    return make


def scores(fid, protocol=PROTOCOL, split="test"):
    return {split: {"values": {"fid": fid, "precision": 0.5}, "protocol": protocol}}


def shown(comparison):
    console = Console(width=220, file=io.StringIO())
    console.print(comparison.table())
    return console.file.getvalue()


def test_rows_are_newest_first_and_fields_are_exact(record):
    comparison = compare([record("old", measured=scores(3.0)), record("new", {"rate": "1"}, scores(4.0))])
    rows = json.loads(comparison.json())
    assert [row["run_name"] for row in rows] == ["new", "old"]
    assert list(rows[0]) == ["run_id", "run_name", "experiment", "status", "params", "metrics", "protocol"]
    assert rows[0]["params"] == {"rate": "1"}
    assert rows[0]["metrics"] == {"test/fid": 4.0, "test/precision": 0.5}
    assert rows[0]["protocol"] == PROTOCOL


def test_json_has_no_word_for_nan(record):
    rows = json.loads(
        compare([record("bad", metrics={"val/fid": float("nan"), "val/up": float("inf")})]).json(),
        parse_constant=pytest.fail,
    )
    assert rows[0]["metrics"] == {"val/fid": None, "val/up": None}


def test_only_params_that_differ_are_told(record):
    one = record("one", {"rate": "1", "seed": "0"})
    other = record("other", {"rate": "2", "seed": "0", "extra": "x"})
    assert compare([one, other]).differing_params == ["extra", "rate"]
    assert compare([one]).differing_params == []


def test_lists_are_shown_as_they_are(record):
    runs = [record("one", {"parts": "[encoder, decoder]"}), record("other", {"parts": "[bold]"})]
    assert "[encoder, decoder]" in shown(compare(runs))
    assert "[bold]" in shown(compare(runs))


def test_equal_protocols_are_ranked(record):
    comparison = compare([record(name, measured=scores(fid)) for name, fid in (("b", 5.0), ("a", 3.0), ("c", 9.0))])
    (ranking,) = comparison.rankings
    assert [row.run_name for row in ranking] == ["a", "b", "c"]
    assert comparison.verdict == "00000000 a has the lowest test/fid: 3."
    assert "3 (1)" in shown(comparison)
    assert "9 (3)" in shown(comparison)


def test_more_is_better_when_the_run_says_so(record):
    runs = [
        record(name, measured={"test": {"values": {"accuracy": value}, "protocol": {}}}, objective=("accuracy", "max"))
        for name, value in (("a", 0.9), ("b", 0.95), ("broken", float("nan")))
    ]
    assert [row.run_name for row in compare(runs).rankings[0]] == ["b", "a"]


def test_different_protocols_are_not_ranked_against_each_other(record):
    comparison = compare(
        [
            record("thousand", measured=scores(5.0)),
            record("ten thousand", measured=scores(3.0, PROTOCOL | {"generated": 10000})),
            record("thousand too", measured=scores(4.0)),
        ]
    )
    assert comparison.differing_protocol == {"generated": [1000, 10000]}
    assert sorted([row.run_name for row in ranking] for ranking in comparison.rankings) == [
        ["ten thousand"],
        ["thousand too", "thousand"],
    ]
    assert "not measured alike" in comparison.verdict
    assert "generated: 1000, 10000" in comparison.verdict
    assert "#2" in shown(comparison)


def test_a_measured_run_is_not_ranked_with_an_unmeasured_one(record):
    comparison = compare([record("curve only", metrics={"val/fid": 1.0}), record("measured", measured=scores(4.0))])
    assert len(comparison.rankings) == 2
    assert "different metrics" in comparison.verdict
    unmeasured = record("val", metrics={"val/fid": 1.0})
    measured = record("val measured", measured=scores(2.0, split="val"))
    assert "under no protocol" in compare([unmeasured, measured]).verdict


def test_the_value_at_the_best_checkpoint_counts(record):
    diverged = record("diverged", metrics={"val/fid": 90.0}, tags={tag.OBJECTIVE_VALUE: "3.0"})
    steady = record("steady", metrics={"val/fid": 5.0})
    (ranking,) = compare([diverged, steady]).rankings
    assert [row.run_name for row in ranking] == ["diverged", "steady"]


def test_runs_without_an_objective_can_be_compared(record):
    comparison = compare([record("one", objective=None), record("two")])
    assert comparison.rankings == []
    assert "None of these runs" in comparison.verdict
    assert "one" in shown(comparison)
    assert compare([]).json() == "[]"


def test_what_is_only_noted_does_not_keep_runs_from_being_ranked(record):
    one = record("one", measured=scores(1.0, {**PROTOCOL, "library": "old"}))
    other = record("other", measured=scores(2.0, {**PROTOCOL, "library": "new"}))
    assert len(compare([one, other]).rankings) == 2
    compared = compare([one, other], noted="library".__eq__)
    assert [[row.run_name for row in ranking] for ranking in compared.rankings] == [["one", "other"]]
    assert compared.differing_protocol == {}
    assert [row.protocol["library"] for row in compared.rows] == ["new", "old"]


def test_single_classes_are_in_the_json_and_not_in_the_table(record):
    values = {
        "fid": 1.0,
        "precision": 0.5,
        "precision_a_b": 0.25,
        "recall_a_b": 0.5,
        "f1_a_b": 1 / 3,
        "recall_noise": 0.1,
    }
    comparison = compare([record("one", measured={"test": {"values": values, "protocol": PROTOCOL}})])
    assert "test/precision" in shown(comparison)
    assert "a_b" not in shown(comparison)
    assert json.loads(comparison.json())[0]["metrics"]["test/recall_a_b"] == 0.5
    names = guessed({f"test/{name}" for name in values})
    assert names["test/recall_a_b"] == Reference("test/recall", "a_b", "class")
    assert set(names) == {f"test/{measure}_a_b" for measure in ("precision", "recall", "f1")}


def test_what_a_run_cost_and_whether_it_was_well_stand_beside_its_scores(record):
    well = record("well", measured=scores(3.0), tags={tag.HEALTH: "healthy"}, metrics={"cost/seconds": 61.0})
    ill = record("ill", measured=scores(9.0), tags={tag.HEALTH: "mode collapse at 8,000 images"},
                 metrics={"cost/seconds": 59.0, "cost/images_per_second": 1200.0, "train/loss": 4.0})  # fmt: skip
    titles, (first, second) = compare([well, ill])._grid()
    assert titles[4:] == [
        *("test/fid", "test/precision", "cost/seconds", "cost/images_per_second", "health", "protocol")
    ]
    assert first[6:9] == ["59", "1200", "mode collapse at 8,000 images"]
    assert second[6:9] == ["61", "", "healthy"]
    assert "health" not in compare([record("unwatched", measured=scores(3.0))])._grid()[0]


def test_what_holds_a_grid_together_makes_no_setting_differ(record):
    parent = record("grid over rate", {"grid": "rate=1,2"}, objective=None)
    points = [
        record(f"rate={rate}", {"rate": rate, "seed": "0"}, scores(3.0), tags={tag.PARENT: parent.run_id})
        for rate in ("1", "2")
    ]
    assert compare([parent, *points]).differing_params == ["rate"]


def test_what_recorded_no_references_is_known_by_its_names():
    found = guessed({"test/fid", "test/fid_oracle", "test/mse_at_1", "test/mse_at_1_mean_image", "test/recall_noise"})
    assert found == {  # recall_noise is of a class of that name, there being no recall
        "test/fid_oracle": Reference("test/fid", "real train images", "oracle"),
        "test/mse_at_1_mean_image": Reference("test/mse_at_1", "mean image"),
    }


def test_references_that_were_recorded_are_believed_whatever_their_names(record):
    said = {"fid_mine": {"metric": "fid", "row": "my own way", "kind": "baseline"}}
    values = {"fid": 1.0, "fid_mine": 2.0, "fid_noise": 3.0}
    row = compare(
        [record("one", measured={"test": {"values": values, "protocol": PROTOCOL, "references": said}})]
    ).rows[0]
    assert row.references == {"test/fid_mine": Reference("test/fid", "my own way")}
