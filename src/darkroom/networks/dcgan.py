"""Convolutional generator and discriminator for small pictures of any size."""

import itertools
import math
from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from darkroom.errors import UserError

Normalization = Literal["none", "batch"]


def stages(size: int) -> int:
    """Return how often a picture of ``size`` pixels is halved on the way to 4 to 7 pixels."""
    if size < 8:
        raise UserError(
            f"Pictures of {size} pixels are too small for dcgan, which needs 8: type data.image_size=8 or more."
        )
    return int(math.log2(size / 4))


class DcganGenerator(nn.Module):
    """Draw a picture from a latent vector: a linear layer, then transposed convolutions up to full size.

    4x4 kernels at stride 2, whose even overlap leaves no checkerboard (Radford et al. 2016; Odena et al. 2016). Almost
    all of the work is done at half size and below, which is what makes it fast on a processor. A class, if any, moves
    the latent vector and scales the channels of every stage.

        net = DcganGenerator(latent_dim=64, image_shape=(1, 28, 28), classes=10)
        images = net(torch.randn(8, 64), torch.arange(8))   # (8, 1, 28, 28) in [-1, 1]
    """

    def __init__(
        self,
        latent_dim: int,
        image_shape: Sequence[int],
        classes: int = 0,
        width: int = 64,
        normalization: Normalization = "none",
    ) -> None:
        super().__init__()
        channels, self.height, self.width = image_shape
        doublings = stages(min(self.height, self.width))
        self.base = (math.ceil(self.height / 2**doublings), math.ceil(self.width / 2**doublings))
        widths = _widths(width, doublings)[::-1]
        self.stem = _initialised(nn.Linear(latent_dim, widths[0] * self.base[0] * self.base[1]), latent_dim, gain=1.0)
        bias = normalization == "none"
        self.convolutions = nn.ModuleList(
            # Every output pixel of a 4x4 kernel at stride 2 is a sum over 2x2 input pixels.
            _initialised(nn.ConvTranspose2d(inputs, outputs, 4, stride=2, padding=1, bias=bias), 4 * inputs)
            for inputs, outputs in itertools.pairwise(widths)
        )
        self.norms = nn.ModuleList(_norm(normalization, outputs) for outputs in widths)
        self.gains = nn.ModuleList(_silent(classes, outputs) for outputs in widths) if classes else None
        self.class_shift = nn.Embedding(classes, latent_dim) if classes else None
        last = nn.ConvTranspose2d(widths[-1], channels, 4, stride=2, padding=1)
        self.output = _initialised(last, 4 * widths[-1], gain=1.0)

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return images ``(B, C, H, W)`` in [-1, 1] for latents ``(B, latent_dim)`` and, if conditional, labels."""
        if self.class_shift is not None:
            latents = latents + self.class_shift(labels)
        maps = self._activated(self.stem(latents).unflatten(1, (-1, *self.base)), 0, labels)
        for stage, convolution in enumerate(self.convolutions, start=1):
            maps = self._activated(convolution(maps), stage, labels)
        return torch.tanh(self.output(maps))[:, :, : self.height, : self.width]

    def _activated(self, maps: Tensor, stage: int, labels: Tensor | None) -> Tensor:
        maps = self.norms[stage](maps)
        if self.gains is not None:
            gain: Tensor = self.gains[stage](labels)
            maps = maps * (1 + gain)[:, :, None, None]
        return F.leaky_relu(maps, 0.2)


class DcganDiscriminator(nn.Module):
    """Tell real from drawn: strided convolutions down to a few pixels, then one number.

    A class, if any, is judged by projection: the features' inner product with a vector of that class is added to the
    logit (Miyato & Koyama 2018).

        net = DcganDiscriminator(image_shape=(1, 28, 28), classes=10)
        logits = net(images, labels)    # (B,)
    """

    def __init__(
        self,
        image_shape: Sequence[int],
        classes: int = 0,
        width: int = 64,
        normalization: Normalization = "none",
        feature_dim: int = 256,
    ) -> None:
        super().__init__()
        channels, height, image_width = image_shape
        halvings = stages(min(height, image_width))
        layers: list[nn.Module] = []
        inputs = channels
        for outputs in _widths(width, halvings):
            # The first layer goes without: normalised, it could not see how bright a picture is.
            kind: Normalization = normalization if layers else "none"
            convolution = nn.Conv2d(inputs, outputs, 4, stride=2, padding=1, bias=kind == "none")
            layers += [_initialised(convolution, 16 * inputs), _norm(kind, outputs), nn.LeakyReLU(0.2)]
            height, image_width, inputs = height // 2, image_width // 2, outputs
        self.convolutions = nn.Sequential(*layers)
        pixels = inputs * height * image_width
        self.hidden = _initialised(nn.Linear(pixels, feature_dim), pixels)
        self.output = _initialised(nn.Linear(feature_dim, 1), feature_dim, gain=1.0)
        self.classes = nn.Embedding(classes, feature_dim) if classes else None
        if self.classes is not None:
            nn.init.normal_(self.classes.weight, std=1 / math.sqrt(feature_dim))

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return one logit an image, ``(B,)``; large means real."""
        features = F.leaky_relu(self.hidden(self.convolutions(images).flatten(1)), 0.2)
        logits: Tensor = self.output(features).squeeze(1)
        if self.classes is not None:
            logits = logits + (self.classes(labels) * features).sum(dim=1)
        return logits


def _widths(width: int, count: int) -> list[int]:
    """Return the channels of each stage, the one at half size first: doubling, up to eight times."""
    return [width * 2 ** min(index, 3) for index in range(count)]


def _initialised(layer: nn.Module, summands: int, gain: float = math.sqrt(2)) -> nn.Module:
    """Return the layer with weights that keep the variance of sums of that many activations (He et al. 2015)."""
    assert isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear)
    nn.init.normal_(layer.weight, std=gain / math.sqrt(summands))
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def _silent(classes: int, width: int) -> nn.Embedding:
    """Return an embedding that starts at zero: at first every class is treated alike."""
    embedding = nn.Embedding(classes, width)
    nn.init.zeros_(embedding.weight)
    return embedding


def _norm(kind: Normalization, channels: int) -> nn.Module:
    return nn.BatchNorm2d(channels) if kind == "batch" else nn.Identity()
