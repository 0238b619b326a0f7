import copy
import math

import pytest
import torch

from darkroom.callbacks import health
from darkroom.callbacks.health import COLLAPSE, DIVERGENCE, MEMORISATION, OVERFIT, Health, Reference, Watch
from darkroom.errors import UserError
from darkroom.judges import statistics

CLASSES = 4
CENTRES = 3 * torch.eye(8)[:CLASSES]


def pictures(labels, seed):
    """Return features of pictures of these classes, and logits that know the class."""
    generator = torch.Generator().manual_seed(seed)
    features = CENTRES[labels] + torch.randn(len(labels), 8, generator=generator)
    return features, 9.0 * torch.nn.functional.one_hot(labels, CLASSES)


@pytest.fixture
def reference():
    real, _ = pictures(torch.arange(200) % CLASSES, seed=1)
    train, _ = pictures(torch.arange(600) % CLASSES, seed=2)
    return Reference.of(real, train, torch.full((CLASSES,), 1 / CLASSES, dtype=torch.float64))


def looked_at(reference, labels, seed=3, change=lambda features: features):
    features, logits = pictures(labels, seed)
    return health.vitals(change(features), logits, reference)


def test_pictures_like_the_real_ones_are_well(reference):
    values = looked_at(reference, torch.arange(200) % CLASSES)
    assert values["distance"] < 2 * reference.distance < 1
    assert values["recall"] > 0.7
    assert values["coverage"] > 0.8
    assert values["diversity"] == pytest.approx(1, abs=0.06)
    assert values["duplicates"] < 0.05
    assert values["copies"] < 0.5
    assert values["class_entropy"] == pytest.approx(1)
    assert values["class_divergence"] == pytest.approx(0, abs=1e-9)


def test_one_class_alone_is_seen_by_all_that_varies(reference):
    well = looked_at(reference, torch.arange(200) % CLASSES)
    values = looked_at(reference, torch.zeros(200, dtype=torch.int64))
    assert values["class_entropy"] == 0
    counts = torch.tensor([200.5, 0.5, 0.5, 0.5]) / 202
    assert values["class_divergence"] == pytest.approx((counts * (counts * CLASSES).log()).sum().item(), rel=1e-6)
    assert values["coverage"] < 0.6 * well["coverage"]
    assert values["recall"] < 0.6 * well["recall"]
    assert values["diversity"] < 0.8
    assert values["distance"] > 10 * well["distance"]


def test_one_picture_again_and_again_has_doubles_and_no_diversity(reference):
    features, logits = pictures(torch.arange(200) % CLASSES, seed=3)
    same = features[:1] + 1e-4 * features
    values = health.vitals(same, logits, reference)
    assert values["duplicates"] == 1
    assert values["diversity"] < 0.001
    assert values["recall"] == 0
    half = torch.cat([features[:100], features[:100] + 1e-5])
    assert health.vitals(half, logits, reference)["duplicates"] > 0.9


def test_copies_of_training_pictures_are_nearer_than_new_ones(reference):
    copied = looked_at(reference, torch.arange(200) % CLASSES, change=lambda f: reference.train[:200] + 0.01 * f)
    assert copied["copies"] == 1
    assert copied["duplicates"] < 0.05
    assert copied["recall"] > 0.7


@pytest.mark.parametrize("count", [6, 40, 300])
def test_the_distance_is_the_one_of_fid(count):
    generator = torch.Generator().manual_seed(0)
    left = torch.randn(count, 16, generator=generator) @ torch.randn(16, 16, generator=generator)
    right = torch.randn(count + 3, 16, generator=generator) + 0.5
    assert health.frechet(left, right) == pytest.approx(statistics.frechet(left, right), rel=1e-3)
    assert health.frechet(left, left) == pytest.approx(0, abs=1e-6)


def test_overfitting_is_the_place_of_held_out_pictures():
    noise = torch.randn(256, generator=torch.Generator().manual_seed(0))
    assert health.overfitting(noise + 2, noise, noise - 2) == pytest.approx(0.5)
    assert health.overfitting(noise + 2, noise - 2, noise - 2) == pytest.approx(1)
    assert health.overfitting(noise + 2, noise + 2, noise - 2) == 0
    # A tenth of a deviation is what chance makes of 256 pictures.
    assert health.overfitting(noise + 0.1, noise, noise - 0.3) == 0
    assert health.overfitting(noise - 2, noise - 3, noise) == 0


WELL = {"distance": 2.0, "recall": 0.9, "diversity": 1.0, "overfitting": 0.1, "copies": 0.3, "duplicates": 0.01}


def watch(**changes):
    return Watch(Health(**{"grace": 0, **changes}), floor=0.1)


def told(watch, images, **values):
    return [(finding.ailment, finding.since) for finding in watch.look(images, WELL | values)]


@pytest.mark.parametrize(
    ("ill", "ailment"),
    [
        ({"recall": 0.4}, COLLAPSE),
        ({"diversity": 0.45}, COLLAPSE),
        ({"duplicates": 0.5}, COLLAPSE),
        ({"distance": 3.5}, DIVERGENCE),
        ({"overfitting": 0.9}, OVERFIT),
        ({"copies": 0.95}, MEMORISATION),
    ],
)
def test_what_is_wrong_twice_in_a_row_is_told_once_until_it_was_well_again(ill, ailment):
    follow = watch()
    assert told(follow, 10) == []
    assert told(follow, 20, **ill) == []
    assert told(follow, 30, **ill) == [(ailment, 20)]
    assert told(follow, 40, **ill) == []
    assert told(follow, 50) == []
    assert told(follow, 60, **ill) == []
    assert told(follow, 70) == []
    assert told(follow, 80, **ill) == []
    assert told(follow, 90, **ill) == [(ailment, 80)]


def test_what_is_far_worse_is_told_at_once():
    for ill, ailment in (({"recall": 0.2}, COLLAPSE), ({"distance": 6.1}, DIVERGENCE)):
        follow = watch()
        assert told(follow, 10) == []
        assert told(follow, 20, **ill) == [(ailment, 20)]


def test_where_there_is_an_average_its_distance_counts_and_the_other_may_waver():
    follow = watch()
    for images, distance in ((10, 2.0), (20, 9.0), (30, 9.0)):
        assert told(follow, images, averaged_distance=3.0, distance=distance) == []
    assert told(follow, 40, averaged_distance=6.1) == [(DIVERGENCE, 40)]


def test_a_distance_near_the_floor_may_waver():
    follow = watch()
    for images, distance in enumerate([0.12, 0.25, 0.25, 0.28, 0.28]):
        assert told(follow, images, distance=distance) == []
    assert told(follow, 9, distance=0.7) == [(DIVERGENCE, 9)]


def test_within_the_grace_only_what_is_no_number_counts():
    follow = watch(grace=100)
    for images in (10, 20, 99):
        assert told(follow, images, recall=1.0, distance=0.1) == []
    assert told(follow, 99, train_logit=math.nan) == [(DIVERGENCE, 99)]
    assert told(follow, 100) == []
    assert told(follow, 110, distance=99.0) == [(DIVERGENCE, 110)]
    assert follow.best["distance"] == 2.0
    assert follow.best["recall"] == 0.9


def test_a_collapse_is_not_told_a_second_time_as_a_divergence():
    follow = watch()
    assert told(follow, 10) == []
    assert told(follow, 20, recall=0.0, distance=99.0) == [(COLLAPSE, 20)]
    assert told(follow, 30, recall=0.0, distance=99.0, overfitting=0.9) == []
    assert told(follow, 40, distance=99.0, overfitting=0.9) == [(OVERFIT, 30), (DIVERGENCE, 40)]


def test_what_is_no_number_leaves_no_trace_in_the_best():
    follow = watch()
    told(follow, 10)
    before = copy.deepcopy(follow.state_dict())
    (finding,) = follow.look(20, {"distance": math.inf, "recall": math.nan})
    assert finding.numberless
    assert finding.reason == "distance, recall became NaN or infinite"
    assert follow.state_dict() == before


def test_a_run_is_measured_by_its_own_best_and_not_by_others():
    poor = {"recall": 0.05, "diversity": 0.3, "distance": 50.0}
    follow = watch()
    assert [told(follow, images, **poor) for images in (10, 20, 30)] == [[], [], []]
    assert told(follow, 40, **poor | {"recall": 0.0}) == [], "too little to be lost"
    assert told(follow, 50, **poor | {"diversity": 0.1}) == []
    assert told(follow, 60, **poor | {"diversity": 0.1}) == [(COLLAPSE, 50)]


def test_a_watch_goes_on_where_it_was_and_a_settled_one_keeps_the_best():
    first, second = watch(), watch()
    told(first, 10)
    told(first, 20, recall=0.4)
    second.load_state_dict(first.state_dict())
    assert told(second, 30, recall=0.4) == told(first, 30, recall=0.4) == [(COLLAPSE, 20)]
    first.settle()
    assert told(first, 40, recall=0.4) == []
    assert told(first, 50, recall=0.4) == [(COLLAPSE, 40)]


@pytest.mark.parametrize("changes", [{"patience": 0}, {"worse": 1.0}, {"urgent": 0.5}])
def test_a_watch_that_would_always_cry_is_refused(changes):
    with pytest.raises(UserError, match="would alarm at any time"):
        Health(**changes)


def test_a_look_at_too_few_pictures_is_refused():
    with pytest.raises(UserError, match="images=31 pictures say nothing"):
        Health(images=31)
