import numpy as np
import pytest
import torch

from darkroom import lab
from darkroom.commands.report import score_table
from darkroom.editing.degradations import Degradation, Mask, Noise
from darkroom.errors import UserError
from darkroom.images import from_uint8, to_uint8
from darkroom.metrics import paired
from darkroom.metrics.restoration import Restoration, deviations, wavelet_denoised

from .conftest import Bars


class Fixed(torch.nn.Module):
    """A restorer of a fixed rule."""

    device = torch.device("cpu")

    def __init__(self, rule, degradation=None):
        super().__init__()
        self.rule, self.degradation = rule, degradation or Noise()
        self.asked = []

    def restore(self, damaged, labels=None):
        assert not self.training
        torch.rand(3)  # a careless model draws from the global generator
        self.asked.append(damaged)
        return self.rule(damaged)


@pytest.fixture(scope="module")
def data():
    return Bars(val=30, test=21)


def test_a_model_that_does_nothing_scores_as_the_damage(data):
    values = Restoration().score(Fixed(lambda damaged: damaged), data, "val").values
    assert values["psnr"] == values["psnr_damaged"]
    assert values["ssim"] == values["ssim_damaged"]
    assert 20 < values["psnr"] < 22  # sigma 25 is 20.17 dB, a little more where it is clipped


def test_all_damage_undone_is_the_most_there_is(data):
    model = Fixed(lambda damaged: damaged, Degradation())
    values = Restoration().score(model, data, "test", exact=True).values
    assert values["psnr"] == 100
    assert values["ssim"] == pytest.approx(1)


def test_the_damage_is_the_same_for_every_model_and_every_time(data):
    first, second = Fixed(lambda damaged: damaged), Fixed(torch.zeros_like)
    metric = Restoration(seed=4)
    torch.manual_seed(1)
    one = metric.score(first, data, "test", exact=True)
    torch.manual_seed(2)
    other = metric.score(second, data, "test", exact=True)
    again = metric.score(first, data, "test", exact=True)
    assert all(torch.equal(a, b) for a, b in zip(first.asked[:2], second.asked, strict=True))
    assert one.values == again.values
    for name in ("psnr_damaged", "psnr_wavelet", "ssim_damaged", "ssim_wavelet"):
        assert one.values[name] == other.values[name]
    assert one.protocol_digest == other.protocol_digest
    assert Restoration(seed=5).score(first, data, "test").values["psnr_damaged"] != one.values["psnr_damaged"]


def test_scoring_leaves_the_random_state_and_the_mode_alone(data):
    model = Fixed(lambda damaged: damaged).train()
    torch.manual_seed(0)
    before = torch.get_rng_state()
    Restoration().score(model, data, "val")
    assert torch.equal(torch.get_rng_state(), before)
    assert model.training


def test_values_are_means_over_pictures_as_a_file_holds_them(data):
    model = Fixed(lambda damaged: 0.9 * damaged)
    values = Restoration().score(model, data, "val").values
    whole = from_uint8(data.pictures("val").pixels)
    made = from_uint8(to_uint8(0.9 * model.asked[0]))
    assert values["psnr"] == pytest.approx(paired.psnr(made, whole).mean().item())
    assert values["ssim"] == pytest.approx(paired.ssim(made, whole).mean().item())


def test_only_the_end_has_all_pictures_and_the_baseline(data):
    model, metric = Fixed(lambda damaged: damaged), Restoration(images=10)
    quick, exact = metric.score(model, data, "val"), metric.score(model, data, "val", exact=True)
    assert (quick.protocol["real_images"], exact.protocol["real_images"]) == (10, 30)
    assert set(exact.values) - set(quick.values) == {"psnr_wavelet", "ssim_wavelet", "psnr_gain"}
    assert exact.values["psnr_gain"] == exact.values["psnr"] - exact.values["psnr_wavelet"]
    shape = quick.pictures["restored"].shape
    assert exact.pictures["restored"].shape[0] * 3 == pytest.approx(shape[0] * 4, abs=4)  # a row more


def test_a_mask_has_no_wavelets_beside_it_and_another_protocol(data):
    masked = Restoration().score(Fixed(torch.zeros_like, Mask(0.5, 3)), data, "test", exact=True)
    assert "psnr_wavelet" not in masked.values
    assert masked.protocol["degradation"] == "mask, share 0.5, patch 3"
    assert Restoration().score(Fixed(torch.zeros_like), data, "test").protocol["degradation"] == (
        "noise, least 25, most 25"
    )


@pytest.mark.parametrize("channels", [1, 3])
def test_the_wavelet_denoiser_is_that_of_scikit_image_and_helps(channels):
    from skimage.restoration import denoise_wavelet

    rows, columns = torch.meshgrid(torch.linspace(-1, 1, 64), torch.linspace(-1, 1, 48), indexing="ij")
    whole = torch.stack([torch.sin(3 * rows + channel) * columns for channel in range(channels)])[None]
    damaged = whole + torch.randn(whole.shape, generator=torch.Generator().manual_seed(0)) * 25 / 127.5
    made = wavelet_denoised(damaged, [25 / 255])
    assert made.shape == whole.shape
    assert (paired.psnr(made, whole) - paired.psnr(damaged, whole)).item() > 6
    levels = damaged[0].permute(1, 2, 0).double().numpy() / 2 + 0.5
    settings = {"channel_axis": -1, "convert2ycbcr": True} if channels == 3 else {}
    expected = denoise_wavelet(
        np.squeeze(levels), sigma=25 / 255, wavelet="sym4", wavelet_levels=2, rescale_sigma=True, **settings
    )
    assert np.allclose(np.squeeze(made[0].permute(1, 2, 0).numpy()) / 2 + 0.5, expected, atol=1e-6)


def test_the_wavelet_denoiser_is_told_the_true_deviation():
    noise = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * torch.tensor([10.0, 50.0]).view(
        2, 1, 1, 1
    )
    assert deviations(noise / 127.5) == pytest.approx([10 / 255, 50 / 255], rel=0.02)


def test_the_table_has_the_damage_and_the_wavelets_beside_the_model(data):
    scores = Restoration().score(Fixed(lambda damaged: damaged), data, "test", exact=True)
    table = score_table(scores, "restored")
    assert [column.header for column in table.columns] == ["metric", "this model", "damaged", "wavelet denoiser"]
    assert list(table.columns[0].cells) == ["psnr", "ssim", "psnr gain"]


@pytest.mark.parametrize("settings", [{"every": 0}, {"images": 0}])
def test_numbers_that_cannot_be_are_refused(settings):
    with pytest.raises(UserError, match="1 or more"):
        Restoration(**settings)


def test_a_model_that_restores_nothing_is_refused(data):
    class Namer(torch.nn.Module):
        predict = None

    with pytest.raises(UserError, match=r"A Namer restores nothing.*metrics=classification"):
        lab.check_fit(Restoration(), Namer(), data)
    lab.check_fit(Restoration(), Fixed(torch.zeros_like), data)
