import pytest
import torch

from darkroom.errors import UserError
from darkroom.imaging.degradations import (
    Blur,
    Degradation,
    Downscale,
    Fade,
    Holes,
    Jpeg,
    Mask,
    Mix,
    Noise,
    Scratches,
    noise_level,
)


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


EVERY = [
    Noise(),
    Noise(0, 50),
    Mask(),
    Blur(),
    Downscale(2),
    Jpeg(),
    Fade(),
    Scratches(),
    Holes(),
    Mix([Blur(), Fade(), Noise(), Scratches(), Jpeg()]),
]


@pytest.mark.parametrize("degradation", EVERY, ids=lambda degradation: type(degradation).__name__)
def test_damage_is_a_function_of_the_numbers_drawn(degradation, images):
    before = images.clone()
    first, again, other = (degradation(images, seeded(seed)) for seed in (1, 1, 2))
    assert torch.equal(images, before)
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])
    if not isinstance(degradation, Downscale):
        assert not torch.equal(first[0], other[0])
    assert first[0].shape[2:] == first[1].shape[2:]
    assert first[1].shape[1] == 1
    assert first[0].dtype == torch.float32


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
        (lambda: Blur(0, 1), "least above 0"),
        (lambda: Downscale(5), "2, 3 or 4"),
        (lambda: Jpeg(0, 50), "1 <= least"),
        (lambda: Fade(0), "above 0"),
        (lambda: Scratches(0, 0), "one above 0"),
        (lambda: Holes(0.1, 0.7), "at most 0.5"),
        (lambda: Mix([]), "one or more"),
        (lambda: Mix([Holes()]), "need no mask"),
    ],
)
def test_damage_that_cannot_be_is_refused(make, hint):
    with pytest.raises(UserError, match=hint):
        make()


def test_damage_of_one_process_is_that_of_another():
    import hashlib
    import subprocess
    import sys

    program = (
        "import torch, hashlib; from darkroom.imaging.degradations import *;"
        "g = torch.Generator().manual_seed(3); d = lambda k, c, *s: k(c, *s, generator=g);"
        "x = torch.linspace(-1, 1, 2 * 3 * 24 * 24).view(2, 3, 24, 24);"
        "made = [p(x, d)[0] for p in (Holes(), Scratches(), Jpeg())];"
        "print(hashlib.sha256(b''.join(m.numpy().tobytes() for m in made)).hexdigest())"
    )
    elsewhere = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    images = torch.linspace(-1, 1, 2 * 3 * 24 * 24).view(2, 3, 24, 24)
    draw = seeded(3)
    made = [part(images, draw)[0] for part in (Holes(), Scratches(), Jpeg())]
    assert elsewhere.strip() == hashlib.sha256(b"".join(one.numpy().tobytes() for one in made)).hexdigest()


@pytest.mark.parametrize("size", [(17, 20), (64, 64), (90, 61)])
def test_holes_take_their_share_and_never_half(size):
    images = torch.ones(20, 3, *size)
    damaged, seen = Holes(0.2, 0.3)(images, seeded(0))
    missing = 1 - seen.mean(dim=(1, 2, 3))
    assert (missing <= 0.5).all()
    assert (missing >= 0.2).float().mean() > 0.9
    assert torch.equal(damaged, images * seen)
    assert set(seen.unique().tolist()) == {0.0, 1.0}
    if size == (64, 64):
        assert missing.mean() < 0.36


def test_blur_keeps_a_constant_and_its_kernels_are_means():
    constant = torch.full((4, 3, 20, 20), 0.25)
    assert torch.allclose(Blur(noise=0.0)(constant, seeded(0))[0], constant, atol=1e-5)
    numbers = torch.tensor([[0.0, 1.0, 0.0], [0.9, 1.0, 0.0], [0.0, 1.0, 0.5]])
    shaken, unfocused, upright = Blur(0.5, 2.0, longest=9, motion=0.5).kernels(numbers)
    assert torch.allclose(shaken.sum(), torch.tensor(1.0))
    assert torch.allclose(shaken, upright.T, atol=1e-6)
    middle = len(shaken) // 2
    assert shaken[middle].sum() > 0.75
    assert (shaken[middle] > 0.05).sum() == 9
    expected = torch.exp(-torch.tensor(4.0) / (2 * 2.0**2))
    assert torch.isclose(unfocused[middle, middle + 2] / unfocused[middle, middle], expected)


def test_blur_bears_pictures_smaller_than_its_kernel():
    assert Blur()(torch.rand(1, 1, 3, 4), seeded(0))[0].shape == (1, 1, 3, 4)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_downscaling_makes_smaller_and_keeps_a_constant(scale):
    images = torch.full((2, 3, 12 * scale, 7 * scale), 1 / 255)
    damaged, seen = Downscale(scale)(images)
    assert damaged.shape == (2, 3, 12, 7)
    assert torch.allclose(damaged, torch.full_like(damaged, 1 / 255), atol=1e-6)
    assert seen.shape == (2, 1, 12, 7)


def test_jpeg_is_that_of_files_and_worse_where_quality_is_less(images):
    from darkroom.images import as_jpeg, from_uint8, to_uint8

    made = Jpeg(30, 30)(images, seeded(0))[0]
    assert torch.equal(made[5], from_uint8(as_jpeg(to_uint8(images[5]), 30)))
    errors = [(Jpeg(quality, quality)(images, seeded(0))[0] - images).square().mean() for quality in (10, 50, 95)]
    assert errors[0] > errors[1] > errors[2]


def test_fading_takes_contrast_and_colour():
    rows, columns = torch.meshgrid(torch.linspace(-1, 1, 32), torch.linspace(-1, 1, 32), indexing="ij")
    images = torch.stack([rows, columns, -rows])[None].expand(16, 3, 32, 32)
    faded = Fade(noise=0.0)(images, seeded(0))[0]
    assert (faded.flatten(1).std(dim=1) < images.flatten(1).std(dim=1)).all()
    spread = lambda pictures: (pictures - pictures.mean(dim=1, keepdim=True)).abs().flatten(1).mean(dim=1)  # noqa: E731
    assert (spread(faded) < spread(images)).all()
    assert faded.abs().max() <= 1
    slight = Fade(strength=0.1, noise=0.0)(images, seeded(0))[0]
    assert (slight - images).abs().mean() < 0.5 * (faded - images).abs().mean()


def test_scratches_say_where_they_are_not(images):
    damaged, seen = Scratches()(images, seeded(0))
    preserve_rng_state = seen.bool().expand_as(images)
    assert torch.equal(damaged[preserve_rng_state], images[preserve_rng_state])
    assert 0.5 < seen.mean() < 0.99
    large = Scratches()(torch.zeros(1, 1, 256, 256), seeded(0))[1]
    assert 0.7 < large.mean() < 0.99


def test_a_mix_is_its_parts_one_after_another(images):
    parts = [Fade(), Jpeg(30, 30)]
    certain = Mix(parts, share=1.0)(images, seeded(0))[0]
    draw = seeded(0)
    expected = images
    for part in parts:
        draw(torch.rand, len(images), 1, 1, 1)
        expected = part(expected, draw)[0]
    assert torch.equal(certain, expected)
    some = Mix([Noise(25, 25)], share=0.3)(images, seeded(0))[0]
    spared = (some == images).flatten(1).all(dim=1).float().mean()
    assert 0.5 < spared < 0.9


def test_levels_that_are_given_are_taken(images):
    damaged, _ = Noise(5, 50)(images, seeded(0), torch.full((64,), 40.0))
    assert ((damaged - images) * 127.5).std().item() == pytest.approx(40, rel=0.02)
    draw = seeded(2)
    levels = Noise(5, 50).levels(64, draw)
    assert torch.equal(Noise(5, 50)(images, draw, levels)[0], Noise(5, 50)(images, seeded(2))[0])
    assert Noise(5, 50).leveled
    assert not Noise(25, 25).leveled


def test_the_noise_of_a_smooth_picture_is_estimated():
    slope = torch.linspace(-1, 1, 96).expand(3, 3, 96, 96)
    sigmas = torch.tensor([5.0, 25.0, 50.0])
    noisy = (
        slope + torch.randn(3, 3, 96, 96, generator=torch.Generator().manual_seed(0)) * sigmas.view(3, 1, 1, 1) / 127.5
    )
    assert torch.allclose(noise_level(noisy), sigmas, rtol=0.05)
    assert noise_level(slope).max() < 1e-3
    assert noise_level(torch.ones(2, 3, 2, 9)).tolist() == [0, 0]
