"""What keeps a discriminator smooth: penalties on its gradient with respect to the pixels, and weight clipping.

A penalty is called with what the discriminator's step has at hand and returns a scalar to add to its loss:

    penalty = ZeroCentred(r1=0.1, r2=0.1)
    images = torch.cat([real, fake]).requires_grad_(penalty.reads_images)
    loss = ... + penalty(images, discriminator(images), discriminator)
    ...
    penalty.constrain(discriminator)   # after the optimizer's step
"""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

from darkroom.errors import UserError
from darkroom.losses.adversarial import Adversarial
from darkroom.numbers import NotNegative, Positive

Discriminate = Callable[[Tensor], Tensor]
Draw = Callable[..., Tensor]


class Penalty:
    """No penalty at all, and what the others have in common.

    ``reads_images``: the logits it is given must be differentiable in the pixels. ``per_image``: the logit of an image
    must depend on that image alone, which batch normalisation does not allow. ``bounds_weights``: it rests on the size
    of the weights, which spectral normalisation takes away.
    """

    reads_images = False
    per_image = False
    bounds_weights = False

    def __call__(
        self, images: Tensor, logits: Tensor, discriminate: Discriminate, draw: Draw = torch.rand
    ) -> Tensor | None:
        """Return what is added to the discriminator's loss, or None for nothing.

        ``images`` ``(2B, C, H, W)`` are real ones and then as many drawn ones, ``logits`` ``(2B,)`` are theirs;
        ``discriminate`` returns the logits ``(B,)`` of other images, each under the condition of its real one;
        ``draw(B, ...)`` returns uniform random numbers of that shape, a row an image.
        """
        return None

    def constrain(self, discriminator: nn.Module) -> None:
        """Bring the weights back to where they may be, after a step."""


class ZeroCentred(Penalty):
    """R1 and R2: gamma / 2 E[|grad D|^2] on real (``r1``) and on drawn images (``r2``), Mescheder et al. 2018, eq. 9.

    Together they make the relativistic game converge where each alone may not (Huang et al. 2024, section 3.2).
    """

    reads_images = True
    per_image = True

    def __init__(self, r1: NotNegative = 1.0, r2: NotNegative = 1.0) -> None:
        """State gamma on real and on drawn images; 0 leaves one out. Raises `UserError` unless one is positive."""
        if max(r1, r2) == 0:
            raise UserError(
                f"penalty.r1={r1:g} and penalty.r2={r2:g} penalise nothing: give one above 0, or choose"
                " penalty@model.penalty=none."
            )
        self.r1, self.r2 = r1, r2

    def __call__(self, images: Tensor, logits: Tensor, discriminate: Discriminate, draw: Draw = torch.rand) -> Tensor:
        """Return r1 / 2 E[|grad D(x)|^2] + r2 / 2 E[|grad D(G(z))|^2]."""
        real, fake = squared_gradient_norm(logits, images).chunk(2)
        return 0.5 * (self.r1 * real.mean() + self.r2 * fake.mean())


class OneCentred(Penalty):
    """The gradient penalty weight * E[(|grad D(x^)| - 1)^2], at points x^ beside the pictures.

    ``interpolates``: anywhere between a real and a drawn picture (Gulrajani et al. 2017, eq. 3). ``perturbed``: on the
    way from a real one to it plus uniform noise of up to half the standard deviation of all pixels (DRAGAN: Kodali et
    al. 2017, with the noise of the authors' own program).
    """

    per_image = True

    def __init__(self, weight: Positive = 10.0, where: Literal["interpolates", "perturbed"] = "interpolates") -> None:
        """State lambda, and at which points."""
        self.weight, self.where = weight, where

    def __call__(self, images: Tensor, logits: Tensor, discriminate: Discriminate, draw: Draw = torch.rand) -> Tensor:
        """Return weight * E[(|grad D(x^)| - 1)^2]."""
        real, fake = images.detach().chunk(2)
        share = draw(len(real), 1, 1, 1).to(real)
        if self.where == "interpolates":
            points = fake + share * (real - fake)
        else:
            points = real + share * 0.5 * real.std() * draw(*real.shape).to(real)
        points.requires_grad_(True)
        # Far from zero, so that the root of it can be differentiated.
        norm = (squared_gradient_norm(discriminate(points), points) + 1e-12).sqrt()
        return self.weight * (norm - 1).square().mean()


class WeightClipping(Penalty):
    """Every weight of the discriminator stays within ``limit`` of zero, a crude Lipschitz bound.

    Arjovsky et al. 2017, algorithm 1. The running statistics of batch normalisation are not weights.
    """

    bounds_weights = True

    def __init__(self, limit: Positive = 0.01) -> None:
        """State how far from zero."""
        self.limit = limit

    @torch.no_grad()
    def constrain(self, discriminator: nn.Module) -> None:
        """Clip."""
        for parameter in discriminator.parameters():
            parameter.clamp_(-self.limit, self.limit)


class Recommended(Penalty):
    """The penalty that a loss is usually seen with: what keeps a Wasserstein critic 1-Lipschitz, else R1 and R2.

    Gulrajani et al. 2017; Mescheder et al. 2018; Huang et al. 2024. What is made is that penalty itself.
    """

    def __new__(cls, loss: str | Adversarial) -> Penalty:  # type: ignore[misc]  # of another class, on purpose
        """Return the penalty for a loss."""
        return OneCentred(10.0) if loss == "wasserstein" else ZeroCentred(1.0, 1.0)


recommended = Recommended  # its name in older runs


def squared_gradient_norm(logits: Tensor, images: Tensor) -> Tensor:
    """Return |grad_x D(x)|^2 of each image, shape ``(B,)``, differentiable again.

    The logit of an image must depend on that image alone: batch statistics would make the sum below mix images.
    """
    (gradient,) = torch.autograd.grad(logits.sum(), images, create_graph=True)
    return gradient.float().square().flatten(1).sum(dim=1)
