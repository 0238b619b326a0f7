"""How often a classifier names the pictures of each group rightly, and whether its confidence means the same in all."""

import hashlib
import math

import torch
from torch import Tensor

from darkroom import images as convention
from darkroom.audits import fairness
from darkroom.audits.audit import (
    ACCURACY,
    CALIBRATION,
    CHUNK,
    LIKE_FOR_LIKE,
    Audit,
    Group,
    Settings,
    best_and_worst,
    protocol_of,
)
from darkroom.audits.fairness import Floats, Wholes
from darkroom.data.contract import Data, Pictures, Progress
from darkroom.errors import UserError
from darkroom.isolation import evaluating
from darkroom.metrics.protocol import Protocol
from darkroom.models.abilities import Classifies

BINS = 15  # of the calibration error, as in metrics=classification
MOST_GROUPS = 200


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
    protocol = protocol_of(data, split, column, settings, int((torch.bincount(codes) > 0).sum())) | {
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
    extremes = best_and_worst(names, counts, sizes, settings)
    measures = [ACCURACY, *([LIKE_FOR_LIKE] if alike else []), CALIBRATION]
    return Audit(column, found, measures, settings, protocol, extremes)


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
