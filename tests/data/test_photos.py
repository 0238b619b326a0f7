import numpy as np
import pytest
import torch
from PIL import Image

from darkroom.data import photos
from darkroom.data.module import ImageData
from darkroom.data.photos import Photos
from darkroom.errors import UserError

SIZES = [(40, 33), (50, 64), (33, 40), (47, 32), (64, 64), (35, 36)]  # width, height


@pytest.fixture
def folder(tmp_path):
    """Six photographs; in each red says where a pixel lies from the left, green from the top, blue in which."""
    (tmp_path / "bsds400" / "train").mkdir(parents=True)
    for index, (width, height) in enumerate(SIZES):
        rows, columns = np.mgrid[:height, :width]
        pixels = np.stack([columns, rows, np.full_like(rows, 40 * index)], axis=2).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / "bsds400" / "train" / f"{index}.png")
    return tmp_path


def load(source, folder, size=16, channels=3):
    return source.load(folder, folder / "cache", size, channels).parts


def shown(pictures):
    return {int(value) // 40 for value in pictures.pixels[:, 2, 0, 0]}


def test_no_photograph_is_in_two_splits(folder):
    parts = load(Photos(patches=200, val=1, test=2), folder)
    found = {split: shown(pictures) for split, pictures in parts.items()}
    assert {split: len(numbers) for split, numbers in found.items()} == {"train": 3, "val": 1, "test": 2}
    assert set().union(*found.values()) == set(range(6))


def test_patches_are_cut_and_not_resized(folder):
    for pictures in load(Photos(patches=200, val=1, test=2), folder).values():
        assert pictures.shape == (3, 16, 16)
        pixels = pictures.pixels.int()
        steps = torch.arange(16, dtype=torch.int32)
        assert torch.equal(pixels[:, 0], pixels[:, 0, :1, :1] + steps.expand(len(pixels), 16, 16))
        assert torch.equal(pixels[:, 1], pixels[:, 1, :1, :1] + steps[:, None].expand(len(pixels), 16, 16))
        assert (pixels[:, 2] == pixels[:, 2, :1, :1]).all()


def test_photographs_may_be_made_smaller_before_they_are_cut(folder):
    source = Photos(patches=200, val=1, test=2, scale=0.5)
    collection = source.load(folder, folder / "cache", 8, 3)
    pixels = collection.parts["train"].pixels.float()
    inner = pixels[:, 0, :, 1:] - pixels[:, 0, :, :-1]  # a step is two pixels long now, but for what an edge does
    assert inner.mean() == pytest.approx(2, abs=0.05)
    sizes = {tuple(photograph.shape[1:]) for photograph in collection.whole("test")}
    assert sizes <= {(height, width) for width, height in SIZES}


def test_training_patches_are_dealt_out_evenly_and_reach_every_edge(folder):
    pixels = load(Photos(patches=1001, val=1, test=2), folder)["train"].pixels.int()
    numbers = pixels[:, 2, 0, 0] // 40
    counts = torch.bincount(numbers)
    assert len(pixels) == 1001
    assert sorted(counts[counts > 0].tolist()) == [333, 334, 334]
    for number in numbers.unique().tolist():
        width, height = SIZES[number]
        for channel, side in ((0, width), (1, height)):
            first = pixels[numbers == number, channel].amin(dim=(1, 2))
            assert (first.min().item(), first.max().item()) == (0, side - 16)


def test_held_out_photographs_are_tiled_without_overlap_in_their_middle(folder):
    parts = load(Photos(patches=10, val=1, test=2), folder)
    for split in ("val", "test"):
        pixels = parts[split].pixels.int()
        corners = {tuple(row) for row in pixels[:, :, 0, 0].tolist()}
        expected = set()
        for number in shown(parts[split]):
            width, height = SIZES[number]
            for row in range(height // 16):
                for column in range(width // 16):
                    expected.add((width % 16 // 2 + 16 * column, height % 16 // 2 + 16 * row, 40 * number))
        assert corners == expected
        assert len(corners) == len(pixels)


def test_patches_are_a_function_of_the_seed(folder):
    first, again, other = (load(Photos(patches=50, seed=seed), folder) for seed in (3, 3, 4))
    assert {k: p.digest for k, p in first.items()} == {k: p.digest for k, p in again.items()}
    assert first["train"].digest != other["train"].digest


def test_shares_hold_out_at_least_one_photograph_each(folder):
    splits = Photos(val=0.01, test=0.34).photographs(folder)
    assert {split: len(files) for split, files in splits.items()} == {"train": 3, "val": 1, "test": 2}


def test_patches_can_be_grey(folder):
    assert load(Photos(patches=5), folder, channels=1)["train"].shape == (1, 16, 16)


def test_without_a_folder_there_are_the_photographs_of_scikit_image(tmp_path, monkeypatch):
    import socket

    monkeypatch.setattr(socket, "socket", None)  # and nothing is downloaded
    source = Photos(patches=12)
    files = {file.name for part in source.photographs(tmp_path).values() for file in part}
    assert files == set(photos.COLOUR)
    grey = {file.name for part in source.photographs(tmp_path, channels=1).values() for file in part}
    assert grey == {*photos.COLOUR, *photos.GREY}
    data = ImageData(source, image_size=64, channels=3)
    data.locate(tmp_path, tmp_path / "cache")
    assert data.image_shape == (3, 64, 64)
    assert data.flippable
    assert len(data.pictures("train")) == 12


def test_a_folder_can_be_named(folder):
    (folder / "bsds400").rename(folder / "holiday")
    source = Photos(root="holiday", patches=10)
    assert source.name == "holiday"
    assert len(load(source, folder)["train"]) == 10


@pytest.mark.parametrize(
    ("settings", "size", "hint"),
    [
        ({"root": "holliday"}, 16, "data.source.root=null"),
        ({"val": 3, "test": 3}, 16, "6 photographs are too few to hold out 3 for val and 3 for test"),
        ({}, 34, "data.image_size=3[23] or less"),
    ],
)
def test_what_cannot_be_cut_is_refused(settings, size, hint, folder):
    with pytest.raises(UserError, match=hint):
        load(Photos(**{"patches": 10, **settings}), folder, size)


def test_a_damaged_or_missing_photograph_is_named(folder):
    (folder / "bsds400" / "train" / "3.png").write_bytes(b"no picture")
    with pytest.raises(UserError, match=r"3\.png' cannot be decoded"):
        load(Photos(patches=10), folder)
    for file in (folder / "bsds400" / "train").iterdir():
        file.unlink()
    with pytest.raises(UserError, match="holds no photographs"):
        load(Photos(patches=10), folder)
