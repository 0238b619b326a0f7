"""Encoders and decoders: from a picture to a few numbers, and back.

An encoder returns as many numbers as asked for, a decoder as many maps of the picture's size; what they mean, means and
variances of latents, pixel values or logits, is for the model to say.
"""

import itertools
import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from darkroom.networks.initialisation import scaled
from darkroom.networks.modulation import Modulation, Shift
from darkroom.networks.pyramid import doubled, sizes
from darkroom.networks.resizing import doubling, halving
from darkroom.numbers import Count, Supplied, Whole


class MlpEncoder(nn.Module):
    """Look at all pixels at once, with one hidden layer or more (Kingma & Welling 2014).

    net = MlpEncoder(image_shape=(1, 28, 28), outputs=32)
    codes = net(images)                     # (B, 32), of images (B, 1, 28, 28) in [-1, 1]
    """

    def __init__(
        self,
        image_shape: Supplied[Sequence[int]],
        outputs: Supplied[int],
        condition_dim: Supplied[int] = 0,
        widths: Sequence[Count] = (256,),
    ) -> None:
        super().__init__()
        self.hidden = _layers(math.prod(image_shape) + condition_dim, widths)
        self.output = scaled(nn.Linear(widths[-1], outputs), widths[-1], gain=1.0)

    def forward(self, images: Tensor, condition: Tensor | None = None) -> Tensor:
        """Return ``(B, outputs)`` numbers for images ``(B, C, H, W)`` under conditions ``(B, D)``."""
        flat = images.flatten(1)
        given = flat if condition is None else torch.cat([flat, condition], dim=1)
        codes: Tensor = self.output(self.hidden(given))
        return codes


class MlpDecoder(nn.Module):
    """Say something of every pixel at once, with one hidden layer or more (Kingma & Welling 2014).

    net = MlpDecoder(latent_dim=16, image_shape=(1, 28, 28), outputs=1)
    maps = net(torch.randn(8, 16))          # (8, 1, 28, 28)
    """

    def __init__(
        self,
        latent_dim: Supplied[int],
        image_shape: Supplied[Sequence[int]],
        outputs: Supplied[int],
        condition_dim: Supplied[int] = 0,
        widths: Sequence[Count] = (256,),
    ) -> None:
        super().__init__()
        self.size = (outputs, *image_shape[1:])
        self.hidden = _layers(latent_dim + condition_dim, widths)
        self.output = scaled(nn.Linear(widths[-1], math.prod(self.size)), widths[-1], gain=1.0)

    def forward(self, latents: Tensor, condition: Tensor | None = None) -> Tensor:
        """Return ``(B, outputs, H, W)`` maps for latents ``(B, latent_dim)`` under conditions ``(B, D)``."""
        given = latents if condition is None else torch.cat([latents, condition], dim=1)
        maps: Tensor = self.output(self.hidden(given)).unflatten(1, self.size)
        return maps


def _layers(inputs: int, widths: Sequence[int]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for outputs in widths:
        layers += [scaled(nn.Linear(inputs, outputs), inputs), nn.SiLU()]
        inputs = outputs
    return nn.Sequential(*layers)


class ConvEncoder(nn.Module):
    """Strided convolutions down to a few pixels, then a hidden layer.

    net = ConvEncoder(image_shape=(1, 28, 28), outputs=32)
    codes = net(images)                     # (B, 32), of images (B, 1, 28, 28) in [-1, 1]
    """

    def __init__(
        self,
        image_shape: Supplied[Sequence[int]],
        outputs: Supplied[int],
        condition_dim: Supplied[int] = 0,
        width: Count = 32,
        blocks: Whole = 0,
        hidden: Count = 256,
    ) -> None:
        """State the channels at half size, doubled at each halving up to four times; and residual blocks a stage."""
        super().__init__()
        channels, *_ = image_shape
        sides = sizes(image_shape, "an encoder")
        layers: list[nn.Module] = []
        for wide, size in zip(doubled(width, len(sides) - 1, most=4), sides, strict=False):
            layers += [*halving(channels, wide, size), nn.SiLU(), *(Residual(wide, 0) for _ in range(blocks))]
            channels = wide
        self.convolutions = nn.Sequential(*layers)
        pixels = channels * math.prod(sides[-1])
        self.shift = Shift(condition_dim, hidden)
        self.hidden = scaled(nn.Linear(pixels, hidden), pixels)
        self.output = scaled(nn.Linear(hidden, outputs), hidden, gain=1.0)

    def forward(self, images: Tensor, condition: Tensor | None = None) -> Tensor:
        """Return ``(B, outputs)`` numbers for images ``(B, C, H, W)`` under conditions ``(B, D)``."""
        hidden = self.shift(self.hidden(self.convolutions(images).flatten(1)), condition)
        codes: Tensor = self.output(F.silu(hidden))
        return codes


class ConvDecoder(nn.Module):
    """A hidden layer, then transposed convolutions up to full size; a condition modulates every stage.

    net = ConvDecoder(latent_dim=16, image_shape=(1, 28, 28), outputs=1)
    maps = net(torch.randn(8, 16))          # (8, 1, 28, 28)
    """

    def __init__(
        self,
        latent_dim: Supplied[int],
        image_shape: Supplied[Sequence[int]],
        outputs: Supplied[int],
        condition_dim: Supplied[int] = 0,
        width: Count = 32,
        blocks: Whole = 0,
        hidden: Count = 256,
    ) -> None:
        """State the channels at half size, doubled at each halving up to four times; and residual blocks a stage."""
        super().__init__()
        *larger, self.base = sizes(image_shape, "a decoder")
        self.sizes = larger[::-1]
        widths = doubled(width, len(larger), most=4)[::-1]
        pixels = math.prod(self.base)
        self.shift = Shift(condition_dim, hidden)
        self.hidden = scaled(nn.Linear(latent_dim, hidden), latent_dim)
        self.stem = scaled(nn.Linear(hidden, widths[0] * pixels), hidden)
        self.deep = blocks
        self.blocks = nn.ModuleList(Residual(wide, condition_dim) for wide in widths for _ in range(blocks))
        self.modulations = nn.ModuleList(Modulation(condition_dim, wide) for wide in widths)
        self.convolutions = nn.ModuleList(doubling(inputs, wide) for inputs, wide in itertools.pairwise(widths))
        self.output = doubling(widths[-1], outputs, gain=1.0)

    def forward(self, latents: Tensor, condition: Tensor | None = None) -> Tensor:
        """Return ``(B, outputs, H, W)`` maps for latents ``(B, latent_dim)`` under conditions ``(B, D)``."""
        hidden = F.silu(self.shift(self.hidden(latents), condition))
        maps = self.stem(hidden).unflatten(1, (-1, *self.base))
        for stage, (height, width) in enumerate(self.sizes):
            maps = F.silu(self.modulations[stage](maps, condition))
            for block in self.blocks[stage * self.deep : (stage + 1) * self.deep]:
                maps = block(maps, condition)
            enlarge = self.convolutions[stage] if stage < len(self.convolutions) else self.output
            maps = enlarge(maps)[:, :, :height, :width]
        full: Tensor = maps
        return full


class Residual(nn.Module):
    """Two 3x3 convolutions that add to their maps, at first nothing (Zhang et al. 2019, Fixup)."""

    def __init__(self, channels: int, condition_dim: int) -> None:
        super().__init__()
        self.first = scaled(nn.Conv2d(channels, channels, 3, padding=1), 9 * channels)
        self.modulation = Modulation(condition_dim, channels)
        self.second = scaled(nn.Conv2d(channels, channels, 3, padding=1), 9 * channels, gain=0.0)

    def forward(self, maps: Tensor, condition: Tensor | None = None) -> Tensor:
        """Return the maps ``(B, C, H, W)``, changed."""
        inner = F.silu(self.modulation(self.first(F.silu(maps)), condition))
        changed: Tensor = maps + self.second(inner)
        return changed
