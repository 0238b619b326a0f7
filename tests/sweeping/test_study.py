import json
import math

import pytest

from darkroom.sweeping import plots
from darkroom.sweeping.space import Space
from darkroom.sweeping.study import Study, read

SPACE = {
    "model.loss": {"choices": ["hinge", "wasserstein"]},
    "model.lr": {"low": 1e-4, "high": 1e-1, "log": True},
    "model.weight": {"low": 1, "high": 9, "int": True, "when": {"model.loss": "wasserstein"}},
}
SMALL = {"model.loss": {"choices": ["hinge", "wasserstein"]}, "data.batch_size": {"choices": [32, 64, [1, 2]]}}
ONE, TWO = {"val/fid": "min"}, {"val/fid": "min", "cost/seconds": "max"}


def study(space=SPACE, objectives=ONE, sampler="tpe", trials=24, points=(), pruner="median", seed=0):
    return Study(Space.read("mine", space, {}), objectives, sampler, pruner, seed, trials, points)


def bowl(point):
    """The nearer lr is to 0.003, the better."""
    return abs(math.log10(point.values["model.lr"] / 0.003))


def again(of, **more):
    """The study as it is made from its record, once that has been a file."""
    return study(objectives=of.objectives, points=read(json.loads(json.dumps(of.to_json()))), **more)


def trained(of, count, values=bowl):
    for _ in range(count):
        point = of.ask()
        point.finish([[values(point)] * len(of.objectives)])
        of.tell(point)
    return of


@pytest.mark.parametrize("sampler", ["tpe", "random", "nsgaii", "grid"])
@pytest.mark.parametrize("trials", [4, 20])
def test_a_finite_space_is_gone_through_once_and_no_further(sampler, trials):
    found = trained(study(SMALL, sampler=sampler, trials=trials), min(trials, 6), lambda point: point.number)
    assert found.ask() is None
    made = [json.dumps(point.values) for point in found.points]
    assert len(set(made)) == len(made) == min(trials, 6)


def test_points_do_not_repeat_when_a_study_goes_on_although_the_seed_is_the_same():
    first = trained(study(), 5)
    second = trained(again(first), 5)
    values = [point.values["model.lr"] for point in second.points]
    assert len(set(values)) == 10
    assert values[:5] == [point.values["model.lr"] for point in first.points]
    assert [point.number for point in second.points] == list(range(1, 11))


@pytest.mark.parametrize(
    ("sampler", "space", "points"),
    [(sampler, SPACE, 16) for sampler in ("tpe", "random", "nsgaii")]
    + [(sampler, SMALL, 6) for sampler in ("tpe", "random", "nsgaii", "grid")],
)
def test_a_study_that_is_interrupted_at_every_point_proposes_what_one_that_never_was_does(sampler, space, points):
    def ends(point):
        return math.log(float(point.values.get("model.lr", 1.0))) ** 2 + 1 / point.number

    more = {"space": space, "sampler": sampler, "trials": 16}
    whole = trained(study(**more), points, ends)
    part = study(**more)
    for _ in range(points):
        assert part.ask() is not None  # and killed while it is trained
        part = again(part, **more)
        (point,) = part.open
        point.finish([[ends(point)]])
        part.tell(point)
        part = again(part, **more)
    assert [point.values for point in part.points] == [point.values for point in whole.points]
    other = trained(study(seed=1, **more), points, ends)
    assert sampler == "grid" or [point.values for point in other.points] != [point.values for point in whole.points]


def test_what_was_being_trained_is_trained_first_when_it_goes_on():
    first = trained(study(), 3)
    left = [first.ask(), first.ask()]
    second = again(first)
    assert [point.values for point in second.open] == [point.values for point in left]
    for point in second.open:
        point.finish([[1.0]])
        second.tell(point)
    assert not second.open
    trained(second, 19)
    assert second.ask() is None
    assert len(second.points) == 24


def test_the_search_finds_the_bottom_of_a_bowl_across_restarts():
    found = study(trials=40)
    for _ in range(4):
        found = again(trained(found, 10), trials=40)
    assert 0.002 < found.best[0].values["model.lr"] < 0.0045
    late = [bowl(point) for point in found.points[20:]]
    early = [bowl(point) for point in found.points[:10]]
    assert sorted(late)[len(late) // 2] < sorted(early)[len(early) // 2], "it learns from what it was told"


def test_seeds_count_by_their_mean_and_tell_their_spread():
    found = study()
    point = found.ask()
    point.finish([[1.0], [2.0], [6.0]])
    assert point.objectives == [3.0]
    assert point.spreads == [pytest.approx(math.sqrt(7))]
    assert point.came() == ["3 ± 2.6"]


def test_a_curve_worse_than_the_median_at_the_same_score_is_pruned_and_no_other():
    found = study()
    for level in (1.0, 2.0, 3.0, 4.0):
        point = found.ask()
        assert all(found.report(point, score, level + 1 / score) is None for score in (1, 2, 3, 4))
        point.finish([[level]])
        found.tell(point)
    bad, good = found.ask(), found.ask()
    assert found.report(bad, 1, 90.0) is None, "the first scores tell too little"
    assert found.report(bad, 2, 90.0) is None
    assert found.report(bad, 3, 90.0) == pytest.approx(2.5 + 1 / 3)
    assert all(found.report(good, score, 2.0) is None for score in (1, 2, 3, 4))
    bad.end("pruned", "too high")
    found.tell(bad)
    back = again(found)
    assert [point.state for point in back.points] == ["finished"] * 4 + ["pruned", "open"]
    assert back.points[4].curve == {1: 90.0, 2: 90.0, 3: 90.0}
    unpruned = again(found, pruner=None)
    assert unpruned.report(unpruned.open[0], 5, 90.0) is None


def test_what_failed_is_no_best_and_stops_nothing():
    found = study()
    point = found.ask()
    point.end("failed", "loss became NaN")
    found.tell(point)
    assert found.best == []
    trained(found, 5)
    back = again(found)
    assert back.points[0].state == "failed"
    assert back.best[0].state == "finished"
    assert len(trained(back, 18).points) == 24


def test_with_several_objectives_the_best_are_those_that_none_beats():
    found = study(objectives=TWO, sampler="nsgaii")
    for pair in ([1.0, 1.0], [2.0, 5.0], [3.0, 4.0], [4.0, 9.0], [1.0, 0.5]):
        point = found.ask()
        point.finish([pair])
        found.tell(point)
    assert [point.objectives for point in found.best] == [[1.0, 1.0], [2.0, 5.0], [4.0, 9.0]]
    assert [point.objectives for point in again(found, sampler="nsgaii").best] == [[1.0, 1.0], [2.0, 5.0], [4.0, 9.0]]


def test_what_decides_is_what_matters():
    shares = trained(study(sampler="random"), 16).importance()
    assert set(shares) == {"model.loss", "model.lr"}, "only what every point has can be compared"
    assert shares["model.lr"][0] > 0.8
    assert trained(study(), 3).importance() == {}


def test_pictures_are_drawn_as_soon_as_there_is_something_to_see():
    assert plots.draw(study()) == {}
    assert set(plots.draw(trained(study(), 2))) == {"parallel.png"}
    found = plots.draw(trained(study(), 6))
    assert set(found) == {"parallel.png", "importance.png"}
    assert all(picture.startswith(b"\x89PNG") for picture in found.values())
