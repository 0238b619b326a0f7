"""Models that a file describes, built without believing how large it says that they are."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from darkroom.errors import UserError

# What makes a tensor out of a size.
_MAKERS = frozenset(
    {
        torch.arange,
        torch.empty,
        torch.eye,
        torch.full,
        torch.linspace,
        torch.logspace,
        torch.normal,
        torch.ones,
        torch.rand,
        torch.randint,
        torch.randn,
        torch.randperm,
        torch.zeros,
    }
)
_AT_LEAST, _TIMES = 256 * 2**20, 8  # bytes that building may take, and times the weights that are to be loaded
_TENSORS, _EACH = 10_000, 50  # tensors that building may make, and for each of those that are to be loaded


class Oversized(ValueError):
    """More memory was asked for than the weights could fill."""


class _Bounded(TorchFunctionMode):
    """Counts the bytes of new tensors, each before it is made."""

    def __init__(self, bytes_left: int, tensors_left: int) -> None:
        super().__init__()
        self.bytes_left, self.tensors_left = bytes_left, tensors_left

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        given = dict(kwargs or {})
        if func in _MAKERS:
            without = {key: value for key, value in given.items() if key != "generator"}
            planned = func(*args, **{**without, "device": "meta"})
            self.bytes_left -= planned.numel() * planned.element_size()
            self.tensors_left -= 1
            if self.bytes_left < 0 or self.tensors_left < 0:
                raise Oversized("it is far larger than the weights beside it")
        return func(*args, **given)


@contextmanager
def from_file(path: Path, state: Mapping[str, Any]) -> Iterator[None]:
    """Build what a file describes within what its weights, ``state``, can fill, and name the file if that fails.

    Raises:
        UserError: whatever a constructor raises; that is its cause.
    """
    held = sum(tensor.numel() * tensor.element_size() for tensor in state.values())
    try:
        with _Bounded(_AT_LEAST + _TIMES * held, _TENSORS + _EACH * len(state)):
            yield
    except UserError as error:
        raise UserError(f"{path} describes a model that cannot be built: {error}") from error
    except Exception as error:  # a description from elsewhere makes constructors fail in every way that there is
        raise UserError(f"{path} describes a model that cannot be built ({_reason(error)}).") from error


def check_weights(state: Mapping[str, Tensor], model: nn.Module, path: Path) -> None:
    """Refuse weights that do not fit the model that was described beside them, or that are no numbers.

    Raises:
        UserError: they are of other names, shapes or types, or hold NaN or infinity.
    """
    own = model.state_dict()
    expected = {name: (tuple(tensor.shape), tensor.dtype) for name, tensor in own.items()}
    stored = {name: (tuple(tensor.shape), tensor.dtype) for name, tensor in state.items()}
    for name in [*expected, *stored]:
        if not _alike(expected.get(name), stored.get(name)):
            raise UserError(
                f"The weights in {path} do not fit the model that it describes: '{name}' is {_told(stored.get(name))}"
                f" there, and {_told(expected.get(name))} was expected; take another file."
            )
    check_finite(state, path)


def check_finite(state: Mapping[str, Tensor], path: Path) -> None:
    """Refuse weights that are no numbers.

    Raises:
        UserError: some are NaN or infinite.
    """
    for name, tensor in state.items():
        if (tensor.is_floating_point() or tensor.is_complex()) and not bool(torch.isfinite(tensor).all()):
            raise UserError(
                f"The weights in {path} are broken: '{name}' holds NaN or infinity, as after a training that diverged;"
                " take another one, or train it again with a lower learning rate."
            )


def _reason(error: BaseException) -> str:
    """Return what the first cause says, shortened."""
    while (cause := error.__cause__) is not None:
        error = cause
    text = " ".join(str(error).split()).rstrip(".")
    return f"{type(error).__name__}: {text[:200]}" if text else type(error).__name__


def _alike(one: tuple[tuple[int, ...], torch.dtype] | None, other: tuple[tuple[int, ...], torch.dtype] | None) -> bool:
    """Say whether weights go into the place of others: of one shape, and both of floats, or both not."""
    if one is None or other is None or one[0] != other[0]:
        return False
    return one[1].is_floating_point == other[1].is_floating_point and one[1].is_complex == other[1].is_complex


def _told(kind: tuple[tuple[int, ...], torch.dtype] | None) -> str:
    return "absent" if kind is None else f"{kind[0]} of {str(kind[1]).removeprefix('torch.')}"
