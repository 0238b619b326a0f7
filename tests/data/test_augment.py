import math

import pytest
import torch

from darkroom.data.augment import Augment, blurred, compressed, erased, flipped, shifted, turned


@pytest.fixture
def images():
    return torch.rand(6, 3, 8, 10, generator=torch.Generator().manual_seed(0)) * 2 - 1


def test_off_changes_nothing(images):
    assert Augment()(images) is images


def test_flipping_twice_is_nothing(images):
    which = torch.tensor([True, False] * 3)
    once = flipped(images, which)
    assert flipped(once, which).equal(images)
    assert once[1].equal(images[1])
    assert once[0].equal(images[0].flip(2))


def test_shifting_by_nothing_is_nothing(images):
    assert shifted(images, torch.zeros(2, 6, dtype=torch.int64)).equal(images)


def test_shifting_moves_down_and_right_and_reflects(images):
    moved = shifted(images, torch.tensor([[1] * 6, [2] * 6]))
    assert moved[:, :, 1:, 2:].equal(images[:, :, :-1, :-2])
    assert moved[:, :, 0, 2:].equal(images[:, :, 0, :-2])
    assert moved[:, :, 1:, 1].equal(images[:, :, :-1, 0])
    assert moved[:, :, 1:, 0].equal(images[:, :, :-1, 1])


def test_each_picture_moves_by_itself(images):
    moved = shifted(images, torch.tensor([[0, 1, 0, -1, 0, 0], [0, 0, 3, 0, -3, 0]]))
    assert moved[0].equal(images[0])
    assert moved[1, :, 1:].equal(images[1, :, :-1])
    assert moved[2, :, :, 3:].equal(images[2, :, :, :-3])
    assert moved[3, :, :-1].equal(images[3, :, 1:])
    assert moved[4, :, :, :-3].equal(images[4, :, :, 3:])


def test_turning_by_nothing_and_by_quarters(images):
    square = images[:, :, :, :8]
    still, one = torch.zeros(6), torch.ones(6)
    torch.testing.assert_close(turned(images, still, one), images, atol=1e-5, rtol=0)
    quarter = turned(square, still + math.pi / 2, one)
    torch.testing.assert_close(quarter, square.rot90(1, (2, 3)), atol=1e-5, rtol=0)
    half = turned(images, still + math.pi, one)
    torch.testing.assert_close(half, images.flip(2, 3), atol=1e-5, rtol=0)


def test_turning_does_not_stretch_oblong_pictures():
    disc = torch.zeros(1, 1, 20, 40)
    rows, columns = torch.meshgrid(torch.arange(20) - 9.5, torch.arange(40) - 19.5, indexing="ij")
    distance = (rows**2 + columns**2).sqrt()
    disc[0, 0] = (distance < 6).float()
    turned_disc = turned(disc, torch.tensor([math.pi / 4]), torch.ones(1))
    assert float((turned_disc - disc)[0, 0][distance < 9].abs().mean()) < 0.05


def test_zooming_in_makes_things_larger():
    square = torch.zeros(1, 1, 16, 16)
    square[:, :, 6:10, 6:10] = 1
    larger = turned(square, torch.zeros(1), torch.tensor([2.0]))
    assert 50 < float(larger.sum()) < 80  # 16 pixels become 64


def test_a_rectangle_is_erased_and_nothing_else(images):
    numbers = torch.ones(6)
    holed = erased(images, 2 * numbers, 3 * numbers, 4 * numbers, 5 * numbers)
    assert (holed[:, :, 2:6, 3:8] == 0).all()
    assert int((holed != images).sum()) == images[:, :, 2:6, 3:8].numel()


def test_the_erased_area_stays_within_bounds():
    torch.manual_seed(0)
    images = torch.ones(2000, 1, 32, 32)
    share = (Augment(erase=1.0, erase_area=0.2)(images) == 0).float().mean(dim=(1, 2, 3))
    assert float(share.min()) > 0.01
    assert float(share.max()) <= 0.2
    some = (Augment(erase=0.3)(images) == 0).flatten(1).any(1).float().mean()
    assert abs(float(some) - 0.3) < 0.04


def test_the_global_generator_decides(images):
    everything = Augment(flip=True, shift=2, rotate=10, zoom=0.1, erase=0.5)
    torch.manual_seed(1)
    one = everything(images)
    torch.manual_seed(1)
    assert one.equal(everything(images))
    assert not one.equal(everything(images))
    assert float(one.abs().max()) <= 1 + 1e-6


def test_blurring_softens_those_it_is_asked_to(images):
    assert blurred(images, torch.zeros(6)).equal(images)
    softer = blurred(images, torch.tensor([0, 0.3, 0.6, 1, 0, 0]))
    assert softer[[0, 4, 5]].equal(images[[0, 4, 5]])
    contrast = [(softer[index].std() / images[index].std()).item() for index in (0, 1, 2, 3)]
    assert contrast == sorted(contrast, reverse=True)
    flat = torch.full_like(images, 0.25)
    torch.testing.assert_close(blurred(flat, torch.ones(6)), flat)


def test_compression_loses_the_more_the_lower_the_quality(images):
    assert compressed(images, torch.zeros(6)).equal(images)
    smooth = images.cumsum(3) / 10
    one, many = (compressed(smooth, torch.full((6,), quality)) for quality in (95, 10))
    assert 0 < (one - smooth).abs().mean() < (many - smooth).abs().mean() < 0.2
    only = compressed(smooth, torch.tensor([0, 0, 95, 0, 0, 0]))
    assert only[2].equal(one[2])
    assert only[3].equal(smooth[3])


@pytest.mark.parametrize("key", ["blur", "jpeg", "noise"])
def test_a_share_of_the_pictures_is_changed_and_a_seed_says_which(key):
    images = torch.rand(400, 1, 8, 8, generator=torch.Generator().manual_seed(0)) * 1.8 - 0.9
    torch.manual_seed(4)
    changed = Augment(**{key: 0.25})(images)
    touched = (changed != images).flatten(1).any(dim=1)
    assert 70 < touched.sum() < 130
    assert changed.abs().max() <= 1
    assert (changed - images).abs().mean() < 0.1
    torch.manual_seed(4)
    assert Augment(**{key: 0.25})(images).equal(changed)
    assert (Augment(**{key: 1.0})(images) != images).flatten(1).any(dim=1).sum() > 320  # the slightest blur is none


def test_noise_is_as_strong_as_is_said():
    images = torch.zeros(500, 1, 16, 16)
    torch.manual_seed(0)
    levels = Augment(noise=1.0)(images).flatten(1).std(dim=1) * 127.5
    assert levels.max() < 12
    # standard deviations spread evenly between 0 and 10 of 255 levels
    assert 4.5 < levels.mean() < 5.5
