import math

import pytest
import torch
import torch.nn.functional as F

from darkroom.losses.adversarial import LOSSES


@pytest.fixture
def logits():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(2, 7, generator=generator, dtype=torch.float64)


def slopes(function, real, fake):
    """The gradient of a loss with respect to each logit, times the number of logits: that of one pair."""
    real, fake = real.clone().requires_grad_(True), fake.clone().requires_grad_(True)
    found = torch.autograd.grad(function(real, fake), (real, fake), allow_unused=True)
    return tuple(torch.zeros_like(real) if slope is None else slope * len(real) for slope in found)


LN2 = math.log(2)
# (discriminator, generator) where every logit is the middle one, each known in closed form.
UNDECIDED = {
    "minimax": (2 * LN2, -LN2),
    "non_saturating": (2 * LN2, LN2),
    "least_squares": (0.25, 0.125),
    "hinge": (2.0, 0.0),
    "wasserstein": (0.0, 0.0),
    "relativistic": (LN2, LN2),
}


@pytest.mark.parametrize("name", LOSSES)
def test_losses_of_an_undecided_discriminator(name):
    loss = LOSSES[name]
    middle = torch.full((5,), loss.middle or 0.0, dtype=torch.float64)
    assert loss.discriminator(middle, middle).item() == pytest.approx(UNDECIDED[name][0], abs=1e-15)
    assert loss.generator(middle, middle).item() == pytest.approx(UNDECIDED[name][1], abs=1e-15)


@pytest.mark.parametrize("name", LOSSES)
def test_the_networks_pull_apart(name, logits):
    """Higher real and lower drawn logits serve the discriminator, higher drawn ones the generator."""
    for_discriminator = slopes(LOSSES[name].discriminator, *(logits / 10 + (LOSSES[name].middle or 0)))
    _, for_generator = slopes(LOSSES[name].generator, *(logits / 10 + (LOSSES[name].middle or 0)))
    assert (for_discriminator[0] < 0).all()
    assert (for_discriminator[1] > 0).all()
    assert (for_generator < 0).all()


def test_minimax_and_non_saturating_are_cross_entropy(logits):
    real, fake = logits
    cross_entropy = F.binary_cross_entropy_with_logits
    ones, zeros = torch.ones_like(real), torch.zeros_like(real)
    expected = cross_entropy(real, ones) + cross_entropy(fake, zeros)
    for name in ("minimax", "non_saturating"):
        assert LOSSES[name].discriminator(real, fake).item() == pytest.approx(expected.item(), abs=1e-12)
    assert LOSSES["non_saturating"].generator(real, fake).item() == pytest.approx(cross_entropy(fake, ones).item())
    assert LOSSES["minimax"].generator(real, fake).item() == pytest.approx(-cross_entropy(fake, zeros).item())


@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_minimax_saturates_where_the_other_does_not(sign):
    lost, won = torch.full((3,), -12.0, dtype=torch.float64), torch.full((3,), 12.0, dtype=torch.float64)
    logits = lost if sign < 0 else won
    minimax, other = (slopes(LOSSES[name].generator, logits, logits)[1] for name in ("minimax", "non_saturating"))
    saturated, alive = (minimax, other) if sign < 0 else (other, minimax)
    assert (saturated.abs() < 1e-5).all()
    assert torch.allclose(alive, torch.full_like(alive, -1.0), atol=1e-5)


def test_the_minimax_game_is_zero_sum(logits):
    real, fake = logits
    loss = LOSSES["minimax"]
    assert torch.equal(slopes(loss.discriminator, real, fake)[1], -slopes(loss.generator, real, fake)[1])
    wasserstein = LOSSES["wasserstein"]
    assert torch.equal(slopes(wasserstein.discriminator, real, fake)[1], -slopes(wasserstein.generator, real, fake)[1])


def test_least_squares_is_half_the_mean_squared_error(logits):
    real, fake = logits
    loss = LOSSES["least_squares"]
    expected = (F.mse_loss(real, torch.ones_like(real)) + F.mse_loss(fake, torch.zeros_like(fake))) / 2
    assert loss.discriminator(real, fake).item() == pytest.approx(expected.item(), abs=1e-15)
    assert loss.generator(real, fake).item() == pytest.approx(F.mse_loss(fake, torch.ones_like(fake)).item() / 2)
    ones, zeros = torch.ones(3), torch.zeros(3)
    assert loss.discriminator(ones, zeros).item() == 0
    assert loss.generator(zeros, ones).item() == 0


def test_hinge_is_torchs_and_does_not_care_beyond_its_margin(logits):
    real, fake = 3 * logits
    loss = LOSSES["hinge"]
    margin = torch.nn.HingeEmbeddingLoss(margin=1.0)
    against = -torch.ones_like(real)
    expected = margin(real, against) + margin(-fake, against)
    assert loss.discriminator(real, fake).item() == pytest.approx(expected.item(), abs=1e-15)
    for_real, for_fake = slopes(loss.discriminator, real, fake)
    assert torch.equal(for_real, -(real < 1).double())
    assert torch.equal(for_fake, (fake > -1).double())


def test_wasserstein_is_the_distance_of_two_means(logits):
    real, fake = logits
    loss = LOSSES["wasserstein"]
    assert loss.discriminator(real, fake).item() == pytest.approx((fake.mean() - real.mean()).item(), abs=1e-15)
    assert loss.discriminator(real + 3, fake + 3).item() == pytest.approx(loss.discriminator(real, fake).item())
    assert loss.discriminator(2 * real, 2 * fake).item() == pytest.approx(2 * loss.discriminator(real, fake).item())


def test_relativistic_is_antisymmetric_and_blind_to_a_common_shift(logits):
    real, fake = logits
    loss = LOSSES["relativistic"]
    assert loss.discriminator(real, fake).item() == loss.generator(fake, real).item()
    assert loss.discriminator(real + 3, fake + 3).item() == pytest.approx(
        loss.discriminator(real, fake).item(), abs=1e-12
    )


def test_relativistic_pairs_each_real_image_with_one_drawn(logits):
    real, fake = logits
    expected = F.binary_cross_entropy_with_logits(real - fake, torch.ones_like(real))
    assert LOSSES["relativistic"].discriminator(real, fake).item() == pytest.approx(expected.item(), abs=1e-12)
    assert LOSSES["relativistic"].discriminator(real, fake.roll(1)) != LOSSES["relativistic"].discriminator(real, fake)


def test_only_the_relativistic_generator_reads_real_logits(logits):
    real, fake = logits
    for loss in LOSSES.values():
        moved = loss.generator(real + 1, fake).item() != loss.generator(real, fake).item()
        assert moved == loss.paired


@pytest.mark.parametrize("name", LOSSES)
def test_a_game_has_a_middle_exactly_where_a_shift_of_all_logits_matters(name, logits):
    real, fake = logits
    loss = LOSSES[name].discriminator
    shifted = loss(real + 1, fake + 1).item() == pytest.approx(loss(real, fake).item(), abs=1e-12)
    assert shifted == (LOSSES[name].middle is None)


@pytest.mark.parametrize("name", [name for name in LOSSES if LOSSES[name].middle is not None])
def test_the_middle_is_where_real_and_drawn_pull_alike(name):
    """A picture that may as well be real as drawn is best given the middle logit: Goodfellow et al. 2014, prop. 1."""
    either = torch.linspace(-3, 3, 6001, dtype=torch.float64)
    losses = torch.stack([LOSSES[name].discriminator(one[None], one[None]) for one in either])
    best = either[losses <= losses.min() + 1e-12]
    assert best.min() - 1e-3 <= LOSSES[name].middle <= best.max() + 1e-3
    assert (best.min() + best.max()).item() / 2 == pytest.approx(LOSSES[name].middle, abs=1e-3)


@pytest.mark.parametrize("name", LOSSES)
def test_far_away_logits_stay_finite(name):
    far = torch.tensor([1e4, -1e4])
    for function in (LOSSES[name].discriminator, LOSSES[name].generator):
        assert function(far, -far).isfinite()
        assert all(slope.isfinite().all() for slope in slopes(function, far, -far))
