"""Recurrent layers over maps: what remembers, from one image to the next, where things are and how they move.

Each takes maps ``(B, D, H, W)`` and the memory of the step before (None at first), and returns maps ``(B, width, H,
W)`` and the memory after it.

    memory = ConvLstm(inputs=64, width=64)
    state = None
    for maps in sequence:
        features, state = memory(maps, state)
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from darkroom.networks.initialisation import scaled
from darkroom.numbers import Count, Supplied

Memory = Sequence[tuple[Tensor, ...]]  # of each layer


def _convolution(inputs: int, outputs: int, kernel: int) -> nn.Conv2d:
    return scaled(nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2), inputs * kernel**2, gain=1.0)


class ConvLstmCell(nn.Module):
    """One layer of long short-term memory whose products are convolutions (Shi et al. 2015, eq. 3, no peepholes)."""

    def __init__(self, inputs: int, width: int, kernel: int) -> None:
        super().__init__()
        self.width = width
        self.gates = _convolution(inputs + width, 4 * width, kernel)
        with torch.no_grad():
            assert self.gates.bias is not None
            self.gates.bias[width : 2 * width] = 1.0  # remember at first, so that gradients reach far back

    def forward(self, maps: Tensor, state: tuple[Tensor, ...] | None) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Return the layer's output and its state: output and cell."""
        if state is None:
            hidden = cell = maps.new_zeros(len(maps), self.width, *maps.shape[2:])
        else:
            hidden, cell = state
        enter, remember, leave, new = self.gates(torch.cat([maps, hidden], dim=1)).chunk(4, dim=1)
        cell = remember.sigmoid() * cell + enter.sigmoid() * new.tanh()
        hidden = leave.sigmoid() * cell.tanh()
        return hidden, (hidden, cell)


class ConvGruCell(nn.Module):
    """One gated recurrent layer whose products are convolutions (Ballas et al. 2016)."""

    def __init__(self, inputs: int, width: int, kernel: int) -> None:
        super().__init__()
        self.width = width
        self.gates = _convolution(inputs + width, 2 * width, kernel)
        self.proposal = _convolution(inputs + width, width, kernel)

    def forward(self, maps: Tensor, state: tuple[Tensor, ...] | None) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Return the layer's output, which is its state."""
        hidden = maps.new_zeros(len(maps), self.width, *maps.shape[2:]) if state is None else state[0]
        reset, update = self.gates(torch.cat([maps, hidden], dim=1)).sigmoid().chunk(2, dim=1)
        new = self.proposal(torch.cat([maps, reset * hidden], dim=1)).tanh()
        hidden = (1 - update) * hidden + update * new
        return hidden, (hidden,)


class Stacked(nn.Module):
    """Layers one above the other, each with a memory of its own."""

    cell: type[ConvLstmCell] | type[ConvGruCell]

    def __init__(self, inputs: Supplied[int], width: Supplied[int] = 64, layers: Count = 2, kernel: Count = 3) -> None:
        """State the maps of each layer and the pixels that its convolutions look at."""
        super().__init__()
        widths = [inputs, *[width] * layers]
        self.cells = nn.ModuleList(self.cell(below, width, kernel) for below in widths[:-1])

    def forward(self, maps: Tensor, memory: Memory | None) -> tuple[Tensor, Memory]:
        """Return the last layer's output, and the states of all."""
        states = []
        for index, cell in enumerate(self.cells):
            maps, state = cell(maps, None if memory is None else memory[index])
            states.append(state)
        return maps, states


class ConvLstm(Stacked):
    """Convolutional long short-term memory (Shi et al. 2015)."""

    cell = ConvLstmCell


class ConvGru(Stacked):
    """Convolutional gated recurrent units (Ballas et al. 2016)."""

    cell = ConvGruCell


class MotionAware(nn.Module):
    """Motion-aware units (after Chang et al. 2021, MAU): each attends to its own past to tell how things are moving.

    Appearance goes up through the layers and is passed on from step to step nowhere; each layer keeps its motion of the
    last ``reach`` steps, weighs it by how much the appearance of then looks like that of now, and lets it act on the
    appearance, and the appearance on it. With a reach of one step there is nothing to weigh, and motion goes on from
    where it was.
    """

    def __init__(
        self, inputs: Supplied[int], width: Supplied[int] = 64, layers: Count = 2, kernel: Count = 3, reach: Count = 5
    ) -> None:
        """State the maps of each layer, the pixels that its convolutions look at and the steps it looks back."""
        super().__init__()
        self.entrance = _convolution(inputs, width, 1) if inputs != width else nn.Identity()
        self.cells = nn.ModuleList(MotionAwareCell(width, kernel, reach) for _ in range(layers))

    def forward(self, maps: Tensor, memory: Memory | None) -> tuple[Tensor, Memory]:
        """Return the last layer's appearance, and the motions and then the appearances that each layer remembers."""
        appearance = self.entrance(maps)
        states = []
        for index, cell in enumerate(self.cells):
            appearance, state = cell(appearance, None if memory is None else memory[index])
            states.append(state)
        return appearance, states


class MotionAwareCell(nn.Module):
    """One layer of `MotionAware`.

    Unlike in the paper one convolution sees motion and appearance together, and motion is kept or replaced by a gate,
    as in other recurrent units, instead of being made anew from convolutions of both at every step, so that it cannot
    grow without end.
    """

    def __init__(self, width: int, kernel: int, reach: int) -> None:
        super().__init__()
        self.reach = reach
        self.gates = _convolution(2 * width, 4 * width, kernel)
        with torch.no_grad():
            assert self.gates.bias is not None
            self.gates.bias[:width] = 1.0  # keep the motion at first, so that gradients reach far back
        if reach > 1:
            self.trust = _convolution(width, width, 1)
            self.likeness = _convolution(width, width, 1)

    def forward(self, appearance: Tensor, state: tuple[Tensor, ...] | None) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Return the appearance after this layer, and its state: past motions, and as many past appearances."""
        motions, appearances = ((), ()) if state is None else (state[: len(state) // 2], state[len(state) // 2 :])
        motion = self._recalled(appearance, motions, appearances) if motions else torch.zeros_like(appearance)
        keep, moved, show, seen = self.gates(torch.cat([appearance, motion.to(appearance)], dim=1)).chunk(4, dim=1)
        keep = keep.sigmoid()
        motion = keep * motion + (1 - keep) * moved.tanh()
        kept = (*motions, motion)[-self.reach :], (*appearances, appearance)[-self.reach :]
        return appearance + show.sigmoid() * seen, (*kept[0], *kept[1])

    def _recalled(self, appearance: Tensor, motions: tuple[Tensor, ...], appearances: tuple[Tensor, ...]) -> Tensor:
        """Return past motions, attended to by the likeness of appearances (eq. 2, 3), fused with the last (eq. 4)."""
        last = motions[-1]
        if self.reach == 1:
            return last
        asked = self.likeness(appearance).to(appearance).flatten(1)[:, :, None]
        likenesses = torch.bmm(torch.stack(appearances, dim=1).flatten(2), asked)[:, :, 0]
        weights = (likenesses.float() * appearance[0].numel() ** -0.5).softmax(dim=1).to(last)
        trend = torch.bmm(weights[:, None], torch.stack(motions, dim=1).flatten(2)).view_as(last)
        recalled: Tensor = trend + self.trust(last).sigmoid() * (last - trend)
        return recalled
