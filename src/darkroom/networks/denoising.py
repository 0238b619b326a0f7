"""Networks that repair a picture of any size: maps in, maps out, nothing that knows how large it is."""

import torch.nn.functional as F
from torch import Tensor, nn

from darkroom.errors import UserError
from darkroom.networks.coder import Residual
from darkroom.networks.initialisation import scaled
from darkroom.numbers import Count, Supplied


class DenoisingAutoencoder(nn.Module):
    """Encode a damaged picture as maps of half its size, decode a whole one from them (Vincent et al. 2008).

    The maps hold more numbers than the picture, and what they may not do is copy it: the noise would come along. Two by
    two pixels become channels first, so that every convolution looks twice as far at a quarter of the cost (Zhang et
    al. 2018, FFDNet). With ``residual`` the decoder says what the damage is, and the picture less that is the answer
    (Zhang et al. 2017, DnCNN); at first it says that there is none.

        net = DenoisingAutoencoder(channels=3)
        restored = net(damaged)             # (B, 3, H, W), of any H and W
    """

    def __init__(
        self,
        channels: Supplied[int],
        channels_in: Supplied[int | None] = None,
        scale: Supplied[int] = 1,
        width: Count = 48,
        blocks: Count = 4,
        residual: bool = True,
    ) -> None:
        """State the maps of the code, and the residual blocks on either side of it.

        ``channels_in`` are the channels of what it is given, the picture first.

        Raises:
            UserError: it is to enlarge.
        """
        super().__init__()
        if scale > 1:
            raise UserError("denoising_autoencoder enlarges nothing: type network@model.network=srvgg, edsr or naf.")
        self.channels, self.residual = channels, residual
        self.multiple, self.reach = 1, 2 * (4 * blocks + 2) + 1
        channels_in = channels_in or channels
        self.encoder = nn.Sequential(
            nn.PixelUnshuffle(2),
            scaled(nn.Conv2d(4 * channels_in, width, 3, padding=1), 36 * channels_in, gain=1.0),
            *(Residual(width, 0) for _ in range(blocks)),
        )
        last = scaled(nn.Conv2d(width, 4 * channels, 3, padding=1), 9 * width, gain=1.0)
        if residual:
            nn.init.zeros_(last.weight)
        self.decoder = nn.Sequential(*(Residual(width, 0) for _ in range(blocks)), nn.SiLU(), last, nn.PixelShuffle(2))

    def encode(self, images: Tensor) -> Tensor:
        """Return the code ``(B, width, H/2, W/2)`` of images whose sides are even."""
        codes: Tensor = self.encoder(images)
        return codes

    def forward(self, images: Tensor) -> Tensor:
        """Return whole images ``(B, C, H, W)`` for what it is given; one of odd sides is mirrored by a pixel."""
        height, width = images.shape[2:]
        even = F.pad(images, (0, width % 2, 0, height % 2), mode="replicate")
        decoded: Tensor = self.decoder(self.encode(even)).float()
        whole = even[:, : self.channels] - decoded if self.residual else decoded
        return whole[:, :, :height, :width]
