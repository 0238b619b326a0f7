"""The rate of a variational autoencoder: what its latents cost, in nats."""

import math

import torch
from torch import Tensor


def log_normal(values: Tensor, means: Tensor, log_variances: Tensor) -> Tensor:
    """Return log N(values; means, exp(log_variances)), element by element."""
    return -0.5 * ((values - means).square() * torch.exp(-log_variances) + log_variances + math.log(2 * math.pi))


def kl_from_standard_normal(means: Tensor, log_variances: Tensor) -> Tensor:
    """Return KL(N(means, exp(log_variances)) || N(0, 1)), element by element (Kingma & Welling 2014, appendix B)."""
    return 0.5 * (means.square() + log_variances.exp() - 1 - log_variances)


def with_free_bits(costs: Tensor, costs_of_all: Tensor, free: float) -> Tensor:
    """Return the sum over latents of max(free, cost), of mean costs ``(d,)`` (Kingma et al. 2016, eq. 15).

    ``costs_of_all`` are the means over all processes, which decide where the maximum is; costs are this process's part
    of them, and keep the gradient.
    """
    return torch.where(costs_of_all.detach() > free, costs, torch.full_like(costs, free)).sum()


def capped(rate: Tensor, rate_of_all: Tensor, capacity: float) -> Tensor:
    """Return |rate - capacity| (Burgess et al. 2018, eq. 8); ``rate_of_all`` decides on which side it is."""
    return torch.sign(rate_of_all.detach() - capacity) * (rate - capacity)
