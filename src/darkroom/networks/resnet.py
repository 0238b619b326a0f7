"""Residual classifiers for small pictures."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from darkroom.numbers import Count, Supplied


class ResNet(nn.Module):
    """The residual network for 32x32 pictures of He et al. 2016, section 4.2: ResNet-20 with three blocks a stage.

    Three stages of ``blocks`` blocks with 16, 32 and 64 channels, each of two 3x3 convolutions with batch
    normalisation; shortcuts without weights (option A: every second pixel, the missing channels zero). 6 blocks + 2
    layers: 3 blocks make ResNet-20 with 0.27 million weights, 5 ResNet-32, 9 ResNet-56.

        net = ResNet(channels=3, classes=10)
        logits = net(images)            # images (B, C, H, W) in [-1, 1], any size  ->  (B, 10)
        features = net.features(images)  # (B, 64), not negative
    """

    plain = False

    def __init__(self, channels: Supplied[int], classes: Supplied[int], blocks: Count = 3, width: Count = 16) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width))
        stages: list[nn.Module] = []
        inputs = width
        for outputs in (width, 2 * width, 4 * width):
            for _ in range(blocks):
                stages.append(Block(inputs, outputs))
                inputs = outputs
        self.blocks = nn.Sequential(*stages)
        self.output = nn.Linear(inputs, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        self.to(memory_format=torch.channels_last)  # a quarter faster

    def features(self, images: Tensor) -> Tensor:
        """Return the averaged last maps, ``(B, 4 * width)``."""
        maps: Tensor = self.blocks(F.relu(self.first(images.contiguous(memory_format=torch.channels_last))))
        return maps.mean(dim=(2, 3))

    def forward(self, images: Tensor) -> Tensor:
        """Return class logits, ``(B, classes)``."""
        logits: Tensor = self.output(self.features(images))
        return logits


class Block(nn.Module):
    """Two convolutions and the way around them; more channels than before mean half the pixels."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.stride = 1 if inputs == outputs else 2
        self.added = outputs - inputs
        self.layers = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride=self.stride, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
            nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
        )

    def forward(self, maps: Tensor) -> Tensor:
        """Return maps of half the side when the channels double, else of the same shape."""
        around = maps[:, :, :: self.stride, :: self.stride]
        return F.relu(F.pad(around, (0, 0, 0, 0, 0, self.added)) + self.layers(maps))
