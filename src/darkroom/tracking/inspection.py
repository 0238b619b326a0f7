"""What a checkpoint file holds, found out from its directory and its pickle, before PyTorch believes either.

PyTorch's own reader trusts what a file says of itself: a storage may claim more bytes than are there, which is then
read beyond its end, and memory is allocated as the file asks for it. Here every claim is compared with the file.
"""

import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

import torch

DEPTH, PARTS = 64, 2_000_000  # how deep containers may lie in each other, and how many parts they may have together
_LARGE, _TIMES = 64 * 2**20, 4  # tensors may be views: bytes in all, and times the file, that they may stand for
_TEXT = 10_000_000  # characters of one text
_STORAGES: dict[str, torch.dtype] = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
    "ComplexFloatStorage": torch.complex64,
    "ComplexDoubleStorage": torch.complex128,
}


class Unfit(ValueError):
    """A file that is not what it says, in the words of a sentence: "it …"."""


def inspect(file: BinaryIO) -> None:
    """Verify that a checkpoint's file is whole, and that what it holds is plain and as large as the file allows.

    Raises:
        Unfit: it is damaged, or asks for more than its tensors and plain containers.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            records = _records(archive)
            pickled = [name for name in records if name.endswith("/data.pkl") and name.count("/") == 1]
            if len(pickled) != 1:
                raise Unfit("it holds no description of its content")
            (name,) = pickled
            reader = _Reader(archive, name, records)
            content = reader.load()
            bounded(content)
    except Unfit:
        raise
    except Exception as error:  # damaged bytes lead both readers into every kind of exception
        raise Unfit("it is damaged, cut short, or holds more than tensors and plain containers") from error


def _records(archive: zipfile.ZipFile) -> dict[str, int]:
    """Return the size of everything in the archive, once its checksums are found right."""
    sizes: dict[str, int] = {}
    for entry in archive.infolist():
        if entry.compress_type != zipfile.ZIP_STORED or entry.file_size != entry.compress_size:
            raise Unfit("it is packed, and checkpoints never are")
        if entry.filename in sizes:
            raise Unfit(f"it holds {entry.filename} twice")
        sizes[entry.filename] = entry.file_size
    if (wrong := archive.testzip()) is not None:
        raise Unfit(f"it is damaged ({wrong} is not what was written)")
    return sizes


def bounded(content: object) -> None:
    """Refuse containers that are too deep, or too many, to be walked by whoever reads them.

    Raises:
        Unfit: they are; what lies in several places counts in each.
    """
    waiting: list[tuple[object, int]] = [(content, 0)]
    seen = 0
    while waiting:
        value, depth = waiting.pop()
        seen += 1
        if depth > DEPTH:
            raise Unfit(f"it holds containers that lie more than {DEPTH} deep in each other")
        if seen > PARTS:
            raise Unfit(f"it holds more than {PARTS} parts")
        if isinstance(value, Mapping):
            waiting += [(part, depth + 1) for part in (*value.keys(), *value.values())]
        elif isinstance(value, list | tuple | set):
            waiting += [(part, depth + 1) for part in value]
        elif isinstance(value, str | bytes) and len(value) > _TEXT:
            raise Unfit(f"it holds a text of {len(value)} characters")
        elif isinstance(value, int) and not -(2**64) < value < 2**64:
            raise Unfit("it holds a number of more than 64 bits")


@dataclass(frozen=True)
class _Storage:
    """What stands for the bytes of a tensor: how many numbers there are, of how many bytes each."""

    count: int
    width: int


class _Tensor:
    """What stands for a tensor."""

    def __setstate__(self, state: object) -> None:
        """Take nothing: attributes of a tensor are no part of a checkpoint."""


class _Reader(pickle._Unpickler):  # in Python: the one in C allocates as much as an opcode says
    """Reads the pickle of a checkpoint with something inert in the place of every tensor."""

    def __init__(self, archive: zipfile.ZipFile, name: str, records: Mapping[str, int]) -> None:
        self._opened = archive.open(name)
        super().__init__(self._opened, encoding="utf-8")
        self._home, self._sizes = name.partition("/")[0], records
        self._left = _LARGE + _TIMES * sum(records.values())
        self._known: dict[tuple[str, str], Callable[..., Any] | type | torch.dtype] = {
            ("collections", "OrderedDict"): OrderedDict,
            ("builtins", "set"): set,
            ("__builtin__", "set"): set,
            ("_codecs", "encode"): _encoded,
            ("torch", "Size"): _sizes,
            ("torch", "device"): _device,
            ("torch._utils", "_rebuild_tensor_v2"): self._tensor,
            ("torch._utils", "_rebuild_tensor_v3"): self._tensor_v3,
            ("torch._utils", "_rebuild_parameter"): _parameter,
        }

    def find_class(self, module: str, name: str) -> Any:
        """Return what stands for one of the few things that a checkpoint is made of."""
        if module in ("torch", "torch.storage") and name in (*_STORAGES, "UntypedStorage"):
            return _STORAGES.get(name, torch.uint8)
        if module == "torch" and isinstance(kind := getattr(torch, name, None), torch.dtype):
            return kind
        if (module, name) not in self._known:
            raise Unfit(f"it asks for {module}.{name}, which is more than tensors and plain containers")
        return self._known[module, name]

    def persistent_load(self, pid: Any) -> _Storage:
        """Return what stands for a storage, once its size is found to be that of its record."""
        kind, dtype, key, _, count = pid
        if (
            kind != "storage"
            or not isinstance(dtype, torch.dtype)
            or not isinstance(key, str)
            or type(count) is not int
        ):
            raise Unfit("it names a storage in another way than PyTorch does")
        there = self._sizes.get(f"{self._home}/data/{key}", -1)
        if count < 0 or count * dtype.itemsize > there:
            raise Unfit(f"it says that storage {key} holds {count} numbers, and there are {max(there, 0)} bytes")
        return _Storage(count * dtype.itemsize, dtype.itemsize)

    def _tensor(self, storage: _Storage, offset: int, size: Any, stride: Any, *_: object) -> _Tensor:
        return self._viewed(storage, storage.width, offset, size, stride)

    def _tensor_v3(self, storage: _Storage, offset: int, size: Any, stride: Any, *more: Any) -> _Tensor:
        _, _, dtype, *_ = more
        return self._viewed(storage, dtype.itemsize, offset, size, stride)

    def _viewed(self, storage: _Storage, width: int, offset: int, size: Any, stride: Any) -> _Tensor:
        numbers = [offset, *size, *stride]
        if len(size) != len(stride) or any(type(number) is not int or number < 0 for number in numbers):
            raise Unfit("it holds a tensor whose shape is none")
        count = 1
        for length in size:
            count *= length
        end = offset + sum((length - 1) * step for length, step in zip(size, stride, strict=True)) + 1
        if count and end * width > storage.count:
            raise Unfit(f"it holds a tensor of shape {tuple(size)} that is larger than its storage")
        self._left -= count * width
        if self._left < 0:
            raise Unfit("its tensors are larger than its file")
        return _Tensor()


def _parameter(tensor: _Tensor, *_: object) -> _Tensor:
    return tensor


def _encoded(text: str, encoding: str) -> bytes:
    return text.encode("latin-1" if encoding in ("latin1", "latin-1") else "utf-8")


def _sizes(parts: Any = ()) -> tuple[int, ...]:
    return tuple(parts)


def _device(*named: object) -> str:
    return str(named)
