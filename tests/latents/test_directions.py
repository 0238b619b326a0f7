import numpy as np
import pytest
import torch

from darkroom.errors import UserError
from darkroom.latents.directions import (
    held,
    lerp,
    logistic_direction,
    mean_direction,
    move,
    slerp,
    traversal,
)
from darkroom.latents.directions import (
    normal as across,
)
from darkroom.latents.rows import Row, draw

SHARES = torch.linspace(0, 1, 7)


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("way", [lerp, slerp])
def test_ways_meet_their_ends_exactly_and_take_any_shape(way):
    start, end = normal(5, 8), 3 * normal(5, 8, seed=1)
    found = way(start, end, SHARES)
    assert found.shape == (5, 7, 8)
    assert torch.equal(found[:, 0], start)
    assert torch.equal(found[:, -1], end)
    torch.testing.assert_close(way(start[0], end[0], [0.0, 0.5]), found[0, [0, 3]])
    torch.testing.assert_close(way(start, end, 0.5), found[:, 3])


def test_the_arc_keeps_a_length_and_passes_evenly():
    start, end = normal(20, 16), normal(20, 16, seed=1)
    end = end / end.norm(dim=1, keepdim=True) * start.norm(dim=1, keepdim=True)
    arc = slerp(start, end, SHARES)
    torch.testing.assert_close(arc.norm(dim=2), start.norm(dim=1, keepdim=True).expand(20, 7))
    steps = (arc[:, 1:] - arc[:, :-1]).norm(dim=2)
    torch.testing.assert_close(steps, steps[:, :1].expand(20, 6))
    # The straight line is shorter in the middle than any draw from a normal prior.
    assert (lerp(start, end, 0.5).norm(dim=1) < 0.95 * start.norm(dim=1)).all()


def test_on_the_arc_lengths_go_evenly_from_one_to_the_other():
    arc = slerp(torch.tensor([1.0, 0.0]), torch.tensor([0.0, 3.0]), torch.tensor([0.5]))
    torch.testing.assert_close(arc, torch.tensor([[2**0.5, 2**0.5]]))


@pytest.mark.parametrize("factor", [1.0, 2.5, -1.0, 0.0])
def test_without_a_single_arc_the_way_is_straight(factor):
    start = normal(3, 4)
    end = factor * start
    found = slerp(start, end, SHARES)
    assert found.isfinite().all()
    torch.testing.assert_close(found, lerp(start, end, SHARES))


def test_a_traversal_sets_one_number_and_leaves_the_others():
    latents = normal(3, 4)
    found = traversal(latents, 2, [-1.0, 0.0, 5.0])
    assert found[..., 2].tolist() == [[-1.0, 0.0, 5.0]] * 3
    kept = [0, 1, 3]
    assert torch.equal(found[..., kept], latents[:, None, kept].expand(3, 3, 3))
    with pytest.raises(UserError, match="no latent 4: give a number from 0 to 3"):
        traversal(latents, 4, 0.0)


@pytest.fixture
def toy():
    """Normal latents of very different spreads; having the attribute moves the second by 4 of its deviations."""
    spread = torch.tensor([1.0, 0.5, 3.0, 0.01])
    latents = normal(4000, 4) * spread
    having = torch.arange(4000) % 4 == 0
    latents[having, 1] += 2.0
    return latents, having


@pytest.mark.parametrize("direction", [mean_direction, logistic_direction])
def test_a_known_direction_is_recovered_with_its_length(direction, toy):
    latents, having = toy
    found = direction(latents, having)
    torch.testing.assert_close(found, torch.tensor([0.0, 2.0, 0.0, 0.0]), atol=0.15, rtol=0)
    assert torch.equal(found, direction(latents, having))
    # An amount of 1 moves by the distance between both means along it.
    apart = latents[having].mean(dim=0) - latents[~having].mean(dim=0)
    torch.testing.assert_close(found.norm(), apart @ (found / found.norm()))
    torch.testing.assert_close(direction(latents, ~having), -found, atol=1e-5, rtol=1e-4)


def test_a_regression_is_not_misled_by_what_goes_along_with_the_attribute(toy):
    latents, having = toy
    latents[:, 2] = 2 * latents[:, 1] + 0.3 * normal(4000, seed=5)  # says the same, less exactly
    share = [float(found[2] / found[1]) for found in (d(latents, having) for d in (mean_direction, logistic_direction))]
    assert share[0] > 1.5
    assert share[1] < 0.5 * share[0]


@pytest.mark.parametrize("direction", [mean_direction, logistic_direction])
def test_what_is_held_stays_exactly_still(direction, toy):
    latents, having = (part.double() if part.is_floating_point() else part for part in toy)
    hold = normal(2, 4, seed=3).double()
    found = direction(latents, having, hold=torch.cat([hold, hold]))  # naming one twice holds no more
    assert ((hold / hold.norm(dim=1, keepdim=True)) @ (found / found.norm())).abs().max() < 1e-14
    moved = move(latents[:10], found, 3.0)
    torch.testing.assert_close(moved @ hold.T, latents[:10] @ hold.T, atol=1e-12, rtol=0)
    apart = latents[having].mean(dim=0) - latents[~having].mean(dim=0)
    torch.testing.assert_close(found.norm(), apart @ (found / found.norm()))


def test_a_direction_that_cannot_be_is_refused_in_one_sentence(toy):
    latents, having = toy
    with pytest.raises(UserError, match="0 of 4000 have it"):
        mean_direction(latents, torch.zeros(4000, dtype=torch.bool))
    with pytest.raises(UserError, match="4000 of 4000 have it"):
        logistic_direction(latents, torch.ones(4000, dtype=torch.bool))
    with pytest.raises(UserError, match="nothing left when 4 others are held"):
        mean_direction(latents, having, hold=torch.eye(4))
    direction = mean_direction(latents, having)
    assert torch.equal(held(direction, torch.empty(0, 4)), direction)


def test_moving_is_adding():
    latents, direction = normal(3, 4), normal(4, seed=1)
    found = move(latents, direction, [0.0, 1.5])
    assert torch.equal(found[:, 0], latents)
    torch.testing.assert_close(found[:, 1], latents + 1.5 * direction)


def test_a_sheet_shows_every_picture_beside_its_words():
    white = torch.full((1, 10, 10), 255, dtype=torch.uint8)
    colour = torch.zeros(3, 10, 10, dtype=torch.uint8)
    colour[0] = 200
    picture = draw([Row(["first", "0.5"], [colour, None]), Row(["second"], [None, colour])], ["a", "b"], "t", "c " * 99)
    assert picture.dtype == np.uint8
    assert picture.shape[2] == 3
    red = (picture == [200, 0, 0]).all(axis=2)
    assert red.sum() == 2 * 60 * 60  # enlarged by a whole factor, to 52 pixels or more
    rows, columns = np.flatnonzero(red.any(axis=1)), np.flatnonzero(red.any(axis=0))
    assert red[rows[0], columns[0]]
    assert not red[rows[0], columns[-1]]
    assert (draw([Row(["white"], [white])], ["a"], "t", "c") != 255).any()


def test_a_normal_says_what_to_hold_where_attributes_go_together():
    latents = normal(2000, 5) @ normal(5, 5, seed=3)  # everything goes with everything
    first, second = latents @ normal(5, seed=4), latents @ normal(5, seed=5)
    found = across(latents, second)
    torch.testing.assert_close(found, normal(5, seed=5) / normal(5, seed=5).norm(), atol=1e-4, rtol=0)
    agreeing = across(latents, second > 0) @ found
    assert agreeing > 0.99
    more = first > first.median()
    free, kept = mean_direction(latents, more), mean_direction(latents, more, found[None])
    # an amount of 1 is the distance between the means of those that have it and those that do not, in every number
    for numbers, weights in ((first, normal(5, seed=4)), (second, normal(5, seed=5))):
        apart = numbers[more].mean() - numbers[~more].mean()
        torch.testing.assert_close(free @ weights, apart, atol=1e-3, rtol=1e-3)
    assert abs(kept @ normal(5, seed=5)) < 1e-3 * abs(free @ normal(5, seed=5))
    with pytest.raises(UserError, match="Nothing in the latents"):
        across(latents, torch.ones(2000))
    with pytest.raises(UserError, match="2000 of 2000"):
        across(latents, torch.ones(2000, dtype=torch.bool))
