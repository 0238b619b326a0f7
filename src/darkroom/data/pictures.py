"""Pictures that can be asked for by number: kept in memory, or decoded when asked for."""

import hashlib
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol, Self

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import get_worker_info

CHUNK = 4096  # pictures resized at once, so that the float copies stay small


class Pictures(Protocol):
    """A fixed, ordered set of equally shaped uint8 pictures, labelled or not."""

    labels: Tensor | None  # (N,) int64
    shape: tuple[int, int, int]  # (C, H, W)
    numbers: Tensor | None  # (N,) int64: which of its source's pictures these are, where the source counts them

    def __len__(self) -> int: ...

    def batch(self, indices: Tensor) -> Tensor:
        """Return the pictures at these int64 indices, uint8 ``(b, C, H, W)``."""
        ...

    def select(self, indices: Tensor) -> Self:
        """Return the set that holds these pictures only, in this order."""
        ...

    @property
    def hashes(self) -> list[bytes]:
        """The sha256 of each picture's decoded bytes: equal for identical pictures, whatever file they came from."""
        ...

    @property
    def digest(self) -> str:
        """The sha256, in hex, over every picture and label in order: it changes when a single pixel does."""
        ...


class TensorPictures:
    """Pictures that lie in memory as one uint8 tensor ``(N, C, H, W)``, so that a batch is one gather."""

    def __init__(self, pixels: Tensor, labels: Tensor | None = None, numbers: Tensor | None = None) -> None:
        if pixels.dtype != torch.uint8 or pixels.ndim != 4:
            raise ValueError(f"pixels must be uint8 (N, C, H, W), got {pixels.dtype} {tuple(pixels.shape)}")
        if labels is not None and len(labels) != len(pixels):
            raise ValueError(f"{len(pixels)} pictures have {len(labels)} labels")
        if numbers is not None and len(numbers) != len(pixels):
            raise ValueError(f"{len(pixels)} pictures have {len(numbers)} numbers")
        self.pixels = pixels.contiguous()
        self.labels = None if labels is None else labels.to(torch.int64)
        self.numbers = numbers
        self.shape: tuple[int, int, int] = (pixels.shape[1], pixels.shape[2], pixels.shape[3])
        self._hashes: list[bytes] | None = None

    def __len__(self) -> int:
        return len(self.pixels)

    def batch(self, indices: Tensor) -> Tensor:
        """Return the pictures at these indices."""
        return self.pixels.index_select(0, indices)

    def select(self, indices: Tensor) -> Self:
        """Return the set that holds these pictures only, in this order."""
        labels = None if self.labels is None else self.labels[indices]
        numbers = None if self.numbers is None else self.numbers[indices]
        return type(self)(self.pixels.index_select(0, indices), labels, numbers)

    def fitted(self, image_size: int | None, channels: int | None) -> "TensorPictures":
        """Return the same pictures with this many channels and this many pixels a side; None keeps what they have."""
        pixels = with_channels(self.pixels, channels or self.shape[0])
        return TensorPictures(resized(pixels, image_size) if image_size else pixels, self.labels, self.numbers)

    @property
    def hashes(self) -> list[bytes]:
        """The sha256 of each picture's bytes."""
        if self._hashes is None:
            rows = self.pixels.flatten(1).numpy()
            self._hashes = [hashlib.sha256(row).digest() for row in rows]
        return self._hashes

    @property
    def digest(self) -> str:
        """The sha256 over every picture and label in order."""
        return content_digest(self.shape, self.hashes, self.labels)


class FilePictures:
    """Pictures decoded from their files when asked for: for sets that do not fit into memory."""

    def __init__(
        self,
        files: Sequence[Path],
        decode: Callable[[Path], Tensor],
        shape: tuple[int, int, int],
        hashes: Sequence[bytes],
        labels: Tensor | None = None,
        numbers: Tensor | None = None,
    ) -> None:
        self.files = list(files)
        self.decode = decode
        self.shape = shape
        self.labels = labels
        self.numbers = numbers
        self._hashes = list(hashes)

    def __len__(self) -> int:
        return len(self.files)

    def batch(self, indices: Tensor) -> Tensor:
        """Return the pictures at these indices, decoded now.

        The main process decodes with one thread per core (Pillow releases the interpreter while it decodes); a
        DataLoader's worker uses one thread, since its siblings have the other cores.
        """
        files = [self.files[index] for index in indices.tolist()]
        if get_worker_info() is not None or len(files) < 8:
            return torch.stack([self.decode(file) for file in files])
        with ThreadPoolExecutor(os.cpu_count()) as threads:
            return torch.stack(list(threads.map(self.decode, files)))

    def select(self, indices: Tensor) -> Self:
        """Return the set that holds these pictures only, in this order."""
        chosen = indices.tolist()
        labels = None if self.labels is None else self.labels[indices]
        numbers = None if self.numbers is None else self.numbers[indices]
        files, hashes = [self.files[index] for index in chosen], [self._hashes[index] for index in chosen]
        return type(self)(files, self.decode, self.shape, hashes, labels, numbers)

    @property
    def hashes(self) -> list[bytes]:
        """The sha256 of each picture's decoded bytes, taken when the folder was first read."""
        return self._hashes

    @property
    def digest(self) -> str:
        """The sha256 over every picture and label in order."""
        return content_digest(self.shape, self.hashes, self.labels)


def content_digest(shape: tuple[int, int, int], hashes: Sequence[bytes], labels: Tensor | None) -> str:
    """Return the sha256, in hex, of a set of pictures known by their shape, the hash of each, and their labels."""
    digest = hashlib.sha256(repr((*shape, len(hashes))).encode())
    digest.update(b"".join(hashes))
    digest.update(b"unlabelled" if labels is None else labels.numpy().astype("<i8").tobytes())
    return digest.hexdigest()


def with_channels(pixels: Tensor, channels: int) -> Tensor:
    """Return uint8 pictures with 1 or 3 channels; colour becomes grey by ITU-R 601 luma, rounded as in Pillow."""
    if pixels.shape[1] == channels:
        return pixels
    if channels == 3:
        return pixels.repeat(1, 3, 1, 1)
    grey = torch.empty_like(pixels[:, :1])
    for start in range(0, len(pixels), CHUNK):
        red, green, blue = pixels[start : start + CHUNK].int().unbind(1)
        luma = (red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16
        grey[start : start + CHUNK, 0] = luma.to(torch.uint8)
    return grey


def resized(pixels: Tensor, size: int) -> Tensor:
    """Return uint8 pictures cropped to their central square and resized to ``size`` pixels a side.

    Bicubic with antialiasing, rounded. On the 8x8 digits bilinear was visibly foggier.
    """
    height, width = pixels.shape[2:]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = pixels[:, :, top : top + side, left : left + side]
    if side == size:
        return square.contiguous()
    result = torch.empty(len(pixels), pixels.shape[1], size, size, dtype=torch.uint8)
    for start in range(0, len(pixels), CHUNK):
        part = square[start : start + CHUNK].float()
        part = F.interpolate(part, size=(size, size), mode="bicubic", antialias=True)
        result[start : start + CHUNK] = part.round_().clamp_(0, 255).to(torch.uint8)
    return result
