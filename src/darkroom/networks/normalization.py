"""What holds activations or weights in bounds."""

from typing import Literal, TypeVar, get_args

from torch import Tensor, nn
from torch.nn.utils import parametrizations

from darkroom.errors import UserError

OfMaps = Literal["none", "batch"]
OfWeights = Literal["none", "spectral"]
OfEither = Literal["none", "batch", "spectral"]

Layer = TypeVar("Layer", nn.Linear, nn.Conv2d)


def refuse_unknown(kind: str, kinds: object, network: str) -> None:
    """Raise `UserError` for a kind of normalisation that is not among a network's ``kinds``, a Literal."""
    known = get_args(kinds)
    if kind not in known:
        raise UserError(f"normalization={kind} is nothing {network} knows: give {' or '.join(known)}.")


def of_maps(kind: str, channels: int) -> nn.Module:
    """Return batch normalisation of maps ``(B, C, H, W)`` or vectors ``(B, C)``, or what lets them pass."""
    return BatchNorm(channels) if kind == "batch" else nn.Identity()


def of_weights(kind: str, layer: Layer) -> Layer:
    """Return the layer, its weights divided by their largest singular value where that is asked for.

    Miyato et al. 2018, eq. 8: convolutions count as matrices of outputs by inputs and pixels, and the singular value is
    followed by one step of power iteration at each use in training.
    """
    if kind == "spectral":
        parametrizations.spectral_norm(layer)
    return layer


class BatchNorm(nn.modules.batchnorm._BatchNorm):
    """Batch normalisation of maps and of vectors alike."""

    def _check_input_dim(self, input: Tensor) -> None:
        pass
