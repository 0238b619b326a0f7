"""How a condition speaks to a generator: at every stage, or to the latents."""

import torch.nn.functional as F
from torch import Tensor, nn


class Modulation(nn.Module):
    """A condition scales and shifts the channels of maps (FiLM: Perez et al. 2018); at first it changes nothing.

    Without a condition, for ``condition_dim=0``, maps pass through.

        modulation = Modulation(condition_dim=10, channels=64)
        maps = modulation(maps, condition)    # (B, 64, ...), (B, 10)  ->  (B, 64, ...)
    """

    def __init__(self, condition_dim: int, channels: int) -> None:
        super().__init__()
        self.amounts = nn.Linear(condition_dim, 2 * channels, bias=False) if condition_dim else None
        if self.amounts is not None:
            nn.init.zeros_(self.amounts.weight)

    def forward(self, maps: Tensor, condition: Tensor | None) -> Tensor:
        """Return the maps times one plus a gain, plus a shift."""
        if self.amounts is None:
            return maps
        amounts: Tensor = self.amounts(condition)
        gain, shift = amounts.reshape(*amounts.shape, *[1] * (maps.ndim - 2)).chunk(2, dim=1)
        return maps * (1 + gain) + shift


class Shift(nn.Module):
    """A condition moves the latents; without one, for ``condition_dim=0``, they stay.

    shift = Shift(condition_dim=10, latent_dim=64)
    latents = shift(latents, condition)    # (B, 64), (B, 10)  ->  (B, 64)
    """

    def __init__(self, condition_dim: int, latent_dim: int) -> None:
        super().__init__()
        self.weight = nn.Linear(condition_dim, latent_dim, bias=False).weight if condition_dim else None

    def forward(self, latents: Tensor, condition: Tensor | None) -> Tensor:
        """Return the latents, moved."""
        if self.weight is None:
            return latents
        assert condition is not None
        return latents + F.linear(condition, self.weight)
