import math

import pytest
import torch

from darkroom.imaging.motion import MOTIONS, accumulated, moved

NOISE = torch.rand(3, 2, 13, 18, generator=torch.Generator().manual_seed(0)) * 2 - 1


def motion(count=1, **parts):
    """The same motion for some pictures."""
    return torch.tensor([float(parts.get(name, 0)) for name in MOTIONS]).repeat(count, 1)


def blob(size=64):
    """A smooth spot, off the centre and longer than wide."""
    rows, columns = torch.meshgrid(*[torch.arange(float(size)) - (size - 1) / 2] * 2, indexing="ij")
    return (torch.exp(-((columns - 6).square() / 40 + (rows + 4).square() / 90)) * 2 - 1)[None, None]


def test_no_motion_changes_nothing():
    assert moved(NOISE, motion(3)).equal(NOISE)


def test_a_quarter_turn_is_counter_clockwise():
    square = NOISE[..., :13]
    torch.testing.assert_close(moved(square, motion(3, rotate=90)), torch.rot90(square, 1, (2, 3)))
    torch.testing.assert_close(moved(square, motion(3, rotate=-180)), torch.rot90(square, 2, (2, 3)))


def test_whole_pixels_to_the_right_and_down_are_whole_pixels():
    there = moved(NOISE, motion(3, right=4, down=2))
    torch.testing.assert_close(there[:, :, 2:, 4:], NOISE[:, :, :-2, :-4])
    assert (there[:, :, :2] == -1).all()
    assert (there[..., :4] == -1).all()
    torch.testing.assert_close(moved(there, motion(3, right=-4, down=-2))[:, :, :-2, :-4], NOISE[:, :, :-2, :-4])


def test_zoom_enlarges_about_the_centre_by_its_exponential():
    for factor in (0.5, 2.0):
        light = moved(blob(160), motion(zoom=math.log(factor)))[0, 0] + 1
        places = torch.arange(160.0) - 79.5
        centre = torch.stack([(light.sum(0) * places).sum(), (light.sum(1) * places).sum()]) / light.sum()
        torch.testing.assert_close(centre, torch.tensor([6.0, -4.0]) * factor, rtol=0, atol=0.05)
        torch.testing.assert_close(light.sum() / (blob() + 1).sum(), torch.tensor(factor**2), rtol=1e-3, atol=0)


def test_each_picture_has_its_own_motion():
    motions = torch.cat([motion(right=1), motion(), motion(rotate=10)])
    together = moved(NOISE, motions)
    for index in range(3):
        assert together[index].equal(moved(NOISE[index : index + 1], motions[index : index + 1])[0])


def test_values_stay_values_of_pictures():
    edges = (NOISE > 0).float() * 2 - 1
    result = moved(edges, motion(3, rotate=17, right=0.4))
    assert (result.min(), result.max()) == (-1, 1)


def test_a_turn_then_a_step_is_not_a_step_then_a_turn():
    turn, step = motion(rotate=90), motion(right=4)
    # what was turned first moves to the right as one sees it; what moved first is swung up
    torch.testing.assert_close(accumulated(torch.cat([turn, step]))[-1:], motion(rotate=90, right=4))
    torch.testing.assert_close(accumulated(torch.cat([step, turn]))[-1:], motion(rotate=90, down=-4))
    torch.testing.assert_close(accumulated(torch.cat([step, motion(zoom=1)]))[-1:], motion(right=4 * math.e, zoom=1))


def test_steps_amount_to_one_motion():
    steps = torch.tensor([[20.0, 3, -2, 0.1], [-35, -4, 5, 0.05], [70, 1, 2, -0.2]])
    picture = blob()
    for step, total in zip(steps, accumulated(steps), strict=True):
        picture = moved(picture, step[None])
        at_once = moved(blob(), total[None])
        assert (picture - at_once).abs().max() < 0.05  # of 2, after three interpolations
        assert (picture - blob()).abs().max() > 0.5


@pytest.mark.parametrize("shape", [(4,), (2, 5, 4), (5, 4)])
def test_motions_accumulate_along_their_steps(shape):
    steps = torch.zeros(*shape[:-1], 3, 4)
    steps[..., 1] = 2
    assert accumulated(steps)[..., 1].equal(torch.tensor([2.0, 4, 6]).expand(*shape[:-1], 3))
