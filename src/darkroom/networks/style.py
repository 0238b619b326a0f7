"""Networks that give a picture a style: one network for one style, and a pair of them for any."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from darkroom.networks.initialisation import scaled
from darkroom.numbers import Count, Supplied


class Transformer(nn.Module):
    """A picture in, the same picture in the one style that was learnt out, of any size (Johnson et al. 2016).

    Two strided convolutions, residual blocks on maps of a quarter of the size, and back by enlarging and convolving,
    which leaves no checkerboard (Odena et al. 2016). Instance normalisation takes contrasts away, for the style's to
    take their place (Ulyanov et al. 2016); its statistics are those of the whole picture. The network says what is to
    be added to the picture, at first nothing: edges come for free, and minutes of training suffice.

        net = Transformer(channels=3)
        made = net(images)                  # (B, 3, H, W), of any H and W from 8 on
    """

    def __init__(self, channels: Supplied[int], width: Count = 16, blocks: Count = 5) -> None:
        """State the maps at full size, doubled at each of two halvings, and the residual blocks."""
        super().__init__()
        self.encoder = nn.Sequential(
            _Mirrored(channels, width, 9),
            _Mirrored(width, 2 * width, 3, stride=2),
            _Mirrored(2 * width, 4 * width, 3, stride=2),
        )
        self.blocks = nn.Sequential(*(_Block(4 * width) for _ in range(blocks)))
        self.decoder = nn.Sequential(
            nn.Upsample(scale_factor=2), _Mirrored(4 * width, 2 * width, 3),
            nn.Upsample(scale_factor=2), _Mirrored(2 * width, width, 3),
        )  # fmt: skip
        self.output = nn.Conv2d(width, channels, 9, padding=4, padding_mode="reflect")
        nn.init.zeros_(self.output.weight)
        nn.init.zeros_(self.output.bias)  # type: ignore[arg-type]  # it has one

    def forward(self, images: Tensor) -> Tensor:
        """Return images ``(B, C, H, W)`` in about [-1, 1]; sides may be no multiple of 4."""
        height, width = images.shape[2:]
        whole = F.pad(images, (0, -width % 4, 0, -height % 4), mode="replicate")
        maps = self.decoder(self.blocks(self.encoder(whole)))
        # From one end of the range to the other, and no further.
        added: Tensor = 2 * torch.tanh(self.output(maps).float())
        return images + added[:, :, :height, :width]


class _Mirrored(nn.Sequential):
    """A convolution over a mirrored frame, instance normalisation, and ReLU unless told otherwise."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, active: bool = True) -> None:
        convolution = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False, padding_mode="reflect")
        super().__init__(
            scaled(convolution, kernel**2 * inputs),
            nn.InstanceNorm2d(outputs, affine=True),
            nn.ReLU() if active else nn.Identity(),
        )


class _Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.change = nn.Sequential(_Mirrored(width, width, 3), _Mirrored(width, width, 3, active=False))

    def forward(self, maps: Tensor) -> Tensor:
        changed: Tensor = maps + self.change(maps)
        return changed


class StyleEncoder(nn.Module):
    """Plain convolutions whose maps are read at four depths: what they mean is the style, where, the content.

    After VGG, without its size: no residual connections, whose features tell styles apart badly (Wang et al. 2021), the
    mean where VGG takes the maximum, and mirrored frames (Huang & Belongie 2017). The fourth maps have a quarter of the
    picture's size.
    """

    def __init__(self, channels: int, width: int = 16) -> None:
        """State the maps at full size, doubled at each of two halvings."""
        super().__init__()
        widths = [width, 2 * width, 4 * width]
        self.widths = [*widths, widths[-1]]
        self.stages = nn.ModuleList(
            [
                nn.Sequential(_plain(channels, widths[0]), _plain(widths[0], widths[0])),
                nn.Sequential(nn.AvgPool2d(2), _plain(widths[0], widths[1]), _plain(widths[1], widths[1])),
                nn.Sequential(nn.AvgPool2d(2), _plain(widths[1], widths[2])),
                _plain(widths[2], widths[2]),
            ]
        )

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return the maps of each depth, the last ones those that a decoder starts from."""
        maps = images
        found = []
        for stage in self.stages:
            maps = stage(maps)
            found.append(maps)
        return found


class StyleDecoder(nn.Module):
    """The encoder's way back, by enlarging and convolving."""

    def __init__(self, channels: int, width: int = 16) -> None:
        """State the maps at full size, as the encoder has them."""
        super().__init__()
        self.layers = nn.Sequential(
            _plain(4 * width, 4 * width), _plain(4 * width, 2 * width),
            nn.Upsample(scale_factor=2), _plain(2 * width, 2 * width), _plain(2 * width, width),
            nn.Upsample(scale_factor=2), _plain(width, width),
            scaled(nn.Conv2d(width, channels, 3, padding=1, padding_mode="reflect"), 9 * width, gain=1.0),
        )  # fmt: skip

    def forward(self, maps: Tensor) -> Tensor:
        """Return images ``(B, C, H, W)`` for the encoder's last maps ``(B, 4 width, H/4, W/4)``."""
        images: Tensor = self.layers(maps).float()
        return images


def _plain(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        scaled(nn.Conv2d(inputs, outputs, 3, padding=1, padding_mode="reflect"), 9 * inputs), nn.ReLU()
    )


class StyleCoder(nn.Module):
    """Encoder and decoder in one: what is encoded is restyled by its statistics, and decoded."""

    def __init__(self, channels: Supplied[int], width: Count = 16) -> None:
        """State the maps at full size."""
        super().__init__()
        self.encoder, self.decoder = StyleEncoder(channels, width), StyleDecoder(channels, width)

    def forward(self, images: Tensor) -> Tensor:
        """Return the pictures as the decoder sees them, in their own style; sides are multiples of 4."""
        decoded: Tensor = self.decoder(self.encoder(images)[-1])
        return decoded


def statistics(maps: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and deviation of each map over its places, ``(B, C, 1, 1)``."""
    variance, mean = torch.var_mean(maps, dim=(2, 3), keepdim=True, correction=0)
    return mean, (variance + 1e-5).sqrt()


def adaptive(maps: Tensor, styles: Sequence[tuple[Tensor, Tensor]], weights: Sequence[float] = (1.0,)) -> Tensor:
    """Return maps with the mean and the deviation of a style, or of several, weighted (Huang & Belongie 2017, eq. 8).

    Styles are `statistics` of maps; the weighted sum of the maps restyled by each is a single restyling.
    """
    mean, deviation = statistics(maps)
    aim = torch.stack([weight * style[0] for weight, style in zip(weights, styles, strict=True)]).sum(dim=0)
    wanted = torch.stack([weight * style[1] for weight, style in zip(weights, styles, strict=True)]).sum(dim=0)
    return (maps - mean) / deviation * wanted + aim
