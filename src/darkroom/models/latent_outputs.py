"""What latents say of a picture, as outputs that can be traced back to its pixels."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from darkroom.models.explainable import Explainable

if TYPE_CHECKING:
    from darkroom.models.coder import Coder, Halves

MOST = 8  # latents that are explained
TYPICAL = 512  # latents drawn to find out what is usual
LOGISTIC = 1.702  # the logistic function of so many times x is the normal distribution's, to within 0.01


class LatentOutputs(nn.Module):
    """The means of some latents, in typical deviations from the typical mean.

    Scaled so that the sigmoid of an output is about the share of typical latents, those that pictures are drawn from,
    that lie below it: 0.5 is usual, 0.98 unusually much, 0.02 unusually little. (Divided by the posterior's own
    deviation, often a tenth of that, nearly every latent of every picture would be at 0 or 1.) A model that wants to
    be told the class is told a tenth of each of ten.
    """

    chosen: Tensor
    middle: Tensor
    deviation: Tensor

    def __init__(self, halves: "Halves", chosen: Tensor, middle: Tensor, deviation: Tensor, classes: int) -> None:
        super().__init__()
        self.encoder, self.translator, self.classes = halves.encoder, halves.translator, classes
        self.register_buffer("chosen", chosen)
        self.register_buffer("middle", middle[chosen])
        self.register_buffer("deviation", deviation[chosen])

    def forward(self, images: Tensor, targets: Tensor | None = None) -> Tensor:
        """Return all outputs, ``(B, K)``, or that of the target of each picture, ``(B,)``."""
        told = None
        if self.translator is not None:
            every = self.translator(torch.arange(self.classes, device=images.device))
            told = every.mean(dim=0).expand(len(images), -1)
        codes = self.encoder(images, told)
        outputs: Tensor = LOGISTIC * (codes[:, self.chosen].float() - self.middle) / self.deviation
        return outputs if targets is None else outputs.gather(1, targets[:, None]).squeeze(1)


def explainable_latents(model: "Coder") -> Explainable:
    """Return the latents that change the decoded picture most, up to 8, the strongest first."""
    middle, deviation = typical(model)
    chosen = sensitivity(model, middle, deviation).argsort(descending=True)[:MOST]
    outputs = LatentOutputs(model.answering, chosen, middle, deviation, model.classes)
    names = [f"latent {number}" for number in chosen.tolist()]
    return Explainable.of("latent", outputs, names, model.image_shape, exclusive=False)


@torch.no_grad()
def typical(model: "Coder") -> tuple[Tensor, Tensor]:
    """Return the mean and the deviation ``(d,)`` of the latents that pictures are drawn from."""
    latents = model.typical(TYPICAL)
    return latents.mean(dim=0), latents.std(dim=0, correction=0).clamp(min=1e-6)


def sensitivity(model: "Coder", middle: Tensor, deviation: Tensor) -> Tensor:
    """Return the mean squared change of the picture when a latent goes from one deviation below to one above, ``(d,)``.

    All others are at their mean; of a model that is told the class, the mean over classes.
    """
    steps = torch.diag(deviation)
    labels: Sequence[int | None] = range(model.classes) if model.classes else [None]
    changes = []
    for label in labels:
        told = None if label is None else torch.full((len(middle),), label)
        changes.append((model.decode(middle + steps, told) - model.decode(middle - steps, told)).square())
    return torch.stack(changes).mean(dim=(0, 2, 3, 4))
