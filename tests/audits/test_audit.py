import json
import math

import numpy as np
import pytest
import torch

from darkroom.audits import forest
from darkroom.audits.audit import (
    ACCURACY,
    CALIBRATION,
    LIKE_FOR_LIKE,
    PRECISION,
    RECALL,
    RECOGNISED,
    SHARE,
    Settings,
)
from darkroom.audits.classifiers import audit_classifier, check_groups, compare_names
from darkroom.audits.fairness import BEYOND, UNKNOWN, WITHIN
from darkroom.audits.generators import Seen, audit_generator, compare_drawings
from darkroom.errors import UserError

QUICK = Settings(resamples=200)
KINDS = ["cat", "dog"]


def named(sizes, accuracies, seed=0, settings=QUICK, order=None):
    """An audit of groups a, b, ... whose pictures, half cats, were named right so often."""
    random = np.random.default_rng(seed)
    codes = np.repeat(np.arange(len(sizes)), sizes)
    labels = np.arange(len(codes)) % 2
    right = random.random(len(codes)) < np.asarray(accuracies)[codes]
    answers, confidences = np.where(right, labels, 1 - labels), np.asarray(accuracies)[codes] + 0.0
    order = slice(None) if order is None else order
    names = list("abcdefghij"[: len(sizes)])
    columns = (codes[order], labels[order], answers[order], confidences[order])
    return compare_names(names, *columns, KINDS, "camera", settings, {})


def by_name(audit):
    return {group.name: group for group in audit.groups}


# --- classifiers ------------------------------------------------------------------------------------------------------


def test_a_group_that_is_served_worse_stands_first_and_is_named():
    audit = named([2000, 2000, 2000], [0.9, 0.6, 0.9])
    assert audit.ranked[0].name == "b"
    gap = by_name(audit)["b"].gaps["accuracy"]
    assert gap.low < -0.3 < gap.high
    assert audit.overall(ACCURACY) == BEYOND
    sentence = audit.sentences()[0]
    assert sentence.startswith(f"camera b is named right {-100 * gap.value:.1f} points less often than the others (")
    assert sentence.endswith("a real gap, beyond the 5 points tolerated")
    assert audit.summary(ACCURACY).startswith(
        "accuracy, beyond tolerance: 3 of 3 groups differ from the others by more"
    )
    assert audit.extremes[1] == "b"
    assert audit.extremes[2].low < 0.3 < audit.extremes[2].high


def test_equal_groups_are_within_tolerance():
    audit = named([4000, 4000], [0.95, 0.95])
    assert {audit.overall(measure) for measure in audit.measures} == {WITHIN}
    assert (
        audit.summary(ACCURACY) == "accuracy, within tolerance: no group differs from the others by more than 5 points"
    )
    assert "no gap, give or take" in audit.sentence(audit.groups[0], ACCURACY)


def test_a_small_real_gap_is_called_real_and_tolerated():
    audit = named([20000, 20000], [0.97, 0.95])
    assert audit.overall(ACCURACY) == WITHIN
    assert "a real gap, within the 5 points tolerated" in audit.sentence(audit.ranked[0], ACCURACY)
    assert audit.sentence(audit.ranked[0], ACCURACY) in audit.sentences()


def test_a_group_of_seven_is_too_small_to_tell():
    audit = named([3000, 7, 1], [0.98, 0.98, 0.98])
    for name in "bc":
        assert audit.verdict(by_name(audit)[name], ACCURACY) == UNKNOWN
        assert "too few pictures to tell (n=" in audit.sentence(by_name(audit)[name], ACCURACY)
    assert audit.overall(ACCURACY) == UNKNOWN
    assert "cannot tell: no group differs from the others by more than 5 points for certain, but" in audit.summary(
        ACCURACY
    )


def test_tolerance_is_what_decides():
    verdicts = {
        tolerance: named([3000, 3000], [0.95, 0.85], settings=Settings(tolerance, resamples=200)).overall(ACCURACY)
        for tolerance in (0.02, 0.1, 0.3)
    }
    assert verdicts == {0.02: BEYOND, 0.1: UNKNOWN, 0.3: WITHIN}


def test_the_order_of_the_pictures_changes_nothing():
    order = np.random.default_rng(5).permutation(900)
    assert (
        named([500, 300, 100], [0.9, 0.8, 0.7], order=order).to_dict()
        == named([500, 300, 100], [0.9, 0.8, 0.7]).to_dict()
    )


def test_classes_as_groups_have_no_recall_of_their_own():
    labels = np.repeat([0, 1], 500)
    answers = labels.copy()
    answers[:100] = 1
    audit = compare_names(KINDS, labels, labels, answers, np.full(1000, 0.9), KINDS, "label", QUICK, {})
    assert audit.measures == [ACCURACY, CALIBRATION]
    assert audit.sentences()[0].startswith("class cat is named right 20 points less often than the others")
    assert "recall" not in audit.groups[0].values
    assert by_name(audit)["cat"].values["accuracy"].value == 0.8


def test_recall_class_by_class_within_a_group():
    audit = named([1000, 1000], [0.9, 0.7])
    assert audit.measures == [ACCURACY, LIKE_FOR_LIKE, CALIBRATION]
    values = by_name(audit)["b"].values
    assert values["recall"].value == pytest.approx((values["recall cat"].value + values["recall dog"].value) / 2)


def test_everything_fits_into_a_file():
    facts = named([50, 7, 0], [0.9, 0.9, 0.9]).to_dict()
    assert json.loads(json.dumps(facts, allow_nan=False)) == facts
    assert facts["groups"]["c"]["values"]["accuracy"] == {"value": None, "low": None, "high": None}
    assert facts["groups"]["b"]["gaps"]["accuracy"]["verdict"] == UNKNOWN
    assert facts["verdicts"].keys() == {"accuracy", "recall", "calibration_error"}


class Hesitant(torch.nn.Module):
    """Names bars by their brightest part, and is always 80% sure."""

    device = torch.device("cpu")
    averaged = False

    def predict(self, images):
        assert not self.training
        upright, level = images[:, 0, 1, 5], images[:, 0, 7, 1]
        answer = torch.where((upright > 0.05) & (level > 0.05), 2, torch.where(upright > level, 0, 1))
        return torch.nn.functional.one_hot(answer, 3) * math.log(0.8 / 0.1)


def test_a_classifier_is_audited_on_every_picture_of_a_split(data, random_state):
    before = random_state()
    codes = torch.arange(150) % 2
    audit = audit_classifier(Hesitant(), data, "test", "hand", (["left", "right"], codes), QUICK)
    assert random_state() == before
    assert [group.count for group in audit.groups] == [75, 75]
    for group in audit.groups:
        assert group.values["accuracy"].value == 1
        assert group.values["confidence"].value == pytest.approx(0.8)
        assert group.values["calibration_error"].value == pytest.approx(0.2)
        assert group.values["overconfidence"].value == pytest.approx(-0.2)
    assert audit.protocol["data_digest"] == data.split_digests["test"]
    assert audit.protocol["correction"] == "Bonferroni over 2 groups"
    other = audit_classifier(Hesitant(), data, "test", "hand", (["left", "right"], 1 - codes), QUICK)
    assert other.protocol["groups_digest"] != audit.protocol["groups_digest"]


def test_groups_that_cannot_be_compared_are_refused(data, make_data):
    refused = {
        "nothing to compare: all 150 test pictures are 'b'": (["a", "b"], torch.ones(150, dtype=torch.int64)),
        "into a group of its own": ([str(n) for n in range(150)], torch.arange(150)),
    }
    for fragment, groups in refused.items():
        with pytest.raises(UserError, match=fragment):
            audit_classifier(Hesitant(), data, "test", "age", groups, QUICK)
    many = torch.arange(500) % 250
    with pytest.raises(UserError, match="into 250 groups, too many to compare"):
        check_groups([str(n) for n in range(250)], many, "age", "test")
    check_groups([str(n) for n in range(250)], many, "label", "test")
    with pytest.raises(UserError, match="have no labels"):
        audit_classifier(Hesitant(), make_data(class_names=[]), "test", "age", (["a", "b"], many[:150]), QUICK)


# --- generators -------------------------------------------------------------------------------------------------------


def seen(counts, seed, moved=(), named=None, features=4):
    """Pictures around one point per class; classes in ``moved`` lie elsewhere, and ``named`` overrules the judge."""
    generator = torch.Generator().manual_seed(seed)
    classes = np.repeat(np.arange(len(counts)), counts)
    points = torch.randn(len(classes), features, generator=generator) + 10 * torch.from_numpy(classes)[:, None]
    points[torch.from_numpy(np.isin(classes, moved))] += 3
    return Seen(points, classes if named is None else named(classes), classes)


NAMES = ["zero", "one", "two"]


def test_a_class_that_is_drawn_badly_is_found():
    real, oracle = seen([60] * 3, 1), seen([60] * 3, 2)
    made = seen([60] * 3, 3, moved=[1], named=lambda classes: np.where(classes == 1, 2, classes))
    audit = compare_drawings(made, real, oracle, NAMES, True, QUICK, {})
    assert audit.measures == [RECOGNISED, PRECISION, RECALL]
    worst = audit.ranked[0]
    assert worst.name == "one"
    assert worst.values["recognised"].value == 0
    assert worst.beside["recognised"] == 1
    assert worst.gaps["recognised"].value == -1
    for measure in (RECOGNISED, PRECISION, RECALL):
        assert audit.verdict(worst, measure) == BEYOND
    groups = by_name(audit)
    assert groups["zero"].gaps["precision"].low < 0 < groups["zero"].gaps["precision"].high
    assert groups["one"].values["fid"].low > 5 * groups["one"].beside["fid"]
    for name in ("zero", "two"):
        fid = groups[name].values["fid"]
        assert fid.low < groups[name].beside["fid"] < fid.high
    assert groups["two"].values["share"].value == pytest.approx(2 / 3)
    assert audit.extremes[1] == "one"
    assert audit.notes == []


def test_an_unconditional_generator_is_held_to_how_often_classes_occur():
    made, real = seen([500, 250, 250], 1), seen([40, 40, 0], 2)
    audit = compare_drawings(made, real, seen([40, 40, 40], 3), NAMES, False, QUICK, {})
    groups = by_name(audit)
    assert audit.measures[0] is SHARE
    assert audit.extremes is None
    assert groups["zero"].gaps["share"].value == pytest.approx(0)
    assert groups["one"].gaps["share"].value == pytest.approx(-0.5)
    assert audit.sentence(groups["one"], SHARE).startswith("class one is drawn 50% less often than it occurs (")
    assert "beyond the 5% tolerated" in audit.sentence(groups["one"], SHARE)
    assert math.isnan(groups["two"].gaps["share"].value)
    assert audit.sentence(groups["two"], SHARE) == "class two: too few pictures to tell (n=250)"
    assert audit.notes == ["too few pictures for precision, recall and FID: class two"]


def test_what_too_few_pictures_cannot_say_is_left_out_and_said():
    audit = compare_drawings(
        seen([60, 5, 0], 1, features=40),
        seen([60] * 3, 2, features=40),
        seen([60] * 3, 3, features=40),
        NAMES,
        True,
        QUICK,
        {},
    )
    groups = by_name(audit)
    assert math.isnan(groups["zero"].values["fid"].value)
    assert 0 <= groups["zero"].values["precision"].value <= 1
    assert math.isnan(groups["one"].values["precision"].value)
    assert math.isnan(groups["two"].values["recognised"].value)
    assert audit.notes == [
        "too few pictures for FID (at least 82 on either side): class zero",
        "too few pictures for precision, recall and FID: classes one, two",
    ]
    assert json.dumps(audit.to_dict(), allow_nan=False)


def test_of_real_pictures_in_an_order_some_of_all_are_taken():
    real = seen([400, 400, 400], 1)
    moved = torch.arange(1200) % 400 >= 200  # the second half of every class looks different
    real = Seen(real.features + 30 * moved[:, None], real.named, real.classes)
    audit = compare_drawings(seen([200] * 3, 2), real, seen([200] * 3, 3), NAMES, True, QUICK, {})
    assert all(0.3 < group.values["recall"].value < 0.7 for group in audit.groups)


def test_a_generator_is_drawn_from_and_judged(data, painter, judge, random_state):
    before = random_state()
    audit = audit_generator(painter, data, "test", judge, 90, QUICK)
    assert random_state() == before
    assert painter.largest <= 256
    assert [group.count for group in audit.groups] == [30, 30, 30]
    assert audit.protocol["generated_images"] == 90
    assert audit.protocol["extractor_hash"] == judge.hash
    assert audit.protocol["averaged_weights"] is True
    assert set(audit.groups[0].beside) == {"share", "recognised", "precision", "recall", "fid"}
    again = audit_generator(painter, data, "test", judge, 90, QUICK)
    assert again.to_dict() == audit.to_dict()
    assert (
        audit_generator(painter, data, "test", judge, 90, Settings(seed=3, resamples=200)).to_dict() != audit.to_dict()
    )
    assert audit_generator(painter, data, "train", judge, 90, QUICK).measures == [RECOGNISED]  # no oracle there


def test_a_generator_without_classes_or_with_another_judge_is_refused(make_data, painter, data, make_judge):
    with pytest.raises(UserError, match="does not name the classes of bars"):
        audit_generator(painter, data, "test", make_judge(class_names=["a", "b", "c"]), 90, QUICK)
    with pytest.raises(UserError, match="have no labels"):
        audit_generator(painter, make_data(class_names=[]), "test", make_judge(), 90, QUICK)


# --- the picture ------------------------------------------------------------------------------------------------------


def test_the_picture_shows_verdicts_in_colour_and_grows_with_the_groups():
    def coloured(audit, verdict):
        ink = np.array([int(forest.LOOKS[verdict][0][place : place + 2], 16) for place in (1, 3, 5)])
        picture = forest.draw(audit, "a run")
        assert picture.dtype == np.uint8
        below = int(picture.shape[0] * 0.8)  # above the legend
        return int((np.abs(picture[:below].astype(int) - ink).sum(axis=2) < 12).sum())

    unequal, equal = named([2000, 2000], [0.9, 0.6]), named([9000, 9000], [0.95, 0.95])
    assert coloured(unequal, BEYOND) > 50 > coloured(equal, BEYOND)
    assert coloured(equal, WITHIN) > 50 > coloured(named([9, 9], [0.9, 0.9]), WITHIN)
    many = named([20] * 10, [0.9] * 10)
    assert forest.draw(many, "a run").shape[0] > forest.draw(equal, "a run").shape[0]
    assert (forest.draw(equal, "a run") == forest.draw(equal, "a run")).all()
