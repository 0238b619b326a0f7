import pytest
import torch
from torch import nn

from darkroom.errors import UserError
from darkroom.losses import penalties
from darkroom.losses.penalties import OneCentred, Penalty, WeightClipping, ZeroCentred, squared_gradient_norm

SHAPE = (1, 2, 2)
WEIGHTS = torch.tensor([[[1.0, -2.0], [0.5, 3.0]]], dtype=torch.float64)
NORM = WEIGHTS.norm().item()


def linear(images):
    """A discriminator whose gradient is the same everywhere."""
    return (images * WEIGHTS).sum(dim=(1, 2, 3))


def quadratic(images):
    """A discriminator whose gradient at x is x."""
    return 0.5 * images.square().sum(dim=(1, 2, 3))


@pytest.fixture
def images():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(8, *SHAPE, generator=generator, dtype=torch.float64)


def value(penalty, images, discriminate, **more):
    images = images.clone().requires_grad_(penalty.reads_images)
    return penalty(images, discriminate(images), discriminate, **more).item()


def test_gradient_norm_of_a_linear_function_is_the_norm_of_its_weights(images):
    images.requires_grad_(True)
    norms = squared_gradient_norm(linear(images), images)
    assert torch.allclose(norms, torch.full((8,), NORM**2))


def test_gradient_norm_can_be_descended():
    weight = torch.tensor(2.0, requires_grad=True)
    images = torch.tensor([[[[3.0]]]], requires_grad=True)
    # D(x) = w x^2: ||grad||^2 = 4 w^2 x^2, and its derivative by w is 8 w x^2.
    norm = squared_gradient_norm((weight * images.square()).sum(dim=(1, 2, 3)), images)
    norm.sum().backward()
    assert norm.item() == pytest.approx(144.0)
    assert weight.grad.item() == pytest.approx(144.0)


@pytest.mark.parametrize(("r1", "r2"), [(1.0, 1.0), (0.3, 0.0), (0.0, 2.0)])
def test_r1_and_r2_are_half_gamma_times_the_mean_squared_gradient(images, r1, r2):
    penalty = ZeroCentred(r1, r2)
    assert value(penalty, images, linear) == pytest.approx((r1 + r2) / 2 * NORM**2, rel=1e-6)
    squares = images.square().sum(dim=(1, 2, 3))
    expected = r1 / 2 * squares[:4].mean() + r2 / 2 * squares[4:].mean()
    assert value(penalty, images, quadratic) == pytest.approx(expected.item(), rel=1e-6)


@pytest.mark.parametrize("where", ["interpolates", "perturbed"])
def test_a_one_centred_penalty_of_a_linear_discriminator(images, where):
    assert value(OneCentred(10.0, where), images, linear) == pytest.approx(10 * (NORM - 1) ** 2, rel=1e-6)
    assert value(OneCentred(3.0, where), images, lambda x: linear(x) / NORM) == pytest.approx(0, abs=1e-10)


@pytest.mark.parametrize("where", ["interpolates", "perturbed"])
def test_a_flat_discriminator_has_the_whole_penalty_and_a_finite_gradient(images, where):
    weight = torch.zeros(SHAPE, dtype=torch.float64, requires_grad=True)
    lost = OneCentred(10.0, where)(images, torch.zeros(8), lambda x: (x * weight).sum(dim=(1, 2, 3)))
    assert lost.item() == pytest.approx(10, abs=1e-4)
    lost.backward()
    assert weight.grad.isfinite().all()


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_interpolates_lie_between_a_real_and_a_drawn_picture(images, share):
    found = value(OneCentred(1.0), images, quadratic, draw=lambda *shape: torch.full(shape, share))
    real, fake = images.chunk(2)
    norms = (share * real + (1 - share) * fake).flatten(1).norm(dim=1)
    assert found == pytest.approx((norms - 1).square().mean().item(), rel=1e-6)


def test_perturbed_pictures_are_real_ones_plus_half_a_deviation_of_noise(images):
    numbers = {(4, 1, 1, 1): 0.5, (4, *SHAPE): 0.8}
    found = value(OneCentred(1.0, "perturbed"), images, quadratic, draw=lambda *s: torch.full(s, numbers[s]))
    real, _ = images.chunk(2)
    moved = real + 0.5 * 0.8 * 0.5 * real.std()
    assert found == pytest.approx((moved.flatten(1).norm(dim=1) - 1).square().mean().item(), rel=1e-6)


def test_drawn_pictures_matter_only_where_the_papers_look_at_them(images):
    for penalty, matters in [
        (ZeroCentred(1, 0), (True, False)),
        (ZeroCentred(0, 1), (False, True)),
        (OneCentred(1, "interpolates"), (True, True)),
        (OneCentred(1, "perturbed"), (True, False)),
    ]:
        before = value(penalty, images, quadratic, draw=lambda *shape: torch.full(shape, 0.5))
        for half, matter in zip((slice(0, 4), slice(4, 8)), matters, strict=True):
            moved = images.clone()
            moved[half] *= 2
            after = value(penalty, moved, quadratic, draw=lambda *shape: torch.full(shape, 0.5))
            assert (after != before) == matter, (penalty, half)


def test_a_penalty_teaches_the_discriminator_and_not_the_pictures(images):
    weight = WEIGHTS.clone().requires_grad_(True)
    for penalty in (ZeroCentred(), OneCentred(), OneCentred(where="perturbed")):
        given = images.clone().requires_grad_(penalty.reads_images)
        logits = (given * weight).sum(dim=(1, 2, 3))
        (slope,) = torch.autograd.grad(penalty(given, logits, lambda x: (x * weight).sum(dim=(1, 2, 3))), weight)
        assert (slope * weight).sum() > 0, "a smaller weight is a smaller gradient"


@pytest.mark.parametrize("limit", [0.01, 0.5])
def test_clipping_bounds_every_weight_and_no_statistic(limit):
    torch.manual_seed(0)
    discriminator = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 1))
    discriminator[1].running_var.fill_(7)
    before = [parameter.detach().clone() for parameter in discriminator.parameters()]
    WeightClipping(limit).constrain(discriminator)
    for old, new in zip(before, discriminator.parameters(), strict=True):
        assert torch.equal(new, old.clamp(-limit, limit))
    assert discriminator[1].running_var.eq(7).all()


def test_no_penalty_adds_nothing_and_changes_nothing(images):
    discriminator = nn.Linear(4, 1)
    before = discriminator.weight.clone()
    for penalty in (Penalty(), WeightClipping()):
        assert penalty(images, linear(images), linear) is None
    Penalty().constrain(discriminator)
    ZeroCentred().constrain(discriminator)
    assert torch.equal(discriminator.weight, before)


def test_a_penalty_of_nothing_is_refused():
    with pytest.raises(UserError, match="penalise nothing"):
        ZeroCentred(0, 0)


def test_what_is_recommended():
    assert isinstance(penalties.recommended("wasserstein"), OneCentred)
    both = penalties.recommended("relativistic")
    assert (both.r1, both.r2) == (1, 1)


def test_a_wasserstein_critic_under_its_penalty_is_the_distance():
    """Real at 2, drawn at -1: the best critic climbs at slope 1 (Gulrajani et al. 2017, proposition 1)."""
    slope = torch.tensor(0.1, dtype=torch.float64, requires_grad=True)
    images = torch.cat([torch.full((4, 1, 1, 1), 2.0), torch.full((4, 1, 1, 1), -1.0)]).double()
    optimizer = torch.optim.SGD([slope], lr=0.004)
    for _ in range(300):
        critic = lambda x: slope * x.flatten()  # noqa: E731
        real, fake = critic(images).chunk(2)
        loss = fake.mean() - real.mean() + OneCentred(100.0)(images, critic(images), critic)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    # -3 s + 100 (s - 1)^2 is least at s = 1 + 3 / 200.
    assert slope.item() == pytest.approx(1 + 3 / 200, abs=1e-6)
