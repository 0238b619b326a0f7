"""The network that made learned denoising usual, as a row to compare with."""

from typing import Annotated

import torch
from torch import Tensor, nn

from darkroom.errors import UserError
from darkroom.networks.initialisation import scaled
from darkroom.numbers import Count, Range, Supplied


class DnCNN(nn.Module):
    """Plain 3x3 convolutions with batch normalisation that say what the damage is (Zhang et al. 2017).

    Every map has the size of the picture, which is what makes it slow: some thirty times the multiply-adds of `NAF`.

        net = DnCNN(channels=3)
        restored = net(damaged)             # (B, 3, H, W), of any H and W
    """

    def __init__(
        self,
        channels: Supplied[int],
        channels_in: Supplied[int | None] = None,
        scale: Supplied[int] = 1,
        width: Count = 64,
        layers: Annotated[int, Range(3)] = 17,
    ) -> None:
        """State the maps of each convolution and how many there are; ``channels_in`` as in `NAF`.

        Raises:
            UserError: it is to enlarge.
        """
        super().__init__()
        if scale > 1:
            raise UserError("dncnn enlarges nothing: type network@model.network=srvgg, edsr or naf.")
        self.channels = channels
        self.multiple, self.reach = 1, layers
        channels_in = channels_in or channels
        parts: list[nn.Module] = [scaled(nn.Conv2d(channels_in, width, 3, padding=1), 9 * channels_in), nn.ReLU()]
        for _ in range(layers - 2):
            parts += [
                scaled(nn.Conv2d(width, width, 3, padding=1, bias=False), 9 * width),
                nn.BatchNorm2d(width),
                nn.ReLU(),
            ]
        last = nn.Conv2d(width, channels, 3, padding=1)
        nn.init.zeros_(last.weight)
        assert last.bias is not None
        nn.init.zeros_(last.bias)
        self.layers = nn.Sequential(*parts, last)
        self.to(memory_format=torch.channels_last)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return pictures ``(B, channels, H, W)``, float32, for damaged ones ``(B, channels_in, H, W)``."""
        damage: Tensor = self.layers(inputs.contiguous(memory_format=torch.channels_last)).float()
        return inputs[:, : self.channels] - damage
