"""Networks that enlarge pictures: they think at the size they are given, and rearrange channels into pixels last."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from darkroom.networks.initialisation import scaled
from darkroom.numbers import Count, Supplied


class SRVGG(nn.Module):
    """Plain 3x3 convolutions on the small picture, then sub-pixels: the compact network of Wang et al. 2021.

    Of Real-ESRGAN; sub-pixels after Shi et al. 2016. It says what a bicubic enlargement lacks, and at first says
    nothing. With a ``scale`` of 1 it repairs pictures at their size.

        net = SRVGG(channels=3, scale=4)
        large = net(small)                  # (B, 3, 4 H, 4 W), of any H and W
    """

    def __init__(
        self,
        channels: Supplied[int],
        channels_in: Supplied[int | None] = None,
        scale: Supplied[int] = 1,
        width: Count = 64,
        layers: Count = 10,
    ) -> None:
        """State the maps of each inner convolution and how many there are; ``channels_in`` as in `naf.NAF`."""
        super().__init__()
        self.channels, self.scale = channels, scale
        self.multiple, self.reach = 1, layers + 2
        channels_in = channels_in or channels
        parts: list[nn.Module] = [scaled(nn.Conv2d(channels_in, width, 3, padding=1), 9 * channels_in), nn.PReLU(width)]
        for _ in range(layers):
            parts += [scaled(nn.Conv2d(width, width, 3, padding=1), 9 * width), nn.PReLU(width)]
        last = scaled(nn.Conv2d(width, channels * scale**2, 3, padding=1), 9 * width, gain=0.0)
        self.layers = nn.Sequential(*parts, last)
        self.to(memory_format=torch.channels_last)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return pictures ``(B, channels, scale * H, scale * W)``, float32, for inputs ``(B, channels_in, H, W)``."""
        missing = self.layers(inputs.contiguous(memory_format=torch.channels_last)).float()
        large: Tensor = enlarged(inputs[:, : self.channels], self.scale) + F.pixel_shuffle(missing, self.scale)
        return large


class EDSR(nn.Module):
    """Residual blocks without normalisation on the small picture, then sub-pixels (Lim et al. 2017, the baseline).

    Twenty times the cost of `SRVGG`. It, too, adds to a bicubic enlargement, which the paper does not, and at first
    nothing: of a few minutes none goes into learning to enlarge at all.

        net = EDSR(channels=3, scale=4)
        large = net(small)                  # (B, 3, 4 H, 4 W), of any H and W
    """

    def __init__(
        self,
        channels: Supplied[int],
        channels_in: Supplied[int | None] = None,
        scale: Supplied[int] = 1,
        width: Count = 64,
        blocks: Count = 16,
    ) -> None:
        """State the maps, and the residual blocks of two convolutions; ``channels_in`` as in `naf.NAF`."""
        super().__init__()
        self.channels, self.scale = channels, scale
        self.multiple, self.reach = 1, 2 * blocks + 6
        channels_in = channels_in or channels
        self.first = scaled(nn.Conv2d(channels_in, width, 3, padding=1), 9 * channels_in, gain=1.0)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                scaled(nn.Conv2d(width, width, 3, padding=1), 9 * width),
                nn.ReLU(),
                scaled(nn.Conv2d(width, width, 3, padding=1), 9 * width, gain=0.1),
            )
            for _ in range(blocks)
        )
        self.after = scaled(nn.Conv2d(width, width, 3, padding=1), 9 * width, gain=1.0)
        steps: list[nn.Module] = []
        for factor in {1: [], 2: [2], 3: [3], 4: [2, 2]}[scale]:
            steps += [
                scaled(nn.Conv2d(width, width * factor**2, 3, padding=1), 9 * width, gain=1.0),
                nn.PixelShuffle(factor),
            ]
        self.last = nn.Sequential(*steps, scaled(nn.Conv2d(width, channels, 3, padding=1), 9 * width, gain=0.0))
        self.to(memory_format=torch.channels_last)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return pictures ``(B, channels, scale * H, scale * W)``, float32, for inputs ``(B, channels_in, H, W)``."""
        start = self.first(inputs.contiguous(memory_format=torch.channels_last))
        maps = start
        for block in self.blocks:
            maps = maps + block(maps)
        missing = self.last(self.after(maps) + start).float()
        large: Tensor = enlarged(inputs[:, : self.channels], self.scale) + missing
        return large


def enlarged(images: Tensor, scale: int) -> Tensor:
    """Return images ``(B, C, H, W)`` of so many times the size, bicubic (Keys 1981, a = -0.5)."""
    if scale == 1:
        return images
    size = [scale * side for side in images.shape[2:]]
    return F.interpolate(images.float(), size=size, mode="bicubic", antialias=True)  # which has that a, unlike without
