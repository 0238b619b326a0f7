"""Convolutional generator and discriminator for small pictures of any size."""

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


def _initialised(layer: nn.Module, gain: float = math.sqrt(2)) -> nn.Module:
    """Return the layer with weights that keep the variance of activations (He et al. 2015) and no bias."""
    assert isinstance(layer, nn.Conv2d | nn.Linear)
    fan_in = layer.weight[0].numel()
    nn.init.normal_(layer.weight, std=gain / math.sqrt(fan_in))
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


class DcganGenerator(nn.Module):
    """Draw a picture from a latent vector: a linear layer, then doubling and convolving up to full size.

    Nearest-neighbour doubling and 3x3 convolutions instead of the paper's transposed ones, which leave checkerboards
    (Radford et al. 2016; Odena et al. 2016). A class, if any, scales the channels of every stage.

        net = DcganGenerator(latent_dim=64, image_shape=(1, 28, 28), classes=10)
        images = net(torch.randn(8, 64), torch.arange(8))   # (8, 1, 28, 28) in [-1, 1]
    """

    def __init__(
        self,
        latent_dim: int,
        image_shape: Sequence[int],
        classes: int = 0,
        width: int = 32,
        normalization: Normalization = "none",
    ) -> None:
        super().__init__()
        channels, self.height, self.width = image_shape
        doublings = stages(min(self.height, self.width))
        self.base = (math.ceil(self.height / 2**doublings), math.ceil(self.width / 2**doublings))
        widths = [width * 2 ** min(doublings - index, 3) for index in range(doublings + 1)]
        self.stem = _initialised(nn.Linear(latent_dim, widths[0] * self.base[0] * self.base[1]), gain=1.0)
        self.stem_norm = _norm(normalization, widths[0])
        self.convolutions = nn.ModuleList(
            _initialised(nn.Conv2d(inputs, outputs, 3, padding=1, bias=normalization == "none"))
            for inputs, outputs in zip(widths, widths[1:], strict=False)
        )
        self.norms = nn.ModuleList(_norm(normalization, outputs) for outputs in widths[1:])
        self.gains = nn.ModuleList(_silent(classes, outputs) for outputs in widths) if classes else None
        self.class_shift = nn.Embedding(classes, latent_dim) if classes else None
        self.output = _initialised(nn.Conv2d(widths[-1], channels, 3, padding=1), gain=1.0)

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return images ``(B, C, H, W)`` in [-1, 1] for latents ``(B, latent_dim)`` and labels ``(B,)`` if conditional."""
        if self.class_shift is not None:
            latents = latents + self.class_shift(labels)
        maps = self.stem(latents).unflatten(1, (-1, *self.base))
        maps = F.leaky_relu(self._scaled(self.stem_norm(maps), 0, labels), 0.2)
        for index, (convolution, norm) in enumerate(zip(self.convolutions, self.norms, strict=True)):
            maps = convolution(F.interpolate(maps, scale_factor=2, mode="nearest"))
            maps = F.leaky_relu(self._scaled(norm(maps), index + 1, labels), 0.2)
        return torch.tanh(self.output(maps))[:, :, : self.height, : self.width]

    def _scaled(self, maps: Tensor, stage: int, labels: Tensor | None) -> Tensor:
        if self.gains is None:
            return maps
        gain: Tensor = self.gains[stage](labels)
        return maps * (1 + gain)[:, :, None, None]


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
        width: int = 32,
        normalization: Normalization = "none",
        feature_dim: int = 256,
    ) -> None:
        super().__init__()
        channels, height, image_width = image_shape
        halvings = stages(min(height, image_width))
        layers: list[nn.Module] = [_initialised(nn.Conv2d(channels, width, 3, padding=1)), nn.LeakyReLU(0.2)]
        inputs = width
        for index in range(halvings):
            outputs = width * 2 ** min(index + 1, 3)
            layers += [
                _initialised(nn.Conv2d(inputs, outputs, 4, stride=2, padding=1, bias=normalization == "none")),
                _norm(normalization, outputs),
                nn.LeakyReLU(0.2),
            ]
            height, image_width, inputs = height // 2, image_width // 2, outputs
        self.convolutions = nn.Sequential(*layers)
        self.hidden = _initialised(nn.Linear(inputs * height * image_width, feature_dim))
        self.output = _initialised(nn.Linear(feature_dim, 1), gain=1.0)
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


def _silent(classes: int, width: int) -> nn.Embedding:
    """Return an embedding that starts at zero: at first every class is treated alike."""
    embedding = nn.Embedding(classes, width)
    nn.init.zeros_(embedding.weight)
    return embedding


def _norm(kind: Normalization, channels: int) -> nn.Module:
    return nn.BatchNorm2d(channels) if kind == "batch" else nn.Identity()
