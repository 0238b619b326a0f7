"""Two networks in opposition: one draws, the other tells drawn from real."""

import contextlib
import copy
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from darkroom.errors import UserError
from darkroom.isolation import eval_mode
from darkroom.losses.adversarial import LOSSES, Adversarial
from darkroom.losses.penalties import Penalty
from darkroom.models.adversary import check_penalty, frozen, mixes_images, paired_optimizers
from darkroom.models.averaged import ema_update
from darkroom.models.conditioning import Conditioned, OneHot, contrastive_loss, near_misses, refuse_without_labels
from darkroom.models.diffaugment import NUMBERS, DiffAugment
from darkroom.models.explainable import Explainable
from darkroom.models.model import Sampler
from darkroom.models.schedule import Schedule
from darkroom.networks.captions import CaptionEncoder
from darkroom.numbers import Count, NotNegative, Positive, Supplied, Whole

TYPICAL = 16  # drawn pictures a class that realness is measured against
PROMPTS = 4  # of which realness is explained, where captions are asked for


class Gan(Sampler):
    """A generative adversarial network (Goodfellow et al. 2014).

    One batch is one discriminator step and counts once; every ``discriminator_steps``-th batch is a generator step too.
    Samples are drawn by the exponential average of the generator, whose memory halves every ``average_half_life``
    images, and, early on, every ``average_ramp`` of the images seen so far.

    Conditions are classes, or captions: then generator and discriminator each read with a ``caption_encoder`` of their
    own, learned along with them (Reed et al. 2016), and ``prompts`` are what is drawn when nothing is asked for.

    With ``mismatch`` the discriminator also learns which of the batch's conditions is that of each real picture, and
    the generator to draw so that it can tell (Zhang et al. 2021, XMC-GAN, after the matching-aware discriminator of
    Reed et al. 2016): without, looks alone decide the game and what is asked for comes late. Captions of a batch can
    nearly always be told apart by their colours; ``near_misses`` captions more for each, in which one word is another
    one, make every word count.

    The networks are plain ones: ``generator(latents, condition)`` and ``discriminator(images, condition)``, the latter
    in two parts, ``features(images)`` and ``judge(features, condition)``; conditions are vectors ``(B, D)``.
    """

    def __init__(
        self,
        generator: Callable[..., nn.Module],
        discriminator: Callable[..., nn.Module],
        generator_optimizer: Callable[..., Optimizer],
        discriminator_optimizer: Callable[..., Optimizer],
        schedule: Schedule,
        image_shape: Supplied[Sequence[int]],
        class_names: Supplied[Sequence[str]],
        penalty: Penalty | None = None,
        penalty_schedule: Schedule | None = None,
        beta2_schedule: Schedule | None = None,
        average_schedule: Schedule | None = None,
        augmentation: DiffAugment | None = None,
        latent_dim: Count = 64,
        loss: Adversarial
        | Literal[
            "minimax", "non_saturating", "least_squares", "hinge", "wasserstein", "relativistic"
        ] = "relativistic",
        conditioning: Literal["none", "class", "text"] | None = None,
        caption_encoder: Callable[..., nn.Module] = CaptionEncoder,
        mismatch: NotNegative = 0.0,
        near_misses: Whole = 0,
        discriminator_steps: Count = 1,
        average_half_life: NotNegative = 10_000,
        average_ramp: NotNegative = 0.1,
        gradient_clip: Positive | None = None,
        vocabulary: Supplied[Sequence[str]] = (),
        prompts: Supplied[Sequence[str]] = (),
    ) -> None:
        refuse_without_labels(conditioning, class_names)
        if conditioning == "text" and not (vocabulary and prompts):
            raise UserError(
                "model.conditioning=text needs captions, and these data have none: type data=shapes, or put a"
                " metadata.csv with the columns file_name and caption beside a folder's pictures."
            )
        classes = 0 if conditioning in ("none", "text") else len(class_names)
        read = (vocabulary, prompts) if conditioning == "text" else ((), ())
        super().__init__(image_shape, class_names, schedule, latent_dim, classes, *read)
        self.automatic_optimization = False
        encoder: nn.Module | None = OneHot(classes) if classes else None
        if self.vocabulary:
            encoder = caption_encoder(words=len(self.vocabulary))
        dim = encoder.dim if encoder is not None else 0
        self.generator = Conditioned(
            generator(latent_dim=latent_dim, image_shape=image_shape, condition_dim=dim), encoder
        )
        self.discriminator = Conditioned(
            discriminator(image_shape=image_shape, condition_dim=dim), copy.deepcopy(encoder)
        )
        self.average = copy.deepcopy(self.generator).requires_grad_(False) if average_half_life else None
        self.generator_optimizer = generator_optimizer
        self.discriminator_optimizer = discriminator_optimizer
        self.penalty = penalty or Penalty()
        self.penalty_schedule = penalty_schedule or Schedule()
        self.beta2_schedule = beta2_schedule or Schedule()
        self.average_schedule = average_schedule or Schedule()
        self.augmentation = augmentation or DiffAugment()
        self.loss = loss if isinstance(loss, Adversarial) else LOSSES[loss]
        self.mismatch, self.near_misses = mismatch, near_misses
        self.discriminator_steps = discriminator_steps
        self.average_half_life, self.average_ramp = average_half_life, average_ramp
        self.gradient_clip = gradient_clip
        self.discriminator_turns = 0
        self.apart = mixes_images(self.discriminator)
        check_penalty(self.penalty, self.discriminator, "penalty@model.penalty")

    @property
    def averaged(self) -> bool:
        """Whether samples come from averaged weights; part of the protocol of every score."""
        return self.average is not None

    def check_batch(self, size: int) -> None:
        """Refuse batches of one where statistics over the batch are taken."""
        if size == 1 and (self.apart or mixes_images(self.generator)):
            raise UserError(
                "A batch of one image has no spread for batch normalisation to divide by: type data.batch_size=2 or"
                " more for each device, or networks without normalisation."
            )

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> dict[str, Tensor]:
        """Take one step with the discriminator, and with the generator when it is its turn; return the losses."""
        real, condition = batch["images"], self._condition(batch)
        discriminator_step, generator_step = paired_optimizers(self)
        latents = self.of_this_process(torch.randn, len(real), self.latent_dim).to(real)

        with torch.no_grad():
            fake = self.generator(latents, condition)
        curves = self._discriminator_losses(real, fake, condition)
        discriminator_step.zero_grad()
        self.manual_backward(curves.pop("total"))
        discriminator_step.step()
        self.penalty.constrain(self.discriminator)

        self.discriminator_turns += 1
        if self.discriminator_turns % self.discriminator_steps == 0:
            with frozen(self.discriminator):
                features = self.discriminator.network.features(self._augmented(self.generator(latents, condition)))
                fake_logits = self._judged(features, condition)
                real_logits = fake_logits
                if self.loss.paired:
                    with torch.no_grad():
                        real_logits = self._seen(real, condition)
                generator_loss = total = self.loss.generator(real_logits, fake_logits)
                if self.mismatch and condition is not None:
                    total = generator_loss + self.mismatch * self._contrast(features, condition)
                generator_step.zero_grad()
                self.manual_backward(total)
                generator_step.step()
            curves["generator_loss"] = generator_loss.detach()

        self.count(batch)
        if self.average is not None:
            ema_update(
                self.average,
                self.generator,
                len(real) * self.trainer.world_size,
                self.images_seen,
                self.average_half_life * self.average_schedule(self.fraction),
                self.average_ramp,
            )
        return curves

    def _discriminator_losses(self, real: Tensor, fake: Tensor, condition: Tensor | None) -> dict[str, Tensor]:
        """Return the discriminator's loss, alone and in total with what is added to it, and detached curves."""
        images = torch.cat([real, fake])
        twice = torch.cat([condition, condition]) if condition is not None else None
        # 16-bit floats overflow in the second backward pass; bfloat16 has the range of float32.
        exact = self.penalty.per_image and torch.get_autocast_dtype(real.device.type) == torch.float16
        with torch.autocast(real.device.type, enabled=False) if exact else contextlib.nullcontext():
            if self.penalty.reads_images:
                images.requires_grad_(True)
            if self.apart:
                # Apart: normalised together, they could be told by their statistics, which the generator, whose images
                # come alone, could never imitate.
                views = self._augmented(images, parts=2)
                features = torch.cat([self.discriminator.network.features(part) for part in views.chunk(2)])
            else:
                features = self.discriminator.network.features(self._augmented(images, parts=2))
            logits = self._judged(features, twice)
            real_logits, fake_logits = logits.chunk(2)
            loss = self.loss.discriminator(real_logits, fake_logits)
            curves = {
                "total": loss,
                "discriminator_loss": loss.detach(),
                "real_logit": real_logits.detach().mean(),
                "fake_logit": fake_logits.detach().mean(),
            }
            if self.mismatch and condition is not None:
                lost = self._contrast(features[: len(real)], condition)
                curves["total"] = curves["total"] + self.mismatch * lost
                curves["mismatch_loss"] = lost.detach()
            uniform = functools.partial(self.of_this_process, torch.rand)
            penalty = self.penalty(images, logits, lambda points: self._seen(points, condition), uniform)
            if penalty is not None:
                curves["total"] = curves["total"] + self.penalty_schedule(self.fraction) * penalty
                curves["penalty"] = penalty.detach()
            self._adapt(real_logits.detach(), fake_logits.detach())
        return curves

    def _contrast(self, features: Tensor, condition: Tensor) -> Tensor:
        """Return how badly these pictures tell the conditions of the whole batch apart, over all processes."""
        everyone = condition
        if self.trainer.world_size > 1:
            gathered = self.all_gather(condition)
            assert isinstance(gathered, Tensor)
            everyone = gathered.flatten(0, 1)
        if self.vocabulary and self.near_misses:
            numbers = torch.rand(len(everyone), self.near_misses, 2).to(everyone.device)
            everyone = torch.cat([everyone, near_misses(everyone, numbers)])
        vectors = self.discriminator.vectors(everyone)
        logits = self.discriminator.network.judge.under_each(features, vectors)
        return contrastive_loss(logits, everyone, first=self.global_rank * len(condition))

    def _seen(self, images: Tensor, condition: Tensor | None) -> Tensor:
        """Return the discriminator's logits ``(B,)``, float32, of augmented images."""
        return self._judged(self.discriminator.network.features(self._augmented(images)), condition)

    def _judged(self, features: Tensor, condition: Tensor | None) -> Tensor:
        logits: Tensor = self.discriminator.network.judge(features, self.discriminator.vectors(condition))
        return logits.float()

    def _augmented(self, images: Tensor, parts: int = 1) -> Tensor:
        """Return what the discriminator is shown of ``parts`` batches, one behind the other."""
        strength = self.augmentation.strength(self.fraction)
        if strength <= 0:
            return images
        numbers = self.of_this_process(torch.rand, len(images) // parts, parts, NUMBERS).to(images)
        numbers = numbers.transpose(0, 1).flatten(0, 1)
        augmented: Tensor = self.augmentation(images, numbers, strength)
        return augmented

    def _adapt(self, real: Tensor, fake: Tensor) -> None:
        """Let the augmentation hear how sure the discriminator is of real images."""
        if self.augmentation.target is None:
            return
        middle = self.loss.middle if self.loss.middle is not None else fake
        certainty = torch.sign(real - middle).mean()
        if self.trainer.world_size > 1:
            certainty = self.trainer.strategy.reduce(certainty, reduce_op="mean")
        self.augmentation.adapt(certainty, len(real) * self.trainer.world_size)

    def _condition(self, batch: Mapping[str, Tensor]) -> Tensor | None:
        return batch["captions"] if self.vocabulary else batch["labels"] if self.classes else None

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Move learning rates and the second beta of Adam to where their schedules are."""
        super().on_train_batch_start(batch, batch_idx)
        factor = self.beta2_schedule(self.fraction)
        for optimizer, settings in zip(self._optimizers(), self._settings, strict=True):
            for group, configured in zip(optimizer.param_groups, settings, strict=True):
                if "betas" in configured:
                    beta1, beta2 = configured["betas"]
                    group["betas"] = (beta1, 1 - (1 - beta2) * factor)

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

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the counts."""
        super().on_save_checkpoint(checkpoint)
        checkpoint["discriminator_turns"] = self.discriminator_turns

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take the counts up again."""
        super().on_load_checkpoint(checkpoint)
        self.discriminator_turns = int(checkpoint["discriminator_turns"])

    def dummy_loss(self, images: Tensor) -> Tensor:
        """Return the sum of a copy's opinions of these images: the discriminator is the larger half of a step."""
        asked = self.conditions(torch.arange(len(images)))
        asked = asked.to(images.device) if asked is not None else None
        total: Tensor = copy.deepcopy(self.discriminator)(images, asked).float().sum()
        return total

    def explainable(self) -> list[Explainable]:
        """Return how real the discriminator finds a picture: as such, or as a picture of each class or of a prompt."""
        count = self.classes or min(PROMPTS, len(self.prompts)) or 1
        conditions = self.conditions(torch.arange(count))
        outputs = Realness(self.discriminator, self._typical_logits(count), conditions)
        names = self.class_names[: self.classes] or self.prompts[:PROMPTS]
        return [
            Explainable.of(
                "realness",
                outputs,
                [f"real {name}" for name in names] if conditions is not None else ["real"],
                self.image_shape,
                exclusive=False,
                true_labels=bool(self.classes),
            )
        ]

    @torch.no_grad()
    def _typical_logits(self, outputs: int) -> Tensor:
        """Return the mean logit of pictures drawn under each of the first ``outputs`` conditions, ``(outputs,)``.

        Where the loss itself says which logit is the middle between real and drawn, that one.
        """
        if self.loss.middle is not None:
            return torch.full((outputs,), self.loss.middle, device=self.device)
        asked = self.conditions(torch.arange(TYPICAL * outputs) % outputs)
        drawn = self.sample(torch.arange(TYPICAL * outputs), seed=0, labels=asked)
        with eval_mode(self.discriminator) as discriminator:
            logits: Tensor = discriminator(drawn, asked.to(self.device) if asked is not None else None).float()
        return logits.view(TYPICAL, outputs).mean(dim=0)

    def realness(self, images: Tensor, asked: Tensor | None) -> Tensor:
        """Return the discriminator's logits ``(B,)`` of pictures under what is asked for, on the CPU."""
        given = asked.to(self.device) if asked is not None else None
        logits: Tensor = self.discriminator(images.to(self.device), given)
        return logits.float().cpu()

    @torch.no_grad()
    def draw(self, latents: Tensor, labels: Tensor | None) -> Tensor:
        """Return images ``(B, C, H, W)`` in [-1, 1] from the averaged generator."""
        return self.rendered(latents, self.vectors(labels))

    def vectors(self, labels: Tensor | None) -> Tensor | None:
        """Return what is asked for as the vectors ``(B, D)`` that the averaged generator is given, None for none."""
        return self._drawing.vectors(labels)

    def rendered(self, latents: Tensor, vectors: Tensor | None) -> Tensor:
        """Return the images of latents under such vectors, differentiably."""
        with eval_mode(self._drawing) as drawing:
            images: Tensor = drawing.network(latents, vectors)
        return images

    @property
    def _drawing(self) -> Conditioned:
        return self.average if self.average is not None else self.generator


class Realness(nn.Module):
    """A discriminator's logits less ``typical`` ones ``(K,)``, under each of K ``conditions``, or under none (K = 1).

    Over a typical drawn picture's, the sigmoid is the probability that a picture is the more real of the two.
    """

    typical: Tensor
    conditions: Tensor | None

    def __init__(self, discriminator: nn.Module, typical: Tensor, conditions: Tensor | None) -> None:
        super().__init__()
        self.discriminator = discriminator
        self.register_buffer("typical", typical)
        self.register_buffer("conditions", conditions.to(typical.device) if conditions is not None else None)

    def forward(self, images: Tensor, targets: Tensor | None = None) -> Tensor:
        """Return the logits under all conditions, ``(B, K)``, or under the target of each picture, ``(B,)``."""
        if targets is not None:
            conditions = self.conditions[targets] if self.conditions is not None else None
            logits: Tensor = self.discriminator(images, conditions)
            return logits - self.typical[targets]
        classes = torch.arange(len(self.typical), device=images.device)
        return torch.stack([self(images, kind.expand(len(images))) for kind in classes], dim=1)
