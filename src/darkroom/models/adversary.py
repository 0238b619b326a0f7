"""An opponent for a network that makes pictures, and what whoever plays against one needs."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Literal

import pytorch_lightning as pl
import torch
from pytorch_lightning.core.optimizer import LightningOptimizer
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.optim import Optimizer

from darkroom.errors import UserError
from darkroom.losses.adversarial import LOSSES, Adversarial
from darkroom.losses.penalties import Penalty
from darkroom.numbers import Positive, Supplied


class Adversary(nn.Module):
    """A discriminator that tells restored pictures from whole ones, and says how badly it is deceived.

    The second stage of a restorer: what makes up for an error of pixels alone being least where nothing is risked
    (Ledig et al. 2017, SRGAN). Its part in the restorer's loss is ``weight``. The network is one of a GAN, ``network(
    image_shape, condition_dim)`` with ``features(images)`` and ``judge(features, condition)``; it sees pictures of the
    size of training patches.
    """

    def __init__(
        self,
        discriminator: Callable[..., nn.Module],
        optimizer: Callable[..., Optimizer],
        image_shape: Supplied[Sequence[int]],
        penalty: Penalty | None = None,
        loss: Adversarial
        | Literal[
            "minimax", "non_saturating", "least_squares", "hinge", "wasserstein", "relativistic"
        ] = "relativistic",
        weight: Positive = 0.05,
    ) -> None:
        super().__init__()
        self.discriminator = discriminator(image_shape=image_shape, condition_dim=0)
        self.optimizer = optimizer
        self.penalty = penalty or Penalty()
        self.loss = loss if isinstance(loss, Adversarial) else LOSSES[loss]
        self.weight = weight
        check_penalty(self.penalty, self.discriminator, "penalty@model.adversarial.penalty")
        if mixes_images(self.discriminator):
            raise UserError(
                "Batch normalisation would let the discriminator tell whole batches apart: type"
                " model.adversarial.discriminator.normalization=none, or use another discriminator."
            )

    def losses(self, real: Tensor, fake: Tensor, draw: Callable[..., Tensor]) -> dict[str, Tensor]:
        """Return what the discriminator minimises on whole and on restored pictures, ``total``, and detached curves.

        ``draw(B, ...)`` returns uniform random numbers of that shape.
        """
        images = torch.cat([real, fake.detach()])
        # 16-bit floats overflow in the second backward pass; bfloat16 has the range of float32.
        exact = self.penalty.per_image and torch.get_autocast_dtype(real.device.type) == torch.float16
        with torch.autocast(real.device.type, enabled=False) if exact else contextlib.nullcontext():
            images.requires_grad_(self.penalty.reads_images)
            logits = self(images)
            loss = self.loss.discriminator(*logits.chunk(2))
            penalty = self.penalty(images, logits, self, draw)
        curves = {"total": loss if penalty is None else loss + penalty, "discriminator_loss": loss.detach()}
        return curves if penalty is None else curves | {"penalty": penalty.detach()}

    def generator_loss(self, real: Tensor, fake: Tensor) -> Tensor:
        """Return how badly restored pictures deceive it, for the restorer to minimise; its weights stay."""
        with frozen(self.discriminator):
            fake_logits = self(fake)
            real_logits = fake_logits
            if self.loss.paired:
                with torch.no_grad():
                    real_logits = self(real)
            return self.loss.generator(real_logits, fake_logits)

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits ``(B,)`` of pictures, float32: above zero, or above those of others, whole."""
        network = self.discriminator
        logits: Tensor = network.judge(network.features(images), None)  # type: ignore[operator]
        return logits.float()


def paired_optimizers(model: pl.LightningModule) -> tuple[LightningOptimizer, LightningOptimizer]:
    """Return the two optimizers of a model, the first one without a voice in Lightning's count of steps.

    Lightning counts every ``step()`` of every optimizer, and installs the counters anew for each batch, so that with
    two optimizers its ``global_step`` would run twice as fast as its batches.
    """
    optimizers = model.optimizers()
    assert isinstance(optimizers, list)
    discriminator, generator = optimizers
    discriminator._on_before_step = discriminator._on_after_step = lambda: None
    return discriminator, generator


def check_penalty(penalty: Penalty, discriminator: nn.Module, group: str) -> None:
    """Refuse a penalty that a discriminator cannot bear; ``group`` is what to type to leave it out.

    Raises:
        UserError: it is one.
    """
    if penalty.per_image and mixes_images(discriminator):
        raise UserError(
            "Batch normalisation in the discriminator mixes the images of a batch, which a penalty on the gradient"
            f" of each image cannot bear: type {group}=none, or use another discriminator."
        )
    if penalty.bounds_weights and any(map(parametrize.is_parametrized, discriminator.modules())):
        raise UserError(
            "Spectral normalisation divides the discriminator's weights by their size, so clipping them bounds"
            f" nothing: type {group}=none, or use another discriminator."
        )


@contextlib.contextmanager
def frozen(network: nn.Module) -> Iterator[None]:
    """Let gradients pass through a network without reaching its weights."""
    network.requires_grad_(False)
    try:
        yield
    finally:
        network.requires_grad_(True)


def mixes_images(network: nn.Module) -> bool:
    """Say whether what a network makes of one image depends on those beside it."""
    return any(isinstance(part, nn.modules.batchnorm._BatchNorm) for part in network.modules())
