"""What is put before a judge: pictures in batches, what a model is asked to draw, noise like the pictures.

Pictures are uint8 ``(B, C, H, W)``, or floats in [-1, 1] where they are not to be rounded.
"""

import math
from collections.abc import Iterable, Iterator
from typing import cast

import torch
from torch import Tensor

from darkroom.data.contract import Data, Pictures, Progress
from darkroom.errors import UserError
from darkroom.judges.eye import Captioned
from darkroom.judges.judge import Extractor
from darkroom.models.abilities import Draws

CHUNK = 256  # pictures that exist at once; a multiple of the blocks of 64 in which models draw
GOLDEN_RATIO = (1 + math.sqrt(5)) / 2


def class_shares(data: Data) -> Tensor | None:
    """Return how large a share of the training pictures each class has, ``(K,)``; None of pictures without labels."""
    labels = data.pictures("train").labels
    if labels is None:
        return None
    counts = torch.bincount(labels, minlength=len(data.class_names)).double()
    return counts / counts.sum()


def as_often(data: Data, classes: int, count: int) -> Tensor:
    """Return ``count`` classes, each as often as the training pictures show it, evenly mixed from first to last.

    Where multiples of the golden ratio fall between 0 and 1 (Kronecker's sequence). In turn where no shares are known.
    """
    shares, indices = class_shares(data), torch.arange(count)
    if shares is None or len(shares) != classes:
        return indices % classes
    places = (indices.double() * GOLDEN_RATIO) % 1
    return torch.searchsorted(shares.cumsum(0), places, right=True).clamp(max=int(shares.nonzero().max()))


def in_words(model: Draws, data: Data, split: str, indices: Tensor) -> Tensor | None:
    """Return the captions of a split, in turn, as a model that reads them is given them; None for any other."""
    captions = cast(Captioned, data).captions(split) if model.vocabulary else []
    return model.vocabulary.tokens(captions)[indices % len(captions)] if captions else None


def in_turn(attributes: dict[str, list[str]], indices: Tensor) -> dict[str, list[str]]:
    """Return the attributes of pictures with these indices, over and over from the first."""
    return {name: [values[index % len(values)] for index in indices.tolist()] for name, values in attributes.items()}


def looked_at(
    extractor: Extractor, batches: Iterable[Tensor], count: int | None, progress: Progress | None
) -> tuple[Tensor, Tensor]:
    """Return features and logits of batches, uint8 or, unrounded, float in [-1, 1]."""
    seen, logits, done = [], [], 0
    for batch in batches:
        f, z = extractor.look(batch, rounded=False)
        seen.append(f)
        logits.append(z)
        done += len(batch)
        if progress:
            progress(done, count or done)
    if not seen:
        raise UserError("there are no pictures to score: give a folder or file that holds some")
    return torch.cat(seen), torch.cat(logits)


def in_order(pictures: Pictures, indices: Tensor | None = None) -> Iterator[Tensor]:
    """Yield these pictures, or all, in batches."""
    for part in torch.split(torch.arange(len(pictures)) if indices is None else indices, CHUNK):
        yield pictures.batch(part)


def checked(images: Pictures | Iterable[Tensor], shape: tuple[int, int, int]) -> Iterator[Tensor]:
    """Yield batches of at most CHUNK pictures, whatever pieces they came in."""
    waiting: list[Tensor] = []
    for piece in in_order(images) if isinstance(images, Pictures) else images:
        if piece.dtype != torch.uint8 or piece.ndim not in (3, 4) or tuple(piece.shape[-3:]) != tuple(shape):
            raise UserError(
                f"pictures to score are {piece.dtype} {tuple(piece.shape)}: expected uint8 pictures of shape "
                f"{tuple(shape)} like the data they are compared with"
            )
        for part in torch.split(piece[None] if piece.ndim == 3 else piece, CHUNK):
            if sum(map(len, waiting)) + len(part) > CHUNK:
                yield torch.cat(waiting)
                waiting = []
            waiting.append(part)
    if waiting:
        yield torch.cat(waiting)


class Moments:
    """The mean and deviation of every pixel of the batches that pass, and noise that has them."""

    def __init__(self) -> None:
        self.count = 0
        self.sum: Tensor | float = 0.0
        self.squares: Tensor | float = 0.0

    def watching(self, batches: Iterable[Tensor]) -> Iterator[Tensor]:
        """Yield batches as they pass."""
        for batch in batches:
            values = batch.double()
            self.count += len(batch)
            self.sum = self.sum + values.sum(dim=0)
            self.squares = self.squares + values.square().sum(dim=0)
            yield batch

    def noise(self, count: int, generator: torch.Generator) -> Iterator[Tensor]:
        """Yield so many pictures of noise."""
        mean = torch.as_tensor(self.sum / self.count)
        deviation = (torch.as_tensor(self.squares / self.count) - mean.square()).clamp(min=0).sqrt()
        for part in torch.split(torch.arange(count), CHUNK):
            values = mean + deviation * torch.randn(len(part), *mean.shape, generator=generator, dtype=torch.float64)
            yield values.round_().clamp_(0, 255).to(torch.uint8)
