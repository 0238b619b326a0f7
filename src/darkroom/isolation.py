"""Looking without touching: scoring in the middle of training leaves no trace in it."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TypeVar

import torch
from torch import nn

Network = TypeVar("Network", bound=nn.Module)


@contextmanager
def preserve_rng_state(device: torch.device | None = None) -> Iterator[None]:
    """Give back the global random state of the CPU, and of ``device`` if it is a CUDA one, as it was found.

    Data loaders, freshly built networks and several metrics draw from the global generators; a run scored every 20,000
    images would otherwise train on other random numbers than one scored every 10,000.
    """
    on_cuda = device is not None and device.type == "cuda"
    with torch.random.fork_rng(devices=[device] if on_cuda else []):
        yield


@contextmanager
def eval_mode(network: Network) -> Iterator[Network]:
    """Let a network answer as it does once it is trained, for a block: nothing dropped, nothing of the batch.

    Afterwards every one of its parts is as it was found: ``.train(mode)`` would wake those that are kept in evaluation
    mode on purpose.
    """
    awake = [module for module in network.modules() if module.training]
    try:
        for module in awake:
            module.training = False
        yield network
    finally:
        for module in awake:
            module.training = True


@contextmanager
def evaluating(model: object, device: torch.device) -> Iterator[None]:
    """Put a model, where it is a network, into evaluation mode without gradients, and leave no trace."""
    with ExitStack() as stack:
        if isinstance(model, nn.Module):
            stack.enter_context(eval_mode(model))
        stack.enter_context(preserve_rng_state(device))
        stack.enter_context(torch.no_grad())
        yield


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute on one thread of the CPU: sums are rounded in the order they are added, which threads change."""
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        yield
    finally:
        torch.set_num_threads(threads)
