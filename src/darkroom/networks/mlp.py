"""Fully connected generator and discriminator: the first ones of the field, and the cheapest."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn


def _layers(inputs: int, widths: Sequence[int]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for outputs in widths:
        layers += [nn.Linear(inputs, outputs), nn.LeakyReLU(0.2)]
        inputs = outputs
    return nn.Sequential(*layers)


class MlpGenerator(nn.Module):
    """Draw a picture from a latent vector with three layers of growing width (Goodfellow et al. 2014).

    net = MlpGenerator(latent_dim=64, image_shape=(1, 28, 28), classes=10)
    images = net(torch.randn(8, 64), torch.arange(8))   # (8, 1, 28, 28) in [-1, 1]
    """

    def __init__(
        self, latent_dim: int, image_shape: Sequence[int], classes: int = 0, widths: Sequence[int] = (128, 256, 512)
    ) -> None:
        super().__init__()
        self.image_shape = tuple(image_shape)
        self.class_shift = nn.Embedding(classes, latent_dim) if classes else None
        self.hidden = _layers(latent_dim, widths)
        self.output = nn.Linear(widths[-1], math.prod(self.image_shape))

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return images ``(B, C, H, W)`` in [-1, 1] for latents ``(B, latent_dim)`` and, if conditional, labels."""
        if self.class_shift is not None:
            latents = latents + self.class_shift(labels)
        return torch.tanh(self.output(self.hidden(latents))).reshape(-1, *self.image_shape)


class MlpDiscriminator(nn.Module):
    """Tell real from drawn with three layers of shrinking width; classes by projection (Miyato & Koyama 2018).

    net = MlpDiscriminator(image_shape=(1, 28, 28), classes=10)
    logits = net(images, labels)    # (B,)
    """

    def __init__(self, image_shape: Sequence[int], classes: int = 0, widths: Sequence[int] = (512, 256, 128)) -> None:
        super().__init__()
        self.hidden = _layers(math.prod(image_shape), widths)
        self.output = nn.Linear(widths[-1], 1)
        self.classes = nn.Embedding(classes, widths[-1]) if classes else None

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return one logit an image, ``(B,)``; large means real."""
        features = self.hidden(images.flatten(1))
        logits: Tensor = self.output(features).squeeze(1)
        if self.classes is not None:
            logits = logits + (self.classes(labels) * features).sum(dim=1) / math.sqrt(features.shape[1])
        return logits
