import math

import pytest
import torch

from darkroom.networks.flow import Flow, StandardNormal


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


def shaken(flow, seed=0, amount=0.3):
    """The flow with weights that do something."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter.add_(amount * torch.randn(parameter.shape, generator=generator))
    return flow.double()


@pytest.mark.parametrize("dim", [2, 5, 16])
def test_a_new_flow_is_the_standard_normal(dim):
    latents = torch.randn(7, dim, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(Flow(dim).log_prob(latents), StandardNormal(dim).log_prob(latents))
    expected = torch.distributions.Normal(0, 1).log_prob(latents).sum(dim=1)
    torch.testing.assert_close(StandardNormal(dim).log_prob(latents), expected)


@pytest.mark.parametrize(("dim", "condition_dim"), [(1, 0), (2, 0), (5, 3), (16, 0)])
def test_the_density_follows_from_the_change_of_volume(dim, condition_dim):
    flow = shaken(Flow(dim, condition_dim, layers=4, width=8))
    normals = torch.randn(3, dim, generator=torch.Generator().manual_seed(1)).double()
    condition = torch.randn(3, condition_dim, generator=torch.Generator().manual_seed(2)).double()
    given = condition if condition_dim else None
    latents = flow(normals, given)
    for index in range(3):
        told = None if given is None else given[index : index + 1]
        jacobian = torch.autograd.functional.jacobian(lambda row, told=told: flow(row[None], told)[0], normals[index])
        expected = StandardNormal(dim).log_prob(normals[index : index + 1])[0] - jacobian.det().abs().log()
        torch.testing.assert_close(flow.log_prob(latents, given)[index], expected)


def test_its_density_integrates_to_one():
    flow = shaken(Flow(2, layers=4, width=8), seed=3, amount=0.15)
    side = torch.linspace(-20, 20, 1001, dtype=torch.float64)
    grid = torch.cartesian_prod(side, side)
    total = flow.log_prob(grid).exp().sum() * (side[1] - side[0]) ** 2
    assert total.item() == pytest.approx(1, abs=1e-3)


def test_every_number_can_depend_on_every_other():
    flow = shaken(Flow(6, layers=8, width=16))
    jacobian = torch.autograd.functional.jacobian(lambda row: flow(row[None])[0], torch.zeros(6).double())
    assert (jacobian.abs() > 1e-9).all()


def test_a_flow_learns_what_is_not_normal():
    generator = torch.Generator().manual_seed(0)
    angles = 2 * math.pi * torch.rand(2000, generator=generator)
    ring = torch.stack([angles.cos(), angles.sin()], dim=1) + 0.1 * torch.randn(2000, 2, generator=generator)
    torch.manual_seed(0)
    flow = Flow(2, layers=6, width=32)
    optimizer = torch.optim.Adam(flow.parameters(), lr=0.01)
    for _ in range(200):
        loss = -flow.log_prob(ring).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    lengths = flow(torch.randn(1000, 2, generator=generator)).norm(dim=1)
    assert lengths.median().item() == pytest.approx(1, abs=0.1)
    assert ((lengths > 0.6) & (lengths < 1.4)).double().mean() > 0.85
