"""What edits a picture: a function from colours to colours, and what whoever holds the file must know of it."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

Apply = Callable[[Tensor, Tensor | None], Tensor]


@dataclass(frozen=True)
class Editor:
    """One way to edit, made once for all pictures of a call.

    ``apply(colours, mask)`` takes floats ``(C, H, W)`` in [-1, 1], not rounded to levels, and where to repair, bool
    ``(1, H, W)`` or None; it returns ``(C, scale * H, scale * W)``. It is a function of its arguments alone.
    """

    apply: Apply
    scale: int = 1  # sides of what it makes, in sides of what it is given
    channels: int | None = None  # 1 or 3 when it takes only grey or only colours; None: either
    reach: int | None = None  # pixels around a place that decide what becomes of it; None: all, so it is never tiled
    multiple: int = 1  # sides of a tile are multiples of this
    masked: bool = False  # it needs to be told where to repair, and leaves the rest as it is
    baseline: Apply | None = None  # what needs no training and does the same
    baseline_name: str = ""
    damage: Callable[[Tensor, int], tuple[Tensor, Tensor | None]] | None = None  # (picture, seed) -> (damaged, mask)
    # For what depends on the whole picture, such as how noisy or how dark it is: given the colours of one, or of its
    # middle when it is large, and those of a small copy of all of it, what edits it instead of ``apply``, and what was
    # found, in words.
    tuned: Callable[[Tensor, Tensor], tuple[Apply, str]] | None = None
    # (before, after) -> scores by what the edit is for, and a warning or None.
    judged: Callable[[Tensor, Tensor], tuple[dict[str, float], str | None]] | None = None
    recolours: bool = False  # it is meant to change brightness and colours, so that they are no sign of a failure
