"""From the standard normal numbers that all families draw from to those that pick one code each."""

import torch
from torch import Tensor

from darkroom.errors import UserError


def to_uniform(latents: Tensor) -> Tensor:
    """Return standard normal numbers as uniform ones in [0, 1]."""
    numbers: Tensor = torch.special.ndtr(latents)
    return numbers


def drop_improbable(latents: Tensor, truncation: float) -> Tensor:
    """Return standard normal numbers that pick none of the least probable codes.

    Those kept have a probability of ``truncation`` together.

    Raises:
        UserError: a truncation above 1.
    """
    if truncation > 1:
        raise UserError(f"truncation={truncation:g} is more than all codes: give at most 1.")
    if truncation == 1:
        return latents
    kept: Tensor = torch.special.ndtri(truncation * torch.special.ndtr(latents.double()))
    return kept.to(latents)
