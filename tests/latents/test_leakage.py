import math

import pytest
import torch

from darkroom.errors import UserError
from darkroom.latents.leakage import Moments, Named, changes, measure, moments, probability_of_neither, read


class Corners:
    """Read which corner is lit and whether the picture is lit at the middle, as surely as it is bright."""

    def __init__(self):
        self.names = {"corner": ["top", "bottom"], "middle": ["dark", "lit"]}

    def __call__(self, pictures):
        shares = pictures.float()[:, 0] / 255
        corner = torch.stack([shares[:, 0, 0], 1 - shares[:, 0, 0]], dim=1)
        middle = torch.stack([1 - shares[:, 4, 4], shares[:, 4, 4]], dim=1)
        return {"corner": corner, "middle": middle}


def picture(corner, middle):
    made = torch.zeros(1, 1, 9, 9, dtype=torch.uint8)
    made[..., 0, 0], made[..., 4, 4] = corner, middle
    return made


def test_what_does_not_change_does_not_leak():
    noise = torch.randint(0, 256, (20, 1, 9, 9), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    reading = read([Corners(), Moments.of(noise)], noise)
    assert set(reading) == {"corner", "middle", "stroke", "slant"}
    leakage = measure(reading, read([Corners(), Moments.of(noise)], noise), "corner", 0)
    assert (leakage.moved, leakage.leaked) == (0, 0)
    assert leakage.changes == dict.fromkeys(reading, 0.0)
    assert leakage.ratio == math.inf


def test_a_known_edit_has_its_known_leakage():
    before = torch.cat([picture(51, 0), picture(0, 0)])
    after = torch.cat([picture(204, 51), picture(255, 0)])
    leakage = measure(read([Corners()], before), read([Corners()], after), "corner", 0)
    assert leakage.moved == pytest.approx((0.6 + 1.0) / 2)
    assert leakage.leaked == pytest.approx(0.2 / 2)
    assert leakage.ratio == pytest.approx(0.125)
    assert leakage.changes == pytest.approx({"corner": 0.8, "middle": 0.1})
    back = measure(read([Corners()], before), read([Corners()], after), "corner", torch.tensor([0, 1]))
    assert back.moved == pytest.approx((0.6 - 1.0) / 2)


def test_an_attribute_that_nobody_reads_gains_nobody_knows_what():
    reading = read([Corners()], picture(0, 0))
    leakage = measure(reading, reading, "colour", 0)
    assert math.isnan(leakage.moved)
    assert math.isnan(leakage.ratio)
    assert leakage.leaked == 0
    alone = {"corner": reading["corner"]}
    assert math.isnan(measure(alone, alone, "corner", 0).leaked)


def test_readings_of_different_pictures_are_refused():
    one, two = read([Corners()], picture(0, 0)), read([Corners()], picture(0, 0).repeat(2, 1, 1, 1))
    with pytest.raises(UserError, match="give the same pictures to the same readers"):
        changes(one, two)


def test_the_first_reader_of_an_attribute_counts():
    class Certain(Corners):
        def __call__(self, pictures):
            return {"middle": torch.tensor([[0.0, 1.0]]).repeat(len(pictures), 1)}

    assert read([Certain(), Corners()], picture(0, 0))["middle"].tolist() == [[0, 1]]


def test_names_are_read_with_their_probabilities():
    reader = Named({"kind": ["a", "b"]}, lambda part: {"kind": torch.tensor([[0.0, math.log(3)]]).repeat(len(part), 1)})
    torch.testing.assert_close(reader(picture(0, 0).repeat(300, 1, 1, 1))["kind"], torch.tensor([[0.25, 0.75]] * 300))


def stroke(slant, width=3, side=41):
    """Return a straight stroke that leans so many pixels to the right per pixel up."""
    made = torch.zeros(1, 1, side, side, dtype=torch.uint8)
    for row in range(8, side - 8):
        middle = side // 2 + round(slant * (side // 2 - row))
        made[0, 0, row, middle - width // 2 : middle + width // 2 + 1] = 255
    return made


@pytest.mark.parametrize("slant", [-0.5, 0.0, 0.25, 1.0])
def test_moments_tell_slant_and_stroke(slant):
    found = moments(stroke(slant))
    assert found["slant"].item() == pytest.approx(slant, abs=0.02)
    assert found["stroke"].item() == pytest.approx(3 * 25 / 41**2)
    colour = moments(stroke(slant).repeat(1, 3, 1, 1))
    assert colour["slant"].item() == pytest.approx(found["slant"].item())
    assert moments(torch.zeros(1, 1, 9, 9, dtype=torch.uint8))["slant"].item() == 0


def test_a_number_is_read_by_where_it_stands_among_real_ones():
    reader = Moments(
        {"stroke": torch.tensor([0.1, 0.2, 0.4]).double(), "slant": torch.tensor([-1.0, 0.0, 1.0]).double()}
    )
    grey = torch.tensor([0, 51, 153, 255], dtype=torch.uint8)[:, None, None, None].expand(4, 1, 6, 6)
    expected = [[1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 1]]
    torch.testing.assert_close(reader(grey[:4])["stroke"], torch.tensor(expected).double())
    between = torch.full((1, 1, 6, 6), 77, dtype=torch.uint8)  # 0.302 lies halfway between 0.2 and 0.4
    torch.testing.assert_close(reader(between)["stroke"], torch.tensor([[0, 0.49, 0.51]]).double(), atol=0.005, rtol=0)


def test_knots_are_those_of_the_pictures_given():
    pictures = torch.cat([stroke(slant) for slant in torch.linspace(-0.5, 0.5, 7).tolist()])
    reader = Moments.of(pictures)
    assert reader.knots["slant"].tolist() == pytest.approx([-1 / 3, 0, 1 / 3], abs=0.03)
    shares = reader(pictures)
    for reading in shares.values():
        torch.testing.assert_close(reading.sum(dim=1), torch.ones(7).double())
    assert shares["slant"].argmax(dim=1).tolist() == [0, 0, 1, 1, 1, 2, 2]


def test_a_way_strays_as_far_as_it_shows_what_neither_end_shows():
    way = torch.tensor([[0.5, 0.2, 0.3], [0.1, 0.0, 0.9]])
    assert probability_of_neither(way, torch.tensor([0, 2]), torch.tensor([1, 2])) == pytest.approx((0.3 + 0.1) / 2)


def test_what_no_network_reads_is_read_from_examples():
    generator = torch.Generator().manual_seed(0)
    pictures = torch.randint(0, 100, (300, 1, 40, 24), generator=generator, dtype=torch.uint8)
    bright, left = torch.randint(0, 3, (300,), generator=generator), torch.randint(0, 2, (300,), generator=generator)
    pictures += 40 * bright[:, None, None, None].to(torch.uint8)
    pictures[left == 1, :, :, :12] += 40
    names = {"bright": ["dark", "grey", "bright", "never seen"], "left": ["no", "yes"]}
    reader = Named.by_examples(pictures[:200], {"bright": bright[:200], "left": left[:200]}, names)
    found = reader(pictures[200:])
    for name, values in (("bright", bright[200:]), ("left", left[200:])):
        assert found[name].shape == (100, len(names[name]))
        torch.testing.assert_close(found[name].sum(dim=1), torch.ones(100))
        assert (found[name].argmax(dim=1) == values).double().mean() > 0.95
    assert found["bright"][:, 3].max() < 1e-6
