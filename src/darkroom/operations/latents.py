"""Edit a person's own picture through the latents of a run: towards what labels name, or on the way to another picture.

A run with an encoder says which latents a picture has; for one without they are looked for (`inversion.invert`).
Directions are learned from training pictures or, without an encoder, from drawn ones, of which a judge says what they
show; what leaks is measured on others.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from darkroom import lab, paths
from darkroom.config.nodes import Node
from darkroom.config.parts import build
from darkroom.data.folder import read_picture
from darkroom.data.module import ImageData
from darkroom.drawing import asked_for
from darkroom.errors import UserError, did_you_mean
from darkroom.images import evenly, from_uint8, to_uint8
from darkroom.latents import inversion
from darkroom.latents.directions import lerp, logistic_direction, mean_direction, normal, slerp
from darkroom.latents.leakage import CLASS, Leakage, Moments, Named, Reader, measure, moments, read, strayed
from darkroom.latents.readers import read_by, style_of
from darkroom.latents.sheet import Row, draw
from darkroom.metrics import digests, paired
from darkroom.metrics.references import remembered
from darkroom.models.abilities import Renders, Traverses
from darkroom.models.model import Model
from darkroom.operations.edited import Edited
from darkroom.picture_files.picture import UnreadablePicture
from darkroom.tracking import checkpoints
from darkroom.tracking.store import Store

ON_THE_WAY = 7  # pictures, where no number is given
LEARNED = 5000  # training pictures that directions are learned from; of drawn ones as many
MEASURED = 100  # other pictures that leakage is measured on
USUAL = {True: 100, False: 8}  # held-out pictures whose reconstructions say what is usual: with an encoder, without
DRAWS = 64  # places where latents are looked for first
SOUGHT = 200  # steps of looking, where there is no encoder
FEWEST = 10  # pictures that must have an attribute, and not have it, before a direction is learned
DISTINCT = 12  # numbers in a column that has fewer are names
LISTED = 40  # attributes named in a message
YES = ("yes", "true", "1", "1.0")
DIRECTIONS = {"mean": mean_direction, "logistic": logistic_direction}
WAYS = {"slerp": slerp, "lerp": lerp}


@dataclass(frozen=True)
class Found:
    """Latents ``(B, d)`` of pictures, the vectors ``(B, D)`` that they are drawn under, and what that shows.

    ``condition`` is the number ``(B,)`` of the condition among those that were tried, ``psnr`` ``(B,)`` in decibels.
    """

    latents: Tensor
    vectors: Tensor | None
    condition: Tensor
    images: Tensor
    psnr: Tensor


@dataclass(frozen=True)
class Finder:
    """Whoever finds the latents of pictures, and draws latents."""

    model: Renders
    steps: int
    seed: int = 0
    truncation: float = 1.0

    def find(self, images: Tensor, conditions: Tensor | None) -> Found:
        """Return the latents of images ``(B, C, H, W)`` under the best of the conditions ``(K,)`` or ``(K, L)``."""
        model = self.model
        vectors = model.vectors(None if conditions is None else conditions.to(model.device))
        images = images.to(model.device)
        if isinstance(model, Traverses):
            found = self._encoded(model, images, conditions, vectors)
        else:
            draws = model.latents(torch.arange(DRAWS), self.seed).to(model.device)
            space = inversion.Space.of(draws, self.truncation)
            found = inversion.invert(model.rendered, images, draws, space, vectors, self.steps)
        told = None if vectors is None else vectors[found.condition]
        return Found(found.latents, told, found.condition, found.images, paired.psnr(found.images, images))

    def _encoded(
        self, model: Traverses, images: Tensor, conditions: Tensor | None, vectors: Tensor | None
    ) -> inversion.Inverted:
        """Return what the encoder says under each condition, the best of it, and that looked for further."""
        told = [None] if conditions is None else [condition.expand(len(images)) for condition in conditions]
        latents = torch.stack([model.encode(images, labels) for labels in told], dim=1)
        condition = torch.arange(len(told), device=images.device).expand(len(images), -1)
        space = inversion.Space.of(model.typical(256), self.truncation)
        search = (model.rendered, images)
        latents, errors = inversion.descend(*search, latents, condition, space, vectors, 0)
        best = inversion.nearest(model.rendered, latents, condition, vectors, errors)
        if not self.steps:
            return best
        latents, errors = inversion.descend(
            *search, best.latents[:, None], best.condition[:, None], space, vectors, self.steps
        )
        return inversion.nearest(model.rendered, latents, best.condition[:, None], vectors, errors)

    @torch.no_grad()
    def show(self, latents: Tensor, vectors: Tensor | None) -> Tensor:
        """Return the images ``(B, C, H, W)`` in [-1, 1], on the CPU, of latents under as many vectors, or one."""
        told = None if vectors is None else vectors.expand(len(latents), -1)
        parts = [
            self.model.rendered(latents[part], None if told is None else told[part]).clamp(-1, 1).cpu()
            for part in torch.split(torch.arange(len(latents)), inversion.CHUNK)
        ]
        return torch.cat(parts)


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
class Attribute:
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


# --- the operations


def attribute(config: Node, model: Model, source: Path) -> Edited:
    """Move a picture towards an attribute, and away from it."""
    finder = _finder(config, model)
    if config["attribute"] is None:
        raise UserError(
            "operation=attribute was not told which: type attribute=<a class, a value of a column, stroke or slant>."
        )
    choose = _of_table("direction", config["direction"] or "mean", DIRECTIONS)
    start, end = _range(config["range"])
    conditions = _conditions(config, finder.model)
    picture = _picture(source, finder.model)
    data, metrics = _data(config)
    found = finder.find(picture, conditions)
    readers = read_by(data, metrics)
    known, others = _known(finder, data, readers, found)
    attributes = _attributes(finder.model, known)
    wanted = _called(config["attribute"], attributes)
    hold = [part for name in config["hold"] for part in _all_called(name, attributes)]
    if wanted.column in Moments.names and not any(wanted.column in reader.names for reader in readers):
        readers.append(style_of(data))
    direction, shift = _way(finder, found, known, wanted, hold, choose)

    amounts = (
        torch.linspace(start, end, config["steps"] or ON_THE_WAY, dtype=torch.float64).mul(1e6).round().div(1e6)
    )  # 0, not 1e-17
    latents = found.latents + amounts[:, None].to(found.latents) * direction
    vectors = found.vectors
    if vectors is not None and shift is not None:
        vectors = vectors + amounts[:, None].to(vectors) * shift
    made = finder.show(latents, vectors)
    first = found.images.cpu()
    missed = picture - first if config["residual"] else torch.zeros_like(first)
    film = torch.cat([first, made]) + missed
    leakage = _leakage(finder, readers, others, found, direction, shift, wanted)
    before, after = (read(readers, to_uint8(part)) for part in (first, made[-1:]))
    here = measure(before, after, wanted.column, wanted.value)

    usual = _usual(finder, data, conditions)
    kept = f", holding {', '.join(map(str, config['hold']))}" if hold else ""
    measured = f"at 1 {_said(leakage, wanted)}, over {MEASURED} {others.of}"
    sentence = f"{_returned(source, found, usual)} Towards {wanted.name}{kept}: {measured}."
    rows = [
        Row(
            [
                f"towards {wanted.name}",
                *([kept.removeprefix(", ")] if kept else []),
                f"at {end:g}: {_said(here, wanted)}",
            ],
            list(to_uint8(torch.cat([picture, film]))),
        )
    ]
    added = ", with what it misses of the picture added" if config["residual"] else ""
    caption = (
        f"{sentence} 0 is the reconstruction{added}; 1 is the distance between pictures that have the attribute and"
        " pictures that do not. Gains: the probability that is won by the attribute; leaks: the mean change of all"
        " others, from 0 (they stay) to 1."
    )
    headings = ["picture", "0", *(f"{amount:.3g}" for amount in amounts.tolist())]
    page = draw(rows, headings, f"Attribute: {wanted.name}", caption, blocks=(2, len(amounts)), cell=64)
    return Edited(torch.cat([picture, film]), len(film) + 1, film, sentence, page)


def interpolate(config: Node, model: Model, source: Path) -> Edited:
    """Go from a picture to another."""
    finder = _finder(config, model)
    if config["other"] is None:
        raise UserError("operation=interpolate goes from one picture to another: type other=<the second picture>.")
    between = _of_table("way", config["way"], WAYS)
    conditions = _conditions(config, finder.model)
    sources = [source, Path(config["other"]).expanduser()]
    pictures = torch.cat([_picture(place, finder.model) for place in sources])
    data, metrics = _data(config)
    ends = [finder.find(picture[None], conditions) for picture in pictures]  # apart: rounding depends on what is beside
    shares = torch.linspace(0, 1, config["steps"] or ON_THE_WAY)
    one, other = ends
    latents = between(one.latents[0], other.latents[0], shares)
    vectors = None
    if one.vectors is not None and other.vectors is not None:
        vectors = lerp(one.vectors[0], other.vectors[0], shares)
    made = finder.show(latents, vectors)
    film = made
    if config["residual"]:
        missed = [picture - end.images[0].cpu() for picture, end in zip(pictures, ends, strict=True)]
        film = made + torch.stack([(1 - share) * missed[0] + share * missed[1] for share in shares])
    reading = [
        {
            name: part
            for name, part in read(read_by(data, metrics), to_uint8(place)).items()
            if name not in Moments.names
        }
        for place in (made[:1], made[len(made) // 2][None], made[-1:])
    ]
    usual = _usual(finder, data, conditions)
    sentence = " ".join(_returned(place, end, usual) for place, end in zip(sources, ends, strict=True))
    lines = [f"{config['way']}"]
    if reading[0]:
        found = [
            strayed(reading[1][name], *(reading[end][name].argmax(dim=1) for end in (0, 2))) for name in reading[0]
        ]
        lines.append(f"halfway, neither of the two: {sum(found) / len(found):.2f}")
        sentence += f" Halfway it shows neither of the two with a probability of {sum(found) / len(found):.2f}."
    images = torch.cat([pictures[:1], film, pictures[1:]])
    headings = ["picture", *(f"{share:.2g}" for share in shares.tolist()), "picture"]
    page = draw(
        [Row(lines, list(to_uint8(images)))],
        headings,
        "From one picture to another",
        sentence,
        (1, len(film), 1),
        cell=64,
    )
    return Edited(images, len(images), film, sentence, page)


# --- what was asked for


def _finder(config: Node, model: Model) -> Finder:
    if not isinstance(model, Renders):
        raise UserError(
            f"checkpoint={config['checkpoint']} is a {type(model).__name__}, which has no latents to move in: name a"
            " run of model=vae, model=autoencoder or model=gan."
        )
    encodes = isinstance(model, Traverses)
    steps = config["refine"] if config["refine"] is not None else 0 if encodes else SOUGHT
    if encodes and not steps and config["truncation"] != 1:
        raise UserError(
            f"truncation={config['truncation']:g} bounds which latents are looked for, and an encoder does not look:"
            " type refine=100 too, or leave it out."
        )
    return Finder(model, steps, config["seed"], config["truncation"])


def _conditions(config: Node, model: Renders) -> Tensor | None:
    """Return the conditions that the picture may be drawn under, ``(K,)`` or ``(K, L)``; None for a run without."""
    asked = asked_for(model, config["labels"], config["prompt"])
    if model.vocabulary:
        if asked is None:
            raise UserError('This run is told in words what it draws: type prompt="a caption of what input= shows".')
        tokens = model.vocabulary.tokens([str(caption) for caption in asked])
        return model.asked(torch.arange(len(tokens)), tokens)
    if not model.classes:
        return None
    return torch.tensor(list(range(model.classes)) if asked is None else [int(label) for label in asked])


def _picture(source: Path, model: Renders) -> Tensor:
    """Return a picture as the model knows them, ``(1, C, H, W)`` in [-1, 1]."""
    try:
        return from_uint8(read_picture(source, model.image_shape))[None]  # type: ignore[arg-type]  # three numbers
    except UnreadablePicture as error:
        raise UserError(f"{source} cannot be read as a picture ({error.reason}).") from None


def _range(given: Sequence[float]) -> tuple[float, float]:
    if len(given) != 2 or given[0] >= given[1]:
        raise UserError(f"range={list(given)} is none: give the least and the most, such as range=[-2,2].")
    return given[0], given[1]


def _of_table(key: str, name: str, table: dict[str, Any]) -> Any:
    if name not in table:
        raise UserError(f"{key}={name} is not known{did_you_mean(name, table)}: type one of {', '.join(table)}.")
    return table[name]


def _data(config: Node) -> tuple[ImageData, Any]:
    """Return the data that the run was trained on, and its metrics."""
    path = checkpoints.locate(config["checkpoint"], Store.open(paths.root(), reading=True))
    recorded = lab.Description.of(checkpoints.load(path), path).config
    data = lab.open_recorded(recorded, config["paths"]["data"])
    return data, build(recorded["metrics"])


# --- what is known


@dataclass(frozen=True)
class Others:
    """Latents ``(N, d)`` and vectors ``(N, D)`` of pictures that no direction was learned from, in words ``of``."""

    latents: Tensor
    vectors: Tensor | None
    pixels: Tensor
    of: str


def _known(finder: Finder, data: ImageData, readers: list[Reader], found: Found) -> tuple[Known, Others]:
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


def _attributes(model: Renders, known: Known) -> dict[str, Attribute]:
    """Return all that a direction can be learned of, or that the run is told, by name."""
    found: dict[str, Attribute] = {}
    if model.classes:
        for number, name in enumerate(model.class_names):
            found[f"{CLASS}:{name}"] = Attribute(f"{CLASS}:{name}", CLASS, number, None)
    for column, (names, values) in known.named.items():
        for number, name in enumerate(names):
            scores = values == number
            if f"{column}:{name}" not in found and FEWEST <= int(scores.sum()) <= len(scores) - FEWEST:
                found[f"{column}:{name}"] = Attribute(f"{column}:{name}", column, number, scores)
    for column, numbers in known.numbers.items():
        if len(set(numbers.tolist())) > 1:
            most = len(Moments.names[column]) - 1 if column in Moments.names else 1
            found[column] = Attribute(column, column, most, numbers)
    return found


def _called(name: str, attributes: dict[str, Attribute]) -> Attribute:
    """Return the attribute of a name: in full, its value alone, or the column alone where values are yes and no."""
    if name in attributes:
        return attributes[name]
    of_value = [full for full in attributes if full.partition(":")[2] == name]
    of_column = [full for full, part in attributes.items() if part.column == name]
    yes = [full for full in of_column if full.partition(":")[2].lower() in YES]
    if len(of_column) <= 2 and yes:
        return attributes[yes[0]]
    if len(of_value) == 1:
        return attributes[of_value[0]]
    if len(of_value) > 1 or of_column:
        raise UserError(f"attribute={name} may be several: type one of {', '.join(of_value or of_column)}.")
    names = [*attributes, *(full.partition(":")[2] for full in attributes if ":" in full)]
    listed = ", ".join(list(attributes)[:LISTED]) + (", …" if len(attributes) > LISTED else "")
    raise UserError(f"attribute={name} is not known{did_you_mean(name, names)}: these pictures are known by {listed}.")


def _all_called(name: str, attributes: dict[str, Attribute]) -> list[Attribute]:
    """Return what a name in hold= stands for: an attribute, or all values of a column, less what the run is told."""
    column = [part for part in attributes.values() if part.column == name]
    if len(column) > 1:
        return [part for part in column if part.scores is not None]
    return [_called(name, attributes)]


# --- ways, and what is said of them


def _way(
    finder: Finder, found: Found, known: Known, wanted: Attribute, hold: list[Attribute], choose: Any
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


def _leakage(
    finder: Finder,
    readers: list[Reader],
    others: Others,
    found: Found,
    direction: Tensor,
    shift: Tensor | None,
    wanted: Attribute,
) -> Leakage:
    """Measure on other pictures what an amount of 1 changes; what the run is told is exchanged, whatever it was."""
    vectors = moved = others.vectors
    if shift is not None and found.vectors is not None:
        moved = found.vectors + shift
    shown = finder.show(others.latents, vectors), finder.show(others.latents + direction, moved)
    before, after = (read(readers, to_uint8(part)) for part in shown)
    return measure(before, after, wanted.column, wanted.value)


def _said(leakage: Leakage, wanted: Attribute) -> str:
    others = ", ".join(f"{name} {change:.2f}" for name, change in leakage.changes.items() if name != wanted.column)
    gains = "gains what nobody here can read" if math.isnan(leakage.moved) else f"gains {leakage.moved:.2f}"
    return f"{gains}, leaks {leakage.leaked:.2f} ({others})" if others else gains


def _usual(finder: Finder, data: ImageData, conditions: Tensor | None) -> Tensor:
    """Return the PSNR ``(N,)`` of held-out pictures that went the same way as the picture; it is remembered.

    Where a run is told in words, each under its own caption.
    """
    model = finder.model
    pictures = data.pictures("val")
    chosen = evenly(len(pictures), USUAL[isinstance(model, Traverses)])
    images = from_uint8(pictures.batch(chosen))
    if model.vocabulary:
        captions = data.captions("val")
        conditions = model.asked(chosen, model.vocabulary.tokens([captions[place] for place in chosen.tolist()]))
    key = {
        "weights": digests.of_weights(model),
        "images": digests.of_tensors({"images": images}),
        "conditions": None if conditions is None else conditions.tolist(),
        "finder": [finder.steps, finder.seed, finder.truncation, inversion.RATE, inversion.KEPT, inversion.FINAL],
    }

    def find() -> dict[str, Tensor]:
        if not model.vocabulary or conditions is None:
            return {"psnr": finder.find(images, conditions).psnr.cpu()}
        told = [finder.find(image[None], caption[None]) for image, caption in zip(images, conditions, strict=True)]
        return {"psnr": torch.cat([found.psnr.cpu() for found in told])}

    return remembered(paths.cache() / "inversions", "psnr", key, find)["psnr"]


def _returned(source: Path, found: Found, usual: Tensor) -> str:
    """Say how much of a picture the latents hold, and whether it is one for this run at all."""
    psnr, least, most = found.psnr.item(), usual.min().item(), usual.max().item()
    sentence = (
        f"{source.name} comes back with {psnr:.1f} dB ({len(usual)} held-out pictures: {least:.1f} to {most:.1f})."
    )
    if psnr < least:
        sentence += (
            " WARNING: it lies outside what this run draws, so that what moves is another picture: give one like those"
            " it has learnt from, or type residual=true."
        )
    return sentence
