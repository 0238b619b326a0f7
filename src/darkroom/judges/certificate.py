"""What is known of whether a judge sees damage, and the more of it the more there is; see `certifying`."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

LEAST = 0.95  # Spearman's correlation

# By kind, what the strengths count and the strengths.
STRENGTHS: dict[str, tuple[str, tuple[float, ...]]] = {
    "blur": ("deviation of a Gaussian, as a share of the shorter side", (0.02, 0.03, 0.04, 0.055, 0.075, 0.1)),
    "noise": ("deviation of Gaussian noise, as a share of black to white", (0.02, 0.04, 0.08, 0.16, 0.32, 0.64)),
    "jpeg": ("JPEG quality, each step about doubling what is rounded away", (90, 80, 60, 31, 16, 8)),
    "occlusion": ("side of a grey square, as a share of the shorter side", (0.1, 0.2, 0.3, 0.45, 0.6, 0.8)),
}


@dataclass(frozen=True)
class Ranking:
    """How a judge sees one kind of damage; lists go with the strengths, from the weakest to the strongest."""

    unit: str
    strengths: list[float]
    distances: list[float]  # mean over pictures, over all layers
    low: list[float]  # a tenth of the pictures are nearer
    high: list[float]  # a tenth are further away
    spearman: float  # mean over pictures
    ranked: float  # the share of pictures whose own correlation is at least LEAST
    feature_distances: list[float]  # mean over pictures, of the features alone
    feature_spearman: float  # mean over pictures
    mean_feature_spearman: float  # of feature_distances
    fids: list[float]  # of the damaged pictures against the same pictures as they are
    chance: float = 0.0  # a fall of FID that means nothing

    @property
    def failures(self) -> list[str]:
        """What is wrong, in the words of a sentence; empty when nothing is."""
        found = []
        if not self.spearman >= LEAST:
            found.append(f"distance ranks its strengths with a correlation of {self.spearman:.3f} only")
        if not self.mean_feature_spearman >= LEAST:
            found.append(f"mean feature distance ranks them with {self.mean_feature_spearman:.3f} only")
        rises = all(after > before - self.chance for before, after in pairwise(self.fids))
        if not (rises and self.fids[-1] > self.fids[0]):
            found.append("FID does not rise with every step")
        return found


@dataclass(frozen=True)
class Certificate:
    """What was seen when a judge was put to the test, and on which pictures."""

    data: str
    split: str
    split_digest: str
    images: int
    seed: int
    rankings: dict[str, Ranking]

    @property
    def passed(self) -> bool:
        """Whether every kind of damage is seen for what it is."""
        return set(self.rankings) == set(STRENGTHS) and not any(r.failures for r in self.rankings.values())

    @property
    def reasons(self) -> str:
        """Why it failed, in the words of a sentence."""
        return "; ".join(f"{kind}: {', '.join(r.failures)}" for kind, r in self.rankings.items() if r.failures)

    def to_dict(self) -> dict[str, Any]:
        """Return plain containers, the verdict with them."""
        return asdict(self) | {"passed": self.passed}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> "Certificate":
        """Read back what `to_dict` returned; the verdict follows from the numbers and is not believed."""
        facts = {key: value for key, value in stored.items() if key != "passed"}
        return cls(**facts | {"rankings": {kind: Ranking(**ranking) for kind, ranking in facts["rankings"].items()}})
