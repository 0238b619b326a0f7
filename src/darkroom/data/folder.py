"""Any folder of pictures: any format, size and mode, in class folders or loose, in split folders or in one heap."""

import functools
import hashlib
import json
import logging
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock
from numpy.typing import NDArray
from PIL import Image
from PIL import __version__ as PILLOW
from torch import Tensor

from darkroom.data import metadata, tensor_cache
from darkroom.data.pictures import FilePictures, Pictures, TensorPictures, with_channels
from darkroom.data.source import Collection
from darkroom.errors import UserError
from darkroom.numbers import Positive, Share
from darkroom.picture_files import reading
from darkroom.picture_files.picture import UnreadablePicture

LOG = logging.getLogger(__name__)
SUFFIXES = frozenset({".avif", ".bmp", ".gif", ".jfif", ".jp2", ".jpeg", ".jpg", ".pbm", ".pgm"}).union(
    {".pam", ".png", ".pnm", ".ppm", ".tga", ".tif", ".tiff", ".webp"}
)  # what is read
SPLIT_FOLDERS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
CAPTION = "caption"  # the column of metadata.csv that says in a sentence what a picture shows
SHOWN = 3  # damaged files named in a message


class Folder:
    """Pictures of one's own, found in all folders below ``root``.

    ``root/train``, ``root/val`` and ``root/test`` are taken as the splits when there is a train folder; what is missing
    is held out of train. First-level folders (below the split) name the classes when every picture lies in one. A
    ``metadata.csv`` in ``root`` or in a split's folder says more of the pictures, for ``darkroom audit`` to group them
    by: one row a picture, its path first. Its column ``caption`` is what models learn to be asked by.
    """

    flippable = True

    def __init__(
        self,
        root: str,
        labelled: bool | None = None,
        val: Positive = 0.1,
        test: Positive = 0.1,
        max_corrupt: Share = 0.01,
        in_memory_mb: Positive = 2048,
        name: str | None = None,
    ) -> None:
        """State where the pictures are and how much is put up with.

        Args:
            root: the folder, absolute, or relative to the data folder, or to the current folder.
            labelled: whether first-level folders are classes; None looks.
            val: share (below 1) or count held out of train, when there is no val folder.
            test: the same for test.
            max_corrupt: the share of pictures that may be damaged and are skipped; above it the folder is refused.
            in_memory_mb: decoded pictures are kept in memory up to this size, and decoded on request above it.
            name: what results call this data set; the folder's name when None.
        """
        self.root = str(root)
        self.labelled = labelled
        self.val = float(val)
        self.test = float(test)
        self.max_corrupt = float(max_corrupt)
        self.in_memory_mb = float(in_memory_mb)
        place = Path(self.root)
        self.name = name or (place.parent.name if place.name in SPLIT_FOLDERS and place.parent.name else place.name)

    def load(self, folder: Path, cache: Path, image_size: int | None, channels: int | None) -> Collection:
        """Return the pictures, resized on their shorter side and cropped to the central square of ``image_size``.

        Without ``image_size`` all pictures must have one size. Without ``channels`` they get 3, unless all are grey.
        """
        root = located(self.root, folder, "pictures")
        files = picture_files(root)
        if not files:
            raise UserError(f"'{root}' holds no pictures ({', '.join(sorted(SUFFIXES))}): put some there")
        if len(files) == 1:
            raise UserError(f"'{root}' holds one picture, '{files[0].name}': a set needs at least 3 to be split")
        shape = (channels or 3, *(_common_size(files, root) if image_size is None else (image_size, image_size)))
        decode = partial(read_picture, shape=shape)
        in_memory = len(files) * shape[0] * shape[1] * shape[2] <= self.in_memory_mb * 2**20
        found = decoded(files, root, shape, cache / "folder", in_memory)
        good = [index for index in range(len(files)) if index not in found.damaged]
        self._judge(root, files, found)
        if channels is None and bool(found.grey[good].all()):
            shape = (1, *shape[1:])
            decode = partial(read_picture, shape=shape)
        parts_of, class_of, class_names = self._sorted_out(root, files)
        labels = torch.tensor(class_of, dtype=torch.int64) if class_names else None
        parts: dict[str, Pictures] = {}
        for split in dict.fromkeys(parts_of):
            chosen = torch.tensor([index for index in good if parts_of[index] == split], dtype=torch.int64)
            targets = None if labels is None else labels[chosen]
            if found.pixels is not None:
                parts[split] = TensorPictures(with_channels(found.pixels[chosen], shape[0]), targets, chosen)
            else:
                hashes = [row.tobytes() for row in found.hashes[chosen].numpy()]
                parts[split] = FilePictures([files[index] for index in chosen], decode, shape, hashes, targets, chosen)
        tables = functools.cache(partial(metadata.read, [root, *(root / name for name in SPLIT_FOLDERS)], files))
        return Collection(
            parts,
            class_names,
            val=self.val,
            test=self.test,
            attributes=tables,
            captions=lambda: tables().get(CAPTION, []),
        )

    def _judge(self, root: Path, files: Sequence[Path], found: "Decoded") -> None:
        """Name and count the damaged files; refuse when there are too many."""
        if not found.damaged:
            return
        examples = [f"{files[index].relative_to(root)} ({why})" for index, why in list(found.damaged.items())[:SHOWN]]
        listed = ", ".join(examples) + (", ..." if len(found.damaged) > SHOWN else "")
        share = len(found.damaged) / len(files)
        if share > self.max_corrupt or len(found.damaged) == len(files):
            raise UserError(
                f"'{root}': {len(found.damaged)} of {len(files)} pictures ({share:.1%}) cannot be decoded: {listed}; "
                f"remove them, or raise data.source.max_corrupt above {self.max_corrupt:g}"
            )
        LOG.warning("'%s': skipped %d of %d pictures, damaged: %s", root, len(found.damaged), len(files), listed)

    def _sorted_out(self, root: Path, files: Sequence[Path]) -> tuple[list[str], list[int], list[str]]:
        """Return the split and the class number of each file, and the names of the classes (none: unlabelled)."""
        splits, ways = filed_by_split(root, files)
        classes = sorted({way[0] for way in ways if len(way) > 1})
        filed = all(len(way) > 1 for way in ways)
        if self.labelled and not filed:
            loose = next(file for file, way in zip(files, ways, strict=True) if len(way) == 1)
            raise UserError(f"'{loose}' lies in no class folder: move it into one, or type data.source.labelled=null")
        if self.labelled or (self.labelled is None and filed and len(classes) > 1):
            numbers = {name: number for number, name in enumerate(classes)}
            return splits, [numbers[way[0]] for way in ways], classes
        return splits, [], []


@dataclass(frozen=True)
class Decoded:
    """What reading every file of a folder told; rows of damaged files hold zeros."""

    hashes: Tensor  # (N, 32) uint8, sha256 of the decoded bytes
    grey: Tensor  # (N,) bool
    damaged: dict[int, str]
    pixels: Tensor | None  # (N, C, H, W) uint8 when they fit into memory


def located(root: str, folder: Path, what: str) -> Path:
    """Return the folder of a source, looked for in the data folder, then from the current folder.

    Raises:
        UserError: there is none; ``what`` is to be put there.
    """
    places = [folder / Path(root).expanduser(), Path(root).expanduser().resolve()]
    for place in places:
        if place.is_dir():
            return place
        if place.exists():
            raise UserError(f"'{place}' is a file: data.source.root wants the folder that holds the {what}")
    looked = " and ".join(f"'{place}'" for place in dict.fromkeys(places))
    raise UserError(f"there is no folder {looked}: put {what} there, or type data.source.root=<a folder of {what}>")


def filed_by_split(root: Path, files: Sequence[Path]) -> tuple[list[str], list[tuple[str, ...]]]:
    """Return the split that each file lies in, and its path below that; all are train where there is no train folder.

    Raises:
        UserError: something lies beside the folders of the splits.
    """
    ways = [file.relative_to(root).parts for file in files]
    split_folders = {way[0] for way in ways if len(way) > 1 and way[0] in SPLIT_FOLDERS}
    if "train" not in split_folders:
        return ["train"] * len(ways), ways
    strangers = sorted({way[0] for way in ways if way[0] not in split_folders})
    if strangers:
        raise UserError(
            f"'{root}' holds '{strangers[0]}' beside its folders {', '.join(sorted(split_folders))}: move it "
            "into one of them, or point data.source.root elsewhere"
        )
    return [SPLIT_FOLDERS[way[0]] for way in ways], [way[1:] for way in ways]


def picture_files(root: Path) -> list[Path]:
    """Return every picture below a folder, sorted by its path; hidden files and folders are passed over."""
    files = []
    for folder, subfolders, names in os.walk(root):
        subfolders[:] = [name for name in subfolders if not name.startswith(".")]
        files += [
            Path(folder, name) for name in names if not name.startswith(".") and Path(name).suffix.lower() in SUFFIXES
        ]
    return sorted(files, key=lambda file: file.relative_to(root).as_posix())


def read_picture(file: Path, shape: tuple[int, int, int]) -> Tensor:
    """Return one picture, upright, on white where it is transparent, resized and cropped, as uint8 ``(C, H, W)``."""
    return torch.from_numpy(_read_array(file, shape).transpose(2, 0, 1).copy())


def _read_array(file: Path, shape: tuple[int, int, int]) -> NDArray[np.uint8]:
    """Return the same picture as ``(H, W, C)``, the way Pillow holds it."""
    _, height, width = shape
    # a JPEG can be decoded at an eighth, quarter or half of its size; twice the wanted size loses nothing to see
    return fitted(reading.shown(file, 2 * max(height, width)), shape)


def fitted(picture: Image.Image, shape: tuple[int, int, int]) -> NDArray[np.uint8]:
    """Return an L or RGB picture, resized and cropped to a shape ``(C, H, W)``, as ``(H, W, C)``."""
    channels, height, width = shape
    picture = picture.convert("L" if channels == 1 else "RGB")
    if picture.size != (width, height):
        side = min(picture.width / width, picture.height / height)
        left, top = (picture.width - side * width) / 2, (picture.height - side * height) / 2
        box = (left, top, left + side * width, top + side * height)
        picture = picture.resize((width, height), Image.Resampling.BICUBIC, box=box)
    return np.asarray(picture).reshape(height, width, channels)


def decoded(files: Sequence[Path], root: Path, shape: tuple[int, int, int], cache: Path, keep: bool) -> Decoded:
    """Decode every file once, in parallel; remember the result under ``cache`` until a file or the size changes."""
    facts = [(file.relative_to(root).as_posix(), (stat := file.stat()).st_size, stat.st_mtime_ns) for file in files]
    key = hashlib.sha256(
        json.dumps([str(root.resolve()), facts, shape, keep, PILLOW, reading.READER]).encode()
    ).hexdigest()[:32]
    remembered = cache / f"{key}.safetensors"
    cache.mkdir(parents=True, exist_ok=True)
    with FileLock(cache / f"{key}.lock"):  # of several processes one decodes and the others read
        if (found := tensor_cache.load(remembered)) is not None:
            tensors, damaged = found
            return Decoded(tensors["hashes"], tensors["grey"], dict(damaged), tensors.get("pixels"))
        result = _decode_all(files, shape, keep)
        tensors = {"hashes": result.hashes, "grey": result.grey}
        tensor_cache.save(
            remembered,
            tensors if result.pixels is None else {**tensors, "pixels": result.pixels},
            list(result.damaged.items()),
        )
    return result


def _decode_all(files: Sequence[Path], shape: tuple[int, int, int], keep: bool) -> Decoded:
    """Read all files with a thread per core: decoders release the interpreter while they work."""
    hashes = np.zeros((len(files), 32), dtype=np.uint8)
    grey = np.zeros(len(files), dtype=bool)
    pixels = np.zeros((len(files), *shape), dtype=np.uint8) if keep else None

    def read(index: int) -> str | None:
        try:
            picture = _read_array(files[index], shape)
        except UnreadablePicture as error:  # all of which are reported together
            return error.reason
        grey[index] = bool((picture == picture[..., :1]).all())
        picture = picture.transpose(2, 0, 1)
        hashes[index] = np.frombuffer(hashlib.sha256(picture.tobytes()).digest(), dtype=np.uint8)
        if pixels is not None:
            pixels[index] = picture
        return None

    with ThreadPoolExecutor(os.cpu_count()) as threads:
        problems = list(threads.map(read, range(len(files))))
    damaged = {index: why for index, why in enumerate(problems) if why is not None}
    kept = None if pixels is None else torch.from_numpy(pixels)
    return Decoded(torch.from_numpy(hashes), torch.from_numpy(grey), damaged, kept)


def _common_size(files: Sequence[Path], root: Path) -> tuple[int, int]:
    """Return the (height, width) that all readable pictures have, from their headers."""
    sizes: dict[tuple[int, int], Path] = {}
    for file in files:
        try:
            width, height = reading.size(file)
        except UnreadablePicture:  # the decoder meets this file again, names it and counts it
            continue
        sizes.setdefault((height, width), file)
        if len(sizes) > 1:
            (one, other) = (f"'{file.relative_to(root)}' {size[1]}x{size[0]}" for size, file in sizes.items())
            raise UserError(f"'{root}' holds pictures of several sizes ({one}, {other}): type data.image_size=64, say")
    if not sizes:
        raise UserError(
            f"'{root}': none of its {len(files)} pictures can be decoded, '{files[0].name}' for one; replace them"
        )
    return next(iter(sizes))
