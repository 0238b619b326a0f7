"""How near is one picture to another: MSE, MAE, PSNR and SSIM of pictures in [0, 1].

In floating point throughout (differences of bytes wrap around and flatter), with the range of values said.
"""

import torch
from torch import Tensor

SSIM_WINDOW, SSIM_DEVIATION = 11, 1.5  # pixels of the Gaussian window of SSIM (Wang et al. 2004)
C1, C2 = 0.01**2, 0.03**2  # that keep its quotients apart from 0 / 0, for pictures in [0, 1]


def mse(images: Tensor, others: Tensor) -> Tensor:
    """Return the mean squared difference of each pair, ``(B,)``, of images ``(B, C, H, W)`` in [-1, 1]."""
    return ((images.double() - others.double()) / 2).square().flatten(1).mean(dim=1)


def mae(images: Tensor, others: Tensor) -> Tensor:
    """Return the mean absolute difference of each pair, ``(B,)``, of images ``(B, C, H, W)`` in [-1, 1]."""
    return ((images.double() - others.double()) / 2).abs().flatten(1).mean(dim=1)


def psnr(images: Tensor, others: Tensor) -> Tensor:
    """Return 10 log10(1 / MSE) of each pair in decibels, ``(B,)``; infinite where they are equal."""
    return -10 * torch.log10(mse(images, others))


def ssim(images: Tensor, others: Tensor) -> Tensor:
    """Return the structural similarity of each pair, ``(B,)``, at most 1 (Wang et al. 2004).

    Pictures smaller than its window are enlarged first, each pixel a square. Windows that would hang over the edge are
    left out.
    """
    smaller = min(images.shape[2:])
    times = -(-SSIM_WINDOW // smaller)
    first, second = ((part.double() + 1) / 2 for part in (images, others))
    if times > 1:
        first, second = (
            part.repeat_interleave(times, dim=2).repeat_interleave(times, dim=3) for part in (first, second)
        )
    down, across = (_windows(side).to(first) for side in first.shape[2:])

    def averaged(maps: Tensor) -> Tensor:
        # As products of matrices, 20 times as fast as a convolution with the same window.
        return down @ maps @ across.T

    mean, other = averaged(first), averaged(second)
    variance, other_variance = averaged(first**2) - mean**2, averaged(second**2) - other**2
    covariance = averaged(first * second) - mean * other
    brightness = (2 * mean * other + C1) / (mean**2 + other**2 + C1)
    structure = (2 * covariance + C2) / (variance + other_variance + C2)
    return (brightness * structure).mean(dim=(1, 2, 3))


def _windows(side: int) -> Tensor:
    """Return the Gaussian windows that fit on so many pixels, a row each."""
    distances = torch.arange(SSIM_WINDOW, dtype=torch.float64) - SSIM_WINDOW // 2
    window = torch.exp(-(distances**2) / (2 * SSIM_DEVIATION**2))
    windows = torch.zeros(side - SSIM_WINDOW + 1, side, dtype=torch.float64)
    for row, weights in enumerate(windows):
        weights[row : row + SSIM_WINDOW] = window / window.sum()
    return windows
