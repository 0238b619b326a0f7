"""How a number came about, and whether two numbers came about in the same way."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from darkroom.data.contract import Data
    from darkroom.models.abilities import Located

Protocol = dict[str, str | int | float | bool]

# Written down so that a number can be made again and read rightly, but no reason not to rank: the two libraries agree
# to 1e-6 of a score, the oracle beside it has as many pictures as there are to train on, and the number of pictures
# whose neighbours are counted follows from two others. Where latents come from is part of a model, and the bound of
# many draws is not what runs are ranked by. A temperature and further views change no accuracy; what they do change has
# a name of its own.
NOTED = frozenset(
    {
        "library",
        "torch",
        "torchmetrics",
        "torch_fidelity",
        "oracle_images",
        "neighbourhood_images",
        "calibrated",
        "views",
        "sampler",
        "nll_samples",
        "nll_images",
    }
)


def noted(entry: str) -> bool:
    """Say whether an entry is no reason not to rank: one of these, or of a further metric, ``likelihood.images``."""
    return entry in NOTED or "." in entry


def of_pictures(data: "Data", split: str, count: int, model: "Located") -> Protocol:
    """Return what is to be said wherever a model is scored on the first ``count`` held-out pictures themselves."""
    return {
        "data": data.name,
        "data_digest": data.split_digests[split],
        "split": split,
        "real_images": count,
        "image_size": "x".join(map(str, data.image_shape)),
        "averaged_weights": model.averaged,
    }


def digest(protocol: Mapping[str, object]) -> str:
    """Return sixteen hex characters that are the same for two numbers exactly when they may be ranked."""
    from darkroom import digests

    return digests.of_mapping({key: value for key, value in protocol.items() if not noted(key)})[:16]


def differences(a: Mapping[str, object], b: Mapping[str, object]) -> list[str]:
    """Return one sentence for everything that keeps two numbers from being ranked; none if they may be."""
    sentences = []
    for key in sorted(key for key in a.keys() | b.keys() if not noted(key)):
        first, second = a.get(key), b.get(key)
        if first != second:
            name = key.replace("_", " ")
            if first is None or second is None:
                sentences.append(
                    f"{name} is {_said(second if first is None else first)} in one and not stated in the other"
                )
            else:
                sentences.append(f"{name} is {_said(first)} in one and {_said(second)} in the other")
    return sentences


def _said(value: object) -> str:
    # Whole digests tell a reader nothing that their first twelve characters do not.
    text = str(value)
    is_digest = len(text) >= 32 and all(character in "0123456789abcdef" for character in text)
    return f"{text[:12]}…" if is_digest else text
