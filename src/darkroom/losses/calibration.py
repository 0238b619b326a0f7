"""How far confidence and accuracy lie apart."""

import torch
from torch import Tensor

BINS = 15  # of Guo et al. 2017, arXiv 1706.04599
ALMOST_CERTAIN = 1 - 2**-24  # the largest float32 below 1


def expected_calibration_error(shares: Tensor, labels: Tensor) -> float:
    """Return the mean gap between confidence and accuracy over 15 equal bins of confidence (Guo et al. 2017, eq. 3).

    Shares ``(n, K)`` in [0, 1] whose rows sum to 1, labels int64 ``(n,)``.
    """
    from torchmetrics.functional.classification import multiclass_calibration_error

    # For torchmetrics a confidence of exactly 1 lies in a bin of its own, above the last.
    shares = shares.clamp(max=ALMOST_CERTAIN)
    return float(multiclass_calibration_error(shares, labels, num_classes=shares.shape[1], n_bins=BINS, norm="l1"))


def confidences(shares: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return how sure each name is, float32 in [0, 1), and whether it is right, bool, both ``(n,)``.

    Where shares are no numbers the confidence is 0.
    """
    sure, named = shares.clamp(max=ALMOST_CERTAIN).max(dim=1)
    return sure.float().nan_to_num(), named == labels


def brier_score(shares: Tensor, labels: Tensor) -> float:
    """Return the mean squared distance of the shares from certainty of the truth, 0 to 2 (Brier 1950, eq. 2)."""
    truth = torch.nn.functional.one_hot(labels, shares.shape[1]).to(shares.dtype)
    return float((shares - truth).square().sum(dim=1).mean())
