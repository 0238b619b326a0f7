import pytest
import torch

from darkroom.losses.elbo import kl_from_standard_normal
from darkroom.metrics.latents import Facts, draw_latents


def posteriors(count=4000, seed=0):
    """Three latents: one that tells, one that is the prior, one whose posteriors sit at 2."""
    generator = torch.Generator().manual_seed(seed)
    means = torch.zeros(count, 3)
    means[:, 0] = 0.8 * torch.randn(count, generator=generator)
    means[:, 2] = 2.0
    log_variances = torch.zeros(count, 3)
    log_variances[:, 0] = torch.log(torch.tensor(0.36))  # 0.64 + 0.36: together they are the prior
    return means, log_variances


def test_latents_that_move_are_in_use():
    facts = Facts.of(*posteriors())
    assert facts.active.tolist() == [True, False, False]
    assert facts.numbers()["active_units"] == 1
    assert facts.numbers()["active_share"] == pytest.approx(1 / 3)


def test_rates_are_mean_divergences():
    means, log_variances = posteriors()
    expected = kl_from_standard_normal(means, log_variances).double().mean(dim=0)
    torch.testing.assert_close(Facts.of(means, log_variances).rates, expected, rtol=1e-5, atol=1e-6)


def test_the_gap_is_that_of_all_posteriors_together():
    facts = Facts.of(*posteriors())
    torch.testing.assert_close(facts.gap, torch.tensor([0.0, 0.0, 2.0]).double(), rtol=0, atol=0.02)
    # What a normal channel of signal 0.64 and noise 0.36 tells: half the log of 1 / 0.36.
    assert facts.information == pytest.approx(0.5 * torch.tensor(1 / 0.36).log().item(), abs=0.03)


def test_latents_that_go_together_are_seen():
    means, log_variances = posteriors()
    assert Facts.of(means, log_variances).correlation < 0.1
    means[:, 1] = means[:, 0]
    log_variances[:, :2] = -9.0
    assert Facts.of(means, log_variances).correlation > 0.99


def test_one_latent_has_nothing_to_go_with():
    assert Facts.of(torch.randn(10, 1), torch.zeros(10, 1)).correlation == 0.0


def test_the_drawing_is_a_picture():
    facts = Facts.of(*posteriors(200))
    picture = draw_latents(facts, torch.randn(100, 3).double(), "title")
    assert picture.dtype.name == "uint8"
    assert picture.shape[2] == 3
    assert (picture != 255).any()
