"""Photographs that stand on both sides: the same picture, or nearly the same one, under any name.

    for found in shared_pictures(train_files, test_files, cache):
        found.train, found.held_out, found.how

Two well-known sets of photographs for denoising share pictures. A hash of decoded pixels finds copies; a perceptual
hash, the signs of 64 low frequencies of a small grey version (after pHash, Zauner 2010), finds those that were resized,
compressed, cropped by a little, made brighter or mirrored.

Measured on 400 photographs (BSDS500, 481x321): of 79,800 pairs of different ones the nearest differ in 12 of 64 signs,
half of them in 32; of copies at half the size, of JPEG quality 10, or 30% flatter none differs in more than 5, of those
cropped by 4 pixels on every side in more than 9, by 8 pixels 99 of 100 in at most 10.
"""

import hashlib
import json
import math
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock
from PIL import Image
from PIL import __version__ as PILLOW
from torch import Tensor

from darkroom.data import tensor_cache
from darkroom.errors import UserError
from darkroom.picture_files import reading
from darkroom.picture_files.picture import UnreadablePicture

NEAR = 10  # signs of 64 in which two pictures may differ and still be one
LOOKS = 1.0  # difference of two thumbnails, in deviations of their light, from which pictures are two all the same
SIDE, ROWS, COLUMNS = 32, 9, 8  # pixels that are transformed, and the lowest frequencies of which signs are kept
SIGNS = 64
THUMBNAIL = 16  # pixels a side
FORMAT = 1  # of what is remembered


@dataclass(frozen=True)
class Shared:
    """A picture that stands on both sides, and how the two are alike."""

    train: Path
    held_out: Path
    how: str


@dataclass(frozen=True)
class Fingerprints:
    """What is left of so many pictures: the sha256 of their pixels ``(N, 32)``, signs ``(N, 64)``, thumbnails.

    ``thumbnails`` ``(N, 3, h, w)`` are float, of mean light 0 and deviation 1; ``mirrored`` are signs of mirror images.
    """

    exact: Tensor
    signs: Tensor
    mirrored: Tensor
    thumbnails: Tensor


def shared_pictures(
    train_files: Sequence[Path], held_out_files: Sequence[Path], cache: Path | None = None
) -> list[Shared]:
    """Return which held-out pictures are also in train, or nearly, each with the nearest one there.

    What was seen of the files is remembered under ``cache`` until one of them changes.

    Raises:
        UserError: a file cannot be decoded.
    """
    if not train_files or not held_out_files:
        return []
    train, held_out = (fingerprints(files, cache) for files in (train_files, held_out_files))
    known = {bytes(row): index for index, row in reversed(list(enumerate(train.exact.numpy())))}
    found = []
    for index, file in enumerate(held_out_files):
        same = known.get(bytes(held_out.exact[index].numpy()))
        if same is not None:
            found.append(Shared(Path(train_files[same]), Path(file), "the same picture"))
            continue
        nearest: tuple[int, int, str] | None = None
        for signs, thumbnail, how in (
            (held_out.signs[index], held_out.thumbnails[index], "nearly the same picture"),
            (held_out.mirrored[index], held_out.thumbnails[index].flip(2), "nearly its mirror image"),
        ):
            apart = (train.signs != signs).sum(dim=1)
            unlike = (train.thumbnails - thumbnail).square().mean(dim=(1, 2, 3)).sqrt()
            apart[unlike > LOOKS] = SIGNS
            place = int(apart.argmin())
            if apart[place] <= NEAR and (nearest is None or apart[place] < nearest[1]):
                nearest = place, int(apart[place]), how
        if nearest is not None:
            found.append(Shared(Path(train_files[nearest[0]]), Path(file), nearest[2]))
    return found


def refuse_shared(
    train_files: Sequence[Path], held_out_files: Sequence[Path], cache: Path | None, name: str, split: str
) -> None:
    """Refuse held-out photographs that are also learnt from.

    Raises:
        UserError: there are some; the first two files are named.
    """
    if found := shared_pictures(train_files, held_out_files, cache):
        first = found[0]
        more = f" ({len(found)} such pairs)" if len(found) > 1 else ""
        raise UserError(
            f"{name}: '{first.held_out}' is held out for {split}, and '{first.train}' in train is {first.how}{more}, so"
            f" a score on {split} would mean nothing: remove one of the two"
        )


def fingerprints(files: Sequence[Path], cache: Path | None = None) -> Fingerprints:
    """Return what is left of pictures, read in parallel or, where they have not changed since, remembered."""
    if cache is None:
        return Fingerprints(**_taken(files))
    facts = [(str(Path(file).resolve()), (stat := file.stat()).st_size, stat.st_mtime_ns) for file in files]
    key = hashlib.sha256(json.dumps([facts, PILLOW, reading.READER, FORMAT]).encode()).hexdigest()[:32]
    folder = cache / "fingerprints"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{key}.safetensors"
    with FileLock(folder / f"{key}.lock"):  # of several processes one reads the pictures
        if (found := tensor_cache.load(path)) is not None:
            return Fingerprints(**found[0])
        tensors = _taken(files)
        tensor_cache.save(path, tensors)
        return Fingerprints(**tensors)


def _taken(files: Sequence[Path]) -> dict[str, Tensor]:
    """Return the fingerprints of files, taken now with a thread per core: Pillow releases the interpreter."""
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        rows = list(threads.map(_seen, files))
    exact, greys, thumbnails = (torch.from_numpy(np.stack(part)) for part in zip(*rows, strict=True))
    light = thumbnails.float().mean(dim=1, keepdim=True)
    middle, spread = light.mean(dim=(2, 3), keepdim=True), light.std(dim=(2, 3), keepdim=True, correction=0)
    return {
        "exact": exact,
        "signs": _signs(greys),
        "mirrored": _signs(greys.flip(2)),
        "thumbnails": ((thumbnails.float() - middle) / spread.clamp(min=1)).contiguous(),
    }


def _seen(file: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the sha256 of a picture's pixels, and a grey and a coloured small version of it, upright."""
    try:
        picture = reading.shown(file).convert("RGB")
    except UnreadablePicture as error:
        raise UserError(f"'{file}' cannot be decoded ({error.reason}): replace or remove it") from error
    digest = hashlib.sha256(repr(picture.size).encode() + picture.tobytes()).digest()
    grey = np.asarray(picture.convert("L").resize((SIDE, SIDE), Image.Resampling.BOX), dtype=np.float64)
    coloured = np.asarray(picture.resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BOX)).transpose(2, 0, 1)
    return np.frombuffer(digest, dtype=np.uint8), grey, coloured


def _signs(greys: Tensor) -> Tensor:
    """Return the signs of the lowest frequencies but the mean, bool ``(N, 64)``, of grey pictures ``(N, 32, 32)``."""
    places = torch.arange(SIDE, dtype=torch.float64)
    waves = torch.cos(math.pi * (2 * places[None] + 1) * places[:, None] / (2 * SIDE))  # of the DCT-II
    frequencies = (waves[:ROWS] @ greys @ waves[:COLUMNS].T).flatten(1)
    return frequencies[:, 1 : SIGNS + 1] > 0
