import pytest
import torch

from darkroom.images import from_uint8
from darkroom.metrics.style import Style, likeness, summed_up
from darkroom.metrics.translation import Translation

from ..bars import Bars


class Fixed(torch.nn.Module):
    """A model of a fixed rule, which takes any style."""

    device = torch.device("cpu")
    averaged = False
    style = None

    def __init__(self, rule):
        super().__init__()
        self.rule = rule

    def stylise(self, images, styles=None, alpha=1.0):
        torch.rand(3)  # a careless model draws from the global generator
        return torch.lerp(images, self.rule(images, styles), alpha)


class Translator(torch.nn.Module):
    device = torch.device("cpu")
    averaged = False

    def __init__(self, there, back):
        super().__init__()
        self.rules = {"a_to_b": there, "b_to_a": back}

    def translate(self, images, direction):
        return self.rules[direction](images)


class Inverted(Bars):
    """Bars, every other one as its negative."""

    def __init__(self):
        super().__init__(val=30, test=40, class_names=["bright", "dark"])
        for pictures in self.splits.values():
            pictures.labels = torch.arange(len(pictures)) % 2
            pictures.pixels[pictures.labels == 1] = 255 - pictures.pixels[pictures.labels == 1]


@pytest.fixture(scope="module")
def data():
    return Bars(val=12, test=10)


def test_a_picture_is_like_itself_in_every_way(data):
    images = from_uint8(data.pictures("val").batch(torch.arange(4)))
    found = likeness(images, images, images)
    assert found["content_ssim"].tolist() == pytest.approx([1] * 4)
    assert found["content_edges"].tolist() == pytest.approx([1] * 4)
    assert found["style_distance"].abs().max() == 0
    assert found["colour_distance"].abs().max() == 0


def test_content_is_blind_to_the_style_and_style_to_where_things_are(data):
    images = from_uint8(data.pictures("val").batch(torch.arange(4)))
    turned = images.flip(3)
    found = likeness(turned, images, turned.roll(3, dims=0))
    moved = likeness(turned, images, images.flip(2, 3))
    assert moved["colour_distance"].max() < 1e-4  # the same pixels, elsewhere
    assert found["content_ssim"].equal(moved["content_ssim"])
    # Half a level brighter everywhere, in 255ths, is that far along a direction of one pixel in one channel.
    assert likeness(images + 0.5, images, images)["colour_distance"].tolist() == pytest.approx([63.75] * 4, rel=1e-4)


def test_who_changes_nothing_gains_nothing_and_who_copies_the_style_keeps_nothing(data):
    idle = Style().score(Fixed(lambda images, styles: images), data, "test", exact=True)
    assert idle.values["style_gain"] == pytest.approx(0)
    assert idle.values["balance"] == pytest.approx(0)
    assert idle.values["content_ssim"] == pytest.approx(1)
    copy = Style().score(Fixed(lambda images, styles: styles), data, "test", exact=True).values
    assert copy["style_gain"] == pytest.approx(1)
    assert copy["content_ssim"] == pytest.approx(copy["content_ssim_style"])
    assert copy["style_distance_content"] == pytest.approx(idle.values["style_distance"])
    assert copy["style_distance"] < copy["style_distance_at_0.75"] < copy["style_distance_at_0.25"]
    assert copy["content_ssim"] < copy["content_ssim_at_0.5"] < 1
    assert idle.pictures["alpha"].ndim == 3


def test_the_balance_is_best_where_both_are_there():
    ones = torch.ones(1)
    found = {"style_distance": 10 * ones, "content_ssim": 0.5 * ones}
    summed = summed_up(found, 40 * ones)
    assert summed["style_gain"].item() == pytest.approx(0.75)
    assert summed["balance"].item() == pytest.approx((0.75 * 0.5) ** 0.5)


def test_scores_leave_the_random_state_alone(data):
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    Style().score(Fixed(lambda images, styles: images), data, "val")
    assert torch.equal(torch.rand(1), expected)


def test_a_perfect_translation_is_as_near_as_training_pictures_and_comes_back():
    values = Translation().score(Translator(torch.neg, torch.neg), Inverted(), "test", exact=True).values
    assert values["cycle_psnr"] == 100
    assert values["distance"] < 2 * values["distance_oracle"] < 0.5 * values["distance_content"]
    assert values["distance"] == pytest.approx((values["distance_a_to_b"] + values["distance_b_to_a"]) / 2)


def test_an_idle_translation_scores_as_the_pictures_themselves():
    scores = Translation().score(Translator(lambda x: x, lambda x: x), Inverted(), "test", exact=True)
    assert scores.values["distance"] == pytest.approx(scores.values["distance_content"], rel=1e-3)
    assert scores.values["content_ssim"] == pytest.approx(1, abs=1e-4)
