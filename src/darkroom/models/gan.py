"""Two networks in opposition: one draws, the other tells drawn from real."""

import contextlib
import copy
from collections.abc import Callable, Iterator, Sequence
from typing import Literal

import torch
from pytorch_lightning.core.optimizer import LightningOptimizer
from torch import Tensor, nn
from torch.optim import Optimizer

from darkroom.errors import UserError
from darkroom.losses.adversarial import LOSSES, squared_gradient_norm
from darkroom.models.average import follow
from darkroom.models.explainable import Explainable
from darkroom.models.model import Sampler
from darkroom.models.schedule import Schedule

TYPICAL = 16  # drawn pictures a class that realness is measured against


class Gan(Sampler):
    """A generative adversarial network (Goodfellow et al. 2014).

    One batch is one discriminator step and one generator step, and counts once. ``r1`` and ``r2`` are the penalties'
    gamma on real and on generated images. Samples are drawn by the exponential average of the generator, whose memory
    halves every ``average_half_life`` images, and, early on, every ``average_ramp`` of the images seen so far.
    """

    def __init__(
        self,
        generator: Callable[..., nn.Module],
        discriminator: Callable[..., nn.Module],
        generator_optimizer: Callable[..., Optimizer],
        discriminator_optimizer: Callable[..., Optimizer],
        schedule: Schedule,
        penalty_schedule: Schedule,
        image_shape: Sequence[int],
        class_names: Sequence[str],
        latent_dim: int = 64,
        loss: Literal["relativistic", "non_saturating"] = "relativistic",
        r1: float = 0.1,
        r2: float = 0.1,
        conditional: bool | None = None,
        average_half_life: float = 10_000,
        average_ramp: float = 0.1,
        gradient_clip: float | None = None,
    ) -> None:
        if conditional and not class_names:
            raise UserError(
                "model.conditional=true needs labels, and these data have none: use a folder with one subfolder a"
                " class, or type model.conditional=false."
            )
        classes = 0 if conditional is False else len(class_names)
        super().__init__(image_shape, class_names, schedule, latent_dim, classes)
        self.automatic_optimization = False
        self.generator = generator(latent_dim=latent_dim, image_shape=image_shape, classes=classes)
        self.discriminator = discriminator(image_shape=image_shape, classes=classes)
        self.average = copy.deepcopy(self.generator).requires_grad_(False) if average_half_life else None
        self.generator_optimizer = generator_optimizer
        self.discriminator_optimizer = discriminator_optimizer
        self.penalty_schedule = penalty_schedule
        self.loss = LOSSES[loss]
        self.r1, self.r2 = r1, r2
        self.average_half_life, self.average_ramp = average_half_life, average_ramp
        self.gradient_clip = gradient_clip
        if self.penalised and any(isinstance(part, nn.BatchNorm2d) for part in self.discriminator.modules()):
            raise UserError(
                "Batch normalisation in the discriminator mixes the images of a batch, which the per-image penalties"
                " model.r1 and model.r2 cannot bear: type model.r1=0 model.r2=0, or use another discriminator."
            )

    @property
    def penalised(self) -> bool:
        """Whether the discriminator's gradient is penalised."""
        return self.r1 > 0 or self.r2 > 0

    @property
    def averaged(self) -> bool:
        """Whether samples come from averaged weights; part of the protocol of every score."""
        return self.average is not None

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> dict[str, Tensor]:
        """Take one step with each network and return what each lost."""
        real, labels = batch["images"], batch.get("labels") if self.classes else None
        discriminator_step, generator_step = self._silenced_optimizers()
        latents = self._latents_of_this_process(len(real)).to(real)

        with torch.no_grad():
            fake = self.generator(latents, labels)
        curves = self._discriminator_losses(real, fake, labels)
        loss = curves["discriminator_loss"] + curves.pop("penalty", 0.0)
        discriminator_step.zero_grad()
        self.manual_backward(loss)
        discriminator_step.step()

        with _frozen(self.discriminator):
            fake_logits = self.discriminator(self.generator(latents, labels), labels)
            real_logits = fake_logits
            if self.loss.paired:
                with torch.no_grad():
                    real_logits = self.discriminator(real, labels)
            generator_loss = self.loss.generator(real_logits, fake_logits)
            generator_step.zero_grad()
            self.manual_backward(generator_loss)
            generator_step.step()

        self.count(batch)
        if self.average is not None:
            follow(
                self.average,
                self.generator,
                len(real) * self.trainer.world_size,
                self.images_seen,
                self.average_half_life,
                self.average_ramp,
            )
        return {**curves, "generator_loss": generator_loss.detach()}

    def _discriminator_losses(self, real: Tensor, fake: Tensor, labels: Tensor | None) -> dict[str, Tensor]:
        """Return the discriminator's loss, the weighted penalty if any, and detached curves."""
        images = torch.cat([real, fake]).requires_grad_(True) if self.penalised else None
        # 16-bit floats overflow in the second backward pass; bfloat16 has the range of float32.
        exact = self.penalised and torch.get_autocast_dtype(real.device.type) == torch.float16
        with torch.autocast(real.device.type, enabled=False) if exact else contextlib.nullcontext():
            if images is not None:
                logits = self.discriminator(images, torch.cat([labels, labels]) if labels is not None else None).float()
                real_logits, fake_logits = logits.chunk(2)
            else:
                # Apart: batch normalisation over both would tell them by their statistics, which the generator, whose
                # images come alone, could never imitate.
                real_logits = self.discriminator(real, labels).float()
                fake_logits = self.discriminator(fake, labels).float()
            loss = self.loss.discriminator(real_logits, fake_logits)
            curves = {
                "discriminator_loss": loss,
                "real_logit": real_logits.detach().mean(),
                "fake_logit": fake_logits.detach().mean(),
            }
            if images is not None:
                real_norm, fake_norm = squared_gradient_norm(logits, images).chunk(2)
                strength = self.penalty_schedule(self.fraction) / 2
                curves["penalty"] = strength * (self.r1 * real_norm.mean() + self.r2 * fake_norm.mean())
                curves["real_gradient_norm"] = real_norm.detach().mean().sqrt()
                curves["fake_gradient_norm"] = fake_norm.detach().mean().sqrt()
        return curves

    def _silenced_optimizers(self) -> tuple[LightningOptimizer, LightningOptimizer]:
        """Return the optimizers, the discriminator's without a voice in Lightning's count of steps.

        Lightning counts every ``step()`` of every optimizer, and installs the counters anew for each batch, so that
        with two optimizers its ``global_step`` would run twice as fast as its batches.
        """
        optimizers = self.optimizers()
        assert isinstance(optimizers, list)
        discriminator, generator = optimizers
        discriminator._on_before_step = discriminator._on_after_step = lambda: None
        return discriminator, generator

    def _latents_of_this_process(self, count: int) -> Tensor:
        """Return this process's part of the latents of the whole batch, so that processes together equal one."""
        everyone = torch.randn(count * self.trainer.world_size, self.latent_dim)
        return everyone[self.global_rank * count : (self.global_rank + 1) * count]

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Clip the gradient's norm; here, unlike before ``step()``, it is already unscaled under 16-bit training."""
        if self.gradient_clip:
            for group in optimizer.param_groups:
                nn.utils.clip_grad_norm_(group["params"], self.gradient_clip)

    def configure_optimizers(self) -> list[Optimizer]:
        """Return the discriminator's optimizer and the generator's."""
        return [
            self.scheduled(self.discriminator_optimizer(params=self.discriminator.parameters())),
            self.scheduled(self.generator_optimizer(params=self.generator.parameters())),
        ]

    def rehearse(self, images: Tensor) -> Tensor:
        """Return the sum of a copy's opinions of these images: the discriminator is the larger half of a step."""
        labels = torch.zeros(len(images), dtype=torch.int64, device=images.device) if self.classes else None
        total: Tensor = copy.deepcopy(self.discriminator)(images, labels).float().sum()
        return total

    def explainable(self) -> list[Explainable]:
        """Return how real the discriminator finds a picture: as such, or as a picture of each class."""
        outputs = Realness(self.discriminator, self._typical_logits(), bool(self.classes))
        names = [f"real {name}" for name in self.class_names[: self.classes]] or ["real"]
        return [
            Explainable.of(
                "realness", outputs, names, self.image_shape, exclusive=False, true_labels=bool(self.classes)
            )
        ]

    @torch.no_grad()
    def _typical_logits(self) -> Tensor:
        """Return the mean logit of drawn pictures for each class, ``(classes,)``, or of all, ``(1,)``.

        Zeros where zero is the middle between real and drawn; a relativistic discriminator learned differences only.
        """
        outputs = max(1, self.classes)
        if not self.loss.paired:
            return torch.zeros(outputs, device=self.device)
        indices = torch.arange(TYPICAL * outputs)
        labels = indices % outputs if self.classes else None
        drawn = self.sample(indices, seed=0, labels=labels)
        training = self.discriminator.training
        self.discriminator.eval()
        logits: Tensor = self.discriminator(drawn, labels.to(self.device) if labels is not None else None).float()
        self.discriminator.train(training)
        return logits.view(TYPICAL, outputs).mean(dim=0)

    @torch.no_grad()
    def draw(self, latents: Tensor, labels: Tensor | None) -> Tensor:
        """Return images ``(B, C, H, W)`` in [-1, 1] from the averaged generator."""
        network = self.average if self.average is not None else self.generator
        training = network.training
        network.eval()
        images: Tensor = network(latents, labels)
        network.train(training)
        return images


class Realness(nn.Module):
    """A discriminator's logits less ``typical`` ones ``(K,)``, as a picture of each of K classes when ``conditional``.

    Over a typical drawn picture's, the sigmoid is the probability that a picture is the more real of the two.
    """

    typical: Tensor

    def __init__(self, discriminator: nn.Module, typical: Tensor, conditional: bool) -> None:
        super().__init__()
        self.discriminator = discriminator
        self.conditional = conditional
        self.register_buffer("typical", typical)

    def forward(self, images: Tensor, targets: Tensor | None = None) -> Tensor:
        """Return the logits for all classes, ``(B, K)``, or for the target of each picture, ``(B,)``."""
        if targets is not None:
            logits: Tensor = self.discriminator(images, targets if self.conditional else None)
            return logits - self.typical[targets]
        classes = torch.arange(len(self.typical), device=images.device)
        return torch.stack([self(images, kind.expand(len(images))) for kind in classes], dim=1)


@contextlib.contextmanager
def _frozen(network: nn.Module) -> Iterator[None]:
    """Let gradients pass through a network without reaching its weights."""
    network.requires_grad_(False)
    try:
        yield
    finally:
        network.requires_grad_(True)
