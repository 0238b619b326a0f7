"""A model measured group by group, with a verdict in words.

A classifier is asked how often it names the pictures of each group rightly and whether its confidence means the same
in all of them; a generator, how well it draws each class. `fairness` says how intervals are made.
"""

import hashlib
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from torch import Tensor

from darkroom import images as convention
from darkroom.errors import UserError
from darkroom.isolation import evaluating
from darkroom.metrics import fairness, neighbours, statistics
from darkroom.metrics.fairness import BEYOND, NOTHING, UNKNOWN, WITHIN, Estimate, Floats, Wholes
from darkroom.metrics.features import Extractor
from darkroom.metrics.protocol import Protocol
from darkroom.metrics.subjects import Data, Pictures, Progress
from darkroom.models.abilities import Classifies, Draws

CHUNK = 256  # pictures looked at at once; a multiple of the blocks of 64 in which models draw
BINS = 15  # of the calibration error, as in metrics=classification
MOST_GROUPS = 200
HALVES = 50  # of FID, precision and recall: their deviation is then known to a tenth
NEIGHBOURS = 3  # of precision and recall, as in metrics=generative
LEAST = 12  # pictures of a class, so that half of them have neighbours


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
            open_question = f"; it cannot be told for {_listed(among[UNKNOWN])}" if among[UNKNOWN] else ""
            return (
                f"{said}, {BEYOND}: {len(among[BEYOND])} of {len(self.groups)} groups"
                f" differ{'s' if len(among[BEYOND]) == 1 else ''} from {whom} by more than {amount}:"
                f" {_listed(among[BEYOND])}{open_question}"
            )
        if among[UNKNOWN]:
            return (
                f"{said}, {UNKNOWN}: no group differs from {whom} by more than {amount} for certain, but"
                f" {_listed(among[UNKNOWN])} may"
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


def _listed(names: Sequence[str], most: int = 6) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _plain(estimate: Estimate) -> dict[str, Any]:
    return {name: None if math.isnan(value) else float(value) for name, value in asdict(estimate).items()}


# --- a classifier -----------------------------------------------------------------------------------------------------


def audit_classifier(
    model: Classifies,
    data: Data,
    split: str,
    column: str,
    groups: tuple[list[str], Tensor],
    settings: Settings,
    progress: Progress | None = None,
) -> Audit:
    """Name every picture of a split and compare the groups that a column divides it into.

    ``groups`` are their names and the group of each picture, int64. Raises `UserError` for pictures without labels and
    for groups that cannot be compared.
    """
    names, codes = groups
    pictures = data.pictures(split)
    if pictures.labels is None or not data.class_names:
        raise UserError(
            f"The pictures of {data.name} have no labels, so nobody knows which are named right: put them into one"
            " folder a class."
        )
    check_groups(names, codes, column, split)
    confidences, named = _named(model, pictures, progress)
    protocol = _protocol(data, split, column, settings, int((torch.bincount(codes) > 0).sum())) | {
        "groups_digest": hashlib.sha256("\n".join(names).encode() + codes.numpy().astype("<i8").tobytes()).hexdigest(),
        "calibration_bins": BINS,
        "averaged_weights": model.averaged,
    }
    return compare_names(
        names, codes.numpy(), pictures.labels.numpy(), named, confidences, data.class_names, column, settings, protocol
    )


def compare_names(
    names: list[str],
    codes: Wholes,
    labels: Wholes,
    named: Wholes,
    confidences: Floats,
    class_names: list[str],
    column: str,
    settings: Settings,
    protocol: Protocol,
) -> Audit:
    """Compare groups by what each of their pictures ``(n,)`` is, was named, and how confidently."""
    confidence, resamples, seed = settings.confidence, settings.resamples, settings.seed
    right = named == labels
    hits, totals = fairness.tally(codes, labels, right, len(names), len(class_names))
    counts, sizes = hits.sum(axis=1), totals.sum(axis=1)
    accuracies = fairness.share_gaps(counts, sizes, confidence, resamples, seed)
    recalls = fairness.recall_gaps(hits, totals, confidence)
    calibrations = fairness.calibration(codes, confidences, right, len(names), BINS, confidence, resamples, seed)
    alike = any(not math.isnan(gap.value) for gap in recalls)  # not so when groups are classes: recall is accuracy then
    found = []
    for group, name in enumerate(names):
        own = calibrations[group]
        values = {
            "accuracy": fairness.share(int(counts[group]), int(sizes[group]), confidence),
            "confidence": own.confidence,
            "overconfidence": own.excess,
            "calibration_error": own.error,
        }
        gaps = {"accuracy": accuracies[group], "calibration_error": own.gap, "overconfidence": own.excess_gap}
        if alike:
            gaps["recall"] = recalls[group]
            values["recall"] = fairness.mean_recall(hits[group], totals[group], confidence)
            for class_name, hit, total in zip(class_names, hits[group].tolist(), totals[group].tolist(), strict=True):
                values[f"recall {class_name}"] = fairness.share(hit, total, confidence)
        found.append(Group(name, int(sizes[group]), values, gaps, {"calibration_error": own.by_chance}))
    extremes = _extremes(names, counts, sizes, settings)
    measures = [ACCURACY, *([LIKE_FOR_LIKE] if alike else []), CALIBRATION]
    return Audit(column, found, measures, settings, protocol, extremes)


def _extremes(names: list[str], counts: Wholes, totals: Wholes, settings: Settings) -> tuple[str, str, Estimate] | None:
    """Return the best and the worst group and the gap between them; None when all are alike."""
    best, worst, widest = fairness.widest(counts, totals, settings.confidence, settings.resamples, settings.seed)
    return None if best == worst else (names[best], names[worst], widest)


def check_groups(names: list[str], codes: Tensor, column: str, split: str) -> None:
    """Refuse groups that leave nothing to compare.

    Raises:
        UserError: one group only, very many, or none with two pictures.
    """
    sizes = torch.bincount(codes, minlength=len(names))
    present = int((sizes > 0).sum())
    if present < 2:
        raise UserError(
            f"groups={column} leaves nothing to compare: all {len(codes):,} {split} pictures are"
            f" '{names[int(sizes.argmax())]}'; choose another column, or another split."
        )
    if int(sizes.max()) < 2:
        raise UserError(f"groups={column} puts every {split} picture into a group of its own: choose another column.")
    if column != "label" and present > MOST_GROUPS:
        raise UserError(
            f"groups={column} divides {len(codes):,} {split} pictures into {present:,} groups, too many to compare:"
            " write ranges such as 20-29 into that column."
        )


def _named(model: Classifies, pictures: Pictures, progress: Progress | None) -> tuple[Floats, Wholes]:
    """Return how confidently each picture is named, and what."""
    confidences, named = [], []
    with evaluating(model, model.device):
        for indices in torch.split(torch.arange(len(pictures)), CHUNK):
            images = convention.from_uint8(pictures.batch(indices)).to(model.device)
            most = model.predict(images).double().softmax(dim=1).max(dim=1)
            if not most.values.isfinite().all():
                raise UserError("The model's answers are not finite: audit an earlier checkpoint of it.")
            confidences.append(most.values.cpu())
            named.append(most.indices.cpu())
            if progress:
                progress(int(indices[-1]) + 1, len(pictures))
    return torch.cat(confidences).numpy(), torch.cat(named).numpy()


def _protocol(data: Data, split: str, column: str, settings: Settings, groups: int) -> Protocol:
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


# --- a generator ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Seen:
    """Pictures as the judge sees them."""

    features: Tensor  # (n, d)
    named: Wholes  # what the judge takes each for
    classes: Wholes  # what each stands for: the class that was asked for, or the label

    def of(self, label: int) -> Tensor:
        """Return the features of one class."""
        return self.features[torch.from_numpy(self.classes == label)]


def audit_generator(
    model: Draws,
    data: Data,
    split: str,
    extractor: Extractor,
    images: int,
    settings: Settings,
    progress: Progress | None = None,
) -> Audit:
    """Draw pictures and compare the classes, as a judge that knows them sees them.

    A model that can be asked for classes is asked for them in turn, and recognised in each more or less often. One that
    cannot is left to itself: what it draws belongs to the class that the judge names, and how often that is, is
    compared with how often the judge names the class among the real pictures. Raises `UserError` for data without
    labels and for a judge of other classes.
    """
    real, train = data.pictures(split), data.pictures("train")
    classes = len(data.class_names)
    if real.labels is None or train.labels is None or classes < 2:
        raise UserError(f"The pictures of {data.name} have no labels, so there are no classes to compare.")
    if list(extractor.class_names) != list(data.class_names):
        raise UserError(
            f"The judge '{extractor.name}' does not name the classes of {data.name}, which a generator is audited by:"
            " audit a run that was trained with metrics=generative."
        )
    asked = (torch.arange(images) % classes) if model.classes else None

    def drawn() -> Iterator[Tensor]:
        for part in torch.split(torch.arange(images), CHUNK):
            pictures = model.sample(part, settings.seed, None if asked is None else asked[part])
            if not pictures.isfinite().all():
                raise UserError("The model draws values that are not finite: audit an earlier checkpoint of it.")
            if progress:
                progress(int(part[-1]) + 1, images)
            yield convention.to_uint8(pictures)

    with evaluating(model, model.device):
        extractor.to(model.device)
        made = _looked_at(extractor, drawn(), asked)
    held = _looked_at(extractor, _in_order(real, torch.arange(len(real))), real.labels)
    oracle = None
    if split != "train":
        chosen = _some_of_each(train.labels, int(np.bincount(made.classes).max()), settings.seed)
        oracle = _looked_at(extractor, _in_order(train, chosen), train.labels[chosen])
    protocol = _protocol(data, split, "label", settings, classes) | {
        "extractor": extractor.name,
        "extractor_hash": extractor.hash,
        "resizing": extractor.resizing,
        "generated_images": images,
        "asked_for_classes": asked is not None,
        "averaged_weights": model.averaged,
        "truncation": 1.0,
        "half_samples": HALVES,
        "precision_neighbours": NEIGHBOURS,
    }
    return compare_drawings(made, held, oracle, data.class_names, asked is not None, settings, protocol)


def compare_drawings(
    made: Seen,
    held: Seen,
    oracle: Seen | None,
    class_names: list[str],
    conditional: bool,
    settings: Settings,
    protocol: Protocol,
) -> Audit:
    """Compare classes by how a judge sees what was drawn, real pictures and, as the oracle, real training pictures."""
    classes = len(class_names)
    counts = np.bincount(made.classes, minlength=classes)
    hits = np.bincount(made.classes[made.named == made.classes], minlength=classes)
    named, really = (np.bincount(seen.named, minlength=classes) for seen in (made, held))
    first = RECOGNISED if conditional else SHARE
    if conditional:
        gaps = fairness.share_gaps(hits, counts, settings.confidence, settings.resamples, settings.seed)
    else:
        gaps = fairness.relative_gaps(named, really / really.sum(), settings.confidence)
    found: list[Group] = []
    amiss: dict[str, list[str]] = {}
    for label, name in enumerate(class_names):
        values = {"share": fairness.share(int(named[label]), int(named.sum()), settings.confidence)}
        beside = {"share": float(really[label] / really.sum())}
        if conditional:
            values["recognised"] = fairness.share(int(hits[label]), int(counts[label]), settings.confidence)
            reference = oracle or held
            own = reference.classes == label
            beside["recognised"] = float((reference.named[own] == label).mean()) if own.any() else math.nan
        likeness, apart, real_likeness, note = _likeness(
            made.of(label), held.of(label), None if oracle is None else oracle.of(label), classes, settings, label
        )
        if note:
            amiss.setdefault(note, []).append(name)
        found.append(
            Group(
                name, int(counts[label]), values | likeness, {first.name: gaps[label]} | apart, beside | real_likeness
            )
        )
    extremes = _extremes(class_names, hits, counts, settings) if conditional else None
    measures = [first, *([PRECISION, RECALL] if oracle is not None else [])]
    notes = [f"{note}: class{'es' if len(whose) > 1 else ''} {_listed(whose, 20)}" for note, whose in amiss.items()]
    return Audit("label", found, measures, settings, protocol, extremes, notes)


def _likeness(
    drawn: Tensor, real: Tensor, oracle: Tensor | None, classes: int, settings: Settings, label: int
) -> tuple[dict[str, Estimate], dict[str, Estimate], dict[str, float], str]:
    """Return FID, precision and recall of a class, gaps of the last two to the oracle, the oracle's, and what is amiss.

    All depend on how many pictures there are, so that those drawn and the oracle are equally many, and for precision
    and recall as many as the real ones.
    """
    count = len(drawn) if oracle is None else min(len(drawn), len(oracle))
    equal = min(count, len(real))
    values, gaps, beside = dict.fromkeys(("precision", "recall", "fid"), NOTHING), {}, {}
    if oracle is not None:
        gaps, beside = {"precision": NOTHING, "recall": NOTHING}, dict.fromkeys(values, math.nan)
    sides = [drawn] if oracle is None else [drawn, oracle]
    if equal < LEAST:
        return values, gaps, beside, "too few pictures for precision, recall and FID"
    level = fairness.corrected(settings.confidence, classes)
    seed = settings.seed + label
    real = real[torch.randperm(len(real), generator=torch.Generator().manual_seed(seed))]  # the easy may come first
    known: list[tuple[Floats, Floats]] = []  # of each side, precision and recall and their deviations
    for side in sides:
        whole = _precision_and_recall(side[:equal], real[:equal])
        spread = _deviation(_precision_and_recall, side[:equal], real[:equal], seed)
        known.append((whole, np.maximum(spread, fairness.least_deviation(whole, equal))))
    for place, name in enumerate(("precision", "recall")):
        value, deviation = (float(numbers[place]) for numbers in known[0])
        values[name] = fairness.around(value, deviation, settings.confidence, 0.0, 1.0)
        if oracle is not None:
            beside[name], other_deviation = (float(numbers[place]) for numbers in known[1])
            gaps[name] = fairness.around(value - beside[name], math.hypot(deviation, other_deviation), level, -1.0, 1.0)
    features = drawn.shape[1]
    if equal // 2 <= features:  # a covariance of fewer pictures than features has no full rank, in either half
        return values, gaps, beside, f"too few pictures for FID (at least {2 * (features + 1)} on either side)"
    apart = float(_deviation(_fid, drawn[:count], real, seed))
    values["fid"] = fairness.around(float(_fid(drawn[:count], real)), apart, settings.confidence, 0.0)
    if oracle is not None:
        beside["fid"] = float(_fid(oracle[:count], real))
    return values, gaps, beside, ""


def _deviation(statistic: Callable[[Tensor, Tensor], Floats], one: Tensor, other: Tensor, seed: int) -> Floats:
    """Return the deviation of a statistic of two sets of features."""
    return fairness.half_samples(
        lambda rows, others: statistic(one[rows], other[others]), len(one), len(other), HALVES, seed
    )


def _fid(drawn: Tensor, real: Tensor) -> Floats:
    return np.array(statistics.frechet(drawn, real))


def _precision_and_recall(drawn: Tensor, real: Tensor) -> Floats:
    of_drawn, of_real = (neighbours.manifold(part, NEIGHBOURS, NEIGHBOURS) for part in (drawn, real))
    found = neighbours.compare(of_drawn, of_real, NEIGHBOURS)
    return np.array([found["precision"], found["recall"]])


def _looked_at(extractor: Extractor, batches: Iterable[Tensor], classes: Tensor | None) -> Seen:
    """Return what the judge sees; without classes, what it names is what a picture stands for."""
    seen = [extractor.look(batch) for batch in batches]
    named = torch.cat([logits for _, logits in seen]).argmax(dim=1).numpy()
    return Seen(torch.cat([features for features, _ in seen]), named, named if classes is None else classes.numpy())


def _in_order(pictures: Pictures, indices: Tensor) -> Iterator[Tensor]:
    for part in torch.split(indices, CHUNK):
        yield pictures.batch(part)


def _some_of_each(labels: Tensor, most: int, seed: int) -> Tensor:
    """Return the indices of up to ``most`` pictures of each class, in a random order."""
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    shuffled = labels[order]
    classes = range(int(labels.max()) + 1)
    return torch.cat([order[(shuffled == label).nonzero().flatten()[:most]] for label in classes])
