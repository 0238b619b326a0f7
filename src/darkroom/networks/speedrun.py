"""The classifier for people in a hurry."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from darkroom.numbers import Count, Positive, Supplied


class Speedrun(nn.Module):
    """A plain network arranged so that it learns in few passes, after Jordan 2024 (94% on CIFAR-10 in seconds).

    A 2x2 convolution that whitens patches of pixels and is computed from training pictures instead of learned
    (``whiten``), then three groups of two 3x3 convolutions, each group halving the picture; batch normalisation without
    scales; convolutions that start as the identity; a linear layer whose logits start small.

        net = Speedrun(channels=1, classes=10)
        net.whiten(training_images)      # once, before the first step
        logits = net(images)             # images (B, C, H, W) in [-1, 1], H and W at least 18  ->  (B, 10)
        features = net.features(images)  # (B, widths[-1])
    """

    plain = True

    def __init__(
        self,
        channels: Supplied[int],
        classes: Supplied[int],
        widths: Sequence[Count] = (64, 256, 256),
        temperature: Positive = 9.0,
    ) -> None:
        """State the channels of the three groups, and by what logits are divided so that training starts calmly."""
        super().__init__()
        patch = 4 * channels
        # Each direction of the patches and its negative: after an activation that halves the line, nothing is lost.
        self.whitening = nn.Conv2d(channels, 2 * patch, 2)
        self.whitening.weight.requires_grad_(False)
        groups: list[nn.Module] = [nn.GELU()]
        inputs = 2 * patch
        for outputs in widths:
            groups.append(Group(inputs, outputs))
            inputs = outputs
        self.groups = nn.Sequential(*groups)
        self.output = nn.Linear(inputs, classes, bias=False)
        self.temperature = temperature
        self.to(memory_format=torch.channels_last)  # twice as fast in bfloat16

    @torch.no_grad()
    def whiten(self, images: Tensor, floor: float = 5e-4) -> None:
        """Set the first layer so that patches of these pictures come out uncorrelated and of unit variance.

        ``images`` are ``(N, C, H, W)`` in [-1, 1]; some thousands suffice. Directions in which patches hardly vary are
        amplified as if their variance were ``floor``. (Jordan 2024, section 3.2, after Page 2019.)
        """
        channels = images.shape[1]
        patches = F.unfold(images, 2).transpose(1, 2).reshape(-1, 4 * channels).double()
        patches = patches - patches.mean(dim=0)
        covariance = patches.T @ patches / len(patches)
        variances, directions = torch.linalg.eigh(covariance)
        filters = (directions / (variances + floor).sqrt()).T.flip(0).float().reshape(-1, channels, 2, 2)
        self.whitening.weight.copy_(torch.cat([filters, -filters]))
        assert self.whitening.bias is not None
        self.whitening.bias.zero_()

    def features(self, images: Tensor) -> Tensor:
        """Return the largest activation of each last map, ``(B, widths[-1])``."""
        maps: Tensor = self.groups(self.whitening(images.contiguous(memory_format=torch.channels_last)))
        return maps.amax(dim=(2, 3))

    def forward(self, images: Tensor) -> Tensor:
        """Return class logits, ``(B, classes)``."""
        logits: Tensor = self.output(self.features(images)) / self.temperature
        return logits


class Group(nn.Module):
    """Two 3x3 convolutions; the picture is halved between the first and its normalisation."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
            nn.MaxPool2d(2),
            _normalization(outputs),
            nn.GELU(),
            nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
            _normalization(outputs),
            nn.GELU(),
        )
        for module in self.layers:
            if isinstance(module, nn.Conv2d):
                # What comes in goes out again on the first channels; the rest starts at random.
                nn.init.dirac_(module.weight[: min(module.in_channels, module.out_channels)])

    def forward(self, maps: Tensor) -> Tensor:
        """Return maps of half the side."""
        halved: Tensor = self.layers(maps)
        return halved


def _normalization(channels: int) -> nn.BatchNorm2d:
    """Return batch normalisation with a fixed scale, whose memory is a few batches long."""
    layer = nn.BatchNorm2d(channels, momentum=0.4)
    layer.weight.requires_grad_(False)
    return layer
