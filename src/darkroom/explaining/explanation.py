"""What a model says of some pictures, and where in them it says that it comes from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from darkroom.errors import UserError, did_you_mean
from darkroom.explaining.attribution import Method, attribute
from darkroom.models.explainable import Explainable


@dataclass(frozen=True)
class Explanation:
    """Pictures with their captions, and a map of each for every method.

    ``images`` are ``(B, C, H, W)`` in [-1, 1]; ``captions`` have one line or two; ``maps`` are ``(B, H, W)``, positive
    where a pixel speaks for the output in question. ``about`` says in words what was asked.
    """

    images: Tensor
    captions: list[str]
    maps: dict[str, Tensor]
    about: str


def explain(
    explainable: Explainable,
    methods: Mapping[str, Method],
    images: Tensor,
    targets: Tensor,
    origins: Sequence[str],
) -> Explanation:
    """Ask every method why the probabilities of ``targets`` are what they are.

    ``explainable`` is ``ready``. ``origins`` say of each picture what it is: its true class, or its file.
    """
    maps = {name: attribute(method, explainable, images, targets) for name, method in methods.items()}
    with torch.no_grad():
        shares = explainable.probabilities(images, targets)
    captions = [
        f"{origin}\n{explainable.output_names[target]}: {_percent(share)}"
        for origin, target, share in zip(origins, targets.tolist(), shares.tolist(), strict=True)
    ]
    return Explanation(images.cpu(), captions, maps, "what the second line says")


@torch.no_grad()
def targets_of(explainable: Explainable, images: Tensor, labels: Tensor | None, target: str | None) -> Tensor:
    """Return which output of each picture to explain, int64 ``(B,)``: ``target`` by name or number, or the usual one.

    That is the one that the model names, or, where the outputs presuppose a class, the picture's own.

    Raises:
        UserError: there is no such output.
    """
    if target is not None:
        return torch.full((len(images),), output(explainable, target), device=images.device)
    if explainable.true_labels and labels is not None:
        return labels.to(images.device)
    return explainable.probabilities(images).argmax(dim=1)


def output(explainable: Explainable, target: str) -> int:
    """Return the number of an output given by name or number; of outputs that bear a number, by that: ``latent 3``.

    Raises:
        UserError: there is no such output.
    """
    names = explainable.output_names
    full = f"{explainable.name} {target}"
    numbered = all(name.startswith(f"{explainable.name} ") for name in names)
    for known in (target, full) if numbered else (target,):
        if known in names:
            return names.index(known)
    if not numbered and target.isdecimal() and int(target) < len(names):
        return int(target)
    listed = ", ".join(names[:20]) + (", …" if len(names) > 20 else "")
    raise UserError(
        f"target={target}: this model has no such {explainable.name}{did_you_mean(target, names)}; {listed}."
    )


def in_turn(labels: Tensor | None, total: int, count: int) -> Tensor:
    """Return the numbers of the first ``count`` pictures, the classes taking turns; in order where there are none."""
    if labels is None:
        return torch.arange(min(count, total))
    rounds = torch.zeros(total, dtype=torch.int64)
    for label in torch.unique(labels):
        of_class = labels == label
        rounds[of_class] = torch.arange(int(of_class.sum()))
    classes = int(labels.max()) + 1
    return (rounds * classes + labels).argsort(stable=True)[:count]


def _percent(share: float) -> str:
    """Return a probability as people read it: never 100% for what is not certain."""
    return f"{min(share, 0.999):.1%}" if share < 0.9995 else ">99.9%"
