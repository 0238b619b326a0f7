from itertools import islice

import pytest
import torch

from darkroom.data.augment import Augment
from darkroom.data.clips import DrawnClips, TensorClips
from darkroom.data.module import ImageData
from darkroom.data.source import Collection
from darkroom.errors import UserError

PIXELS = torch.randint(0, 256, (40, 3, 1, 6, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
ACTIONS = torch.arange(40.0)[:, None, None].expand(40, 2, 1) + torch.tensor([[0.0], [0.5]])


class Reel:
    """Forty clips of noise, each with its number as what is done."""

    name, flippable = "reel", True

    def __init__(self, labelled=True, acting=True, drawn=False):
        self.labelled, self.acting, self.drawn = labelled, acting, drawn

    def load(self, folder, cache, image_size, channels):
        labels = torch.arange(40) % 4 if self.labelled else None
        actions = ACTIONS if self.acting else None
        if self.drawn:
            clips = DrawnClips(
                torch.arange(40),
                PIXELS.__getitem__,
                lambda indices: [bytes([index]) for index in indices],
                (1, 6, 8),
                3,
                labels,
                actions,
            )
        else:
            clips = TensorClips(PIXELS, labels, actions=actions)
        names = list("abcd") if self.labelled else []
        return Collection({"train": clips}, names, val=0.2, test=0.2, actions={"push": 40.0} if self.acting else {})


@pytest.fixture
def make(tmp_path):
    def made(source=None, **options):
        data = ImageData(source or Reel(), **options)
        data.locate(tmp_path / "data", tmp_path / "cache")
        return data

    return made


@pytest.mark.parametrize("drawn", [False, True], ids=["in memory", "drawn"])
def test_training_shows_whole_clips_each_with_its_own_actions(make, drawn):
    data = make(Reel(drawn=drawn), batch_size=8)
    for batch in islice(iter(data.train_dataloader()), 7):
        assert batch["images"].shape == (8, 3, 1, 6, 8)
        numbers = batch["actions"][:, 0, 0].long()
        assert batch["images"].equal(PIXELS[numbers])
        assert batch["actions"].equal(ACTIONS[numbers])
        assert batch["labels"].equal(numbers % 4)
    assert (data.frames, data.image_shape, data.actions) == (3, (1, 6, 8), {"push": 40.0})


def test_processes_that_draw_ahead_keep_the_order(make):
    alone, ahead = (
        list(islice(iter(make(Reel(drawn=True), batch_size=8, workers=workers).train_dataloader()), 5))
        for workers in (0, 2)
    )
    for one, other in zip(alone, ahead, strict=True):
        assert one["images"].equal(other["images"])
        assert one["actions"].equal(other["actions"])


def test_a_drawn_clip_and_one_in_memory_are_split_alike_and_known_by_what_they_are_made_of(make):
    pictures = [make(Reel(drawn=drawn)).pictures("val") for drawn in (False, True)]
    everything = torch.arange(8)
    assert pictures[0].batch(everything).equal(pictures[1].batch(everything))
    assert pictures[0].actions.equal(pictures[1].actions)
    assert pictures[0].digest != pictures[1].digest


def test_without_actions_there_are_none(make):
    data = make(Reel(acting=False, labelled=False))
    assert set(next(iter(data.train_dataloader()))) == {"images"}
    assert data.actions == {}


def test_clips_pass_once_as_floats(make):
    data = make()
    frames, labels = zip(*data.batches("val", size=5), strict=True)
    assert [part.shape for part in frames] == [(5, 3, 1, 6, 8), (3, 3, 1, 6, 8)]
    assert torch.cat(frames).add(1).mul(127.5).round().to(torch.uint8).equal(data.pictures("val").pixels)
    assert torch.cat(labels).equal(data.pictures("val").labels)


def test_every_frame_is_brought_to_a_size_and_to_channels(make):
    data = make(image_size=4, channels=3)
    assert data.image_shape == (3, 4, 4)
    clips = data.pictures("train")
    assert clips.batch(torch.tensor([2])).shape == (1, 3, 3, 4, 4)
    alone = TensorClips(make().pictures("train").pixels[2:3, 1:2]).fitted(4, 3)
    assert clips.pixels[2, 1].equal(alone.pixels[0, 0])
    assert clips.actions.equal(make().pictures("train").actions)


def test_a_clip_is_known_by_its_frames_and_its_actions_and_a_set_by_its_labels_as_well():
    labels, other = torch.arange(40) % 4, ACTIONS.clone()
    other[7, 1] += 1
    clips, acted = TensorClips(PIXELS, labels, actions=ACTIONS), TensorClips(PIXELS, labels, actions=other)
    assert [a == b for a, b in zip(clips.hashes, acted.hashes, strict=True)] == [index != 7 for index in range(40)]
    chosen = torch.tensor([7, 3])
    digests = {
        one.digest
        for one in (
            clips,
            acted,
            TensorClips(PIXELS, labels),
            TensorClips(PIXELS, labels.flip(0), actions=ACTIONS),
            TensorClips(PIXELS.flip(1), labels, actions=ACTIONS),
            TensorClips(PIXELS.view(40, 3, 1, 8, 6), labels, actions=ACTIONS),
            clips.select(chosen),
            clips.select(chosen.flip(0)),
        )
    }
    assert len(digests) == 8
    assert clips.select(torch.arange(40)).digest == clips.digest


def test_classes_can_be_shown_equally_often_and_a_few_clips_only(make):
    data = make(batch_size=8, sampling="balanced", limit=9)
    batch = next(iter(data.train_dataloader()))
    assert torch.bincount(batch["labels"]).tolist() == [2] * 4
    assert batch["labels"].equal(batch["actions"][:, 0, 0].long() % 4)


def test_frames_are_not_changed_one_by_one(make):
    with pytest.raises(UserError, match=r"type data\.augment=null"):
        make(augment=Augment(shift=1)).prepare()


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: TensorClips(PIXELS[0]),
        lambda: TensorClips(PIXELS.float()),
        lambda: TensorClips(PIXELS, labels=torch.zeros(39)),
        lambda: TensorClips(PIXELS, actions=torch.zeros(40, 3, 1)),
    ],
)
def test_what_does_not_belong_together_is_refused(wrong):
    with pytest.raises(ValueError, match=r"got|have"):
        wrong()
