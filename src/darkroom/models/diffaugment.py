"""Differentiable augmentation: the discriminator sees every picture, real or drawn, through the same random changes."""

import torch
from torch import Tensor, nn

from darkroom.numbers import Count, NotNegative, Share

NUMBERS = 10  # random numbers an image: three to decide, seven to say how much


class DiffAugment(nn.Module):
    """Translation, cutout and colour that pass gradients on (Zhao et al. 2020), each applied with ``probability``.

    The probability rises to its full value over the share ``ramp`` of the budget, since augmentations that are there
    from the start leak into what is drawn. With ``target`` it moves by itself instead, from 0 to at most
    ``probability`` (Karras et al. 2020, ADA): up while the discriminator is surer of real pictures than that, down
    while it is less sure, the full way in ``adaptation`` images.

        augment = DiffAugment(probability=0.5)
        changed = augment(images, torch.rand(len(images), NUMBERS), augment.strength(fraction=1.0))
    """

    adapted: Tensor

    def __init__(
        self,
        probability: Share = 0.0,
        translation: Share = 0.125,
        cutout: Share = 0.5,
        colour: bool | None = None,
        ramp: NotNegative = 0.2,
        target: Share | None = None,
        adaptation: Count = 100_000,
    ) -> None:
        """State how often and how much.

        Args:
            probability: how often each change is made, 0 to 1.
            translation: the largest shift, as a share of the side; what is uncovered repeats the border.
            cutout: the side of the grey square, as a share of the picture's.
            colour: change brightness, saturation and contrast; None: where there are three channels.
            ramp: the share of the budget over which the probability rises.
            target: the mean sign of real logits, 0 to 1, at which the probability rests (0.6 in the paper).
            adaptation: real images in which the probability could go from 0 to 1.
        """
        super().__init__()
        self.probability, self.translation, self.cutout, self.colour = probability, translation, cutout, colour
        self.ramp, self.target, self.adaptation = ramp, target, adaptation
        self.register_buffer("adapted", torch.zeros((), dtype=torch.float64))

    def strength(self, fraction: float) -> float:
        """Return the probability when ``fraction`` in [0, 1] of the budget is spent."""
        if self.target is not None:
            return float(self.adapted)
        return self.probability * (min(1.0, fraction / self.ramp) if self.ramp else 1.0)

    @torch.no_grad()
    def adapt(self, certainty: Tensor, images: int) -> None:
        """Move by what a batch of ``images`` tells; ``certainty`` is the mean sign of its real logits, -1 to 1."""
        if self.target is not None:
            step = torch.sign(certainty.double() - self.target) * images / self.adaptation
            self.adapted.add_(step.to(self.adapted)).clamp_(0.0, self.probability)

    def forward(self, images: Tensor, numbers: Tensor, strength: float) -> Tensor:
        """Return changed images; ``numbers`` ``(B, NUMBERS)`` in [0, 1) decide how, ``strength`` how often."""
        if strength <= 0:
            return images
        chosen = (numbers[:, :3] < strength).to(images.dtype)
        amount = numbers[:, 3:]
        if self.colour if self.colour is not None else images.shape[1] == 3:
            images = _coloured(images, chosen[:, 0], amount[:, 0], amount[:, 1], amount[:, 2])
        if self.translation:
            images = _translated(images, chosen[:, 1], amount[:, 3:5], self.translation)
        if self.cutout:
            images = _cut(images, chosen[:, 2], amount[:, 5:7], self.cutout)
        return images


def _coloured(images: Tensor, chosen: Tensor, brightness: Tensor, saturation: Tensor, contrast: Tensor) -> Tensor:
    """Return images brighter by up to half, of up to twice the saturation, of half to three halves of the contrast."""
    chosen, brightness, saturation, contrast = (
        part.view(-1, 1, 1, 1).to(images.dtype) for part in (chosen, brightness, saturation, contrast)
    )
    changed = images + (brightness - 0.5)
    grey = changed.mean(dim=1, keepdim=True)
    changed = grey + (changed - grey) * 2 * saturation
    mean = changed.mean(dim=(1, 2, 3), keepdim=True)
    changed = mean + (changed - mean) * (0.5 + contrast)
    return images + chosen * (changed - images)


def _translated(images: Tensor, chosen: Tensor, amount: Tensor, share: float) -> Tensor:
    """Return images moved by whole pixels; the border is repeated."""
    _, _, height, width = images.shape
    rows, columns = (
        (torch.round((2 * amount[:, axis] - 1) * share * size) * chosen).long()
        for axis, size in enumerate((height, width))
    )
    y = (torch.arange(height, device=images.device) + rows[:, None]).clamp(0, height - 1)
    x = (torch.arange(width, device=images.device) + columns[:, None]).clamp(0, width - 1)
    which = torch.arange(len(images), device=images.device)[:, None, None]
    return images.permute(0, 2, 3, 1)[which, y[:, :, None], x[:, None, :]].permute(0, 3, 1, 2)


def _cut(images: Tensor, chosen: Tensor, amount: Tensor, share: float) -> Tensor:
    """Return images with a square of middle grey, its centre anywhere."""
    _, _, height, width = images.shape
    inside = []
    for axis, size in enumerate((height, width)):
        half = max(1, round(share * size)) / 2
        centre = amount[:, axis, None] * size
        inside.append((torch.arange(size, device=images.device) + 0.5 - centre).abs() < half)
    hole = (inside[0][:, None, :, None] & inside[1][:, None, None, :]).to(images.dtype)
    return images * (1 - hole * chosen.view(-1, 1, 1, 1))
