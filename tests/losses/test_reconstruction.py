import math

import pytest
import torch

from darkroom.errors import UserError
from darkroom.losses.reconstruction import LOSSES, charbonnier, frequency, psnr, ssim, weighted


def pictures(seed=0):
    return torch.rand(3, 2, 16, 16, generator=torch.Generator().manual_seed(seed)) - 0.5


@pytest.mark.parametrize("name", LOSSES)
def test_equal_pictures_are_the_least_there_is_and_gradients_are_finite(name):
    whole = pictures()
    same = whole.clone().requires_grad_(True)
    least = LOSSES[name](same, whole)
    least.backward()
    assert same.grad.isfinite().all()
    assert least < LOSSES[name](pictures(1), whole)
    expected = {"charbonnier": 1e-3, "psnr": -80.0}.get(name, 0.0)
    assert least.item() == pytest.approx(expected, abs=1e-4)


def test_known_values():
    whole = torch.zeros(2, 1, 16, 16)
    off = whole + 0.2  # a tenth of the range
    assert psnr(off, whole).item() == pytest.approx(-20, abs=1e-4)
    assert charbonnier(off, whole).item() == pytest.approx(math.sqrt(0.04 + 1e-6))
    # orthonormal: all 256 pixels in one of the 16 x 9 complex coefficients
    assert frequency(off, whole).item() == pytest.approx(0.2 * 16 / (16 * 9 * 2), rel=1e-5)
    uneven = torch.stack([whole[0] + 0.2, whole[0] + 0.02])
    assert psnr(uneven, whole).item() == pytest.approx(-30, abs=1e-3)  # the mean of 20 and 40


def test_ssim_is_that_of_the_scores():
    from darkroom.metrics import paired

    assert 1 - ssim(pictures(), pictures(1)).item() == pytest.approx(
        paired.ssim(pictures(), pictures(1)).mean().item(), abs=1e-4
    )
    with pytest.raises(UserError, match="11 pixels"):
        ssim(pictures()[..., :8], pictures()[..., :8])


def test_a_sum_is_a_sum():
    one, other = pictures(), pictures(1)
    expected = 2 * LOSSES["l1"](one, other) + 0.5 * frequency(one, other)
    assert torch.isclose(weighted({"l1": 2.0, "frequency": 0.5})(one, other), expected)
    assert torch.equal(weighted("mse")(one, other), LOSSES["mse"](one, other))


@pytest.mark.parametrize(
    ("parts", "hint"),
    [("pnsr", "did you mean 'psnr'"), ({"l1": -1.0}, "0 or more"), ({"l1": 0.0}, "weighs nothing")],
)
def test_what_cannot_be_minimised_is_refused(parts, hint):
    with pytest.raises(UserError, match=hint):
        weighted(parts)
