import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

from darkroom.data import leaks, photos
from darkroom.data.leaks import shared_pictures
from darkroom.data.photos import Photos
from darkroom.errors import UserError


def scene(seed, width=120, height=80):
    """A picture with the spectrum of photographs: coarse structure strong, fine structure weak, in colour."""
    random = np.random.default_rng(seed)
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(height), np.fft.fftfreq(width), indexing="ij"))
    shaped = np.fft.fft2(random.standard_normal((3, height, width)) + 2 * random.standard_normal((height, width)))
    waves = np.fft.ifft2(shaped / np.maximum(frequency, 1 / 120) ** 1.2).real
    levels = 128 + 45 * (waves - waves.mean()) / waves.std()
    return Image.fromarray(levels.clip(0, 255).transpose(1, 2, 0).astype(np.uint8))


@pytest.fixture(scope="module")
def train(tmp_path_factory):
    folder = tmp_path_factory.mktemp("train")
    for seed in range(40):
        scene(seed).save(folder / f"{seed:02d}.png")
    return sorted(folder.iterdir())


CHANGES = {
    "half": lambda picture: picture.resize((60, 40)),
    "cropped": lambda picture: picture.crop((1, 1, 119, 79)),
    "mirrored": ImageOps.mirror,
    "fainter": lambda picture: ImageEnhance.Contrast(picture).enhance(0.7),
    "grey": lambda picture: picture.convert("L"),
    "all": lambda picture: ImageOps.mirror(picture.crop((1, 0, 119, 80)).resize((90, 60))),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_was_done_to_a_picture_does_not_hide_it(change, train, tmp_path):
    held_out = []
    for index in (3, 11, 27):
        with Image.open(train[index]) as picture:
            CHANGES[change](picture).save(tmp_path / f"{change}{index}.jpg", quality=60)
        held_out.append(tmp_path / f"{change}{index}.jpg")
    found = shared_pictures(train, held_out)
    assert [(part.train, part.held_out) for part in found] == [
        (train[index], file) for index, file in zip((3, 11, 27), held_out, strict=True)
    ]
    mirror = change in ("mirrored", "all")
    assert {part.how for part in found} == {"nearly its mirror image" if mirror else "nearly the same picture"}


def test_a_copy_is_the_same_picture_whatever_the_file(train, tmp_path):
    with Image.open(train[5]) as picture:
        picture.save(tmp_path / "copy.tiff")
    (found,) = shared_pictures(train, [tmp_path / "copy.tiff"])
    assert found == leaks.Shared(train[5], tmp_path / "copy.tiff", "the same picture")


def test_different_pictures_are_different(train, tmp_path):
    others = []
    for seed in range(100, 130):
        scene(seed).save(tmp_path / f"{seed}.png")
        others.append(tmp_path / f"{seed}.png")
    assert shared_pictures(train, others) == []
    assert shared_pictures(train[:20], train[20:]) == []
    assert shared_pictures([], others) == shared_pictures(train, []) == []
    # the same light in other colours is another picture
    with Image.open(train[0]) as picture:
        light = picture.convert("L")
    Image.merge("RGB", [light.point(lambda value: 0), light, light.point(lambda value: 255)]).save(tmp_path / "o.png")
    assert shared_pictures([train[0]], [tmp_path / "o.png"]) == []


def test_what_was_seen_is_remembered_until_a_file_changes(train, tmp_path, monkeypatch):
    first = leaks.fingerprints(train[:4], tmp_path)
    monkeypatch.setattr(leaks, "_seen", None)
    again = leaks.fingerprints(train[:4], tmp_path)
    assert (again.signs == first.signs).all()
    monkeypatch.undo()
    copies = [tmp_path / "one.png", tmp_path / "two.png"]
    for file, seed in zip(copies, (0, 1), strict=True):
        scene(seed).save(file)
    before = leaks.fingerprints(copies, tmp_path)
    scene(7).save(copies[0])
    after = leaks.fingerprints(copies, tmp_path)
    assert (before.signs[0] != after.signs[0]).any()
    assert (before.signs[1] == after.signs[1]).all()
    for file in (tmp_path / "fingerprints").glob("*.safetensors"):
        file.write_bytes(b"damaged")
    assert (leaks.fingerprints(copies, tmp_path).signs == after.signs).all()
    copies[0].write_bytes(b"no picture")
    with pytest.raises(UserError, match=r"one\.png' cannot be decoded"):
        leaks.fingerprints(copies)


def test_photographs_that_are_held_out_and_learnt_from_are_refused_by_name(tmp_path):
    (tmp_path / "holiday").mkdir()
    for seed in range(6):
        scene(seed).save(tmp_path / "holiday" / f"{seed}.png")
    source = Photos(root="holiday", patches=12, val=1, test=1)
    source.load(tmp_path, tmp_path / "cache", 16, 3)
    splits = source.photographs(tmp_path)
    victim = splits["test"][0]
    with Image.open(victim) as picture:
        small = picture.resize((60, 40))
    replaced = splits["train"][0]
    small.save(replaced)
    with pytest.raises(UserError, match=f"{victim.name}' is held out for test.*{replaced.name}' in train is nearly"):
        source.load(tmp_path, tmp_path / "cache", 16, 3)


def test_no_two_photographs_of_scikit_image_are_of_one_scene(tmp_path):
    files = Photos()._found(tmp_path, channels=1)
    assert [file.name for file in files] == sorted({*photos.COLOUR, *photos.GREY})
    for index, file in enumerate(files):
        assert shared_pictures(files[:index], [file]) == []
    # a stereo pair is one scene seen twice, which no hash sees: only one half may be there
    sides = {"left", "right"}
    scenes = ["_".join(part for part in file.stem.split("_") if part not in sides) for file in files]
    assert len(set(scenes)) == len(scenes)
    assert "motorcycle" in scenes
