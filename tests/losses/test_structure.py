import torch

from darkroom.losses.structure import luminance, structure


def scene(seed=0, channels=3):
    drawn = torch.rand(2, channels, 24, 24, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.avg_pool2d(drawn, 5, 1, 2) * 2 - 1


def test_structure_is_deaf_to_brightness_and_contrast():
    images = scene()
    assert torch.allclose(structure(images, images), torch.ones(2))
    assert structure(images, 0.5 * images + 0.3).min() > 0.9
    assert structure(images, -images).max() < -0.5
    assert structure(images, scene(seed=1)).abs().max() < 0.5


def test_luminance_weighs_colours_as_television_does():
    images = torch.eye(3).view(3, 3, 1, 1)
    assert torch.allclose(luminance(images).flatten(), torch.tensor([0.299, 0.587, 0.114]))
    assert torch.equal(luminance(images[:, :1]), images[:, :1])
