"""A network that looks at all of a picture, but small, and says how its brightness and colours are to be changed."""

import math
from collections.abc import Callable
from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from darkroom.errors import UserError
from darkroom.networks.statements import stated
from darkroom.numbers import Count, Range, Supplied

CLIPPED = 0.01  # share of the pixels that may be darker than black, and as many brighter than white
QUANTILES = 16  # levels that say how brightness is spread
FLATTEST = 2 / 255  # what reaches over less is not stretched further
STEEP = 4.0  # how steep a curve is that is shown as 1, as white is


class Tone(nn.Module):
    """A curve for each channel, then a mix of the channels, chosen for each picture by a network that sees all of it.

    What was lost with the light is the same everywhere in a picture and can only be told from all of it, so that
    deciding and doing are apart, as in HDRNet (Gharbi et al. 2017): a few convolutions and the levels of a copy of
    ``side`` pixels a side decide, whatever the size of the picture; a curve of straight pieces and a matrix do it to
    each pixel. Before anything is learned each channel is stretched from black to white, which is auto-levels. What
    happens at one place, noise above all, is left to ``refine``, a network that looks at little, such as `NAF`.

        net = Tone(channels=3)
        restored = net(faded)                           # (B, 3, H, W), in [-1, 1] or a little beyond
        settings = net.look(faded)                      # (B, net.settings): of the whole,
        part = net(faded[:, :, :64, :64], settings)     # so that parts of it match
    """

    def __init__(
        self,
        channels: Supplied[int],
        channels_in: Supplied[int | None] = None,
        scale: Supplied[int] = 1,
        width: Count = 16,
        knots: Count = 8,
        side: Annotated[int, Range(16)] = 64,
        refine: Callable[..., nn.Module] | None = None,
    ) -> None:
        """State the shape.

        Args:
            channels: of a picture; the first ones of what the network is given.
            channels_in: of what the network is given: the picture, then what ``refine`` is to know of each pixel.
            scale: how many times larger the answer is, which is for ``refine`` to make it.
            width: maps of the first convolution that looks; each further one has twice as many, of half the size.
            knots: straight pieces of a curve.
            side: pixels of the small copy, 16 or more.
            refine: a network ``(channels, channels_in, scale)`` that is given the picture once its tones are right, and
                how steep each channel's curve is there, as a share of `STEEP`: so much has its noise grown.

        Raises:
            UserError: ``scale`` or more than the picture is given, and nothing refines.
        """
        super().__init__()
        if refine is None and (scale != 1 or channels_in not in (None, channels)):
            raise UserError(
                "The tones of a picture are all that this network changes, and it is to do more: type"
                " network@model.network.refine=naf, or choose another network."
            )
        self.channels, self.knots, self.side = channels, knots, side
        self.settings = channels * (4 + knots + channels)
        stages: list[nn.Module] = []
        maps_in = channels
        for stage in range(4):
            maps = width * 2**stage
            stages += [
                nn.Conv2d(maps_in, maps, 3, stride=2, padding=1),
                nn.GroupNorm(math.gcd(4, maps), maps),
                nn.SiLU(),
            ]
            maps_in = maps
        self.views = nn.Sequential(*stages)
        self.decide = nn.Sequential(
            nn.Linear(2 * maps_in + channels * QUANTILES + 2 * channels, 128),
            nn.SiLU(),
            nn.Linear(128, 128),
            nn.SiLU(),
            nn.Linear(128, channels * (2 + knots + channels)),
        )
        nn.init.zeros_(self.decide[-1].weight)  # type: ignore[arg-type]
        nn.init.zeros_(self.decide[-1].bias)  # type: ignore[arg-type]
        extra = (channels_in or channels) - channels
        self.refine = refine(channels=channels, channels_in=2 * channels + extra, scale=scale) if refine else None
        self.multiple = int(stated(self.refine, "multiple", 1))
        self.reach = stated(self.refine, "reach", 32) if self.refine else 0

    def look(self, pictures: Tensor) -> Tensor:
        """Return what is to be done to pictures ``(B, C, H, W)``, ``(B, settings)``, float32."""
        small = F.adaptive_avg_pool2d(pictures.float(), self.side)
        ordered = small.flatten(2).sort(dim=2).values
        last = ordered.shape[2] - 1
        low, high = (ordered[:, :, round(share * last)] for share in (CLIPPED, 1 - CLIPPED))
        spread = (high - low).clamp(min=FLATTEST)
        low = (low + high - spread) / 2  # what is flat becomes grey, and not black
        places = torch.linspace(0, last, QUANTILES + 2).round().long()[1:-1].tolist()
        shown = 2 * (small - low[:, :, None, None]) / spread[:, :, None, None] - 1
        levels = 2 * (ordered[:, :, places] - low[:, :, None]) / spread[:, :, None] - 1
        views = self.views(shown.clamp(-2, 2)).float()
        told = [views.mean(dim=(2, 3)), views.amax(dim=(2, 3)), levels.flatten(1), low, spread.log()]
        return torch.cat([low, spread, self.decide(torch.cat(told, dim=1)).float()], dim=1)

    def forward(self, inputs: Tensor, settings: Tensor | None = None) -> Tensor:
        """Return pictures ``(B, channels, scale * H, scale * W)``, float32, for inputs ``(B, channels_in, H, W)``.

        ``settings`` ``(B, settings)`` are those of the pictures of which these are parts; by default of themselves.
        """
        pictures = inputs[:, : self.channels].float()
        settings = self.look(pictures) if settings is None else settings.to(pictures)
        sizes = [self.channels] * 4 + [self.channels * self.knots, self.channels**2]
        low, spread, black, white, curve, mix = torch.split(settings, sizes, dim=1)
        rises = curve.view(-1, self.channels, self.knots).softmax(dim=2) * (2 + white - black)[:, :, None]
        levels = (pictures - low[:, :, None, None]) / spread[:, :, None, None] * self.knots
        toned = (black - 1)[:, :, None, None].expand_as(pictures)
        slope = torch.zeros_like(pictures)
        for knot in range(self.knots):
            rise = rises[:, :, knot, None, None]
            first, last = knot == 0, knot == self.knots - 1  # beyond black and white the curve goes on straight
            least, most = levels.new_tensor(-torch.inf if first else 0), levels.new_tensor(torch.inf if last else 1)
            piece = levels - knot
            toned = toned + rise * piece.clamp(least, most)
            if self.refine is not None:
                slope = slope + rise * ((piece >= least) & (piece < most))
        mixing = mix.view(-1, self.channels, self.channels) + torch.eye(self.channels, device=mix.device)
        with torch.autocast(pictures.device.type, enabled=False):  # whose rounding would show in smooth skies
            toned = (mixing @ toned.flatten(2)).view(pictures.shape)
        if self.refine is None:
            return toned
        steep = slope * (self.knots / spread)[:, :, None, None] / STEEP
        restored: Tensor = self.refine(torch.cat([toned, steep, inputs[:, self.channels :].float()], dim=1))
        return restored
