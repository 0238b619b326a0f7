import json
from types import SimpleNamespace

import pytest

from darkroom import config
from darkroom.commands import search
from darkroom.errors import UserError
from darkroom.tracking import tag
from darkroom.tracking.store import Store

SMALL = (
    "data.image_size=8 model.latent_dim=8 model.generator.width=4 model.discriminator.width=4 metrics.images=100"
    " metrics.test_images=100 metrics.kid_subsets=2 saving.samples=10 sentinel.every=null tracking.experiment=small"
)


def points(*overrides):
    return search.points_of(config.compose("train", ["search=r1_gamma", *overrides]))


def test_four_values_around_what_the_size_of_pictures_and_batches_suggests():
    found = points("experiment=gan/mnist", "search.images=4000")
    assert list(found) == [0.061, 0.24, 0.98, 3.9]
    for value, point in found.items():
        assert point["model"]["penalty"]["r1"] == point["model"]["penalty"]["r2"] == value
        assert point["budget"] == {"images": 4000, "minutes": None}
        assert point["metrics"]["every"] == 1000
        assert point["search"] is None
        assert point["name"] == f"r1=r2={value:g}"
    assert list(points("data=cifar10", "data.batch_size=128")) == [0.04, 0.16, 0.64, 2.6]
    assert list(points("search.start=2", "search.factors=[3,1]")) == [2.0, 6.0]


def test_what_is_zero_stays_zero():
    for point in points("penalty@model.penalty=r1").values():
        assert point["model"]["penalty"]["r2"] == 0
        assert point["model"]["penalty"]["r1"] > 0


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("train search=r1_gamma penalty@model.penalty=none", "type model=gan penalty@model.penalty=r1_r2"),
        ("train search=r1_gamma penalty@model.penalty=gradient_penalty", "which this model does not have"),
        ("train search=r1_gamma model=classifier", "which this model does not have"),
        ("train search=r1_gamma metrics=none", "type metrics=generative"),
        ("train search=r1_gamma search.factors=[0]", "'search.factors'"),
        ("train search=r1_gamma +search.factor=1", "did you mean 'factors'"),
        ("train search=r1_gama", "'r1_gamma'"),
        ("train search=r1_gamma -m seed=1,2", "search and -m were both given"),
        ("train search=r1_gamma resume=latest", "search and resume were both given"),
        ("train search=r1_gamma fork=latest", "search and fork were both given"),
        ("train search=r1_gamma trainer=ddp", "several devices do not mix"),
        ("train search=r1_gamma search.factors=[1e400]", "search.factors"),
    ],
)
def test_what_cannot_be_searched_is_refused_before_anything_is_made(line, sentence, root, typed):
    code, _, err = typed(line)
    assert (code, err.count("\n")) == (2, 1), err
    assert sentence in err
    assert not any(root.iterdir())


def test_a_search_trains_each_value_once_and_says_what_to_type(project, typed, runs):
    line = f"train {SMALL} search=r1_gamma search.images=128"
    code, out, err = typed(f"{line} search.factors=[1]")
    assert code == 0, err
    assert "r1=r2=0.08 has the lowest val/fid" in out
    parent = runs()["search over r1 r2"]
    first = runs()["r1=r2=0.08"]
    assert {parent.status, first.status} == {"FINISHED"}
    assert first.tags[tag.PARENT] == parent.run_id
    assert (first.params["model.penalty.r1"], first.params["model.penalty.r2"]) == ("0.08", "0.08")
    assert first.params["budget.images"] == "128"

    code, out, err = typed(f"{line} search.factors=[4,1]")
    assert code == 0, err
    records = {name: record for name, record in runs().items() if record.experiment == "small"}
    assert set(records) == {"search over r1 r2", "r1=r2=0.08", "r1=r2=0.32"}
    assert records["r1=r2=0.08"].run_id == first.run_id, "a finished value is not trained again"
    best = min(("0.08", "0.32"), key=lambda value: records[f"r1=r2={value}"].objective_value)
    said = next(line for line in out.splitlines() if line.startswith("darkroom train"))
    assert said == f"darkroom train {SMALL} model.penalty.r1={best} model.penalty.r2={best}"
    assert "was tried: search.start=" in out
    latest = Store.open(project).find("search over r1 r2")
    assert latest.run_id != parent.run_id
    summary = json.loads((latest.folder / "search.json").read_text())
    assert summary == {name: record.objective_value for name, record in records.items() if "=" in name}


def record(value, **more):
    return SimpleNamespace(
        **{
            "name": "r1=r2=x",
            "objective": ("val/fid", "min"),
            "objective_value": value,
            "metrics": {"val/fid": 9.0},
            "tags": {},
            "status": "FINISHED",
            "short_id": "1a2b3c4d",
            **more,
        }
    )


def test_a_value_that_fell_apart_is_shown_and_not_chosen(capsys):
    broken = record(None, status="FAILED", metrics={}, tags={tag.ENDED: "Diverged: loss became NaN"})
    ill = record(0.5, tags={tag.HEALTH: "divergence at 9,000 images"})
    search.print_verdict({0.1: broken, 0.4: ill, 1.6: record(0.7)}, ["model.penalty.r1"], ["seed=1", "search=r1_gamma"])
    out = capsys.readouterr().out
    assert "darkroom train seed=1 model.penalty.r1=0.4\n" in out
    assert "Diverged" in out
    assert "divergence" in out
    assert "was tried" not in out
    with pytest.raises(UserError, match="No value came to a score"):
        search.print_verdict({0.1: broken}, ["model.penalty.r1"], [])
