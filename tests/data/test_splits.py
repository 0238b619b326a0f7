import logging

import pytest
import torch

from darkroom.data.pictures import TensorPictures, with_channels
from darkroom.data.splits import carve, complete_splits, stratified_order
from darkroom.errors import UserError


def pictures(count, classes=None, seed=0):
    pixels = torch.randint(0, 256, (count, 1, 4, 4), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)
    return TensorPictures(pixels, None if classes is None else torch.arange(count) % classes)


def test_splits_are_disjoint_complete_and_repeatable():
    whole = pictures(200, classes=4)
    first, again = (complete_splits({"train": whole}, val=0.2, test=0.1, seed=3, name="x") for _ in range(2))
    other = complete_splits({"train": whole}, val=0.2, test=0.1, seed=4, name="x")
    hashes = [set(part.hashes) for part in first.values()]
    assert [len(part) for part in hashes] == [140, 40, 20]
    assert len(set.union(*hashes)) == 200
    assert {name: part.digest for name, part in first.items()} == {name: part.digest for name, part in again.items()}
    assert first["test"].digest != other["test"].digest


def test_splits_hold_the_classes_in_proportion():
    labels = torch.tensor([0] * 60 + [1] * 30 + [2] * 10)
    whole = TensorPictures(pictures(100).pixels, labels)
    for part in carve(whole, {"val": 0.2, "test": 20}, seed=0).values():
        assert torch.equal(torch.bincount(part.labels), torch.tensor([6, 3, 1]) * len(part) // 10)


def test_the_stratified_order_is_a_permutation_whose_beginnings_are_stratified():
    labels = torch.arange(1000) % 10
    order = stratified_order(labels, 1000, seed=1)
    assert order.sort().values.equal(torch.arange(1000))
    for beginning in (10, 100, 500):
        assert torch.bincount(labels[order[:beginning]]).tolist() == [beginning // 10] * 10


def test_copies_of_one_picture_stay_on_one_side():
    once = pictures(30)
    thrice = TensorPictures(once.pixels.repeat(3, 1, 1, 1))
    parts = complete_splits({"train": thrice}, val=0.2, test=0.2, seed=0, name="x")
    assert sum(len(part) for part in parts.values()) == 90
    assert sum(len(set(part.hashes)) for part in parts.values()) == 30


def test_a_few_shared_pictures_are_dropped_from_train_and_reported(caplog):
    test = pictures(200, seed=1)
    train = TensorPictures(torch.cat([pictures(50).pixels, test.pixels[:2], test.pixels[:1]]))
    with caplog.at_level(logging.WARNING):
        parts = complete_splits({"train": train, "test": test}, val=5, test=0.1, seed=0, name="x")
    assert len(parts["train"]) + len(parts["val"]) == 50
    assert len(parts["test"]) == 200
    assert "dropped 3 train pictures that are identical to 2 test pictures" in caplog.text


def test_a_leak_is_refused():
    test = pictures(100, seed=1)
    train = TensorPictures(torch.cat([pictures(50).pixels, test.pixels[:2]]))
    with pytest.raises(UserError, match=r"2 of 100 test pictures \(2.0%\) are also in train"):
        complete_splits({"train": train, "test": test}, val=5, test=0.1, seed=0, name="x")


@pytest.mark.parametrize("sizes", [{"val": 0.0}, {"val": 10}, {"val": 0.5, "test": 0.5}])
def test_sizes_that_leave_nothing_are_refused(sizes):
    with pytest.raises(UserError):
        carve(pictures(10), sizes, seed=0)


def test_the_digest_tells_one_pixel_and_one_label():
    one = pictures(10, classes=2)
    same = TensorPictures(one.pixels.clone(), one.labels.clone())
    assert one.digest == same.digest
    pixels = one.pixels.clone()
    pixels[7, 0, 1, 2] ^= 1
    assert TensorPictures(pixels, one.labels).digest != one.digest
    assert TensorPictures(one.pixels, one.labels.flip(0)).digest != one.digest
    assert TensorPictures(one.pixels).digest != one.digest
    assert one.select(torch.arange(9)).digest != one.digest


def test_grey_goes_to_colour_and_back_unchanged():
    levels = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16)
    assert with_channels(with_channels(levels, 3), 1).equal(levels)
