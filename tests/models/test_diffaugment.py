import pytest
import torch

from darkroom.models.diffaugment import NUMBERS, DiffAugment


@pytest.fixture
def images():
    return torch.rand(6, 3, 12, 16, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 2 - 1


@pytest.fixture
def numbers():
    return torch.rand(6, NUMBERS, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def only(part, **more):
    """A change of one kind alone."""
    return DiffAugment(**{"translation": 0.0, "cutout": 0.0, "colour": False, **part, **more})


def given(*pairs, count=1):
    """Random numbers that are all one half but for some places."""
    numbers = torch.full((count, NUMBERS), 0.5, dtype=torch.float64)
    numbers[:, :3] = 0
    for place, number in pairs:
        numbers[:, place] = number
    return numbers


def test_without_strength_pictures_are_what_they_were(images, numbers):
    assert DiffAugment(1.0)(images, numbers, 0.0) is images
    assert torch.equal(DiffAugment(1.0)(images, numbers.clamp(min=0.5), 0.3), images)


def test_equal_numbers_are_equal_changes_and_pictures_do_not_mix(images, numbers):
    augment = DiffAugment(1.0)
    changed = augment(images, numbers, 0.7)
    assert not torch.equal(changed, images)
    assert torch.equal(augment(images, numbers, 0.7), changed)
    for row in range(6):
        torch.testing.assert_close(augment(images[row : row + 1], numbers[row : row + 1], 0.7)[0], changed[row])
    same = augment(images[:1].expand(6, -1, -1, -1), numbers[:1].expand(6, -1), 1.0)
    assert all(torch.equal(one, same[0]) for one in same)


def test_gradients_pass_to_the_pixels_twice(images, numbers):
    augment = DiffAugment(1.0)
    small = images[:2, :, :4, :4].clone().requires_grad_(True)
    assert torch.autograd.gradcheck(lambda x: augment(x, numbers[:2], 1.0), small)
    (slope,) = torch.autograd.grad(augment(small, numbers[:2], 1.0).square().sum(), small, create_graph=True)
    slope.square().sum().backward()
    assert small.grad.abs().sum() > 0


@pytest.mark.parametrize(("row", "column"), [(0.0, 0.5), (0.9999, 0.5), (0.5, 0.0), (0.5, 0.9999), (0.0, 0.9999)])
def test_translation_is_by_whole_pixels_and_repeats_the_border(images, row, column):
    moved = only({"translation": 0.25})(images, given((6, row), (7, column), count=6), 1.0)
    rows, columns = round((2 * row - 1) * 0.25 * 12), round((2 * column - 1) * 0.25 * 16)
    assert (abs(rows), abs(columns)) != (0, 0)
    padded = torch.nn.functional.pad(images, (4, 4, 3, 3), mode="replicate")
    assert torch.equal(moved, padded[:, :, 3 + rows : 15 + rows, 4 + columns : 20 + columns])


def test_translation_is_never_further_than_its_share(images):
    marked = torch.arange(16.0).expand(200, 1, 12, 16)
    numbers = torch.rand(200, NUMBERS, generator=torch.Generator().manual_seed(2))
    moved = only({"translation": 0.25})(marked, numbers, 1.0)
    distances = (moved - marked)[:, 0, 0, 8]
    assert {int(distance) for distance in distances} == set(range(-4, 5))


def test_cutout_is_one_grey_square_of_the_share(images):
    whole = images + 5  # nowhere grey
    cut = only({"cutout": 0.5})(whole, given((8, 0.52), (9, 0.52), count=6), 1.0)
    grey = cut == 0
    assert torch.equal(grey.sum(dim=(1, 2, 3)), torch.full((6,), 3 * 6 * 8))
    assert torch.equal(cut[~grey], whole[~grey])
    corner = only({"cutout": 0.5})(whole, given((8, 0.0), (9, 0.0), count=6), 1.0) == 0
    assert torch.equal(corner.sum(dim=(1, 2, 3)), torch.full((6,), 3 * 3 * 4))
    assert corner[:, :, :3, :4].all()


def test_colour_is_changed_where_there_is_colour(images, numbers):
    everything = given((3, 0.9), (4, 0.9), (5, 0.9), count=6)
    assert not torch.equal(only({"colour": None})(images, everything, 1.0), images)
    grey = images[:, :1]
    assert torch.equal(only({"colour": None})(grey, everything, 1.0), grey)
    assert torch.equal(only({"colour": False})(images, everything, 1.0), images)


def test_colours_middle_leaves_pictures_alone_and_its_ends_are_the_papers(images):
    coloured = only({"colour": True})
    torch.testing.assert_close(coloured(images, given(count=6), 1.0), images)
    brighter = coloured(images, given((3, 0.75), count=6), 1.0)
    torch.testing.assert_close(brighter, images + 0.25)
    grey = coloured(images, given((4, 0.0), count=6), 1.0)
    torch.testing.assert_close(grey, images.mean(dim=1, keepdim=True).expand_as(images))
    flat = coloured(images, given((5, 0.0), count=6), 1.0)
    torch.testing.assert_close(flat.std(dim=(1, 2, 3)), images.std(dim=(1, 2, 3)) / 2)
    torch.testing.assert_close(flat.mean(dim=(1, 2, 3)), images.mean(dim=(1, 2, 3)))


@pytest.mark.parametrize("part", [{"translation": 0.25}, {"cutout": 0.5}, {"colour": True}])
def test_strength_is_how_often(part):
    images = torch.rand(4000, 3, 4, 4, generator=torch.Generator().manual_seed(3)) + 1
    numbers = torch.rand(4000, NUMBERS, generator=torch.Generator().manual_seed(4))
    augment = only(part)
    often, seldom = ((augment(images, numbers, strength) != images).flatten(1).any(dim=1) for strength in (1.0, 0.3))
    assert (seldom & ~often).sum() == 0, "what is changed seldom is changed often"
    assert seldom.sum() / often.sum() == pytest.approx(0.3, abs=0.03)


def test_the_ramp_rises_to_the_probability():
    augment = DiffAugment(0.8, ramp=0.2)
    assert [augment.strength(fraction) for fraction in (0, 0.1, 0.2, 1)] == pytest.approx([0, 0.4, 0.8, 0.8])
    assert DiffAugment(0.8, ramp=0).strength(0) == 0.8
    assert DiffAugment().strength(1) == 0


class TestAdaptation:
    def test_it_goes_up_while_the_discriminator_is_sure_and_down_while_it_is_not(self):
        augment = DiffAugment(0.8, target=0.6, adaptation=1000)
        assert augment.strength(1.0) == 0
        augment.adapt(torch.tensor(0.7), 100)
        augment.adapt(torch.tensor(1.0), 100)
        assert augment.strength(0.5) == pytest.approx(0.2)
        augment.adapt(torch.tensor(0.5), 50)
        assert augment.strength(0.5) == pytest.approx(0.15)

    @pytest.mark.parametrize(("certainty", "end"), [(1.0, 0.8), (-1.0, 0.0)])
    def test_it_stays_between_nothing_and_the_probability(self, certainty, end):
        augment = DiffAugment(0.8, target=0.6, adaptation=1000)
        for _ in range(30):
            augment.adapt(torch.tensor(certainty), 100)
        assert augment.strength(0.0) == end

    def test_it_is_part_of_the_state(self):
        one, other = (DiffAugment(0.8, target=0.6, adaptation=1000) for _ in range(2))
        one.adapt(torch.tensor(1.0), 300)
        other.load_state_dict(one.state_dict())
        assert other.strength(0.0) == one.strength(0.0) > 0

    def test_it_hears_nothing_without_a_target(self):
        augment = DiffAugment(0.8)
        augment.adapt(torch.tensor(1.0), 300)
        assert augment.adapted == 0
