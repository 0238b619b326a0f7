import numpy as np
import pytest
import torch

from darkroom.data.digits import Digits
from darkroom.data.module import ImageData
from darkroom.data.moving import MovingDigits
from darkroom.data.pictures import TensorPictures
from darkroom.data.source import Collection
from darkroom.errors import UserError

SIZE = 8


class Stamps:
    """Forty bright squares, each of a brightness of its own: 200 + i, so that a frame tells which one it shows."""

    name, flippable = "stamps", True

    def __init__(self, first=200, size=SIZE):
        self.first, self.size = first, size

    def load(self, folder, cache, image_size, channels):
        pixels = (
            (self.first + torch.arange(40)).to(torch.uint8)[:, None, None, None].expand(40, 1, self.size, self.size)
        )
        return Collection({"train": TensorPictures(pixels.contiguous(), torch.arange(40) % 10)}, list("0123456789"))


def moving(source=None, **options):
    counts = {"train": 60, "val": 30, "test": 30}
    return MovingDigits(source or Stamps(), **{"digit_size": SIZE, **counts, **options})


def parts(source=None, channels=None, **options):
    return moving(source, **options).load(None, None, None, channels).parts


def everything(clips):
    return clips.batch(torch.arange(len(clips)))


def upper_left(clips):
    """Where the only digit of each frame stands, from the centre of mass of what is not black: (n, T, 2)."""
    lit = (clips[:, :, 0] > 0).double()
    height, width = lit.shape[2:]
    rows = (lit.sum(3) * torch.arange(height)).sum(2) / lit.sum((2, 3))
    columns = (lit.sum(2) * torch.arange(width)).sum(2) / lit.sum((2, 3))
    return torch.stack([rows, columns], dim=2) - (SIZE - 1) / 2


def test_a_digit_moves_in_a_straight_line_at_its_speed():
    # in this much room few reach a wall
    clips = everything(parts(canvas=200, frames=9, speed=[2, 4])["train"])
    places = upper_left(clips)
    inside = ((places > 2) & (places < 200 - SIZE - 2)).all(dim=2).all(dim=1)
    assert inside.sum() > 40
    places = places[inside]
    steps = (places[:, -1:] - places[:, :1]) / 8
    assert (places - places[:, :1] - steps * torch.arange(9)[:, None]).abs().max() <= 1  # whole pixels, from exact ones
    speeds = steps.norm(dim=2)
    assert 2 - 0.2 < speeds.min() < 2.3
    assert 3.7 < speeds.max() < 4 + 0.2
    angles = torch.atan2(steps[:, 0, 0], steps[:, 0, 1])
    assert torch.histc(angles, 4, -np.pi, np.pi).min() >= 3


def test_walls_throw_back_what_hits_them():
    room = 24 - SIZE
    clips = everything(parts(canvas=24, frames=60, speed=[3, 3])["train"])
    places = upper_left(clips)
    assert places.min() == 0
    assert places.max() == room
    # unfolded at the walls, the way is straight: the distance along an axis grows by the same all the time
    turns = places[:, 2:] - 2 * places[:, 1:-1] + places[:, :-2]
    turning = turns.abs() > 1.5
    at_a_wall = (places[:, 1:-1] <= 3) | (places[:, 1:-1] >= room - 3)
    assert turning.any()
    assert (at_a_wall | ~turning).all()
    assert ((places[:, 1:] - places[:, :-1]).norm(dim=2) <= 3 + 1.5).all()


def test_several_digits_pass_through_each_other_and_the_brighter_shows():
    one, two = (everything(parts(digits=digits, canvas=16)["train"])[:, :, 0] for digits in (1, 2))
    assert (two >= one).all()  # the first digit moves as it does alone
    assert len(torch.unique(two[two > 0])) > len(torch.unique(one[one > 0])) / 2
    shown = [frame.unique().tolist() for frame in two.flatten(0, 1)]
    assert {len(values) for values in shown} <= {2, 3}
    full = (two > 0).sum((2, 3))
    assert full.min() < 2 * SIZE**2  # they overlapped at some time
    assert full.max() <= 2 * SIZE**2


def test_no_digit_of_one_split_is_shown_in_another():
    shown = {
        split: set(everything(clips).unique().tolist()) - {0} for split, clips in parts(digits=2, train=500).items()
    }
    assert not shown["train"] & shown["val"]
    assert not shown["train"] & shown["test"]
    assert not shown["val"] & shown["test"]
    assert len(shown["train"]) == 32


def test_the_digits_held_out_are_those_that_the_source_alone_holds_out(tmp_path):
    alone = ImageData(Stamps())
    alone.locate(tmp_path, tmp_path)
    shown = set(everything(parts(seed=5, test=200)["test"]).unique().tolist()) - {0}
    assert shown == set(alone.pictures("test").pixels.unique().tolist())


def test_a_clip_is_the_same_in_any_company_and_in_any_number():
    clips = parts()["train"]
    whole = everything(clips)
    assert clips.batch(torch.tensor([17, 3])).equal(whole[[17, 3]])
    assert everything(clips.select(torch.tensor([17, 3]))).equal(whole[[17, 3]])
    assert everything(parts(train=30)["train"]).equal(whole[:30])
    where = [moving().paths(split, np.arange(30), 40)[2] for split in ("train", "val", "test")]
    assert not (where[0] == where[1]).all(axis=(1, 2)).any()
    assert not (where[1] == where[2]).all(axis=(1, 2)).any()


def test_labels_are_the_digits_while_there_is_one():
    clips = parts()["test"]
    values = everything(clips).flatten(1).max(dim=1).values
    assert clips.labels.equal((values.long() - 200) % 10)
    found = moving(digits=2).load(None, None, None, None)
    assert found.class_names == []
    assert found.parts["train"].labels is None


def test_another_world_has_another_digest():
    worlds = [
        {},
        {"seed": 1},
        {"source": Stamps(first=201)},
        {"digits": 2},
        {"speed": [1, 2.9]},
        {"frames": 11},
        {"canvas": 40},
        {"digit_size": 9},
        {"channels": 3},
        {"train": 59},
    ]
    digests = [parts(**world)["train"].digest for world in worlds]
    assert len(set(digests)) == len(worlds)
    assert parts()["train"].digest == digests[0]


def test_equal_hashes_are_equal_clips():
    still = parts(speed=[0, 0], canvas=10, train=200)["train"]  # few places: some clips come twice
    clips = everything(still).flatten(1).tolist()
    assert len(set(still.hashes)) == len({tuple(clip) for clip in clips}) < 200


def test_pictures_are_brought_to_the_size_of_a_digit_and_to_colour():
    clips = everything(parts(Digits(), channels=3, digit_size=16, canvas=24, speed=[0, 0])["train"])
    assert clips.shape == (60, 10, 3, 24, 24)
    assert clips[:, :, 0].equal(clips[:, :, 2])
    lit = clips[:, 0, 0] > 0
    assert lit.any(dim=1).sum(1).max() <= 16
    assert lit.any(dim=2).sum(1).max() in (15, 16)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"digit_size": 32}, "leaves no room to move"),
        ({"speed": [3, 1]}, "is no range"),
        ({"speed": [2]}, "is no range"),
    ],
)
def test_impossible_numbers_are_refused(options, sentence):
    with pytest.raises(UserError, match=sentence):
        moving(**options)


def test_frames_are_not_resized_and_clips_are_no_digits():
    with pytest.raises(UserError, match=r"data\.source\.canvas=64"):
        moving().load(None, None, 64, None)
    with pytest.raises(UserError, match="moves already"):
        parts(moving(canvas=12), digit_size=12)
