"""Convolutions that halve maps and double them."""

import math

from torch import nn

from darkroom.networks.initialisation import scaled
from darkroom.networks.pyramid import Size


def halving(inputs: int, outputs: int, size: Size) -> list[nn.Module]:
    """Return layers from maps of a ``(height, width)`` to those of half of it, rounded up."""
    height, width = size
    padding = nn.ZeroPad2d((0, width % 2, 0, height % 2))
    return [padding, scaled(nn.Conv2d(inputs, outputs, 4, stride=2, padding=1), 16 * inputs)]


def doubling(inputs: int, outputs: int, gain: float = math.sqrt(2), bias: bool = True) -> nn.ConvTranspose2d:
    """Return the layer from maps to those of twice the size.

    4x4 kernels at stride 2, whose even overlap leaves no checkerboard (Odena et al. 2016).
    """
    # Every output pixel is a sum over 2x2 input pixels.
    return scaled(nn.ConvTranspose2d(inputs, outputs, 4, stride=2, padding=1, bias=bias), 4 * inputs, gain)
