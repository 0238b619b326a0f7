"""What a model says of a picture, in a form that can be traced back to the picture's pixels."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor, nn

from darkroom.isolation import eval_mode


@dataclass(frozen=True)
class Explainable:
    """Some outputs of a network, named, with the maps on the way to them.

    ``outputs(images)`` are logits ``(B, K)`` for images ``(B, C, H, W)`` in [-1, 1], and ``outputs(images, targets)``
    those ``(B,)`` of one output a picture, which may be much cheaper. ``exclusive`` outputs are alternatives of which
    one holds (softmax); others are each true or not (sigmoid). ``layers`` are the modules that make the last maps of
    each size, named by the size, in the order in which they are computed. ``true_labels`` says that the label of a
    picture is the output to ask about, rather than the output that is largest.
    """

    name: str
    outputs: nn.Module
    output_names: list[str]
    layers: dict[str, nn.Module]
    exclusive: bool = True
    true_labels: bool = False

    @classmethod
    def of(
        cls,
        name: str,
        outputs: nn.Module,
        output_names: Sequence[str],
        image_shape: Sequence[int],
        exclusive: bool = True,
        true_labels: bool = False,
    ) -> Self:
        """Return the explainable outputs of any network, whose maps are found by running one picture through it."""
        sizes = map_layers(outputs, image_shape)
        layers = {f"{height}x{width}": module for (height, width), module in sizes.items()}
        return cls(name, outputs, list(output_names), layers, exclusive, true_labels)

    def ready(self) -> Self:
        """Return a copy to take apart: in evaluation mode, float32, without gradients of weights.

        No operation works in place, which would overwrite the maps that are looked at. The model itself stays as it is.
        """
        outputs, layers = copy.deepcopy((self.outputs, self.layers))
        outputs.eval().float().requires_grad_(False)
        for module in outputs.modules():
            if "inplace" in vars(module):  # a flag of activations and dropouts
                module.inplace = False  # type: ignore[assignment]
        return replace(self, outputs=outputs, layers=layers)

    def probabilities(self, images: Tensor, targets: Tensor | None = None) -> Tensor:
        """Return the probability of every output, ``(B, K)``, or that of the target of each picture, ``(B,)``."""
        if not self.exclusive:
            found: Tensor = self.outputs(images, targets).sigmoid()
            return found
        shares: Tensor = self.outputs(images).softmax(dim=1)
        return shares if targets is None else shares.gather(1, targets[:, None]).squeeze(1)


class Alternatives(nn.Module):
    """A network with one logit a class, divided by a temperature."""

    temperature: Tensor

    def __init__(self, network: nn.Module, temperature: Tensor) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("temperature", temperature)

    def forward(self, images: Tensor, targets: Tensor | None = None) -> Tensor:
        """Return the logits of all classes, ``(B, K)``, or of the target of each picture, ``(B,)``."""
        logits: Tensor = self.network(images) / self.temperature
        return logits if targets is None else logits.gather(1, targets[:, None]).squeeze(1)


@torch.no_grad()
def map_layers(outputs: nn.Module, image_shape: Sequence[int]) -> dict[tuple[int, int], nn.Module]:
    """Return the module that is the last to make maps of each size, by ``(height, width)``, in order of computation.

    The last one is after the activation and after what a residual block adds. A module that works at several places is
    passed over, since its maps could not be told apart; so are maps of a single pixel, and what only pads.
    """
    made: list[tuple[nn.Module, tuple[int, int]]] = []

    def remember(module: nn.Module, inputs: object, output: object) -> None:
        if isinstance(output, Tensor) and output.ndim == 4 and output.shape[2] * output.shape[3] > 1:
            made.append((module, (output.shape[2], output.shape[3])))

    looking = [part for part in outputs.modules() if part is not outputs and not isinstance(part, nn.ZeroPad2d)]
    hooks = [module.register_forward_hook(remember) for module in looking]
    start = next(iter([*outputs.parameters(), *outputs.buffers()]), torch.zeros(()))
    try:
        images = torch.zeros(1, *image_shape, device=start.device, dtype=start.dtype)
        with eval_mode(outputs):
            outputs(images, torch.zeros(1, dtype=torch.int64, device=start.device))
    finally:
        for hook in hooks:
            hook.remove()
    modules = [module for module, _ in made]
    found: dict[tuple[int, int], nn.Module] = {}
    for module, size in made:
        if modules.count(module) == 1:
            found.pop(size, None)  # so that the order is that of the last map of each size
            found[size] = module
    return found
