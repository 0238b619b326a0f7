"""A picture made of another one's patches: style without a network and without training (after GPDM).

Every patch of the result is to be found in the style, as often as it is there, at several scales (Elnekave & Weiss
2022). Content stays because the way starts from it and ends at the nearest place that will do.
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from darkroom.errors import UserError
from darkroom.imaging.colour import linear
from darkroom.losses.patches import SIZE, directions, projected, quantiles

DIRECTIONS = 64  # fresh ones each step
PATCHES = 8192  # looked at each step: others in the next, since where the grid lies is drawn as well
LEAST = 16  # pixels of the shorter side at the coarsest scale, and of any picture that this can be done to
WINDOW, FLAT = 2, 1e-3  # of the guided filter: radius in pixels, and the variance below which nothing is an edge

Progress = Callable[[int, int], None]  # (steps done, steps in all)


def stylised(
    content: Tensor,
    style: Tensor,
    levels: int = 4,
    steps: int = 40,
    seed: int = 0,
    progress: Progress | None = None,
) -> Tensor:
    """Return the content ``(C, H, W)`` made of the patches of a style ``(C, h, w)``, in [-1, 1].

    The style is brought to the content's shorter side. At each of ``levels`` scales, each twice as fine as the one
    before, so many ``steps`` are taken: the more scales, the more of the content's shapes give way to the style's.

    A step is one of sliced optimal transport: along random directions every patch moves to the style's patch of equal
    rank, and pixels move to the mean of what the patches over them ask for. So it has a natural length, unlike one of
    Adam on the same distance, and a fifth of the steps give cleaner pictures.

    Raises:
        UserError: a picture has a side below 16 pixels.
    """
    smaller = min(content.shape[1:])
    if min(smaller, *style.shape[1:]) < LEAST:
        raise UserError(
            f"A picture of {smaller} pixels a side in a style of {min(style.shape[1:])} is too small to be made of"
            f" patches: give pictures of {LEAST} pixels or more, or type method=colour."
        )
    generator = torch.Generator().manual_seed(seed)
    levels = min(levels, int(math.log2(smaller / LEAST)) + 1)
    aim = resized(style, scale=smaller / min(style.shape[1:]))
    start = linear(content, aim).clamp(-1, 1)
    made, before = start, start
    for level in reversed(range(levels)):
        shown = resized(start, scale=0.5**level)
        wanted = resized(aim, scale=0.5**level)
        # What is finer than the last scale could show is still the content's.
        made = shown if before is start else resized(made, shown.shape[1:]) + shown - resized(before, shown.shape[1:])
        before = shown
        for step in range(steps):
            made = _stepped(made, wanted, math.sqrt(1 - step / steps), generator)
            if progress:
                progress((levels - 1 - level) * steps + step + 1, levels * steps)
    return made.clamp(-1, 1)


def _stepped(made: Tensor, wanted: Tensor, length: float, generator: torch.Generator) -> Tensor:
    """Return a picture after a step of so much of the natural length."""
    stride = math.ceil(math.sqrt(made[0].numel() / PATCHES))
    filters = directions(DIRECTIONS, made.shape[0], generator=generator)
    corners = torch.randint(stride, (2, 2), generator=generator).tolist()
    image = made.detach().requires_grad_(True)
    with torch.enable_grad():  # whoever edits pictures otherwise needs none
        # Mirrored at the edges, so that as many patches lie over a pixel there as anywhere.
        found, asked = (
            projected(F.pad(picture[None], (SIZE // 2,) * 4, mode="reflect")[:, :, top:, left:], filters, stride)
            for picture, (top, left) in zip((image, wanted), corners, strict=True)
        )
        (ways,) = torch.autograd.grad((found - quantiles(asked, found.shape[2]).detach()).square().sum() / 2, image)
    # So many directions are orthogonal among patches, and so many patches lie over a pixel.
    orthogonal, over = filters[0].numel() / DIRECTIONS, max(1.0, (SIZE / stride) ** 2)
    return image.detach() - length * orthogonal / over * ways


def enlarged(made: Tensor, small: Tensor, content: Tensor) -> Tensor:
    """Return at full size what was made of a picture brought to a smaller one, with the edges of the full one.

    Guided upsampling (He & Sun 2015, the fast guided filter): around each pixel of the small picture, what was made is
    a line over the content's values, and that line is followed at full size. What is no such line, the strokes, is
    enlarged as it is. Channel by channel, so that a large photograph needs little beside itself.
    """
    size = content.shape[1:]
    channels = []
    for result, guide, full in zip(made[:, None], small[:, None], content[:, None], strict=True):
        slope = _mean(guide * result) - _mean(guide) * _mean(result)
        slope = slope / (_mean(guide * guide) - _mean(guide) ** 2 + FLAT)
        # Where it would turn light into dark or exaggerate, it says nothing of the finer edges.
        slope = _mean(slope.clamp(0, 1))
        channels.append(resized(result - slope * guide, size) + resized(slope, size) * full)
    return torch.cat(channels).clamp(-1, 1)


def _mean(maps: Tensor) -> Tensor:
    """Return the mean around each pixel; at the edges of the pixels that there are."""
    return F.avg_pool2d(maps, 2 * WINDOW + 1, stride=1, padding=WINDOW, count_include_pad=False)


def resized(picture: Tensor, size: torch.Size | None = None, scale: float | None = None) -> Tensor:
    """Return a picture ``(C, H, W)`` brought to a size or by a scale, bicubic with antialiasing."""
    if size is None:
        size = torch.Size([max(1, round(side * (scale or 1))) for side in picture.shape[1:]])
    if size == picture.shape[1:]:
        return picture
    return F.interpolate(picture[None], size=size, mode="bicubic", antialias=True, align_corners=False)[0]
