"""Change a batch of training pictures a little, each one differently, so that a small set goes further."""

import math
from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.transforms.v2 import functional

from darkroom.images import as_jpeg, from_uint8, to_uint8
from darkroom.numbers import BelowOne, PositiveShare, Range, Share, Whole

MOST_BLUR = 1.0  # the standard deviation of the Gaussian, in pixels
WORST_JPEG, BEST_JPEG = 50, 95  # quality
MOST_NOISE = 10 / 127.5  # the standard deviation: 10 of 255 levels


class Augment:
    """Mirror, move, turn, zoom, erase, blur, compress and roughen, each off unless asked for.

    Takes and returns float images ``(B, C, H, W)`` in [-1, 1]. Every picture draws its own numbers from torch's global
    generator of the images' device: seed that to repeat a batch.
    """

    def __init__(
        self,
        flip: bool = False,
        shift: Whole = 0,
        rotate: Annotated[float, Range(0, 180)] = 0.0,
        zoom: BelowOne = 0.0,
        erase: Share = 0.0,
        erase_area: PositiveShare = 0.2,
        blur: Share = 0.0,
        jpeg: Share = 0.0,
        noise: Share = 0.0,
        transpose: bool = False,
    ) -> None:
        """State how much.

        Args:
            flip: mirror half of the pictures left to right.
            shift: move by up to this many pixels each way; what comes into view is the picture's own reflection.
            rotate: turn by up to this many degrees each way.
            zoom: enlarge or shrink by up to this share (0.1: between 1/1.1 and 1.1).
            erase: the share of pictures that lose a rectangle to mid-grey (Zhong et al. 2020, Random Erasing).
            erase_area: the largest share of a picture's area that may be lost; the smallest is a tenth of it.
            blur: the share of pictures that a Gaussian of up to 1 pixel softens.
            jpeg: the share of pictures that are saved as JPEG, of quality 50 to 95, and read again.
            noise: the share of pictures that get Gaussian noise of up to 10 levels of 255.
            transpose: turn half of the pictures upside down, and rows into columns in half of them; with ``flip``, each
                comes in all eight ways to turn and mirror a square.
        """
        self.flip = bool(flip)
        self.shift = int(shift)
        self.rotate = float(rotate)
        self.zoom = float(zoom)
        self.erase = float(erase)
        self.erase_area = float(erase_area)
        self.blur = float(blur)
        self.jpeg = float(jpeg)
        self.noise = float(noise)
        self.transpose = bool(transpose)

    def __call__(self, images: Tensor) -> Tensor:
        """Return the pictures, changed; the same tensor when everything is off."""
        if self.flip:
            images = flipped(images, torch.rand(len(images), device=images.device) < 0.5)
        if self.transpose:
            drawn = torch.rand(2, len(images), device=images.device) < 0.5
            images = torch.where(drawn[0][:, None, None, None], images.flip(2), images)
            images = torch.where(drawn[1][:, None, None, None], images.transpose(2, 3), images)
        if self.rotate or self.zoom:
            turn, grow = (2 * torch.rand(2, len(images), device=images.device) - 1).unbind(0)
            images = turned(images, turn * math.radians(self.rotate), torch.exp(grow * math.log1p(self.zoom)))
        if self.shift:
            reach = self.shift
            images = shifted(images, torch.randint(-reach, reach + 1, (2, len(images)), device=images.device))
        if self.erase:
            images = self._erased(images)
        # what happens to a file after it was made, in the order in which it happens
        if self.blur:
            images = blurred(images, MOST_BLUR * _drawn(len(images), self.blur, images.device))
        if self.noise:
            levels = MOST_NOISE * _drawn(len(images), self.noise, images.device)
            images = images.add(torch.randn_like(images) * levels[:, None, None, None]).clamp(-1, 1)
        if self.jpeg:
            loss = _drawn(len(images), self.jpeg, images.device)
            quality = BEST_JPEG - (BEST_JPEG - WORST_JPEG) * loss
            images = compressed(images, torch.where(loss > 0, quality.round(), 0))
        return images

    def _erased(self, images: Tensor) -> Tensor:
        """Erase one rectangle from some of the pictures; aspect ratios from 1:2 to 2:1."""
        count, _, height, width = images.shape
        draw = torch.rand(5, count, device=images.device)
        area = self.erase_area * (0.1 + 0.9 * draw[0]) * height * width
        aspect = torch.exp((2 * draw[1] - 1) * math.log(2))
        tall = (area * aspect).sqrt().floor().clamp(1, height)
        wide = (area / aspect).sqrt().floor().clamp(1, width)
        top, left = (draw[2] * (height - tall + 1)).floor(), (draw[3] * (width - wide + 1)).floor()
        tall = torch.where(draw[4] < self.erase, tall, 0)
        return erased(images, top, left, tall, wide)


def _drawn(count: int, share: float, device: torch.device) -> Tensor:
    """Return a number above 0 and at most 1 for this share of the pictures, and 0 for the rest."""
    chance, amount = torch.rand(2, count, device=device).unbind(0)
    return torch.where(chance < share, 1 - amount, 0)


def flipped(images: Tensor, which: Tensor) -> Tensor:
    """Return the pictures, those marked in ``which`` (bool, (B,)) mirrored left to right."""
    return torch.where(which[:, None, None, None], images.flip(3), images)


def shifted(images: Tensor, offsets: Tensor) -> Tensor:
    """Return the pictures moved down and right by ``offsets`` (int64, (2, B)), reflected at their edges."""
    count, channels, height, width = images.shape
    rows = _reflected(torch.arange(height, device=images.device) - offsets[0, :, None], height)
    columns = _reflected(torch.arange(width, device=images.device) - offsets[1, :, None], width)
    images = images.gather(2, rows[:, None, :, None].expand(count, channels, height, width))
    return images.gather(3, columns[:, None, None, :].expand(count, channels, height, width))


def _reflected(positions: Tensor, size: int) -> Tensor:
    """Fold positions back into 0 .. size-1 as a mirror before the first and behind the last pixel would."""
    folded = positions.remainder(2 * size)
    return torch.where(folded < size, folded, 2 * size - 1 - folded)


def turned(images: Tensor, angles: Tensor, scales: Tensor) -> Tensor:
    """Return the pictures turned counter-clockwise by ``angles`` (radians) and enlarged ``scales`` times.

    About the centre; bilinear, so slightly softer than the original; reflected at the edges.
    """
    height, width = images.shape[2:]
    cosine, sine = torch.cos(angles) / scales, torch.sin(angles) / scales
    zero = torch.zeros_like(cosine)
    # the grid is in units of half the width and half the height: turning mixes the two
    first = torch.stack([cosine, -sine * height / width, zero], dim=1)
    second = torch.stack([sine * width / height, cosine, zero], dim=1)
    grid = F.affine_grid(torch.stack([first, second], dim=1), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid.to(images.dtype), mode="bilinear", padding_mode="reflection", align_corners=False)


def erased(images: Tensor, top: Tensor, left: Tensor, tall: Tensor, wide: Tensor) -> Tensor:
    """Return the pictures with one rectangle each, in pixels, replaced by mid-grey; nothing is lost where tall is 0."""
    rows = torch.arange(images.shape[2], device=images.device)
    columns = torch.arange(images.shape[3], device=images.device)
    inside_rows = (rows >= top[:, None]) & (rows < (top + tall)[:, None])
    inside_columns = (columns >= left[:, None]) & (columns < (left + wide)[:, None])
    hole = inside_rows[:, None, :, None] & inside_columns[:, None, None, :]
    return images.masked_fill(hole, 0)


def blurred(images: Tensor, sigmas: Tensor) -> Tensor:
    """Return the pictures softened by Gaussians of these standard deviations in pixels, (B,); 0 leaves as it is."""
    result = images.clone()
    for index in sigmas.nonzero().flatten().tolist():
        sigma = float(sigmas[index])
        result[index] = functional.gaussian_blur(images[index], [5, 5], [sigma, sigma])
    return result


def compressed(images: Tensor, qualities: Tensor) -> Tensor:
    """Return the pictures as they come out of JPEG files of these qualities, (B,) from 1 to 100; 0 leaves as it is."""
    result = images.clone()
    for index in qualities.nonzero().flatten().tolist():
        result[index] = from_uint8(as_jpeg(to_uint8(images[index]), int(qualities[index]))).to(images)
    return result
