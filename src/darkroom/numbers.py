"""What a setting may be, written beside it as its type.

``latent_dim: Count = 64`` is an ``int`` to Python and to a type checker. The lab reads the annotation as text, before
anything is imported, and refuses ``latent_dim=0`` with a sentence. A range that has no name here is written out:
``rotate: Annotated[float, Range(0, 180)]``, in a package of one's own too.
"""

import math
from dataclasses import dataclass
from typing import Annotated, TypeVar, get_args

T = TypeVar("T")


@dataclass(frozen=True)
class Range:
    """Finite numbers from ``low`` to ``high``; ``open_low`` and ``open_high`` leave the ends themselves out."""

    low: float
    high: float = math.inf
    open_low: bool = False
    open_high: bool = False

    def __contains__(self, value: float) -> bool:
        above = value > self.low if self.open_low else value >= self.low
        below = value < self.high if self.open_high else value <= self.high
        return above and below and math.isfinite(value)

    def __str__(self) -> str:
        above = f"more than {self.low}" if self.open_low else f"at least {self.low}"
        if self.high == math.inf:
            return above
        return f"{above} and {'less than' if self.open_high else 'at most'} {self.high}"


class OneOf:
    """One of a few words; for settings whose type must be plain text to Hydra, elsewhere ``Literal`` says the same."""

    def __init__(self, *words: str) -> None:
        self.words = words

    def __repr__(self) -> str:
        return f"OneOf({', '.join(map(repr, self.words))})"


class FromCode:
    """What code passes when it builds a part: never set in a file, and never missing."""


Supplied = Annotated[T, FromCode()]

Count = Annotated[int, Range(1)]
Whole = Annotated[int, Range(0)]
Drawn = Annotated[int, Range(1, 10**7)]  # pictures or sequences that a source draws and keeps in memory
Seed = Annotated[int, Range(0, 2**32 - 1)]  # what NumPy and Lightning take
Side = Annotated[int, Range(4, 4096)]  # of a picture, in pixels
Positive = Annotated[float, Range(0, open_low=True)]
NotNegative = Annotated[float, Range(0)]
Share = Annotated[float, Range(0, 1)]
BelowOne = Annotated[float, Range(0, 1, open_high=True)]
PositiveShare = Annotated[float, Range(0, 1, open_low=True)]


def names() -> frozenset[str]:
    """Return what the numbers above are called."""
    return frozenset(name for name, kind in globals().items() if get_args(kind)[:1] in ((int,), (float,)))
