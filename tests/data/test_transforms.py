import math

import pytest
import torch

from darkroom.data.digits import Digits
from darkroom.data.pictures import TensorPictures
from darkroom.data.source import Collection
from darkroom.data.transforms import Transforms
from darkroom.errors import UserError
from darkroom.images import from_uint8
from darkroom.imaging.motion import accumulated, moved


class Blobs:
    """Forty pictures of one smooth spot, longer than wide and off the centre, picture i of a brightness of its own."""

    name, flippable = "blobs", True

    def __init__(self, first=200, offset=3.0):
        self.first, self.offset = first, offset

    def load(self, folder, cache, image_size, channels):
        rows, columns = torch.meshgrid(*[torch.arange(32.0) - 15.5] * 2, indexing="ij")
        spot = torch.exp(-((columns - self.offset).square() / 20 + rows.square() / 60))
        peaks = (self.first + torch.arange(40.0))[:, None, None, None]
        pixels = (peaks * spot / spot.max()).round().to(torch.uint8)
        return Collection({"train": TensorPictures(pixels, torch.arange(40) % 10)}, list("0123456789"))


class Plates:
    """Forty even pictures, each of a brightness of its own: 200 + i, so that a frame tells which one it shows."""

    name, flippable = "plates", True

    def load(self, folder, cache, image_size, channels):
        pixels = (200 + torch.arange(40)).to(torch.uint8)[:, None, None, None].repeat(1, 1, 8, 8)
        return Collection({"train": TensorPictures(pixels, torch.arange(40) % 10)}, list("0123456789"))


def transforms(source=None, **options):
    counts = {"train": 100, "val": 30, "test": 30}
    return Transforms(source or Blobs(), **{**counts, **options})


def parts(source=None, channels=None, **options):
    return transforms(source, **options).load(None, None, None, channels).parts


def everything(clips):
    return clips.batch(torch.arange(len(clips)))


def test_frames_show_what_the_actions_say():
    clips = parts()["train"]
    frames = from_uint8(everything(clips))
    totals = accumulated(clips.actions)
    for step in (1, 4, 9):
        done = moved(frames[:, 0], totals[:, step - 1])
        away = totals[:, step - 1, 1:3].norm(dim=1) < 4  # what left the canvas comes back in the truth alone
        assert (done - frames[:, step])[away].square().mean().sqrt() < 0.02
        assert (frames[:, 0] - frames[:, step])[away].square().mean().sqrt() > 0.05


def test_nothing_blurs_with_time():
    clips = parts(Digits(), shift=0, zoom=1)["train"]
    frames = from_uint8(everything(clips))

    def sharpness(pictures):
        return float(pictures.diff(dim=-1).square().mean() + pictures.diff(dim=-2).square().mean())

    again = frames[:, 0]
    for step in range(9):
        again = moved(again, clips.actions[:, step])
        assert sharpness(frames[:, step + 1]) == pytest.approx(sharpness(frames[:, 0]), rel=0.005)
    assert sharpness(again) < 0.96 * sharpness(frames[:, 0])  # as it would, made from frame to frame


def test_a_model_is_told_all_that_it_cannot_know():
    clips = parts(train=4000, frames=6)["train"]
    actions = clips.actions
    sizes = torch.tensor([15, 2, 2, math.log(1.1)])
    assert (actions.abs() <= sizes).all()
    assert (actions.abs().amax((0, 1)) > 0.99 * sizes).all()
    torch.testing.assert_close((actions == 0).double().mean((0, 1)), torch.full((4,), 0.5).double(), rtol=0, atol=0.03)
    moving = (actions != 0).any(2)
    lasts = (actions[:, 1:] == actions[:, :-1]).all(2) & moving[:, 1:]
    assert float(lasts.double().sum() / moving[:, 1:].sum()) == pytest.approx(0.5, abs=0.03)
    assert actions.mean((0, 1)).abs().div(sizes).max() < 0.03


def test_frame_0_is_turned_by_any_angle():
    frames = everything(parts(train=500, shift=0, frames=2)["train"])[:, 0, 0].double()
    places = torch.arange(32.0) - 15.5
    x = (frames.sum(1) * places).sum(1) / frames.sum((1, 2))
    y = (frames.sum(2) * places).sum(1) / frames.sum((1, 2))
    torch.testing.assert_close(torch.hypot(x, y), torch.full((500,), 3 * 24 / 32.0).double(), rtol=0, atol=0.1)
    assert torch.histc(torch.atan2(y, x), 6, -math.pi, math.pi).min() > 50


def test_parts_of_a_motion_can_be_left_out():
    found = transforms(shift=0, zoom=1).load(None, None, None, None)
    assert found.actions == {"rotate": 15, "right": 0, "down": 0, "zoom": 0}
    assert (found.parts["train"].actions[..., 1:] == 0).all()
    assert found.parts["train"].actions[..., 0].any()


def test_no_picture_of_one_split_is_shown_in_another():
    found = parts(Plates(), frames=2, train=300, shift=0)
    middle = {split: everything(clips)[:, 0, 0, 16, 16].long() for split, clips in found.items()}
    shown = {split: set(values.tolist()) for split, values in middle.items()}
    assert len(shown["train"]) == 32
    assert not shown["train"] & shown["val"]
    assert not shown["train"] & shown["test"]
    assert not shown["val"] & shown["test"]
    assert found["test"].labels.equal((middle["test"] - 200) % 10)


def test_a_clip_is_the_same_in_any_company_and_in_any_number():
    clips = parts()["train"]
    whole = everything(clips)
    assert clips.batch(torch.tensor([17, 3])).equal(whole[[17, 3]])
    assert everything(clips.select(torch.tensor([17, 3]))).equal(whole[[17, 3]])
    fewer = parts(train=30)["train"]
    assert everything(fewer).equal(whole[:30])
    assert fewer.actions.equal(clips.actions[:30])
    assert not parts()["val"].actions.equal(clips.actions[:30])


def test_another_world_has_another_digest():
    worlds = [
        {},
        {"seed": 1},
        {"source": Blobs(first=201)},
        {"frames": 11},
        {"canvas": 40},
        {"picture_size": 23},
        {"rotate": 14},
        {"shift": 1},
        {"zoom": 1.2},
        {"channels": 3},
        {"train": 99},
    ]
    digests = [parts(**world)["train"].digest for world in worlds]
    assert len(set(digests)) == len(worlds)
    assert parts()["train"].digest == digests[0]
    # nothing is done in some, so their poses alone tell them apart
    assert len(set(parts(frames=2, train=2000)["train"].hashes)) == 2000


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"picture_size": 33}, r"data\.source\.canvas=32"),
        ({"rotate": 0, "shift": 0, "zoom": 1}, "moves nothing"),
    ],
)
def test_impossible_numbers_are_refused(options, sentence):
    with pytest.raises(UserError, match=sentence):
        transforms(**options)


def test_frames_are_not_resized():
    with pytest.raises(UserError, match=r"data\.source\.canvas=64"):
        transforms().load(None, None, 64, None)
