"""The restorer: it is shown damaged pictures and learns to return whole ones."""

import copy
import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from darkroom.errors import UserError
from darkroom.imaging.classical import COARSEST, MEMBRANE_STEPS, harmonic
from darkroom.imaging.degradations import Degradation, noise_level
from darkroom.isolation import eval_mode
from darkroom.losses.reconstruction import weighted
from darkroom.models.adversary import Adversary, paired_optimizers
from darkroom.models.averaged import Averaged, ema_update
from darkroom.models.schedule import Schedule
from darkroom.networks.statements import Looks, stated
from darkroom.numbers import NotNegative, Positive, Supplied


class Restorer(Averaged):
    """A network from pictures to pictures, of any size; what it repairs is what its ``degradation`` does to them.

    Beside the picture it is shown what is known of the damage: a map of the noise level where noise comes in many
    strengths (Zhang et al. 2018, FFDNet), and where to repair, where there are holes, roughly filled already; what is
    outside the holes it returns to the bit. What answers is the exponential average of the network, unless
    ``average_half_life`` (images) is 0.

    With ``adversarial``, best from the weights of a first stage (``init=``), a discriminator has to be deceived as
    well: what is made up looks sharper, and is farther from the truth.

    The network is a plain one, ``network(channels, channels_in, scale)``, from ``(B, channels_in, H, W)``, of which the
    first channels are the picture, to ``(B, channels, scale * H, scale * W)``. It may state the ``multiple`` that sides
    have to be of, and its ``reach``, pixels around a place that decide what becomes of it; None: all of them. One that
    decides by all of a picture what to do to each part of it has ``look(pictures)``, whose answer it takes as
    ``settings``.
    """

    def __init__(
        self,
        network: Callable[..., nn.Module],
        degradation: Degradation,
        optimizer: Callable[..., Optimizer],
        schedule: Schedule,
        image_shape: Supplied[Sequence[int]],
        class_names: Supplied[Sequence[str]],
        loss: str | Mapping[str, NotNegative] = "mse",
        average_half_life: NotNegative = 0,
        average_ramp: NotNegative = 0.1,
        gradient_clip: Positive | None = None,
        adversarial: Callable[..., Adversary] | None = None,
    ) -> None:
        super().__init__(image_shape, class_names, schedule)
        self.degradation = degradation
        self.operation, self.scale = degradation.operation, degradation.scale
        self.leveled, self.masked = degradation.leveled, degradation.masked
        channels = image_shape[0]
        self.loss = weighted(loss)
        made = network(channels=channels, channels_in=channels + self.leveled + self.masked, scale=self.scale)
        self.set_network(made, optimizer, average_half_life, average_ramp, gradient_clip)
        wanted = self.scale * int(stated(made, "multiple", 1))
        if any(side % wanted for side in image_shape[1:]):
            raise UserError(
                f"This network takes pictures whose sides are multiples of {wanted}, and the data's are"
                f" {image_shape[2]}x{image_shape[1]}: type data.image_size={-(-image_shape[1] // wanted) * wanted}."
            )
        # Holes are filled first, by means over squares, which tiles have to share.
        self.multiple = math.lcm(int(stated(made, "multiple", 1)), 2**COARSEST if self.masked else 1)
        reach, looks = stated(made, "reach", 32), isinstance(made, Looks)
        # Holes are filled before a network looks: where there are some it decides as it restores, of the whole picture.
        self.decides = looks and not self.masked
        whole = reach is None or (looks and self.masked)
        self.reach = None if whole else reach + (MEMBRANE_STEPS if self.masked else 0)
        self.adversary = adversarial(image_shape=image_shape) if adversarial is not None else None
        self.automatic_optimization = self.adversary is None

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> dict[str, Tensor]:
        """Return the loss on this batch, and the PSNR over all of it."""
        images = batch["images"]
        damaged, mask, level = self.damage(images)
        restored = self._composed(self.network, damaged, mask, level)
        loss = self.loss(restored, images)
        curves = {"loss": loss} if self.adversary is None else self._play(self.adversary, images, restored, loss)
        before = self.images_seen
        self.count(batch)
        if self.adversary is not None and self.average is not None:
            images_more = self.images_seen - before
            half_life, ramp = self.average_half_life, self.average_ramp
            ema_update(self.average, self.network, images_more, self.images_seen, half_life, ramp)
        halves = (restored.detach() - images) / 2  # of a range of 1, as PSNR is
        return curves | {"psnr": -10 * torch.log10(halves.square().mean())}

    def _play(self, adversary: Adversary, real: Tensor, restored: Tensor, loss: Tensor) -> dict[str, Tensor]:
        """Take one step with the discriminator and one with the network; return the losses."""
        discriminator_step, network_step = paired_optimizers(self)
        uniform = functools.partial(self.of_this_process, torch.rand)
        curves = adversary.losses(real, restored, uniform)
        discriminator_step.zero_grad()
        self.manual_backward(curves.pop("total"))
        discriminator_step.step()
        adversary.penalty.constrain(adversary.discriminator)
        generator_loss = adversary.generator_loss(real, restored)
        network_step.zero_grad()
        self.manual_backward(loss + adversary.weight * generator_loss)
        network_step.step()
        return curves | {"loss": loss.detach(), "generator_loss": generator_loss.detach()}

    def configure_optimizers(self) -> Any:
        """Return the one optimizer, or the discriminator's before it."""
        if self.adversary is None:
            return super().configure_optimizers()
        first = self.scheduled(self.adversary.optimizer(params=self.adversary.discriminator.parameters()))
        return [first, super().configure_optimizers()]

    def migrate(self, state: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the state of a first stage with a discriminator that has learned nothing yet.

        Of a second stage, for a model without one, what is not of the discriminator.
        """
        mine = {name: value for name, value in self.state_dict().items() if name.startswith("adversary.")}
        if not mine:
            return {name: value for name, value in state.items() if not name.startswith("adversary.")}
        return {**mine, **state}

    def damage(self, images: Tensor) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Return this process's part of a batch damaged, where to repair it, and how strong the noise is."""
        level = self.degradation.levels(len(images), self.of_this_process)
        damaged, seen = self.degradation(images, self.of_this_process, level)
        return damaged, seen < 1 if self.masked else None, level if self.leveled else None

    def dummy_loss(self, images: Tensor) -> Tensor:
        """Return the error of a copy: forwards and backwards it costs what a step costs."""
        smaller = images[:, :, :: self.scale, :: self.scale]
        beside = smaller.new_zeros(len(images), self.leveled + self.masked, *smaller.shape[2:])
        total: Tensor = copy.deepcopy(self.network)(torch.cat([smaller, beside], dim=1)).float().square().sum()
        return total

    @torch.no_grad()
    def restore(
        self,
        damaged: Tensor,
        labels: Tensor | None = None,
        mask: Tensor | None = None,
        level: Tensor | float | None = None,
        settings: Tensor | None = None,
    ) -> Tensor:
        """Return whole pictures in [-1, 1] for damaged ones ``(B, C, H, W)`` of any size; labels tell it nothing.

        ``mask``, bool ``(B, 1, H, W)``, is true where to repair, and outside of it pixels come back as they are;
        ``level`` is the deviation of the noise in 255ths, of all or of each ``(B,)``, estimated where it is not given;
        ``settings`` are what `look` found in the pictures that these are parts of.

        Raises:
            UserError: it repairs holes and is not told where, or is told where to enlarge.
        """
        damaged = damaged.to(self.device)
        if self.masked and mask is None:
            raise UserError(f"This model repairs holes ({self.operation}) and needs to be told where: give a mask.")
        if self.scale > 1 and mask is not None:
            raise UserError("A picture is enlarged as a whole, and not inside a mask: leave the mask out.")
        mask = mask.to(self.device) if mask is not None else None
        given = None
        if self.leveled:
            estimated = noise_level(damaged) if level is None else torch.as_tensor(level, dtype=torch.float32)
            given = estimated.to(self.device).expand(len(damaged))
        height, width = damaged.shape[2:]
        down, across = -height % self.multiple, -width % self.multiple
        wider = reflected(damaged, down, across)
        wider_mask = reflected(mask, down, across) if self.masked and mask is not None else None
        with eval_mode(self.inference_network) as network:  # a normalisation over the batch would mix its pictures
            restored = self._composed(network, wider, wider_mask, given, settings)
        restored = restored[:, :, : height * self.scale, : width * self.scale].clamp(-1, 1)
        return restored if mask is None else torch.where(mask, restored, damaged)

    @torch.no_grad()
    def look(self, damaged: Tensor) -> Tensor:
        """Return what the network decides by all of damaged pictures ``(B, C, H, W)``, ``(B, settings)``."""
        with eval_mode(self.inference_network) as network:
            settings: Tensor = network.look(damaged.to(self.device))
        return settings

    def _composed(
        self,
        network: nn.Module,
        damaged: Tensor,
        mask: Tensor | None,
        level: Tensor | None,
        settings: Tensor | None = None,
    ) -> Tensor:
        """Return what a network makes of damaged pictures, float32; where there is a mask, inside it alone."""
        if mask is not None:
            damaged = harmonic(damaged, mask)  # whatever lies in a hole is not to be believed
        shown = [damaged]
        if level is not None:
            shown.append((level / 127.5).to(damaged).view(-1, 1, 1, 1).expand(-1, 1, *damaged.shape[2:]))
        if mask is not None:
            shown.append(mask.to(damaged))
        decided = {} if settings is None else {"settings": settings}
        restored: Tensor = network(torch.cat(shown, dim=1), **decided).float()
        return restored if mask is None else torch.where(mask, restored, damaged)


def reflected(maps: Tensor, down: int, across: int) -> Tensor:
    """Return maps ``(B, C, H, W)`` with so many rows and columns more, mirrored at the edge as often as that takes."""
    for dim, more in ((2, down), (3, across)):
        if more:
            side = maps.shape[dim]
            places = torch.arange(side + more, device=maps.device) % max(1, 2 * side - 2)
            maps = maps.index_select(dim, torch.where(places < side, places, 2 * side - 2 - places))
    return maps
