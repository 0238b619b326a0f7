"""The latents that a picture could have been drawn from, found by trying: for models that have no encoder.

    space = Space.of(draws)
    found = invert(model.rendered, images, draws, space, vectors=model.vectors(classes))
    found.latents, found.condition, found.images

An optimisation that begins in several places, since most of them lead to another picture (Zhu et al. 2016; Abdal et al.
2019), under every condition that a model can be told.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

Render = Callable[[Tensor, Tensor | None], Tensor]  # latents (B, d), vectors (B, D) or None -> images (B, C, H, W)
RATE = 0.2  # of Adam, in deviations of a latent
KEPT = 16  # beginnings that are followed for a quarter of the steps, of which FINAL are followed to the end
FINAL = 4
PULL = 0.05  # weight of the way back to the shell
SMALLEST = 4  # pixels of the shorter side, at which a pyramid ends
NARROWEST = 0.05  # the least deviation that is believed of a latent
CHUNK = 256  # pictures drawn at a time


@dataclass(frozen=True)
class Space:
    """Where latents ``(d,)`` are: around a middle, so far from it in each number, seldom further out than a radius.

    Draws of d numbers do not lie near their middle but on a shell around it.
    """

    middle: Tensor
    deviation: Tensor
    radius: float  # in deviations

    @classmethod
    def of(cls, draws: Tensor, share: float = 1.0) -> "Space":
        """Measure draws ``(N, d)``; below 1 the ``share`` is that of the usual radius, and what is found more typical.

        Chi-squared of d degrees of freedom is d, seldom more than two of its deviations above.
        """
        count = draws.shape[1]
        deviation = draws.std(dim=0, correction=0).clamp(min=NARROWEST)
        return cls(draws.mean(dim=0), deviation, share * math.sqrt(count + 2 * math.sqrt(2 * count)))

    def outside(self, points: Tensor) -> Tensor:
        """Return how far out points ``(B, d)``, in deviations from the middle, are: square of the share beyond it."""
        return F.relu(points.norm(dim=1) / self.radius - 1).square()


@dataclass(frozen=True)
class Inverted:
    """The best that was found for each picture.

    ``condition`` is which of the vectors that were tried it is drawn under, ``(B,)``, all 0 where there were none;
    ``images`` ``(B, C, H, W)`` are what the latents ``(B, d)`` show, and ``errors`` ``(B,)`` their pyramid distances.
    """

    latents: Tensor
    condition: Tensor
    images: Tensor
    errors: Tensor


def invert(
    render: Render, images: Tensor, draws: Tensor, space: Space, vectors: Tensor | None = None, steps: int = 200
) -> Inverted:
    """Find the latents of images ``(B, C, H, W)`` in [-1, 1] by descending their pyramid distance to what is drawn.

    The search begins at the middle of the space and at ``draws`` ``(S, d)``, those under which the picture is nearest.
    ``vectors`` ``(K, D)`` are conditions, all of which are tried. Everything is a function of these arguments.
    """
    beginnings = torch.cat([space.middle[None], draws])
    conditions = 1 if vectors is None else len(vectors)
    kept = min(KEPT, len(beginnings) * conditions)
    found = [_distances(render, image, beginnings, vectors).flatten().argsort()[:kept] for image in images]
    places = torch.stack(found)  # (B, kept)
    condition, latents = places // len(beginnings), beginnings[places % len(beginnings)]
    latents, errors = descend(render, images, latents, condition, space, vectors, steps // 4)
    best = errors.argsort(dim=1)[:, :FINAL]
    latents, condition = _chosen(latents, best), condition.gather(1, best)
    latents, errors = descend(render, images, latents, condition, space, vectors, steps - steps // 4)
    return nearest(render, latents, condition, vectors, errors)


def descend(
    render: Render,
    images: Tensor,
    latents: Tensor,
    condition: Tensor,
    space: Space,
    vectors: Tensor | None,
    steps: int,
) -> tuple[Tensor, Tensor]:
    """Return latents ``(B, M, d)`` of images ``(B, C, H, W)`` after so many steps, and their distances ``(B, M)``.

    Adam with a rate that goes to 0, in deviations of the space; what leaves its radius is pulled back.
    """
    target = images.repeat_interleave(latents.shape[1], dim=0)
    told = None if vectors is None else vectors[condition.flatten()]
    points = ((latents.flatten(0, 1) - space.middle) / space.deviation).clone().requires_grad_(True)
    optimizer = torch.optim.Adam([points], lr=RATE)
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = RATE * 0.5 * (1 + math.cos(math.pi * step / steps))
        with torch.enable_grad():
            shown = render(space.middle + space.deviation * points, told)
            lost = pyramid_distance(shown, target) + PULL * space.outside(points)
            # of the points alone: the weights of the model keep the gradients that they have
            (points.grad,) = torch.autograd.grad(lost.sum(), points)
        optimizer.step()
    reached = latents if steps == 0 else (space.middle + space.deviation * points.detach()).view_as(latents)
    with torch.no_grad():
        errors = pyramid_distance(render(reached.flatten(0, 1), told), target)
    return reached, errors.view(latents.shape[:2])


@torch.no_grad()
def nearest(render: Render, latents: Tensor, condition: Tensor, vectors: Tensor | None, errors: Tensor) -> Inverted:
    """Return of several latents ``(B, M, d)``, conditions and errors ``(B, M)`` those with the smallest errors."""
    first = errors.argmin(dim=1, keepdim=True)
    chosen, told = _chosen(latents, first)[:, 0], condition.gather(1, first)[:, 0]
    shown = render(chosen, None if vectors is None else vectors[told]).clamp(-1, 1)
    return Inverted(chosen, told, shown, errors.gather(1, first)[:, 0])


def pyramid_distance(images: Tensor, others: Tensor) -> Tensor:
    """Return the mean squared difference of each pair, ``(B,)``: the mean over full size, half of it and so on.

    A stroke that lies beside another has no pixel in common with it, but has at a quarter of the size: the coarse
    levels say which way to go.
    """
    difference = images - others
    levels = [difference.square().flatten(1).mean(dim=1)]
    while min(difference.shape[2:]) >= 2 * SMALLEST:
        difference = F.avg_pool2d(difference, 2)
        levels.append(difference.square().flatten(1).mean(dim=1))
    return torch.stack(levels).mean(dim=0)


@torch.no_grad()
def _distances(render: Render, image: Tensor, beginnings: Tensor, vectors: Tensor | None) -> Tensor:
    """Return the distance of a picture to what is drawn of every beginning under every condition, ``(K, S)``."""
    told = [None] if vectors is None else [vector.expand(CHUNK, -1) for vector in vectors]
    distances = [
        pyramid_distance(render(part, None if vector is None else vector[: len(part)]), image[None])
        for vector in told
        for part in torch.split(beginnings, CHUNK)
    ]
    return torch.cat(distances).view(len(told), len(beginnings))


def _chosen(latents: Tensor, places: Tensor) -> Tensor:
    return latents.gather(1, places[..., None].expand(*places.shape, latents.shape[2]))
