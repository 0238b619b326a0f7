"""What comes of an operation that makes one thing of one input."""

from dataclasses import dataclass

import numpy as np
from torch import Tensor


@dataclass(frozen=True)
class Edited:
    """What came of a picture, in [-1, 1]: a sheet of ``images`` ``(N, C, H, W)`` in ``columns``, and a ``film``.

    ``page`` is the sheet with words, uint8 ``(H, W, 3)``, where there is something to say beside the pictures.
    """

    images: Tensor
    columns: int
    film: Tensor
    sentence: str
    page: np.ndarray | None = None
