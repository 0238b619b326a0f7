import pytest
import torch

from darkroom.errors import UserError
from darkroom.imaging.patches import enlarged, resized, stylised
from darkroom.losses.patches import directions, patch_distance
from darkroom.metrics import paired


def scene(height=40, width=48, channels=3):
    """A bright disc on a dark slope."""
    rows, columns = torch.meshgrid(torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij")
    disc = (rows**2 + columns**2 < 0.4).float()
    return (torch.stack([disc, disc * 0.5, columns * 0.3])[:channels] - 0.2).clamp(-1, 1)


def stripes(side=36, channels=3):
    rows = torch.arange(side)
    bands = ((rows[:, None] + rows[None] // 2) % 6 < 3).float()
    return torch.stack([bands, 1 - bands, bands * 0.2])[:channels] * 1.4 - 0.7


def far(made, style):
    held_out = directions(64, made.shape[0], generator=torch.Generator().manual_seed(999))
    return patch_distance(made[None], style[None], held_out).item()


def test_patches_become_the_styles_and_the_content_can_be_told():
    content, style = scene(), stripes()
    told = []
    made = stylised(content, style, steps=8, progress=lambda done, total: told.append((done, total)))
    assert made.shape == content.shape
    assert made.abs().max() <= 1
    assert far(made, style) < 0.5 * far(content, style)
    # Which of two contents it was made of shows: the disc is still to be seen.
    assert paired.ssim(made[None], content[None]) > paired.ssim(made[None], content.flip(0).roll(20, 2)[None]) + 0.05
    assert told == [(step, 16) for step in range(1, 17)]  # two scales: a third would have less than 16 pixels


def test_of_a_picture_in_its_own_style_nothing_is_asked():
    content = scene()
    assert torch.allclose(stylised(content, content, steps=3, levels=1), content, atol=1e-4)


def test_the_seed_decides():
    first, again, other = (stylised(scene(), stripes(), steps=2, seed=seed) for seed in (5, 5, 6))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_grey_pictures_stay_grey():
    assert stylised(scene(channels=1), stripes(channels=1), steps=1).shape == (1, 40, 48)


def test_what_is_too_small_is_refused():
    with pytest.raises(UserError, match="type method=colour"):
        stylised(scene(15, 40), stripes())


def test_enlarged_as_it_was_a_small_picture_is_the_large_one():
    full = scene(120, 90)
    small = resized(full, scale=0.5)
    made = enlarged(small, small, full)
    assert made.shape == full.shape
    # Nearer to the full picture than enlarging can bring it: its edges come from there.
    assert paired.psnr(made[None], full[None]) > paired.psnr(resized(small, full.shape[1:])[None], full[None]) + 3


def test_strokes_that_are_not_in_the_content_are_enlarged_too():
    full = torch.zeros(3, 64, 64)
    strokes = stripes(32) * 0.5
    assert torch.allclose(
        enlarged(strokes, resized(full, scale=0.5), full), resized(strokes, full.shape[1:]).clamp(-1, 1), atol=1e-5
    )
