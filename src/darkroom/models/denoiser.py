"""The denoiser: it is shown a damaged picture and learns to return the whole one."""

import copy
from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from darkroom.editing.degradations import Degradation
from darkroom.losses.reconstruction import LOSSES
from darkroom.models.averaged import Averaged
from darkroom.models.schedule import Schedule


class Denoiser(Averaged):
    """A denoising autoencoder whose code are maps, so that it restores pictures of any size (Vincent et al. 2008).

    What restores is the exponential average of the network, unless ``average_half_life`` (images) is 0.
    """

    def __init__(
        self,
        network: Callable[..., nn.Module],
        degradation: Degradation,
        optimizer: Callable[..., Optimizer],
        schedule: Schedule,
        image_shape: Sequence[int],
        class_names: Sequence[str],
        loss: Literal["mse", "l1"] = "mse",
        average_half_life: float = 0,
        average_ramp: float = 0.1,
        gradient_clip: float | None = None,
    ) -> None:
        super().__init__(image_shape, class_names, schedule)
        self.own(network(channels=image_shape[0]), optimizer, average_half_life, average_ramp, gradient_clip)
        self.degradation = degradation
        self.loss = loss

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> dict[str, Tensor]:
        """Return the loss on this batch, and the PSNR over all of it."""
        images = batch["images"]
        damaged, _ = self.degradation(images, self.of_this_process)
        restored = self.network(damaged).float()
        self.count(batch)
        halves = (restored.detach() - images) / 2  # of a range of 1, as PSNR is
        return {"loss": LOSSES[self.loss](restored, images), "psnr": -10 * torch.log10(halves.square().mean())}

    def rehearse(self, images: Tensor) -> Tensor:
        """Return the error of a copy: forwards and backwards it costs what a step costs."""
        total: Tensor = copy.deepcopy(self.network)(images).float().square().sum()
        return total

    @torch.no_grad()
    def restore(self, damaged: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return whole pictures in [-1, 1] for damaged ones ``(B, C, H, W)`` of any size; labels tell it nothing."""
        restored: Tensor = self.answering(damaged.to(self.device))
        return restored.float().clamp(-1, 1)

    def edit(self, images: Tensor) -> Tensor:
        """Return the pictures restored."""
        return self.restore(images)
