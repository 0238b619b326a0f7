import math

import pytest
import torch

from darkroom.losses.adversarial import LOSSES, squared_gradient_norm


@pytest.fixture
def logits():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(2, 7, generator=generator, dtype=torch.float64)


def test_losses_of_an_undecided_discriminator():
    zero = torch.zeros(5)
    assert LOSSES["non_saturating"].discriminator(zero, zero).item() == pytest.approx(2 * math.log(2))
    assert LOSSES["non_saturating"].generator(zero, zero).item() == pytest.approx(math.log(2))
    assert LOSSES["relativistic"].discriminator(zero, zero).item() == pytest.approx(math.log(2))
    assert LOSSES["relativistic"].generator(zero, zero).item() == pytest.approx(math.log(2))


def test_non_saturating_is_cross_entropy(logits):
    real, fake = logits
    cross_entropy = torch.nn.functional.binary_cross_entropy_with_logits
    ones, zeros = torch.ones_like(real), torch.zeros_like(real)
    expected = cross_entropy(real, ones) + cross_entropy(fake, zeros)
    assert LOSSES["non_saturating"].discriminator(real, fake).item() == pytest.approx(expected.item(), abs=1e-12)
    expected = cross_entropy(fake, ones)
    assert LOSSES["non_saturating"].generator(real, fake).item() == pytest.approx(expected.item(), abs=1e-12)


def test_relativistic_is_antisymmetric_and_blind_to_a_common_shift(logits):
    real, fake = logits
    loss = LOSSES["relativistic"]
    assert loss.discriminator(real, fake).item() == loss.generator(fake, real).item()
    assert loss.discriminator(real + 3, fake + 3).item() == pytest.approx(
        loss.discriminator(real, fake).item(), abs=1e-12
    )


def test_only_the_relativistic_generator_reads_real_logits(logits):
    real, fake = logits
    for loss in LOSSES.values():
        moved = loss.generator(real + 1, fake).item() != loss.generator(real, fake).item()
        assert moved == loss.paired


def test_gradient_norm_of_a_linear_function_is_the_norm_of_its_weights():
    weights = torch.tensor([[1.0, -2.0], [0.5, 3.0]])
    images = torch.randn(3, 1, 2, 2, requires_grad=True)
    norms = squared_gradient_norm((images * weights).sum(dim=(1, 2, 3)), images)
    assert torch.allclose(norms, torch.full((3,), weights.square().sum().item()))


def test_gradient_norm_can_be_descended():
    weight = torch.tensor(2.0, requires_grad=True)
    images = torch.tensor([[[[3.0]]]], requires_grad=True)
    # D(x) = w x^2: ||grad||^2 = 4 w^2 x^2, and its derivative by w is 8 w x^2.
    norm = squared_gradient_norm((weight * images.square()).sum(dim=(1, 2, 3)), images)
    norm.sum().backward()
    assert norm.item() == pytest.approx(144.0)
    assert weight.grad.item() == pytest.approx(144.0)
