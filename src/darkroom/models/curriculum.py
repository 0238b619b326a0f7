"""Which frames of a sequence training shows, and where the model must go on from what it said itself."""

from typing import Literal

import torch
from torch import Tensor

from darkroom.numbers import PositiveShare


class Curriculum:
    """From the fraction of the budget that is spent to frames that are shown.

    - ``all``: every true frame (teacher forcing); quick to learn, and never tried on its own mistakes;
    - ``none``: the first ``inputs`` frames, as in use;
    - ``scheduled``: those, and later ones with a probability that falls from 1 to 0 (Bengio et al. 2015);
    - ``reverse``: at first half of all; then of the first frames ever more, and of later ones ever fewer, which teaches
      to remember (Wang et al. 2022, PredRNN-V2, reverse scheduled sampling). The very first is always shown.

    Both schedules are linear and over when ``end`` of the budget is spent.
    """

    def __init__(
        self, shows: Literal["all", "none", "scheduled", "reverse"] = "none", end: PositiveShare = 0.5
    ) -> None:
        self.shows, self.end = shows, end

    def __call__(self, numbers: Tensor, inputs: int, fraction: float) -> Tensor:
        """Return which frames are shown, bool ``(B, S)``, for uniform ``numbers`` ``(B, S)`` in [0, 1)."""
        if self.shows == "all":
            return torch.ones_like(numbers, dtype=torch.bool)
        first = torch.arange(numbers.shape[1], device=numbers.device) < inputs
        done = min(1.0, fraction / self.end)
        early, late = 1.0, 0.0
        if self.shows == "scheduled":
            late = 1 - done
        elif self.shows == "reverse":
            early, late = 0.5 + 0.5 * done, 0.5 - 0.5 * done
        shown = numbers < torch.where(first, early, late)
        shown[:, 0] = True
        return shown
