"""Coloured shapes, drawn: any number, any size, every attribute and caption known exactly, nothing to download."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from darkroom.data.counter_rng import uniform
from darkroom.data.pictures import Pictures, TensorPictures
from darkroom.data.source import COMBINATION, HELD_OUT, SEEN, AttributeData, Collection
from darkroom.errors import UserError, did_you_mean
from darkroom.numbers import Drawn, Seed

SHAPES = ("circle", "square", "triangle", "diamond", "cross", "ring")
COLOURS = {
    "red": (230, 57, 53),
    "orange": (251, 140, 0),
    "yellow": (253, 216, 53),
    "green": (67, 160, 71),
    "cyan": (38, 198, 218),
    "blue": (57, 83, 220),
    "purple": (156, 39, 176),
    "white": (245, 245, 245),
}
SIZES = {"small": (0.14, 0.18), "large": (0.26, 0.32)}  # radius as a share of the picture's side, from and to
POSITIONS = (
    ("top left", "top", "top right"),
    ("left", "centre", "right"),
    ("bottom left", "bottom", "bottom right"),
)
BACKGROUND = (24, 24, 28)
CHOICES: dict[str, tuple[str, ...]] = {
    "shape": SHAPES,
    "colour": tuple(COLOURS),
    "size": tuple(SIZES),
    "position": tuple(name for row in POSITIONS for name in row),
}
# Two shapes: which of the two is meant is read off the picture, like a page: from left to right, or from the top down.
ARRANGEMENTS = {"side by side": ("left of", "right of"), "one above the other": ("above", "below")}
SIZES_OF_TWO = {"small": (0.11, 0.13), "large": (0.18, 0.20)}
OF_EACH = ("shape", "colour", "size")
CHOICES_OF_TWO: dict[str, tuple[str, ...]] = {
    **{f"{which}_{key}": CHOICES[key] for which in ("first", "second") for key in OF_EACH},
    "arrangement": tuple(ARRANGEMENTS),
}
CHUNK = 256  # pictures drawn at once: the working arrays stay inside the processor's cache

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]
Wholes = NDArray[np.int64]
Geometry = tuple[Floats, Floats, Floats]  # centre x, centre y, radius


class Shapes:
    """One coloured shape per picture, or two, on dark grey, anti-aliased.

    Picture i is a pure function of (seed, i), made with correctly rounded arithmetic only, so that its digest is the
    same on every machine. Test takes the first indices, then val, then train. Labels are the kinds of shape; of two,
    of the first one: the upper one or the left one.

        shapes = Shapes(train=1000, hold_out=[{"shape": "ring", "colour": "red"}])
        shapes.attributes(7)   # {"shape": "cross", "colour": "blue", "size": "large", "position": "top", "x": ...}
        shapes.captions([7])   # ["a large blue cross at the top"]
        Shapes(objects=2).captions([7])   # ["a large red circle below a small white square"]
    """

    flippable = True

    def __init__(
        self,
        objects: Literal[1, 2] = 1,
        train: Drawn = 10_000,
        val: Drawn = 1_000,
        test: Drawn = 2_000,
        seed: Seed = 0,
        hold_out: Sequence[Mapping[str, str]] | None = None,
    ) -> None:
        """State how many pictures of each split, and what training must never show.

        Args:
            objects: how many shapes a picture shows; two never touch, and one is clearly above or left of the other.
            train: pictures to learn from.
            val: pictures to choose the best checkpoint on.
            test: pictures to report on.
            seed: another seed is another world of shapes.
            hold_out: combinations of shape, colour, size and position that only test contains, to measure whether a
                model can draw or name what it has never seen together. Of two shapes neither may show one.
        """
        self.objects = int(objects)
        self.name = "shapes" if objects == 1 else "two_shapes"  # a judge of the one must not score the other
        self.choices = CHOICES if objects == 1 else CHOICES_OF_TWO
        self.counts = {"test": int(test), "val": int(val), "train": int(train)}
        self.seed = int(seed)
        self.hold_out = [dict(combination) for combination in hold_out or []]
        keys = CHOICES if objects == 1 else OF_EACH
        for combination in self.hold_out:
            for key, value in combination.items():
                if key not in keys:
                    raise UserError(f"hold_out names '{key}', not one of {', '.join(keys)}{did_you_mean(key, keys)}")
                known = CHOICES[key]
                if value not in known:
                    raise UserError(
                        f"hold_out names {key} '{value}', not one of {', '.join(known)}{did_you_mean(value, known)}"
                    )

    def load(self, folder: Path, cache: Path, image_size: int | None, channels: int | None) -> Collection:
        """Draw the three splits, ``image_size`` pixels a side (32 when not given), in colour."""
        parts: dict[str, Pictures] = {}
        for split, indices in self.indices().items():
            labels = torch.from_numpy(self._choices(indices)[next(iter(self.choices))])
            parts[split] = TensorPictures(self.draw(indices, image_size or 32), labels, torch.from_numpy(indices))
        everything = partial(self.captions, range(self._end()))
        return Collection(
            parts,
            list(SHAPES),
            attributes=self.columns,
            captions=everything,
            attribute_data=partial(self.attribute_data, image_size),
        )

    def attribute_data(self, image_size: int | None, count: int) -> AttributeData:
        """Return ``count`` pictures of another world, where nothing is held out, to teach an eye of attributes with."""
        other = Shapes(1 if self.objects == 1 else 2, seed=self.seed + 1)
        indices = np.arange(count, dtype=np.int64)
        choices = other._choices(indices)
        names = {key: list(values) for key, values in self.choices.items()}
        targets = {key: torch.from_numpy(values) for key, values in choices.items()}
        return AttributeData(other.draw(indices, image_size or 32), names, targets)

    def indices(self) -> dict[str, Wholes]:
        """Return which indices each split consists of; train and val skip those that are held out."""
        test, others = self.counts["test"], self.counts["val"] + self.counts["train"]
        kept: list[Wholes] = []
        first, found = test, 0
        for _ in range(1000):
            candidates = np.arange(first, first + others, dtype=np.int64)
            kept.append(candidates[~self.held_out(candidates)])
            first, found = first + others, found + len(kept[-1])
            if found >= others:
                break
        else:
            raise UserError("data.source.hold_out leaves nothing to train on: hold out fewer combinations")
        val, train = np.split(np.concatenate(kept)[:others], [self.counts["val"]])
        return {"train": train, "val": val, "test": np.arange(test, dtype=np.int64)}

    def attributes(self, index: int) -> dict[str, str | float]:
        """Return what picture ``index`` shows; centres (from left and top) and radii as shares of the side."""
        where = np.array([index], dtype=np.int64)
        choices = self._choices(where)
        named: dict[str, str | float] = {key: names[int(choices[key][0])] for key, names in self.choices.items()}
        for prefix, (_, _, geometry) in zip(self._prefixes(), self._drawn(where), strict=True):
            for key, value in zip(("x", "y", "radius"), geometry, strict=True):
                named[f"{prefix}{key}"] = float(value[0])
        return named

    def columns(self) -> dict[str, list[str]]:
        """Return every named attribute of every index up to the last that a split has.

        Where combinations are held out, a column says whether a picture shows one.
        """
        indices = np.arange(self._end())
        choices = self._choices(indices)
        columns = {key: [names[value] for value in choices[key].tolist()] for key, names in self.choices.items()}
        if self.hold_out:
            columns[COMBINATION] = [HELD_OUT if held else SEEN for held in self.held_out(indices).tolist()]
        return columns

    def captions(self, indices: Sequence[int]) -> list[str]:
        """Return one sentence per picture that says all of its attributes; of two shapes either may come first."""
        where = np.asarray(indices, dtype=np.int64)
        choices = self._choices(where)
        words = [[names[value] for value in choices[key].tolist()] for key, names in self.choices.items()]
        if self.objects == 1:
            return [
                f"a {size} {colour} {shape} {'in' if position == 'centre' else 'at'} the {position}"
                for shape, colour, size, position in zip(*words, strict=True)
            ]
        sentences = []
        for turned, facts in zip(uniform(self.seed, where, 11) < 0.5, zip(*words, strict=True), strict=True):
            one, other = (f"a {size} {colour} {shape}" for shape, colour, size in (facts[:3], facts[3:6]))
            forward, backward = ARRANGEMENTS[facts[6]]
            sentences.append(f"{other} {backward} {one}" if turned else f"{one} {forward} {other}")
        return sentences

    def draw(self, indices: Wholes, image_size: int) -> torch.Tensor:
        """Return these pictures, uint8 ``(n, 3, image_size, image_size)``."""
        pixels = np.empty((len(indices), 3, image_size, image_size), dtype=np.uint8)
        palette = np.array(list(COLOURS.values()), dtype=np.float32)
        background = np.array(BACKGROUND, dtype=np.float32)
        for start in range(0, len(indices), CHUNK):
            part = slice(start, start + CHUNK)
            picture: Singles | None = None
            for kinds, colours, geometry in self._drawn(indices[part]):
                paint = (palette[colours] - background)[:, :, None, None]
                ink = self._cover(kinds, geometry, image_size)[:, None] * paint
                picture = ink if picture is None else picture + ink
            assert picture is not None
            pixels[part] = picture + (background[:, None, None] + np.float32(0.5))
        return torch.from_numpy(pixels)

    def held_out(self, indices: Wholes) -> NDArray[np.bool_]:
        """Say of each index whether it shows a combination that training must not show."""
        choices = self._choices(indices)
        held_out = np.zeros(len(indices), dtype=bool)
        for combination in self.hold_out:
            for prefix in self._prefixes():
                matches = [choices[f"{prefix}{key}"] == CHOICES[key].index(value) for key, value in combination.items()]
                held_out |= np.logical_and.reduce(matches)
        return held_out

    def _end(self) -> int:
        """Return one more than the last index that a split has."""
        return 1 + max(int(indices[-1]) for indices in self.indices().values())

    def _prefixes(self) -> tuple[str, ...]:
        """Return what the attributes of each shape begin with."""
        return ("",) if self.objects == 1 else ("first_", "second_")

    def _choices(self, indices: Wholes) -> dict[str, Wholes]:
        """Return which of the named choices each index shows."""
        return {
            key: (uniform(self.seed, indices, stream) * len(names)).astype(np.int64)
            for stream, (key, names) in enumerate(self.choices.items())
        }

    def _drawn(self, indices: Wholes) -> Iterator[tuple[Wholes, Wholes, Geometry]]:
        """Yield the kind, colour and geometry of each shape in a picture."""
        choices = self._choices(indices)
        geometries = [self._geometry_of_one(indices)] if self.objects == 1 else self._geometry_of_two(indices)
        for prefix, geometry in zip(self._prefixes(), geometries, strict=True):
            yield choices[f"{prefix}shape"], choices[f"{prefix}colour"], geometry

    def _geometry_of_one(self, indices: Wholes) -> Geometry:
        """Return centre x, centre y and radius, as shares of the side; the shape always lies inside the picture."""
        choices = self._choices(indices)
        spans = np.array(list(SIZES.values()))[choices["size"]]
        radius = spans[:, 0] + (spans[:, 1] - spans[:, 0]) * uniform(self.seed, indices, 4)
        cells = np.divmod(choices["position"], 3)
        room = 1 - 2 * radius - 0.04  # where the centre may lie without touching the edge
        y, x = (
            # the middle 70 % of a third of the room: the word is never a matter of opinion
            0.02 + radius + room * (cell + 0.15 + 0.7 * uniform(self.seed, indices, 5 + axis)) / 3
            for axis, cell in enumerate(cells)
        )
        return x, y, radius

    def _geometry_of_two(self, indices: Wholes) -> list[Geometry]:
        """Return the same of both shapes, which never touch: one has the other well above it, or well to its left."""
        choices = self._choices(indices)
        radii = []
        for which, stream in (("first", 7), ("second", 8)):
            spans = np.array(list(SIZES_OF_TWO.values()))[choices[f"{which}_size"]]
            radii.append(spans[:, 0] + (spans[:, 1] - spans[:, 0]) * uniform(self.seed, indices, stream))
        # Along the line on which they are arranged, what is left of the side is dealt out before, between and after.
        room = 1 - 0.15 - 2 * (radii[0] + radii[1])
        cuts = np.sort(np.stack([uniform(self.seed, indices, stream) for stream in (9, 10)]), axis=0)
        along = [0.05 + radii[0] + room * cuts[0], 0.95 - radii[1] - room * (1 - cuts[1])]
        # Across it they differ by less than half as much: the word is never a matter of opinion.
        middle = 0.25 + 0.5 * uniform(self.seed, indices, 12)
        apart = (uniform(self.seed, indices, 13) - 0.5) * 0.5 * (along[1] - along[0])
        across = [
            np.clip(middle + sign * apart, 0.05 + radius, 0.95 - radius)
            for sign, radius in zip((-1, 1), radii, strict=True)
        ]
        upright = choices["arrangement"] == 1
        return [
            (np.where(upright, across[which], along[which]), np.where(upright, along[which], across[which]), radius)
            for which, radius in enumerate(radii)
        ]

    def _cover(self, kinds: Wholes, geometry: Geometry, image_size: int) -> Singles:
        """Return how much of each pixel each shape covers, 0 to 1, ``(n, image_size, image_size)``.

        From the signed distance d between a pixel's centre and the outline: 1/2 - d, clamped (one pixel of softness).
        """
        cover = np.empty((len(kinds), image_size, image_size), dtype=np.float32)
        centres = np.arange(image_size, dtype=np.float32) + np.float32(0.5)
        left, top, radii = ((share * image_size).astype(np.float32) for share in geometry)
        for kind, name in enumerate(SHAPES):
            which = np.flatnonzero(kinds == kind)
            x = centres[None, None, :] - left[which, None, None]
            y = centres[None, :, None] - top[which, None, None]
            cover[which] = np.clip(np.float32(0.5) - _distance(name, x, y, radii[which, None, None]), 0, 1)
        return cover


def _distance(shape: str, x: Singles, y: Singles, radius: Singles) -> Singles:
    """Return the signed distance, in pixels, to the outline of a shape of this radius about the origin; inside < 0.

    Exact where the nearest point lies on an edge, a lower bound near corners: corners stay sharp.
    """
    half = np.float32(0.5)
    distance: Singles
    if shape == "circle":
        distance = np.sqrt(x * x + y * y) - radius
    elif shape == "ring":
        distance = np.abs(np.sqrt(x * x + y * y) - radius * np.float32(0.75)) - radius * np.float32(0.25)
    elif shape == "square":
        distance = np.maximum(np.abs(x), np.abs(y)) - radius * np.float32(0.886)  # the circle's area
    elif shape == "diamond":
        distance = (np.abs(x) + np.abs(y) - radius) * np.float32(0.70710678)
    elif shape == "cross":
        thin = radius * np.float32(0.36)
        along = np.maximum(np.abs(x) - radius, np.abs(y) - thin)
        across = np.maximum(np.abs(x) - thin, np.abs(y) - radius)
        distance = np.minimum(along, across)
    else:  # triangle, equilateral, pointing up: three half planes, each radius / 2 from the centre
        sides = np.abs(x) * np.float32(0.8660254) - y * half
        distance = np.maximum(sides, y) - radius * half
    return distance
