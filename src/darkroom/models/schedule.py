"""How a number changes over the budget of a run."""

import math
from typing import Literal

from darkroom.errors import UserError
from darkroom.numbers import NotNegative, PositiveShare, Share


class Schedule:
    """A factor of the fraction of the budget that is spent: it rises linearly, then falls from 1 to ``final``.

    ``warmup`` is the share of the budget spent rising, ``hold`` the share after which the fall begins, ``end`` the
    share at which it is over. A schedule of the fraction, not of steps, fits a budget of images and a budget of minutes
    alike. Raises `UserError` for a fall that ends before it begins.
    """

    def __init__(
        self,
        shape: Literal["constant", "linear", "cosine"] = "constant",
        warmup: Share = 0.0,
        hold: Share = 0.0,
        final: NotNegative = 0.0,
        end: PositiveShare = 1.0,
    ) -> None:
        self.shape, self.warmup, self.final, self.end = shape, warmup, final, end
        self.hold = max(hold, warmup)
        if shape != "constant" and not self.hold < end:
            raise UserError(
                f"a schedule that holds until {self.hold:g} of the budget cannot have ended at {end:g}: give end above"
                " hold and warmup."
            )

    def __call__(self, fraction: float) -> float:
        """Return the factor when ``fraction`` in [0, 1] of the budget is spent."""
        if fraction < self.warmup:
            return fraction / self.warmup
        if self.shape == "constant" or fraction <= self.hold:
            return 1.0
        fallen = min(1.0, (fraction - self.hold) / (self.end - self.hold))
        remaining = 1.0 - fallen if self.shape == "linear" else 0.5 * (1.0 + math.cos(math.pi * fallen))
        return self.final + (1.0 - self.final) * remaining
