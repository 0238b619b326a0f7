from itertools import islice
from types import SimpleNamespace

import pytest
import torch
from pytorch_lightning import LightningModule, Trainer

from darkroom.data.augment import Augment
from darkroom.data.digits import Digits
from darkroom.data.module import ImageData
from darkroom.data.order import Order, TrainStream
from darkroom.data.photos import Photos
from darkroom.data.pictures import TensorPictures
from darkroom.data.source import Collection
from darkroom.errors import UserError


class Heap:
    """Numbered pictures: the first two pixels of picture i spell i."""

    name = "heap"
    flippable = True

    def __init__(self, count=100, labelled=True):
        self.count, self.labelled, self.loads = count, labelled, 0

    def load(self, folder, cache, image_size, channels):
        self.loads += 1
        numbers = torch.arange(self.count)
        pixels = torch.zeros(self.count, 1, 4, 6, dtype=torch.uint8)
        pixels[:, 0, 0, 0], pixels[:, 0, 0, 1] = numbers % 256, numbers // 256
        parts = {"train": TensorPictures(pixels, numbers % 5 if self.labelled else None)}
        return Collection(parts, [str(number) for number in range(5)] if self.labelled else [], val=0.2, test=0.2)


@pytest.fixture
def make(tmp_path):
    def made(source=None, **options):
        data = ImageData(source or Heap(), **options)
        data.locate(tmp_path / "data", tmp_path / "cache")
        return data

    return made


def stream(data, count):
    return list(islice(iter(data.train_dataloader()), count))


def test_a_resumed_order_is_the_tail_of_the_uninterrupted_one(make):
    data = make(batch_size=16)
    data.seed = 5
    whole = stream(data, 12)  # 60 training pictures: three passes, with batches across their borders
    data.first_image = 7 * 16
    for before, after in zip(whole[7:], stream(data, 5), strict=True):
        assert before["images"].equal(after["images"])
        assert before["labels"].equal(after["labels"])


def test_another_seed_is_another_order(make):
    data = make(batch_size=60)
    one = stream(data, 1)[0]["images"]
    data.seed = 1
    assert not one.equal(stream(data, 1)[0]["images"])


def test_every_pass_shows_every_picture_once():
    order = Order(17, seed=2)
    seen = torch.cat([order.indices(first, 5) for first in range(0, 17 * 5, 5)]).reshape(5, 17)
    assert (seen.sort(dim=1).values == torch.arange(17)).all()
    assert len({tuple(row.tolist()) for row in seen}) == 5
    assert order.indices(0, 40).equal(torch.cat([order.permutation(number) for number in range(3)])[:40])


def test_the_parts_of_all_devices_make_up_the_batch(make):
    data = make(batch_size=12)
    whole = stream(data, 6)
    pictures = data.pictures("train")
    parts = [list(islice(TrainStream(pictures, 0, 0, 12, rank, 3), 6)) for rank in range(3)]
    for step, batch in enumerate(whole):
        assert batch["images"].equal(torch.cat([part[step]["images"] for part in parts]))


def test_the_trainer_tells_the_device(make):
    data = make(batch_size=12)
    whole = stream(data, 1)[0]["images"]
    data.trainer = SimpleNamespace(global_rank=1, world_size=2)
    assert stream(data, 1)[0]["images"].equal(whole[6:])
    data.trainer = SimpleNamespace(global_rank=0, world_size=5)
    with pytest.raises(UserError, match=r"data\.batch_size=10"):
        data.train_dataloader()


def test_batches_pass_once_in_order_as_floats(make):
    data = make()
    images, labels = zip(*data.batches("val", size=8), strict=True)
    assert [len(part) for part in images] == [8, 8, 4]
    assert torch.cat(images).add(1).mul(127.5).round().to(torch.uint8).equal(data.pictures("val").pixels)
    assert torch.cat(labels).equal(data.pictures("val").labels)
    assert sum(len(part) for part, _ in data.batches("val", size=8, count=11)) == 11
    assert float(torch.cat(images).min()) == -1


def test_pictures_without_labels_have_none(make):
    data = make(Heap(labelled=False))
    assert set(stream(data, 1)[0]) == {"images"}
    assert data.class_names == []
    assert next(data.batches("test", size=4))[1] is None


def test_prepare_happens_once_and_is_repeatable(make):
    heap = Heap()
    data = make(heap)
    data.prepare()
    data.prepare()
    assert heap.loads == 1
    assert data.digest == make().digest
    assert data.digest != make(split_seed=1).digest
    assert data.digest != make(image_size=8).digest
    assert data.split_digests == make(image_size=8).split_digests


def test_pictures_are_brought_to_the_size_and_channels_asked_for(make):
    assert make().image_shape == (1, 4, 6)
    data = make(image_size=8, channels=3)
    assert data.image_shape == (3, 8, 8)
    assert data.pictures("test").batch(torch.tensor([0])).shape == (1, 3, 8, 8)


def test_limit_is_stratified_and_nested(make):
    sets = {}
    for limit in (10, 30):
        train = make(limit=limit).pictures("train")
        assert torch.bincount(train.labels).tolist() == [limit // 5] * 5
        sets[limit] = set(train.hashes)
    assert sets[10] < sets[30]
    assert len(make(limit=1000).pictures("train")) == 60
    assert make(limit=10).pictures("test").digest == make().pictures("test").digest


def test_held_out_is_stratified_and_nested_and_leaves_training_pictures_alone(make):
    everything = make()
    for split in ("val", "test"):
        sets = {}
        for held_out in (5, 10):
            data = make(held_out=held_out)
            assert torch.bincount(data.pictures(split).labels).tolist() == [held_out // 5] * 5
            assert data.split_digests["train"] == everything.split_digests["train"]
            assert data.split_digests[split] == data.pictures(split).digest != everything.split_digests[split]
            assert data.everything.split_digests == everything.split_digests
            assert data.digest == everything.digest
            sets[held_out] = set(data.pictures(split).hashes)
        assert sets[5] < sets[10] < set(everything.pictures(split).hashes)
    assert everything.everything is everything
    assert make(held_out=20).split_digests == everything.split_digests
    assert make(held_out=1000).split_digests == everything.split_digests


def test_held_out_counts_pixels_of_whole_photographs_too(tmp_path):
    data = ImageData(Photos(patches=100), image_size=32, channels=3, held_out=200)
    data.locate(tmp_path / "data", tmp_path / "cache")
    for split in ("val", "test"):
        found, all_of_them = list(data.whole(split)), list(data.everything.whole(split))
        assert len(found) == min(2, len(all_of_them))
        for middle, whole in zip(found, all_of_them, strict=False):
            assert middle.shape == (3, 128, 128)
            top, left = ((length - 128) // 2 for length in whole.shape[1:])
            assert middle.equal(whole[:, top : top + 128, left : left + 128])


def test_classes_can_be_shown_equally_often(make):
    data = make(Heap(count=104), batch_size=10, sampling="balanced", limit=23)
    shown = torch.cat([batch["labels"] for batch in stream(data, 20)])
    assert torch.bincount(shown).tolist() == [40] * 5
    assert len(set(torch.bincount(data.pictures("train").labels).tolist())) == 2
    data.first_image = 70
    assert torch.cat([batch["labels"] for batch in stream(data, 13)]).equal(shown[70:])


def test_pictures_without_classes_cannot_be_shown_by_class(make):
    with pytest.raises(UserError, match=r"type data\.sampling=natural"):
        make(Heap(labelled=False), sampling="balanced").prepare()


def test_an_unknown_split_is_refused(make):
    with pytest.raises(UserError, match="did you mean 'train'"):
        make().pictures("trian")


def test_digits_are_never_mirrored():
    for way in ("flip", "transpose"):
        with pytest.raises(UserError, match=way):
            ImageData(Digits(), augment=Augment(**{way: True}))


def test_digits_are_real_scans_in_seventeen_levels(make):
    data = make(Digits(), image_size=8)
    assert data.image_shape == (1, 8, 8)
    assert [len(data.pictures(split)) for split in ("train", "val", "test")] == [1079, 359, 359]
    levels = data.pictures("train").pixels.unique()
    assert len(levels) == 17
    assert (int(levels[0]), int(levels[-1])) == (0, 255)
    assert torch.bincount(data.pictures("test").labels).min() >= 34


class Watcher(LightningModule):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen = []

    def training_step(self, batch, _):
        self.seen.append((batch["images"], batch["labels"]))
        return self.weight * batch["images"].mean()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def fitted(data, tmp_path):
    torch.manual_seed(0)
    watcher = Watcher()
    trainer = Trainer(
        max_steps=5,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
    )
    trainer.fit(watcher, datamodule=data)
    return watcher.seen


def test_a_trainer_gets_the_order_as_floats_and_never_an_end(make, tmp_path):
    data = make(batch_size=32)
    seen = fitted(data, tmp_path)
    assert len(seen) == 5
    data.trainer = None
    for (images, labels), batch in zip(seen, stream(data, 5), strict=True):
        assert images.add(1).mul(127.5).round().to(torch.uint8).equal(batch["images"])
        assert labels.equal(batch["labels"])


def test_only_training_batches_are_augmented(make, tmp_path):
    plain, moved = (fitted(make(batch_size=32, augment=augment), tmp_path) for augment in (None, Augment(shift=2)))
    assert not plain[0][0].equal(moved[0][0])
    data = make(augment=Augment(erase=1.0))
    data.trainer = SimpleNamespace(training=False)
    batch = {"images": data.pictures("val").pixels}
    assert data.on_after_batch_transfer(batch, 0)["images"].equal(next(data.batches("val", size=100))[0])
