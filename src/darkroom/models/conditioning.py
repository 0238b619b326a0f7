"""What a picture is asked to show, on its way into the networks."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from darkroom.errors import UserError


def refuse_without_labels(conditioning: str | None, class_names: Sequence[str]) -> None:
    """Refuse to be told classes where there are none.

    Raises:
        UserError: conditioning on the classes of data without labels.
    """
    if conditioning == "class" and not class_names:
        raise UserError(
            "model.conditioning=class needs labels, and these data have none: use a folder with one subfolder a"
            " class, or type model.conditioning=none."
        )


class OneHot(nn.Module):
    """Class indices ``(B,)`` as vectors ``(B, classes)`` of one 1 and zeros."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.dim = classes

    def forward(self, labels: Tensor) -> Tensor:
        """Return the vectors, float32."""
        return F.one_hot(labels, self.dim).float()


class Conditioned(nn.Module):
    """A network with what translates the condition for it: class indices or caption tokens become vectors.

    Generator and discriminator each have a translator of their own, which learns from its owner's loss alone; the
    average of a generator has an averaged one.
    """

    network: Any  # a discriminator's parts are called by name

    def __init__(self, network: nn.Module, encoder: nn.Module | None) -> None:
        super().__init__()
        self.network, self.encoder = network, encoder

    def forward(self, inputs: Tensor, condition: Tensor | None) -> Tensor:
        """Return what the network makes of latents or images under a condition ``(B,)`` or ``(B, L)``, int64."""
        result: Tensor = self.network(inputs, self.vectors(condition))
        return result

    def vectors(self, condition: Tensor | None) -> Tensor | None:
        """Return the condition as vectors ``(B, dim)``; None when there is none."""
        if self.encoder is None or condition is None:
            return None
        vectors: Tensor = self.encoder(condition)
        return vectors


def contrastive_loss(logits: Tensor, conditions: Tensor, first: int = 0) -> Tensor:
    """Return how badly a batch's conditions are told from each other by its pictures, in nats; 0 is perfect.

    The cross-entropy of the logits ``(B, K)`` of each picture under all conditions ``(K,)`` or ``(K, L)``, of which the
    pictures' own are those from position ``first`` on (van den Oord et al. 2018, eq. 4; Zhang et al. 2021, XMC-GAN, eq.
    6). A condition that others share is not held against them.
    """
    flat = conditions.flatten(1) if conditions.ndim > 1 else conditions[:, None]
    own = torch.arange(first, first + len(logits), device=logits.device)
    alike = (flat[own][:, None] == flat[None]).all(dim=2)
    alike[own - first, own] = False
    return F.cross_entropy(logits.float().masked_fill(alike, -torch.inf), own)


def near_misses(captions: Tensor, numbers: Tensor) -> Tensor:
    """Return each caption with one word changed, ``(B * K, L)``, for captions ``(B, L)`` of words numbered from 1.

    The word that stands in the same place of another caption of the same length, so that most of them make sense: "a
    small red circle" becomes "a small blue circle" or "a small red ring". ``numbers`` ``(B, K, 2)``, uniform in [0, 1),
    choose the other caption and the place. A caption that has no other of its length stays as it is.
    """
    count, misses, _ = numbers.shape
    lengths = (captions > 0).sum(dim=1)
    others = (captions[:, None] != captions[None]).any(dim=2) & (lengths[:, None] == lengths)
    others.diagonal().copy_(~others.any(dim=1))
    own = torch.arange(count, device=captions.device).repeat_interleave(misses)
    words = captions[_chosen(others[own], numbers[..., 0])]
    places = _chosen(captions[own] != words, numbers[..., 1])[:, None]
    return captions[own].scatter(1, places, words.gather(1, places))


def _chosen(allowed: Tensor, numbers: Tensor) -> Tensor:
    """Return one allowed column of each row, all with equal chances; of a row that allows none, the first."""
    ranks = allowed.cumsum(dim=1)
    wanted = (numbers.reshape(-1, 1) * ranks[:, -1:]).floor() + 1
    return ((ranks == wanted) & allowed).to(torch.uint8).argmax(dim=1)
