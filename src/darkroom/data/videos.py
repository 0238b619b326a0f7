"""Films of one's own: video files, animated pictures and folders of numbered frames, cut into clips."""

import hashlib
import io
import json
import logging
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
import torch
from filelock import FileLock
from PIL import Image, ImageOps
from PIL import __version__ as PILLOW
from torch import Tensor

from darkroom.data import tensor_cache
from darkroom.data.clips import DrawnClips
from darkroom.data.folder import SUFFIXES, filed_by_split, fitted, located, read_picture
from darkroom.data.pictures import FilePictures, Pictures, with_channels
from darkroom.data.source import Collection
from darkroom.data.splits import complete_splits
from darkroom.errors import UserError
from darkroom.images import plain
from darkroom.numbers import Count, Positive, Range, Seed
from darkroom.picture_files import reading
from darkroom.picture_files.picture import UnreadablePicture

LOG = logging.getLogger(__name__)
VIDEOS = frozenset({".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm"})
ANIMATED = frozenset({".apng", ".gif", ".png", ".webp"})  # what may hold one picture or several
LOST = 0.02  # share of the promised frames, and one, that may be missing: some formats promise by a mean rate only
SHOWN = 3  # missing frames named in a message


class Videos:
    """All films below ``root``, each cut into clips of ``frames`` frames; val and test hold out whole films.

    A film is a video file, an animated GIF, WebP or PNG, or a folder of pictures, taken in the order of the numbers in
    their names. ``root/train``, ``root/val`` and ``root/test`` are taken as the splits when there is a train folder;
    what is missing is held out of train. All frames are kept in memory.
    """

    flippable = True

    def __init__(
        self,
        root: str,
        frames: Annotated[int, Range(2)] = 10,
        every: Count = 1,
        stride: Count | None = None,
        val: Positive = 0.1,
        test: Positive = 0.1,
        in_memory_mb: Positive = 2048,
        seed: Seed = 0,
        name: str | None = None,
    ) -> None:
        """State where the films are and how they are cut.

        Args:
            root: the folder, absolute, or relative to the data folder, or to the current folder.
            frames: how many a clip has.
            every: take each n-th frame of a film only, so that more happens from one to the next.
            stride: how many of the taken frames lie between the beginnings of clips; None: ``frames``, without overlap.
            val: share (below 1) or count of the films that is held out of train, when there is no val folder.
            test: the same for test.
            in_memory_mb: what would take more than this is refused.
            seed: which films are held out.
            name: what results call this data set; the folder's name when None.
        """
        self.root = str(root)
        self.frames = int(frames)
        self.every = int(every)
        self.stride = self.frames if stride is None else int(stride)
        self.val = float(val)
        self.test = float(test)
        self.in_memory_mb = float(in_memory_mb)
        self.seed = int(seed)
        self.name = name or Path(self.root).name

    def load(self, folder: Path, cache: Path, image_size: int | None, channels: int | None) -> Collection:
        """Return the clips, resized on their shorter side and cropped to the central square of ``image_size``.

        Without ``image_size`` all films must have one size. Without ``channels`` they get 3, unless all are grey.
        """
        root = located(self.root, folder, "videos")
        films = films_below(root)
        if not films:
            raise UserError(
                f"'{root}' holds no videos ({', '.join(sorted(VIDEOS | ANIMATED))}, or folders of numbered frames): put"
                " some there"
            )
        splits, _ = filed_by_split(root, films)
        if len(films) < 3:
            raise UserError(
                f"'{root}' holds {len(films)} of the 3 videos needed to learn from one, choose on another and test on a"
                " third: add some, or cut one into three files"
            )
        headers = [header(film) for film in films]
        size = (image_size, image_size) if image_size else _common_size(root, films, headers)
        shape = (channels or 3, *size)
        self._refuse_too_much(root, headers, shape)
        counts, frames = decoded(films, root, shape, self.every, cache / "videos")
        if channels is None and bool((frames == frames[:, :1]).all()):
            frames = frames[:, :1].contiguous()
        return Collection(self._parts(films, splits, counts, frames))

    def _refuse_too_much(self, root: Path, headers: Sequence["Header"], shape: tuple[int, int, int]) -> None:
        """Refuse what will not fit into memory, before any of it is decoded."""
        count = sum(-(-film.count // self.every) for film in headers)
        wanted = count * shape[0] * shape[1] * shape[2] / 2**20
        if wanted > self.in_memory_mb:
            raise UserError(
                f"'{root}': {count} frames of {shape[1]}x{shape[2]} pixels take {wanted:.0f} MB, more than"
                f" data.source.in_memory_mb={self.in_memory_mb:g}: lower data.image_size, raise data.source.every, or"
                " raise that limit"
            )

    def _parts(
        self, films: Sequence[Path], splits: Sequence[str], counts: Sequence[int], frames: Tensor
    ) -> dict[str, Pictures]:
        """Return the clips of each split, cut out of films that belong to it whole."""
        for film, count in zip(films, counts, strict=True):
            if count < self.frames:
                raise UserError(
                    f"'{film}' gives {count} frames with data.source.every={self.every}, fewer than"
                    f" data.source.frames={self.frames}: lower one of the two, or take it out"
                )
        shape = (frames.shape[1], frames.shape[2], frames.shape[3])
        firsts = dict(zip(films, np.cumsum([0, *counts[:-1]]).tolist(), strict=True))
        lengths = dict(zip(films, counts, strict=True))
        hashes = [hashlib.sha256(frame.numpy().tobytes()).digest() for frame in frames]

        # films are split like pictures, so that two copies of one go to the same side
        given: dict[str, Pictures] = {}
        for split in dict.fromkeys(splits):
            chosen = [film for film, lies_in in zip(films, splits, strict=True) if lies_in == split]
            contents = [hashlib.sha256(_joined(hashes, firsts[film], lengths[film])).digest() for film in chosen]
            given[split] = FilePictures(chosen, partial(read_picture, shape=shape), shape, contents)
        parts: dict[str, Pictures] = {}
        for split, part in complete_splits(given, self.val, self.test, self.seed, self.name).items():
            assert isinstance(part, FilePictures)
            starts = [
                firsts[film] + start
                for film in part.files
                for start in range(0, lengths[film] - self.frames + 1, self.stride)
            ]
            parts[split] = DrawnClips(
                torch.tensor(starts, dtype=torch.int64),
                partial(_windows, frames, self.frames),
                partial(_facts, hashes, self.frames),
                shape,
                self.frames,
            )
        return parts


@dataclass(frozen=True)
class Header:
    """What a film says of itself before it is decoded."""

    count: int  # of its frames, 0 where it does not say
    size: tuple[int, int]  # height, width


def films_below(root: Path) -> list[Path]:
    """Return every film below a folder, sorted by its path; hidden files and folders are passed over.

    Raises:
        UserError: a picture that is no film stands alone, or pictures lie loose in the folder itself.
    """
    films: list[Path] = []
    for place, subfolders, names in os.walk(root):
        subfolders[:] = [name for name in subfolders if not name.startswith(".")]
        shown = [Path(place, name) for name in sorted(names) if not name.startswith(".")]
        still = [file for file in shown if file.suffix.lower() in SUFFIXES and not _animated(file)]
        if len(still) == 1:
            raise UserError(
                f"'{still[0]}' is a single picture and no sequence: put the frames of a sequence into a folder of their"
                " own, numbered, or take it out"
            )
        if still and Path(place) == root:
            raise UserError(
                f"'{root}' holds loose pictures, '{still[0].name}' for one: put the frames of each sequence into a"
                " folder of its own"
            )
        films += [Path(place)] if still else []
        films += [file for file in shown if file.suffix.lower() in VIDEOS or (_is_picture(file) and file not in still)]
    return sorted(films, key=lambda film: film.relative_to(root).as_posix())


def read_frames(path: Path, shape: tuple[int, int, int] | None = None, every: int = 1) -> Tensor:
    """Return the frames of a video, an animated picture or a folder of numbered ones, uint8 ``(T, C, H, W)``.

    A single picture has one. They are brought to ``shape`` ``(C, H, W)``, resized and cropped as `folder.read_picture`
    does; None keeps their size, in 3 channels unless all are grey. ``every`` takes each n-th only.

    Raises:
        UserError: there is nothing at ``path``, it cannot be decoded, it ends too early, or its frames differ in size.
    """
    frames: list[np.ndarray] = []
    size: tuple[int, int] | None = None
    seen, film = 0, _decoded(path)
    while True:
        try:
            picture = next(film, None)
        except UnreadablePicture as error:
            raise UserError(
                f"'{path}' is damaged after {seen} frames ({error.reason}): replace it or take it out"
            ) from error
        except UserError:
            raise
        except Exception as error:  # broken bytes lead Pillow's decoders into every kind of exception
            why = " ".join(str(error).split()) or type(error).__name__
            raise UserError(f"'{path}' is damaged after {seen} frames ({why}): replace it or take it out") from error
        if picture is None:
            break
        size = size or picture.size
        if picture.size != size:
            raise UserError(
                f"'{path}' holds frames of unequal size, {size[0]}x{size[1]} and then {picture.width}x{picture.height}:"
                " a film has one size"
            )
        if seen % every == 0:
            frames.append(fitted(picture, shape or (3, picture.height, picture.width)))
        seen += 1
    if not frames:
        raise UserError(f"'{path}' holds no frames: name a video, an animated picture or a folder of numbered pictures")
    pixels = torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2).contiguous()
    grey = shape is None and bool((pixels == pixels[:, :1]).all())
    return with_channels(pixels, 1) if grey else pixels


def header(path: Path) -> Header:
    """Return how many frames a film promises, and their size.

    Raises:
        UserError: it cannot be opened.
    """
    if path.suffix.lower() in VIDEOS and not path.is_dir():
        video = _opened(path)
        height, width = video.get(cv2.CAP_PROP_FRAME_HEIGHT), video.get(cv2.CAP_PROP_FRAME_WIDTH)
        return Header(max(0, int(video.get(cv2.CAP_PROP_FRAME_COUNT))), (int(height), int(width)))
    numbered = _numbered(path) if path.is_dir() else []
    first = numbered[0] if numbered else path
    try:
        width, height = reading.size(first)
        return Header(len(numbered) or reading.frames(first), (height, width))
    except UnreadablePicture as error:
        raise UserError(f"'{first}' cannot be opened ({error.reason}): replace it or take it out") from error


def decoded(
    films: Sequence[Path], root: Path, shape: tuple[int, int, int], every: int, cache: Path
) -> tuple[list[int], Tensor]:
    """Return how many frames each film gives, and all of them, ``(F, C, H, W)``; remembered until a file changes."""
    parts = [part for film in films for part in (_numbered(film) if film.is_dir() else [film])]
    facts = [(part.relative_to(root).as_posix(), (stat := part.stat()).st_size, stat.st_mtime_ns) for part in parts]
    what = json.dumps([str(root.resolve()), facts, shape, every, PILLOW, cv2.__version__, reading.READER])
    remembered = cache / f"{hashlib.sha256(what.encode()).hexdigest()[:32]}.safetensors"
    cache.mkdir(parents=True, exist_ok=True)
    with FileLock(remembered.with_suffix(".lock")):  # of several processes one decodes and the others read
        if (found := tensor_cache.load(remembered)) is not None:
            return found[0]["counts"].tolist(), found[0]["frames"]
        read = [read_frames(film, shape, every) for film in films]
        counts, frames = [len(each) for each in read], torch.cat(read)
        tensor_cache.save(remembered, {"counts": torch.tensor(counts), "frames": frames})
    return counts, frames


def _decoded(path: Path) -> Iterator[Image.Image]:
    """Yield the frames of a film one after another, L or RGB, upright."""
    if path.is_dir():
        _warn_of_gaps(path)
        for file in _numbered(path):
            yield reading.shown(file)
    elif not path.exists():
        raise UserError(f"there is no '{path}': name a video, an animated picture or a folder of numbered pictures")
    elif path.suffix.lower() in VIDEOS:
        yield from _video(path)
    elif not _animated(path):
        for page in range(reading.frames(path)):
            yield reading.shown(path, frame=page)
    else:
        with Image.open(io.BytesIO(path.read_bytes())) as picture:
            for number in range(getattr(picture, "n_frames", 1)):
                picture.seek(number)
                yield plain(ImageOps.exif_transpose(picture))
            if picture.format == "GIF" and not path.read_bytes().rstrip(b"\0").endswith(b";"):
                raise ValueError("it lacks the mark that ends a GIF")  # without it a lost frame goes unnoticed


def _video(path: Path) -> Iterator[Image.Image]:
    """Yield the frames of a video file."""
    video = _opened(path)
    promised, found = int(video.get(cv2.CAP_PROP_FRAME_COUNT)), 0
    while True:
        there, frame = video.read()
        if not there:
            break
        found += 1
        yield Image.fromarray(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB))
    if found < (1 - LOST) * promised - 1:
        raise ValueError(f"its header promises {promised}")
    if found < promised:
        LOG.warning("'%s' gives %d frames, but its header promises %d", path, found, promised)


def _opened(path: Path) -> cv2.VideoCapture:
    """Return a video file, ready to be read from its beginning."""
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # what is wrong with a file is said once, by us
    video = cv2.VideoCapture(str(path))
    if not video.isOpened():
        raise UserError(
            f"'{path}' cannot be opened as a video, cut short or no video at all: replace it or take it out"
        )
    return video


def _is_picture(file: Path) -> bool:
    return file.suffix.lower() in SUFFIXES


def _animated(file: Path) -> bool:
    """Say whether a picture file holds several frames; one too damaged to say counts as a film, and is named there."""
    if file.suffix.lower() not in ANIMATED:
        return False
    try:
        return reading.frames(file) > 1
    except UnreadablePicture:
        return True


def _numbered(folder: Path) -> list[Path]:
    """Return the pictures of a folder in the order of the numbers in their names: frame2 comes before frame10."""
    shown = [file for file in folder.iterdir() if _is_picture(file) and not file.name.startswith(".")]
    return sorted((file for file in shown if not _animated(file)), key=_order)


def _order(file: Path) -> list[tuple[bool, int, str]]:
    """Return what names are sorted by: runs of digits by their number, the rest by its letters."""
    pieces = re.split(r"(\d+)", file.name)
    return [(piece.isdigit(), int(piece) if piece.isdigit() else 0, piece) for piece in pieces]


def _warn_of_gaps(folder: Path) -> None:
    """Say which numbers are missing among the frames of a folder, where they are numbered in even steps otherwise."""
    found = [re.findall(r"\d+", file.stem) for file in _numbered(folder)]
    if not all(found):
        return
    numbers = [int(runs[-1]) for runs in found]
    step = min((after - before for before, after in pairwise(numbers)), default=0)
    if step < 1:
        return
    missing = [gone for before, after in pairwise(numbers) for gone in range(before + step, after, step)]
    if missing:
        listed = ", ".join(map(str, missing[:SHOWN])) + (", ..." if len(missing) > SHOWN else "")
        LOG.warning("'%s' lacks %d of its numbered frames: %s; it jumps there", folder, len(missing), listed)


def _windows(frames: Tensor, length: int, starts: Tensor) -> Tensor:
    """Return the clips that begin at these of all frames ``(F, C, H, W)``."""
    return frames[starts[:, None] + torch.arange(length)]


def _facts(hashes: Sequence[bytes], length: int, starts: Tensor) -> list[bytes]:
    """Return what each of these clips shows: its frames, by their hashes."""
    return [_joined(hashes, start, length) for start in starts.tolist()]


def _joined(hashes: Sequence[bytes], first: int, length: int) -> bytes:
    return b"".join(hashes[first : first + length])


def _common_size(root: Path, films: Sequence[Path], headers: Sequence[Header]) -> tuple[int, int]:
    """Return the (height, width) that all films have."""
    sizes = {film.size: path for path, film in zip(films, headers, strict=True)}
    if len(sizes) > 1:
        one, other = (f"'{path.relative_to(root)}' {size[1]}x{size[0]}" for size, path in list(sizes.items())[:2])
        raise UserError(f"'{root}' holds videos of several sizes ({one}, {other}): type data.image_size=64, say")
    return headers[0].size
