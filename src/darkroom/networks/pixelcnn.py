"""What is the next pixel, given all before it? Convolutions that see only what is above and to the left."""

import math
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from darkroom.networks.autoregressive import Autoregressive
from darkroom.networks.causal import Causal, Codes, Output
from darkroom.networks.initialisation import scaled
from darkroom.numbers import Count, Supplied

TOP = (3, 5)  # rows and columns of cells that the vertical stack is shown at once
NEAR = (3, 9)  # rows above, and columns of them, that the horizontal stack is shown pixel by pixel
LEFT = (1, 9)  # pixels to the left that it is shown at once


class Layer(nn.Module):
    """What a layer adds to what it was given."""

    def __init__(self, width: int, kernel: tuple[int, int], gate: bool, depth: int) -> None:
        """Choose; ``depth`` is how many such layers stand on each other."""
        super().__init__()
        self.gate = gate
        self.seen = Causal(width, 2 * width if gate else width, kernel, gain=1.0 if gate else math.sqrt(2))
        self.added = scaled(nn.Conv2d(width, width, 1), width, gain=1 / math.sqrt(depth))

    def forward(self, maps: Tensor) -> Tensor:
        """Return the maps of all lines, none of which saw a later one."""
        return maps + self._answer(self.seen(maps))

    def step(self, line: Tensor, window: Tensor) -> tuple[Tensor, Tensor]:
        """Return the map of one line, and the window that holds it."""
        window = self.seen.pushed(window, line)
        return line + self._answer(self.seen.line(window)), window

    def _answer(self, seen: Tensor) -> Tensor:
        if self.gate:
            # tanh(a) sigmoid(b), as sigmoids alone: 2 sigmoid(2a) - 1 is tanh(a), and one pass makes both.
            half, gate = seen.sigmoid().chunk(2, dim=1)
            answer: Tensor = self.added((2 * half - 1) * gate)
        else:
            answer = self.added(seen.relu())
        return answer


class GatedPixelCnn(Autoregressive):
    """Convolutions over the rows above, and over the row so far (van den Oord et al. 2016, PixelCNN Decoders, fig. 2).

    Two stacks, so that together they see everything before a place and nothing else. The vertical one reads whole rows,
    and works on cells of ``cell`` times ``cell`` places: what is far away need not be known to the pixel, and for 2
    it costs a fourth. What the nearest rows hold is shown to the horizontal stack pixel by pixel. Layers are residual;
    what is between two convolutions is the paper's gate (eq. 2) or, for half the cost, a rectifier.

        network = GatedPixelCnn(size=(28, 28), codes=2)
        network.log_prob(codes)                       # (B,) nats, of codes (B, 784) int64
        network.sample(torch.rand(B, 784))            # (B, 784) int64
    """

    def __init__(
        self,
        size: Supplied[Sequence[int]],
        codes: Supplied[int],
        condition_dim: Supplied[int] = 0,
        width: Count = 32,
        layers: Count = 4,
        vertical_width: Count = 64,
        vertical_layers: Count = 4,
        cell: Count = 2,
        activation: Literal["gate", "relu"] = "gate",
    ) -> None:
        """State the grid, ``(height, width)``, and how many codes there are; then the size of each stack."""
        super().__init__(size)
        gate = activation == "gate"
        self.cell = cell
        self.cells = (-(-self.size[0] // cell), -(-self.size[1] // cell))
        self.codes = Codes(codes)
        features = self.codes.features
        self.top = Causal(features * cell * cell, vertical_width, TOP)
        self.places = nn.Parameter(torch.zeros(1, vertical_width, *self.cells))
        self.vertical: Any = nn.ModuleList(
            Layer(vertical_width, (2, 3), gate, vertical_layers) for _ in range(vertical_layers)
        )
        self.rise = scaled(nn.Conv2d(vertical_width, width * cell * cell, 1), vertical_width)
        self.near = Causal(features, width, NEAR)
        self.left = Causal(features, width, LEFT)
        self.horizontal: Any = nn.ModuleList(Layer(width, (1, 3), gate, layers) for _ in range(layers))
        self.told = nn.Linear(condition_dim, vertical_width + width, bias=False) if condition_dim else None
        self.output = Output(width, codes)
        # In this order of numbers in memory convolutions on a processor are fastest.
        self.to(memory_format=torch.channels_last)

    def forward(self, codes: Tensor, condition: Tensor | None = None) -> Tensor:
        """Return the logits of every place given all before it, ``(B, h * w, K)``."""
        maps = self.codes(codes.view(-1, *self.size))
        told_above, told = self._told(condition)
        context = self.top(self._in_cells(maps), strict=True)
        context = context + (self.places + told_above).to(context.dtype)
        for layer in self.vertical:
            context = layer(context)
        hidden = self.near(maps, strict=True) + self.left(maps, strict=True) + self._in_places(context)
        hidden = hidden + told.to(hidden.dtype)
        for layer in self.horizontal:
            hidden = layer(hidden)
        logits: Tensor = self.output(hidden).permute(0, 2, 3, 1).flatten(1, 2)
        return logits.to(self.places.dtype)

    def steps(self, codes: Tensor, condition: Tensor | None = None) -> Iterator[Tensor]:
        """Yield the logits ``(B, K)`` of each place in turn, from windows of what every layer has seen last."""
        count, (height, width) = len(codes), self.size
        grid = codes.view(count, height, width)
        told_above, told = self._told(condition)
        top, near = self.top.window(count, self.cells[1]), self.near.window(count, width)
        above = [layer.seen.window(count, self.cells[1]) for layer in self.vertical]
        for row in range(height):
            if row % self.cell == 0:
                line = self.top.line(top) + self.places[:, :, row // self.cell, None] + told_above
                for index, layer in enumerate(self.vertical):
                    line, above[index] = layer.step(line, above[index])
                context = self._in_places(line)
            given = self.near.line(near) + context[:, :, row % self.cell, None] + told
            left = self.left.window(count, 1)
            before = [layer.seen.window(count, 1) for layer in self.horizontal]
            for column in range(width):
                hidden = given[..., column, None] + self.left.line(left)
                for index, layer in enumerate(self.horizontal):
                    hidden, before[index] = layer.step(hidden, before[index])
                yield self.output(hidden)[:, :, 0, 0]
                left = self.left.pushed(left, self.codes(grid[:, row, None, column, None]))
            near = self.near.pushed(near, self.codes(grid[:, row, None]))
            if (row + 1) % self.cell == 0:
                top = self.top.pushed(top, self._in_cells(self.codes(grid[:, row + 1 - self.cell : row + 1])))

    def _told(self, condition: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return what a condition adds to the maps of the vertical stack and of the horizontal one."""
        if self.told is None:
            nothing = self.places.new_zeros(())
            return nothing, nothing
        above, beside = self.told(condition)[..., None, None].split(
            [self.places.shape[1], self.left.conv.out_channels], 1
        )
        return above, beside

    def _in_cells(self, maps: Tensor) -> Tensor:
        """Return maps with the places of a cell side by side in channels; what is missing in the last ones is zero."""
        down, across = (-side % self.cell for side in maps.shape[2:])
        return F.pixel_unshuffle(F.pad(maps, (0, across, 0, down)), self.cell)

    def _in_places(self, context: Tensor) -> Tensor:
        """Return what the vertical stack tells the horizontal one, place by place."""
        risen = F.pixel_shuffle(self.rise(F.silu(context)), self.cell)
        return risen[:, :, : self.size[0], : self.size[1]]
