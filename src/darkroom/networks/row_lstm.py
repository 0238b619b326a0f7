"""What is the next pixel, given all before it? A memory that goes down the picture row by row."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from darkroom.networks.autoregressive import Autoregressive
from darkroom.networks.causal import Causal, Codes, Output
from darkroom.networks.initialisation import scaled
from darkroom.numbers import Count, Supplied

ABOVE = (4, 11)  # rows above, and columns of them, that the first layer sees
LEFT = (1, 9)  # pixels to the left that it sees
INPUT = (1, 3)  # pixels of its own row, the last one its own, that a memory takes in
BESIDE = 3  # places of the row above whose memory it has


class Memory(nn.Module):
    """A long short-term memory for each place of a row, which goes on from those above it (eq. 3)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self.input = Causal(width, 4 * width, INPUT)
        self.state = scaled(nn.Linear(BESIDE * width, 4 * width, bias=False), BESIDE * width, gain=1.0)

    def forward(self, maps: Tensor) -> Tensor:
        """Return what is remembered at each place of maps ``(B, C, h, w)``."""
        inputs = self.input(maps).permute(0, 2, 3, 1)
        hidden = cell = inputs.new_zeros(len(inputs), inputs.shape[2], self.width)
        rows = []
        for row in inputs.unbind(dim=1):
            hidden, cell = self.updated(row + self.recalled(hidden), cell)
            rows.append(hidden)
        return torch.stack(rows, dim=1).permute(0, 3, 1, 2)

    def recalled(self, hidden: Tensor) -> Tensor:
        """Return what the state of the row above, ``(B, w, C)``, adds to the gates of this one, ``(B, w, 4 C)``."""
        length = hidden.shape[1]
        padded = F.pad(hidden, (0, 0, BESIDE // 2, BESIDE // 2))
        recalled: Tensor = self.state(torch.cat([padded[:, start : start + length] for start in range(BESIDE)], dim=2))
        return recalled

    def updated(self, gates: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
        """Return state and cell ``(…, C)`` after gates ``(…, 4 C)`` have opened and closed."""
        # Of the content tanh as a sigmoid, 2 sigmoid(2a) - 1 = tanh(a), so that one pass makes all four.
        forget, take, give, content = gates.sigmoid().chunk(4, dim=-1)
        cell = forget * cell + take * (2 * content - 1)
        return give * cell.tanh(), cell


class RowLstm(Autoregressive):
    """Long short-term memories that go down the picture row by row (van den Oord et al. 2016, Pixel RNN, section 3.1).

    What a place is told: the pixels near it, by a first convolution, and the memory of the place above and of those
    beside that, which widens into a triangle further up. Layers are residual.

        network = RowLstm(size=(28, 28), codes=2)
        network.log_prob(codes)                       # (B,) nats, of codes (B, 784) int64
        network.sample(torch.rand(B, 784))            # (B, 784) int64
    """

    def __init__(
        self,
        size: Supplied[Sequence[int]],
        codes: Supplied[int],
        condition_dim: Supplied[int] = 0,
        width: Count = 32,
        layers: Count = 2,
    ) -> None:
        """State the grid, ``(height, width)``, how many codes there are, and how much is remembered."""
        super().__init__(size)
        self.codes = Codes(codes)
        self.above = Causal(self.codes.features, width, ABOVE)
        self.left = Causal(self.codes.features, width, LEFT)
        self.places = nn.Parameter(torch.zeros(1, width, *self.size))
        self.told = nn.Linear(condition_dim, width, bias=False) if condition_dim else None
        self.memories: Any = nn.ModuleList(Memory(width) for _ in range(layers))
        self.output = Output(width, codes)
        # In this order of numbers in memory convolutions on a processor are fastest.
        self.to(memory_format=torch.channels_last)

    def forward(self, codes: Tensor, condition: Tensor | None = None) -> Tensor:
        """Return the logits of every place given all before it, ``(B, h * w, K)``."""
        maps = self.codes(codes.view(-1, *self.size))
        hidden = self.above(maps, strict=True) + self.left(maps, strict=True)
        hidden = hidden + self._given(condition).to(hidden.dtype)
        for memory in self.memories:
            hidden = hidden + memory(hidden)
        logits: Tensor = self.output(hidden).permute(0, 2, 3, 1).flatten(1, 2)
        return logits.to(self.places.dtype)

    def steps(self, codes: Tensor, condition: Tensor | None = None) -> Iterator[Tensor]:
        """Yield the logits ``(B, K)`` of each place in turn, with the states of the row above in memory."""
        count, (height, width) = len(codes), self.size
        grid, given = codes.view(count, height, width), self._given(condition)
        above = self.above.window(count, width)
        states = [self.places.new_zeros(2, count, width, memory.width) for memory in self.memories]
        for row in range(height):
            near = self.above.line(above) + given[:, :, row, None]
            left = self.left.window(count, 1)
            inputs = [memory.input.window(count, 1) for memory in self.memories]
            recalled = [memory.recalled(hidden) for memory, (hidden, _) in zip(self.memories, states, strict=True)]
            for column in range(width):
                hidden = near[..., column, None] + self.left.line(left)
                for index, memory in enumerate(self.memories):
                    inputs[index] = memory.input.pushed(inputs[index], hidden)
                    gates = memory.input.line(inputs[index])[:, :, 0, 0] + recalled[index][:, column]
                    state = torch.stack(memory.updated(gates, states[index][1, :, column]))
                    states[index][:, :, column] = state
                    hidden = hidden + state[0, :, :, None, None]
                yield self.output(hidden)[:, :, 0, 0]
                left = self.left.pushed(left, self.codes(grid[:, row, None, column, None]))
            above = self.above.pushed(above, self.codes(grid[:, row, None]))

    def _given(self, condition: Tensor | None) -> Tensor:
        """Return what place and condition add to maps."""
        return self.places if self.told is None else self.places + self.told(condition)[..., None, None]
