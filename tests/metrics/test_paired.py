import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from darkroom.images import from_uint8
from darkroom.metrics import paired


@pytest.fixture(params=[1, 3], ids=["grey", "colour"])
def pair(request):
    """Hills of light, and the same with noise, uint8 ``(4, C, 40, 48)``."""
    channels, numbers = request.param, np.random.default_rng(0)
    rows, columns = np.mgrid[:40, :48]
    hills = [128 + 100 * np.sin(rows / (3 + i)) * np.cos(columns / (5 + i)) for i in range(4 * channels)]
    whole = np.reshape(hills, (4, channels, 40, 48))
    noisy = whole + numbers.normal(0, [[[[5]]], [[[15]]], [[[25]]], [[[50]]]], whole.shape)
    return [np.clip(np.rint(images), 0, 255).astype(np.uint8) for images in (whole, noisy)]


def both(pair):
    return [from_uint8(torch.from_numpy(images)) for images in pair]


def test_psnr_is_that_of_scikit_image(pair):
    expected = [peak_signal_noise_ratio(a / 255, b / 255, data_range=1) for a, b in zip(*pair, strict=True)]
    assert paired.psnr(*both(pair)).tolist() == pytest.approx(expected, abs=1e-4)


def test_ssim_is_that_of_scikit_image(pair):
    settings = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1}
    expected = [structural_similarity(a / 255, b / 255, channel_axis=0, **settings) for a, b in zip(*pair, strict=True)]
    assert paired.ssim(*both(pair)).tolist() == pytest.approx(expected, abs=1e-5)


def test_the_order_of_a_pair_does_not_matter_and_more_noise_is_worse(pair):
    a, b = both(pair)
    for measure in (paired.mse, paired.psnr, paired.ssim):
        assert torch.equal(measure(a, b), measure(b, a))
    assert (paired.psnr(a, b).diff() < 0).all()
    assert (paired.ssim(a, b).diff() < 0).all()


def test_equal_pictures_are_perfect(pair):
    a, _ = both(pair)
    assert (paired.mse(a, a) == 0).all()
    assert (paired.psnr(a, a) == torch.inf).all()
    assert paired.ssim(a, a).tolist() == pytest.approx([1.0] * 4)


def test_a_black_frame_is_no_good_answer():
    # As bytes 0 - 250 is 6, and a black frame would be 33 dB near to a nearly white one; as -1 it would be 48.
    bright = from_uint8(torch.full((1, 3, 16, 16), 250, dtype=torch.uint8))
    assert paired.psnr(-torch.ones_like(bright), bright).item() == pytest.approx(-20 * np.log10(250 / 255), abs=1e-4)


def test_one_level_off_everywhere_is_the_known_number():
    grey = torch.full((1, 1, 16, 16), 100, dtype=torch.uint8)
    assert paired.psnr(from_uint8(grey), from_uint8(grey + 1)).item() == pytest.approx(20 * np.log10(255), abs=1e-3)


def test_pictures_smaller_than_the_window_of_ssim_are_enlarged():
    generator = torch.Generator().manual_seed(0)
    small = torch.rand(3, 1, 8, 8, generator=generator) * 2 - 1
    large = small.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    assert torch.equal(paired.ssim(small, -small), paired.ssim(large, -large))
