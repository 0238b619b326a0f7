"""Which latents a picture has: an encoder says, or they are looked for (`darkroom.latents.inversion`)."""

from dataclasses import dataclass

import torch
from torch import Tensor

from darkroom.latents import inversion
from darkroom.metrics import paired
from darkroom.models.abilities import Renders, Traverses

DRAWS = 64  # places where latents are looked for first


@dataclass(frozen=True)
class Found:
    """Latents ``(B, d)`` of pictures, the vectors ``(B, D)`` that they are drawn under, and what that shows.

    ``condition`` is the number ``(B,)`` of the condition among those that were tried, ``psnr`` ``(B,)`` in decibels.
    """

    latents: Tensor
    vectors: Tensor | None
    condition: Tensor
    images: Tensor
    psnr: Tensor


@dataclass(frozen=True)
class Finder:
    """Whoever finds the latents of pictures, and draws latents."""

    model: Renders
    steps: int
    seed: int = 0
    truncation: float = 1.0

    def find(self, images: Tensor, conditions: Tensor | None) -> Found:
        """Return the latents of images ``(B, C, H, W)`` under the best of the conditions ``(K,)`` or ``(K, L)``."""
        model = self.model
        vectors = model.vectors(None if conditions is None else conditions.to(model.device))
        images = images.to(model.device)
        if isinstance(model, Traverses):
            found = self._encoded(model, images, conditions, vectors)
        else:
            draws = model.latents(torch.arange(DRAWS), self.seed).to(model.device)
            space = inversion.Space.of(draws, self.truncation)
            found = inversion.invert(model.rendered, images, draws, space, vectors, self.steps)
        told = None if vectors is None else vectors[found.condition]
        return Found(found.latents, told, found.condition, found.images, paired.psnr(found.images, images))

    def _encoded(
        self, model: Traverses, images: Tensor, conditions: Tensor | None, vectors: Tensor | None
    ) -> inversion.Inverted:
        """Return what the encoder says under each condition, the best of it, and that looked for further."""
        told = [None] if conditions is None else [condition.expand(len(images)) for condition in conditions]
        latents = torch.stack([model.encode(images, labels) for labels in told], dim=1)
        condition = torch.arange(len(told), device=images.device).expand(len(images), -1)
        space = inversion.Space.of(model.typical(256), self.truncation)
        search = (model.rendered, images)
        latents, errors = inversion.descend(*search, latents, condition, space, vectors, 0)
        best = inversion.nearest(model.rendered, latents, condition, vectors, errors)
        if not self.steps:
            return best
        latents, errors = inversion.descend(
            *search, best.latents[:, None], best.condition[:, None], space, vectors, self.steps
        )
        return inversion.nearest(model.rendered, latents, best.condition[:, None], vectors, errors)

    @torch.no_grad()
    def show(self, latents: Tensor, vectors: Tensor | None) -> Tensor:
        """Return the images ``(B, C, H, W)`` in [-1, 1], on the CPU, of latents under as many vectors, or one."""
        told = None if vectors is None else vectors.expand(len(latents), -1)
        parts = [
            self.model.rendered(latents[part], None if told is None else told[part]).clamp(-1, 1).cpu()
            for part in torch.split(torch.arange(len(latents)), inversion.CHUNK)
        ]
        return torch.cat(parts)
