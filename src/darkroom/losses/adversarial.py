"""Adversarial losses: what the discriminator and the generator minimise, in the papers' symbols.

Logits are ``D(x)`` for real and ``D(G(z))`` for generated images, shape ``(B,)``; every loss is a mean over the batch.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Adversarial:
    """One adversarial game: ``discriminator(real, fake)`` and ``generator(real, fake)`` return scalar losses.

    ``paired``: whether the generator's loss reads the real logits, so that they have to be computed for it.
    ``middle``: the logit that says neither real nor drawn; None where only differences of logits mean anything.
    """

    discriminator: Callable[[Tensor, Tensor], Tensor]
    generator: Callable[[Tensor, Tensor], Tensor]
    paired: bool = False
    middle: float | None = 0.0


def logistic_discriminator(real: Tensor, fake: Tensor) -> Tensor:
    """Return E[softplus(-D(x))] + E[softplus(D(G(z)))] (Goodfellow et al. 2014, eq. 1, as logits)."""
    return F.softplus(-real).mean() + F.softplus(fake).mean()


def minimax_generator(real: Tensor, fake: Tensor) -> Tensor:
    """Return E[-softplus(D(G(z)))] = E[log(1 - sigmoid(D(G(z))))], which saturates when it loses (ibid., eq. 1)."""
    return -F.softplus(fake).mean()


def non_saturating_generator(real: Tensor, fake: Tensor) -> Tensor:
    """Return E[softplus(-D(G(z)))], the generator loss that keeps its gradient when it loses (ibid., section 3)."""
    return F.softplus(-fake).mean()


def least_squares_discriminator(real: Tensor, fake: Tensor) -> Tensor:
    """Return 1/2 E[(D(x) - 1)^2] + 1/2 E[D(G(z))^2] (Mao et al. 2017, eq. 9)."""
    return 0.5 * (real - 1).square().mean() + 0.5 * fake.square().mean()


def least_squares_generator(real: Tensor, fake: Tensor) -> Tensor:
    """Return 1/2 E[(D(G(z)) - 1)^2] (ibid., eq. 9)."""
    return 0.5 * (fake - 1).square().mean()


def hinge_discriminator(real: Tensor, fake: Tensor) -> Tensor:
    """Return E[max(0, 1 - D(x))] + E[max(0, 1 + D(G(z)))] (Lim & Ye 2017; Miyato et al. 2018, eq. 16)."""
    return F.relu(1 - real).mean() + F.relu(1 + fake).mean()


def wasserstein_discriminator(real: Tensor, fake: Tensor) -> Tensor:
    """Return E[D(G(z))] - E[D(x)] (Arjovsky et al. 2017, eq. 2): minus the distance, if D is 1-Lipschitz."""
    return fake.mean() - real.mean()


def linear_generator(real: Tensor, fake: Tensor) -> Tensor:
    """Return -E[D(G(z))], of the hinge and the Wasserstein game (Miyato et al. 2018, eq. 17; Arjovsky et al. 2017)."""
    return -fake.mean()


def relativistic_discriminator(real: Tensor, fake: Tensor) -> Tensor:
    """Return E[softplus(-(D(x) - D(G(z))))], each real image against one drawn (Jolicoeur-Martineau 2019, RpGAN)."""
    return F.softplus(fake - real).mean()


def relativistic_generator(real: Tensor, fake: Tensor) -> Tensor:
    """Return E[softplus(-(D(G(z)) - D(x)))], the discriminator's game with the sides exchanged (ibid.)."""
    return F.softplus(real - fake).mean()


LOSSES: dict[str, Adversarial] = {
    "minimax": Adversarial(logistic_discriminator, minimax_generator),
    "non_saturating": Adversarial(logistic_discriminator, non_saturating_generator),
    "least_squares": Adversarial(least_squares_discriminator, least_squares_generator, middle=0.5),
    "hinge": Adversarial(hinge_discriminator, linear_generator),
    "wasserstein": Adversarial(wasserstein_discriminator, linear_generator, middle=None),
    "relativistic": Adversarial(relativistic_discriminator, relativistic_generator, paired=True, middle=None),
}
