import math

import numpy as np
import pytest
import scipy.stats
import torch

from darkroom.errors import UserError
from darkroom.losses.likelihoods import Bernoulli, Categorical, Gaussian, Likelihood, LogisticMixture, bits_per_dim

LEVELS = torch.arange(256, dtype=torch.float64) / 127.5 - 1  # the values of a file, in [-1, 1]
LIKELIHOODS = {
    "bernoulli": Bernoulli(),
    "gaussian": Gaussian(sigma=0.06),
    "gaussian of less than a level": Gaussian(sigma=0.003),
    "gaussian of one": Gaussian("fixed", 1.0),
    "logistic mixture": LogisticMixture(3),
    "categorical": Categorical(),
}


def outputs_of(likelihood, seed=0, scale=2.0, count=1):
    """What a decoder might say of one pixel, ``count`` times."""
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(count, likelihood.outputs(1), 1, 1, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("likelihood", LIKELIHOODS.values(), ids=list(LIKELIHOODS))
@pytest.mark.parametrize("seed", range(4))
def test_the_values_of_a_file_have_all_the_probability(likelihood, seed):
    values = torch.tensor([-1.0, 1.0]).double() if isinstance(likelihood, Bernoulli) else LEVELS
    outputs = outputs_of(likelihood, seed).expand(len(values), -1, -1, -1)
    masses = likelihood.log_mass(outputs, values.view(-1, 1, 1, 1)).exp()
    assert masses.sum().item() == pytest.approx(1, abs=1e-6)


def test_the_density_of_a_gaussian_has_all_the_probability():
    likelihood, outputs = Gaussian(sigma=0.06).double(), outputs_of(Gaussian())
    places = torch.linspace(-2, 3, 200_001, dtype=torch.float64)  # pixel values in units of black to white
    densities = likelihood.log_prob(outputs.expand(len(places), -1, -1, -1), (2 * places - 1).view(-1, 1, 1, 1)).exp()
    assert torch.trapezoid(densities, places).item() == pytest.approx(1, abs=1e-6)


def test_a_gaussian_is_scipys():
    likelihood, outputs = Gaussian(sigma=0.06).double(), outputs_of(Gaussian(), count=50)
    images = torch.linspace(-1, 1, 50).double().view(-1, 1, 1, 1)
    middles = scipy.special.expit(outputs.numpy().ravel())
    expected = scipy.stats.norm.logpdf((images.numpy().ravel() + 1) / 2, middles, 0.06)
    torch.testing.assert_close(likelihood.log_prob(outputs, images), torch.from_numpy(expected), rtol=1e-5, atol=1e-5)
    levels = np.round((images.numpy().ravel() + 1) * 127.5)
    cumulative = scipy.stats.norm(255 * middles, 255 * 0.06).cdf
    low, high = np.where(levels == 0, 0, cumulative(levels - 0.5)), np.where(levels == 255, 1, cumulative(levels + 0.5))
    masses = likelihood.log_mass(outputs, images).exp()
    torch.testing.assert_close(masses, torch.from_numpy(high - low), rtol=1e-4, atol=1e-12)


def test_a_value_far_from_a_narrow_gaussian_still_has_a_probability():
    outputs = torch.full((2, 1, 1, 1), -30.0, dtype=torch.float64)  # black
    likelihood = Gaussian("fixed", sigma=0.01).double()
    found = likelihood.log_mass(outputs, torch.tensor([0.0, 0.8]).double().view(-1, 1, 1, 1))
    middles = np.round((np.array([0.0, 0.8]) + 1) * 127.5)
    expected = scipy.stats.norm(0, 2.55).logsf(middles - 0.5)  # the next value is less probable by far
    torch.testing.assert_close(found, torch.from_numpy(expected), rtol=1e-3, atol=0)


def test_a_bernoulli_is_scipys():
    outputs = outputs_of(Bernoulli(), count=6)
    images = torch.tensor([-1, 1, 1, -1, 1, -1]).double().view(-1, 1, 1, 1)
    white = scipy.special.expit(outputs.numpy().ravel())
    expected = scipy.stats.bernoulli.logpmf((images.numpy().ravel() > 0).astype(int), white)
    torch.testing.assert_close(Bernoulli().log_prob(outputs, images), torch.from_numpy(expected))


def test_a_logistic_mixture_is_scipys():
    likelihood, outputs = LogisticMixture(3), outputs_of(LogisticMixture(3), scale=0.5)
    weights, middles, scales = outputs.view(3, 3).numpy()
    weights = scipy.special.softmax(weights)
    middles, scales = 127.5 * (1 + middles), np.exp(np.maximum(scales + 2.5, math.log(127.5) - 7))
    for level in (0, 1, 100, 254, 255):
        above = 1 if level == 255 else scipy.stats.logistic.cdf(level + 0.5, middles, scales)
        below = 0 if level == 0 else scipy.stats.logistic.cdf(level - 0.5, middles, scales)
        found = likelihood.log_prob(outputs, LEVELS[level].view(1, 1, 1, 1)).exp().item()
        assert found == pytest.approx(float((weights * (above - below)).sum()), rel=1e-6)


def test_a_categorical_is_a_softmax():
    outputs = outputs_of(Categorical(), scale=1.0)
    expected = outputs.flatten().log_softmax(dim=0)
    found = torch.stack([Categorical().log_prob(outputs, value.view(1, 1, 1, 1))[0] for value in LEVELS[::51]])
    torch.testing.assert_close(found, expected[::51])


def test_who_knows_nothing_needs_eight_bits():
    images = LEVELS[torch.randint(256, (5, 3, 4, 4), generator=torch.Generator().manual_seed(0))]
    ignorant = torch.zeros(5, Categorical().outputs(3), 4, 4, dtype=torch.float64)
    nats = -Categorical().log_mass(ignorant, images)
    assert [bits_per_dim(value, 3 * 4 * 4) for value in nats.tolist()] == pytest.approx([8.0] * 5)


@pytest.mark.parametrize("likelihood", LIKELIHOODS.values(), ids=list(LIKELIHOODS))
def test_channels_and_pixels_are_independent(likelihood):
    generator = torch.Generator().manual_seed(0)
    outputs = torch.randn(2, likelihood.outputs(3), 2, 2, generator=generator, dtype=torch.float64)
    images = torch.randint(2, (2, 3, 2, 2), generator=generator).double() * 2 - 1
    whole = likelihood.log_mass(outputs, images)
    apart = outputs.view(2, 3, likelihood.per_channel, 2, 2)
    parts = [
        likelihood.log_mass(apart[:, c, :, y : y + 1, x : x + 1], images[:, c : c + 1, y : y + 1, x : x + 1])
        for c in range(3)
        for y in range(2)
        for x in range(2)
    ]
    torch.testing.assert_close(whole, torch.stack(parts).sum(dim=0))


@pytest.mark.parametrize("likelihood", LIKELIHOODS.values(), ids=list(LIKELIHOODS))
def test_the_mean_is_that_of_the_distribution(likelihood):
    narrow = not isinstance(likelihood, Gaussian) or likelihood.sigma < 0.1  # wide ones lean on the ends of the range
    values = torch.tensor([-1.0, 1.0]).double() if isinstance(likelihood, Bernoulli) else LEVELS
    outputs = outputs_of(likelihood, seed=1, scale=0.3)
    masses = likelihood.log_mass(outputs.expand(len(values), -1, -1, -1), values.view(-1, 1, 1, 1)).exp()
    expected = (masses * values).sum().item()
    assert likelihood.mean(outputs).item() == pytest.approx(expected, abs=0.01 if narrow else 0.2)
    assert likelihood.mean(outputs_of(likelihood, scale=9.0, count=50)).abs().max() <= 1 + 1e-9


def test_a_learned_deviation_finds_that_of_the_errors():
    likelihood = Gaussian(sigma=0.5)
    generator = torch.Generator().manual_seed(0)
    images = 2 * (0.5 + 0.07 * torch.randn(4000, 1, 1, 1, generator=generator)) - 1
    optimizer = torch.optim.Adam(likelihood.parameters(), lr=0.05)
    for _ in range(300):
        loss = -likelihood.log_prob(torch.zeros(4000, 1, 1, 1), images).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert likelihood.sigma.item() == pytest.approx(0.07, rel=0.03)
    likelihood = Gaussian("optimal")
    likelihood.log_prob(torch.zeros(4000, 1, 1, 1), images)
    assert likelihood.sigma.item() == pytest.approx(0.07, rel=0.03)


def test_an_optimal_deviation_has_the_gradient_of_the_log_of_the_error():
    outputs = outputs_of(Gaussian(), count=20).float().requires_grad_(True)
    images = torch.linspace(-1, 1, 20).view(-1, 1, 1, 1)
    loss = -Gaussian("optimal").log_prob(outputs, images).sum()
    expected = 20 / 2 * (outputs.sigmoid() - (images + 1) / 2).square().mean().log()  # Rybkin et al. 2021, eq. 9
    given, wanted = (torch.autograd.grad(value, outputs)[0] for value in (loss, expected))
    torch.testing.assert_close(given, wanted, rtol=1e-4, atol=1e-6)


def test_an_optimal_deviation_stays_where_it_is_while_scoring():
    likelihood = Gaussian("optimal", sigma=0.2).eval()
    likelihood.log_prob(torch.zeros(3, 1, 2, 2), torch.ones(3, 1, 2, 2))
    assert likelihood.sigma.item() == pytest.approx(0.2)


def test_pixels_that_a_likelihood_does_not_know_are_refused():
    grey = torch.tensor([[[[0, 128, 255]]]], dtype=torch.uint8)
    for likelihood in (Bernoulli(), Categorical(2)):
        with pytest.raises(UserError):
            likelihood.check(grey)
        likelihood.check(grey[..., [0, 2]])
    Gaussian().check(grey)
    Categorical(3).check(grey)
    Likelihood().check(grey)
