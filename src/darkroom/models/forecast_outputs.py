"""What a forecast shows where, as outputs that can be traced back to the pixels of the frames before it."""

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from darkroom.models.explainable import Explainable

if TYPE_CHECKING:
    from darkroom.models.sequence import Sequence

GRID = 8  # squares along each side of a frame that are explained
DARKEST = 1e-3  # brightness that counts as none at all


class ForecastOutputs(nn.Module):
    """How bright each square of the last forecast frame is, as the logit of its mean brightness.

    The frames that are shown stand side by side in one picture, ``(B, C, H, T * W)``, so that what is asked of a
    picture's pixels is asked of all frames at once. A model that is told of actions is told that nothing is done.
    """

    def __init__(self, model: "Sequence", ahead: int) -> None:
        super().__init__()
        self.network, self.inputs, self.ahead = model.answering, model.inputs, ahead
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


def explainable_forecast(model: "Sequence") -> Explainable:
    """Return the squares of the frame as far ahead as frames are shown."""
    rows, columns = squares(model.image_shape)
    names = [f"row {row} column {column}" for row in range(rows) for column in range(columns)]
    return Explainable("forecast", ForecastOutputs(model, model.inputs), names, {}, exclusive=False)


def strip(frames: Tensor) -> Tensor:
    """Return frames ``(B, T, C, H, W)`` side by side, ``(B, C, H, T * W)``."""
    return torch.cat(list(frames.unbind(dim=1)), dim=3)
