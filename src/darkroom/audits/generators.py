"""How well a generator draws each class, as a judge that knows the classes sees it."""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from darkroom import images as convention
from darkroom.audits import fairness
from darkroom.audits.audit import (
    CHUNK,
    PRECISION,
    RECALL,
    RECOGNISED,
    SHARE,
    Audit,
    Group,
    Settings,
    best_and_worst,
    listed,
    protocol_of,
)
from darkroom.audits.fairness import NOTHING, Estimate, Floats, Wholes
from darkroom.data.contract import Data, Progress
from darkroom.errors import UserError
from darkroom.isolation import evaluating
from darkroom.judges import statistics
from darkroom.judges.judge import Extractor
from darkroom.metrics import neighbours
from darkroom.metrics.batches import in_order
from darkroom.metrics.protocol import Protocol
from darkroom.models.abilities import Draws

HALVES = 50  # of FID, precision and recall: their deviation is then known to a tenth
NEIGHBOURS = 3  # of precision and recall, as in metrics=generative
LEAST = 12  # pictures of a class, so that half of them have neighbours


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
    held = _looked_at(extractor, in_order(real), real.labels)
    oracle = None
    if split != "train":
        chosen = _some_of_each(train.labels, int(np.bincount(made.classes).max()), settings.seed)
        oracle = _looked_at(extractor, in_order(train, chosen), train.labels[chosen])
    protocol = protocol_of(data, split, "label", settings, classes) | {
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
    extremes = best_and_worst(class_names, hits, counts, settings) if conditional else None
    measures = [first, *([PRECISION, RECALL] if oracle is not None else [])]
    notes = [f"{note}: class{'es' if len(whose) > 1 else ''} {listed(whose, 20)}" for note, whose in amiss.items()]
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


def _some_of_each(labels: Tensor, most: int, seed: int) -> Tensor:
    """Return the indices of up to ``most`` pictures of each class, in a random order."""
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    shuffled = labels[order]
    classes = range(int(labels.max()) + 1)
    return torch.cat([order[(shuffled == label).nonzero().flatten()[:most]] for label in classes])
