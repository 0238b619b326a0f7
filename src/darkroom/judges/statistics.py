"""FID, KID and Inception Score from features and logits, by either of two libraries that must agree.

`by_torchmetrics` is used while training, `by_torch_fidelity` for the numbers that are reported; a test holds them to
1e-6 of each other. Both are given float64 rows, so neither loses digits: torch-fidelity would average float32 features
in float32, torchmetrics would return a float32 FID. Both draw the same KID subsets and the same splits of the Inception
Score; neither touches the global random state or keeps anything between calls.

Sources: Heusel et al. 2017, arXiv 1706.08500 (FID); Bińkowski et al. 2018, arXiv 1801.01401 (KID, polynomial kernel of
degree 3); Salimans et al. 2016, arXiv 1606.03498 (Inception Score).
"""

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from darkroom.isolation import preserve_rng_state


@dataclass(frozen=True)
class Statistics:
    """How the statistics are drawn; part of every protocol."""

    kid_subsets: int
    kid_subset_size: int  # at most the number of pictures on either side
    splits: int  # of the Inception Score; its mean over splits is reported
    seed: int


Library = Callable[[Tensor, Tensor, Tensor, Statistics], dict[str, float]]


def by_torchmetrics(generated: Tensor, real: Tensor, logits: Tensor, statistics: Statistics) -> dict[str, float]:
    """Return ``fid``, ``kid`` and ``inception_score`` of generated features ``(n, d)`` and logits ``(n, K)``."""
    from torchmetrics.image.inception import InceptionScore
    from torchmetrics.image.kid import poly_mmd

    generated, real, logits = generated.double(), real.double(), logits.double()
    with preserve_rng_state(), warnings.catch_warnings():
        torch.default_generator.manual_seed(statistics.seed)  # InceptionScore shuffles: its last digit would vary
        # InceptionScore warns that it keeps its input (small here) and that one split has no deviation (not read).
        warnings.simplefilter("ignore", UserWarning)
        # Its KernelInceptionDistance draws subsets from the global generator: others at every call, others on every
        # rank, and other random numbers for the training that goes on afterwards. So the subsets are drawn here.
        distances = [
            poly_mmd(real[right], generated[left]).item()
            for left, right in _subsets(len(generated), len(real), statistics)
        ]

        scores = []
        for rows in _splits(len(logits), statistics):
            # Only the first process of several scores: waiting for the others would be for ever.
            inception_score = InceptionScore(feature=_Rows(logits.shape[1]), splits=1, sync_on_compute=False)
            inception_score.update(logits[rows])
            scores.append(inception_score.compute()[0].item())
        return {
            "fid": frechet(generated, real),
            "kid": float(np.mean(distances)),
            "inception_score": float(np.mean(scores)),
        }


def frechet(generated: Tensor, real: Tensor) -> float:
    """Return the FID of generated features ``(n, d)``, by torchmetrics."""
    from torchmetrics.image.fid import FrechetInceptionDistance

    distance = FrechetInceptionDistance(feature=_Rows(generated.shape[1]), sync_on_compute=False)
    distance.update(real.double(), real=True)
    distance.update(generated.double(), real=False)
    return float(distance.compute())


def by_torch_fidelity(generated: Tensor, real: Tensor, logits: Tensor, statistics: Statistics) -> dict[str, float]:
    """Return ``fid``, ``kid`` and ``inception_score`` of generated features ``(n, d)`` and logits ``(n, K)``."""
    from torch_fidelity import calculate_metrics

    fixed: dict[str, Any] = {
        "feature_extractor": _registered_rows(),
        "cuda": False,  # the default is True and fails without one; the rows are on the CPU already
        "save_cpu_ram": True,  # its only other effect: no worker processes to pass rows around
        "cache": False,  # its cache knows results by name alone and returns stale ones
        "batch_size": 1024,
        "rng_seed": statistics.seed,
        "verbose": False,
    }
    with preserve_rng_state():  # its DataLoader draws a seed from the global generator
        distances = calculate_metrics(
            input1=_RowSet(generated.double()),
            input2=_RowSet(real.double()),
            fid=True,
            kid=True,
            kid_subsets=statistics.kid_subsets,
            kid_subset_size=statistics.kid_subset_size,
            **fixed,
        )
        scores = calculate_metrics(input1=_RowSet(logits.double()), isc=True, isc_splits=statistics.splits, **fixed)
    return {
        "fid": distances["frechet_inception_distance"],
        "kid": distances["kernel_inception_distance_mean"],
        "inception_score": scores["inception_score_mean"],
    }


def _subsets(left: int, right: int, statistics: Statistics) -> "list[tuple[np.ndarray, np.ndarray]]":
    """Return the pairs of KID subsets that torch-fidelity draws with this seed."""
    generator = np.random.RandomState(statistics.seed)
    size = statistics.kid_subset_size
    return [
        (generator.choice(left, size, replace=False), generator.choice(right, size, replace=False))
        for _ in range(statistics.kid_subsets)
    ]


def _splits(count: int, statistics: Statistics) -> list[np.ndarray]:
    """Return the parts over which torch-fidelity averages the Inception Score with this seed."""
    order = np.random.RandomState(statistics.seed).permutation(count)
    return [
        order[part * count // statistics.splits : (part + 1) * count // statistics.splits]
        for part in range(statistics.splits)
    ]


class _Rows(nn.Module):
    """The feature extractor for what is features already."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features

    def forward(self, rows: Tensor) -> Tensor:
        return rows


class _RowSet(Dataset[Tensor]):
    def __init__(self, rows: Tensor) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Tensor:
        return self.rows[index]


def _registered_rows() -> str:
    """Return the name under which torch-fidelity knows an extractor that passes rows through."""
    from torch_fidelity.feature_extractor_base import FeatureExtractorBase
    from torch_fidelity.registry import FEATURE_EXTRACTORS_REGISTRY, register_feature_extractor

    name = "darkroom-rows"
    if name not in FEATURE_EXTRACTORS_REGISTRY:  # a name can be registered once in a process

        class PassedRows(FeatureExtractorBase):  # type: ignore[misc]
            def __init__(self, name: str, features_list: list[str], **_: Any) -> None:
                super().__init__(name, features_list)

            @staticmethod
            def get_provided_features_list() -> tuple[str, ...]:
                return ("rows",)

            @staticmethod
            def get_default_feature_layer_for_metric(metric: str) -> str:
                return "rows"

            @staticmethod
            def can_be_compiled() -> bool:
                return False

            @staticmethod
            def get_dummy_input_for_compile() -> Tensor:
                return torch.zeros(1, 1)

            def forward(self, rows: Tensor) -> tuple[Tensor]:
                return (rows,)

        register_feature_extractor(name, PassedRows)
    return name


def evenness(shares: Tensor) -> float:
    """Return the entropy of the shares of classes, ``(K,)``, as a part of its maximum; 1: all equally often."""
    return (torch.special.entr(shares).sum() / math.log(len(shares))).item() if len(shares) > 1 else 1.0
