"""What repairs a picture without having learned anything: what a network has to beat.

Each takes floats ``(C, H, W)`` in [-1, 1], not rounded to levels, and returns the same.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from darkroom.editing.degradations import noise_level

Apply = Callable[[Tensor, Tensor | None], Tensor]

WAVELET, SUPPORT = "sym4", 8  # of the denoiser, and the pixels that one of its filters takes


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
    levels = (colours.double().cpu().numpy().transpose(1, 2, 0) if colour else colours[0].double().cpu().numpy()) / 2
    clean = denoise_wavelet(
        levels + 0.5,
        sigma=sigma / 255,
        method="BayesShrink",
        mode="soft",
        wavelet=WAVELET,
        wavelet_levels=min(3, max(1, scales)),
        rescale_sigma=True,
        convert2ycbcr=colour,
        channel_axis=-1 if colour else None,
    )
    return torch.from_numpy(clean.transpose(2, 0, 1) if colour else clean[None]).mul(2).sub(1).to(colours)


def for_operation(operation: str, model: Any = None) -> tuple[str, Apply] | None:
    """Return the method that a network for an operation has to beat, by name, and as what an editor applies.

    ``model`` may state more of the operation: its ``scale``. None where no method does the same.
    """
    if operation == "denoise":
        return "wavelet", lambda colours, mask: wavelet(colours)
    return None
