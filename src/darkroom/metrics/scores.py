"""What a metric returns."""

from dataclasses import dataclass, field

import numpy as np

from darkroom.errors import UserError
from darkroom.metrics import protocol as protocols


@dataclass(frozen=True)
class Scores:
    """Numbers with their protocol.

        scores.values["fid"], scores.protocol["real_images"], scores.protocol_digest

    ``pictures`` are uint8 ``(H, W, C)`` arrays by name, ``animations`` uint8 ``(T, H, W, C)`` arrays.
    """

    values: dict[str, float]
    protocol: protocols.Protocol = field(default_factory=dict)
    pictures: dict[str, np.ndarray] = field(default_factory=dict)
    animations: dict[str, np.ndarray] = field(default_factory=dict)

    @property
    def protocol_digest(self) -> str:
        """Numbers may be ranked exactly when this is the same."""
        return protocols.digest(self.protocol)


def refuse_none(**numbers: int) -> None:
    """Raise `UserError` for settings of a metric that are numbers of pictures, and less than one."""
    for name, number in numbers.items():
        if number < 1:
            raise UserError(f"metrics.{name}={number} is too small: give 1 or more")
