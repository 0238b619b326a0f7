"""What a metric is given: pictures, data with splits, and a model that draws or names."""

from collections.abc import Callable, Iterator
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

Progress = Callable[[int, int], None]  # (images done, images in all)


@runtime_checkable
class Pictures(Protocol):
    """One split's pictures, by index."""

    @property
    def labels(self) -> Tensor | None:
        """Class indices, int64 ``(n,)``."""
        ...

    def __len__(self) -> int: ...

    def batch(self, indices: Tensor) -> Tensor:
        """Return the pictures at these indices, uint8 ``(b, C, H, W)``."""
        ...


class Data(Protocol):
    """Pictures in three splits, already brought to one size."""

    @property
    def name(self) -> str:
        """What the data are called: mnist."""
        ...

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height, width."""
        ...

    @property
    def class_names(self) -> list[str]:
        """The classes in the order of their indices; empty when the pictures are not labelled."""
        ...

    @property
    def flippable(self) -> bool:
        """Whether the mirror image of a picture is as likely as the picture."""
        ...

    @property
    def digest(self) -> str:
        """A hash of every picture and label."""
        ...

    @property
    def split_digests(self) -> dict[str, str]:
        """A hash of the pictures and labels of each split."""
        ...

    def pictures(self, split: str) -> Pictures:
        """Return the pictures of train, val or test."""
        ...

    def whole(self, split: str) -> Iterator[Tensor]:
        """Yield the photographs that the pictures of a split were cut from, uint8 ``(C, H, W)``."""
        ...


class Painter(Protocol):
    """A model that draws: image ``i`` of a seed is the same picture whatever the batch."""

    @property
    def device(self) -> torch.device:
        """Where pictures are drawn or named."""
        ...

    @property
    def classes(self) -> int:
        """Number of classes that can be asked for; 0 when the model is unconditional."""
        ...

    def sample(self, indices: Tensor, seed: int, labels: Tensor | None) -> Tensor:
        """Return float pictures ``(n, C, H, W)`` in [-1, 1]."""
        ...


class Namer(Protocol):
    """A model that names: float pictures in [-1, 1] to logits ``(n, K)``."""

    @property
    def device(self) -> torch.device:
        """Where pictures are drawn or named."""
        ...

    def predict(self, images: Tensor) -> Tensor:
        """Return logits."""
        ...
