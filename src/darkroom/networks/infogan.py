"""The generator and discriminator of the comparison "Are GANs Created Equal?"."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from darkroom.networks.initialisation import scaled
from darkroom.networks.modulation import Modulation, Shift
from darkroom.networks.normalization import OfEither, OfMaps, of_maps, of_weights, refuse_unknown
from darkroom.networks.projection import Discriminator, Projection
from darkroom.networks.pyramid import sizes
from darkroom.networks.resizing import doubling
from darkroom.numbers import Count, Supplied


class InfoganGenerator(nn.Module):
    """Draw a picture from a latent vector: two linear layers up to a quarter of its size, two transposed convolutions.

    The network of InfoGAN (Chen et al. 2016, appendix C.1), on which Lucic et al. 2018 compared losses. Most weights
    are those from ``hidden_dim`` to the maps at a quarter of the size: 6.4 million at 28 pixels, 134 million at 128. A
    condition, if any, moves the latent vector, and scales and shifts the channels of every layer.

    With its discriminator about 140 images/s per core, 235 in bfloat16 (training step with R1 and R2, 28x28
    grey, batch 64; AVX-512 core).

        net = InfoganGenerator(latent_dim=64, image_shape=(1, 28, 28), condition_dim=10)
        images = net(torch.randn(8, 64), torch.eye(10)[:8])   # (8, 1, 28, 28) in [-1, 1]
    """

    def __init__(
        self,
        latent_dim: Supplied[int],
        image_shape: Supplied[Sequence[int]],
        condition_dim: Supplied[int] = 0,
        width: Count = 64,
        hidden_dim: Count = 1024,
        normalization: OfMaps = "batch",
    ) -> None:
        """State the channels at half size, doubled at a quarter, and the outputs of the first linear layer."""
        super().__init__()
        refuse_unknown(normalization, OfMaps, "the generator of infogan")
        self.sizes = sizes(image_shape, "infogan", halvings=2)
        pixels = self.sizes[2][0] * self.sizes[2][1]
        bias = normalization == "none"
        self.shift = Shift(condition_dim, latent_dim)
        self.stem = scaled(nn.Linear(latent_dim, hidden_dim, bias=bias), latent_dim, gain=1.0)
        self.unfolding = scaled(nn.Linear(hidden_dim, 2 * width * pixels, bias=bias), hidden_dim)
        self.deconvolution = doubling(2 * width, width, bias=bias)
        channels = (hidden_dim, 2 * width, width)
        self.norms = nn.ModuleList(of_maps(normalization, count) for count in channels)
        self.modulations = nn.ModuleList(Modulation(condition_dim, count) for count in channels)
        self.output = doubling(width, image_shape[0])

    def forward(self, latents: Tensor, condition: Tensor | None = None) -> Tensor:
        """Return images ``(B, C, H, W)`` in [-1, 1] for latents ``(B, latent_dim)`` under conditions ``(B, D)``."""
        latents = self.shift(latents, condition)
        (height, width), (half_height, half_width), quarter = self.sizes
        hidden = self._activated(self.stem(latents), 0, condition)
        maps = self._activated(self.unfolding(hidden).unflatten(1, (-1, *quarter)), 1, condition)
        maps = self.deconvolution(maps)[:, :, :half_height, :half_width]
        return torch.tanh(self.output(self._activated(maps, 2, condition)))[:, :, :height, :width]

    def _activated(self, maps: Tensor, layer: int, condition: Tensor | None) -> Tensor:
        return F.relu(self.modulations[layer](self.norms[layer](maps), condition))


class InfoganDiscriminator(Discriminator):
    """Tell real from drawn: two convolutions down to a quarter of the size, two linear layers.

    The network of InfoGAN (Chen et al. 2016, appendix C.1) as Lucic et al. 2018 used it. A condition, if any, is judged
    by projection (Miyato & Koyama 2018).

    With its generator about 140 images/s per core, 235 in bfloat16 (training step with R1 and R2, 28x28
    grey, batch 64; AVX-512 core).

        net = InfoganDiscriminator(image_shape=(1, 28, 28), condition_dim=10)
        logits = net(images, torch.eye(10)[labels])    # (B,)
    """

    def __init__(
        self,
        image_shape: Supplied[Sequence[int]],
        condition_dim: Supplied[int] = 0,
        width: Count = 64,
        feature_dim: Count = 1024,
        normalization: OfEither = "none",
    ) -> None:
        """State the channels at half size, doubled at a quarter, and the outputs of the first linear layer."""
        super().__init__()
        refuse_unknown(normalization, OfEither, "the discriminator of infogan")
        _, height, image_width = image_shape
        sizes(image_shape, "infogan", halvings=2)
        bias = normalization != "batch"
        pixels = (height // 4) * (image_width // 4)
        first = nn.Conv2d(image_shape[0], width, 4, stride=2, padding=1)
        second = nn.Conv2d(width, 2 * width, 4, stride=2, padding=1, bias=bias)
        hidden = nn.Linear(2 * width * pixels, feature_dim, bias=bias)
        self.layers = nn.Sequential(
            # The first layer is not normalised by the batch: it could not see how bright a picture is.
            of_weights(normalization, scaled(first, 16 * image_shape[0])),
            nn.LeakyReLU(0.2),
            of_weights(normalization, scaled(second, 16 * width)),
            of_maps(normalization, 2 * width),
            nn.LeakyReLU(0.2),
            nn.Flatten(),
            of_weights(normalization, scaled(hidden, 2 * width * pixels)),
            of_maps(normalization, feature_dim),
            nn.LeakyReLU(0.2),
        )
        self.judge = Projection(feature_dim, condition_dim, spectral=normalization == "spectral")

    def features(self, images: Tensor) -> Tensor:
        """Return what the judgement rests on, ``(B, feature_dim)``."""
        features: Tensor = self.layers(images)
        return features
