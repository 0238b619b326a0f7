"""A model with one network and one optimizer, which may answer with the average of its weights."""

import copy
from collections.abc import Callable
from typing import Any

from torch import nn
from torch.optim import Optimizer

from darkroom.models.average import follow
from darkroom.models.model import Model


class Averaged(Model):
    """What all of them share: a step, the average that follows it, and who answers.

    With a half-life (images, 0: off) answers come from the exponential average of the network, whose memory is, early
    on, ``ramp`` of the images seen. Weight decay spares biases, the scales of normalisations and single numbers.
    """

    network: Any
    average: Any

    def own(
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
    def answering(self) -> Any:
        """The network that answers: the averaged one where there is one."""
        return self.network if self.average is None else self.average

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Take a step and let the average follow it at once: what callbacks score and save after it is whole."""
        before = self.images_seen
        super().optimizer_step(*args, **kwargs)
        if self.average is not None:
            images = self.images_seen - before
            follow(self.average, self.network, images, self.images_seen, self.average_half_life, self.average_ramp)

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
