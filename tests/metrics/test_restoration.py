import numpy as np
import pytest
import torch

from darkroom import lab
from darkroom.errors import UserError
from darkroom.images import from_uint8, to_uint8
from darkroom.imaging import classical
from darkroom.imaging.degradations import Degradation, Downscale, Holes, Mask, Noise
from darkroom.metrics import paired
from darkroom.metrics.restoration import Case, Restoration, luminance, measured
from darkroom.reporting.summary import score_table

from ..bars import Bars


class Fixed(torch.nn.Module):
    """A restorer of a fixed rule."""

    device = torch.device("cpu")
    averaged = False

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
    assert all(torch.equal(a, b) for a, b in zip(first.asked[:3], second.asked, strict=True))
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
    files = {"quantised_psnr", "quantised_psnr_wavelet"}
    assert set(exact.values) - set(quick.values) == {"psnr_wavelet", "ssim_wavelet", "psnr_gain", *files}
    assert exact.values["psnr_gain"] == exact.values["psnr"] - exact.values["psnr_wavelet"]
    shape = quick.pictures["restored"].shape
    assert exact.pictures["restored"].shape == shape


def test_a_mask_has_no_wavelets_beside_it_and_another_protocol(data):
    masked = Restoration().score(Fixed(torch.zeros_like, Mask(0.5, 3)), data, "test", exact=True)
    assert "psnr_wavelet" not in masked.values
    assert masked.values["psnr_gain"] == masked.values["psnr"] - masked.values["psnr_biharmonic"]
    assert masked.protocol["degradation"] == "mask, share 0.5, patch 3"
    assert Restoration().score(Fixed(torch.zeros_like), data, "test").protocol["degradation"] == (
        "noise, least 25, most 25"
    )


def test_holes_are_scored_as_strokes_over_a_fifth_and_in_the_end_as_taught_too(data):
    model, metric = Fixed(torch.zeros_like, Holes(0.4, 0.4, boxes=1.0, widest=4.0)), Restoration()
    quick, exact = metric.score(model, data, "val"), metric.score(model, data, "val", exact=True)
    assert exact.protocol["degradation"] == "holes, least 0.2, most 0.2, boxes 0, widest 4"
    assert set(exact.values) - set(quick.values) >= {"psnr_taught", "psnr_taught_biharmonic", "psnr_biharmonic"}
    strokes = metric.score(Fixed(torch.zeros_like, Holes(0.2, 0.2, boxes=0.0, widest=4.0)), data, "val", exact=True)
    assert strokes.values == {name: value for name, value in exact.values.items() if "taught" not in name}
    assert exact.values["psnr_taught_biharmonic"] < exact.values["psnr_biharmonic"]


def test_the_table_has_the_damage_and_the_wavelets_beside_the_model(data):
    scores = Restoration().score(Fixed(lambda damaged: damaged), data, "test", exact=True)
    table = score_table(scores, "restored")
    assert [column.header for column in table.columns] == ["metric", "this model", "damaged", "wavelet denoiser"]
    assert list(table.columns[0].cells) == ["psnr", "ssim", "psnr gain", "quantised psnr"]


def test_a_model_that_restores_nothing_is_refused(data):
    class Namer(torch.nn.Module):
        def predict(self, images):
            raise AssertionError

    with pytest.raises(UserError, match=r"A Namer restores nothing.*metrics=classification"):
        lab.check_fit(Restoration(), Namer(), data)
    lab.check_fit(Restoration(), Fixed(torch.zeros_like), data)


def case(whole, damaged=None, seen=1.0):
    damaged = whole if damaged is None else damaged
    mask = torch.ones(len(whole), 1, *whole.shape[2:]) * seen < 1
    return Case(whole, damaged, mask, None, None)


def test_known_distances_have_known_scores():
    whole = torch.zeros(1, 3, 16, 16)
    off = whole + 0.2  # a tenth of the range: 20 dB
    assert measured(off, case(whole), Noise())["psnr"].item() == pytest.approx(20, abs=1e-4)
    seen = torch.ones(1, 1, 16, 16)
    seen[:, :, :8, :4] = 0
    hole = torch.where(seen > 0, whole, 0.2)
    found = measured(hole, case(whole, seen=seen), Mask())["psnr"].item()
    assert found == pytest.approx(20, abs=1e-4)  # inside the hole; over all of the picture it is 29.03
    assert measured(whole, case(whole), Noise())["psnr"].item() == 100


def test_enlarged_pictures_are_scored_on_luminance_without_their_border():
    assert luminance(torch.tensor([1.0, 1.0, 1.0]).view(1, 3, 1, 1)).item() == pytest.approx(2 * 235 / 255 - 1)
    assert luminance(-torch.ones(1, 3, 1, 1)).item() == pytest.approx(2 * 16 / 255 - 1)
    whole = torch.rand(1, 3, 24, 20, generator=torch.Generator().manual_seed(0)) - 0.5
    off = whole.clone()
    off[:, :, :4], off[:, :, -4:], off[..., :4], off[..., -4:] = 1, 1, 1, 1
    assert measured(off, case(whole), Downscale(4))["psnr"].item() == 100
    off = whole + torch.tensor([0.2, 0.0, 0.0]).view(1, 3, 1, 1)
    found = measured(off, case(whole), Downscale(4))
    assert found["psnr"].item() == pytest.approx(-20 * np.log10(0.1 * 65.481 / 255), abs=1e-3)
    assert found["rgb_psnr"].item() == pytest.approx(20 + 10 * np.log10(3), abs=1e-3)


def test_enlarging_stands_beside_bicubic_and_the_sizes_fit(data):
    model = Fixed(lambda damaged: classical.bicubic(damaged.flatten(0, 1), 2).view(len(damaged), -1, 12, 12))
    model.degradation = Downscale(2)
    values = Restoration().score(model, data, "test", exact=True).values
    assert values["psnr"] == pytest.approx(values["psnr_bicubic"])
    assert values["psnr_gain"] == pytest.approx(0)


class Leveled(Fixed):
    operation, leveled, masked = "denoise", True, False

    def restore(self, damaged, labels=None, level=None):
        self.told = level
        return super().restore(damaged)


def test_a_model_of_many_levels_is_told_which_and_scored_at_three(data):
    model = Leveled(lambda damaged: damaged, Noise(5, 50))
    scores = Restoration().score(model, data, "test", exact=True)
    assert scores.protocol["level"] == 25
    assert scores.values["psnr_15"] > scores.values["psnr"] + 3 > scores.values["psnr_50"] + 6
    assert scores.values["psnr_15_wavelet"] > scores.values["psnr_15"]
    assert torch.equal(model.told, torch.full((8,), 25.0))  # of the sheet, which comes last


class Photographs(Bars):
    """Bars, cut from photographs of two sizes."""

    def whole(self, split):
        generator = torch.Generator().manual_seed(0)
        return (torch.randint(256, (3, *size), generator=generator, dtype=torch.uint8) for size in [(33, 21), (20, 31)])


def test_whole_photographs_are_scored_each_from_a_seed_of_its_own():
    data = Photographs(val=3, test=9)
    model = Fixed(lambda damaged: damaged)
    scores = Restoration(whole=True, images=1).score(model, data, "test", exact=True)
    assert [tuple(shown.shape) for shown in model.asked[:2]] == [(1, 3, 33, 21), (1, 3, 20, 31)]
    assert scores.protocol["real_images"] == 2
    assert scores.protocol["image_size"] == "whole"
    generator = torch.Generator().manual_seed(1)  # the second of them
    torch.rand(1, generator=generator)  # its strength, which here is always the same
    first = torch.randn(1, 3, 20, 31, generator=generator) * 25 / 127.5
    whole = from_uint8(list(data.whole("test"))[1][None])
    assert torch.allclose(model.asked[1], whole + first, atol=1e-6)
    assert Restoration(whole=True, images=1).score(model, data, "val").protocol["real_images"] == 1
