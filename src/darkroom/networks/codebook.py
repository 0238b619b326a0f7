"""A dictionary of vectors, of which each vector takes the nearest (van den Oord et al. 2017)."""

import torch
import torch.distributed
from torch import Tensor, nn

from darkroom import processes

DEAD = 0.05  # of an even share of the vectors: a code that stands for fewer is moved to where it is needed
FRESH = 0.06  # what a moved code starts with: a quarter of a half-life to prove itself, soon at its cluster's mean


class Codebook(nn.Module):
    """So many code vectors, each the running mean of the vectors that were nearest to it.

    The means are exponential ones (van den Oord et al. 2017, appendix A.1), with a memory counted in images. Codes that
    hardly any vector takes are moved onto vectors that are badly served, in proportion to the squared distance to their
    code (as in k-means++: Arthur & Vassilvitskii 2007).

        codebook = Codebook(codes=256, dim=32)
        codes = codebook.nearest(vectors)               # (B, P) int64, for vectors (B, P, 32)
        quantised = codebook(codes)                     # (B, P, 32)
        decoded = decoder(straight_through(vectors, quantised))
        codebook.learn(vectors, codes, images=128, numbers=torch.rand(B, P))
    """

    shares: Tensor
    sums: Tensor

    def __init__(self, codes: int, dim: int, half_life: float = 10_000) -> None:
        """State how many codes of how many numbers; ``half_life`` is in images."""
        super().__init__()
        self.half_life = half_life
        # All are as good as dead: the first vectors that come will be the codes.
        self.register_buffer("shares", torch.full((codes,), 0.5 * DEAD / codes))
        self.register_buffer("sums", torch.randn(codes, dim) * self.shares[:, None])

    @property
    def codes(self) -> Tensor:
        """The code vectors, ``(K, dim)``."""
        return self.sums / self.shares[:, None]

    def nearest(self, vectors: Tensor) -> Tensor:
        """Return the code nearest to each vector, int64 ``(...)`` for ``(..., dim)``."""
        with torch.no_grad(), torch.autocast(vectors.device.type, enabled=False):
            codes = self.codes
            distances = codes.square().sum(dim=1) - 2 * vectors.to(codes.dtype) @ codes.T
            nearest: Tensor = distances.argmin(dim=-1)
        return nearest

    def forward(self, codes: Tensor) -> Tensor:
        """Return the vectors of codes, ``(..., dim)`` for ``(...)``."""
        return self.codes[codes]

    @torch.no_grad()
    def learn(self, vectors: Tensor, codes: Tensor, images: int, numbers: Tensor) -> Tensor:
        """Move each code toward its vectors, and dead ones elsewhere; return how the codes shared them, ``(K,)``.

        ``vectors`` ``(..., dim)`` took ``codes`` ``(...)``; they come from ``images`` images of all processes together.
        ``numbers`` ``(...)`` are uniform in [0, 1): they decide where dead codes go.
        """
        count, dim = self.sums.shape
        vectors, codes = vectors.reshape(-1, dim).to(self.sums.dtype), codes.flatten()
        errors = (vectors - self(codes)).square().sum(dim=1)
        taken = torch.cat([vectors, vectors.new_ones(len(vectors), 1)], dim=1)
        found = torch.zeros(count, dim + 1, dtype=taken.dtype, device=taken.device).index_add_(0, codes, taken)
        found = processes.mean_over_all(found / len(vectors))
        weight = 1 - 0.5 ** (images / self.half_life)
        self.sums.lerp_(found[:, :-1], weight)
        self.shares.lerp_(found[:, -1], weight)

        # Without replacement in proportion to the errors: the least of exponential times of these rates.
        times = -torch.log1p(-numbers.flatten().to(errors)) / errors.clamp(min=1e-12)
        seeds = _earliest(vectors, times, count)
        dead = self.shares < DEAD / count
        # The first seed for the first dead code: those that follow may be second choices.
        turn = (dead.cumsum(dim=0) - 1).clamp(min=0) % len(seeds)
        fresh = FRESH / count
        self.sums.copy_(torch.where(dead[:, None], fresh * seeds[turn], self.sums))
        self.shares.copy_(torch.where(dead, fresh, self.shares))
        return found[:, -1]


def straight_through(vectors: Tensor, quantised: Tensor) -> Tensor:
    """Return the quantised vectors, through which gradients pass as if they were the vectors themselves."""
    return vectors + (quantised - vectors).detach()


def perplexity(shares: Tensor) -> Tensor:
    """Return how many codes that were all used alike would be as varied as codes with these shares ``(K,)``."""
    entropy: Tensor = torch.special.entr(shares).sum()
    return entropy.exp()


def _earliest(vectors: Tensor, times: Tensor, count: int) -> Tensor:
    """Return the vectors ``(k, dim)`` of the ``count`` earliest times on all processes, or all there are, in order."""
    order = times.topk(min(count, len(times)), largest=False).indices
    vectors, times = vectors[order], times[order]
    if processes.count() > 1:
        parts = [torch.empty_like(vectors) for _ in range(processes.count())]
        moments = [torch.empty_like(times) for _ in range(processes.count())]
        torch.distributed.all_gather(parts, vectors.contiguous())
        torch.distributed.all_gather(moments, times.contiguous())
        vectors, times = torch.cat(parts), torch.cat(moments)
        vectors = vectors[times.topk(min(count, len(times)), largest=False).indices]
    return vectors
