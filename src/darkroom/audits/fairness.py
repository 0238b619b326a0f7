"""Does a model serve one group of pictures worse than the others, and can that be told from this many pictures?

Functions on arrays. A gap is a group's number less that of all other groups together, and its interval is its own: two
groups may differ for certain although their intervals overlap. Whoever looks at many groups finds one that is
unlucky, so the intervals of gaps are widened (Bonferroni) until all of them hold at once with the stated confidence;
the worst gap may then be read off as if it were the only one. The interval of a single group's number is not widened.

- Shares (accuracy, recall): the Bayesian bootstrap (Rubin 1981) with Jeffreys' half picture on either side. The plain
  one finds seven right out of seven in every resample and would be sure of it; this one knows that it is not.
- Calibration: the plain bootstrap within each group (Efron 1979), with its bias taken off.
- Distances between sets (FID, precision, recall): half-samples, since resampling with replacement adds copies, which
  no k-nearest-neighbour ball survives and which FID takes for a lack of variety.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

Wholes = NDArray[np.int64]
Floats = NDArray[np.float64]

BEYOND_TAIL = 20  # resampled values that lie beyond the end of an interval, or its end is a matter of luck
MOST_DRAWS = 200_000
SUBSETS = 50  # of the larger side, when calibration is compared at equal numbers
WITHIN, BEYOND, UNKNOWN = "within tolerance", "beyond tolerance", "cannot tell"


@dataclass(frozen=True)
class Estimate:
    """A number and the ends of its interval; NaN where nothing is known."""

    value: float
    low: float
    high: float

    @property
    def real(self) -> bool:
        """Whether the interval excludes 0."""
        return self.low > 0 or self.high < 0

    def verdict(self, tolerance: float) -> str:
        """Return whether this gap is for certain within or beyond what is tolerated, either way, or cannot be told."""
        if self.low >= -tolerance and self.high <= tolerance:
            return WITHIN
        return BEYOND if self.low > tolerance or self.high < -tolerance else UNKNOWN


NOTHING = Estimate(math.nan, math.nan, math.nan)


def bootstrap(
    statistic: Callable[[Wholes], float | Floats], n: int, resamples: int, confidence: float, seed: int
) -> tuple[Floats, Floats]:
    """Return the ends of the percentile interval of a statistic of ``n`` observations (Efron 1979).

        low, high = bootstrap(lambda drawn: right[drawn].mean(), len(right), 1000, 0.95, seed=0)

    ``statistic`` is given int64 indices ``(n,)``, drawn with replacement, and returns a number or an array; the ends
    have its shape. Resamples in which it is undefined (NaN: a class that was not drawn) are left out of the quantiles;
    an interval is NaN, that is unknown, where more than half of them are.
    """
    generator = np.random.default_rng(seed)
    drawn = np.stack([np.asarray(statistic(generator.integers(0, n, n)), dtype=np.float64) for _ in range(resamples)])
    return interval(drawn, confidence)


def interval(drawn: Floats, confidence: float) -> tuple[Floats, Floats]:
    """Return the quantiles that hold the middle ``confidence`` of resampled values ``(resamples, ...)``."""
    unknown = np.isnan(drawn).mean(axis=0) > 0.5
    known = np.where(unknown, 0.0, drawn)
    tail = (1 - confidence) / 2
    low, high = np.nanquantile(known, [tail, 1 - tail], axis=0)
    return np.where(unknown, np.nan, low)[()], np.where(unknown, np.nan, high)[()]


def corrected(confidence: float, comparisons: int) -> float:
    """Return the confidence that each of several intervals needs for all to hold at once (Bonferroni)."""
    return 1 - (1 - confidence) / max(1, comparisons)


# --- shares: how many of a group's pictures ---------------------------------------------------------------------------


def share(count: int, total: int, confidence: float) -> Estimate:
    """Return a share with Jeffreys' interval (Brown, Cai and DasGupta 2001), which reaches 0 or 1 where the share does.

    It is what the Bayesian bootstrap of `gap` converges to.
    """
    from scipy.stats import beta

    if total == 0:
        return NOTHING
    tail = (1 - confidence) / 2
    low, high = beta.ppf([tail, 1 - tail], count + 0.5, total - count + 0.5)
    return Estimate(count / total, 0.0 if count == 0 else float(low), 1.0 if count == total else float(high))


def gap(
    one: tuple[int, int], other: tuple[int, int], confidence: float, resamples: int, generator: np.random.Generator
) -> Estimate:
    """Return the difference of two shares, each ``(how many, out of how many)``, with the interval of the difference.

    There are as many resamples as the confidence needs: `BEYOND_TAIL` beyond each end, and ``resamples`` at least.
    """
    if one[1] == 0 or other[1] == 0:
        return NOTHING
    draws = min(max(resamples, math.ceil(2 * BEYOND_TAIL / (1 - confidence))), max(resamples, MOST_DRAWS))
    first, second = (generator.beta(count + 0.5, total - count + 0.5, draws) for count, total in (one, other))
    low, high = interval(first - second, confidence)
    value = one[0] / one[1] - other[0] / other[1]
    return Estimate(value, min(float(low), value), max(float(high), value))


def share_gaps(counts: Wholes, totals: Wholes, confidence: float, resamples: int, seed: int) -> list[Estimate]:
    """Return the gap of each group's share ``counts / totals`` to that of all other groups together."""
    level = corrected(confidence, int((totals > 0).sum()))
    return [
        gap(
            (int(count), int(total)),
            (int(counts.sum() - count), int(totals.sum() - total)),
            level,
            resamples,
            np.random.default_rng([seed, group]),
        )
        for group, (count, total) in enumerate(zip(counts, totals, strict=True))
    ]


def relative_gaps(counts: Wholes, expected: Floats, confidence: float) -> list[Estimate]:
    """Return by how much of the ``expected`` share ``(G,)`` each group's share of all pictures misses it.

    -0.5 is half as often as expected. The expected shares count as known.
    """
    level, total = corrected(confidence, len(counts)), int(counts.sum())
    found = []
    for count, wanted in zip(counts, expected, strict=True):
        if wanted == 0:
            found.append(NOTHING)
            continue
        own = share(int(count), total, level)
        found.append(Estimate(own.value / wanted - 1, own.low / wanted - 1, own.high / wanted - 1))
    return found


def widest(counts: Wholes, totals: Wholes, confidence: float, resamples: int, seed: int) -> tuple[int, int, Estimate]:
    """Return the groups with the largest and the smallest share, and the gap between them.

    The two are the extremes of all groups, so the interval holds for all pairs of groups at once. Groups without
    pictures are passed over.
    """
    present = np.flatnonzero(totals > 0)
    shares = counts[present] / totals[present]
    best, worst = int(present[shares.argmax()]), int(present[shares.argmin()])
    level = corrected(confidence, len(present) * (len(present) - 1) // 2)
    one, other = ((int(counts[group]), int(totals[group])) for group in (best, worst))
    return best, worst, gap(one, other, level, resamples, np.random.default_rng([seed, len(counts)]))


def tally(codes: Wholes, labels: Wholes, right: NDArray[np.bool_], groups: int, classes: int) -> tuple[Wholes, Wholes]:
    """Return how many pictures of each group and class are named right, and how many there are, int64 (G, K)."""
    cells, size = codes * classes + labels, groups * classes
    hits, totals = np.bincount(cells[right], minlength=size), np.bincount(cells, minlength=size)
    return hits.reshape(groups, classes), totals.reshape(groups, classes)


def mean_recall(hits: Wholes, totals: Wholes, confidence: float) -> Estimate:
    """Return the recall ``(K,)`` of a group's classes, averaged over those that it has."""
    there = totals > 0
    if not there.any():
        return NOTHING
    value, deviation = _mean_share(hits[there], totals[there])
    return around(value, deviation, confidence, 0.0, 1.0)


def recall_gaps(hits: Wholes, totals: Wholes, confidence: float) -> list[Estimate]:
    """Return how much better each group's classes are recognised than the same classes in all other groups.

    Like is compared with like: a group that happens to hold the harder classes has no gap here. From tables ``(G, K)``
    of `tally`; NaN for a group that shares no class with the others.
    """
    level = corrected(confidence, int((totals.sum(axis=1) > 0).sum()))
    found = []
    for own_hits, own in zip(hits, totals, strict=True):
        others = totals.sum(axis=0) - own
        both = (own > 0) & (others > 0)
        if not both.any():
            found.append(NOTHING)
            continue
        here, deviation = _mean_share(own_hits[both], own[both])
        there, other_deviation = _mean_share((hits.sum(axis=0) - own_hits)[both], others[both])
        found.append(around(here - there, math.hypot(deviation, other_deviation), level))
    return found


def _mean_share(counts: Wholes, totals: Wholes) -> tuple[float, float]:
    """Return the mean of some shares, and the deviation that the Bayesian bootstrap with Jeffreys' prior gives it."""
    shares = counts / totals
    return float(shares.mean()), float(np.sqrt(np.square(least_deviation(shares, totals)).sum()) / len(counts))


# --- calibration: does a group's confidence mean what it says ---------------------------------------------------------


@dataclass(frozen=True)
class Calibration:
    """How confidently a group's pictures are named, and how rightly."""

    confidence: Estimate  # mean
    error: Estimate  # expected calibration error
    by_chance: float  # the error that a perfectly calibrated model would show with as many pictures, on average
    excess: Estimate  # mean confidence less accuracy: above 0 is too sure
    gap: Estimate  # of the error, to all other groups together
    excess_gap: Estimate


def calibration(
    codes: Wholes,
    confidences: Floats,
    right: NDArray[np.bool_],
    groups: int,
    bins: int,
    confidence: float,
    resamples: int,
    seed: int,
) -> list[Calibration]:
    """Return the expected calibration error of each group (Guo et al. 2017, arXiv 1706.04599, eq. 3) and its gap.

    The error is never negative, so it grows as pictures become fewer and grows once more when they are resampled:

    - the interval of a group's error takes that bias off, and reaches down to 0 unless the error is larger than what
      all but ``(1 - confidence) / 2`` of perfectly calibrated models would show (consistency resampling, Bröcker and
      Smith 2007);
    - where next to no answer is wrong the resamples have next to no spread, and get that of Jeffreys' prior instead;
    - a gap is taken between equal numbers of pictures, the larger side being averaged over random parts of it. That is
      right for two sides alike and too small for two that differ, while the difference of what is left of each error
      without its bias is right for those and too large for the former: the interval reaches around both.

    In what order the pictures stand changes nothing.
    """
    order = np.lexsort((right, confidences, codes))
    codes, confidences, right = codes[order], confidences[order], right[order]
    surplus = confidences - right
    places = np.minimum((confidences * bins).astype(np.int64), bins - 1)
    sizes = np.bincount(codes, minlength=groups)
    generator = np.random.default_rng(seed)

    def table(values: Floats, rows: Wholes | slice = slice(None)) -> Floats:
        cells = codes[rows] * bins + places[rows]
        sums = np.bincount(cells, values[rows], minlength=groups * bins)
        return np.asarray(sums.reshape(groups, bins), dtype=np.float64)

    starts = (np.cumsum(sizes) - sizes)[codes]
    drawn, chance = np.empty((2, resamples, groups, bins))
    sure = np.empty((resamples, groups))
    for turn in range(resamples):
        rows = starts + (generator.random(len(codes)) * sizes[codes]).astype(np.int64)  # of the same group
        drawn[turn] = table(surplus, rows)
        sure[turn] = np.bincount(codes, confidences[rows], minlength=groups)
        chance[turn] = table(confidences - (generator.random(len(codes)) < confidences))
    hits = np.bincount(codes, right, minlength=groups)
    observed, mean = table(surplus), np.bincount(codes, confidences, minlength=groups)
    level = corrected(confidence, int((sizes > 0).sum()))
    found = []
    for group, count in enumerate(sizes.tolist()):
        others = len(codes) - count
        if count == 0 or others == 0:
            found.append(Calibration(NOTHING, NOTHING, math.nan, NOTHING, NOTHING, NOTHING))
            continue
        error, errors = _error(observed[group], count), _error(drawn[:, group], count)
        by_chance = _error(chance[:, group], count)
        rest, rest_drawn = observed.sum(axis=0) - observed[group], drawn.sum(axis=1) - drawn[:, group]
        differences = errors - _error(rest_drawn, others)
        difference = error - _error(rest, others)
        unbiased = difference - (differences.mean() - difference)
        equal = min(count, others)
        here, there = (
            _error_of(equal, surplus[side], places[side], bins, generator) for side in (codes == group, codes != group)
        )
        own = _unseen(int(hits[group]), count)
        both = math.hypot(own, _unseen(int(hits.sum() - hits[group]), others))
        alike, apart = (_about(value, differences, level, both) for value in (here - there, unbiased))
        without_bias = _about(2 * error - errors.mean(), errors, confidence, own)
        low = 0.0 if error <= np.quantile(by_chance, (1 + confidence) / 2) else max(0.0, without_bias.low)
        excess, excesses = observed[group].sum() / count, drawn[:, group].sum(axis=1) / count
        excess_gaps = excesses - rest_drawn.sum(axis=1) / others
        found.append(
            Calibration(
                confidence=_percentiles(mean[group] / count, sure[:, group] / count, confidence),
                error=Estimate(float(error), min(low, float(error)), max(without_bias.high, float(error))),
                by_chance=float(by_chance.mean()),
                excess=_about(excess, excesses, confidence, own),
                gap=Estimate(alike.value, min(alike.low, apart.low), max(alike.high, apart.high)),
                excess_gap=_about(excess - rest.sum() / others, excess_gaps, level, both),
            )
        )
    return found


def _unseen(right: int, total: int) -> float:
    """Return the deviation that Jeffreys' prior gives a share beyond that of resampling: much where none is wrong."""
    resampled = right * (total - right) / total**3
    return math.sqrt(max(0.0, float(least_deviation(np.array(right / total), total)) ** 2 - resampled))


def _error(surplus: Floats, count: int) -> Floats:
    """Return calibration errors from the sums of confidence less right answers in each bin ``(..., bins)``."""
    return np.asarray(np.abs(surplus).sum(axis=-1) / count)


def _error_of(count: int, surplus: Floats, places: Wholes, bins: int, generator: np.random.Generator) -> float:
    """Return the calibration error of ``count`` of the pictures, averaged over random parts when that is not all."""
    if count == len(surplus):
        return float(np.abs(np.bincount(places, surplus, minlength=bins)).sum() / count)
    parts = (generator.choice(len(surplus), count, replace=False) for _ in range(SUBSETS))
    return float(np.mean([np.abs(np.bincount(places[p], surplus[p], minlength=bins)).sum() / count for p in parts]))


def _percentiles(value: float, drawn: Floats, confidence: float) -> Estimate:
    low, high = interval(drawn, confidence)
    return Estimate(float(value), float(low), float(high))


def _about(value: float, drawn: Floats, confidence: float, unseen: float) -> Estimate:
    """Return the normal interval with the deviation of resampled values and one that they do not show."""
    return around(float(value), math.hypot(float(drawn.std(ddof=1)), unseen), confidence)


# --- distances between sets of pictures -------------------------------------------------------------------------------


def half_samples(statistic: Callable[[Wholes, Wholes], Floats], one: int, other: int, times: int, seed: int) -> Floats:
    """Return the deviation of a statistic of two sets of ``one`` and ``other`` pictures (Shao and Wu 1989, d = n / 2).

    ``statistic`` is given the indices of a random half of each, without copies. How much its values differ between
    halves is how much that of the whole would differ between draws of the whole, whatever bias a smaller set brings:
    halves have twice the variance, and share half of what they hold. FID grows as pictures become fewer, so the mean
    of the halves is of no use and is not returned.
    """
    generator = np.random.default_rng(seed)
    values = [
        np.asarray(statistic(*(generator.permutation(size)[: size // 2] for size in (one, other))), dtype=np.float64)
        for _ in range(times)
    ]
    return np.asarray(np.std(np.stack(values), axis=0, ddof=1))


def least_deviation(shares: Floats, count: int | Wholes) -> Floats:
    """Return the deviation below which that of a share of ``count`` pictures is not believed (Jeffreys' again)."""
    a, b = shares * count + 0.5, (1 - shares) * count + 0.5
    return np.asarray(np.sqrt(a * b / ((a + b) ** 2 * (a + b + 1))))


def around(
    value: float, deviation: float, confidence: float, low: float = -math.inf, high: float = math.inf
) -> Estimate:
    """Return the normal interval about a value, kept between what is possible."""
    reach = NormalDist().inv_cdf((1 + confidence) / 2) * deviation
    return Estimate(value, max(low, value - reach), min(high, value + reach))
