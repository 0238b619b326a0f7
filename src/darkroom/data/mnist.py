"""MNIST and Fashion-MNIST: 60,000 + 10,000 grey pictures of 28x28 pixels, in their idx files."""

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from darkroom.data.download import fetch
from darkroom.data.pictures import Pictures, TensorPictures
from darkroom.data.source import Collection
from darkroom.errors import UserError, nearest
from darkroom.numbers import Positive

FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
FASHION = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")
TORCHVISION = {"mnist": "MNIST", "fashion_mnist": "FashionMNIST"}  # what torchvision calls the folder and the class
CLASS_NAMES = {"mnist": [str(number) for number in range(10)], "fashion_mnist": list(FASHION)}

_LARGEST = 2**30  # bytes of one file; the largest sets of this format (EMNIST) have a half of that


class Mnist:
    """Handwritten digits (LeCun et al. 1998), or articles of clothing in the same format (Xiao et al. 2017).

    Files are used where they lie, packed or not: in torchvision's layout, in a folder of the set's name, or in the
    data folder itself. Test is the official one; val is held out of train.
    """

    def __init__(self, name: str = "mnist", val: Positive = 5000, download: bool = True) -> None:
        if name not in TORCHVISION:
            raise UserError(f"data.source.name={name} is not known: type {nearest(name, TORCHVISION)}")
        self.name = name
        self.flippable = name == "fashion_mnist"
        self.val = float(val)
        self.download = bool(download)

    def load(self, folder: Path, cache: Path, image_size: int | None, channels: int | None) -> Collection:
        """Return train and test, 28x28, grey."""
        files = self._find(folder)
        parts: dict[str, Pictures] = {}
        for split, (images, labels) in (("train", files[:2]), ("test", files[2:])):
            pixels, targets = read_idx(images, 3), read_idx(labels, 1)
            if len(pixels) != len(targets):
                raise UserError(
                    f"'{images}' holds {len(pixels)} pictures but '{labels}' {len(targets)} labels: fetch both again"
                )
            if len(targets) and int(targets.max()) > 9:
                raise UserError(f"'{labels}' holds a label of {int(targets.max())}, expected 0 to 9: fetch it again")
            parts[split] = TensorPictures(
                torch.from_numpy(pixels).unsqueeze(1), torch.from_numpy(targets.astype(np.int64))
            )
        return Collection(parts, CLASS_NAMES[self.name], val=self.val)

    def _find(self, folder: Path) -> list[Path]:
        """Return the four files in the order of ``FILES``, fetched when they are nowhere."""
        published = TORCHVISION[self.name]
        places = [folder / published / "raw", folder / self.name]
        # bare files carry no name: those of Fashion-MNIST are called the same as MNIST's
        if ("fashion" in folder.name.lower()) == (self.name == "fashion_mnist"):
            places.append(folder)
        incomplete = ""
        for place in places:
            found = [_existing(place, file) for file in FILES]
            if all(found):
                return [path for path in found if path]
            if any(found):
                missing = ", ".join(f"{file}.gz" for file, path in zip(FILES, found, strict=True) if not path)
                incomplete = incomplete or f"'{place}' lacks {missing}: add it, or empty that folder"
        if incomplete:
            raise UserError(f"{self.name} is incomplete: {incomplete}")
        wanted = f"{', '.join(f'{file}.gz' for file in FILES)} into '{folder / self.name}'"
        if not self.download:
            raise UserError(f"{self.name} is not in '{folder}': put {wanted}, or set paths.data to where they are")
        from torchvision import datasets

        collection = getattr(datasets, published)
        for name, md5 in collection.resources:
            fetch([mirror + name for mirror in collection.mirrors], places[0] / name, md5, self.name, wanted)
        return [places[0] / f"{file}.gz" for file in FILES]


def _existing(place: Path, file: str) -> Path | None:
    """Return a file of the idx format under any of the names it goes by, or None."""
    stem, kind = file.rsplit("-idx", 1)
    names = (file, f"{file}.gz", f"{stem}.idx{kind}", f"{stem}.idx{kind}.gz")
    return next((place / name for name in names if (place / name).is_file()), None)


def read_idx(path: Path, dimensions: int) -> NDArray[np.uint8]:
    """Return the array in an idx file of unsigned bytes, packed with gzip or not.

    Raises:
        UserError: when the file is not of that format, has other dimensions, or is shorter or longer than it says.
    """
    header = 4 + 4 * dimensions
    try:
        with path.open("rb") as file:
            packed = file.read(2) == b"\x1f\x8b"
        with gzip.open(path) if packed else path.open("rb") as opened:
            content = opened.read(header)
            stated = math.prod(struct.unpack(f">{dimensions}I", content[4:])) if len(content) == header else 0
            content += opened.read(min(stated, _LARGEST) + 1)  # a packed file may have no end
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"'{path}' cannot be read ({error}): fetch it again") from error
    if stated > _LARGEST:
        raise UserError(
            f"'{path}' says that it holds {stated} bytes, and no set of this kind is so large: fetch it again"
        )
    if len(content) < header or content[:4] != bytes([0, 0, 8, dimensions]):
        raise UserError(
            f"'{path}' begins with {content[:4].hex() or 'nothing'}, expected {bytes([0, 0, 8, dimensions]).hex()} "
            f"as an idx file of bytes in {dimensions} dimension(s) does: fetch it again"
        )
    shape = struct.unpack(f">{dimensions}I", content[4:header])
    if (found := len(content) - header) != stated:
        told = f"{found} bytes" if found < stated else "more"
        raise UserError(
            f"'{path}' holds {told} after its header, expected {stated} for shape {'x'.join(map(str, shape))}: it is "
            "cut short or damaged, fetch it again"
        )
    return np.frombuffer(content, dtype=np.uint8, offset=header).reshape(shape).copy()
