"""Encoders and decoders between a picture and a grid of vectors, each of which stands for one place.

Convolutions all the way: what a vector says concerns its surroundings only, and any size of picture will do.
"""

import itertools
from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from darkroom.networks.coder import Residual
from darkroom.networks.initialisation import scaled
from darkroom.networks.pyramid import doubled, sizes
from darkroom.networks.resizing import doubling, halving
from darkroom.numbers import Count, Supplied, Whole


class MapEncoder(nn.Module):
    """Strided convolutions, then residual blocks at the size of the grid (van den Oord et al. 2017, section 4.1).

    net = MapEncoder(image_shape=(1, 28, 28), outputs=32)
    maps = net(images)                      # (B, 32, 7, 7), of images (B, 1, 28, 28) in [-1, 1]
    """

    def __init__(
        self,
        image_shape: Supplied[Sequence[int]],
        outputs: Supplied[int],
        halvings: Supplied[int] = 2,
        width: Count = 32,
        blocks: Whole = 2,
    ) -> None:
        """State the channels at half size, doubled at each halving up to four times; and residual blocks."""
        super().__init__()
        channels, *_ = image_shape
        *larger, self.size = sizes(image_shape, "an encoder", halvings)
        layers: list[nn.Module] = []
        for wide, size in zip(doubled(width, halvings, most=4), larger, strict=True):
            layers += [*halving(channels, wide, size), nn.SiLU()]
            channels = wide
        layers += [*(Residual(channels, 0) for _ in range(blocks)), nn.SiLU()]
        self.convolutions = nn.Sequential(*layers)
        self.output = scaled(nn.Conv2d(channels, outputs, 1), channels, gain=1.0)

    def forward(self, images: Tensor) -> Tensor:
        """Return maps ``(B, outputs, h, w)`` for images ``(B, C, H, W)``."""
        maps: Tensor = self.output(self.convolutions(images))
        return maps


class MapDecoder(nn.Module):
    """Residual blocks at the size of the grid, then transposed convolutions up to full size.

    net = MapDecoder(latent_dim=32, image_shape=(1, 28, 28), outputs=1)
    maps = net(torch.randn(8, 32, 7, 7))    # (8, 1, 28, 28)
    """

    def __init__(
        self,
        latent_dim: Supplied[int],
        image_shape: Supplied[Sequence[int]],
        outputs: Supplied[int],
        halvings: Supplied[int] = 2,
        width: Count = 32,
        blocks: Whole = 2,
    ) -> None:
        """State the channels at half size, doubled at each halving up to four times; and residual blocks."""
        super().__init__()
        *larger, self.size = sizes(image_shape, "a decoder", halvings)
        self.sizes = larger[::-1]
        widths = doubled(width, halvings, most=4)[::-1]
        self.stem = scaled(nn.Conv2d(latent_dim, widths[0], 3, padding=1), 9 * latent_dim)
        self.blocks = nn.Sequential(*(Residual(widths[0], 0) for _ in range(blocks)))
        self.convolutions = nn.ModuleList(doubling(inputs, wide) for inputs, wide in itertools.pairwise(widths))
        self.convolutions.append(doubling(widths[-1], outputs, gain=1.0))

    def forward(self, maps: Tensor) -> Tensor:
        """Return maps ``(B, outputs, H, W)`` for maps ``(B, latent_dim, h, w)``."""
        maps = self.blocks(self.stem(maps))
        for enlarge, (height, width) in zip(self.convolutions, self.sizes, strict=True):
            maps = enlarge(F.silu(maps))[:, :, :height, :width]
        return maps
