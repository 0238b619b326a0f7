"""A discriminator that judges places, not pictures."""

import torch.nn.functional as F
from torch import Tensor, nn

from darkroom.networks.initialisation import scaled
from darkroom.numbers import Count, Supplied


class PatchGan(nn.Module):
    """Say of every place whether what is around it is real (Isola et al. 2017): textures, not what they make up.

    net = PatchGan(channels=3)
    logits = net(images)                # (B, 1, H/4, W/4) of H, W that are multiples of 4
    """

    def __init__(self, channels: Supplied[int], width: Count = 32, layers: Count = 2) -> None:
        """State the maps at half size, doubled at each halving up to eight times, and how many halvings."""
        super().__init__()
        stages: list[nn.Module] = []
        inputs = channels
        for layer in range(layers):
            outputs = width * min(2**layer, 8)
            stages += [scaled(nn.Conv2d(inputs, outputs, 4, stride=2, padding=1), 16 * inputs)]
            # The first goes without: normalised, it could not see how bright a picture is.
            stages += [nn.InstanceNorm2d(outputs)] if layer else []
            stages += [nn.LeakyReLU(0.2)]
            inputs = outputs
        outputs = width * min(2**layers, 8)
        self.stages = nn.Sequential(*stages, scaled(nn.Conv2d(inputs, outputs, 3, padding=1), 9 * inputs))
        self.judge = scaled(nn.Conv2d(outputs, 1, 3, padding=1), 9 * outputs, gain=1.0)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits, one for each place."""
        logits: Tensor = self.judge(F.leaky_relu(self.stages(images), 0.2)).float()
        return logits
