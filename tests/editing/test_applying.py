from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from darkroom.editing import applying, masks
from darkroom.editing.applying import Manner
from darkroom.editing.editor import Editor
from darkroom.editing.photographs import Picture
from darkroom.errors import UserError

SAME = Editor(lambda colours, mask: colours, reach=2)
KERNEL = torch.tensor([[0.0, 0.2, 0.0], [0.3, 0.1, 0.1], [0.0, 0.3, 0.0]])


def picture(*shape, deep=False, alpha=False):
    most, kind = (65_536, np.uint16) if deep else (256, np.uint8)
    generator = np.random.default_rng(0)
    levels = generator.integers(0, most, shape, dtype=kind)
    return Picture(levels, generator.integers(1, most, shape[:2], dtype=kind) if alpha else None)


def blurred(colours, mask):
    channels = len(colours)
    return F.conv2d(colours[None], KERNEL.expand(channels, 1, 3, 3), padding=1, groups=channels)[0]


def doubled(colours, mask):
    return colours.repeat_interleave(2, dim=1).repeat_interleave(2, dim=2)


@pytest.mark.parametrize("ensemble", [False, True])
@pytest.mark.parametrize("tile", ["auto", "none", 24])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("deep", [False, True])
def test_an_edit_that_does_nothing_changes_no_bit(deep, channels, tile, ensemble):
    before = picture(40, 33, channels, deep=deep, alpha=True)
    for wanted in (1, 3, None):
        editor = Editor(lambda colours, mask: colours, channels=wanted, reach=2, multiple=4)
        after = applying.edit(before, editor, Manner(tile=tile, self_ensemble=ensemble)).picture
        assert after.levels.dtype == before.levels.dtype
        assert np.array_equal(after.levels, before.levels)
        assert np.array_equal(after.alpha, before.alpha)


@pytest.mark.parametrize("size", [(40, 70), (61, 33)])
def test_tiled_is_whole_and_odd_sizes_are_mirrored(size):
    before = picture(*size, 3)
    editor = Editor(blurred, reach=1, multiple=8)
    whole = applying.edit(before, editor, Manner(tile="none"))
    tiled = applying.edit(before, editor, Manner(tile=32))
    assert (whole.tile, tiled.tile) == (None, 32)
    assert whole.picture.levels.shape == before.levels.shape
    assert np.abs(whole.picture.levels.astype(int) - tiled.picture.levels).max() <= 1


def test_a_constant_picture_stays_constant():
    flat = Picture(np.full((40, 50, 3), 77, np.uint8))
    for editor in (
        SAME,
        Editor(lambda colours, mask: F.avg_pool2d(F.pad(colours[None], (1,) * 4, "replicate"), 3, 1)[0]),
    ):
        assert (applying.edit(flat, editor, Manner(self_ensemble=True)).picture.levels == 77).all()


def test_strength_goes_from_the_picture_to_the_result():
    before = picture(20, 20, 3)
    dark = Editor(lambda colours, mask: torch.full_like(colours, -1.0), reach=0)
    for strength in (0.0, 0.25, 1.0):
        after = applying.edit(before, dark, Manner(strength)).picture.levels
        assert np.abs(after - before.levels * (1 - strength)).max() <= 0.51


def test_a_picture_made_larger_keeps_its_transparency():
    before = picture(20, 30, 3, alpha=True)
    for tile in ("none", 16):
        after = applying.edit(before, Editor(doubled, scale=2, reach=1), Manner(tile=tile)).picture
        assert np.array_equal(after.levels, before.levels.repeat(2, 0).repeat(2, 1))
        assert after.alpha.shape == (40, 60)
    flat = Picture(before.levels, np.full((20, 30), 128, np.uint8))
    assert (applying.edit(flat, Editor(doubled, scale=2), Manner()).picture.alpha == 128).all()
    half = applying.edit(before, Editor(doubled, scale=2), Manner(strength=0.0)).picture
    bicubic = F.interpolate(
        torch.from_numpy(before.levels).float().permute(2, 0, 1)[None], scale_factor=2, mode="bicubic"
    )
    assert np.abs(half.levels - bicubic[0].permute(1, 2, 0).clamp(0, 255).numpy()).max() <= 0.51


def test_grey_is_shown_to_an_editor_of_colours_and_stays_grey():
    seen = []

    def apply(colours, mask):
        seen.append(colours)
        return colours + torch.tensor([0.1, 0.2, 0.3]).view(3, 1, 1)

    before = Picture(np.full((8, 8, 1), 100, np.uint8))
    after = applying.edit(before, Editor(apply, channels=3), Manner()).picture
    assert seen[0].shape[0] == 3
    assert after.levels.shape == (8, 8, 1)
    assert (after.levels == 126).all()  # 100 + 0.2 * 127.5, rounded


def test_an_editor_of_grey_changes_the_luminance_of_colours_alone():
    def brighter(colours, mask):
        assert len(colours) == 1
        return colours + 0.1

    before = Picture(np.random.default_rng(0).integers(60, 180, (8, 8, 3), dtype=np.uint8))
    after = applying.edit(before, Editor(brighter, channels=1), Manner()).picture.levels.astype(int)
    assert np.abs(after - before.levels - 12.75).max() <= 0.76
    differences = np.diff(after, axis=2) - np.diff(before.levels.astype(int), axis=2)
    assert (differences == 0).all()


@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize("tile", ["none", 24])
def test_outside_the_mask_nothing_changes_and_inside_everything_may(tile, deep):
    before = picture(60, 50, 3, deep=deep, alpha=True)
    holes = np.zeros((60, 50), bool)
    holes[2:12, 2:12] = True
    mask = masks.shaped(holes, grow=2, feather=2)
    seen = []

    def apply(colours, where):
        seen.append(where)
        return torch.zeros_like(colours)

    after = applying.edit(before, Editor(apply, reach=2, masked=True), Manner(tile=tile), mask).picture
    assert np.array_equal(after.levels[~mask.holes], before.levels[~mask.holes])
    assert np.array_equal(after.alpha, before.alpha)
    assert np.abs(after.levels[4:10, 4:10].astype(int) - before.most // 2).max() <= 1
    assert all(where.dtype == torch.bool and where.shape[0] == 1 for where in seen)
    if tile == 24:
        assert len(seen) == 1  # of twelve tiles, the one that the holes are in


def test_what_does_not_show_stays_as_it_is():
    before = picture(20, 20, 3)
    hidden = np.full((20, 20), 255, np.uint8)
    hidden[:10] = 0
    after = applying.edit(Picture(before.levels, hidden), Editor(blurred, reach=1), Manner()).picture
    assert np.array_equal(after.levels[:10], before.levels[:10])
    assert not np.array_equal(after.levels[10:], before.levels[10:])


def test_eight_ways_are_averaged():
    """A filter that is not symmetric becomes the mean of its turns and reflections."""
    before = picture(20, 30, 1)
    after = applying.edit(before, Editor(blurred, reach=1), Manner(self_ensemble=True)).picture.levels
    kernels = [torch.rot90(kernel, turn) for kernel in (KERNEL, KERNEL.flip(1)) for turn in range(4)]
    mean = torch.stack(kernels).mean(dim=0)
    colours = applying.in_channels(before.levels, 1)
    expected = (F.conv2d(colours[None], mean[None, None], padding=1)[0, 0] + 1) * 127.5
    assert np.abs(after[:, :, 0] - expected.numpy()).max() <= 0.51


def test_want_of_memory_halves_the_tiles_until_it_fits():
    sides = []

    def apply(colours, mask):
        sides.append(max(colours.shape[1:]))
        if sides[-1] > 40:
            raise RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 1 bytes")
        return blurred(colours, mask)

    before = picture(100, 130, 3)
    outcome = applying.edit(before, Editor(apply, reach=1), Manner())
    whole = applying.edit(before, Editor(blurred, reach=1), Manner(tile="none")).picture
    assert sides[0] == 130
    assert outcome.tile == 32
    assert np.abs(outcome.picture.levels.astype(int) - whole.levels).max() <= 1

    def never(colours, mask):
        raise MemoryError

    with pytest.raises(UserError, match="does not fit into memory even"):
        applying.edit(before, Editor(never, reach=1), Manner())
    with pytest.raises(UserError, match="make it smaller"):
        applying.edit(before, Editor(never), Manner())


def test_what_is_no_number_is_refused():
    nothing = Editor(lambda colours, mask: colours * torch.nan)
    with pytest.raises(UserError, match="NaN"):
        applying.edit(picture(8, 8, 3), nothing, Manner())


def test_an_editor_is_tuned_to_the_picture_as_a_whole(monkeypatch):
    seen = []

    def tuned(middle, small):
        seen.append((middle, small))
        level = small.mean()
        return lambda part, mask: torch.full_like(part, float(level)), "its mean"

    before = picture(40, 32, 3)
    editor = Editor(blurred, reach=1, tuned=tuned)
    outcome = applying.edit(before, replace(editor, channels=1), Manner(tile=16))
    assert [part.shape for part in seen[0]] == [(1, 40, 32)] * 2
    assert outcome.found == "its mean"
    monkeypatch.setattr(applying, "LOOKED_AT", 20)
    made = applying.edit(before, editor, Manner(tile=16)).picture.levels
    middle, small = seen[1]
    whole = applying.in_channels(before.levels, 3)
    assert torch.equal(middle, whole[:, 10:30, 6:26])
    assert torch.allclose(small, F.avg_pool2d(whole, 2), atol=1.01 / 255)
    assert np.unique(made).tolist() == [round((float(small.mean()) + 1) * 127.5)]


def test_tiles_that_cannot_be_are_refused():
    with pytest.raises(UserError, match="whole: leave tile out"):
        applying.check_tile(64, Editor(blurred))
    with pytest.raises(UserError, match="too small for this run, which looks 30 pixels"):
        applying.check_tile(32, Editor(blurred, reach=30))
    applying.check_tile("auto", Editor(blurred))
