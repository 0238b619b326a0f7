"""What a picture shows, attribute by attribute."""

from collections.abc import Mapping

import torch.nn.functional as F
from torch import Tensor, nn


class Reader(nn.Module):
    """Look at a picture at full size, then three times coarser, and name each of its attributes.

    The last maps are not averaged over the picture: what is where remains known.

        net = Reader(image_shape=(3, 32, 32), attributes={"shape": 6, "colour": 8})
        logits = net(images)     # {"shape": (B, 6), "colour": (B, 8)} of images (B, C, H, W) in [-1, 1]
    """

    def __init__(
        self, image_shape: tuple[int, int, int], attributes: Mapping[str, int], width: int = 32, feature_dim: int = 256
    ) -> None:
        """State how many values each attribute has; height and width must be 8 or more."""
        super().__init__()
        channels, height, image_width = image_shape
        layers: list[nn.Module] = [nn.Conv2d(channels, width, 3, padding=1), nn.GroupNorm(4, width), nn.ReLU()]
        inputs = width
        for outputs in (2 * width, 4 * width, 4 * width):
            layers += [nn.Conv2d(inputs, outputs, 4, stride=2, padding=1), nn.GroupNorm(4, outputs), nn.ReLU()]
            height, image_width, inputs = height // 2, image_width // 2, outputs
        self.convolutions = nn.Sequential(*layers)
        self.hidden = nn.Linear(inputs * height * image_width, feature_dim)
        self.sizes = dict(attributes)
        self.output = nn.Linear(feature_dim, sum(self.sizes.values()))

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Return logits by attribute."""
        features = F.relu(self.hidden(self.convolutions(images).flatten(1)))
        parts = self.output(features).split(list(self.sizes.values()), dim=1)
        return dict(zip(self.sizes, parts, strict=True))
