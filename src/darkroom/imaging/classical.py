"""What repairs a picture without having learned anything: what a network has to beat.

Each takes floats ``(C, H, W)`` in [-1, 1], not rounded to levels, and returns the same; masks are bool ``(1, H, W)``,
true where to repair.

    rival = RIVALS["denoise"][0]
    rival.apply(colours, Told(sigma=25))
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from darkroom.images import from_uint8, to_uint8
from darkroom.imaging.degradations import noise_level

WAVELET, SUPPORT = "sym4", 8  # of the denoiser, and the pixels that one of its filters takes
RADIUS = 3  # pixels that Telea's method looks around
MEDIAN = 5  # pixels a side of the median that finds specks and scratches
LEAST_SPECK = 0.25  # how far from that median a pixel is damage, of the range [-1, 1] of values
COARSEST = 5  # halvings that means are taken over, to fill holes by
MEMBRANE_STEPS = 20  # of the iteration that smooths a filled hole
LEAST_STIFF, MOST_STIFF = 0.05, 8.0  # eigenvalues of the Laplacian that it damps: of holes 14 pixels wide, and of all
CLIPPED = 0.005  # share of the darkest and of the brightest values that a stretched histogram gives up


def bicubic(colours: Tensor, scale: int) -> Tensor:
    """Return a picture of so many times the size (Keys 1981, a = -0.5)."""
    size = [scale * side for side in colours.shape[1:]]
    return F.interpolate(colours[None].float(), size=size, mode="bicubic", antialias=True)[0]


def wavelet(colours: Tensor, sigma: float | None = None) -> Tensor:
    """Return a picture without noise of a deviation in 255ths, estimated where it is not given.

    Wavelet coefficients are shrunk by as much as suits their scale (Chang et al. 2000, BayesShrink), of colours in
    YCbCr. Smooth wavelets on as many as three scales: scikit-image's own choice is up to 0.8 dB worse on photographs.
    """
    from skimage.restoration import denoise_wavelet  # takes most of a second, and only a test needs it

    if sigma is None:
        sigma = float(noise_level(colours[None]))
    if sigma <= 0:
        return colours
    colour = colours.shape[0] == 3
    scales = int(math.log2(min(colours.shape[1:]) / (SUPPORT - 1)))  # on coarser ones nothing but the edges is left
    levels = _shares(colours) if colour else _shares(colours)[:, :, 0]
    clean = denoise_wavelet(
        levels,
        sigma=sigma / 255,
        method="BayesShrink",
        mode="soft",
        wavelet=WAVELET,
        wavelet_levels=min(3, max(1, scales)),
        rescale_sigma=True,
        convert2ycbcr=colour,
        channel_axis=-1 if colour else None,
    )
    return _colours(clean if colour else clean[:, :, None], colours)


def telea(colours: Tensor, mask: Tensor) -> Tensor:
    """Return a picture whose holes are filled from their edges inwards (Telea 2004), 8 bits inside the holes."""
    levels = np.ascontiguousarray(to_uint8(colours).permute(1, 2, 0).cpu().numpy())
    filled = cv2.inpaint(levels, mask[0].cpu().numpy().astype(np.uint8), RADIUS, cv2.INPAINT_TELEA)
    made = from_uint8(torch.from_numpy(filled.reshape(levels.shape).transpose(2, 0, 1))).to(colours)
    return torch.where(mask, made, colours)


def pull_push(images: Tensor, mask: Tensor) -> Tensor:
    """Return images ``(B, C, H, W)`` with holes filled by the mean colours around them (Gortler et al. 1996).

    Means over ever larger squares of what is there, up to 32 pixels a side, then from coarse to fine where finer ones
    know nothing; what is still unknown is mid-grey. For whole batches, in a thousandth of what other methods take.
    """
    known = (~mask).to(images)
    weights, sums = [known], [images * known]
    while len(weights) <= COARSEST and min(weights[-1].shape[2:]) > 1:
        weights.append(F.avg_pool2d(weights[-1], 2, ceil_mode=True))
        sums.append(F.avg_pool2d(sums[-1], 2, ceil_mode=True))
    made = sums[-1] / weights[-1].clamp(min=1e-6)
    for weight, total in zip(weights[-2::-1], sums[-2::-1], strict=True):
        coarse = F.interpolate(made, size=weight.shape[2:], mode="bilinear", align_corners=False)
        made = total + (1 - weight) * coarse
    return torch.where(mask, made, images)


def harmonic(images: Tensor, mask: Tensor) -> Tensor:
    """Return images ``(B, C, H, W)`` with holes filled by a membrane held at their edges: Laplace's equation.

    Chebyshev's iteration (Golub & Varga 1961) from what `pull_push` fills in, so often that holes about as wide as a
    brush are solved to a hundredth of a decibel; in wider ones some of what it began with is left. Unlike conjugate
    gradients it looks no further than a pixel a step, so that a tile is filled as the whole picture is. For whole
    batches, in a tenth of what a small network takes.
    """
    inside = mask.to(images)
    middle, half = (MOST_STIFF + LEAST_STIFF) / 2, (MOST_STIFF - LEAST_STIFF) / 2
    made = pull_push(images, mask)
    momentum = half / middle
    residual = _laplacian(made) * inside
    step = residual / middle
    for _ in range(MEMBRANE_STEPS):
        made = made + step
        residual = _laplacian(made) * inside
        further = 1 / (2 * middle / half - momentum)
        step = further * momentum * step + 2 * further / half * residual
        momentum = further
    return made


def _laplacian(maps: Tensor) -> Tensor:
    """Return the sum of the four neighbours less four times each pixel; beyond an edge lies the pixel itself."""
    wider = F.pad(maps, (1, 1, 1, 1), mode="replicate")
    across = wider[:, :, 1:-1, :-2] + wider[:, :, 1:-1, 2:]
    return across + wider[:, :, :-2, 1:-1] + wider[:, :, 2:, 1:-1] - 4 * maps


def biharmonic(colours: Tensor, mask: Tensor) -> Tensor:
    """Return a picture whose holes are filled as smoothly as their edges allow (Chui & Mhaskar 2010).

    It solves for all missing pixels together: a fraction of a second for a photograph of 480x320 that lacks a fifth.
    """
    from skimage.restoration import inpaint_biharmonic

    if not mask.any():
        return colours
    filled = inpaint_biharmonic(_shares(colours), mask[0].cpu().numpy(), channel_axis=-1)
    return torch.where(mask, _colours(filled, colours), colours)


def unsharp(colours: Tensor, radius: float = 1.5, amount: float = 1.0) -> Tensor:
    """Return a picture with so many times what a Gaussian of a radius takes from it added."""
    levels = _shares(colours).astype(np.float32)
    soft = cv2.GaussianBlur(levels, (0, 0), radius, borderType=cv2.BORDER_REFLECT_101).reshape(levels.shape)
    return _colours(levels + amount * (levels - soft), colours)


def bilateral(colours: Tensor, colour: float = 0.05, space: float = 2.0) -> Tensor:
    """Return a picture smoothed among neighbours of like colour (Tomasi & Manduchi 1998); colours from 0 to 1."""
    levels = _shares(colours).astype(np.float32)
    return _colours(cv2.bilateralFilter(levels, -1, colour, space).reshape(levels.shape), colours)


def stretched(colours: Tensor) -> Tensor:
    """Return a picture whose channels each reach from black to white, but for a few outliers: auto-levels."""
    levels = _shares(colours)
    low, high = np.quantile(levels, [CLIPPED, 1 - CLIPPED], axis=(0, 1))
    return _colours((levels - low) / np.maximum(high - low, 1 / 255), colours).clamp(-1, 1)


def equalised(colours: Tensor, limit: float = 2.0) -> Tensor:
    """Return a picture whose luminance is spread evenly in each part of it (Zuiderveld 1994, CLAHE)."""
    method = cv2.createCLAHE(clipLimit=limit, tileGridSize=(4, 4))
    levels = np.ascontiguousarray(to_uint8(colours).permute(1, 2, 0).cpu().numpy())
    if colours.shape[0] == 1:
        made = method.apply(levels[:, :, 0])[:, :, None]
    else:
        made = cv2.cvtColor(levels, cv2.COLOR_RGB2LAB)
        made[:, :, 0] = method.apply(made[:, :, 0])
        made = cv2.cvtColor(made, cv2.COLOR_LAB2RGB)
    return from_uint8(torch.from_numpy(made.transpose(2, 0, 1).copy())).to(colours)


def median(colours: Tensor, least: float = LEAST_SPECK) -> Tensor:
    """Return a picture whose pixels are the median of those around where they are far from it: specks and scratches."""
    levels = np.ascontiguousarray(to_uint8(colours).permute(1, 2, 0).cpu().numpy())
    middle = cv2.medianBlur(levels, MEDIAN).reshape(levels.shape)
    made = from_uint8(torch.from_numpy(middle.transpose(2, 0, 1).copy())).to(colours)
    far = (made - colours).abs().amax(dim=0, keepdim=True) > 2 * least
    return torch.where(far, made, colours)


@dataclass(frozen=True)
class Told:
    """What a method may be told beside the picture: where to repair, how noisy it is, how much to enlarge."""

    mask: Tensor | None = None
    sigma: float | None = None
    scale: int = 1


def _filled(method: Callable[[Tensor, Tensor], Tensor], colours: Tensor, told: Told) -> Tensor:
    return colours if told.mask is None else method(colours, told.mask)


@dataclass(frozen=True)
class Rival:
    """What a network has to beat; of the settings that it ``tries`` a score takes the best, by the answer."""

    name: str
    words: str
    apply: Callable[[Tensor, Told], Tensor]
    tries: tuple[Callable[[Tensor], Tensor], ...] = ()


_UNSHARP = [
    partial(unsharp, radius=radius, amount=amount) for radius in (1.0, 1.5, 2.5) for amount in (0.0, 0.5, 1.0, 2.0)
]
_BILATERAL = [partial(bilateral, colour=colour, space=space) for colour in (0.02, 0.05, 0.1) for space in (1.0, 2.0)]
_STRETCHED = [lambda colours: colours, stretched, equalised, lambda colours: equalised(stretched(colours))]
_MEDIAN = [partial(median, least=least) for least in (0.1, 0.2, 0.3)]
_TELEA = Rival("telea", "Telea", lambda colours, told: _filled(telea, colours, told))

# What needs no training, by what it does; a gain is measured from the first of each.
RIVALS: dict[str, tuple[Rival, ...]] = {
    "denoise": (Rival("wavelet", "wavelet denoiser", lambda colours, told: wavelet(colours, told.sigma)),),
    "restore": (Rival("wavelet", "wavelet denoiser", lambda colours, told: wavelet(colours)),),
    "enlarge": (Rival("bicubic", "bicubic", lambda colours, told: bicubic(colours, told.scale)),),
    "inpaint": (
        Rival("biharmonic", "biharmonic", lambda colours, told: _filled(biharmonic, colours, told)),
        _TELEA,
    ),
    "deblur": (Rival("unsharp", "unsharp mask", lambda colours, told: unsharp(colours), tuple(_UNSHARP)),),
    "deblock": (Rival("bilateral", "bilateral", lambda colours, told: bilateral(colours), tuple(_BILATERAL)),),
    "enhance": (Rival("stretched", "auto-levels", lambda colours, told: stretched(colours), tuple(_STRETCHED)),),
    "repair": (Rival("median", "median", lambda colours, told: median(colours), tuple(_MEDIAN)), _TELEA),
}


def _shares(colours: Tensor) -> np.ndarray:
    """Return a picture as ``(H, W, C)``, float64 in [0, 1]."""
    shares: np.ndarray = colours.double().cpu().numpy().transpose(1, 2, 0) / 2 + 0.5
    return shares


def _colours(shares: np.ndarray, like: Tensor) -> Tensor:
    """Return ``(H, W, C)`` in [0, 1] as colours of the type and on the device of others."""
    return torch.from_numpy(np.ascontiguousarray(shares.transpose(2, 0, 1))).mul(2).sub(1).to(like)
