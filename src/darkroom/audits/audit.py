"""A model measured group by group, with a verdict in words.

A classifier is asked how often it names the pictures of each group rightly and whether its confidence means the same
in all of them; a generator, how well it draws each class. `fairness` says how intervals are made.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from typing import Any

from darkroom.audits import fairness
from darkroom.audits.fairness import BEYOND, NOTHING, UNKNOWN, WITHIN, Estimate, Wholes
from darkroom.data.contract import Data
from darkroom.metrics.protocol import Protocol

CHUNK = 256  # pictures looked at at once; a multiple of the blocks of 64 in which models draw


@dataclass(frozen=True)
class Settings:
    """What is tolerated, and how sure a verdict is to be."""

    tolerance: float = 0.05
    confidence: float = 0.95
    resamples: int = 1000
    seed: int = 0


@dataclass(frozen=True)
class Measure:
    """What is compared between groups, and how a gap in it is put into words."""

    name: str
    said: str
    below: str
    above: str
    against: str
    better: int  # 1: more is better; -1: less is
    unit: str = " points"

    def amount(self, share: float) -> str:
        """Return a share as so many points, or so much per cent."""
        number = f"{100 * share:.1f}".removesuffix(".0")
        return f"{number}{' point' if number == '1' and self.unit == ' points' else self.unit}"


ACCURACY = Measure("accuracy", "is named right", "less often", "more often", "than the others", 1)
LIKE_FOR_LIKE = Measure("recall", "is recognised", "less often", "more often", "than the same classes elsewhere", 1)
CALIBRATION = Measure("calibration_error", "has a calibration error", "smaller", "larger", "than the others", -1)
RECOGNISED = Measure("recognised", "is recognised when asked for", "less often", "more often", "than the others", 1)
SHARE = Measure("share", "is drawn", "less often", "more often", "than it occurs", 1, "%")
PRECISION = Measure("precision", "has a precision", "lower", "higher", "than real pictures", 1)
RECALL = Measure("recall", "has a recall", "lower", "higher", "than real pictures", 1)


@dataclass(frozen=True)
class Group:
    """One group's numbers: its own, the gaps that are judged, and what real pictures or chance would get."""

    name: str
    count: int
    values: dict[str, Estimate]
    gaps: dict[str, Estimate]
    beside: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Audit:
    """All groups, and what follows. The first of ``measures`` is what groups are ranked by."""

    column: str
    groups: list[Group]
    measures: list[Measure]
    settings: Settings
    protocol: Protocol
    extremes: tuple[str, str, Estimate] | None = None  # the best and the worst group, and the gap between them
    notes: list[str] = field(default_factory=list)

    @property
    def ranked(self) -> list[Group]:
        """The groups, the worst first and those of which nothing is known last."""
        first = self.measures[0]
        known = {group.name: group.gaps[first.name].value * first.better for group in self.groups}
        return sorted(self.groups, key=lambda group: (math.isnan(known[group.name]), known[group.name]))

    def verdict(self, group: Group, measure: Measure) -> str:
        """Return whether a group's gap is within tolerance, beyond it, or cannot be told."""
        return group.gaps[measure.name].verdict(self.settings.tolerance)

    def overall(self, measure: Measure) -> str:
        """Return the verdict on all groups: beyond as soon as one is, within when all are."""
        verdicts = {self.verdict(group, measure) for group in self.groups}
        return next(verdict for verdict in (BEYOND, UNKNOWN, WITHIN) if verdict in verdicts)

    def sentence(self, group: Group, measure: Measure) -> str:
        """Return what is known of a group's gap, in words."""
        gap, verdict = group.gaps[measure.name], self.verdict(group, measure)
        who = f"{'class' if self.column == 'label' else self.column} {group.name}"
        few = f"too few pictures to tell (n={group.count:,})"
        tolerated = f"the {measure.amount(self.settings.tolerance)} tolerated"
        if math.isnan(gap.value):
            return f"{who}: {few}"
        if not gap.real and verdict == WITHIN:
            return f"{who}: no gap, give or take {measure.amount(max(-gap.low, gap.high))}"
        if not gap.real:
            return (
                f"{who}: {few}: anything from {measure.amount(-gap.low)} {measure.below} to {measure.amount(gap.high)}"
                f" {measure.above} {measure.against} is possible"
            )
        low, high = sorted(100 * abs(end) for end in (gap.low, gap.high))
        judged = {
            WITHIN: f"a real gap, within {tolerated}",
            BEYOND: f"a real gap, beyond {tolerated}",
            UNKNOWN: f"a real gap, with too few pictures to tell whether it is beyond {tolerated} (n={group.count:,})",
        }
        return (
            f"{who} {measure.said} {measure.amount(abs(gap.value))} {measure.below if gap.value < 0 else measure.above}"
            f" {measure.against} ({low:.1f} to {high:.1f}): {judged[verdict]}"
        )

    def summary(self, measure: Measure) -> str:
        """Return the verdict on all groups in one sentence."""
        among = {
            verdict: [group.name for group in self.ranked if self.verdict(group, measure) == verdict]
            for verdict in (BEYOND, UNKNOWN)
        }
        said, amount = measure.name.replace("_", " "), measure.amount(self.settings.tolerance)
        whom = measure.against.removeprefix("than ")
        if among[BEYOND]:
            open_question = f"; it cannot be told for {listed(among[UNKNOWN])}" if among[UNKNOWN] else ""
            return (
                f"{said}, {BEYOND}: {len(among[BEYOND])} of {len(self.groups)} groups"
                f" differ{'s' if len(among[BEYOND]) == 1 else ''} from {whom} by more than {amount}:"
                f" {listed(among[BEYOND])}{open_question}"
            )
        if among[UNKNOWN]:
            return (
                f"{said}, {UNKNOWN}: no group differs from {whom} by more than {amount} for certain, but"
                f" {listed(among[UNKNOWN])} may"
            )
        return f"{said}, {WITHIN}: no group differs from {whom} by more than {amount}"

    def sentences(self) -> list[str]:
        """Return what is to be said of groups: gaps beyond tolerance, what cannot be told, and other real gaps."""
        return [
            self.sentence(group, measure)
            for verdict in (BEYOND, UNKNOWN, WITHIN)
            for measure in self.measures
            for group in self.ranked
            if self.verdict(group, measure) == verdict and (verdict != WITHIN or group.gaps[measure.name].real)
        ]

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain containers; what is not known is None."""
        by_name = {measure.name: measure for measure in self.measures}

        def judged(group: Group, name: str) -> dict[str, Any]:
            verdict = {"verdict": self.verdict(group, by_name[name])} if name in by_name else {}
            return _plain(group.gaps[name]) | verdict

        best, worst, widest = self.extremes or ("", "", NOTHING)
        return {
            "groups": {
                group.name: {
                    "count": group.count,
                    "values": {name: _plain(value) for name, value in group.values.items()},
                    "gaps": {name: judged(group, name) for name in group.gaps},
                    "beside": {name: None if math.isnan(value) else value for name, value in group.beside.items()},
                }
                for group in self.ranked
            },
            "widest": {"best": best, "worst": worst, **_plain(widest)} if self.extremes else None,
            "verdicts": {measure.name: self.overall(measure) for measure in self.measures},
            "sentences": [*map(self.summary, self.measures), *self.sentences(), *self.notes],
            "protocol": self.protocol,
        }


def listed(names: Sequence[str], most: int = 6) -> str:
    """Return the first of some names, and how many more there are."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _plain(estimate: Estimate) -> dict[str, Any]:
    return {name: None if math.isnan(value) else float(value) for name, value in asdict(estimate).items()}


def best_and_worst(
    names: list[str], counts: Wholes, totals: Wholes, settings: Settings
) -> tuple[str, str, Estimate] | None:
    """Return the best and the worst group and the gap between them; None when all are alike."""
    best, worst, widest = fairness.widest(counts, totals, settings.confidence, settings.resamples, settings.seed)
    return None if best == worst else (names[best], names[worst], widest)


def protocol_of(data: Data, split: str, column: str, settings: Settings, groups: int) -> Protocol:
    """Return what an audit depends on, whatever the model is."""
    channels, height, width = data.image_shape
    return {
        "data": data.name,
        "data_digest": data.split_digests[split],
        "split": split,
        "real_images": len(data.pictures(split)),
        "classes": len(data.class_names),
        "image_size": f"{channels}x{height}x{width}",
        "value_type": "uint8, rounded",
        "groups": column,
        **asdict(settings),
        "correction": f"Bonferroni over {groups} groups",
        "torch": version("torch"),
    }
