import json

import pytest
import yaml

from darkroom.tracking import tag


@pytest.mark.parametrize(("name", "experiment"), [("painter", "gan/digits"), ("namer", "classifier/digits")])
def test_a_run_comes_out_the_same_to_the_bit(name, experiment, project, typed, runs):
    code, out, err = typed(f"reproduce run={name}")
    assert code == 0, err
    assert "The same to the bit." in out
    again = runs()[f"{name} again"]
    assert again.tags[tag.REPRODUCES] == runs()[name].run_id
    assert again.experiment == experiment
    before, after = (json.loads((runs()[made].folder / "metrics.json").read_text()) for made in (name, f"{name} again"))
    assert before["test"]["values"] == after["test"]["values"]


def test_a_difference_is_reported(project, typed, runs):
    file = runs()["namer"].folder / "metrics.json"
    content = json.loads(file.read_text())
    content["test"]["values"]["accuracy"] += 0.25
    content["test"]["values"]["gone"] = 1.0
    file.write_text(json.dumps(content))
    code, out, _ = typed("reproduce run=namer")
    assert code == 1
    assert "Not the same." in out
    assert "-0.25" in out
    assert "missing" in out


def edit(record, change):
    file = record.folder / "config.yaml"
    recorded = yaml.safe_load(file.read_text())
    change(recorded)
    file.write_text(yaml.safe_dump(recorded))


def test_a_run_older_than_the_sentinel_can_be_reproduced(project, typed, runs):
    def forget(recorded):
        del recorded["sentinel"]
        recorded["search"] = None  # which training once had

    edit(runs()["namer"], forget)
    code, out, err = typed("reproduce run=namer")
    assert code == 0, err
    assert "The same to the bit." in out


def test_what_cannot_be_reproduced_is_refused(project, typed, runs):
    record = runs()["painter"]
    whole = {name: (record.folder / name).read_text() for name in ("config.yaml", "metrics.json")}

    def refused(fragment):
        code, _, err = typed("reproduce run=painter")
        assert code == 2, err
        assert fragment in err
        assert len([line for line in err.splitlines() if line.startswith("darkroom reproduce: ")]) == 1
        for name, text in whole.items():
            (record.folder / name).write_text(text)

    edit(record, lambda recorded: recorded["data"].update(split_seed=5))
    refused("The data are not those of run painter")
    edit(record, lambda recorded: recorded.update(init="abc"))
    refused("did not start from nothing")
    edit(record, lambda recorded: recorded["model"].update(latent_dimm=5))
    refused("did you mean 'latent_dim'")
    (record.folder / "config.yaml").unlink()
    refused("has no config.yaml")
    (record.folder / "metrics.json").unlink()
    refused("no metrics.json to compare with")
    assert set(runs()) == {"painter", "namer"}


@pytest.mark.parametrize("name", ["nobody", "painter/last"])
def test_an_unknown_run_is_refused(name, project, typed, runs):
    code, out, err = typed(f"reproduce run={name}")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert f"'{name}'" in err
    assert set(runs()) == {"painter", "namer"}
