import math

import numpy as np
import pytest
import torch

from darkroom.audits import fairness
from darkroom.audits.fairness import BEYOND, NOTHING, UNKNOWN, WITHIN, Estimate
from darkroom.judges import statistics
from darkroom.metrics import neighbours


def simulated(seed, sizes, overconfidence):
    """Groups, confidences and right answers of a model whose confidence is too high by a number for each group."""
    random = np.random.default_rng(seed)
    codes = np.repeat(np.arange(len(sizes)), sizes)
    confidences = 0.3 + 0.7 * random.beta(6, 1, len(codes))
    return codes, confidences, random.random(len(codes)) < confidences - np.asarray(overconfidence)[codes]


def calibration(seed, sizes, overconfidence, resamples=200, confidence=0.95):
    codes, confidences, right = simulated(seed, sizes, overconfidence)
    return fairness.calibration(codes, confidences, right, len(sizes), 15, confidence, resamples, seed)


# --- bootstrap --------------------------------------------------------------------------------------------------------


def test_the_bootstrap_interval_of_a_mean_is_as_wide_as_theory_says():
    values = np.random.default_rng(0).normal(3, 2, 500)
    low, high = fairness.bootstrap(lambda drawn: values[drawn].mean(), 500, 2000, 0.95, seed=1)
    assert low < values.mean() < high
    assert high - low == pytest.approx(2 * 1.96 * values.std() / math.sqrt(500), rel=0.07)
    assert (low, high) == fairness.bootstrap(lambda drawn: values[drawn].mean(), 500, 2000, 0.95, seed=1)
    assert (low, high) != fairness.bootstrap(lambda drawn: values[drawn].mean(), 500, 2000, 0.95, seed=2)


def test_the_bootstrap_covers_the_truth_as_often_as_it_says():
    covered = 0
    for seed in range(200):
        sample = np.random.default_rng(seed).exponential(2.0, 80)
        low, high = fairness.bootstrap(lambda drawn, sample=sample: sample[drawn].mean(), 80, 200, 0.95, seed)
        covered += low <= 2.0 <= high
    assert 0.90 <= covered / 200 <= 0.99


def test_statistics_may_be_arrays_and_undefined_now_and_then():
    values = np.array([1.0, 2.0, 3.0, 4.0])

    def statistic(drawn):
        with_four = 3 in drawn
        return np.array([values[drawn].mean(), values[drawn].max() if with_four else np.nan, np.nan])

    low, high = fairness.bootstrap(statistic, 4, 300, 0.9, seed=0)
    assert low.shape == high.shape == (3,)
    assert low[0] < 2.5 < high[0]
    assert low[1] == high[1] == 4
    assert np.isnan([low[2], high[2]]).all()


# --- shares -----------------------------------------------------------------------------------------------------------


def test_a_known_gap_is_found():
    random = np.random.default_rng(0)
    counts, totals = np.array([random.binomial(2000, 0.9), random.binomial(2000, 0.6)]), np.array([2000, 2000])
    better, worse = fairness.share_gaps(counts, totals, 0.95, 1000, seed=0)
    assert better.low < 0.3 < better.high
    assert worse.value == -better.value
    assert better.high - better.low < 0.07
    assert worse.verdict(0.05) == better.verdict(0.05) == BEYOND
    assert worse.verdict(0.4) == WITHIN
    assert worse.real
    best, worst, widest = fairness.widest(counts, totals, 0.95, 1000, seed=0)
    assert (best, worst, widest.value) == (0, 1, better.value)


@pytest.mark.parametrize(
    ("one", "other"), [((0.9, 2000), (0.6, 2000)), ((0.99, 50), (0.97, 2000)), ((0.998, 900), (0.995, 9000))]
)
def test_the_interval_of_a_gap_covers_the_truth_as_often_as_it_says(one, other):
    random, covered = np.random.default_rng(7), 0
    for seed in range(200):
        found = [(int(random.binomial(total, share)), total) for share, total in (one, other)]
        gap = fairness.gap(*found, 0.95, 1000, np.random.default_rng(seed))
        covered += gap.low <= one[0] - other[0] <= gap.high
    assert 0.90 <= covered / 200 <= 0.99


def test_of_many_equal_groups_hardly_ever_one_is_called_different():
    random, mistaken, without_correction = np.random.default_rng(3), 0, 0
    totals = np.full(10, 200)
    for seed in range(40):
        counts = random.binomial(200, 0.8, 10)
        mistaken += any(gap.real for gap in fairness.share_gaps(counts, totals, 0.95, 500, seed))
        rest = ((int(counts.sum() - count), 1800) for count in counts)
        one_by_one = (
            fairness.gap((int(count), 200), other, 0.95, 500, np.random.default_rng(seed))
            for count, other in zip(counts, rest, strict=True)
        )
        without_correction += any(gap.real for gap in one_by_one)
    assert mistaken <= 5
    assert without_correction >= 10


def test_seven_right_out_of_seven_prove_nothing():
    gap = fairness.share_gaps(np.array([7, 4950]), np.array([7, 5000]), 0.95, 1000, seed=0)[0]
    assert gap.value > 0
    assert gap.low < -0.1
    assert gap.verdict(0.05) == UNKNOWN
    own = fairness.share(7, 7, 0.95)
    assert own.low < 0.75
    assert (own.value, own.high) == (1, 1)
    assert fairness.share(0, 7, 0.95).low == 0
    assert math.isnan(fairness.share(0, 0, 0.95).value)


def test_a_group_without_pictures_is_unknown_and_spoils_nothing():
    counts, totals = np.array([90, 0, 60]), np.array([100, 0, 100])
    gaps = fairness.share_gaps(counts, totals, 0.95, 500, seed=0)
    assert math.isnan(gaps[1].value)
    assert gaps[1].verdict(1.0) == UNKNOWN
    assert gaps[0].value == pytest.approx(0.3)
    assert fairness.widest(counts, totals, 0.95, 500, seed=0)[:2] == (0, 2)


def test_verdicts():
    assert Estimate(0.0, -0.02, 0.03).verdict(0.05) == WITHIN
    assert Estimate(-0.02, -0.03, -0.01).verdict(0.05) == WITHIN
    assert Estimate(-0.2, -0.3, -0.06).verdict(0.05) == BEYOND
    assert Estimate(0.2, 0.06, 0.3).verdict(0.05) == BEYOND
    assert Estimate(-0.06, -0.1, -0.02).verdict(0.05) == UNKNOWN
    assert NOTHING.verdict(0.05) == UNKNOWN
    assert not NOTHING.real


def test_recall_compares_like_with_like():
    # Group 1 has the harder class far more often, and recognises both classes just as well as group 0.
    totals = np.array([[900, 100], [100, 900]])
    hits = np.array([[855, 60], [95, 540]])
    accuracies = fairness.share_gaps(hits.sum(axis=1), totals.sum(axis=1), 0.95, 500, seed=0)
    recalls = fairness.recall_gaps(hits, totals, 0.95)
    assert accuracies[1].verdict(0.05) == BEYOND
    assert recalls[1].value == pytest.approx(0)
    assert not recalls[1].real
    unfair = fairness.recall_gaps(np.array([[855, 60], [50, 270]]), totals, 0.95)
    assert unfair[1].value == pytest.approx((0.5 - 0.95 + 0.3 - 0.6) / 2)
    assert unfair[1].verdict(0.05) == BEYOND
    assert fairness.mean_recall(hits[1], totals[1], 0.95).value == pytest.approx(0.775)


def test_groups_without_a_common_class_have_no_recall_to_compare():
    gaps = fairness.recall_gaps(np.array([[5, 0], [0, 7]]), np.array([[9, 0], [0, 9]]), 0.95)
    assert all(math.isnan(gap.value) for gap in gaps)


def test_recall_covers_the_truth_also_with_few_pictures_of_a_class():
    random, covered = np.random.default_rng(5), 0
    totals = np.array([[12, 9, 15], [400, 500, 300]])
    for _ in range(200):
        gap = fairness.recall_gaps(random.binomial(totals, 0.95), totals, 0.9)[0]
        covered += gap.low <= 0 <= gap.high
    assert covered / 200 >= 0.93  # two groups: each interval has a confidence of 0.95


def test_tally():
    hits, totals = fairness.tally(
        np.array([0, 0, 1, 1, 1]), np.array([0, 1, 1, 1, 0]), np.array([True, False, True, False, True]), 3, 2
    )
    assert hits.tolist() == [[1, 0], [1, 1], [0, 0]]
    assert totals.tolist() == [[1, 1], [1, 2], [0, 0]]


def test_relative_gaps():
    gaps = fairness.relative_gaps(np.array([500, 250, 250]), np.array([0.5, 0.5, 0.0]), 0.95)
    assert gaps[0].value == 0
    assert gaps[0].low < 0 < gaps[0].high
    assert gaps[1].value == -0.5
    assert gaps[1].verdict(0.05) == BEYOND
    assert math.isnan(gaps[2].value)


# --- calibration ------------------------------------------------------------------------------------------------------


def test_the_error_is_that_of_torchmetrics():
    from torchmetrics.functional.classification import binary_calibration_error

    codes, confidences, right = simulated(0, [400, 300], [0.1, 0.0])
    for group, found in enumerate(fairness.calibration(codes, confidences, right, 2, 15, 0.95, 100, 0)):
        own = codes == group
        sure, hit = torch.from_numpy(confidences[own]), torch.from_numpy(right[own])
        # all confidences are above 0.3 and in bins that torchmetrics knows as those of class 1
        assert found.error.value == pytest.approx(
            binary_calibration_error(sure, hit.long(), n_bins=15).item(), abs=1e-6
        )
        assert found.confidence.value == pytest.approx(sure.mean().item())
        assert found.excess.value == pytest.approx((sure - hit.double()).mean().item())


def test_a_known_distortion_is_found():
    distorted, honest = calibration(0, [3000, 3000], [0.15, 0.0])
    assert distorted.error.low < 0.15 < distorted.error.high
    assert distorted.excess.low < 0.15 < distorted.excess.high
    assert distorted.gap.low < 0.15 < distorted.gap.high
    assert distorted.gap.verdict(0.05) == BEYOND
    assert distorted.excess_gap.value == -honest.excess_gap.value
    assert distorted.excess_gap.low < 0.15 < distorted.excess_gap.high
    assert honest.error.low == 0
    assert honest.error.value == pytest.approx(honest.by_chance, abs=0.006)


def test_few_pictures_alone_are_no_gap_in_calibration():
    means, covered = [], 0
    for seed in range(40):
        few = calibration(seed, [60, 4000], [0.0, 0.0], resamples=100)[0]
        assert few.error.value > 0.01  # it looks badly calibrated
        covered += few.gap.low <= 0 <= few.gap.high and few.error.low == 0
        means.append(few.gap.value)
    assert covered >= 36
    assert abs(np.mean(means)) < 0.01


def test_the_interval_of_a_calibration_gap_covers_the_truth():
    covered = sum(
        gap.low <= 0.1 <= gap.high
        for gap in (calibration(seed, [300, 3000], [0.1, 0.0], 100, 0.9)[0].gap for seed in range(60))
    )
    assert covered / 60 >= 0.9  # two groups: each interval has a confidence of 0.95


def test_the_order_of_pictures_changes_nothing():
    codes, confidences, right = simulated(0, [200, 150, 30], [0.1, 0.0, 0.0])
    order = np.random.default_rng(1).permutation(len(codes))
    one = fairness.calibration(codes, confidences, right, 3, 15, 0.95, 100, 0)
    other = fairness.calibration(codes[order], confidences[order], right[order], 3, 15, 0.95, 100, 0)
    assert one == other


def test_groups_of_no_and_of_one_picture_are_put_up_with():
    codes, confidences, right = simulated(0, [200, 0, 1], [0.0, 0.0, 0.0])
    found = fairness.calibration(codes, confidences, right, 3, 15, 0.95, 100, 0)
    assert math.isnan(found[1].error.value)
    assert found[2].error.low == 0
    assert found[2].gap.verdict(0.05) == UNKNOWN


# --- distances --------------------------------------------------------------------------------------------------------


def test_half_samples_say_how_much_fid_varies_between_draws():
    generator = torch.Generator().manual_seed(0)

    def pair():
        left, right = torch.randn(2, 240, 8, generator=generator, dtype=torch.float64)
        return left + 0.3, right

    observed = np.std([statistics.frechet(*pair()) for _ in range(60)])
    left, right = pair()
    found = fairness.half_samples(
        lambda one, other: np.array(statistics.frechet(left[one], right[other])), 240, 240, 60, 0
    )
    assert found == pytest.approx(observed, rel=0.4)


def test_half_samples_of_a_mean_have_its_standard_error_and_no_copies():
    values = np.random.default_rng(0).normal(size=400)

    def mean(rows, others):
        assert len(set(rows.tolist())) == len(rows) == 200
        assert len(others) == 3
        return values[rows].mean()

    found = fairness.half_samples(mean, 400, 7, 400, seed=0)
    assert found == pytest.approx(values.std() / math.sqrt(400), rel=0.1)


def test_copies_would_have_spoilt_precision():
    # why half-samples: with copies, balls around real pictures shrink to nothing and precision with them
    generator = torch.Generator().manual_seed(0)
    left, right = torch.randn(2, 200, 4, generator=generator)

    def precision(rows, others):
        balls = neighbours.manifold(left[rows], 3, 3), neighbours.manifold(right[others], 3, 3)
        return neighbours.compare(*balls, 3)["precision"]

    whole = precision(torch.arange(200), torch.arange(200))
    copies = torch.randint(0, 200, (20, 2, 200), generator=generator)
    halves = [torch.randperm(200, generator=generator)[:100] for _ in range(20)]
    assert np.mean([precision(*pair) for pair in copies]) < whole - 0.05
    assert np.mean([precision(half, half.flip(0)) for half in halves]) == pytest.approx(whole, abs=0.05)


def test_correction():
    assert fairness.corrected(0.95, 1) == pytest.approx(0.95)
    assert fairness.corrected(0.95, 10) == pytest.approx(0.995)
