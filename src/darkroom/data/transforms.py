"""Pictures that are turned, moved and enlarged step by step, each step stated: what a model learns to do on demand."""

import math
from functools import partial
from itertools import count as count_from
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from darkroom.data.clips import DrawnClips
from darkroom.data.counter_rng import uniform
from darkroom.data.moving import load_splits, refuse_resizing
from darkroom.data.pictures import Pictures, TensorPictures
from darkroom.data.source import Collection, Source
from darkroom.data.splits import SPLITS
from darkroom.errors import UserError
from darkroom.imaging.motion import MOTIONS, accumulated, backwards
from darkroom.numbers import Drawn, NotNegative, Range, Seed, Side

FINER = 2  # points a pixel is averaged over, each way; with 8 values would differ by 1 level of 255 (rms)
STILL = 0.5  # chance of each of the four parts of a motion to be nothing
LASTING = 0.5  # chance of a motion to go on for another step
Wholes = NDArray[np.int64]


class Transforms:
    """A picture and what becomes of it, step by step; the actions say what is done, as in `imaging.motion`.

    A new motion may begin at any step, so that it cannot be told from the frames before and a model has to read the
    action; and it may go on, so that long turns are learned too. In half of them nothing turns, in half nothing moves
    to the side, and so on: to do one thing alone, or nothing at all, is learned as well. Drawn uniformly otherwise.

    Frame 0 shows the source's picture turned by any angle and a little off the centre: a model never sees the source's
    own pixels, of which a truth could be made by interpolation as well. Every frame is drawn from these anew, averaged
    over each pixel, so that nothing blurs with time. Around the picture it is black. The clips of val and test show
    pictures that are in the source's own val and test; clip i of a split is a pure function of (seed, split, i, the
    pictures).
    """

    flippable = False

    def __init__(
        self,
        source: Source,
        frames: Annotated[int, Range(2)] = 10,
        canvas: Annotated[int, Range(8, 4096)] = 32,
        picture_size: Side = 24,
        rotate: Annotated[float, Range(0, 180)] = 15.0,
        shift: NotNegative = 2.0,
        zoom: Annotated[float, Range(1)] = 1.1,
        train: Drawn = 20_000,
        val: Drawn = 500,
        test: Drawn = 1_000,
        seed: Seed = 0,
    ) -> None:
        """State what is moved, by how much at most, and how many clips of it each split has.

        Args:
            source: where the pictures come from.
            frames: how many a clip has.
            canvas: pixels a side of a frame.
            picture_size: pixels a side of the picture on it, before it is enlarged.
            rotate: degrees a step, each way; 0 for none.
            shift: pixels a step, each way, to the side and up or down; 0 for none.
            zoom: the factor of a step, or one over it; 1 for none.
            train: clips to learn from.
            val: clips to choose the best checkpoint on.
            test: clips to report on.
            seed: of poses, motions and which pictures; another seed is another benchmark.
        """
        self.source = source
        self.name = f"transforms-{source.name}"
        self.frames = int(frames)
        self.canvas = int(canvas)
        self.picture_size = int(picture_size)
        self.shift = float(shift)
        sizes = (float(rotate), self.shift, self.shift, math.log(zoom))
        self.actions = dict(zip(MOTIONS, sizes, strict=True))
        self.counts = {"train": int(train), "val": int(val), "test": int(test)}
        self.seed = int(seed)
        if self.picture_size > self.canvas:
            raise UserError(
                f"data.source.picture_size={self.picture_size} is not possible on data.source.canvas={self.canvas}:"
                " give no more than the canvas"
            )
        if not any(sizes):
            raise UserError("data.source moves nothing: give rotate or shift above 0, or zoom above 1")

    def load(self, folder: Path, cache: Path, image_size: int | None, channels: int | None) -> Collection:
        """Return the clips of three splits, drawn when asked for, with their actions, labelled as the pictures are."""
        refuse_resizing(image_size, self.canvas)
        found, class_names = load_splits(self.source, folder, cache, FINER * self.picture_size, channels)
        parts: dict[str, Pictures] = {}
        for split, (originals, pictures) in found.items():
            which, poses, actions = self.motions(split, np.arange(self.counts[split]), len(pictures))
            parts[split] = DrawnClips(
                torch.arange(self.counts[split]),
                partial(self._draw, pictures, which, poses, actions),
                partial(self._facts, originals, which, poses),
                (pictures.shape[0], self.canvas, self.canvas),
                self.frames,
                None if pictures.labels is None else pictures.labels[which],
                actions,
            )
        return Collection(parts, class_names, actions=self.actions)

    def motions(self, split: str, indices: Wholes, count: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return which of ``count`` pictures clips of a split show ``(n,)``, its pose in frame 0, and the actions.

        A pose ``(n, 4)`` is the motion that brings the picture there from the middle; actions are ``(n, T-1, 4)``.
        """
        streams = count_from(SPLITS.index(split), len(SPLITS))  # another split draws other numbers

        def drawn() -> NDArray[np.float64]:
            return uniform(self.seed, indices, next(streams))

        which = (drawn() * count).astype(np.int64)
        poses = np.stack([reach * (2 * drawn() - 1) for reach in (180.0, self.shift, self.shift, 0.0)], axis=1)
        steps: list[NDArray[np.float64]] = []
        for step in range(self.frames - 1):
            fresh = [reach * (2 * drawn() - 1) * (drawn() >= STILL) for reach in self.actions.values()]
            lasts = (drawn() < LASTING) & (step > 0)
            steps.append(np.where(lasts[:, None], steps[step - 1] if step else 0, np.stack(fresh, axis=1)))
        # single precision is what a model is told, so it is what is done
        actions = torch.from_numpy(np.stack(steps, axis=1)).float()
        return torch.from_numpy(which), torch.from_numpy(poses).float(), actions

    def _draw(self, pictures: TensorPictures, which: Tensor, poses: Tensor, actions: Tensor, indices: Tensor) -> Tensor:
        """Return these clips, uint8 ``(b, T, C, H, W)``."""
        steps = torch.cat([poses[indices, None], actions[indices]], dim=1)
        totals = accumulated(steps) * torch.tensor([1.0, FINER, FINER, 1.0])
        side = FINER * self.canvas
        grid = backwards(totals.flatten(0, 1), side, side) * (self.canvas / self.picture_size)
        grid = grid.view(len(indices), self.frames * side, side, 2)
        source = pictures.batch(which[indices]).float()
        fine = F.grid_sample(source, grid, mode="bicubic", padding_mode="zeros", align_corners=False)
        frames = F.avg_pool2d(fine, FINER).round_().clamp_(0, 255).to(torch.uint8)
        return frames.view(len(indices), -1, self.frames, self.canvas, self.canvas).transpose(1, 2).contiguous()

    def _facts(self, originals: Pictures, which: Tensor, poses: Tensor, indices: Tensor) -> list[bytes]:
        """Return what each of these clips shows: the pixels of its picture, by their hash, and its pose in frame 0."""
        size, hashes = bytes(str(self.picture_size), "ascii"), originals.hashes
        return [
            size + hashes[picture] + pose.tobytes()
            for picture, pose in zip(which[indices].tolist(), poses[indices].numpy().astype("<f4"), strict=True)
        ]
