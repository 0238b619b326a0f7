"""How near is one picture to another: MSE, PSNR and SSIM of pictures in [0, 1].

In floating point throughout (differences of bytes wrap around and flatter), with the range of values said.
"""

import torch
from torch import Tensor
from torchmetrics.functional.image import structural_similarity_index_measure

SSIM_WINDOW = 11  # pixels that the Gaussian window of SSIM takes (Wang et al. 2004)


def mse(images: Tensor, others: Tensor) -> Tensor:
    """Return the mean squared difference of each pair, ``(B,)``, of images ``(B, C, H, W)`` in [-1, 1]."""
    return ((images.double() - others.double()) / 2).square().flatten(1).mean(dim=1)


def psnr(images: Tensor, others: Tensor) -> Tensor:
    """Return 10 log10(1 / MSE) of each pair in decibels, ``(B,)``; infinite where they are equal."""
    return -10 * torch.log10(mse(images, others))


def ssim(images: Tensor, others: Tensor) -> Tensor:
    """Return the structural similarity of each pair, ``(B,)``, at most 1 (Wang et al. 2004).

    Pictures smaller than its window are enlarged first, each pixel a square.
    """
    smaller = min(images.shape[2:])
    times = -(-SSIM_WINDOW // smaller)
    both = [(part.double() + 1) / 2 for part in (images, others)]
    if times > 1:
        both = [part.repeat_interleave(times, dim=2).repeat_interleave(times, dim=3) for part in both]
    _, found = structural_similarity_index_measure(
        both[0], both[1], data_range=1.0, reduction="none", return_full_image=True
    )
    edge = SSIM_WINDOW // 2  # where the window would hang over, on what torchmetrics mirrors and others leave out
    return found[:, :, edge:-edge, edge:-edge].mean(dim=(1, 2, 3))
