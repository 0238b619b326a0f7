"""Clips, a fixed number of frames each, that can be asked for by number: kept in memory, or drawn when asked for."""

import hashlib
from collections.abc import Callable
from typing import Protocol, Self, runtime_checkable

import torch
from torch import Tensor

from darkroom.data.pictures import Pictures, content_digest, resized, with_channels


@runtime_checkable
class Clips(Pictures, Protocol):
    """A fixed, ordered set of equally shaped uint8 clips: `Pictures` whose batches are ``(b, T, C, H, W)``.

    ``shape`` is that of a frame.
    """

    frames: int  # T
    actions: Tensor | None  # (N, T-1, A) float32: what is done between frame t and t + 1, in natural units


class TensorClips:
    """Clips that lie in memory as one uint8 tensor ``(N, T, C, H, W)``, so that a batch is one gather."""

    def __init__(
        self,
        pixels: Tensor,
        labels: Tensor | None = None,
        numbers: Tensor | None = None,
        actions: Tensor | None = None,
    ) -> None:
        if pixels.dtype != torch.uint8 or pixels.ndim != 5:
            raise ValueError(f"pixels must be uint8 (N, T, C, H, W), got {pixels.dtype} {tuple(pixels.shape)}")
        for name, given in (("labels", labels), ("numbers", numbers), ("actions", actions)):
            if given is not None and len(given) != len(pixels):
                raise ValueError(f"{len(pixels)} clips have {len(given)} {name}")
        if actions is not None and (actions.ndim != 3 or actions.shape[1] != pixels.shape[1] - 1):
            raise ValueError(
                f"actions of {pixels.shape[1]} frames must be (N, {pixels.shape[1] - 1}, A), got {tuple(actions.shape)}"
            )
        self.pixels = pixels.contiguous()
        self.labels = None if labels is None else labels.to(torch.int64)
        self.numbers = numbers
        self.actions = None if actions is None else actions.to(torch.float32)
        self.frames = pixels.shape[1]
        self.shape: tuple[int, int, int] = (pixels.shape[2], pixels.shape[3], pixels.shape[4])
        self._hashes: list[bytes] | None = None

    def __len__(self) -> int:
        return len(self.pixels)

    def batch(self, indices: Tensor) -> Tensor:
        """Return the clips at these indices."""
        return self.pixels.index_select(0, indices)

    def select(self, indices: Tensor) -> Self:
        """Return the set that holds these clips only, in this order."""
        chosen = (_chosen(given, indices) for given in (self.labels, self.numbers, self.actions))
        return type(self)(self.pixels.index_select(0, indices), *chosen)

    def fitted(self, image_size: int | None, channels: int | None) -> "TensorClips":
        """Return the same clips with this many channels and this many pixels a side; None keeps what they have."""
        pixels = with_channels(self.pixels.flatten(0, 1), channels or self.shape[0])
        pixels = resized(pixels, image_size) if image_size else pixels
        return TensorClips(pixels.view(-1, self.frames, *pixels.shape[1:]), self.labels, self.numbers, self.actions)

    @property
    def hashes(self) -> list[bytes]:
        """The sha256 of each clip's bytes, and of those of its actions: another motion is another clip."""
        if self._hashes is None:
            rows = self.pixels.flatten(1).numpy()
            self._hashes = [
                hashlib.sha256(row.tobytes() + action).digest()
                for row, action in zip(rows, _action_bytes(self.actions, len(rows)), strict=True)
            ]
        return self._hashes

    @property
    def digest(self) -> str:
        """The sha256 over every clip, action and label in order."""
        return content_digest(self.shape, self.hashes, self.labels)


class DrawnClips:
    """Clips of which each is drawn from its number when asked for: any number of them, and nothing stored."""

    def __init__(
        self,
        indices: Tensor,
        draw: Callable[[Tensor], Tensor],
        facts: Callable[[Tensor], list[bytes]],
        shape: tuple[int, int, int],
        frames: int,
        labels: Tensor | None = None,
        actions: Tensor | None = None,
    ) -> None:
        """State which clips and how they come about.

        Args:
            indices: what ``draw`` and ``facts`` know the clips by, int64.
            draw: returns the clips of some indices, uint8 ``(b, T, C, H, W)``; the same whatever their company.
            facts: returns what each of them is drawn from, as bytes: they stand for its pixels when it is compared.
            shape: channels, height and width of a frame.
            frames: how many a clip has.
            labels: of each clip, int64.
            actions: of each clip, float32 ``(N, T-1, A)``.
        """
        self.indices = indices
        self.draw = draw
        self.facts = facts
        self.shape = shape
        self.frames = frames
        self.labels = labels
        self.actions = actions
        self.numbers: Tensor | None = None
        self._hashes: list[bytes] | None = None

    def __len__(self) -> int:
        return len(self.indices)

    def batch(self, indices: Tensor) -> Tensor:
        """Return the clips at these indices, drawn now."""
        return self.draw(self.indices[indices])

    def select(self, indices: Tensor) -> Self:
        """Return the set that holds these clips only, in this order."""
        labels, actions = _chosen(self.labels, indices), _chosen(self.actions, indices)
        return type(self)(self.indices[indices], self.draw, self.facts, self.shape, self.frames, labels, actions)

    @property
    def hashes(self) -> list[bytes]:
        """The sha256 of what each clip is drawn from, and of its actions: found without drawing one."""
        if self._hashes is None:
            actions = _action_bytes(self.actions, len(self))
            self._hashes = [
                hashlib.sha256(fact + action).digest()
                for fact, action in zip(self.facts(self.indices), actions, strict=True)
            ]
        return self._hashes

    @property
    def digest(self) -> str:
        """The sha256 over what every clip is drawn from, and every action and label, in order."""
        return content_digest(self.shape, self.hashes, self.labels)


def _chosen(given: Tensor | None, indices: Tensor) -> Tensor | None:
    """Return the rows at these indices of what there may be."""
    return None if given is None else given[indices]


def _action_bytes(actions: Tensor | None, count: int) -> list[bytes]:
    """Return the actions of each clip as bytes, none where there are none."""
    if actions is None:
        return [b""] * count
    return [row.tobytes() for row in actions.numpy().astype("<f4")]
