import pytest
import torch

from darkroom.imaging import colour
from darkroom.imaging.colour import METHODS, linear, moments, optimal
from darkroom.losses.patches import quantiles


def picture(height, width, seed, channels=3):
    """A picture of colours that hang together, and of no Gaussian kind."""
    draw = torch.Generator().manual_seed(seed)
    mixed = torch.randn(channels, channels, generator=draw, dtype=torch.float64) / 3
    drawn = torch.rand(channels, height * width, generator=draw, dtype=torch.float64) ** 2
    return (mixed @ drawn).view(channels, height, width)


@pytest.mark.parametrize("channels", [1, 3])
def test_mean_and_covariance_become_those_of_the_style(channels):
    content, style = picture(40, 30, 0, channels), picture(25, 50, 1, channels)
    for found, wanted in zip(moments(linear(content, style)), moments(style), strict=True):
        assert torch.allclose(found, wanted, atol=1e-12)


def test_the_moments_are_those_of_all_pixels_however_they_are_cut(monkeypatch):
    content = picture(40, 30, 0)
    mean, covariance = moments(content)
    assert torch.allclose(mean, content.flatten(1).mean(dim=1))
    assert torch.allclose(covariance, content.flatten(1).cov(correction=0))
    made = linear(content, picture(9, 9, 1))
    monkeypatch.setattr(colour, "CHUNK", 97)
    assert torch.allclose(linear(content, picture(9, 9, 1)), made)


@pytest.mark.parametrize("method", METHODS.values())
def test_a_picture_in_its_own_colours_is_itself(method):
    content = picture(30, 30, 2)
    assert torch.allclose(method(content, content), content, atol=1e-9)


@pytest.mark.parametrize("method", METHODS.values())
def test_what_had_one_colour_still_has_one_and_nothing_else_moves(method):
    content, style = picture(16, 16, 3), picture(16, 16, 4)
    content[:, 4:8] = content[:, :1, :1]
    made = method(content, style)
    assert torch.allclose(made[:, 4:8], made[:, :1, :1].expand(3, 4, 16))
    assert torch.allclose(made.flip(2), method(content.flip(2), style), atol=1e-9)


def test_optimal_transport_brings_more_than_two_moments():
    content, style = picture(64, 64, 5), picture(64, 80, 6)

    def apart(made):
        return max(
            (
                quantiles((axis @ made.flatten(1)).sort().values, 500)
                - quantiles((axis @ style.flatten(1)).sort().values, 500)
            )
            .abs()
            .mean()
            for axis in torch.eye(3, dtype=torch.float64)
        )

    assert apart(optimal(content, style)) < 0.2 * apart(linear(content, style)) < 0.2 * apart(content)
    assert torch.equal(optimal(content, style, seed=3), optimal(content, style, seed=3))


def test_grey_stays_grey_and_constant_stays_constant():
    grey = picture(20, 20, 7, channels=1).expand(3, 20, 20)
    made = linear(grey, picture(20, 20, 8))
    spread = made - made.mean(dim=(1, 2), keepdim=True)
    assert torch.allclose(spread[0], spread[1], atol=1e-9)
    flat = linear(torch.full((3, 8, 8), 0.3, dtype=torch.float64), picture(20, 20, 8))
    assert torch.allclose(flat, flat[:, :1, :1].expand(3, 8, 8))
