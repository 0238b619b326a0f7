import torch

from darkroom.losses.patches import SIZE, directions, distance, patch_distance, quantiles


def pictures(count, height=20, width=24, seed=0):
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def filters(count=16, seed=1):
    return directions(count, 3, generator=torch.Generator().manual_seed(seed))


def test_directions_are_of_length_one_and_follow_the_generator():
    assert torch.allclose(filters().square().sum(dim=(1, 2, 3)), torch.ones(16))
    assert torch.equal(filters(), filters())
    assert not torch.equal(filters(), filters(seed=2))


def test_a_picture_is_at_no_distance_from_itself_and_as_far_there_as_back():
    one, other = pictures(2), pictures(2, seed=3)
    assert torch.equal(patch_distance(one, one, filters()), torch.zeros(2))
    assert torch.equal(patch_distance(one, other, filters()), patch_distance(other, one, filters()))
    assert patch_distance(one, other, filters()).min() > 0


def test_where_patches_lie_does_not_matter():
    # Patches that do not overlap, so that a shuffle of them holds the very same patches.
    tiles = pictures(6, SIZE, SIZE)
    row, shuffled = (torch.cat(list(tiles[order]), dim=2)[None] for order in (torch.arange(6), torch.randperm(6)))
    assert torch.allclose(patch_distance(row, shuffled, filters(), stride=SIZE), torch.zeros(1), atol=1e-6)
    assert patch_distance(row, shuffled, filters(), stride=1) > 1e-3


def test_of_a_picture_that_is_brighter_everywhere_the_distance_is_known():
    one, known = pictures(1), filters()
    brighter = patch_distance(one, one + 0.5, known)
    assert torch.allclose(brighter, 0.5 * known.sum(dim=(1, 2, 3)).abs().mean()[None], atol=1e-5)
    squared = patch_distance(one, one + 0.5, known, power=2)
    assert torch.allclose(squared, (0.5 * known.sum(dim=(1, 2, 3))).square().mean()[None], atol=1e-5)


def test_quantiles_of_another_count_are_spread_alike():
    ascending = torch.linspace(0, 1, 1001)
    assert torch.allclose(quantiles(ascending, 10), torch.arange(10) / 10 + 0.05, atol=1e-3)
    assert torch.equal(quantiles(ascending, 1001), ascending)
    twice = ascending.repeat_interleave(2)
    assert distance(ascending.view(1, 1, -1), twice.view(1, 1, -1), 1).item() < 1e-3
