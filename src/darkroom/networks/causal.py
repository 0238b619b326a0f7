"""What autoregressive networks over grids are made of: layers that see only what stands before a place."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from darkroom.networks.initialisation import scaled

FEATURES = 8  # of a code, at most
ROWS, COLUMNS = 2, 3  # axes of maps (B, C, H, W)


class Codes(nn.Module):
    """Codes as vectors: cosines of ever higher frequency, so that near levels begin alike and all begin apart.

    None of them is the zero that stands for what is outside.
    """

    def __init__(self, codes: int) -> None:
        super().__init__()
        self.features = min(codes - 1, FEATURES)
        frequencies = torch.arange(1, self.features + 1) * math.pi
        self.vectors = nn.Parameter(torch.cos(torch.linspace(0, 1, codes)[:, None] * frequencies))

    def forward(self, grids: Tensor) -> Tensor:
        """Return the vectors of codes ``(B, h, w)`` as maps ``(B, features, h, w)``."""
        return F.embedding(grids, self.vectors).permute(0, 3, 1, 2)


class Causal(nn.Module):
    """A convolution that sees nothing after a line: rows from above with what is beside them, or a row from the left.

    A line is a row where the kernel is higher than one, and a column of a single row where it is not. It may be fed all
    lines at once, or a window: the last ``reach`` of them.
    """

    def __init__(self, inputs: int, outputs: int, kernel: tuple[int, int], gain: float = 1.0) -> None:
        super().__init__()
        self.axis = ROWS if kernel[0] > 1 else COLUMNS
        self.reach = kernel[self.axis - ROWS]
        self.beside = kernel[1] // 2 if self.axis == ROWS else 0
        self.conv = scaled(nn.Conv2d(inputs, outputs, kernel), inputs * kernel[0] * kernel[1], gain)

    def forward(self, maps: Tensor, strict: bool = False) -> Tensor:
        """Return what each line makes of itself and those before it or, when ``strict``, of those before it alone."""
        before = (self.reach, -1) if strict else (self.reach - 1, 0)
        sides = (self.beside, self.beside, *before) if self.axis == ROWS else (*before, 0, 0)
        made: Tensor = self.conv(F.pad(maps, sides))
        return made

    def line(self, window: Tensor) -> Tensor:
        """Return what the line after a window, or its last one, is told."""
        made: Tensor = self.conv(F.pad(window, (self.beside, self.beside)))
        return made

    def window(self, count: int, length: int) -> Tensor:
        """Return a window of lines of so many places, with nothing in it."""
        shape = (self.reach, length) if self.axis == ROWS else (length, self.reach)
        return self.conv.weight.new_zeros(count, self.conv.in_channels, *shape)

    def pushed(self, window: Tensor, line: Tensor) -> Tensor:
        """Return the window one line further on."""
        return torch.cat([window.narrow(self.axis, 1, self.reach - 1), line], dim=self.axis)


class Output(nn.Sequential):
    """What is said of each place, ``(B, K, h, w)`` of maps ``(B, C, h, w)``."""

    def __init__(self, width: int, codes: int) -> None:
        super().__init__(
            nn.SiLU(),
            scaled(nn.Conv2d(width, width, 1), width),
            nn.SiLU(),
            scaled(nn.Conv2d(width, codes, 1), width, gain=0.1),
        )
