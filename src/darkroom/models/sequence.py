"""The sequence model: it is shown some frames and says which follow, told what is done to them or not."""

import copy
import inspect
from collections import abc
from collections.abc import Callable, Mapping
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer

from darkroom.errors import UserError
from darkroom.losses.reconstruction import LOSSES
from darkroom.models.averaged import Averaged
from darkroom.models.curriculum import Curriculum
from darkroom.models.explainable import Explainable
from darkroom.models.model import Moving, Shown, standard_normal
from darkroom.models.schedule import Schedule
from darkroom.numbers import Count, NotNegative, Positive, Supplied, Whole

GRID = 8  # squares along each side of a frame that are explained
DARKEST = 1e-3  # brightness that counts as none at all


class Sequence(Averaged):
    """A model of sequences ``(B, T, C, H, W)`` in [-1, 1]: it is shown the first ``inputs`` frames and says the others.

    The loss is the error of every frame that is said, of those in between as well where the network says them; the
    ``curriculum`` decides which true frames are shown on the way. Afterwards it goes on from its own forecasts, for as
    long as is asked. With ``conditioning=action`` it is told what is done after each frame (turned, moved: what the
    data call it), and with ``latents`` one past has several futures; ``divergence_weight`` is then the weight of what
    the true frames said of the latents, nats a frame.

    A sequence counts as one image. What answers is the exponential average of the network, unless
    ``average_half_life`` (images) is 0.
    """

    sizes: Tensor

    def __init__(
        self,
        network: Callable[..., nn.Module],
        optimizer: Callable[..., Optimizer],
        schedule: Schedule,
        image_shape: Supplied[abc.Sequence[int]],
        class_names: Supplied[abc.Sequence[str]],
        curriculum: Curriculum | None = None,
        inputs: Count = 5,
        loss: Literal["mse", "l1"] = "mse",
        conditioning: Literal["none", "action"] = "none",
        latents: Whole = 0,
        divergence_weight: NotNegative = 1e-4,
        average_half_life: NotNegative = 0,
        average_ramp: NotNegative = 0.1,
        gradient_clip: Positive | None = None,
        actions: Supplied[Mapping[str, float] | None] = None,
    ) -> None:
        """State the parts; ``actions`` are the names of what can be done, each with its largest size in training."""
        super().__init__(image_shape, class_names, schedule)
        self.actions = dict(actions or {}) if conditioning == "action" else {}
        if conditioning == "action" and not self.actions:
            raise UserError(
                "model.conditioning=action needs data that say what is done to an image, and these do not: type"
                " data=transforms, or model.conditioning=none."
            )
        asked = {"latents": latents} if latents else {}
        if latents and "latents" not in inspect.signature(network).parameters:
            raise UserError(
                f"model.latents={latents} needs a network that knows latents: type network@model.network=convlstm, or"
                " model.latents=0."
            )
        made = network(
            channels=image_shape[0],
            size=tuple(image_shape[1:]),
            action_dim=len(self.actions),
            inputs=inputs,
            **asked,
        )
        self.set_network(made, optimizer, average_half_life, average_ramp, gradient_clip)
        self.curriculum = curriculum or Curriculum()
        self.inputs, self.latents = inputs, latents
        self.loss, self.divergence_weight = loss, divergence_weight
        self.register_buffer("sizes", torch.tensor([size or 1.0 for size in self.actions.values()]), persistent=False)

    # --- training

    def init_from_data(self, shown: Shown) -> None:
        """Refuse data that are no sequences, or too short.

        Raises:
            UserError: single images, or sequences with nothing left to say after the first ``inputs`` frames.
        """
        if not isinstance(shown, Moving):
            raise UserError(
                "A sequence model learns from sequences, and these data are single images: type data=moving_digits,"
                " data=transforms or data=videos."
            )
        if (frames := shown.frames) <= self.inputs:
            raise UserError(
                f"model.inputs={self.inputs} frames of {frames} leave nothing to forecast: type"
                f" model.inputs={max(1, frames // 2)} or data.source.frames={2 * self.inputs}."
            )

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> dict[str, Tensor]:
        """Return the loss on this batch, and the PSNR of what follows the first frames."""
        frames = batch["images"]
        count, steps = len(frames), frames.shape[1] - 1
        given = self.curriculum(self.of_this_process(torch.rand, count, steps).to(frames), self.inputs, self.fraction)
        forecast = self._continued(
            self.network, frames, given, self._scaled(batch.get("actions")), self._informed(count, steps)
        )
        self.count(batch)
        made, true = forecast.frames, frames[:, -forecast.frames.shape[1] :]
        error = LOSSES[self.loss](made, true)
        beyond = ((made[:, self.inputs - frames.shape[1] :] - true[:, self.inputs - frames.shape[1] :]) / 2).detach()
        curves = {"loss": error, "psnr": -10 * torch.log10(beyond.square().mean())}
        if self.latents:
            divergence = forecast.surprise.mean() / steps
            curves |= {"loss": error + self.divergence_weight * divergence, "divergence": divergence.detach()}
        return curves

    def dummy_loss(self, images: Tensor) -> Tensor:
        """Return the error of a copy: forwards and backwards it costs what a step costs."""
        count, steps = len(images), images.shape[1] - 1
        given = (torch.arange(steps, device=images.device) < self.inputs).expand(count, -1)
        actions = images.new_zeros(count, steps, len(self.actions)) if self.actions else None
        noise = {"noise": images.new_zeros(count, steps, self.latents), "informed": True} if self.latents else {}
        total: Tensor = self._continued(copy.deepcopy(self.network), images, given, actions, noise).frames.sum()
        return total

    def _scaled(self, actions: Tensor | None) -> Tensor | None:
        """Return actions as shares of their largest size in training; None for a model that is told of none."""
        if not self.actions:
            return None
        assert actions is not None, "a model that is told of actions was told of none"
        return actions.to(self.sizes) / self.sizes

    def _informed(self, count: int, steps: int) -> dict[str, Any]:
        if not self.latents:
            return {}
        noise = self.of_this_process(torch.randn, count, steps, self.latents).to(self.device)
        return {"noise": noise, "informed": True}

    def _continued(
        self, network: Any, frames: Tensor, given: Tensor, actions: Tensor | None, noise: Mapping[str, Any]
    ) -> Any:
        told = {} if actions is None else {"actions": actions}
        return network(frames, given, **told, **noise)

    # --- what it can do

    def noise(self, indices: Tensor, steps: int, seed: int) -> Tensor:
        """Return the standard normal numbers ``(n, steps, latents)`` of the futures of sequences with these indices."""
        return standard_normal(indices, seed, (steps, self.latents), stream=1)

    def forecast(
        self, frames: Tensor, steps: int, actions: Tensor | None = None, noise: Tensor | None = None
    ) -> Tensor:
        """Return the ``steps`` frames that follow ``frames`` ``(B, n, C, H, W)``, in [-1, 1].

        ``actions`` ``(B, n - 1 + steps, A)`` say what is done after each frame, in the data's units; a model that is
        told of none needs none. ``noise`` ``(B, n - 1 + steps, latents)`` chooses among futures; without it each
        latent is what is expected. Differentiable where gradients are.
        """
        shown = frames.shape[1]
        frames = frames.to(self.device)
        given = (torch.arange(shown - 1 + steps, device=self.device) < shown).expand(len(frames), -1)
        chosen: dict[str, Any] = {}
        if self.latents:
            chosen["noise"] = frames.new_zeros(*given.shape, self.latents) if noise is None else noise.to(self.device)
        made: Tensor = self._continued(self.inference_network, frames, given, self._scaled(actions), chosen).frames
        return made[:, -steps:].float().clamp(-1, 1)

    def explainable(self) -> list[Explainable]:
        """Return what the forecast shows where, of the frames shown side by side."""
        return [explainable_forecast(self)]


class ForecastOutputs(nn.Module):
    """How bright each square of the last forecast frame is, as the logit of its mean brightness.

    The frames that are shown stand side by side in one picture, ``(B, C, H, T * W)``, so that what is asked of a
    picture's pixels is asked of all frames at once. A model that is told of actions is told that nothing is done.
    """

    def __init__(self, model: Sequence, ahead: int) -> None:
        super().__init__()
        self.network, self.inputs, self.ahead = model.inference_network, model.inputs, ahead
        self.action_dim, self.latents = len(model.actions), model.latents

    def forward(self, images: Tensor, targets: Tensor | None = None) -> Tensor:
        """Return all outputs, ``(B, K)``, row by row, or that of the target of each picture, ``(B,)``."""
        frames = torch.stack(images.chunk(self.inputs, dim=3), dim=1)
        steps = self.inputs - 1 + self.ahead
        given = (torch.arange(steps, device=images.device) < self.inputs).expand(len(frames), -1)
        told = {}
        if self.action_dim:
            told["actions"] = images.new_zeros(len(images), steps, self.action_dim)
        if self.latents:
            told["noise"] = images.new_zeros(len(images), steps, self.latents)
        last = self.network(frames, given, **told).frames[:, -1]
        brightness = F.adaptive_avg_pool2d(last.float().mean(dim=1, keepdim=True) / 2 + 0.5, squares(last.shape))
        outputs = brightness.flatten(1).clamp(DARKEST, 1 - DARKEST).logit()
        return outputs if targets is None else outputs.gather(1, targets[:, None]).squeeze(1)


def squares(shape: torch.Size | tuple[int, ...]) -> tuple[int, int]:
    """Return into how many rows and columns of squares frames of a shape ending in height and width are cut."""
    return min(GRID, shape[-2]), min(GRID, shape[-1])


def explainable_forecast(model: Sequence) -> Explainable:
    """Return the squares of the frame as far ahead as frames are shown."""
    rows, columns = squares(model.image_shape)
    names = [f"row {row} column {column}" for row in range(rows) for column in range(columns)]
    return Explainable("forecast", ForecastOutputs(model, model.inputs), names, {}, exclusive=False)


def strip(frames: Tensor) -> Tensor:
    """Return frames ``(B, T, C, H, W)`` side by side, ``(B, C, H, T * W)``."""
    return torch.cat(list(frames.unbind(dim=1)), dim=3)
