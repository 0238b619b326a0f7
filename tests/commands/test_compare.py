import json


def listed(typed, more=""):
    code, out, err = typed(f"compare format=json {more}")
    assert code == 0, err
    return json.loads(out)


FIELDS = ["run_id", "run_name", "experiment", "status", "params", "metrics", "protocol"]


def test_json_is_one_array_newest_first(project, typed, runs):
    rows = listed(typed)
    assert [row["run_name"] for row in rows] == ["namer", "painter"]
    assert all(list(row) == FIELDS for row in rows)
    namer, painter = rows
    assert painter["run_id"] == runs()["painter"].run_id
    assert painter["experiment"] == "gan/digits"
    assert painter["status"] == "FINISHED"
    assert painter["params"]["data.image_size"] == "8"
    recorded = json.loads((runs()["painter"].folder / "metrics.json").read_text())["test"]
    assert painter["metrics"]["test/fid"] == recorded["values"]["fid"]
    assert painter["protocol"] == recorded["protocol"]
    assert "test/accuracy" in namer["metrics"]


def test_runs_can_be_named_and_filtered(project, typed, runs):
    for one in ("runs=[painter]", "runs=painter"):
        assert [row["run_name"] for row in listed(typed, one)] == ["painter"]
    short = runs()["painter"].run_id[:8]
    assert [row["run_name"] for row in listed(typed, f"runs=[{short},latest,painter]")] == ["namer", "painter"]
    assert [row["run_name"] for row in listed(typed, "experiment=gan/digits")] == ["painter"]


def test_json_of_no_runs_is_an_empty_array(store, typed):
    assert listed(typed) == []


def test_table_and_file(project, typed):
    code, out, _ = typed("compare")
    assert code == 0
    assert "painter" in out
    assert "namer" in out
    assert typed("compare format=json output=deep/down.json")[0] == 0
    assert len(json.loads((project / "deep" / "down.json").read_text())) == 2


def test_bad_input_is_one_sentence(project, typed):
    for more, fragment in {
        "runs=[nobody]": "No run's id begins with 'nobody'",
        "experiment=gan/digit": "'gan/digits'",
        "output=table.txt": "type format=json",
        "format=html": "type darkroom report",
        "runs=nobody": "No run's id begins with 'nobody'",
    }.items():
        code, out, err = typed(f"compare {more}")
        assert (code, out, err.count("\n")) == (2, "", 1), err
        assert fragment in err, err


def test_nothing_to_show_is_said(store, typed):
    code, _, err = typed("compare")
    assert code == 2
    assert "Try: darkroom train" in err
