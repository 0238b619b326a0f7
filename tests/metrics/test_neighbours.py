import subprocess
import sys

import pytest
import torch

from darkroom.metrics import neighbours
from darkroom.metrics.neighbours import compare, manifold


def normal(count, dim, seed):
    return torch.randn(count, dim, generator=torch.Generator().manual_seed(seed))


def scores(generated, real, k=3, density=5):
    return compare(manifold(generated, k, density), manifold(real, k, density), density)


def brute_force(generated, real, k, density):
    """The definitions, one distance at a time."""
    distance = lambda a, b: float(torch.linalg.vector_norm(a.double() - b.double()))  # noqa: E731

    def radii(points, neighbour):
        return [sorted(distance(p, q) for q in points)[neighbour] for p in points]

    generated_k, real_k, real_d = radii(generated, k), radii(real, k), radii(real, density)
    cross = [[distance(g, r) for r in real] for g in generated]
    count, others = len(generated), len(real)
    return {
        "precision": sum(any(cross[i][j] <= real_k[j] for j in range(others)) for i in range(count)) / count,
        "recall": sum(any(cross[i][j] <= generated_k[i] for i in range(count)) for j in range(others)) / others,
        "density": sum(cross[i][j] <= real_d[j] for i in range(count) for j in range(others)) / (density * count),
        "coverage": sum(any(cross[i][j] <= real_d[j] for i in range(count)) for j in range(others)) / others,
    }


@pytest.mark.parametrize(("k", "density"), [(3, 5), (1, 2), (6, 4)])
def test_definitions(k, density):
    generated, real = normal(40, 4, 0) * 1.3 + 0.4, normal(55, 4, 1)
    assert scores(generated, real, k, density) == pytest.approx(brute_force(generated, real, k, density))


def test_blocks_make_no_difference(monkeypatch):
    generated, real = normal(90, 6, 0) + 0.5, normal(70, 6, 1)
    whole = scores(generated, real)
    monkeypatch.setattr(neighbours, "CELLS", 500)
    assert scores(generated, real) == whole


def test_agrees_with_torch_fidelity():
    from torch_fidelity.metric_prc import prc_features_to_metric

    generated, real = normal(300, 8, 0) * 0.8 + 0.3, normal(400, 8, 1)
    theirs = prc_features_to_metric(generated.double(), real.double(), prc_neighborhood=3, verbose=False)
    ours = scores(generated, real)
    assert ours["precision"] == pytest.approx(theirs["precision"], rel=1e-6)
    assert ours["recall"] == pytest.approx(theirs["recall"], rel=1e-6)
    assert 0.1 < ours["recall"] < ours["precision"] < 1  # else the agreement would say little


def test_identical_sets():
    x = normal(100, 8, 0)
    found = scores(x, x.clone())
    assert (found["precision"], found["recall"], found["coverage"]) == (1, 1, 1)


def test_copies_of_one_picture_are_at_no_distance():
    # Rounding in |x|² + |y|² - 2xy must not decide whether a copy lies in a ball of radius 0.
    x = (normal(1, 64, 0) * 30 + 7).repeat(50, 1)
    assert scores(x, x.clone()) == {"precision": 1, "recall": 1, "density": 10, "coverage": 1}


def test_a_dropped_mode_costs_recall_and_coverage_only():
    left, right = normal(200, 4, 0) - 20, normal(200, 4, 1) + 20
    real = torch.cat([left, right])
    full = scores(torch.cat([normal(200, 4, 2) - 20, normal(200, 4, 3) + 20]), real)
    dropped = scores(torch.cat([normal(200, 4, 2) - 20, normal(200, 4, 4) - 20]), real)
    assert dropped["precision"] == pytest.approx(full["precision"], abs=0.02)
    assert dropped["recall"] == pytest.approx(full["recall"] / 2, abs=0.03)
    assert dropped["coverage"] == pytest.approx(full["coverage"] / 2, abs=0.08)


@pytest.mark.slow
def test_memory_is_bounded():
    program = """
import resource, torch
from darkroom.metrics.neighbours import compare, manifold
x, y = torch.randn(10_000, 64), torch.randn(10_000, 64)
compare(manifold(x[:100]), manifold(y[:100]))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
compare(manifold(x), manifold(y))
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 150  # MiB; all distances at once would be 800
