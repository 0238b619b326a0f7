"""Large pictures in tiles: cut with what their edges need to know, and put together without seams."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from darkroom.errors import UserError

BLEND = 16  # pixels over which one tile blends into the next, where there is room


@dataclass(frozen=True)
class Span:
    """A part of a side, from ``start``, and how much each of its places counts in what is put together, ``(size,)``."""

    start: int
    weights: Tensor


def spans(length: int, tile: int | None, reach: int, multiple: int, scale: int = 1) -> list[Span]:
    """Return the parts that a side of ``length`` pixels is cut into, of ``tile`` pixels each, or the one that is all.

    Parts start and end at multiples, the last one beyond the side if need be. Where their weights, one a pixel of what
    is made, are not 0, there are ``reach`` pixels on both sides or the picture ends; they add up to 1 everywhere.
    """
    whole = math.ceil(length / multiple) * multiple
    if tile is None or whole <= tile:
        return [Span(0, torch.ones(whole * scale))]
    size = tile // multiple * multiple
    blend = min(BLEND, max(1, (size - 2 * reach) // 4))
    step = (size - 2 * reach - blend) // multiple * multiple
    if step < multiple:
        raise ValueError(f"tiles of {tile} pixels are too small for a reach of {reach}")
    starts = [*range(0, whole - size, step), whole - size]
    places = (torch.arange(size * scale, dtype=torch.float64) + 0.5) / scale
    ramps = []
    for start in starts:
        ramp = torch.ones(size * scale, dtype=torch.float64)
        if start > 0:
            ramp *= _hann((places - reach) / blend)
        if start < whole - size:
            ramp *= _hann((size - reach - places) / blend)
        ramps.append(ramp)
    total = torch.zeros(whole * scale, dtype=torch.float64)
    for start, ramp in zip(starts, ramps, strict=True):
        total[start * scale : (start + size) * scale] += ramp
    return [
        Span(start, (ramp / total[start * scale : (start + size) * scale]).float())
        for start, ramp in zip(starts, ramps, strict=True)
    ]


def least(reach: int, multiple: int) -> int:
    """Return the side of the smallest tiles that can be."""
    size = multiple
    while True:
        blend = min(BLEND, max(1, (size - 2 * reach) // 4))
        if (size - 2 * reach - blend) // multiple >= 1:
            return size
        size += multiple


def _hann(share: Tensor) -> Tensor:
    """Return 0 up to 0, 1 from 1 on, and half a wave between them."""
    return torch.sin(share.clamp(0, 1) * (math.pi / 2)).square()


@dataclass(frozen=True)
class Place:
    """A tile of a picture, in its pixels; it may hang over the right and the lower edge."""

    top: int
    left: int
    height: int
    width: int


def tiled(
    apply: Callable[[Place], Tensor | None],
    keep: Callable[[int, Tensor], None],
    height: int,
    width: int,
    tile: int | None,
    reach: int,
    multiple: int,
    scale: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Make a picture of ``scale * height`` rows tile by tile, holding one row of tiles at a time.

    ``apply`` makes a tile, ``(C, scale * h, scale * w)``, or None where nothing is needed; finished rows
    ``(C, n, scale * width)`` are handed to ``keep`` with the number of the first, from the top down.
    """
    down, across = spans(height, tile, reach, multiple, scale), spans(width, tile, reach, multiple, scale)
    tall, wide = (len(parts[0].weights) // scale for parts in (down, across))
    band: Tensor | None = None
    done = 0  # rows handed over
    for number, row in enumerate(down):
        for column_number, column in enumerate(across):
            made = apply(Place(row.start, column.start, tall, wide))
            if progress:
                progress(number * len(across) + column_number + 1, len(down) * len(across))
            if made is None:
                continue
            if band is None:
                band = made.new_zeros(made.shape[0], tall * scale, (across[-1].start + wide) * scale)
            left = column.start * scale
            weights = row.weights[:, None] * column.weights
            band[:, :, left : left + wide * scale] += weights * made
        end = down[number + 1].start * scale if number + 1 < len(down) else height * scale
        if band is not None:
            keep(done, band[:, : end - done, : width * scale])
            rest = band[:, end - row.start * scale :].clone()
            band.zero_()
            band[:, : rest.shape[1]] = rest
        done = end


def smaller(tile: int, reach: int, multiple: int, name: str) -> int:
    """Return half a tile, or the smallest that can be.

    Raises:
        UserError: it is that small already.
    """
    smallest = least(reach, multiple)
    if tile <= smallest:
        raise UserError(
            f"{name} does not fit into memory even in tiles of {tile} pixels: type device=cpu, or free some."
        )
    return max(smallest, tile // 2 // multiple * multiple)
