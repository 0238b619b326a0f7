"""What a network may state of itself, beside what it computes; none of it has to be.

- ``multiple``: what the sides of its pictures have to be multiples of (1);
- ``reach``: how many pixels around a place decide what becomes of it; None: all of them;
- ``plain``: whether it has no residual connections, so that its features can judge.
"""

from typing import Any, Protocol, runtime_checkable

from torch import Tensor, nn


@runtime_checkable
class Looks(Protocol):
    """Decides by all of a picture what to do to each part of it: its answer comes back as ``settings``."""

    def look(self, pictures: Tensor) -> Tensor:
        """Return what is to be done to pictures ``(B, C, H, W)``, ``(B, settings)``."""
        ...


@runtime_checkable
class Whitens(Protocol):
    """Sets its first layer by pictures, before it is trained."""

    def whiten(self, images: Tensor) -> None:
        """Set it."""
        ...


def stated(network: nn.Module | type[nn.Module] | None, name: str, otherwise: Any) -> Any:
    """Return what a network, or a class of networks, states by that name."""
    return getattr(network, name, otherwise)
