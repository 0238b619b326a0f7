import logging
from itertools import islice

import numpy as np
import pytest
import torch
from PIL import Image

from darkroom.data.folder import Folder, picture_files, read_picture
from darkroom.data.module import ImageData
from darkroom.data.pictures import FilePictures
from darkroom.errors import UserError


def picture(seed, mode="RGB", size=(20, 16)):
    random = np.random.default_rng(seed)
    return Image.fromarray(random.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)).convert(mode)


@pytest.fixture
def pile(tmp_path):
    """Writes random pictures: `pile("a/1.png", "b/2.jpg", ...)`."""

    def written(*names, **options):
        for name in names:
            path = tmp_path / "pile" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            seed = sum(byte * 257**place for place, byte in enumerate(name.encode()))
            picture(seed % 2**32, **options).save(path)
        return tmp_path / "pile"

    return written


@pytest.fixture
def make(tmp_path):
    def made(image_size=8, channels=None, workers=0, **options):
        options = {"root": "pile", "max_corrupt": 0.2, **options}
        data = ImageData(Folder(**options), image_size, channels, batch_size=4, workers=workers)
        data.locate(tmp_path, tmp_path / "cache")
        return data

    return made


def sizes(data):
    return [len(data.pictures(split)) for split in ("train", "val", "test")]


def numbered(count, pattern="{}.png"):
    return [pattern.format(number) for number in range(count)]


def test_loose_pictures_are_split_without_labels(pile, make):
    pile(*numbered(20), "deep/er/20.png")
    data = make()
    assert sizes(data) == [17, 2, 2]
    assert data.class_names == []
    assert data.image_shape == (3, 8, 8)
    assert data.name == "pile"


def test_class_folders_become_labels(pile, make):
    pile(*numbered(20, "cat/{}.png"), *numbered(20, "ant/in/{}.jpg"), "._x.png", ".hidden/y.png")
    data = make()
    assert data.class_names == ["ant", "cat"]
    assert torch.bincount(data.pictures("train").labels).tolist() == [16, 16]
    assert torch.bincount(data.pictures("test").labels).tolist() == [2, 2]
    assert make(labelled=False).class_names == []


def test_split_folders_are_honoured_and_the_missing_split_is_held_out(pile, make):
    root = pile(*numbered(20, "train/a/{}.png"), *numbered(20, "train/b/{}.png"), *numbered(6, "test/b/{}.png"))
    data = make()
    assert sizes(data) == [36, 4, 6]
    assert data.class_names == ["a", "b"]
    assert data.pictures("test").labels.tolist() == [1] * 6
    assert Folder(str(root / "train")).name == "pile"
    pile("other/1.png")
    with pytest.raises(UserError, match="holds 'other' beside"):
        make().prepare()


def test_the_same_picture_in_train_and_test_is_a_leak(pile, make):
    root = pile(*numbered(20, "train/{}.png"), *numbered(5, "test/{}.png"))
    (root / "train" / "copy.png").write_bytes((root / "test" / "3.png").read_bytes())
    with pytest.raises(UserError, match="also in train"):
        make().prepare()


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "I;16", "I", "F"])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_mode_is_read(tmp_path, mode, channels):
    grey = np.tile(np.linspace(0, 255, 16).astype(np.uint8), (16, 1))
    if mode == "I;16":
        image = Image.fromarray(grey.astype(np.uint16) * 257)
    elif mode == "I":
        image = Image.fromarray(grey.astype(np.int32) * 257)
    elif mode == "F":
        image = Image.fromarray(grey.astype(np.float32) / 255)
    elif mode == "1":
        image = Image.fromarray((grey > 127).astype(np.uint8) * 255).convert("1")
    elif mode == "P":
        image = Image.fromarray(grey).convert("P")
    elif mode == "PA":
        image = Image.fromarray(grey).convert("P").convert("PA")
    else:
        image = Image.fromarray(grey).convert("RGB").convert(mode)
    assert image.mode == mode
    path = tmp_path / "picture.tif" if mode not in ("YCbCr", "LA", "P", "RGBA") else tmp_path / "picture.png"
    (image.convert("RGB") if mode == "YCbCr" else image).save(path)
    read = read_picture(path, (channels, 16, 16))
    expected = np.asarray(image.convert("L")) if mode == "1" else grey
    assert read.shape == (channels, 16, 16)
    assert np.abs(read.numpy().astype(int) - expected).max() <= 1


def test_what_is_transparent_shows_white(tmp_path):
    pixels = np.zeros((4, 4, 4), np.uint8)
    pixels[:2, :, 3] = 255
    Image.fromarray(pixels).save(tmp_path / "a.png")
    read = read_picture(tmp_path / "a.png", (3, 4, 4))
    assert read[:, :2].eq(0).all()
    assert read[:, 2:].eq(255).all()


def test_pictures_are_turned_upright(tmp_path):
    image = picture(0, size=(6, 4))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    image.save(tmp_path / "a.png", exif=exif)
    read = read_picture(tmp_path / "a.png", (3, 6, 4))
    assert read.numpy().transpose(1, 2, 0).tolist() == np.rot90(np.asarray(image), -1).tolist()


def test_the_middle_is_kept_and_the_shorter_side_fitted(tmp_path):
    pixels = np.zeros((10, 30, 3), np.uint8)
    pixels[:, 10:20] = 200
    Image.fromarray(pixels).save(tmp_path / "a.png")
    assert read_picture(tmp_path / "a.png", (3, 10, 10)).eq(200).all()
    fitted = Image.fromarray(pixels).resize((15, 5), Image.Resampling.BICUBIC).crop((5, 0, 10, 5))
    assert read_picture(tmp_path / "a.png", (3, 5, 5)).permute(1, 2, 0).tolist() == np.asarray(fitted).tolist()


def test_grey_pictures_have_one_channel_unless_asked_otherwise(pile, make):
    pile(*numbered(10), mode="L")
    assert make().image_shape == (1, 8, 8)
    assert make(in_memory_mb=0).pictures("train").batch(torch.arange(3)).shape == (3, 1, 8, 8)
    assert make(channels=3).image_shape == (3, 8, 8)
    pile("coloured.png")
    assert make().image_shape == (3, 8, 8)
    assert make(channels=1).image_shape == (1, 8, 8)


def test_damaged_files_are_named_counted_and_skipped_up_to_a_limit(pile, make, caplog):
    root = pile(*numbered(18))
    (root / "broken.jpg").write_bytes(b"no picture")
    whole = (root / "3.png").read_bytes()
    (root / "cut.png").write_bytes(whole[: len(whole) // 2])
    with caplog.at_level(logging.WARNING):
        assert sum(sizes(make())) == 18
    assert "skipped 2 of 20 pictures" in caplog.text
    assert "broken.jpg" in caplog.text
    assert "cut.png" in caplog.text
    with pytest.raises(UserError, match=r"2 of 20 pictures \(10.0%\) cannot be decoded: broken.jpg") as error:
        make(max_corrupt=0.01).prepare()
    assert "data.source.max_corrupt" in str(error.value)


def test_folders_without_enough_pictures_are_refused(tmp_path, pile, make):
    with pytest.raises(UserError, match="there is no folder"):
        make().prepare()
    (tmp_path / "pile").mkdir()
    with pytest.raises(UserError, match="holds no pictures"):
        make().prepare()
    (tmp_path / "pile" / "notes.txt").write_text("none here")
    with pytest.raises(UserError, match="holds no pictures"):
        make().prepare()
    pile("1.png")
    with pytest.raises(UserError, match="holds one picture"):
        make().prepare()
    pile("2.png")
    with pytest.raises(UserError, match="2 different pictures cannot be split"):
        make().prepare()
    with pytest.raises(UserError, match="is a file"):
        make(root="pile/1.png").prepare()
    pile("a/3.png")
    with pytest.raises(UserError, match="lies in no class folder"):
        make(labelled=True).prepare()


def test_without_a_size_all_pictures_must_have_one(pile, make):
    pile(*numbered(10))
    assert make(image_size=None).image_shape == (3, 16, 20)
    pile("large.png", size=(40, 30))
    with pytest.raises(UserError, match=r"pictures of several sizes .*20x16.*40x30.*data.image_size"):
        make(image_size=None).prepare()


def test_decoded_pictures_are_remembered_until_a_file_changes(pile, make, tmp_path, monkeypatch):
    root = pile(*numbered(10))
    digest = make().digest
    with monkeypatch.context() as patched:
        patched.setattr("darkroom.data.folder._decode_all", lambda *_: pytest.fail("decoded again"))
        assert make().digest == digest
    picture(99).save(root / "3.png")
    assert make().digest != digest


def test_a_damaged_memory_is_made_again(pile, make, tmp_path, caplog):
    pile(*numbered(10))
    digest = make().digest
    for remembered in (tmp_path / "cache" / "folder").glob("*.safetensors"):
        remembered.write_bytes(b"rubbish")
    with caplog.at_level(logging.WARNING):
        assert make().digest == digest
    assert "damaged" in caplog.text


@pytest.mark.parametrize("workers", [0, 2])
def test_large_folders_stream_the_same_pictures_in_the_same_order(pile, make, workers):
    pile(*numbered(12, "a/{}.png"), *numbered(12, "b/{}.png"))
    kept, streamed = make(), make(in_memory_mb=0, workers=workers)
    assert isinstance(streamed.pictures("train"), FilePictures)
    assert streamed.digest == kept.digest
    for data in (kept, streamed):
        data.seed, data.first_image = 3, 8
    for one, other in islice(zip(kept.train_dataloader(), streamed.train_dataloader(), strict=False), 8):
        assert one["images"].equal(other["images"])
        assert one["labels"].equal(other["labels"])
    assert next(streamed.batches("train", 16))[0].equal(next(kept.batches("train", 16))[0])


def test_files_come_in_one_order_everywhere(pile):
    root = pile("b/1.png", "a.PNG", "B.jpg", "a/2.webp")
    assert [file.relative_to(root).as_posix() for file in picture_files(root)] == sorted(
        ["b/1.png", "a.PNG", "B.jpg", "a/2.webp"]
    )
