"""How probable is a grid of codes, and what grid comes next?"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from darkroom.networks.initialisation import scaled

STEPS = 2**40  # that make up a probability of 1


class CodePrior(nn.Module):
    """An autoregressive distribution over grids of codes, row by row: a recurrent network (Cho et al. 2014, GRU).

    At each place it is told the code to the left, the code above, where it is and, if there is one, a condition; what
    came before is in its memory.

        prior = CodePrior(size=(7, 7), codes=256)
        prior.log_prob(codes)                       # (B,) nats, of codes (B, 49) int64
        prior.sample(torch.rand(B, 49))             # (B, 49) int64
    """

    def __init__(
        self, size: Sequence[int], codes: int, condition_dim: int = 0, width: int = 128, layers: int = 1
    ) -> None:
        """State the grid, ``(height, width)``, how many codes there are, and how much is remembered."""
        super().__init__()
        self.size = tuple(size)
        self.border = codes  # what stands to the left of the first column, and above the first row
        self.left = nn.Embedding(codes + 1, width)
        self.above = nn.Embedding(codes + 1, width)
        self.places = nn.Parameter(torch.randn(self.size[0] * self.size[1], width))
        self.told = nn.Linear(condition_dim, width, bias=False) if condition_dim else None
        self.memory = nn.GRU(width, width, layers, batch_first=True)
        self.output = scaled(nn.Linear(width, codes), width, gain=1.0)

    def forward(self, codes: Tensor, condition: Tensor | None = None) -> Tensor:
        """Return the logits of every place given all before it, ``(B, h * w, K)``.

        For codes ``(B, h * w)``, row by row, under conditions ``(B, D)``.
        """
        with torch.autocast(codes.device.type, enabled=False):
            grid = codes.reshape(len(codes), *self.size)
            left = F.pad(grid[:, :, :-1], (1, 0), value=self.border).flatten(1)
            above = F.pad(grid[:, :-1], (0, 0, 1, 0), value=self.border).flatten(1)
            inputs = self.left(left) + self.above(above) + self.places
            if self.told is not None:
                inputs = inputs + self.told(condition)[:, None]
            logits: Tensor = self.output(self.memory(inputs)[0])
            return logits

    def log_prob(self, codes: Tensor, condition: Tensor | None = None) -> Tensor:
        """Return the log-probability of grids: nats ``(B,)``."""
        logits = self(codes, condition)
        return -F.cross_entropy(logits.flatten(0, 1), codes.flatten(), reduction="none").view_as(codes).sum(dim=1)

    @torch.no_grad()
    def sample(self, numbers: Tensor, condition: Tensor | None = None) -> Tensor:
        """Return grids ``(B, h * w)``, int64; each of ``numbers`` ``(B, h * w)``, uniform in [0, 1], picks one code."""
        width = self.size[1]
        codes = torch.full(numbers.shape, self.border, device=numbers.device)
        border = codes[:, 0].clone()
        state = None
        with torch.autocast(numbers.device.type, enabled=False):
            told = 0 if self.told is None else self.told(condition)
            for place in range(numbers.shape[1]):
                left = codes[:, place - 1] if place % width else border
                above = codes[:, place - width] if place >= width else border
                inputs = self.left(left) + self.above(above) + self.places[place] + told
                outputs, state = self.memory(inputs[:, None], state)
                codes[:, place] = picked(self.output(outputs[:, 0]), numbers[:, place])
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
