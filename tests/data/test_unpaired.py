import numpy as np
import pytest
import torch
from PIL import Image

from darkroom.data.module import ImageData
from darkroom.data.unpaired import TwoFolders
from darkroom.errors import UserError


@pytest.fixture
def folders(tmp_path):
    draw = np.random.default_rng(0)
    for name, count, low in (("photos", 30, 0), ("paintings", 12, 128)):
        (tmp_path / name).mkdir()
        for number in range(count):
            pixels = draw.integers(low, low + 127, (12, 12, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / name / f"{number}.png")
    return tmp_path


def opened(folders, **changes):
    data = ImageData(TwoFolders("photos", "paintings", **changes), image_size=8, batch_size=6, sampling="balanced")
    data.locate(folders, folders / "cache")
    return data


@pytest.mark.parametrize("in_memory_mb", [100, 0])
def test_pictures_know_which_folder_they_come_from(folders, in_memory_mb):
    data = opened(folders, in_memory_mb=in_memory_mb)
    assert data.class_names == ["photos", "paintings"]
    for split in ("train", "val", "test"):
        pictures = data.pictures(split)
        bright = pictures.batch(torch.arange(len(pictures))).float().mean(dim=(1, 2, 3)) > 127
        assert torch.equal(bright.long(), pictures.labels)
        assert set(pictures.labels.tolist()) == {0, 1}


def test_every_batch_has_as_many_of_both(folders):
    stream = iter(opened(folders).train_dataloader())
    assert [next(stream)["labels"].sum().item() for _ in range(8)] == [3] * 8


def test_one_folder_twice_is_refused(folders):
    with pytest.raises(UserError, match="name two folders"):
        TwoFolders("photos", "photos").load(folders, folders / "cache", 8, None)


def test_folders_split_in_two_ways_are_refused(folders):
    (folders / "paintings" / "train").mkdir()
    for file in (folders / "paintings").glob("*.png"):
        file.rename(folders / "paintings" / "train" / file.name)
    (folders / "paintings" / "val").mkdir()
    (folders / "paintings" / "train" / "0.png").rename(folders / "paintings" / "val" / "0.png")
    with pytest.raises(UserError, match="give both the same folders"):
        TwoFolders("photos", "paintings").load(folders, folders / "cache", 8, None)
