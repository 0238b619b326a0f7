"""What every discriminator ends with."""

import math
from abc import abstractmethod

from torch import Tensor, nn

from darkroom.networks import normalization


class Projection(nn.Module):
    """Features and a condition become one number: a linear layer plus an inner product (Miyato & Koyama 2018, eq. 3).

    judge = Projection(features=256, condition_dim=10)
    logits = judge(features, condition)            # (B, 256), (B, 10)  ->  (B,)
    table = judge.under_each(features, condition)  # (B, 256), (K, 10)  ->  (B, K)
    """

    def __init__(self, features: int, condition_dim: int = 0, spectral: bool = False) -> None:
        """State the sizes, and whether the weights are divided by their largest singular value."""
        super().__init__()
        self.output = _narrow(nn.Linear(features, 1), features, spectral)
        nn.init.zeros_(self.output.bias)
        self.directions = None
        if condition_dim:
            self.directions = _narrow(nn.Linear(condition_dim, features, bias=False), features, spectral)

    def forward(self, features: Tensor, condition: Tensor | None = None) -> Tensor:
        """Return one logit an image, ``(B,)``; large means real."""
        logits: Tensor = self.output(features).squeeze(1)
        if self.directions is not None:
            logits = logits + (self.directions(condition) * features).sum(dim=1)
        return logits

    def under_each(self, features: Tensor, conditions: Tensor) -> Tensor:
        """Return the logit of every image under every one of K conditions, ``(B, K)``."""
        logits: Tensor = self.output(features)
        if self.directions is not None:
            logits = logits + features @ self.directions(conditions).T
        return logits.expand(-1, len(conditions))


class Discriminator(nn.Module):
    """Features of a picture, and a ``judge`` that makes one number of them and a condition."""

    judge: Projection

    @abstractmethod
    def features(self, images: Tensor) -> Tensor:
        """Return what the judgement of images ``(B, C, H, W)`` rests on, ``(B, F)``."""

    def forward(self, images: Tensor, condition: Tensor | None = None) -> Tensor:
        """Return one logit an image, ``(B,)``; large means real."""
        logits: Tensor = self.judge(self.features(images), condition)
        return logits


def _narrow(layer: nn.Linear, features: int, spectral: bool) -> nn.Linear:
    nn.init.normal_(layer.weight, std=1 / math.sqrt(features))
    return normalization.of_weights("spectral" if spectral else "none", layer)
