"""Looking without touching: scoring in the middle of training leaves no trace in it."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def untouched(device: torch.device | None = None) -> Iterator[None]:
    """Give back the global random state of the CPU, and of ``device`` if it is an accelerator, as it was found.

    Data loaders, freshly built networks and several metrics draw from the global generators; a run scored every 20,000
    images would otherwise train on other random numbers than one scored every 10,000.
    """
    if device is None or device.type == "cpu":
        with torch.random.fork_rng(devices=[]):
            yield
    else:
        index = 0 if device.index is None else device.index
        with torch.random.fork_rng(devices=[index], device_type=device.type):
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
