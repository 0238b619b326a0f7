"""What data are to whoever looks at them: pictures by index, in three splits."""

from collections.abc import Callable, Iterator, Mapping
from typing import Protocol, runtime_checkable

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

    @property
    def everything(self) -> "Data":
        """The same data with all of val and test, whatever ``held_out`` says."""
        ...

    @property
    def actions(self) -> Mapping[str, float]:
        """What is done from frame to frame of clips, each with its largest size in training; else empty."""
        ...

    @property
    def held_out(self) -> int | None:
        """The most pictures of val and test that are looked at; None: all of them."""
        ...

    def pictures(self, split: str) -> Pictures:
        """Return the pictures of train, val or test."""
        ...

    def whole(self, split: str) -> Iterator[Tensor]:
        """Yield the photographs that the pictures of a split were cut from, uint8 ``(C, H, W)``."""
        ...
