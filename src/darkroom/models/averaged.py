"""A model with one network and one optimizer, which may answer with the average of its weights."""

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from darkroom.models.model import Model


@torch.no_grad()
def ema_update(
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


class Averaged(Model):
    """What all of them share: a step, the exponential moving average (EMA) after it, and which network answers.

    With a half-life (images, 0: off) answers come from the exponential average of the network, whose memory is, early
    on, ``ramp`` of the images seen. Weight decay spares biases, the scales of normalisations and single numbers.
    """

    network: Any
    average: Any

    def set_network(
        self,
        network: nn.Module,
        optimizer: Callable[..., Optimizer],
        half_life: float,
        ramp: float,
        gradient_clip: float | None,
    ) -> None:
        """Take over the network; ``gradient_clip`` is the norm that its gradient may have."""
        self.network = network
        self.average = copy.deepcopy(network).requires_grad_(False) if half_life else None
        self.optimizer = optimizer
        self.average_half_life, self.average_ramp = half_life, ramp
        self.gradient_clip = gradient_clip

    @property
    def averaged(self) -> bool:
        """Whether the averaged network answers; part of the protocol of every score."""
        return self.average is not None

    @property
    def inference_network(self) -> Any:
        """The network that answers: the averaged one where there is one."""
        return self.network if self.average is None else self.average

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Take a step and update the average at once: what callbacks score and save after it is whole."""
        before = self.images_seen
        super().optimizer_step(*args, **kwargs)
        if self.average is not None:
            images = self.images_seen - before
            ema_update(self.average, self.network, images, self.images_seen, self.average_half_life, self.average_ramp)

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Clip the gradient's norm; here it is already unscaled under 16-bit training."""
        if self.gradient_clip:
            nn.utils.clip_grad_norm_(self.network.parameters(), self.gradient_clip)

    def configure_optimizers(self) -> Optimizer:
        """Return the one optimizer."""
        learnt = [parameter for parameter in self.network.parameters() if parameter.requires_grad]
        groups: list[dict[str, Any]] = [
            {"params": [parameter for parameter in learnt if parameter.ndim > 1]},
            {"params": [parameter for parameter in learnt if parameter.ndim <= 1], "weight_decay": 0.0},
        ]
        return self.scheduled(self.optimizer(params=[group for group in groups if group["params"]]))
