"""A plain convolutional classifier: no residuals, no batch statistics, so that its features are easy to trust."""

import torch.nn.functional as F
from torch import Tensor, nn

from darkroom.numbers import BelowOne, Count, Supplied


class ConvNet(nn.Module):
    """Look at a picture three times, each time coarser, then name it.

    Three stages of two 3x3 convolutions, each stage halving the picture, global average pooling, one hidden layer whose
    activations are the features, one linear layer to the classes. Group normalisation makes the output of an image
    independent of its batch.

        net = ConvNet(channels=1, classes=10)
        logits = net(images)            # images (B, C, H, W) in [-1, 1], H and W at least 8  ->  (B, 10)
        features = net.features(images)  # (B, 64), not negative
    """

    plain = True

    def __init__(
        self,
        channels: Supplied[int],
        classes: Supplied[int],
        width: Count = 16,
        feature_dim: Count = 64,
        dropout: BelowOne = 0.0,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        inputs = channels
        for outputs in (width, 2 * width, 4 * width):
            for _ in range(2):
                layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.GroupNorm(4, outputs), nn.ReLU()]
                inputs = outputs
            layers.append(nn.MaxPool2d(2))
        self.convolutions = nn.Sequential(*layers)
        self.hidden = nn.Linear(4 * width, feature_dim)
        self.dropout = dropout
        self.output = nn.Linear(feature_dim, classes)

    def features(self, images: Tensor) -> Tensor:
        """Return the activations under the last layer, ``(B, feature_dim)``."""
        maps = self.convolutions(images)
        return F.relu(self.hidden(maps.mean(dim=(2, 3))))

    def forward(self, images: Tensor) -> Tensor:
        """Return class logits, ``(B, classes)``."""
        logits: Tensor = self.output(F.dropout(self.features(images), self.dropout, self.training))
        return logits
