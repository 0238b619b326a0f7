"""Looking without touching: scoring in the middle of training leaves no trace in it."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def untouched(device: torch.device | None = None) -> Iterator[None]:
    """Give back the global random state of the CPU, and of ``device`` if it is a CUDA one, as it was found.

    Data loaders, freshly built networks and several metrics draw from the global generators; a run scored every 20,000
    images would otherwise train on other random numbers than one scored every 10,000.
    """
    on_cuda = device is not None and device.type == "cuda"
    with torch.random.fork_rng(devices=[device] if on_cuda else []):
        yield


@contextmanager
def evaluating(model: object, device: torch.device) -> Iterator[None]:
    """Put a model into evaluation mode without gradients; afterwards every one of its parts is as it was found."""
    modules = list(model.modules()) if isinstance(model, nn.Module) else []
    modes = [module.training for module in modules]
    try:
        for module in modules:
            module.training = False
        with untouched(device), torch.no_grad():
            yield
    finally:
        # .train(mode) would be wrong here: it would wake parts that are frozen in evaluation mode on purpose.
        for module, mode in zip(modules, modes, strict=True):
            module.training = mode


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute on one thread of the CPU: sums are rounded in the order they are added, which threads change."""
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        yield
    finally:
        torch.set_num_threads(threads)
