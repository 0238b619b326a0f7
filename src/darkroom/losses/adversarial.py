"""Adversarial losses: what the discriminator and the generator minimise, in the papers' symbols.

Logits are ``D(x)`` for real and ``D(G(z))`` for generated images, shape ``(B,)``; every loss is a mean over the batch.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Adversarial:
    """One adversarial game: ``discriminator(real, fake)`` and ``generator(real, fake)`` return scalar losses.

    ``paired``: whether the generator's loss reads the real logits, so that they have to be computed for it.
    """

    discriminator: Callable[[Tensor, Tensor], Tensor]
    generator: Callable[[Tensor, Tensor], Tensor]
    paired: bool


def non_saturating_discriminator(real: Tensor, fake: Tensor) -> Tensor:
    """Return E[softplus(-D(x))] + E[softplus(D(G(z)))] (Goodfellow et al. 2014, eq. 1, as logits)."""
    return F.softplus(-real).mean() + F.softplus(fake).mean()


def non_saturating_generator(real: Tensor, fake: Tensor) -> Tensor:
    """Return E[softplus(-D(G(z)))], the generator loss that keeps its gradient when it loses (ibid., section 3)."""
    return F.softplus(-fake).mean()


def relativistic_discriminator(real: Tensor, fake: Tensor) -> Tensor:
    """Return E[softplus(-(D(x) - D(G(z))))], each real image against one drawn (Jolicoeur-Martineau 2019, RpGAN)."""
    return F.softplus(fake - real).mean()


def relativistic_generator(real: Tensor, fake: Tensor) -> Tensor:
    """Return E[softplus(-(D(G(z)) - D(x)))], the discriminator's game with the sides exchanged (ibid.)."""
    return F.softplus(real - fake).mean()


LOSSES: dict[str, Adversarial] = {
    "non_saturating": Adversarial(non_saturating_discriminator, non_saturating_generator, paired=False),
    "relativistic": Adversarial(relativistic_discriminator, relativistic_generator, paired=True),
}


def squared_gradient_norm(logits: Tensor, images: Tensor) -> Tensor:
    """Return ||grad_x D(x)||^2 of each image, shape ``(B,)``, differentiable again.

    Times gamma / 2 and averaged, this is R1 on real and R2 on generated images (Mescheder et al. 2018, eq. 9). The
    logit of an image must depend on that image alone: batch statistics would make the sum below mix images.
    """
    (gradient,) = torch.autograd.grad(logits.sum(), images, create_graph=True)
    return gradient.float().square().flatten(1).sum(dim=1)
