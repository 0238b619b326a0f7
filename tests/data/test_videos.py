import logging
import os

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from darkroom.data.module import ImageData
from darkroom.data.videos import Videos, read_frames
from darkroom.errors import UserError


def shades(count, first=0, size=(24, 32)):
    """Even frames, each 8 levels brighter than the one before: what a lossy format cannot confuse."""
    return [np.full((*size, 3), first + 8 * index, dtype=np.uint8) for index in range(count)]


def film(path, frames, code="MJPG"):
    """Write a video file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    height, width = frames[0].shape[:2]
    video = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*code), 25, (width, height))
    assert video.isOpened()
    for frame in frames:
        video.write(frame[..., ::-1])
    video.release()
    return path


def animation(path, frames, **options):
    """Write a GIF, WebP or PNG that moves."""
    first, *others = map(Image.fromarray, frames)
    first.save(path, save_all=True, append_images=others, **options)
    return path


def stills(folder, frames, numbers=None):
    """Write numbered frames."""
    folder.mkdir(parents=True)
    for number, frame in zip(numbers or range(len(frames)), frames, strict=True):
        Image.fromarray(frame).save(folder / f"frame{number}.png")
    return folder


def noise(count, seed=0):
    return list(np.random.default_rng(seed).integers(0, 256, (count, 24, 32, 3), dtype=np.uint8))


def levels(frames):
    return frames.float().mean(dim=(1, 2, 3))


@pytest.fixture
def heap(tmp_path):
    """Five films of different kinds and lengths; each begins 5 levels brighter than the one before."""
    root = tmp_path / "heap"
    film(root / "a.avi", shades(12, 0))
    film(root / "b.mp4", shades(10, 5), "mp4v")
    animation(root / "c.gif", shades(11, 10))
    stills(root / "sub" / "d", shades(14, 15))
    animation(root / "e.webp", shades(10, 20), lossless=True)
    return root


def made(root, image_size=16, channels=None, **options):
    data = ImageData(Videos(str(root), **options), image_size=image_size, channels=channels, augment=None)
    data.locate(root.parent, root.parent / "cache")
    return data


def load(root, **options):
    made(root, **options).prepare()


@pytest.mark.parametrize("name", ["a.avi", "b.mp4", "c.gif", "sub/d", "e.webp"])
def test_frames_of_any_kind_are_read_in_their_order(heap, name):
    frames = read_frames(heap / name)
    assert frames.shape[1:] == (1, 24, 32) or name in ("a.avi", "b.mp4")
    start = "abcde".index(name[-1] if "/" in name else name[0]) * 5
    wanted = torch.arange(len(frames)) * 8.0 + start
    torch.testing.assert_close(levels(frames), wanted, rtol=0, atol=5)  # what compression costs


def test_every_nth_frame_brought_to_a_shape(heap):
    frames = read_frames(heap / "sub" / "d", (3, 8, 8), every=4)
    assert frames.shape == (4, 3, 8, 8)
    assert levels(frames).tolist() == [15, 47, 79, 111]


def test_a_single_picture_has_one_frame_and_colours_are_kept(tmp_path):
    picture = noise(1)[0]
    Image.fromarray(picture).save(tmp_path / "one.png")
    assert read_frames(tmp_path / "one.png")[0].equal(torch.from_numpy(picture).permute(2, 0, 1))
    red = np.zeros((24, 32, 3), dtype=np.uint8)
    red[..., 0] = 200
    frames = read_frames(film(tmp_path / "red.avi", [red] * 3))
    assert frames.shape == (3, 3, 24, 32)
    assert (frames[:, 0] > 180).all()
    assert (frames[:, 2] < 20).all()


def test_numbers_count_and_not_their_letters(tmp_path):
    folder = stills(tmp_path / "film", shades(3), numbers=[2, 10, 1])
    assert levels(read_frames(folder)).tolist() == [16, 0, 8]  # frame1, frame2, frame10


def test_clips_are_windows_of_whole_films(heap):
    data = made(heap, frames=4, stride=3, val=1, test=1)
    assert (data.frames, data.image_shape, data.actions) == (4, (3, 16, 16), {})
    seen = {}
    for split in ("train", "val", "test"):
        clips = data.pictures(split)
        everything = clips.batch(torch.arange(len(clips)))
        brightness = everything.float().mean(dim=(2, 3, 4))
        torch.testing.assert_close(brightness.diff(dim=1), torch.full((len(clips), 3), 8.0), rtol=0, atol=3)
        seen[split] = sorted({round(float(first)) % 8 for first in brightness[:, 0]})
        assert clips.batch(torch.tensor([1, 0])).equal(everything[[1, 0]])
    films = {"train": 3, "val": 1, "test": 1}
    assert {split: len(data.pictures(split)) for split in films} != films
    # windows begin 0, 3, 6, ... frames into a film, as often as whole ones fit
    lengths = [12, 10, 11, 14, 10]
    assert sum(len(data.pictures(split)) for split in films) == sum((length - 4) // 3 + 1 for length in lengths)


def test_other_films_are_held_out_with_another_seed(heap):
    digests = {made(heap, frames=4, val=1, test=1, seed=seed).split_digests["test"] for seed in range(8)}
    assert 2 < len(digests) <= 5


def test_split_folders_are_taken_as_they_are(tmp_path):
    root = tmp_path / "films"
    for split, first in (("train", 0), ("val", 3), ("test", 6)):
        stills(root / split / "film", shades(6, first))
    data = made(root, frames=3, channels=1)
    for split, first in (("train", 0), ("val", 3), ("test", 6)):
        clips = data.pictures(split)
        assert levels(clips.batch(torch.arange(2)).flatten(0, 1)).tolist() == [first + 8 * index for index in range(6)]


def test_grey_films_have_one_channel_and_a_common_size_may_stay(tmp_path):
    for index in range(3):
        stills(tmp_path / "films" / str(index), shades(4, index))
    assert made(tmp_path / "films", frames=2, image_size=None).image_shape == (1, 24, 32)
    stills(tmp_path / "films" / "other", shades(4, size=(24, 30)))
    with pytest.raises(UserError, match=r"several sizes \('.*' 32x24, 'other' 30x24\)"):
        load(tmp_path / "films", frames=2, image_size=None)


def test_films_are_decoded_once_until_one_changes(heap, monkeypatch):
    digest = made(heap, frames=4).digest
    read = []
    monkeypatch.setattr("darkroom.data.videos.read_frames", lambda *given: read.append(given) or read_frames(*given))
    assert made(heap, frames=4).digest == digest
    assert read == []
    os.utime(heap / "sub" / "d" / "frame3.png", (1, 1))
    assert made(heap, frames=4).digest == digest
    assert len(read) == 5
    assert made(heap, frames=4, every=2).digest != digest
    assert made(heap, frames=5).digest != digest


def test_a_gap_is_warned_about(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        read_frames(stills(tmp_path / "even", shades(4), numbers=[0, 5, 10, 15]))
        assert caplog.messages == []
        read_frames(stills(tmp_path / "gap", shades(4), numbers=[1, 2, 5, 6]))
    assert caplog.messages == [f"'{tmp_path / 'gap'}' lacks 2 of its numbered frames: 3, 4; it jumps there"]


def cut(path, share):
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    return path


# without its last few bytes a video still gives all of its frames, or all but one
@pytest.mark.parametrize(
    ("name", "share"),
    [
        *((f"film.{kind}", share) for kind in ("gif", "webp", "png") for share in (0.1, 0.5, 0.6, 0.99)),
        *((f"film.{kind}", share) for kind in ("avi", "mkv", "mp4") for share in (0.1, 0.5, 0.8)),
    ],
)
def test_what_is_cut_short_is_refused(tmp_path, name, share):
    frames = noise(12)
    if name.endswith(("gif", "webp", "png")):
        path = animation(tmp_path / name, frames)
    else:
        path = film(tmp_path / name, frames, "mp4v" if name.endswith("mp4") else "MJPG")
    assert len(read_frames(path)) == 12
    with pytest.raises(UserError, match=r"is damaged after \d+ frames|cannot be opened as a video") as refused:
        read_frames(cut(path, share))
    assert str(path) in str(refused.value)
    assert "\n" not in str(refused.value)


def test_one_lost_frame_is_warned_about(tmp_path, caplog):
    path = cut(film(tmp_path / "film.avi", noise(12)), 0.92)
    with caplog.at_level(logging.WARNING):
        assert len(read_frames(path)) == 11
    assert caplog.messages == [f"'{path}' gives 11 frames, but its header promises 12"]


def test_a_frame_that_cannot_be_decoded_is_refused(tmp_path):
    folder = stills(tmp_path / "film", noise(4))
    cut(folder / "frame2.png", 0.5)
    with pytest.raises(UserError, match="is damaged after 2 frames"):
        read_frames(folder)


@pytest.mark.parametrize(
    ("prepare", "options", "sentence"),
    [
        (lambda root: (root / "empty").mkdir(), {}, "holds no videos"),
        (lambda root: animation(root / "one.gif", shades(1)), {}, r"one\.gif' is a single picture and no sequence"),
        (lambda root: [stills(root / "a", shades(4)), stills(root / "b", shades(1))], {}, "is a single picture"),
        (lambda root: stills(root / "deep", shades(4)).rename(root / "x"), {}, "holds 1 of the 3 videos needed"),
        (
            lambda root: stills(root / "a", [*shades(3), *shades(2, size=(24, 30))]),
            {},
            "frames of unequal size, 32x24 and then 30x24",
        ),
        (
            lambda root: stills(root / "a", shades(3)),
            {"frames": 4},
            r"gives 3 frames .* fewer than data\.source\.frames",
        ),
        (lambda root: None, {"frames": 4, "every": 2}, r"gives 3 frames with data\.source\.every=2"),
        (lambda root: None, {"in_memory_mb": 0.01}, r"18 frames of 16x16 pixels take 0 MB"),
        (lambda root: (root / "text.mp4").write_text("hello"), {}, "cannot be opened as a video"),
        (lambda root: (root / "text.gif").write_text("hello"), {}, "cannot be opened"),
    ],
    ids=["empty", "gif", "still", "few", "unequal", "short", "sparse", "large", "text", "no gif"],
)
def test_one_sentence_says_what_is_wrong(tmp_path, prepare, options, sentence):
    root = tmp_path / "films"
    root.mkdir()
    if sentence.split()[0] not in ("holds", "one"):
        for index in range(3):
            stills(root / str(index), shades(6, index))
    prepare(root)
    with pytest.raises(UserError, match=sentence) as refused:
        load(root, **{"frames": 3, **options})
    assert "\n" not in str(refused.value)


def test_a_file_and_nothing_are_no_folders(tmp_path):
    animation(tmp_path / "one.gif", shades(4))
    with pytest.raises(UserError, match=r"is a file: data\.source\.root wants the folder that holds the videos"):
        load(tmp_path / "one.gif")
    with pytest.raises(UserError, match="there is no folder"):
        load(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"there is no '.*nowhere'"):
        read_frames(tmp_path / "nowhere")
