import pytest
import torch

from darkroom.models.samplers import KINDS, Samplers

NOISE = torch.randn(6000, 4, generator=torch.Generator().manual_seed(9))


def two_heaps(count=3000, seed=0):
    """Latents of three numbers in two heaps, a third of them in the second."""
    generator = torch.Generator().manual_seed(seed)
    latents = torch.randn(count, 3, generator=generator) @ torch.tensor([[0.3, 0.2, 0.0], [0.0, 0.3, 0.0], [0, 0, 0.1]])
    latents[: count // 3] += torch.tensor([4.0, 0.0, 1.0])
    return latents[torch.randperm(count, generator=generator)]


def drawn(samplers, name, labels=None):
    samplers.use(name)
    return samplers(NOISE, labels)


@pytest.fixture(scope="module")
def fitted():
    samplers = Samplers(3, components=2, flow_steps=100)
    latents = two_heaps()
    for name in KINDS:
        samplers.fit(name, latents, torch.zeros(len(latents), dtype=torch.int64))
    return samplers, latents


@pytest.mark.parametrize("name", ["gaussian", "mixture", "flow"])
def test_what_is_drawn_has_the_moments_of_what_was_fitted(name, fitted):
    samplers, latents = fitted
    found = drawn(samplers, name)
    exact = name != "flow"
    torch.testing.assert_close(found.mean(dim=0), latents.mean(dim=0), rtol=0, atol=0.1 if exact else 0.3)
    torch.testing.assert_close(found.T.cov(), latents.T.cov(), rtol=0, atol=0.15 if exact else 0.6)


def test_a_mixture_knows_the_heaps_and_a_normal_distribution_does_not(fitted):
    samplers, _ = fitted
    between = {name: ((f := drawn(samplers, name)[:, 0]) > 1.5).logical_and(f < 2.5).double().mean() for name in KINDS}
    assert between["mixture"] < 0.01 < 0.1 < between["gaussian"]
    far = (drawn(samplers, "mixture")[:, 0] > 2).double().mean().item()
    assert far == pytest.approx(1 / 3, abs=0.03)


def test_the_prior_is_what_it_is_given(fitted):
    samplers, _ = fitted
    assert torch.equal(drawn(samplers, "prior"), NOISE[:, :3])


@pytest.mark.parametrize("name", KINDS)
def test_a_picture_keeps_its_latents_whatever_is_drawn_beside_it(name, fitted):
    samplers, _ = fitted
    samplers.use(name)
    torch.testing.assert_close(samplers(NOISE[5:7], None), samplers(NOISE[:64], None)[5:7], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["gaussian", "mixture", "flow"])
def test_a_fit_is_the_same_every_time_and_leaves_no_trace(name):
    latents = two_heaps(600)
    state = torch.random.get_rng_state()
    first, second = Samplers(3, components=2, flow_steps=5), Samplers(3, components=2, flow_steps=5)
    for samplers in (first, second):
        samplers.fit(name, latents, torch.zeros(600, dtype=torch.int64))
        torch.rand(3)
    torch.random.set_rng_state(state)
    assert torch.equal(drawn(first, name), drawn(second, name))
    Samplers(3, flow_steps=5).fit(name, latents, torch.zeros(600, dtype=torch.int64))
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize("name", ["gaussian", "mixture", "flow"])
def test_each_class_has_distributions_of_its_own(name):
    latents = torch.cat([two_heaps(400) * 0.2 - 3, two_heaps(400) * 0.2 + 3])
    classes = torch.arange(2).repeat_interleave(400)
    samplers = Samplers(3, classes=2, components=2, flow_steps=30)
    samplers.fit(name, latents, classes)
    found = drawn(samplers, name, torch.arange(len(NOISE)) % 2)
    means = torch.stack([found[number::2].mean(dim=0) for number in range(2)])
    expected = torch.stack([latents[:400].mean(dim=0), latents[400:].mean(dim=0)])
    torch.testing.assert_close(means, expected, rtol=0, atol=2.0 if name == "flow" else 0.1)


def test_they_are_kept_with_the_weights(fitted):
    samplers, _ = fitted
    samplers.use("mixture")
    again = Samplers(3, components=2, flow_steps=100)
    again.load_state_dict(samplers.state_dict())
    assert again.name == "mixture"
    for name in KINDS:
        assert torch.equal(drawn(again, name), drawn(samplers, name))


def test_more_components_than_pictures_bear():
    latents = two_heaps(12)
    samplers = Samplers(3, components=10)
    samplers.fit("mixture", latents, torch.zeros(12, dtype=torch.int64))
    assert drawn(samplers, "mixture").isfinite().all()


def test_latents_that_never_move_can_be_drawn():
    latents = torch.ones(50, 3)
    samplers = Samplers(3, components=2, flow_steps=10)
    for name in KINDS[1:]:
        samplers.fit(name, latents, torch.zeros(50, dtype=torch.int64))
        assert drawn(samplers, name).isfinite().all()
