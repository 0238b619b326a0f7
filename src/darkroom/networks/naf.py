"""A network without activation functions, for repairing pictures: products of maps do what activations do elsewhere."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from darkroom.networks.enlarging import enlarged
from darkroom.numbers import Count, Supplied, Whole


class NAF(nn.Module):
    """A U-shaped network of blocks whose only nonlinearity is a product (Chen et al. 2022, NAFNet).

    It says what the damage is, the picture less that is the answer, and at first says that there is none. Maps are kept
    channels last and normalised over channels in place, which doubles the speed on a processor; with ``unshuffle`` 2 by
    2 pixels become channels first, which doubles it again (Zhang et al. 2018, FFDNet).

    Gates look at the mean of each channel. A mean over a whole photograph is not what it was over a patch, so that
    pictures larger than ``window`` are averaged around each place instead (Chu et al. 2022, TLC).

        net = NAF(channels=3)
        restored = net(damaged)             # (B, 3, H, W); sides a multiple of net.multiple
        net = NAF(channels=3, channels_in=4)
        restored = net(torch.cat([damaged, level], dim=1))
    """

    def __init__(
        self,
        channels: Supplied[int],
        channels_in: Supplied[int | None] = None,
        scale: Supplied[int] = 1,
        width: Count = 16,
        encoder: Sequence[int] = (1, 1, 1, 1),
        middle: Whole = 1,
        decoder: Sequence[int] = (1, 1, 1, 1),
        unshuffle: Count = 1,
        window: Count | None = 64,
    ) -> None:
        """State the shape.

        Args:
            channels: of a picture; the first ones of what the network is given.
            channels_in: of what the network is given: the picture, then whatever else is known of each pixel.
            scale: how many times larger the answer is.
            width: maps at the first scale; each scale further down has twice as many, of half the size.
            encoder: blocks at each scale on the way down.
            middle: blocks at the smallest scale.
            decoder: blocks at each scale on the way up.
            unshuffle: pixels a side that become channels first.
            window: pixels a side that a gate's mean is taken over, the size of patches in training; None: all.
        """
        super().__init__()
        channels_in = channels_in or channels
        self.channels, self.scale, self.unshuffle, self.window = channels, scale, unshuffle, window
        self.multiple = unshuffle * 2 ** len(encoder)
        self.reach = 64 if window else None
        self.first = nn.Conv2d(channels_in * unshuffle**2, width, 3, padding=1)
        self.encoder, self.down = nn.ModuleList(), nn.ModuleList()
        self.up, self.decoder = nn.ModuleList(), nn.ModuleList()
        for blocks in encoder:
            self.encoder.append(nn.ModuleList(Block(width) for _ in range(blocks)))
            self.down.append(nn.Conv2d(width, 2 * width, 2, stride=2))
            width *= 2
        self.middle = nn.ModuleList(Block(width) for _ in range(middle))
        for blocks in decoder:
            self.up.append(nn.Sequential(nn.Conv2d(width, 2 * width, 1, bias=False), nn.PixelShuffle(2)))
            width //= 2
            self.decoder.append(nn.ModuleList(Block(width) for _ in range(blocks)))
        self.last = nn.Conv2d(width, channels * (unshuffle * scale) ** 2, 3, padding=1)
        nn.init.zeros_(self.last.weight)
        assert self.last.bias is not None
        nn.init.zeros_(self.last.bias)
        self.to(memory_format=torch.channels_last)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return pictures ``(B, channels, scale * H, scale * W)``, float32, for inputs ``(B, channels_in, H, W)``."""
        damaged = inputs[:, : self.channels]
        if self.unshuffle > 1:
            inputs = F.pixel_unshuffle(inputs, self.unshuffle)
        window = self.window // self.unshuffle if self.window else None
        maps = self.first(inputs.contiguous(memory_format=torch.channels_last))
        kept = []
        for blocks, down in zip(self.encoder, self.down, strict=True):
            for block in blocks:  # type: ignore[attr-defined]
                maps = block(maps, window)
            kept.append(maps)
            maps, window = down(maps), window and window // 2
        for block in self.middle:
            maps = block(maps, window)
        for blocks, up, beside in zip(self.decoder, self.up, reversed(kept), strict=True):
            maps, window = up(maps) + beside, window and window * 2
            for block in blocks:  # type: ignore[attr-defined]
                maps = block(maps, window)
        damage = self.last(maps).float()
        if self.unshuffle * self.scale > 1:
            damage = F.pixel_shuffle(damage, self.unshuffle * self.scale)
        restored: Tensor = enlarged(damaged, self.scale) + damage
        return restored


class Block(nn.Module):
    """Look around, then think: a depthwise convolution and a gate, then a gate alone (Chen et al. 2022, figure 3c).

    Both halves add to their maps, at first nothing.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.around = nn.LayerNorm(width, eps=1e-6)
        self.spread = nn.Conv2d(width, 2 * width, 1)
        self.look = nn.Conv2d(2 * width, 2 * width, 3, padding=1, groups=2 * width)
        self.attend = nn.Conv2d(width, width, 1)
        self.gather = nn.Conv2d(width, width, 1)
        self.within = nn.LayerNorm(width, eps=1e-6)
        self.think = nn.Conv2d(width, 2 * width, 1)
        self.conclude = nn.Conv2d(width, width, 1)
        self.beta = nn.Parameter(torch.zeros(1, width, 1, 1))
        self.gamma = nn.Parameter(torch.zeros(1, width, 1, 1))

    def forward(self, maps: Tensor, window: int | None) -> Tensor:
        """Return the maps ``(B, C, H, W)``, changed; means are taken over a square of ``window`` pixels a side."""
        gated = _gate(self.look(self.spread(_normalised(maps, self.around))))
        seen = self.gather(gated * self.attend(local_mean(gated, window)))
        maps = maps + seen * self.beta
        changed: Tensor = maps + self.conclude(_gate(self.think(_normalised(maps, self.within)))) * self.gamma
        return changed


def _gate(maps: Tensor) -> Tensor:
    """Return one half of the channels times the other."""
    one, other = maps.chunk(2, dim=1)
    return one * other


def _normalised(maps: Tensor, norm: nn.Module) -> Tensor:
    """Return the maps normalised over channels at each place; channels last, this moves no memory."""
    normalised: Tensor = norm(maps.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
    return normalised


def local_mean(maps: Tensor, window: int | None) -> Tensor:
    """Return the mean of each channel over the square of ``window`` pixels a side about each place, inside the maps.

    ``(B, C, 1, 1)``, the mean of all, where the maps are no larger; else the size of the maps (Chu et al. 2022): near
    an edge the square is moved inwards. Sums of rows, then of columns, so that a large window costs what a small does.
    """
    for dim in (2, 3):
        side = maps.shape[dim]
        if window is None or side <= window:
            maps = maps.mean(dim=dim, keepdim=True)
            continue
        sums = F.pad(maps.float().cumsum(dim=dim), (1, 0) if dim == 3 else (0, 0, 1, 0))
        means = (sums.narrow(dim, window, side - window + 1) - sums.narrow(dim, 0, side - window + 1)) / window
        before = (window - 1) // 2
        places = (torch.arange(side, device=maps.device) - before).clamp(0, side - window)
        maps = means.index_select(dim, places).to(maps.dtype)
    return maps
