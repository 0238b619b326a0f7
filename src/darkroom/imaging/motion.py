"""Pictures turned, moved and enlarged by a stated amount, and what several such motions amount to."""

import torch
import torch.nn.functional as F
from torch import Tensor

# The units: degrees counter-clockwise, pixels, pixels, the natural logarithm of the factor.
MOTIONS = ("rotate", "right", "down", "zoom")


def moved(images: Tensor, motions: Tensor) -> Tensor:
    """Return the images ``(B, C, H, W)``, each after its motion ``(B, 4)``, by bicubic interpolation.

    A motion turns and enlarges about the centre of the picture, then moves it. What comes into view is black (-1), and
    the values stay in [-1, 1]. No motion leaves every value as it is.
    """
    # in double precision, so that pixels that fall on pixels are these pixels
    grid = backwards(motions.double(), images.shape[2], images.shape[3])
    light = F.grid_sample(images.double() + 1, grid, mode="bicubic", padding_mode="zeros", align_corners=False)
    return (light - 1).clamp(-1, 1).to(images.dtype)


def backwards(motions: Tensor, height: int, width: int) -> Tensor:
    """Return where what each pixel shows after its motion ``(B, 4)`` comes from, ``(B, height, width, 2)``.

    As `torch.nn.functional.grid_sample` has it: x, y, and the edges of the picture are -1 and 1.
    """
    rotate, right, down, zoom = motions.unbind(-1)
    cosine, sine = _turn(rotate, -zoom)
    # y points down: what was turned counter-clockwise, as one sees it, comes from further clockwise
    x = torch.stack([cosine, -sine, sine * down - cosine * right], dim=-1) * (2 / width)
    y = torch.stack([sine, cosine, -sine * right - cosine * down], dim=-1) * (2 / height)
    rows, columns = torch.meshgrid(_centred(height, motions), _centred(width, motions), indexing="ij")
    places = torch.stack([columns, rows, torch.ones_like(rows)], dim=-1).flatten(0, 1)
    return (places @ torch.stack([x, y], dim=-1)).view(len(motions), height, width, 2)


def accumulated(motions: Tensor) -> Tensor:
    """Return what steps ``(..., T, 4)`` amount to: at place t, the one motion that is steps 0 to t one after another.

    Each step acts on the whole picture as the ones before have left it, about its centre.
    """
    rotate, zoom = motions[..., 0].cumsum(-1), motions[..., 3].cumsum(-1)
    cosine, sine = _turn(motions[..., 0], motions[..., 3])
    right, down = torch.zeros_like(rotate[..., 0]), torch.zeros_like(rotate[..., 0])
    totals = []
    for step in range(motions.shape[-2]):
        right, down = (
            cosine[..., step] * right + sine[..., step] * down + motions[..., step, 1],
            cosine[..., step] * down - sine[..., step] * right + motions[..., step, 2],
        )
        totals.append(torch.stack([rotate[..., step], right, down, zoom[..., step]], dim=-1))
    return torch.stack(totals, dim=-2)


def _centred(count: int, like: Tensor) -> Tensor:
    """Return the places of pixels along a side, from its middle."""
    return torch.arange(count).to(like) - (count - 1) / 2


def _turn(degrees: Tensor, logarithm: Tensor) -> tuple[Tensor, Tensor]:
    """Return cosine and sine of the angle, times the factor whose logarithm is given."""
    angle, factor = torch.deg2rad(degrees), torch.exp(logarithm)
    return factor * torch.cos(angle), factor * torch.sin(angle)
