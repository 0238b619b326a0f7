"""Real pictures beside drawn ones: what a detector learns to tell apart."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Annotated

import torch
from filelock import FileLock
from torch import Tensor

from darkroom.data import tensor_cache
from darkroom.data.folder import Folder, picture_files
from darkroom.data.module import ImageData
from darkroom.data.pictures import Pictures, TensorPictures
from darkroom.data.source import Collection
from darkroom.data.splits import SPLITS, stratified_order
from darkroom.errors import UserError
from darkroom.images import to_uint8
from darkroom.numbers import Drawn, Range, Seed
from darkroom.picture_files import reading
from darkroom.picture_files.picture import UnreadablePicture

CLASS_NAMES = ["generated", "real"]
GENERATED, REAL = 0, 1
AT_ONCE = 256  # pictures drawn at a time
LEAST = 2  # pictures of each kind in a split


@dataclass(frozen=True)
class Painter:
    """A trained generator: it draws as many pictures as are wanted, different ones for every seed.

    What was drawn once is kept under ``cache``, named by ``weights`` and everything else it depends on.
    """

    name: str
    family: str  # what kind of network it is: two painters of one family leave the same traces
    shape: tuple[int, ...]
    class_names: list[str]  # the classes it can be asked for; none: it cannot be asked
    weights: str  # the sha256 of the checkpoint
    sample: Callable[[Tensor, int, Tensor | None], Tensor]  # indices, seed, labels -> float pictures in [-1, 1]
    cache: Path

    def draw(self, count: int, seed: int, labels: Tensor | None = None) -> Tensor:
        """Return pictures 0 .. count-1 of a seed, rounded to uint8 ``(count, C, H, W)`` as in a file."""
        wanted = None if labels is None else hashlib.sha256(labels.numpy().astype("<i8").tobytes()).hexdigest()
        key = hashlib.sha256(json.dumps([self.weights, count, seed, wanted]).encode()).hexdigest()[:32]
        place = self.cache / f"{key}.safetensors"
        self.cache.mkdir(parents=True, exist_ok=True)
        with FileLock(self.cache / f"{key}.lock"):  # of several processes one draws and the others read
            if (found := tensor_cache.load(place)) is not None:
                return found[0]["pixels"]
            parts = [
                to_uint8(self.sample(indices, seed, None if labels is None else labels[indices])).cpu()
                for indices in torch.split(torch.arange(count), AT_ONCE)
            ]
            pixels = torch.cat(parts)
            tensor_cache.save(place, {"pixels": pixels})
        return pixels


@dataclass(frozen=True)
class Gallery:
    """A folder of drawn pictures: there are as many as there are, and no seed makes others."""

    name: str
    pixels: Tensor  # (N, C, H, W) uint8
    family: str = "a folder"

    @classmethod
    def read(cls, root: Path, shape: tuple[int, ...], cache: Path) -> "Gallery":
        """Read a folder, bringing larger pictures to a shape ``(C, H, W)`` as `Folder` does.

        Raises:
            UserError: no pictures, too many damaged ones, or smaller ones: enlarging leaves traces of its own, by which
                drawn pictures could be told without being looked at.
        """
        channels, height, width = shape
        for file in picture_files(root):
            found = _size(file)
            if found is not None and (found[0] < height or found[1] < width):
                raise UserError(
                    f"'{file}' has {found[0]}x{found[1]} pixels, less than the {height}x{width} of the real pictures,"
                    " and enlarged it would be told from them by that alone: draw larger ones, or lower the image_size"
                    " of the real ones."
                )
        folder = Folder(str(root.resolve()), labelled=False)
        found_parts = folder.load(root, cache, height if height == width else None, channels).parts
        pixels = torch.cat([part.batch(torch.arange(len(part))) for part in found_parts.values()])
        if tuple(pixels.shape[1:]) != tuple(shape):
            raise UserError(
                f"The pictures in '{root}' are {tuple(pixels.shape[1:])} (channels, height, width), but the real ones"
                f" are {tuple(shape)}: name a folder with pictures of that size."
            )
        return cls(root.name, pixels)

    def allocate(self, wanted: Mapping[str, int]) -> dict[str, Tensor]:
        """Return different pictures for each split: as many as wanted or, where they do not suffice, in proportion.

        Raises:
            UserError: too few for every split to get some.
        """
        share = min(1.0, len(self.pixels) / sum(wanted.values()))
        counts = {split: int(count * share) for split, count in wanted.items()}
        if min(counts.values()) < LEAST:
            needed = -(-LEAST * sum(wanted.values()) // min(wanted.values()))
            raise UserError(
                f"data.source.generator={self.name} holds {len(self.pixels)} pictures, too few to learn from some and"
                f" be tested on others: put at least {needed} there."
            )
        order, ends = stratified_order(None, len(self.pixels), seed=0), list(accumulate(counts.values()))
        return {split: self.pixels[order[end - counts[split] : end]] for split, end in zip(counts, ends, strict=True)}


def _size(file: Path) -> tuple[int, int] | None:
    """Return the height and width that a picture's header states; None when it cannot be read."""
    try:
        width, height = reading.size(file)
    except UnreadablePicture:  # `Folder` meets this file again, names it and counts it
        return None
    return height, width


class RealOrGenerated:
    """Half real pictures and half drawn ones, labelled 1 and 0.

    The real pictures stay in the split that they are in; what is drawn comes from another seed for each split, and from
    a generator that can be asked for classes, the class of its real neighbour. `supply` brings both, since looking for
    runs is not this room's business.
    """

    name = "real_or_generated"

    def __init__(
        self,
        generator: str | None = None,
        real: ImageData | None = None,
        images: Drawn = 10_000,
        held_out: Annotated[int, Range(2)] = 2_000,
        seed: Seed = 1000,
    ) -> None:
        """State what to tell apart.

        Args:
            generator: a run that draws, or a folder of drawn pictures in the data folder or from the current one.
            real: the real pictures; None takes those that the generator was trained on.
            images: pictures of each kind to learn from, at most.
            held_out: pictures of each kind in val, and in test, at most.
            seed: of what is drawn for train; val has the next one, test the one after.
        """
        self.generator = generator
        self.real = real
        self.counts = {"train": int(images), "val": int(held_out), "test": int(held_out)}
        self.seeds = {split: int(seed) + number for number, split in enumerate(SPLITS)}
        self.forger: Painter | Gallery | None = None

    @property
    def flippable(self) -> bool:
        """Whether the real pictures are; nothing speaks against it as long as they are not known."""
        return self.real is None or self.real.source.flippable

    def supply(self, forger: Painter | Gallery, real: ImageData) -> None:
        """Bring what draws and what is real; comes before ``load``.

        Raises:
            UserError: their pictures have different shapes.
        """
        shape = forger.shape if isinstance(forger, Painter) else forger.pixels.shape[1:]
        if tuple(shape) != tuple(real.image_shape):
            raise UserError(
                f"{forger.name} draws pictures of {tuple(shape)} (channels, height, width) and those of {real.name} are"
                f" {tuple(real.image_shape)}: set data.source.real.image_size and data.source.real.channels to match."
            )
        self.forger, self.real = forger, real

    def load(self, folder: Path, cache: Path, image_size: int | None, channels: int | None) -> Collection:
        """Return the three splits in memory, drawn and real pictures in turn, in the size of the real ones."""
        if self.forger is None:
            raise RuntimeError("call supply(forger, real) before load()")
        real = {split: self.real_pictures(split) for split in SPLITS}
        if isinstance(self.forger, Gallery):
            drawn = self.forger.allocate({split: len(pictures) for split, pictures in real.items()})
        else:
            drawn = {
                split: self.forger.draw(len(pictures), self.seeds[split], self.classes_for(self.forger, pictures))
                for split, pictures in real.items()
            }
        return Collection({split: _in_turn(drawn[split], real[split].pixels) for split in SPLITS}, list(CLASS_NAMES))

    def real_pictures(self, split: str) -> TensorPictures:
        """Return the real pictures of a split, with their own labels, the classes in proportion."""
        if self.real is None:
            raise RuntimeError("call supply(forger, real) before load()")
        pictures = self.real.pictures(split)
        chosen = stratified_order(pictures.labels, len(pictures), seed=0)[: self.counts[split]].sort().values
        labels = None if pictures.labels is None else pictures.labels[chosen]
        return TensorPictures(pictures.batch(chosen), labels)

    def classes_for(self, painter: Painter, pictures: Pictures) -> Tensor | None:
        """Return the classes to ask a painter for, those of these real pictures; None when it knows other classes."""
        known = self.real is not None and painter.class_names == self.real.class_names
        return pictures.labels if known else None


def _in_turn(drawn: Tensor, real: Tensor) -> TensorPictures:
    """Return as many of both, one after the other: whoever looks at the first few sees both kinds."""
    count = min(len(drawn), len(real))
    pixels = torch.stack([drawn[:count], real[:count]], dim=1).flatten(0, 1)
    return TensorPictures(pixels, torch.tensor([GENERATED, REAL]).repeat(count))
