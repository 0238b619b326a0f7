"""What pictures are known to show, by labels, columns and readers, and what of it a direction can be learned from.

With an encoder directions are learned from training pictures, without one from drawn ones, of which a judge says what
they show; what leaks is measured on others.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from darkroom.data.module import ImageData
from darkroom.errors import UserError, did_you_mean
from darkroom.images import evenly, from_uint8, to_uint8
from darkroom.latents import inversion
from darkroom.latents.directions import normal
from darkroom.latents.finding import Finder, Found
from darkroom.latents.leakage import CLASS, Moments, Named, Reader, moments
from darkroom.models.abilities import Renders, Traverses

LEARNED = 5000  # training pictures that directions are learned from; of drawn ones as many
MEASURED = 100  # other pictures that leakage is measured on
FEWEST = 10  # pictures that must have an attribute, and not have it, before a direction is learned
DISTINCT = 12  # numbers in a column that has fewer are names
LISTED = 40  # attributes named in a message
YES = ("yes", "true", "1", "1.0")


@dataclass(frozen=True)
class Known:
    """Latents ``(N, d)`` with what their pictures ``(N, C, H, W)``, uint8, are known to show.

    ``named`` are columns of names with the number of the name of each, ``(N,)``; ``numbers`` float64 ``(N,)``.
    """

    latents: Tensor
    pixels: Tensor
    named: dict[str, tuple[list[str], Tensor]]
    numbers: dict[str, Tensor]


@dataclass(frozen=True)
class Trait:
    """Something that pictures have more or less of; ``value`` is its number among what readers say of the column.

    ``scores`` ``(N,)`` are bool or numbers; None for what a run is told.
    """

    name: str
    column: str
    value: int
    scores: Tensor | None

    @property
    def having(self) -> Tensor:
        """Which of the known pictures have it, ``(N,)``; of a number, more than half of them have."""
        assert self.scores is not None
        return self.scores if self.scores.dtype == torch.bool else self.scores > self.scores.median()


@dataclass(frozen=True)
class Others:
    """Latents ``(N, d)`` and vectors ``(N, D)`` of pictures that no direction was learned from, in words ``of``."""

    latents: Tensor
    vectors: Tensor | None
    pixels: Tensor
    of: str


def known_of(finder: Finder, data: ImageData, readers: list[Reader], found: Found) -> tuple[Known, Others]:
    """Return what directions are learned from, and what leakage is measured on; readers may be added."""
    model = finder.model
    if isinstance(model, Traverses):
        train, held_out = data.pictures("train"), data.pictures("val")
        chosen, tested = evenly(len(train), LEARNED), evenly(len(held_out), MEASURED)
        pixels = train.batch(chosen)
        labels = None if train.labels is None else train.labels[chosen]
        told = None if held_out.labels is None else held_out.labels[tested]
        named = {} if labels is None else {CLASS: (list(data.class_names), labels)}
        numbers: dict[str, Tensor] = {}
        for column, values in data.attributes("train").items():
            _sort_in(column, [values[place] for place in chosen.tolist()], named, numbers)
        latents = _encode(model, pixels, labels)
        vectors = model.vectors(told.to(model.device)) if model.classes and told is not None else None
        others = Others(
            _encode(model, held_out.batch(tested), told), vectors, held_out.batch(tested), "held-out pictures"
        )
        _teach(readers, pixels, named, numbers)
    else:
        drawn = model.latents(torch.arange(LEARNED + MEASURED), finder.seed + 1).to(model.device)
        everything = to_uint8(finder.show(drawn, found.vectors))
        latents, pixels = drawn[:LEARNED], everything[:LEARNED]
        others = Others(drawn[LEARNED:], found.vectors, everything[LEARNED:], "drawn pictures")
        said = [reader for reader in readers if not isinstance(reader, Moments)]
        named = {
            column: (list(reader.names[column]), shares.argmax(dim=1))
            for reader in said
            for column, shares in reader(pixels).items()
        }
        numbers = {}
    return Known(latents, pixels, named, numbers | moments(pixels)), others


def _encode(model: Traverses, pixels: Tensor, labels: Tensor | None) -> Tensor:
    """Return the latents of uint8 pictures, ``(N, d)``."""
    parts = torch.split(torch.arange(len(pixels)), inversion.CHUNK)
    return torch.cat(
        [model.encode(from_uint8(pixels[part]), None if labels is None else labels[part]) for part in parts]
    )


def _sort_in(
    column: str, values: list[str], named: dict[str, tuple[list[str], Tensor]], numbers: dict[str, Tensor]
) -> None:
    """Take a column of what is said of pictures as numbers or as names."""
    names = sorted(set(values))
    try:
        read_as = [float(value) for value in values]
    except ValueError:
        read_as = []
    if read_as and len(names) > DISTINCT and all(map(math.isfinite, read_as)):
        numbers[column] = torch.tensor(read_as, dtype=torch.float64)
    else:
        named[column] = names, torch.tensor([names.index(value) for value in values])


def _teach(
    readers: list[Reader],
    pixels: Tensor,
    named: dict[str, tuple[list[str], Tensor]],
    numbers: dict[str, Tensor],
) -> None:
    """Add a reader of what no other reads; names keep the numbers that the readers give them."""
    can = {column: list(names) for reader in readers for column, names in reader.names.items()}
    for column in [column for column in named if column in can]:
        names, values = named[column]
        place = torch.tensor([can[column].index(name) for name in names])
        named[column] = can[column], place[values]
    lesson = {column: part for column, part in named.items() if column not in can}
    lesson |= {column: (["less", "more"], (part > part.median()).long()) for column, part in numbers.items()}
    lesson = {
        column: (names, values)
        for column, (names, values) in lesson.items()
        if len(names) <= LISTED and len(set(values.tolist())) > 1
    }
    if lesson:
        targets = {column: values for column, (_, values) in lesson.items()}
        readers.append(Named.by_examples(pixels, targets, {column: names for column, (names, _) in lesson.items()}))


def traits_of(model: Renders, known: Known) -> dict[str, Trait]:
    """Return all that a direction can be learned of, or that the run is told, by name."""
    found: dict[str, Trait] = {}
    if model.classes:
        for number, name in enumerate(model.class_names):
            found[f"{CLASS}:{name}"] = Trait(f"{CLASS}:{name}", CLASS, number, None)
    for column, (names, values) in known.named.items():
        for number, name in enumerate(names):
            scores = values == number
            if f"{column}:{name}" not in found and FEWEST <= int(scores.sum()) <= len(scores) - FEWEST:
                found[f"{column}:{name}"] = Trait(f"{column}:{name}", column, number, scores)
    for column, numbers in known.numbers.items():
        if len(set(numbers.tolist())) > 1:
            most = len(Moments.names[column]) - 1 if column in Moments.names else 1
            found[column] = Trait(column, column, most, numbers)
    return found


def called(name: str, traits: dict[str, Trait]) -> Trait:
    """Return the attribute of a name: in full, its value alone, or the column alone where values are yes and no."""
    if name in traits:
        return traits[name]
    of_value = [full for full in traits if full.partition(":")[2] == name]
    of_column = [full for full, part in traits.items() if part.column == name]
    yes = [full for full in of_column if full.partition(":")[2].lower() in YES]
    if len(of_column) <= 2 and yes:
        return traits[yes[0]]
    if len(of_value) == 1:
        return traits[of_value[0]]
    if len(of_value) > 1 or of_column:
        raise UserError(f"attribute={name} may be several: type one of {', '.join(of_value or of_column)}.")
    names = [*traits, *(full.partition(":")[2] for full in traits if ":" in full)]
    listed = ", ".join(list(traits)[:LISTED]) + (", …" if len(traits) > LISTED else "")
    raise UserError(f"attribute={name} is not known{did_you_mean(name, names)}: these pictures are known by {listed}.")


def all_called(name: str, traits: dict[str, Trait]) -> list[Trait]:
    """Return what a name in hold= stands for: an attribute, or all values of a column, less what the run is told."""
    column = [part for part in traits.values() if part.column == name]
    if len(column) > 1:
        return [part for part in column if part.scores is not None]
    return [called(name, traits)]


def way(
    finder: Finder, found: Found, known: Known, wanted: Trait, hold: list[Trait], choose: Any
) -> tuple[Tensor, Tensor | None]:
    """Return the direction ``(d,)`` of latents and the shift ``(D,)`` of what the run is told, for an amount of 1."""
    rows = [normal(known.latents, part.scores) for part in hold if part.scores is not None]
    if wanted.scores is not None:
        if wanted.name in [part.name for part in hold]:
            raise UserError(f"hold={wanted.name} holds what attribute= is to move: take it out of hold.")
        return choose(known.latents, wanted.having, torch.stack(rows) if rows else None), None
    assert found.vectors is not None
    shift = finder.model.vectors(torch.tensor([wanted.value], device=found.vectors.device))
    assert shift is not None
    shift = shift[0] - found.vectors[0]
    if not shift.any():
        raise UserError(f"attribute={wanted.name} is what the picture shows already: name another class.")
    return torch.zeros_like(found.latents[0]), shift
