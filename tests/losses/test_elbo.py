import pytest
import scipy.stats
import torch

from darkroom.losses.elbo import capped, kl_from_standard_normal, log_normal, with_free_bits


def test_the_divergence_is_that_of_numerical_integration():
    means, log_variances = torch.tensor([0.0, 1.5, -0.3]).double(), torch.tensor([0.0, -1.0, 0.7]).double()
    places = torch.linspace(-15, 15, 60_001, dtype=torch.float64)[:, None]
    q = log_normal(places, means, log_variances)
    p = torch.from_numpy(scipy.stats.norm.logpdf(places.numpy()))
    expected = torch.trapezoid(q.exp() * (q - p), places, dim=0)
    torch.testing.assert_close(kl_from_standard_normal(means, log_variances), expected, rtol=0, atol=1e-8)


def test_log_normal_is_scipys():
    values = torch.linspace(-2, 2, 5).double()
    expected = scipy.stats.norm.logpdf(values.numpy(), 0.3, 2.0)
    found = log_normal(values, torch.tensor(0.3).double(), torch.tensor(4.0).double().log())
    torch.testing.assert_close(found, torch.from_numpy(expected))


def test_free_bits_cost_nothing_and_pull_at_nothing():
    costs = torch.tensor([0.05, 0.5], requires_grad=True)
    total = with_free_bits(costs, costs, free=0.1)
    assert total.item() == pytest.approx(0.6)
    assert torch.autograd.grad(total, costs)[0].tolist() == [0.0, 1.0]


def test_free_bits_are_decided_by_all_processes_together():
    here = torch.tensor([0.05], requires_grad=True)
    total = with_free_bits(here, torch.tensor([0.2]), free=0.1)  # the others are above
    assert torch.autograd.grad(total, here)[0].tolist() == [1.0]


@pytest.mark.parametrize(("rate", "slope"), [(3.0, -1.0), (8.0, 1.0)])
def test_a_capacity_draws_the_rate_from_both_sides(rate, slope):
    given = torch.tensor(rate, requires_grad=True)
    distance = capped(given, given, capacity=5.0)
    assert distance.item() == abs(rate - 5)
    assert torch.autograd.grad(distance, given)[0].item() == slope
