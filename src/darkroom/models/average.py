"""The exponential average of a network's weights, whose memory is counted in images."""

import torch
from torch import nn


@torch.no_grad()
def follow(
    average: nn.Module, network: nn.Module, images: int, images_seen: int, half_life: float, ramp: float
) -> None:
    """Move an average toward its network by what ``images`` more images are worth.

    Its memory halves every ``half_life`` images, and, early on, every ``ramp`` of the images seen so far. Buffers with
    fractions (the means of a batch normalisation) are averaged as well, counters are copied.
    """
    weight = 1.0 - 0.5 ** (images / max(min(half_life, ramp * images_seen), 1e-8))
    averaged = [*average.parameters(), *(b for b in average.buffers() if b.is_floating_point())]
    current = [*network.parameters(), *(b for b in network.buffers() if b.is_floating_point())]
    torch._foreach_lerp_(averaged, current, weight)
    for kept, now in zip(average.buffers(), network.buffers(), strict=True):
        if not kept.is_floating_point():
            kept.copy_(now)
