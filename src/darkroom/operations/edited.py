"""What comes of an operation that makes one thing of one input."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Edited:
    """What came of a picture, in [-1, 1]: a sheet of ``images`` ``(N, C, H, W)`` in ``columns``, and a ``film``."""

    images: Tensor
    columns: int
    film: Tensor
    sentence: str
