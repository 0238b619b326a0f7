import math

import pytest

from darkroom.config.composing import compose
from darkroom.errors import UserError
from darkroom.sweeping.space import Space, text

BASE = {
    "data": {"batch_size": 64, "image_size": 8},
    "model": {"loss": "hinge", "penalty": {"r1": 1.0, "r2": 0.0}, "optimizer": {"lr": 0.1, "betas": [0.0, 0.99]}},
}


def read(space, base=BASE):
    return Space.read("mine", space, base, "model=gan")


CONDITIONED = {
    "model.loss": {"choices": ["hinge", "wasserstein"]},
    "model.optimizer.lr": {"low": 1e-4, "high": 1e-2, "log": True},
    "model.penalty.weight": {"low": 1, "high": 3, "int": True, "when": {"model.loss": "wasserstein"}},
}


def test_a_condition_decides_whether_a_setting_is_chosen_at_all():
    space = read(CONDITIONED)
    chosen = {"model.loss": "hinge", "model.optimizer.lr": 0.001, "model.penalty.weight": 2}
    assert space.choose(lambda each: chosen[each.key]) == {"model.loss": "hinge", "model.optimizer.lr": 0.001}
    chosen["model.loss"] = "wasserstein"
    assert space.choose(lambda each: chosen[each.key]) == chosen
    assert space.overrides(chosen) == ["model.loss=wasserstein", "model.optimizer.lr=0.001", "model.penalty.weight=2"]
    assert space.label(chosen) == "loss=wasserstein lr=0.001 weight=2"


def test_a_condition_on_what_is_not_searched_holds_or_not_from_the_start():
    for loss, count in (("hinge", 2), ("wasserstein", 1)):
        space = read(
            {
                "data.batch_size": {"choices": [32, 64]},
                "model.optimizer.lr": {"low": 1, "high": 2, "when": {"model.loss": loss}},
            }
        )
        assert len(space.dimensions) == count
        assert all(dimension.when == () for dimension in space.dimensions)


def test_a_finite_space_is_listed_with_its_conditions():
    space = read(
        {
            "model.loss": {"choices": ["hinge", "wasserstein"]},
            "model.penalty.weight": {"low": 1, "high": 3, "int": True, "when": {"model.loss": "wasserstein"}},
            "data.zoom": {"low": 0.0, "high": 0.3, "step": 0.1},
        }
    )
    points = space.values()
    assert len(points) == (1 + 3) * 4
    assert len({str(point) for point in points}) == len(points)
    assert sorted({point["data.zoom"] for point in points}) == [0.0, 0.1, 0.2, 0.3]
    assert read(CONDITIONED).values() is None


def test_the_ends_hold_every_choice_and_both_ends_of_every_range():
    points = list(read(CONDITIONED).ends())
    seen = {(key, value) for point in points for key, value in point.items()}
    assert seen == {
        *(("model.loss", loss) for loss in ("hinge", "wasserstein")),
        *(("model.optimizer.lr", lr) for lr in (1e-4, 1e-2)),
        *(("model.penalty.weight", weight) for weight in (1, 3)),
    }
    assert all(("model.penalty.weight" in point) == (point["model.loss"] == "wasserstein") for point in points)


def test_what_is_multiplied_and_set_to_zero_stays_zero():
    spec = {"start": 0.32, "factors": [4, 1, 0.0625], "also": ["model.penalty.r2", "model.penalty.weight"]}
    space = read({"model.penalty.r1": spec})
    assert [dimension.settings for dimension in space.dimensions] == [("model.penalty.r1",)]
    assert space.values() == [{"model.penalty.r1": value} for value in (0.02, 0.32, 1.3)]
    (dimension,) = space.dimensions
    assert [dimension.at_the_end(value) for value in (0.02, 0.32, 1.3)] == ["low", "", "high"]


def test_a_value_in_a_range_can_be_typed_and_stays_within():
    (dimension,) = read({"model.optimizer.lr": {"low": 0.123444, "high": 0.987654, "log": True}}).dimensions
    assert dimension.within(0.5555555) == 0.5556
    assert dimension.within(0.123445) == 0.123444
    assert dimension.within(0.9876539) == 0.987654


VALUES = [1, -2.5, 1e-5, 123456.789, True, None, "hinge", "gan/digits", "a b", "it's", "1e3", "null", "", [0.0, 0.99]]


def test_a_value_is_read_from_the_line_as_itself():
    node = compose("train", [f"+model.new{place}={text(value)}" for place, value in enumerate(VALUES)])
    found = [node["model"][f"new{place}"] for place in range(len(VALUES))]
    assert found == VALUES
    assert [type(value) for value in found] == [type(value) for value in VALUES]


def test_labels_are_as_short_as_they_can_be():
    space = read(
        {
            "a.b.lr": {"low": 1, "high": 2},
            "a.c.lr": {"low": 1, "high": 2, "also": ["a.d.lr"]},
            "penalty@model.penalty": {"choices": ["r1", "r2"]},
            "e.r1": {"low": 1, "high": 2, "also": ["e.r2"]},
        }
    )
    assert list(space.labels().values()) == ["b.lr", "c.lr", "penalty", "r1=r2"]


@pytest.mark.parametrize(
    ("space", "sentence"),
    [
        ({"a": 3}, "{low, high} or {choices} was expected"),
        ({"a": {"low": 1, "hihg": 2}}, "did you mean 'high'"),
        ({"a": {}}, "needs one of"),
        ({"a": {"low": 1, "high": 2, "choices": [1]}}, "needs one of"),
        ({"a": {"low": 2, "high": 1}}, "low must be below high"),
        ({"a": {"low": 2}}, "high is None"),
        ({"a": {"low": 0, "high": 1, "log": True}}, "low must be above 0"),
        ({"a": {"low": 1, "high": math.inf}}, "a number was expected"),
        ({"a": {"low": 1.5, "high": 3, "int": True}}, "a whole number was expected"),
        ({"a": {"low": 1, "high": 3, "step": 1, "log": True}}, "goes without log"),
        ({"a": {"low": 1, "high": 3, "step": 0}}, "a step is above 0"),
        ({"a": {"choices": []}}, "a list of values"),
        ({"a": {"choices": [1, 1]}}, "holds a value twice: 1, 1"),
        ({"a": {"choices": [1], "when": {"b": 2}}}, "neither chosen above it nor a setting"),
        ({"b": {"choices": [1]}, "a": {"choices": [1], "when": {"b": 2}}}, "not among its choices"),
        ({"a": {"choices": [1], "when": {"b": 2}}, "b": {"choices": [2]}}, "neither chosen above it"),
        ({"a": {"start": 1, "factors": [2]}}, "type model=gan, or another search"),
        ({"model.optimizer.lr": {"start": None, "factors": [2]}}, "type search.start="),
        ({"model.optimizer.lr": {"start": 1, "factors": [0]}}, "numbers above 0"),
        ({"data.batch_size": {"choices": [1], "when": {"model.loss": "minimax"}}}, "its space is empty"),
        ({}, "its space is empty"),
    ],
)
def test_what_is_no_space_is_refused_in_a_sentence(space, sentence):
    with pytest.raises(UserError) as refused:
        read(space)
    assert sentence in str(refused.value)
    assert "\n" not in str(refused.value)
