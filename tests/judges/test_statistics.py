import math

import numpy as np
import pytest
import torch

from darkroom.judges.statistics import Statistics, by_torch_fidelity, by_torchmetrics

LIBRARIES = [by_torchmetrics, by_torch_fidelity]
PLAIN = Statistics(kid_subsets=3, kid_subset_size=50, splits=1, seed=0)


def gaussian(count, mean, deviations, seed=0):
    """Samples whose mean and covariance are exact, not only expected."""
    x = torch.randn(count, len(mean), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    x = x - x.mean(dim=0)
    x = x @ torch.linalg.inv(torch.linalg.cholesky(x.T.cov())).T
    return x * torch.tensor(deviations, dtype=torch.float64) + torch.tensor(mean, dtype=torch.float64)


@pytest.fixture
def logits():
    return torch.randn(200, 10, generator=torch.Generator().manual_seed(1)) * 3


@pytest.mark.parametrize("library", LIBRARIES)
def test_fid_of_two_gaussians_has_a_closed_form(library, logits):
    a = gaussian(200, [0, 1, 2], [1, 2, 0.5], seed=1)
    b = gaussian(300, [1, 1, 0], [2, 2, 1.5], seed=2)
    expected = (1 + 0 + 4) + (1 + 0 + 1)  # |m1 - m2|² + sum (s1 - s2)², Dowson and Landau 1982
    assert library(a, b, logits, PLAIN)["fid"] == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("library", LIBRARIES)
def test_the_same_pictures_are_at_distance_zero(library, logits):
    x = torch.randn(200, 16, generator=torch.Generator().manual_seed(0))
    assert library(x, x, logits, PLAIN)["fid"] == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("splits", [1, 5])
def test_inception_score_of_unsure_and_of_sure_and_balanced(library, splits):
    x = torch.randn(200, 4, generator=torch.Generator().manual_seed(0))
    drawn = Statistics(kid_subsets=1, kid_subset_size=10, splits=splits, seed=0)
    assert library(x, x, torch.zeros(200, 10), drawn)["inception_score"] == pytest.approx(1)
    sure = torch.nn.functional.one_hot(torch.arange(200) % 10, 10) * 60.0
    whole = Statistics(kid_subsets=1, kid_subset_size=10, splits=1, seed=0)
    assert library(x, x, sure, whole)["inception_score"] == pytest.approx(10, rel=1e-6)


@pytest.mark.parametrize("library", LIBRARIES)
def test_kid_against_its_formula(library):
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(40, 5, generator=generator), torch.randn(40, 5, generator=generator) + 0.3

    def kernel(a, b):
        return (float(np.dot(a, b)) / 5 + 1) ** 3

    a, b = x.double().numpy(), y.double().numpy()
    within = sum(kernel(u[i], u[j]) for u in (a, b) for i in range(40) for j in range(40) if i != j) / (40 * 39)
    across = sum(kernel(p, q) for p in a for q in b) / 40**2
    whole = Statistics(kid_subsets=1, kid_subset_size=40, splits=1, seed=3)
    assert library(x, y, torch.zeros(40, 3), whole)["kid"] == pytest.approx(within - 2 * across, rel=1e-9)


@pytest.mark.parametrize("offset", [0.0, 1000.0])
@pytest.mark.parametrize("dead", [0, 3])
def test_both_libraries_agree(offset, dead, logits):
    # With a large offset, float32 sums would lose four digits; dead units make the covariance singular.
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(200, 16, generator=generator) + offset, 1.2 * torch.randn(250, 16, generator=generator) + offset
    x[:, :dead], y[:, :dead] = 0, 0
    drawn = Statistics(kid_subsets=4, kid_subset_size=60, splits=7, seed=5)
    one, other = by_torchmetrics(x, y, logits, drawn), by_torch_fidelity(x, y, logits, drawn)
    assert one.keys() == other.keys() == {"fid", "kid", "inception_score"}
    for name in ("fid", "inception_score"):
        assert one[name] == pytest.approx(other[name], rel=1e-6), name
    # At an offset the kernel is of the size of offset^6, of which KID is the tiny difference.
    kernel = (offset**2 + 1) ** 3
    assert one["kid"] == pytest.approx(other["kid"], rel=1e-6, abs=1e-12 * kernel)


@pytest.mark.parametrize("library", LIBRARIES)
def test_no_global_state_moves(library, logits, random_state):
    x = torch.randn(200, 8, generator=torch.Generator().manual_seed(0))
    before = random_state()
    first = library(x, x.flip(0) * 1.1, logits, PLAIN)
    assert random_state() == before
    torch.rand(5)
    np.random.rand(5)
    assert library(x, x.flip(0) * 1.1, logits, PLAIN) == first
    assert all(math.isfinite(value) for value in first.values())
