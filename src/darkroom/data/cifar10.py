"""CIFAR-10: 50,000 + 10,000 colour photographs of 32x32 pixels, their pickles read without trusting them."""

import io
import pickle
import tarfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from darkroom import files
from darkroom.data.download import fetch
from darkroom.data.pictures import Pictures, TensorPictures
from darkroom.data.source import Collection
from darkroom.errors import UserError
from darkroom.numbers import Positive

FOLDER = "cifar-10-batches-py"
ARCHIVE = "cifar-10-python.tar.gz"
FILES = {"train": [f"data_batch_{number}" for number in range(1, 6)], "test": ["test_batch"]}
CLASS_NAMES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]

_LARGEST = 2**26  # bytes of one of its files, which are half of that


class Cifar10:
    """Small photographs of ten kinds of things (Krizhevsky 2009).

    The official Python files are used where they lie: ``cifar-10-batches-py`` or the unpacked files under ``cifar10/``
    in the data folder, or the archive itself. Test is the official one; val is held out of train.
    """

    name = "cifar10"
    flippable = True

    def __init__(self, val: Positive = 5000, download: bool = True) -> None:
        self.val = float(val)
        self.download = bool(download)

    def load(self, folder: Path, cache: Path, image_size: int | None, channels: int | None) -> Collection:
        """Return train and test, 32x32, in colour."""
        place = self._find(folder)
        parts: dict[str, Pictures] = {}
        for split, names in FILES.items():
            pixels, labels = zip(*(read_batch(place / name) for name in names), strict=True)
            parts[split] = TensorPictures(torch.cat(pixels), torch.cat(labels))
        return Collection(parts, CLASS_NAMES, val=self.val)

    def _find(self, folder: Path) -> Path:
        """Return the folder of batch files, unpacked or fetched when there is none."""
        places = [folder / FOLDER, folder / "cifar10" / FOLDER, folder / "cifar10", folder]
        names = [name for split in FILES.values() for name in split]
        for place in places:
            present = [name for name in names if (place / name).is_file()]
            if len(present) == len(names):
                return place
            if present:
                missing = ", ".join(name for name in names if name not in present)
                raise UserError(f"cifar10 is incomplete: '{place}' lacks {missing}: add it, or empty that folder")
        for archive in (folder / ARCHIVE, folder / "cifar10" / ARCHIVE):
            if archive.is_file():
                return _unpacked(archive)
        wanted = f"{ARCHIVE} (or what it unpacks to) into '{folder / 'cifar10'}'"
        if not self.download:
            raise UserError(f"cifar10 is not in '{folder}': put {wanted}, or set paths.data to where it is")
        from torchvision.datasets import CIFAR10  # for its address and checksum only: its reader trusts any pickle

        fetch([CIFAR10.url], folder / ARCHIVE, CIFAR10.tgz_md5, self.name, wanted)
        return _unpacked(folder / ARCHIVE)


def _unpacked(archive: Path) -> Path:
    """Unpack the archive beside itself and return the folder of batch files."""
    try:
        with tarfile.open(archive) as tar:
            for member in tar:
                place = Path(member.name)
                # Only the files themselves: whatever else an archive holds might lead out of the folder.
                ours = member.isfile() and not member.issparse() and place.parts[:-1] == (FOLDER,)
                if ours and member.size > _LARGEST:
                    raise UserError(f"'{archive}' holds {place.name} of {member.size} bytes, too large: fetch it again")
                if ours and (content := tar.extractfile(member)):
                    files.write(archive.parent / FOLDER / place.name, content.read())
    except (OSError, EOFError, ValueError, zlib.error, tarfile.TarError) as error:
        raise UserError(f"'{archive}' cannot be unpacked ({error}): fetch it again, or unpack it by hand") from error
    if not (archive.parent / FOLDER).is_dir():
        raise UserError(f"'{archive}' holds no folder {FOLDER}: fetch it again")
    return archive.parent / FOLDER


class ArrayUnpickler(pickle._Unpickler):  # in Python: the one in C allocates as much as an opcode says
    """Reads plain containers and numpy arrays, and refuses whatever else a pickle could make Python do."""

    def find_class(self, module: str, name: str) -> Any:
        """Return one of the three things that an array is rebuilt from."""
        if (module, name) in {("numpy.core.multiarray", "_reconstruct"), ("numpy._core.multiarray", "_reconstruct")}:
            return _empty
        if (module, name) == ("numpy", "ndarray"):
            return np.ndarray
        if (module, name) == ("numpy", "dtype"):
            return np.dtype
        raise pickle.UnpicklingError(f"it asks for {module}.{name}, which a data set has no need of")


def _empty(*_: object) -> NDArray[Any]:
    """Return an array that is about to be told its shape and content; the size that a file asks for is not made."""
    return np.zeros(0)


def read_batch(path: Path) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the pictures, uint8 (n, 3, 32, 32), and labels, int64 (n,), of one batch file.

    Raises:
        UserError: when the file is damaged, is something else, or asks Python for more than arrays.
    """
    try:
        content = ArrayUnpickler(io.BytesIO(path.read_bytes()), encoding="bytes").load()
    except Exception as error:  # a damaged pickle fails in as many ways as there are opcodes
        raise UserError(f"'{path}' is not a CIFAR-10 batch ({error}): fetch it again") from error
    content = content if isinstance(content, dict) else {}
    data, labels = content.get(b"data", content.get("data")), content.get(b"labels", content.get("labels"))
    if not (isinstance(data, np.ndarray) and data.dtype == np.uint8 and data.ndim == 2 and data.shape[1] == 3072):
        raise UserError(f"'{path}' holds no uint8 pictures of 3072 bytes under 'data': fetch CIFAR-10 again")
    if not (isinstance(labels, list) and len(labels) == len(data) and all(label in range(10) for label in labels)):
        raise UserError(
            f"'{path}' holds no list of {len(data)} labels from 0 to 9 under 'labels': fetch CIFAR-10 again"
        )
    pixels = np.ascontiguousarray(data).reshape(-1, 3, 32, 32)
    return torch.from_numpy(pixels.copy()), torch.tensor(labels, dtype=torch.int64)
