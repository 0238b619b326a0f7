"""How probable is a grid of codes, and what grid comes next?"""

from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from darkroom.networks.autoregressive import Autoregressive
from darkroom.networks.initialisation import scaled
from darkroom.numbers import Count, Supplied


class CodePrior(Autoregressive):
    """An autoregressive distribution over grids of codes, row by row: a recurrent network (Cho et al. 2014, GRU).

    At each place it is told the code to the left, the code above, where it is and, if there is one, a condition; what
    came before is in its memory.

        prior = CodePrior(size=(7, 7), codes=256)
        prior.log_prob(codes)                       # (B,) nats, of codes (B, 49) int64
        prior.sample(torch.rand(B, 49))             # (B, 49) int64
    """

    def __init__(
        self,
        size: Supplied[Sequence[int]],
        codes: Supplied[int],
        condition_dim: Supplied[int] = 0,
        width: Count = 128,
        layers: Count = 1,
    ) -> None:
        """State the grid, ``(height, width)``, how many codes there are, and how much is remembered."""
        super().__init__(size)
        self.border = codes  # what stands to the left of the first column, and above the first row
        self.left = nn.Embedding(codes + 1, width)
        self.above = nn.Embedding(codes + 1, width)
        self.places = nn.Parameter(torch.randn(self.size[0] * self.size[1], width))
        self.told = nn.Linear(condition_dim, width, bias=False) if condition_dim else None
        self.memory = nn.GRU(width, width, layers, batch_first=True)
        self.output = scaled(nn.Linear(width, codes), width, gain=1.0)

    def forward(self, codes: Tensor, condition: Tensor | None = None) -> Tensor:
        """Return the logits of every place given all before it, ``(B, h * w, K)``."""
        with torch.autocast(codes.device.type, enabled=False):
            grid = codes.reshape(len(codes), *self.size)
            left = F.pad(grid[:, :, :-1], (1, 0), value=self.border).flatten(1)
            above = F.pad(grid[:, :-1], (0, 0, 1, 0), value=self.border).flatten(1)
            inputs = self.left(left) + self.above(above) + self.places
            if self.told is not None:
                inputs = inputs + self.told(condition)[:, None]
            logits: Tensor = self.output(self.memory(inputs)[0])
            return logits

    def steps(self, codes: Tensor, condition: Tensor | None = None) -> Iterator[Tensor]:
        """Yield the logits ``(B, K)`` of each place in turn, with what came before in memory."""
        width = self.size[1]
        border = torch.full_like(codes[:, 0], self.border)
        state = None
        told = 0 if self.told is None else self.told(condition)
        for place in range(codes.shape[1]):
            left = codes[:, place - 1] if place % width else border
            above = codes[:, place - width] if place >= width else border
            inputs = self.left(left) + self.above(above) + self.places[place] + told
            outputs, state = self.memory(inputs[:, None], state)
            yield self.output(outputs[:, 0])
