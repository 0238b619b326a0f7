"""Is the same to be seen in two pictures, whatever their colours and contrasts?"""

import torch
import torch.nn.functional as F
from torch import Tensor

WINDOW = 7  # pixels a side of the window in which structure is compared
FAINT = 1e-3  # variance of a window that is taken for empty
LUMA = (0.299, 0.587, 0.114)  # ITU-R 601


def luminance(images: Tensor) -> Tensor:
    """Return the brightness ``(B, 1, H, W)`` of images ``(B, C, H, W)``, grey ones or coloured ones."""
    if images.shape[1] == 1:
        return images
    weights = torch.tensor(LUMA, dtype=images.dtype, device=images.device)
    return (images * weights.view(1, 3, 1, 1)).sum(dim=1, keepdim=True)


def structure(images: Tensor, others: Tensor, window: int = WINDOW) -> Tensor:
    """Return the mean local correlation of two pictures' brightness, ``(B,)``, at most 1.

    It is the third factor of SSIM (Wang et al. 2004): deaf to how bright and how strong in contrast a place is.
    """
    first, second = luminance(images), luminance(others)

    def mean(maps: Tensor) -> Tensor:
        return F.avg_pool2d(maps, window, stride=2)

    one, other = mean(first), mean(second)
    covariance = mean(first * second) - one * other
    spread = (
        (mean(first * first) - one**2).clamp(min=0) + FAINT,
        (mean(second * second) - other**2).clamp(min=0) + FAINT,
    )
    return ((covariance + FAINT) / (spread[0] * spread[1]).sqrt()).mean(dim=(1, 2, 3))
