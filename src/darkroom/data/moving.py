"""Handwritten digits that move in straight lines and bounce off the walls: the usual test of predicting frames."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from darkroom.data.clips import Clips, DrawnClips
from darkroom.data.counter_rng import uniform
from darkroom.data.pictures import Pictures, TensorPictures
from darkroom.data.source import Collection, Source
from darkroom.data.splits import SPLITS, complete_splits
from darkroom.errors import UserError
from darkroom.numbers import Count, Drawn, NotNegative, Range, Seed, Side

Wholes = NDArray[np.int64]


class MovingDigits:
    """Real digits on black, each with a direction and a speed of its own (Moving MNIST, Srivastava et al. 2015).

    They are reflected by the walls as light is, pass through each other (the brighter pixel shows), and stand on whole
    pixels. Where they are when is exactly known: clip i of a split is a pure function of (seed, split, i, the digits).
    The clips of val and test show digits that are in the source's own val and test, so that none was ever learned.

        digits = MovingDigits(Mnist(), digits=2, frames=20, canvas=64, digit_size=28)
    """

    flippable = False

    def __init__(
        self,
        source: Source,
        digits: Count = 1,
        frames: Annotated[int, Range(2)] = 10,
        canvas: Annotated[int, Range(8, 4096)] = 32,
        digit_size: Side = 16,
        speed: Sequence[NotNegative] = (1.0, 3.0),
        train: Drawn = 20_000,
        val: Drawn = 500,
        test: Drawn = 1_000,
        seed: Seed = 0,
    ) -> None:
        """State what moves, how, and how many clips of it each split has.

        Args:
            source: where the digits come from: pictures on black.
            digits: how many a clip shows.
            frames: how many a clip has.
            canvas: pixels a side of a frame.
            digit_size: pixels a side that a picture of the source is brought to.
            speed: the least and the largest, in pixels a frame; directions are drawn uniformly.
            train: clips to learn from.
            val: clips to choose the best checkpoint on.
            test: clips to report on.
            seed: of starts, directions, speeds and which digits; another seed is another benchmark.
        """
        self.source = source
        self.name = f"moving-{source.name}"
        self.digits = int(digits)
        self.frames = int(frames)
        self.canvas = int(canvas)
        self.digit_size = int(digit_size)
        self.speed = tuple(float(bound) for bound in speed)
        self.counts = {"train": int(train), "val": int(val), "test": int(test)}
        self.seed = int(seed)
        if self.digit_size >= self.canvas:
            raise UserError(
                f"data.source.digit_size={self.digit_size} on data.source.canvas={self.canvas} leaves no room to move:"
                " give less than the canvas"
            )
        if len(self.speed) != 2 or self.speed[0] > self.speed[1]:
            raise UserError(
                f"data.source.speed={list(self.speed)} is no range: give the least and the largest, in pixels a frame:"
                " [1, 3]"
            )

    def load(self, folder: Path, cache: Path, image_size: int | None, channels: int | None) -> Collection:
        """Return the clips of three splits, drawn when asked for; labelled by their digit when there is one."""
        refuse_resizing(image_size, self.canvas)
        pictures, class_names = load_splits(self.source, folder, cache, self.digit_size, channels)
        parts: dict[str, Pictures] = {}
        for split, (originals, digits) in pictures.items():
            indices = torch.arange(self.counts[split])
            labels = None
            if self.digits == 1 and digits.labels is not None:
                labels = digits.labels[torch.from_numpy(self.paths(split, indices.numpy(), len(digits))[0][:, 0])]
            parts[split] = DrawnClips(
                indices,
                partial(self._draw, split, digits),
                partial(self._facts, split, originals),
                (digits.shape[0], self.canvas, self.canvas),
                self.frames,
                labels,
            )
        return Collection(parts, class_names if parts["train"].labels is not None else [])

    def paths(self, split: str, indices: Wholes, count: int) -> tuple[Wholes, Wholes, Wholes]:
        """Return which of ``count`` digits these clips of a split show, ``(n, D)``, and where these are.

        That is their upper and their left edge in every frame, in pixels, each ``(n, D, T)``.
        """
        room, times = self.canvas - self.digit_size, np.arange(self.frames)
        which: list[Wholes] = []
        tops: list[Wholes] = []
        lefts: list[Wholes] = []
        for digit in range(self.digits):
            first = 5 * (len(SPLITS) * digit + SPLITS.index(split))  # of the streams of random numbers
            choice, top, left, turn, pace = (uniform(self.seed, indices, first + stream) for stream in range(5))
            speed = self.speed[0] + (self.speed[1] - self.speed[0]) * pace
            which.append((choice * count).astype(np.int64))
            for edges, start, direction in (
                (tops, top, np.sin(2 * np.pi * turn)),
                (lefts, left, np.cos(2 * np.pi * turn)),
            ):
                edges.append(_reflected(start[:, None] * room + (speed * direction)[:, None] * times, room))
        return np.stack(which, axis=1), np.stack(tops, axis=1), np.stack(lefts, axis=1)

    def _draw(self, split: str, digits: TensorPictures, indices: Tensor) -> Tensor:
        """Return these clips of a split, uint8 ``(b, T, C, H, W)``."""
        which, tops, lefts = map(torch.from_numpy, self.paths(split, indices.numpy(), len(digits)))
        channels, size = digits.shape[0], self.digit_size
        frames = torch.zeros(len(indices) * self.frames, channels, self.canvas**2, dtype=torch.uint8)
        inside = (torch.arange(size)[:, None] * self.canvas + torch.arange(size)).flatten()
        for digit in range(self.digits):
            corners = (tops[:, digit] * self.canvas + lefts[:, digit]).flatten()
            places = (corners[:, None] + inside)[:, None].expand(-1, channels, -1)
            ink = digits.batch(which[:, digit]).flatten(2).repeat_interleave(self.frames, dim=0)
            if digit:
                ink = torch.maximum(ink, frames.gather(2, places))
            frames.scatter_(2, places, ink)
        return frames.view(len(indices), self.frames, channels, self.canvas, self.canvas)

    def _facts(self, split: str, originals: Pictures, indices: Tensor) -> list[bytes]:
        """Return what each of these clips shows: the pixels of its digits, by their hash, and where they are when."""
        which, tops, lefts = self.paths(split, indices.numpy(), len(originals))
        hashes = originals.hashes
        edges = np.stack([tops, lefts], axis=1).astype("<i2")
        return [
            b"".join(hashes[digit] for digit in shown) + where.tobytes()
            for shown, where in zip(which.tolist(), edges, strict=True)
        ]


def refuse_resizing(image_size: int | None, canvas: int) -> None:
    """Raise `UserError` for frames wanted at another size than they are drawn at."""
    if image_size not in (None, canvas):
        raise UserError(
            f"data.image_size={image_size} would resize frames of data.source.canvas={canvas}: type"
            f" data.image_size=null data.source.canvas={image_size}"
        )


def load_splits(
    source: Source, folder: Path, cache: Path, size: int, channels: int | None
) -> tuple[dict[str, tuple[Pictures, TensorPictures]], list[str]]:
    """Return what shall move: a source's pictures by split, as it has them and at a size, and its class names.

    They are split as the source alone would be with ``data.split_seed=0``, whatever the seed of the motion: a judge
    of the source has seen none of those in val and test either.

    Raises:
        UserError: the pictures are clips already.
    """
    found = source.load(folder, cache, size, channels)
    splits = complete_splits(found.parts, found.val, found.test, 0, source.name)
    result: dict[str, tuple[Pictures, TensorPictures]] = {}
    for split, part in splits.items():
        if isinstance(part, Clips):
            raise UserError(f"data.source.source: {source.name} moves already, so name a source of single pictures")
        every = part if isinstance(part, TensorPictures) else TensorPictures(part.batch(torch.arange(len(part))))
        result[split] = part, every.fitted(size, channels)
    return result, found.class_names


def _reflected(positions: NDArray[np.float64], room: int) -> Wholes:
    """Return positions along a line, thrown back at 0 and at ``room``, on whole pixels."""
    folded: NDArray[np.float64] = room - np.abs(np.mod(positions, 2 * room) - room)
    return np.rint(folded).astype(np.int64)
