import pytest
import torch
import torch.nn.functional as F

from darkroom.editing import tiling
from darkroom.errors import UserError, out_of_memory


@pytest.mark.parametrize("scale", [1, 2])
@pytest.mark.parametrize(("tile", "reach", "multiple"), [(32, 4, 1), (32, 7, 4), (24, 0, 8), (13, 3, 1), (64, 20, 16)])
@pytest.mark.parametrize("length", [5, 33, 100, 257])
def test_parts_add_up_and_know_their_surroundings(length, tile, reach, multiple, scale):
    parts = tiling.spans(length, tile, reach, multiple, scale)
    size = len(parts[0].weights) // scale
    whole = -(-length // multiple) * multiple
    total = torch.zeros(whole * scale)
    for part in parts:
        assert part.start % multiple == size % multiple == 0
        counting = part.weights.nonzero()[:, 0]
        if part.start > 0:
            assert counting.min() >= reach * scale
        if part.start + size < whole:
            assert counting.max() < (size - reach) * scale
        total[part.start * scale : (part.start + size) * scale] += part.weights
    assert size <= max(tile, multiple)
    assert torch.allclose(total, torch.ones_like(total), atol=1e-6)


@pytest.mark.parametrize("reach", [0, 1, 9, 40])
@pytest.mark.parametrize("multiple", [1, 8])
def test_the_smallest_tile_works_and_no_smaller_one(reach, multiple):
    smallest = tiling.least(reach, multiple)
    assert tiling.spans(500, smallest, reach, multiple)
    if smallest > multiple:
        with pytest.raises(ValueError, match="too small"):
            tiling.spans(500, smallest - multiple, reach, multiple)


def assembled(apply, height, width, tile, reach, multiple, scale, channels):
    made = torch.zeros(channels, height * scale, width * scale)
    rows_of = []

    def keep(top, rows):
        rows_of.append((top, rows.shape[1]))
        made[:, top : top + rows.shape[1]] = rows

    tiling.tiled(apply, keep, height, width, tile, reach, multiple, scale)
    tops = [top for top, _ in rows_of]
    assert tops == sorted(tops)
    assert sum(count for _, count in rows_of) == height * scale
    return made


@pytest.mark.parametrize("scale", [1, 3])
@pytest.mark.parametrize("size", [(70, 45), (31, 90), (16, 16)])
def test_put_together_it_is_what_is_made_of_the_whole(size, scale):
    """A 5x5 filter of zero-padded pictures: its reach is 2, and edges are edges only where the picture ends."""
    torch.manual_seed(0)
    picture, kernel = torch.rand(2, *size), torch.rand(2, 1, 5, 5) - 0.5

    def filtered(part):
        made = F.conv2d(part[None], kernel, padding=2, groups=2)
        return F.interpolate(made, scale_factor=scale)[0]

    def apply(place):
        bottom, right = place.top + place.height, place.left + place.width
        part = picture[:, place.top : bottom, place.left : right]
        return filtered(part)

    made = assembled(apply, *size, 24, 2, 1, scale, 2)
    assert torch.allclose(made, filtered(picture), atol=1e-5)


def test_parts_that_nobody_needs_are_left_out():
    seen = []

    def apply(place):
        seen.append(place)
        return None if place.top < 30 else torch.ones(1, place.height, place.width)

    made = assembled_loosely(apply)
    assert len(seen) > 4
    assert torch.allclose(made[:, 53:], torch.ones(1, 47, 100))


def assembled_loosely(apply):
    made = torch.zeros(1, 100, 100)

    def keep(top, rows):
        made[:, top : top + rows.shape[1]] = rows

    tiling.tiled(apply, keep, 100, 100, 32, 2, 1)
    return made


def test_want_of_memory_is_told_from_other_errors():
    assert out_of_memory(MemoryError())
    assert out_of_memory(torch.OutOfMemoryError())
    assert out_of_memory(RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"))
    assert not out_of_memory(RuntimeError("shapes do not match"))
    assert tiling.smaller(64, 2, 8, "x") == 32
    with pytest.raises(UserError, match="even in tiles of"):
        tiling.smaller(tiling.least(2, 8), 2, 8, "x")
