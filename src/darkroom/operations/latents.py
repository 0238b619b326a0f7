"""Edit a person's own picture through the latents of a run: towards what labels name, or on the way to another picture.

An encoder says which latents it has, or they are looked for (`darkroom.latents.finding`); what moves is a direction
that known pictures show (`darkroom.latents.attributes`).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
from torch import Tensor

from darkroom import digests, paths
from darkroom.data.folder import read_picture
from darkroom.data.module import ImageData
from darkroom.errors import UserError
from darkroom.images import evenly, from_uint8, to_uint8
from darkroom.latents import attributes, inversion
from darkroom.latents.attributes import MEASURED, Others, Trait
from darkroom.latents.directions import lerp, logistic_direction, mean_direction, slerp
from darkroom.latents.finding import Finder, Found
from darkroom.latents.leakage import Leakage, Moments, Reader, measure, probability_of_neither, read
from darkroom.latents.readers import read_by, style_of
from darkroom.latents.rows import Row, draw
from darkroom.models.abilities import Renders, Traverses
from darkroom.numbers import Count, OneOf, Range, Seed, Whole
from darkroom.operations.operation import Edited, Learnt, SheetOperation, able
from darkroom.references import remembered
from darkroom.sampling import parse_conditions

USUAL = {True: 100, False: 8}  # held-out pictures whose reconstructions say what is usual: with an encoder, without
SOUGHT = 200  # steps of looking, where there is no encoder
DIRECTIONS = {"mean": mean_direction, "logistic": logistic_direction}
WAYS = {"slerp": slerp, "lerp": lerp}


@dataclass(kw_only=True)
class LatentOperation(SheetOperation):
    """What both have in common: how the latents of a picture are found, and what is said of them."""

    needs = Renders
    train = "vae/mnist"

    steps: Count = 7  # pictures on the way
    residual: bool = False  # add what the reconstruction misses again: at 0 the picture is as it was
    refine: Whole | None = None  # steps of looking for better latents; None: none with an encoder, SOUGHT without
    labels: Any = None  # the class of the picture, for a run that is told classes; None: all are tried
    prompt: str | Sequence[str] | None = None  # what the picture shows, for a run that is told in words
    # Below 1 only more typical latents are looked for.
    truncation: Annotated[float, Range(0, 10, open_low=True)] = 1.0
    seed: Seed = 0  # of where they are looked for
    data: str | None = None  # the folder of the data of the run, where they are not where they were

    def finder(self, model: Renders) -> Finder:
        """Return what finds latents as is asked.

        Raises:
            UserError: bounds on a search that does not take place.
        """
        encodes = isinstance(model, Traverses)
        steps = self.refine if self.refine is not None else 0 if encodes else SOUGHT
        if encodes and not steps and self.truncation != 1:
            raise UserError(
                f"truncation={self.truncation:g} bounds which latents are looked for, and an encoder does not look:"
                " type refine=100 too, or leave it out."
            )
        return Finder(model, steps, self.seed, self.truncation)

    def conditions(self, model: Renders) -> Tensor | None:
        """Return the conditions that the picture may be drawn under, ``(K,)`` or ``(K, L)``; None for a run without.

        Raises:
            UserError: they are not such that the run knows, or a caption is missing.
        """
        asked = parse_conditions(model, self.labels, self.prompt)
        if model.vocabulary:
            if asked is None:
                raise UserError(
                    'This run is told in words what it draws: type prompt="a caption of what input= shows".'
                )
            tokens = model.vocabulary.tokens([str(caption) for caption in asked])
            return model.conditions(torch.arange(len(tokens)), tokens)
        if not model.classes:
            return None
        return torch.tensor(list(range(model.classes)) if asked is None else [int(label) for label in asked])


@dataclass(kw_only=True)
class Attribute(LatentOperation):
    """Towards an attribute, and away from it."""

    does = "moves a picture towards what labels name, through latents"
    example = "operation=attribute input=digit.png attribute=slant hold=[class]"

    attribute: str  # a class, a value of a column, stroke or slant
    range: tuple[float, float] = (-2.0, 2.0)  # 1: the distance between pictures with it and pictures without
    hold: Sequence[str] = ()  # attributes that are to stay as they are, or columns with all their values
    # Between the means of both kinds, or across the border between them.
    direction: Annotated[str, OneOf("mean", "logistic")] = "mean"

    def __post_init__(self) -> None:
        """Refuse a range that leads nowhere."""
        if self.range[0] >= self.range[1]:
            raise UserError(f"range={list(self.range)} is none: give the least and the most, such as range=[-2,2].")

    def edited(self, run: Learnt | None, source: Path) -> Edited:
        """Return the picture, its reconstruction, and what becomes of it along the range."""
        model = able(run, Renders)
        finder, conditions = self.finder(model), self.conditions(model)
        assert run is not None
        start, end = self.range
        picture = _picture(source, model)
        data = run.data(self.data)
        found = finder.find(picture, conditions)
        readers = read_by(data, run.metrics())
        known, others = attributes.known_of(finder, data, readers, found)
        traits = attributes.traits_of(model, known)
        wanted = attributes.called(self.attribute, traits)
        hold = [part for name in self.hold for part in attributes.all_called(name, traits)]
        if wanted.column in Moments.names and not any(wanted.column in reader.names for reader in readers):
            readers.append(style_of(data))
        direction, shift = attributes.way(finder, found, known, wanted, hold, DIRECTIONS[self.direction])

        amounts = torch.linspace(start, end, self.steps, dtype=torch.float64).mul(1e6).round().div(1e6)  # 0, not 1e-17
        latents = found.latents + amounts[:, None].to(found.latents) * direction
        vectors = found.vectors
        if vectors is not None and shift is not None:
            vectors = vectors + amounts[:, None].to(vectors) * shift
        made = finder.show(latents, vectors)
        first = found.images.cpu()
        missed = picture - first if self.residual else torch.zeros_like(first)
        film = torch.cat([first, made]) + missed
        leakage = _leakage(finder, readers, others, found, direction, shift, wanted)
        before, after = (read(readers, to_uint8(part)) for part in (first, made[-1:]))
        here = measure(before, after, wanted.column, wanted.value)

        usual = _usual(finder, data, conditions)
        kept = f", holding {', '.join(map(str, self.hold))}" if hold else ""
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
        added = ", with what it misses of the picture added" if self.residual else ""
        caption = (
            f"{sentence} 0 is the reconstruction{added}; 1 is the distance between pictures that have the attribute and"
            " pictures that do not. Gains: the probability that is won by the attribute; leaks: the mean change of all"
            " others, from 0 (they stay) to 1."
        )
        headings = ["picture", "0", *(f"{amount:.3g}" for amount in amounts.tolist())]
        page = draw(rows, headings, f"Attribute: {wanted.name}", caption, blocks=(2, len(amounts)), cell=64)
        return Edited(torch.cat([picture, film]), len(film) + 1, film, sentence, page)


@dataclass(kw_only=True)
class Interpolate(LatentOperation):
    """From a picture to another."""

    does = "goes from a picture to another, through latents"
    example = "operation=interpolate input=digit.png other=another.png"

    other: str  # the picture to end with
    way: Annotated[str, OneOf("slerp", "lerp")] = "slerp"  # an arc about the origin, or a straight line

    def edited(self, run: Learnt | None, source: Path) -> Edited:
        """Return both pictures and what lies between them."""
        model = able(run, Renders)
        finder, conditions = self.finder(model), self.conditions(model)
        assert run is not None
        sources = [source, Path(self.other).expanduser()]
        pictures = torch.cat([_picture(place, model) for place in sources])
        data, metrics = run.data(self.data), run.metrics()
        # Apart, as rounding depends on what is beside.
        ends = [finder.find(picture[None], conditions) for picture in pictures]
        shares = torch.linspace(0, 1, self.steps)
        one, other = ends
        latents = WAYS[self.way](one.latents[0], other.latents[0], shares)
        vectors = None
        if one.vectors is not None and other.vectors is not None:
            vectors = lerp(one.vectors[0], other.vectors[0], shares)
        made = finder.show(latents, vectors)
        film = made
        if self.residual:
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
        lines = [self.way]
        if reading[0]:
            found = [
                probability_of_neither(reading[1][name], *(reading[end][name].argmax(dim=1) for end in (0, 2)))
                for name in reading[0]
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


def _picture(source: Path, model: Renders) -> Tensor:
    """Return a picture as the model knows them, ``(1, C, H, W)`` in [-1, 1]."""
    return from_uint8(read_picture(source, model.image_shape))[None]  # type: ignore[arg-type]  # three numbers


def _leakage(
    finder: Finder,
    readers: list[Reader],
    others: Others,
    found: Found,
    direction: Tensor,
    shift: Tensor | None,
    wanted: Trait,
) -> Leakage:
    """Measure on other pictures what an amount of 1 changes; what the run is told is exchanged, whatever it was."""
    vectors = moved = others.vectors
    if shift is not None and found.vectors is not None:
        moved = found.vectors + shift
    shown = finder.show(others.latents, vectors), finder.show(others.latents + direction, moved)
    before, after = (read(readers, to_uint8(part)) for part in shown)
    return measure(before, after, wanted.column, wanted.value)


def _said(leakage: Leakage, wanted: Trait) -> str:
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
        conditions = model.conditions(chosen, model.vocabulary.tokens([captions[place] for place in chosen.tolist()]))
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
