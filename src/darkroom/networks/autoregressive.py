"""Distributions over grids of codes that speak of one place after the other."""

from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

STEPS = 2**40  # that make up a probability of 1


class Autoregressive(nn.Module):
    """What all of them share: log-probabilities, drawing, and completing what is partly there.

    Places go row by row, from the left. A network says, in ``forward``, what it expects of every place given all before
    it, at once; and in ``steps`` the same of one place after the other, computing only what is new.

        network.log_prob(codes)                       # (B,) nats, of codes (B, h * w) int64
        network.sample(torch.rand(B, h * w))          # (B, h * w) int64
    """

    def __init__(self, size: Sequence[int]) -> None:
        """State the grid, ``(height, width)``."""
        super().__init__()
        self.size = (size[0], size[1])

    def forward(self, codes: Tensor, condition: Tensor | None = None) -> Tensor:
        """Return the logits of every place given all before it, ``(B, h * w, K)``.

        For codes ``(B, h * w)``, row by row, under conditions ``(B, D)``.
        """
        raise NotImplementedError

    def steps(self, codes: Tensor, condition: Tensor | None = None) -> Iterator[Tensor]:
        """Yield the logits ``(B, K)`` of each place in turn.

        Whoever asks for the next has by then written the code of this one into ``codes`` ``(B, h * w)``; what stands
        at later places is not looked at.
        """
        raise NotImplementedError

    def log_prob(self, codes: Tensor, condition: Tensor | None = None) -> Tensor:
        """Return the log-probability of grids: nats ``(B,)``."""
        logits = self(codes, condition)
        return -F.cross_entropy(logits.flatten(0, 1), codes.flatten(), reduction="none").view_as(codes).sum(dim=1)

    @torch.no_grad()
    def sample(self, numbers: Tensor, condition: Tensor | None = None) -> Tensor:
        """Return grids ``(B, h * w)``, int64; each of ``numbers`` ``(B, h * w)``, uniform in [0, 1], picks one code."""
        nothing = torch.zeros(numbers.shape, dtype=torch.int64, device=numbers.device)
        return self.complete(nothing, nothing.bool(), numbers, condition)

    @torch.no_grad()
    def complete(self, codes: Tensor, known: Tensor, numbers: Tensor, condition: Tensor | None = None) -> Tensor:
        """Return codes ``(B, h * w)`` with those that are not ``known`` drawn, each given all that stand before it."""
        codes = codes.clone()
        with torch.autocast(numbers.device.type, enabled=False):
            for place, logits in enumerate(self.steps(codes, condition)):
                drawn = picked(logits, numbers[:, place])
                codes[:, place] = torch.where(known[:, place], codes[:, place], drawn)
        return codes


def picked(logits: Tensor, numbers: Tensor) -> Tensor:
    """Return the code that each number in [0, 1] picks, ``(B,)`` of logits ``(B, K)``: more probable ones come first.

    So that numbers up to p pick from the most probable codes that have p together (Holtzman et al. 2020, nucleus).
    """
    shares, order = logits.softmax(dim=1).sort(dim=1, descending=True, stable=True)
    # In whole steps, whose sums are the same in whatever order a device adds them.
    cumulative = (shares * STEPS).long().cumsum(dim=1)
    rank = (cumulative < (numbers[:, None] * STEPS).long()).sum(dim=1, keepdim=True)
    rank = rank.clamp(max=logits.shape[1] - 1)
    return order.gather(1, rank).squeeze(1)
