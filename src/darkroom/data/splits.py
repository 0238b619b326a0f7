"""Cut a set into train, val and test so that no picture stands on both sides of a cut."""

import logging

import numpy as np
import torch
from torch import Tensor

from darkroom.data.pictures import Pictures
from darkroom.errors import UserError

SPLITS = ("train", "val", "test")
TOLERATED = 0.01  # share of a held-out split that may be dropped from train in passing; above it the data leak
LOG = logging.getLogger(__name__)


def generator(*seeds: int) -> torch.Generator:
    """Return a generator that is a pure function of these whole numbers, and differs when any of them does."""
    state = int(np.random.SeedSequence([seed & 0xFFFFFFFFFFFFFFFF for seed in seeds]).generate_state(1, np.uint64)[0])
    return torch.Generator().manual_seed(state & 0x7FFFFFFFFFFFFFFF)


def stratified_order(labels: Tensor | None, count: int, seed: int) -> Tensor:
    """Return 0 .. count-1 in a random order of which every beginning holds the classes in proportion.

    Nested by construction: the first 100 are among the first 1000, so that little-data studies only ever add pictures.
    """
    order = torch.randperm(count, generator=generator(seed))
    if labels is None or count == 0:
        return order
    shuffled = labels[order]
    sizes = torch.bincount(shuffled)
    by_class = torch.argsort(shuffled, stable=True)
    starts = torch.cumsum(sizes, 0) - sizes
    rank = torch.empty(count, dtype=torch.float64)
    rank[by_class] = (torch.arange(count) - starts[shuffled[by_class]]).double()
    return order[torch.argsort((rank + 0.5) / sizes[shuffled], stable=True)]


def carve(pictures: Pictures, sizes: dict[str, float], seed: int) -> dict[str, Pictures]:
    """Take splits of these sizes out of a set, stratified by label, and call the rest train.

    Sizes below 1 are shares, others are counts, of different pictures. Copies of one picture go to one
    side together, so that nothing leaks; pictures keep their order within a split.

    Raises:
        UserError: when a split would be left empty.
    """
    for name, size in sizes.items():
        if size <= 0:
            raise UserError(f"data.source.{name}={size:g} is too little: give a share below 1 or a count of 1 or more")
    first_of: dict[bytes, int] = {}
    representatives: list[int] = []
    group = torch.empty(len(pictures), dtype=torch.int64)
    for index, picture in enumerate(pictures.hashes):
        if picture not in first_of:
            first_of[picture] = len(representatives)
            representatives.append(index)
        group[index] = first_of[picture]
    different = len(representatives)
    counts = {name: max(1, round(size * different)) if size < 1 else int(size) for name, size in sizes.items()}
    if sum(counts.values()) >= different:
        wanted = " and ".join(f"{count} for {name}" for name, count in counts.items())
        raise UserError(
            f"{different} different pictures cannot be split: {wanted} would leave none to train on; "
            "add pictures, or lower data.source.val and data.source.test"
        )
    labels = None if pictures.labels is None else pictures.labels[torch.tensor(representatives)]
    order = stratified_order(labels, different, seed)
    side = torch.zeros(different, dtype=torch.int64)
    start = 0
    for number, count in enumerate(counts.values(), start=1):
        side[order[start : start + count]] = number
        start += count
    side_of_picture = side[group]
    return {
        name: pictures.select(torch.nonzero(side_of_picture == number).flatten())
        for number, name in enumerate(["train", *counts])
    }


def remove_leaks(parts: dict[str, Pictures], name: str) -> dict[str, Pictures]:
    """Drop from train (and val) what is also held out, and say so; refuse when it is more than an accident.

    Official data sets hold a few copies across their splits. The held-out side stays as it was published; the other
    side gives way.

    Raises:
        UserError: when more than 1 % of a held-out split is also on the other side.
    """
    result = dict(parts)
    for held_out, other in (("test", "val"), ("test", "train"), ("val", "train")):
        if held_out not in result or other not in result:
            continue
        kept_out, hashes = set(result[held_out].hashes), result[other].hashes
        keep = torch.tensor([picture not in kept_out for picture in hashes], dtype=torch.bool)
        dropped = int((~keep).sum())
        if not dropped:
            continue
        known = set(hashes)
        shared = sum(picture in known for picture in result[held_out].hashes)
        if shared > TOLERATED * len(result[held_out]):
            raise UserError(
                f"{name}: {shared} of {len(result[held_out])} {held_out} pictures "
                f"({shared / len(result[held_out]):.1%}) are also in {other}, "
                f"so a score on {held_out} would mean nothing; take them out of one of the two"
            )
        LOG.warning(
            "%s: dropped %d %s pictures that are identical to %d %s pictures", name, dropped, other, shared, held_out
        )
        result[other] = result[other].select(torch.nonzero(keep).flatten())
    return result


def complete_splits(parts: dict[str, Pictures], val: float, test: float, seed: int, name: str) -> dict[str, Pictures]:
    """Return train, val and test, disjoint: given parts are checked against each other, missing ones carved from train.

    Raises:
        UserError: when there are too few pictures, or the given parts leak into each other.
    """
    for split, pictures in parts.items():
        if len(pictures) == 0:
            raise UserError(f"{name}: the {split} split holds no pictures; add some")
    parts = remove_leaks(parts, name)
    missing = {split: size for split, size in (("val", val), ("test", test)) if split not in parts}
    if missing:
        parts = {**parts, **carve(parts["train"], missing, seed)}
    return {split: parts[split] for split in SPLITS}
