"""What a metric returns."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from darkroom import baselines
from darkroom.baselines import References
from darkroom.metrics import protocol as protocols


@dataclass(frozen=True)
class Scores:
    """Numbers with their protocol, and what stands beside them.

        scores.values["fid"], scores.protocol["real_images"], scores.protocol_digest
        scores.references["fid_noise"]          # Reference(metric="fid", row="noise")

    ``references`` are of the values that are not the model's own: oracles, baselines, single classes.
    ``pictures`` are uint8 ``(H, W, C)`` arrays by name, ``animations`` uint8 ``(T, H, W, C)`` arrays.
    """

    values: dict[str, float]
    protocol: protocols.Protocol = field(default_factory=dict)
    pictures: dict[str, np.ndarray] = field(default_factory=dict)
    animations: dict[str, np.ndarray] = field(default_factory=dict)
    references: References = field(default_factory=dict)

    @property
    def protocol_digest(self) -> str:
        """Numbers may be ranked exactly when this is the same."""
        return protocols.digest(self.protocol)

    @property
    def own(self) -> dict[str, float]:
        """The model's own numbers, of all classes together."""
        return baselines.own(self.values, self.references)

    def __or__(self, other: "Scores") -> "Scores":
        """Return both; what both say is as the other says."""
        return Scores(
            self.values | other.values,
            self.protocol | other.protocol,
            self.pictures | other.pictures,
            self.animations | other.animations,
            self.references | other.references,
        )

    def written(self) -> dict[str, Any]:
        """Return all but pictures as it stands in JSON."""
        references = baselines.written(self.references)
        return {"values": self.values, "protocol": self.protocol, "references": references}

    @classmethod
    def read(cls, content: Mapping[str, Any]) -> "Scores":
        """Return scores from JSON; older ones recorded no references, which are guessed from names."""
        said = content.get("references")
        references = baselines.guessed(content["values"]) if said is None else baselines.read(said)
        return cls(dict(content["values"]), dict(content["protocol"]), references=references)
