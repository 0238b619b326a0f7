"""What the latents of a finished run can do, as pictures: ways between pictures, single latents, attributes.

    for name, sheet in sheets(model, data, metrics).items():
        sheet.picture, sheet.caption, sheet.numbers

Everything is learned from training pictures, and shown and measured on held-out ones. Every number compares drawn
pictures with drawn pictures: what encoding and decoding alone change counts for nothing.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from darkroom.data.module import ImageData
from darkroom.explaining.explanation import in_turn
from darkroom.images import evenly, from_uint8, to_uint8
from darkroom.isolation import evaluating
from darkroom.latents.directions import lerp, logistic_direction, mean_direction, move, slerp, traversal
from darkroom.latents.leakage import (
    CLASS,
    Leakage,
    Moments,
    Reader,
    Reading,
    changes,
    measure,
    moments,
    probability_of_neither,
    read,
)
from darkroom.latents.readers import read_by
from darkroom.latents.rows import Row, draw
from darkroom.metrics.latents import Facts
from darkroom.models.abilities import Infers, Traverses

LEARNED = 5000  # training pictures that directions are learned from
KNOWN = 1000  # held-out pictures to choose from
MEASURED, PAIRED = 100, 50  # pictures that each edit is measured on, pairs that a way between two is
FEWEST = 10  # training pictures that must have an attribute, and not have it, before a direction is learned
PAIRS, SHOWN, TRAVERSED, LATENTS, ROWS = 5, 3, 2, 10, 12  # on the sheets: pairs, pictures a row, latents, directions
SHARES = {"0": 0.0, "1/6": 1 / 6, "1/3": 1 / 3, "1/2": 1 / 2, "2/3": 2 / 3, "5/6": 5 / 6, "1": 1.0}
DEVIATIONS = (-3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0)
AMOUNTS = (0.0, 0.5, 1.0, 1.5)
CHUNK = 500  # pictures encoded or decoded at a time


@dataclass(frozen=True)
class Sheet:
    """A uint8 ``(H, W, 3)`` picture, which bears its caption, and what was measured for it."""

    picture: np.ndarray
    caption: str
    numbers: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Known:
    """Pictures ``(N, C, H, W)`` uint8 with their latents ``(N, d)``, and their labels ``(N,)`` where there are any.

    ``values`` are which value of each attribute a picture has, int64 ``(N,)``, by the numbers that readers give them.
    """

    pixels: Tensor
    labels: Tensor | None
    values: dict[str, Tensor]
    latents: Tensor
    log_variances: Tensor | None

    def spread(self, count: int, among: Tensor) -> Tensor:
        """Return the numbers of so many pictures among some, of classes that lie apart."""
        told = None if self.labels is None else self.labels[among]
        classes = 0 if told is None else len(set(told.tolist()))
        turn = in_turn(told, len(among), max(classes, count + 2))
        return among[turn[torch.linspace(0, len(turn) - 1, count + 2).round().long()[1:-1]]]


def sheets(model: Traverses, data: ImageData, metrics: Any) -> dict[str, Sheet]:
    """Return the sheets of a trained model by name; the model and all random states stay as they are.

    Read are the attributes that an eye knows for certain, or else the classes that the judge of the metrics names,
    with stroke and slant; without a judge, stroke and slant alone. What nobody can read has no directions.
    """
    with evaluating(model, model.device):
        readers = read_by(data, metrics)
        names = {name: list(values) for reader in readers for name, values in reader.names.items()}
        train, test = (
            _known(model, data, split, names, count) for split, count in (("train", LEARNED), ("test", KNOWN))
        )
        drawn = {
            "interpolation": _interpolation(model, data, test, readers),
            "traversal": _traversal(model, train, test, readers),
        }
        if wanted := list(_wanted(train, test, names)):
            drawn["attributes"] = _attributes(model, train, test, readers, names, wanted)
    return drawn


# --- what is known


def _known(model: Traverses, data: ImageData, split: str, names: dict[str, list[str]], count: int) -> Known:
    """Return pictures of a split with all that is known of them."""
    pictures = data.pictures(split)
    chosen = evenly(len(pictures), count)
    pixels = pictures.batch(chosen)
    labels = None if pictures.labels is None else pictures.labels[chosen]
    values: dict[str, Tensor] = {}
    stated = data.attributes(split)
    for attribute in names:
        if attribute == CLASS and labels is not None:
            values[attribute] = labels
        elif attribute in stated:
            numbers = {value: number for number, value in enumerate(names[attribute])}
            values[attribute] = torch.tensor([numbers[stated[attribute][place]] for place in chosen.tolist()])
    latents, log_variances = [], []
    for part in torch.split(torch.arange(len(pixels)), CHUNK):
        images, told = from_uint8(pixels[part]), None if labels is None else labels[part]
        if isinstance(model, Infers):
            means, variances = model.posterior(images, told)
            latents.append(means.cpu())
            log_variances.append(variances.cpu())
        else:
            latents.append(model.encode(images, told).cpu())
    return Known(pixels, labels, values, torch.cat(latents), torch.cat(log_variances) if log_variances else None)


def _decoded(model: Traverses, latents: Tensor, labels: Tensor | None) -> Tensor:
    """Return uint8 pictures ``(B, S, C, H, W)`` of latents ``(B, S, d)``, a row of which have one label ``(B,)``."""
    flat = latents.flatten(0, 1)
    told = None if labels is None else labels.repeat_interleave(latents.shape[1])
    parts = [
        to_uint8(model.decode(flat[part], None if told is None else told[part])).cpu()
        for part in torch.split(torch.arange(len(flat)), CHUNK)
    ]
    pictures = torch.cat(parts)
    return pictures.view(*latents.shape[:2], *pictures.shape[1:])


# --- from one picture to another


def _interpolation(model: Traverses, data: ImageData, test: Known, readers: list[Reader]) -> Sheet:
    """Draw straight lines and arcs between pairs of pictures, and measure what shows on the way that neither shows."""
    first, second = _pairs(model, test)
    labels = None if test.labels is None else test.labels[first]
    shares = torch.tensor(list(SHARES.values()))
    rows: list[Row] = []
    numbers: dict[str, float] = {}
    ways = {}
    for name, words, between in (("linear", "straight line", lerp), ("spherical", "arc", slerp)):
        ways[name] = words, _decoded(model, between(test.latents[first], test.latents[second], shares), labels)
        if (found := _strayed(ways[name][1], readers)) is not None:
            numbers[f"interpolation_strayed_{name}"] = found
    for pair in range(min(PAIRS, len(first))):
        ends = [int(first[pair]), int(second[pair])]
        which = ["one picture", "another"]
        if test.labels is not None:
            which = [data.class_names[int(test.labels[end])] for end in ends]
        for words, pictures in ways.values():
            one = _strayed(pictures[pair : pair + 1], readers)
            lines = [f"{which[0]} to {which[1]}, {words}"] + ([] if one is None else [f"neither of the two: {one:.2f}"])
            rows.append(Row(lines, [test.pixels[ends[0]], *pictures[pair], test.pixels[ends[1]]]))
    held = " Both have the class that the model is told." if model.classes else ""
    measured = (
        f" Neither of the two: how probable it is, halfway, that a picture shows what neither end shows; of"
        f" {len(first)} pairs {numbers['interpolation_strayed_linear']:.2f} on straight lines and"
        f" {numbers['interpolation_strayed_spherical']:.2f} on arcs."
        if numbers
        else ""
    )
    caption = (
        "Held-out pictures at both ends; between them what the model makes of latents on the way from the one to the"
        f" other, of which 0 and 1 are its reconstructions.{held}{measured}"
    )
    headings = ["picture", *SHARES, "picture"]
    title = "Interpolation: from one picture to another"
    return Sheet(
        draw(rows, headings, title, caption, blocks=(1, len(SHARES), 1), together=2, cell=64), caption, numbers
    )


def _pairs(model: Traverses, test: Known) -> tuple[Tensor, Tensor]:
    """Return the numbers of two pictures each, ``(P,)``: of different classes, or, for a model that is told, of one."""
    order = torch.randperm(len(test.pixels), generator=torch.Generator().manual_seed(0))
    pairs = order[: len(order) // 2 * 2].view(-1, 2)
    if test.labels is not None:
        alike = test.labels[pairs[:, 0]] == test.labels[pairs[:, 1]]
        fitting = alike if model.classes else ~alike
        pairs = pairs[fitting] if fitting.any() else pairs
    return pairs[:PAIRED, 0], pairs[:PAIRED, 1]


def _strayed(ways: Tensor, readers: list[Reader]) -> float | None:
    """Return how probable it is that what is halfway shows neither end's value, over all attributes that have names.

    None where only stroke and slant can be read, of which anything between two ends is between them.
    """
    middle = ways.shape[1] // 2
    start, end, halfway = (_named(read(readers, ways[:, place])) for place in (0, -1, middle))
    if not halfway:
        return None
    found = [
        probability_of_neither(halfway[name], start[name].argmax(dim=1), end[name].argmax(dim=1)) for name in halfway
    ]
    return sum(found) / len(found)


def _named(reading: Reading) -> Reading:
    return {name: shares for name, shares in reading.items() if name not in Moments.names}


# --- one latent at a time


def _traversal(model: Traverses, train: Known, test: Known, readers: list[Reader]) -> Sheet:
    """Draw what the most telling latents do, one by one, and measure which attributes they change."""
    middle, deviation = train.latents.mean(dim=0), train.latents.std(dim=0, correction=0)
    if train.log_variances is not None:
        telling, unit = Facts.of(train.latents, train.log_variances).rates, "nats"
    else:
        telling, unit = train.latents.var(dim=0, correction=0), "variance"
    order = telling.argsort(descending=True)[:LATENTS].tolist()
    everything = torch.arange(len(test.pixels))
    shown, tried = test.spread(TRAVERSED, everything), everything[:MEASURED]
    rows, found = [], []
    for latent in order:
        values = middle[latent] + deviation[latent] * torch.tensor(DEVIATIONS)
        pictures = _decoded(model, traversal(test.latents[shown], latent, values), _of(test.labels, shown))
        ends = middle[latent] + deviation[latent] * torch.tensor([-1.0, 1.0])
        moved = _decoded(model, traversal(test.latents[tried], latent, ends), _of(test.labels, tried))
        changed = changes(read(readers, moved[:, 0]), read(readers, moved[:, 1]))
        found.append(changed)
        most, *others = sorted(changed, key=lambda name: -changed[name])
        lines = [
            f"latent {latent}: {telling[latent]:.2f} {unit}",
            f"changes {most} {changed[most]:.2f}",
            "and " + ", ".join(f"{name} {changed[name]:.2f}" for name in others),
        ]
        rows.append(Row(lines, [cell for row in pictures for cell in row]))
    largest = [max(changed.values()) for changed in found]
    leaked = [
        (sum(changed.values()) - most) / max(1, len(changed) - 1) for changed, most in zip(found, largest, strict=True)
    ]
    numbers = {f"traversal_changed_{name}": _mean([changed[name] for changed in found]) for name in found[0]}
    numbers |= {"traversal_moved": _mean(largest), "traversal_leaked": _mean(leaked)}
    told = " The class is told, and stays as it is." if model.classes else ""
    caption = (
        f"Two held-out pictures, reconstructed with one latent set to -3 to 3 standard deviations from its mean, all"
        f" others as they are; the most telling {len(order)} of {train.latents.shape[1]} latents.{told} Changes: how"
        f" far what is read of {len(tried)} pictures moves between -1 and 1, from 0 (stays) to 1; the first is what the"
        " latent is about, the others leak."
    )
    headings = [f"{value:g}" for value in DEVIATIONS] * TRAVERSED
    title = "Traversal: one latent at a time"
    return Sheet(draw(rows, headings, title, caption, blocks=(len(DEVIATIONS),) * TRAVERSED), caption, numbers)


# --- towards an attribute


def _attributes(
    model: Traverses,
    train: Known,
    test: Known,
    readers: list[Reader],
    names: dict[str, list[str]],
    wanted: list[tuple[str, int]],
) -> Sheet:
    """Draw pictures that are moved towards attributes, and measure how much of that they gain and what else changes."""
    style = _style(train) if any(isinstance(reader, Moments) for reader in readers) else None
    rebuilt = read(readers, _decoded(model, test.latents[:, None], test.labels)[:, 0])
    rows: list[Row] = []
    found: dict[str, list[Leakage]] = {}
    for attribute, value in wanted:
        other = test.values[attribute] != value
        having, missing = (~other).nonzero().squeeze(1), other.nonzero().squeeze(1)
        shown, tried = test.spread(SHOWN, missing), missing[:MEASURED]
        ways = _ways(train, train.values[attribute] == value, style)
        pictures = _decoded(model, move(test.latents[shown], ways[""], AMOUNTS), _of(test.labels, shown))
        edited = {
            name: _decoded(model, move(test.latents[tried], way, [1.0]), _of(test.labels, tried))[:, 0]
            for name, way in ways.items()
        }
        blocks = [[pixels, *row] for pixels, row in zip(test.pixels[shown], pictures, strict=True)]
        if model.classes:
            told = train.labels is not None and torch.equal(train.values[attribute], train.labels)
            if told:
                edited["_told"] = _told(model, test, tried, value)
            exchanged = _told(model, test, shown, value) if told else [None] * SHOWN
            blocks = [[*block, last] for block, last in zip(blocks, exchanged, strict=True)]
        before = {name: shares[tried] for name, shares in rebuilt.items()}
        after = {name: read(readers, part) for name, part in edited.items()}
        # The baseline: what leaks when a picture is replaced by any other that has the attribute.
        replaced = having[torch.arange(len(tried)) % len(having)]
        after["_replaced"] = {name: shares[replaced] for name, shares in rebuilt.items()}
        for name, reading in after.items():
            found.setdefault(name, []).append(measure(before, reading, attribute, value))
        leakage = found[""][-1]
        lines = [
            f"towards {names[attribute][value]}",
            f"gains {leakage.moved:.2f}, leaks {leakage.leaked:.2f}",
            ", ".join(f"{name} {change:.2f}" for name, change in leakage.changes.items() if name != attribute),
        ]
        if "_told" in edited:
            lines.append(f"told: gains {found['_told'][-1].moved:.2f}, leaks {found['_told'][-1].leaked:.2f}")
        rows.append(Row(lines, [cell for block in blocks for cell in block]))
    numbers = {
        f"attributes_{measured}{name}": _mean([getattr(leakage, measured) for leakage in leakages])
        for name, leakages in found.items()
        for measured in ("moved", "leaked")
    }
    held = (
        " The class that the model is told is held; in the last column it is exchanged, and the latents are held."
        if model.classes
        else ""
    )
    caption = (
        "Held-out pictures, reconstructed (0) and moved along a direction, the difference between the mean latents"
        f" of training pictures with the attribute and without; 1 moves by the distance between the two.{held} Measured"
        f" at 1 on up to {MEASURED} pictures: gains is the probability won by the attribute, leaks the mean change of"
        f" all others, from 0 (they stay) to 1. All rows: gains {numbers['attributes_moved']:.2f}, leaks"
        f" {numbers['attributes_leaked']:.2f}; {numbers['attributes_leaked_replaced']:.2f} would leak if the picture"
        " were replaced by any other that has the attribute."
    )
    headings = ["picture", *(f"{amount:g}" for amount in AMOUNTS), *(["told"] if model.classes else [])]
    title = "Attributes: what labels say, added to pictures"
    return Sheet(draw(rows, headings * SHOWN, title, caption, blocks=(len(headings),) * SHOWN), caption, numbers)


def _wanted(train: Known, test: Known, names: dict[str, list[str]]) -> Iterator[tuple[str, int]]:
    """Yield the attributes and the values that the sheet has a row for: the first of each, those that are known of."""
    for attribute, values in train.values.items():
        rows = 0
        for value in range(len(names[attribute])):
            having = int((values == value).sum())
            shares = test.values[attribute] == value
            if min(having, len(values) - having) >= FEWEST and shares.any() and int((~shares).sum()) >= SHOWN:
                rows += 1
                yield attribute, value
            if rows == max(1, ROWS // len(train.values)):
                break


def _ways(train: Known, having: Tensor, style: Tensor | None) -> dict[str, Tensor]:
    """Return the directions towards an attribute that are compared, that of the sheet first."""
    ways = {"": mean_direction(train.latents, having), "_logistic": logistic_direction(train.latents, having)}
    if style is not None and len(style) < train.latents.shape[1]:
        ways["_held"] = mean_direction(train.latents, having, style)
    return ways


def _style(train: Known) -> Tensor:
    """Return the directions ``(2, d)`` towards more stroke and more slant."""
    return torch.stack(
        [mean_direction(train.latents, values > values.median()) for values in moments(train.pixels).values()]
    )


def _told(model: Traverses, test: Known, chosen: Tensor, label: int) -> Tensor:
    """Return uint8 pictures ``(B, C, H, W)`` of latents as they are, told another class."""
    return _decoded(model, test.latents[chosen, None], torch.full_like(chosen, label))[:, 0]


def _of(labels: Tensor | None, chosen: Tensor) -> Tensor | None:
    return None if labels is None else labels[chosen]


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)
