"""The classifier of the textbooks."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from darkroom.numbers import BelowOne, Count, Supplied


class LeNet(nn.Module):
    """Three convolutions with pooling between them, a dense layer, a name: LeCun et al. 1998 as it is taught today.

    32, 64 and 64 channels of 3x3 without padding, ReLU, maximum pooling, 64 dense units. On 32x32 pictures the last
    maps are 4x4, on others they are averaged to that.

        net = LeNet(channels=3, classes=10)
        logits = net(images)            # images (B, C, H, W) in [-1, 1], H and W at least 18  ->  (B, 10)
        features = net.features(images)  # (B, 64), not negative
    """

    plain = True

    def __init__(
        self, channels: Supplied[int], classes: Supplied[int], feature_dim: Count = 64, dropout: BelowOne = 0.0
    ) -> None:
        super().__init__()
        self.convolutions = nn.Sequential(
            nn.Conv2d(channels, 32, 3),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(32, 64, 3),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(64, 64, 3),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(4),
            nn.Flatten(),
        )
        self.hidden = nn.Linear(64 * 16, feature_dim)
        self.dropout = dropout
        self.output = nn.Linear(feature_dim, classes)
        self.to(memory_format=torch.channels_last)  # twice as fast in bfloat16

    def features(self, images: Tensor) -> Tensor:
        """Return the activations under the last layer, ``(B, feature_dim)``."""
        return F.relu(self.hidden(self.convolutions(images.contiguous(memory_format=torch.channels_last))))

    def forward(self, images: Tensor) -> Tensor:
        """Return class logits, ``(B, classes)``."""
        logits: Tensor = self.output(F.dropout(self.features(images), self.dropout, self.training))
        return logits
