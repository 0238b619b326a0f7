"""Damage to learn from: what an autoencoder is shown instead of the picture that it is to return.

A degradation draws its random numbers with ``draw(kind, count, *shape)``, where ``kind`` is ``torch.randn`` or
``torch.rand``, so that whoever trains on several devices can hand each its part of the same numbers.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Annotated

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from darkroom.errors import UserError
from darkroom.images import as_jpeg, from_uint8, to_uint8
from darkroom.numbers import BelowOne, Count, NotNegative, PositiveShare, Range, Share, Whole

Draw = Callable[..., Tensor]

MOST_HOLES = 0.5  # share of a picture that may be missing
CUSTOMARY_HOLES = 0.2  # share that figures are given at


def plainly(kind: Callable[..., Tensor], count: int, *shape: int) -> Tensor:
    """Draw from the global random state."""
    return kind(count, *shape)


class Degradation:
    """No damage at all, and what the others have in common.

    ``operation`` is what undoes the damage, ``scale`` how many times smaller it makes a picture. ``leveled``: the
    deviation of the noise is to be known to whoever removes it; ``masked``: so is where the picture still shows.

        damaged, seen = degradation(images)     # (B, C, H / scale, W / scale), and (B, 1, H / scale, W / scale)
    """

    operation = "restore"
    scale = 1
    leveled = False
    masked = False

    def levels(self, count: int, draw: Draw = plainly) -> Tensor | None:
        """Return the deviation of the noise in each of so many pictures, in 255ths, ``(count,)``; None without one."""
        return None

    def customary(self) -> "Degradation":
        """Return the damage that figures are customarily given at; this one, where there is no such custom."""
        return self

    def __call__(self, images: Tensor, draw: Draw = plainly, levels: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the damaged images in [-1, 1], and where they still show: 1, or 0 where nothing is left.

        ``images`` are ``(B, C, H, W)`` in [-1, 1]; ``levels`` are drawn here unless they were before.
        """
        return images, images.new_ones(len(images), 1, *images.shape[2:])


class Noise(Degradation):
    """White Gaussian noise, of a strength drawn for each picture between two (Vincent et al. 2008).

    Strengths are deviations in the 255 levels of a file: 25 is the customary one. What leaves [-1, 1] stays outside,
    as papers have it. Of a range of strengths each picture's is to be known.
    """

    operation = "denoise"

    def __init__(self, least: NotNegative = 25.0, most: NotNegative = 25.0) -> None:
        _refuse_range("noise", least, most)
        self.least, self.most = least, most

    @property
    def leveled(self) -> bool:  # type: ignore[override]
        """Whether there is more than one strength."""
        return self.least < self.most

    def levels(self, count: int, draw: Draw = plainly) -> Tensor:
        """Return strengths from the least to the most, all as likely."""
        return self.least + (self.most - self.least) * draw(torch.rand, count, 1, 1, 1).flatten()

    def __call__(self, images: Tensor, draw: Draw = plainly, levels: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the images with noise; all of them still show."""
        strength = self.levels(len(images), draw) if levels is None else levels
        noise = draw(torch.randn, len(images), *images.shape[1:]) * strength.view(-1, 1, 1, 1) / 127.5
        return images + noise.to(images), super().__call__(images)[1]


class Mask(Degradation):
    """Square patches are blacked out (He et al. 2022), a fixed share of them, in another choice for each picture."""

    operation = "inpaint"
    masked = True

    def __init__(self, share: BelowOne = 0.75, patch: Count = 4) -> None:
        if not 0 <= share < 1:
            raise UserError(f"a mask of a share of {share:g} is not possible: give 0 or more and less than 1.")
        if patch < 1:
            raise UserError(f"patches of {patch} pixels are not possible: give 1 or more.")
        self.share, self.patch = share, patch

    def __call__(self, images: Tensor, draw: Draw = plainly, levels: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the images with mid-grey, 0, where nothing shows."""
        height, width = images.shape[2:]
        rows, columns = math.ceil(height / self.patch), math.ceil(width / self.patch)
        ranks = draw(torch.rand, len(images), rows * columns).argsort(dim=1).argsort(dim=1)
        kept = (ranks >= round(self.share * rows * columns)).view(len(images), 1, rows, columns).to(images)
        seen = kept.repeat_interleave(self.patch, dim=2).repeat_interleave(self.patch, dim=3)[:, :, :height, :width]
        return images * seen, seen


class Blur(Degradation):
    """Out of focus, or shaken: a Gaussian of some deviation, or a straight movement of some length, in pixels.

    A little noise comes with it, as it does in every photograph: without, a filter could undo it all.
    """

    operation = "deblur"

    def __init__(
        self,
        least: NotNegative = 0.5,
        most: NotNegative = 2.5,
        longest: Annotated[float, Range(3, 31)] = 11.0,
        motion: Share = 0.5,
        noise: NotNegative = 2.0,
    ) -> None:
        """State how much.

        Args:
            least: smallest deviation of the Gaussian.
            most: largest one.
            longest: longest movement; the shortest is 3 pixels.
            motion: share of pictures that are shaken and not out of focus.
            noise: its deviation in 255ths.
        """
        _refuse_range("blur", least, most)
        if least <= 0 or not 3 <= longest <= 31 or not 0 <= motion <= 1 or noise < 0:
            raise UserError(
                f"blur of least={least:g}, longest={longest:g}, motion={motion:g}, noise={noise:g} cannot be: give"
                " least above 0, longest from 3 to 31, motion from 0 to 1, and noise of 0 or more."
            )
        self.least, self.most, self.longest, self.motion, self.noise = least, most, longest, motion, noise

    def __call__(self, images: Tensor, draw: Draw = plainly, levels: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the images blurred, mirrored at their edges; all of them still show."""
        from kornia.filters import filter2d  # takes two seconds, and few need it

        kernels = self.kernels(draw(torch.rand, len(images), 3)).to(images)
        side = min(kernels.shape[1], *(2 * side - 1 for side in images.shape[2:]))  # what can be mirrored
        away = (kernels.shape[1] - side) // 2
        if away:
            kernels = kernels[:, away : away + side, away : away + side]
            kernels = kernels / kernels.sum(dim=(1, 2), keepdim=True)
        blurred = filter2d(images, kernels, "reflect")
        noise = draw(torch.randn, len(images), *images.shape[1:]) * self.noise / 127.5
        return blurred + noise.to(images), super().__call__(images)[1]

    def kernels(self, numbers: Tensor) -> Tensor:
        """Return a filter for each row of numbers ``(B, 3)`` in [0, 1), ``(B, K, K)``, of sum 1."""
        half = math.ceil(max(2.5 * self.most, self.longest / 2 + 1))
        places = torch.arange(-half, half + 1.0)
        rows, columns = torch.meshgrid(places, places, indexing="ij")
        which, much, turn = numbers.view(-1, 3, 1, 1).unbind(1)
        sigma = self.least + (self.most - self.least) * much
        length, angle = 3 + (self.longest - 3) * much, math.pi * turn
        along = columns * angle.cos() + rows * angle.sin()
        beside = rows * angle.cos() - columns * angle.sin()
        beyond = (along.abs() - (length - 1) / 2).clamp(min=0)
        shaken = torch.exp(-(beside**2 + beyond**2) / (2 * 0.5**2))  # a line half a pixel soft
        unfocused = torch.exp(-(rows**2 + columns**2) / (2 * sigma**2))
        kernels = torch.where(which < self.motion, shaken, unfocused)
        return kernels / kernels.sum(dim=(1, 2), keepdim=True)


class Downscale(Degradation):
    """Pictures are made smaller, bicubic with antialiasing, and rounded to the levels of a file."""

    operation = "enlarge"

    def __init__(self, scale: Annotated[int, Range(1, 4)] = 4) -> None:
        if scale not in (2, 3, 4):
            raise UserError(f"degradation.scale={scale} is not possible: give 2, 3 or 4.")
        self.scale = scale

    def __call__(self, images: Tensor, draw: Draw = plainly, levels: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the images, smaller; their sides are multiples of the scale."""
        size = [side // self.scale for side in images.shape[2:]]
        smaller = F.interpolate(images, size=size, mode="bicubic", antialias=True)
        return from_uint8(to_uint8(smaller)).to(images), super().__call__(smaller)[1]


class Jpeg(Degradation):
    """Saved as JPEG files of a quality drawn for each picture between two, and read again."""

    operation = "deblock"

    def __init__(self, least: Whole = 10, most: Whole = 70) -> None:
        if not 1 <= least <= most <= 95:
            raise UserError(f"JPEG of quality {least} to {most} is not possible: give 1 <= least <= most <= 95.")
        self.least, self.most = least, most

    def __call__(self, images: Tensor, draw: Draw = plainly, levels: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the images with blocks and rings; all of them still show."""
        qualities = self.least + (draw(torch.rand, len(images), 1) * (self.most - self.least + 1)).long().flatten()
        pictures = to_uint8(images).cpu()
        saved = [as_jpeg(picture, int(quality)) for picture, quality in zip(pictures, qualities, strict=True)]
        return from_uint8(torch.stack(saved)).to(images), super().__call__(images)[1]


class Fade(Degradation):
    """Underexposed, or bleached: light, contrast, colours and their balance are lost, as much as is drawn.

    Values in [0, 1] become ``black + contrast * (gain * value) ** gamma``, with less saturation and a cast of colour; a
    little noise and the levels of a file come last, so that what was crushed is gone. All within ``strength`` of none.
    """

    operation = "enhance"

    def __init__(self, strength: PositiveShare = 1.0, noise: NotNegative = 2.0) -> None:
        if not 0 < strength <= 1 or noise < 0:
            raise UserError(
                f"fading of strength {strength:g} and noise {noise:g} is not possible: give a strength above 0 and at"
                " most 1, and noise of 0 or more."
            )
        self.strength, self.noise = strength, noise

    def __call__(self, images: Tensor, draw: Draw = plainly, levels: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the images faded; all of them still show."""
        numbers = draw(torch.rand, len(images), 5 + images.shape[1]).to(images) * self.strength
        gain, gamma, contrast, black, colour = numbers[:, :5, None, None, None].unbind(1)
        cast = numbers[:, 5:, None, None]
        light = (images + 1) / 2
        grey = light.mean(dim=1, keepdim=True)
        light = grey + (1 - 0.6 * colour) * (light - grey)
        light = ((1 - 0.5 * gain) * light).clamp(0, 1) ** (1 + 0.6 * gamma)
        light = 0.2 * black + (0.8 - 0.4 * contrast + 0.2 * (1 - black)) * light
        light = light * (1 - 0.25 * cast)
        noise = draw(torch.randn, len(images), *images.shape[1:]).to(images) * self.noise / 255
        return from_uint8(to_uint8(2 * (light + noise) - 1)).to(images), super().__call__(images)[1]


class Scratches(Degradation):
    """Long scratches, hairs and specks of dust, bright or dark, as many a picture as its size lets expect.

    Whoever repairs them is not told where they are.
    """

    operation = "repair"

    def __init__(self, lines: NotNegative = 3.0, specks: NotNegative = 12.0) -> None:
        """State how many of them there are, on average, on 64 by 64 pixels."""
        if min(lines, specks) < 0 or lines + specks == 0:
            raise UserError(f"{lines:g} lines and {specks:g} specks damage nothing: give one above 0 and none below.")
        self.lines, self.specks = lines, specks

    def __call__(self, images: Tensor, draw: Draw = plainly, levels: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the images with scratches, and where there is not a trace of one."""
        height, width = images.shape[2:]
        drawn = [self._drawn(height, width, random) for random in _randoms(len(images), draw)]
        cover = torch.stack([torch.from_numpy(cover) for cover, _ in drawn])[:, None].to(images)
        shade = torch.stack([torch.from_numpy(shade) for _, shade in drawn])[:, None].to(images)
        return images + cover * (shade - images), (cover == 0).to(images)

    def _drawn(self, height: int, width: int, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Return how much is covered, in [0, 1], and by what shade in [-1, 1], float32 ``(H, W)`` each."""
        cover, shade = np.zeros((height, width), np.uint8), np.zeros((height, width), np.float32)
        size = height * width / 64**2
        reach = max(height, width)
        for long in [True] * random.poisson(self.lines * size**0.5) + [False] * random.poisson(self.specks * size):
            tone = float(random.choice((-1, 1)) * random.uniform(0.6, 1))
            start = random.uniform((0, 0), (width, height))
            if long:  # nearly straight, as film is scratched, and seldom quite opaque
                turn = random.normal(math.pi / 2, 0.4)
                points = [start]
                for _ in range(6):
                    turn += random.normal(0, 0.12)
                    points.append(points[-1] + reach / 5 * np.array([math.cos(turn), math.sin(turn)]))
                trace = np.zeros((height, width), np.uint8)
                line = np.round(np.array(points) * 16).astype(np.int32)
                thick = 1 + int(random.random() < 0.3)
                cv2.polylines(trace, [line], False, int(random.uniform(140, 255)), thick, cv2.LINE_AA, 4)
                shade[trace > 0] = tone
                np.maximum(cover, trace, out=cover)
                continue
            axes = np.round(random.uniform(0.5, 2.2, 2) * 16).astype(int).tolist()
            centre = np.round(start * 16).astype(int).tolist()
            box = [int(value) for value in (*np.floor(start - 4), *np.ceil(start + 4))]
            left, top, right, bottom = max(0, box[0]), max(0, box[1]), box[2], box[3]
            spot = np.zeros_like(cover[top:bottom, left:right])
            shift = [centre[0] - 16 * left, centre[1] - 16 * top]
            cv2.ellipse(spot, shift, axes, random.uniform(0, 180), 0, 360, 255, -1, cv2.LINE_AA, 4)
            shade[top:bottom, left:right][spot > 0] = tone
            np.maximum(cover[top:bottom, left:right], spot, out=cover[top:bottom, left:right])
        return cover.astype(np.float32) / 255, shade


class Holes(Degradation):
    """Parts are missing: strokes of a brush and boxes, over a share of the picture drawn between two.

    Free-form as a person would paint them: lines of changing direction, laid until the share is reached (Yu et al.
    2019; Suvorov et al. 2022, LaMa). Never more than half a picture. Whoever repairs them is told where they are.
    """

    operation = "inpaint"
    masked = True

    def __init__(
        self,
        least: NotNegative = 0.1,
        most: NotNegative = 0.3,
        boxes: Share = 0.2,
        widest: Annotated[float, Range(1)] = 12.0,
    ) -> None:
        """State how much is missing.

        Args:
            least: smallest share of a picture.
            most: largest share, at most a half.
            boxes: share of the holes that are boxes and not strokes.
            widest: pixels that a stroke is wide at most; a quarter of it at least.
        """
        _refuse_range("holes", least, most)
        if not 0 < most <= MOST_HOLES or not 0 <= boxes <= 1 or widest < 1:
            raise UserError(
                f"holes of least={least:g}, most={most:g}, boxes={boxes:g}, widest={widest:g} cannot be: give most"
                f" above 0 and at most {MOST_HOLES:g}, boxes from 0 to 1, and widest of 1 or more."
            )
        self.least, self.most, self.boxes, self.widest = least, most, boxes, widest

    def customary(self) -> "Holes":
        """Return strokes alone, over a fifth of the picture, as wide as these."""
        return Holes(CUSTOMARY_HOLES, CUSTOMARY_HOLES, 0.0, self.widest)

    def __call__(self, images: Tensor, draw: Draw = plainly, levels: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the images with mid-grey, 0, where nothing shows."""
        height, width = images.shape[2:]
        holes = [self._drawn(height, width, random) for random in _randoms(len(images), draw)]
        seen = torch.from_numpy(np.stack(holes) == 0)[:, None].to(images)
        return images * seen, seen

    def _drawn(self, height: int, width: int, random: np.random.Generator) -> np.ndarray:
        """Return where there are holes, uint8 ``(H, W)``."""
        share = random.uniform(self.least, self.most)
        hole = np.zeros((height, width), np.uint8)
        while (missing := hole.mean()) < share:
            more = hole.copy()
            wide = random.uniform(self.widest / 4, self.widest)
            start = random.uniform((0, 0), (width, height))
            if random.random() < self.boxes:
                end = start + random.uniform(wide, 2.5 * wide, 2)
                cv2.rectangle(more, start.astype(int).tolist(), end.astype(int).tolist(), 1, -1)
            else:
                turn, points = random.uniform(0, 2 * math.pi), [start]
                for _ in range(random.integers(1, 6)):
                    turn += random.normal(0, 0.8)
                    step = random.uniform(wide, 3 * wide)
                    points.append(points[-1] + step * np.array([math.cos(turn), math.sin(turn)]))
                cv2.polylines(more, [np.round(points).astype(np.int32)], False, 1, max(1, round(wide)))
            if more.mean() <= MOST_HOLES:
                hole = more
            elif missing > 0.9 * self.least and missing > 0:
                break
        return hole


class Mix(Degradation):
    """Several kinds of damage, one after another, each to a share of the pictures: what old photographs have."""

    def __init__(self, parts: Sequence[Degradation], share: BelowOne = 0.6) -> None:
        """State which, in this order, and how likely each is."""
        if not parts or any(part.scale != 1 or part.masked for part in parts):
            raise UserError(
                "degradation.parts must be one or more kinds of damage that leave the size and need no mask: noise,"
                " blur, jpeg, fade, scratches."
            )
        if not 0 < share <= 1:
            raise UserError(f"degradation.share={share:g} is not possible: give more than 0 and at most 1.")
        self.parts, self.share = list(parts), share

    def __call__(self, images: Tensor, draw: Draw = plainly, levels: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the images damaged, and where they still show."""
        damaged, seen = super().__call__(images)
        for part in self.parts:
            hit = draw(torch.rand, len(images), 1, 1, 1).to(images) < self.share
            worse, still = part(damaged, draw)
            damaged, seen = torch.where(hit, worse, damaged), torch.where(hit, seen * still, seen)
        return damaged, seen


def _randoms(count: int, draw: Draw) -> Iterator[np.random.Generator]:
    """Yield a source of random numbers for each of so many pictures, which follows from a number that is drawn."""
    for number in (draw(torch.rand, count, 1).double() * 2**24).long().flatten().tolist():
        yield np.random.default_rng(number)


def _refuse_range(name: str, least: float, most: float) -> None:
    """Raise `UserError` unless ``0 <= least <= most``."""
    if not 0 <= least <= most:
        raise UserError(f"{name} from {least:g} to {most:g} is not possible: give 0 <= least <= most.")


# The high-pass filter of two vanishing moments (Daubechies 1992), which a slope leaves at nothing.
_FINEST = (-0.12940952255126037, -0.2241438680420134, 0.8365163037378079, -0.48296291314453416)


def noise_level(images: Tensor) -> Tensor:
    """Return the deviation of the noise in each image ``(B, C, H, W)``, in 255ths, ``(B,)`` float32, as it looks.

    The median of the finest diagonal wavelet coefficients, most of which are noise alone (Donoho & Johnstone 1994), in
    the mean of the channels. Texture counts as noise: on photographs it reads a little high where there is hardly any.
    """
    height, width = images.shape[2:]
    if min(height, width) < len(_FINEST):
        return torch.zeros(len(images), device=images.device)
    finest = torch.tensor(_FINEST, device=images.device)
    single = images.float().reshape(-1, 1, height, width)
    details = F.conv2d(single, finest.outer(finest)[None, None], stride=2).abs().flatten(1)
    found = details.median(dim=1).values / 0.6744897501960817  # the median of the absolute value of a normal number
    return found.view(len(images), -1).mean(dim=1) * 127.5
