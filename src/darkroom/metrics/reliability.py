"""How often a classifier is right when it is so and so sure."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from darkroom.losses.calibration import BINS, confidences


@dataclass(frozen=True)
class Reliability:
    """Pictures in equal bins of confidence, the lower edge belonging to its bin.

    ``counts`` are pictures, ``right`` those named right, ``sure`` the sum of their confidences: arrays ``(bins,)``.
    """

    counts: np.ndarray
    right: np.ndarray
    sure: np.ndarray

    @classmethod
    def of(cls, shares: Tensor, labels: Tensor) -> "Reliability":
        """Sort pictures by the largest of their class shares ``(n, K)``."""
        sure, right = confidences(shares, labels)
        bins = torch.bucketize(sure, torch.linspace(0, 1, BINS + 1), right=True) - 1
        weights = (None, right.double(), sure.double())
        counts, hits, sums = (torch.bincount(bins, weights=weight, minlength=BINS).numpy() for weight in weights)
        return cls(counts, hits.astype(np.int64), sums)

    @property
    def accuracy(self) -> np.ndarray:
        """The share named right in each bin; nan where a bin is empty."""
        return self._each(self.right)

    @property
    def confidence(self) -> np.ndarray:
        """The mean confidence in each bin; nan where a bin is empty."""
        return self._each(self.sure)

    @property
    def error(self) -> float:
        """The expected calibration error: the mean over pictures of the gap in their bin."""
        return float(np.abs(self.right - self.sure).sum() / self.counts.sum())

    def _each(self, sums: np.ndarray) -> np.ndarray:
        return np.where(self.counts > 0, sums / np.maximum(self.counts, 1), np.nan)
