"""The plain U-shaped network."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from darkroom.networks.enlarging import enlarged
from darkroom.networks.initialisation import scaled
from darkroom.numbers import Count, Supplied


class UNet(nn.Module):
    """Down to coarse maps and up again, with what was seen on the way down beside (Ronneberger et al. 2015).

    Two 3x3 convolutions a scale, max pooling, and a picture that is added to, at first nothing; padded, so that sizes
    are kept.

        net = UNet(channels=3)
        restored = net(damaged)             # (B, 3, H, W); sides a multiple of net.multiple
    """

    def __init__(
        self,
        channels: Supplied[int],
        channels_in: Supplied[int | None] = None,
        scale: Supplied[int] = 1,
        widths: Sequence[Count] = (32, 64, 128, 256),
    ) -> None:
        """State the maps at each scale, from the finest; ``channels_in`` and ``scale`` as in `naf.NAF`."""
        super().__init__()
        self.channels, self.scale = channels, scale
        self.multiple, self.reach = 2 ** (len(widths) - 1), 6 * 2 ** (len(widths) - 1)
        inputs = [channels_in or channels, *widths]
        self.down = nn.ModuleList(_twice(before, width) for before, width in zip(inputs, widths, strict=False))
        coarser = list(zip(widths[1:], widths, strict=False))[::-1]
        self.up = nn.ModuleList(nn.ConvTranspose2d(width, finer, 2, stride=2) for width, finer in coarser)
        self.beside = nn.ModuleList(_twice(2 * finer, finer) for _, finer in coarser)
        self.last = scaled(nn.Conv2d(widths[0], channels * scale**2, 3, padding=1), 9 * widths[0], gain=0.0)
        self.to(memory_format=torch.channels_last)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return pictures ``(B, channels, scale * H, scale * W)``, float32, for inputs ``(B, channels_in, H, W)``."""
        maps = inputs.contiguous(memory_format=torch.channels_last)
        kept: list[Tensor] = []
        for number, look in enumerate(self.down):
            maps = look(F.max_pool2d(maps, 2) if number else maps)
            kept.append(maps)
        for up, look, fine in zip(self.up, self.beside, kept[-2::-1], strict=True):
            maps = look(torch.cat([up(maps), fine], dim=1))
        added = F.pixel_shuffle(self.last(maps).float(), self.scale)
        restored: Tensor = enlarged(inputs[:, : self.channels], self.scale) + added
        return restored


def _twice(before: int, width: int) -> nn.Sequential:
    """Return two convolutions with an activation behind each."""
    return nn.Sequential(
        scaled(nn.Conv2d(before, width, 3, padding=1), 9 * before),
        nn.ReLU(),
        scaled(nn.Conv2d(width, width, 3, padding=1), 9 * width),
        nn.ReLU(),
    )
