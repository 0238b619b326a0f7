import pytest
import torch

from darkroom.editing.degradations import Degradation, Mask, Noise
from darkroom.errors import UserError


@pytest.fixture
def images():
    return torch.rand(64, 3, 17, 20, generator=torch.Generator().manual_seed(0)) * 2 - 1


def seeded(seed):
    generator = torch.Generator().manual_seed(seed)
    return lambda kind, count, *shape: kind(count, *shape, generator=generator)


def test_no_damage_leaves_everything(images):
    damaged, seen = Degradation()(images)
    assert torch.equal(damaged, images)
    assert torch.equal(seen, torch.ones(64, 1, 17, 20))


@pytest.mark.parametrize("degradation", [Noise(), Noise(0, 50), Mask()], ids=["noise", "any noise", "mask"])
def test_damage_is_a_function_of_the_numbers_drawn(degradation, images):
    before = images.clone()
    first, again, other = (degradation(images, seeded(seed)) for seed in (1, 1, 2))
    assert torch.equal(images, before)
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])
    assert not torch.equal(first[0], other[0])


def test_noise_has_the_strength_that_was_asked_for_and_no_mean(images):
    damaged, seen = Noise(25, 25)(images, seeded(0))
    noise = (damaged - images) * 127.5
    assert noise.std().item() == pytest.approx(25, rel=0.02)
    assert noise.mean().item() == pytest.approx(0, abs=0.5)
    assert seen.all()


def test_noise_is_not_clipped(images):
    assert Noise(25, 25)(images, seeded(0))[0].abs().max() > 1.2


def test_noise_of_a_range_differs_from_picture_to_picture(images):
    damaged, _ = Noise(5, 50)(images, seeded(0))
    strengths = ((damaged - images) * 127.5).flatten(1).std(dim=1)
    assert strengths.min() < 12
    assert strengths.max() > 43
    assert (strengths > 4).all()
    assert (strengths < 55).all()


def test_no_noise_is_no_damage(images):
    assert torch.equal(Noise(0, 0)(images)[0], images)


@pytest.mark.parametrize(("share", "patch"), [(0.75, 4), (0.5, 5), (0.0, 4), (0.9, 1)])
def test_a_mask_hides_its_share_of_whole_patches(share, patch, images):
    damaged, seen = Mask(share, patch)(images, seeded(0))
    rows, columns = -(-17 // patch), -(-20 // patch)
    corners = seen[:, 0, ::patch, ::patch]  # one pixel of each patch
    assert corners.shape[1:] == (rows, columns)
    assert (corners.flatten(1).sum(dim=1) == rows * columns - round(share * rows * columns)).all()
    whole = corners.repeat_interleave(patch, dim=1).repeat_interleave(patch, dim=2)[:, :17, :20]
    assert torch.equal(seen[:, 0], whole)
    assert torch.equal(damaged, torch.where(seen.bool(), images, 0.0))


def test_a_mask_is_another_for_each_picture(images):
    seen = Mask()(images, seeded(0))[1].flatten(1)
    assert len(seen.unique(dim=0)) > 60


@pytest.mark.parametrize(
    ("make", "hint"),
    [
        (lambda: Noise(30, 20), "0 <= least <= most"),
        (lambda: Noise(-1, 20), "0 <= least <= most"),
        (lambda: Mask(1.0), "less than 1"),
        (lambda: Mask(0.5, 0), "1 or more"),
    ],
)
def test_damage_that_cannot_be_is_refused(make, hint):
    with pytest.raises(UserError, match=hint):
        make()
