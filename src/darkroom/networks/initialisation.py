"""Weights to start from."""

import math
from typing import TypeVar

from torch import nn

Layer = TypeVar("Layer", nn.Linear, nn.Conv2d, nn.ConvTranspose2d)


def scaled(layer: Layer, summands: int, gain: float = math.sqrt(2)) -> Layer:
    """Return the layer with weights that keep the variance of sums of that many activations (He et al. 2015).

    The gain makes up for what the activation before it took: sqrt(2) for one that is zero on half the line.
    """
    nn.init.normal_(layer.weight, std=gain / math.sqrt(summands))
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer
