"""Distributions of latents: the standard normal one, and invertible networks that make another of it."""

import math

import torch
from torch import Tensor, nn

from darkroom.networks.initialisation import scaled
from darkroom.numbers import Count, Supplied

REACH = 2.0  # no step stretches by more than e to the power of this


class StandardNormal(nn.Module):
    """Independent numbers of mean 0 and variance 1, whatever the condition."""

    def __init__(self, dim: Supplied[int], condition_dim: Supplied[int] = 0) -> None:
        super().__init__()

    def forward(self, normals: Tensor, condition: Tensor | None = None) -> Tensor:
        """Return the numbers as they are."""
        return normals

    def log_prob(self, latents: Tensor, condition: Tensor | None = None) -> Tensor:
        """Return the log-density of latents ``(B, dim)``: nats ``(B,)``."""
        return -0.5 * (latents.square() + math.log(2 * math.pi)).sum(dim=1)


class Coupling(nn.Module):
    """Half of the numbers decide how the other half is stretched and shifted (Dinh et al. 2017, eq. 7 and 8)."""

    def __init__(self, dim: int, condition_dim: int, width: int) -> None:
        super().__init__()
        self.kept = dim - dim // 2
        self.amounts = nn.Sequential(
            scaled(nn.Linear(self.kept + condition_dim, width), self.kept + condition_dim),
            nn.SiLU(),
            scaled(nn.Linear(width, width), width),
            nn.SiLU(),
            scaled(nn.Linear(width, 2 * (dim // 2)), width, gain=0.0),
        )

    def parts(self, inputs: Tensor, condition: Tensor | None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return both halves, the log-stretch and the shift of the second."""
        kept, moved = inputs[:, : self.kept], inputs[:, self.kept :]
        given = kept if condition is None else torch.cat([kept, condition], dim=1)
        stretch, shift = self.amounts(given).chunk(2, dim=1)
        return kept, moved, REACH * torch.tanh(stretch / REACH), shift


class Flow(nn.Module):
    """A normalising flow of affine couplings, each over other halves (Dinh et al. 2017, Real NVP).

    Starts as the identity but for the order of the numbers. Both directions cost the same.

        flow = Flow(dim=16)
        latents = flow(torch.randn(8, 16))
        flow.log_prob(latents)                  # (8,) nats, a density over latents
    """

    orders: Tensor

    def __init__(
        self, dim: Supplied[int], condition_dim: Supplied[int] = 0, layers: Count = 8, width: Count = 128
    ) -> None:
        super().__init__()
        self.dim = dim
        self.couplings = nn.ModuleList(Coupling(dim, condition_dim, width) for _ in range(layers))
        # What has been kept must be moved next; a fixed shuffle in pairs brings every number beside every other.
        generator = torch.Generator().manual_seed(0)
        orders = [
            torch.arange(dim).flip(0) if n % 2 else torch.randperm(dim, generator=generator) for n in range(layers)
        ]
        self.register_buffer("orders", torch.stack(orders) if orders else torch.empty(0, dim, dtype=torch.int64))

    def _steps(self) -> list[Coupling]:
        return [coupling for coupling in self.couplings if isinstance(coupling, Coupling)]

    def forward(self, normals: Tensor, condition: Tensor | None = None) -> Tensor:
        """Return latents ``(B, dim)`` for standard normal numbers ``(B, dim)`` under conditions ``(B, D)``."""
        values = normals
        for order, coupling in reversed(list(zip(self.orders, self._steps(), strict=True))):
            kept, moved, stretch, shift = coupling.parts(values, condition)
            values = torch.cat([kept, (moved - shift) * torch.exp(-stretch)], dim=1)
            values = torch.empty_like(values).index_copy_(1, order, values)
        return values

    def log_prob(self, latents: Tensor, condition: Tensor | None = None) -> Tensor:
        """Return the log-density of latents ``(B, dim)``: nats ``(B,)``."""
        values, volume = latents, torch.zeros(len(latents), device=latents.device)
        for order, coupling in zip(self.orders, self._steps(), strict=True):
            kept, moved, stretch, shift = coupling.parts(values[:, order], condition)
            values = torch.cat([kept, moved * torch.exp(stretch) + shift], dim=1)
            volume = volume + stretch.sum(dim=1)
        return volume - 0.5 * (values.square().sum(dim=1) + self.dim * math.log(2 * math.pi))
