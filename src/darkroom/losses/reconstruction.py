"""How far is a picture from the one it should be: measures to minimise, by name.

Each takes restored and whole pictures ``(B, C, H, W)`` in [-1, 1] and returns a scalar, 0 or least where they are
equal. Several are added with `weighted`:

    loss = weighted({"psnr": 1.0, "frequency": 0.05})
    loss(restored, whole)
"""

import math
from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from darkroom.errors import UserError, did_you_mean

Loss = Callable[[Tensor, Tensor], Tensor]

SMOOTH = 1e-3  # difference below which the Charbonnier loss is a parabola
LEAST = 1e-8  # mean squared error that the PSNR loss tells no more from none: 80 dB
SSIM_WINDOW = 11  # pixels of its Gaussian window, of deviation 1.5 (Wang et al. 2004)


def charbonnier(restored: Tensor, whole: Tensor) -> Tensor:
    """Return E[sqrt(d^2 + 1e-6)], an absolute difference that is smooth at zero (Charbonnier et al. 1994)."""
    return ((restored - whole).square() + SMOOTH**2).sqrt().mean()


def psnr(restored: Tensor, whole: Tensor) -> Tensor:
    """Return minus the mean PSNR of the pictures in decibels (Chen et al. 2021, HINet).

    Unlike the mean squared error it minds a picture with little damage as much as one with a lot.
    """
    errors = ((restored - whole) / 2).square().flatten(1).mean(dim=1)
    return 10 / math.log(10) * (errors + LEAST).log().mean()


def ssim(restored: Tensor, whole: Tensor) -> Tensor:
    """Return 1 - SSIM, of windows that lie inside the pictures (Wang et al. 2004; as a loss, Zhao et al. 2017)."""
    from kornia.metrics import ssim as similarity  # takes two seconds, and few losses need it

    least = min(restored.shape[2:])
    if least < SSIM_WINDOW:
        raise UserError(f"SSIM looks at {SSIM_WINDOW} pixels and the pictures have {least} a side: use another loss.")
    return 1 - similarity((restored + 1) / 2, (whole + 1) / 2, SSIM_WINDOW, padding="valid").mean()


def frequency(restored: Tensor, whole: Tensor) -> Tensor:
    """Return the mean absolute difference of the Fourier transforms, orthonormal (Cho et al. 2021, MIMO-UNet).

    Of real and imaginary part apart. Errors of all frequencies count alike, so that it minds what is faint and fine.
    """
    difference = torch.fft.rfft2((restored - whole).float(), norm="ortho")
    return torch.view_as_real(difference).abs().mean()


LOSSES: dict[str, Loss] = {
    "mse": F.mse_loss,
    "l1": F.l1_loss,
    "charbonnier": charbonnier,
    "psnr": psnr,
    "ssim": ssim,
    "frequency": frequency,
}


def weighted(parts: str | Mapping[str, float]) -> Loss:
    """Return the loss of a name, or the sum of several, each times its weight.

    Raises:
        UserError: there is no such loss, or nothing is weighed.
    """
    weights = {parts: 1.0} if isinstance(parts, str) else {name: float(weight) for name, weight in parts.items()}
    for name, weight in weights.items():
        if name not in LOSSES:
            raise UserError(
                f"There is no loss '{name}'{did_you_mean(name, list(LOSSES))}: type model.loss=<one of"
                f" {', '.join(LOSSES)}>, or several with weights, model.loss={{psnr: 1.0, frequency: 0.05}}."
            )
        if weight < 0:
            raise UserError(f"model.loss.{name}={weight:g} would reward errors: give 0 or more.")
    if not any(weights.values()):
        raise UserError("model.loss weighs nothing: give at least one loss a weight above 0.")

    def total(restored: Tensor, whole: Tensor) -> Tensor:
        return sum((w * LOSSES[name](restored, whole) for name, w in weights.items() if w), restored.new_zeros(()))

    return total
