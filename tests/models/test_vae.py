"""Variational and plain autoencoders: bounds, families, samplers in use."""

import itertools
from functools import partial

import pytest
import torch

from darkroom.data.pictures import TensorPictures
from darkroom.errors import UserError
from darkroom.imaging.degradations import Mask, Noise, plainly
from darkroom.losses.elbo import kl_from_standard_normal
from darkroom.losses.likelihoods import Bernoulli, Gaussian
from darkroom.metrics.autoencoding import Likelihood
from darkroom.models.autoencoder import Autoencoder
from darkroom.models.samplers import KINDS
from darkroom.models.schedule import Schedule
from darkroom.models.vae import Vae
from darkroom.networks.flow import Flow

from ..small_models import coder


def made(family=Vae, **changes):
    model = coder(family, **{"flow_steps": 5, **changes})
    model.of_this_process = plainly
    model.count = lambda batch: None
    return model


def binary(count=64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(2, (count, 1, 2, 2), generator=generator).float() * 2 - 1


def batch(images, labels=None):
    return {"images": images, "labels": labels if labels is not None else torch.zeros(len(images), dtype=torch.int64)}


def step(model, images, seed=1, labels=None):
    torch.manual_seed(seed)
    return model.training_step(batch(images, labels), 0)


class Splits:
    """Twenty dark and twenty light pictures."""

    def batches(self, split, size, count=None):
        labels = torch.arange(2).repeat(20)
        images = 1.6 * (labels.float() - 0.5).view(-1, 1, 1, 1).expand(-1, 1, 2, 2).clone()
        images += 0.1 * torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
        yield images.clamp(-1, 1), labels


def evidence(model, images):
    """log p(x) by integration over a fine grid of two latents."""
    side = torch.linspace(-7, 7, 141)
    grid = torch.cartesian_prod(side, side)
    with torch.no_grad():
        outputs = model.inference_network.decode(grid, None)
        prior = model.inference_network.prior.log_prob(grid).double()
    area = float(side[1] - side[0]) ** 2
    found = []
    for image in images:
        likelihood = model.network.likelihood.log_mass(outputs, image.expand(len(grid), -1, -1, -1)).double()
        found.append(torch.logsumexp(likelihood + prior, dim=0) + torch.tensor(area).double().log())
    return torch.stack(found)


@pytest.mark.parametrize("learned", [False, True], ids=["normal", "flow"])
def test_bounds_rise_to_the_evidence_and_the_evidence_sums_to_one(learned):
    prior = {"prior": partial(Flow, layers=2, width=8)} if learned else {}
    model = made(likelihood=Bernoulli(), average_half_life=0, **prior)
    if learned:
        with torch.no_grad():
            for parameter in model.network.prior.parameters():
                parameter.add_(0.2 * torch.randn(parameter.shape))
    with torch.no_grad():  # posteriors as wide as the prior, so that draws find all that matters
        model.network.encoder.output.weight.mul_(0.1)
    images = torch.tensor(list(itertools.product([-1.0, 1.0], repeat=4))).view(16, 1, 2, 2)
    exact = evidence(model, images)
    assert exact.exp().sum().item() == pytest.approx(1, abs=1e-4)
    noise = torch.randn(16, 2000, 2, generator=torch.Generator().manual_seed(0))
    log_likelihood, cost = model.log_weights(images, None, noise)
    weights = (log_likelihood - cost).double()
    elbo, tight = weights.mean(dim=1), torch.logsumexp(weights, dim=1) - torch.tensor(2000.0).log()
    assert (elbo < exact).all()
    torch.testing.assert_close(tight, exact, rtol=0, atol=0.06)


def test_the_loss_is_distortion_and_rate():
    model, images = made(likelihood=Bernoulli(), average_half_life=0), binary()
    curves = step(model, images)
    means, log_variances = model.posterior(images)
    rate = kl_from_standard_normal(means, log_variances).sum(dim=1).mean()
    torch.testing.assert_close(curves["rate"], rate)
    torch.testing.assert_close(curves["loss"].detach(), curves["distortion"] + rate)


def test_the_bound_by_draws_is_the_bound_by_formula():
    model, images = made(likelihood=Bernoulli(), average_half_life=0), binary(8)
    noise = torch.randn(8, 20_000, 2, generator=torch.Generator().manual_seed(0))
    _, cost = model.log_weights(images, None, noise)
    means, log_variances = model.posterior(images)
    expected = kl_from_standard_normal(means, log_variances).sum(dim=1)
    torch.testing.assert_close(cost.mean(dim=1), expected, rtol=0.05, atol=0.02)


def test_weights_of_the_rate():
    images = binary()
    plain = step(made(likelihood=Bernoulli()), images)
    half = step(made(likelihood=Bernoulli(), beta=0.5), images)
    assert half["loss"].item() == pytest.approx((plain["distortion"] + 0.5 * plain["rate"]).item(), rel=1e-5)
    rising = made(likelihood=Bernoulli(), rate_schedule=Schedule("constant", warmup=0.4))
    rising.fraction = 0.1
    assert step(rising, images)["loss"].item() == pytest.approx((plain["distortion"] + plain["rate"] / 4).item())
    free = step(made(likelihood=Bernoulli(), free_bits=50.0), images)
    assert free["loss"].item() == pytest.approx((plain["distortion"] + 100).item(), rel=1e-5)
    capacity = step(made(likelihood=Bernoulli(), capacity=3.0, capacity_weight=10.0), images)
    expected = plain["distortion"] + 10 * (plain["rate"] - 3).abs()
    assert capacity["loss"].item() == pytest.approx(expected.item(), rel=1e-5)


def test_more_draws_tighten_the_bound():
    images = binary(256)
    losses = [step(made(likelihood=Bernoulli(), importance_samples=k), images)["loss"].item() for k in (1, 5, 50)]
    assert losses[0] > losses[1] > losses[2]


def test_one_draw_with_a_learned_prior_that_is_normal_has_the_same_mean():
    images = binary(4000)
    exact = step(made(likelihood=Bernoulli()), images)
    drawn = step(made(likelihood=Bernoulli(), prior=partial(Flow, layers=2, width=8)), images)
    assert drawn["rate"].item() == pytest.approx(exact["rate"].item(), abs=0.05)


@pytest.mark.parametrize(
    "settings",
    [
        {"importance_samples": 5, "free_bits": 0.1},
        {"free_bits": 0.1, "prior": Flow},
        {"sampler": "normal"},
        {"conditioning": "class", "class_names": []},
    ],
    ids=str,
)
def test_settings_that_contradict_each_other_are_refused(settings):
    with pytest.raises(UserError):
        made(**settings)


def test_grey_pictures_have_no_bernoulli_likelihood():
    grey = TensorPictures(torch.full((4, 1, 2, 2), 99, dtype=torch.uint8))
    with pytest.raises(UserError, match="mnist_binarised"):
        made(likelihood=Bernoulli()).init_from_data(grey)


def trained(model, steps=80):
    optimizer = torch.optim.Adam(model.network.parameters(), lr=0.01)
    images, labels = next(Splits().batches("train", 40))
    for number in range(steps):
        loss = step(model, images, seed=number, labels=labels)["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    if model.average is not None:
        model.average.load_state_dict(model.network.state_dict())
    return model.eval()


@pytest.mark.parametrize("family", [Vae, Autoencoder])
def test_a_model_learns_what_it_is_shown(family):
    model = trained(made(family, likelihood=Gaussian(), average_half_life=100))
    images, _ = next(Splits().batches("val", 40))
    assert (model.reconstruct(images) - images).square().mean() < 0.04  # of 0.65 that they vary
    model.ready(Splits())
    assert model.sampler_name == "mixture"
    drawn = model.sample(torch.arange(200), seed=0).mean(dim=(1, 2, 3))
    assert 0.3 < (drawn > 0).double().mean() < 0.7
    assert (drawn.abs() > 0.5).double().mean() > 0.8


def test_a_conditional_model_draws_what_is_asked():
    model = trained(made(conditioning="class", likelihood=Gaussian()))
    model.conclude(Splits())
    for name in ("gaussian", "mixture"):
        model.use_sampler(name)
        drawn = model.sample(torch.arange(20), seed=0).mean(dim=(1, 2, 3))
        assert drawn[0::2].median() < -0.5, name
        assert drawn[1::2].median() > 0.5, name


@pytest.mark.parametrize("name", KINDS)
def test_picture_i_of_a_seed_is_always_the_same(name):
    model = made(average_half_life=100, conv=True, image_shape=(1, 8, 8))
    model.use_sampler(name)
    everyone = model.sample(torch.arange(70), seed=3)
    torch.testing.assert_close(model.sample(torch.tensor([65, 2]), seed=3), everyone[[65, 2]], rtol=0, atol=0)


def test_the_sampler_with_the_best_pictures_is_used():
    fids = {"prior": 3.0, "gaussian": 2.0, "mixture": 1.0, "flow": 1.5}
    model = made()
    found = model.conclude(Splits(), lambda: {"fid": fids[model.sampler_name]})
    assert model.sampler_name == "mixture"
    assert {name: found[f"fid_{name}"] for name in KINDS} == fids
    asked = made(sampler="gaussian")
    asked.conclude(Splits(), lambda: {"fid": fids[asked.sampler_name]})
    assert asked.sampler_name == "gaussian"
    alone = made()
    alone.conclude(Splits())
    assert alone.sampler_name == "prior", "forty pictures are too few for anything else"


def test_an_unknown_sampler_is_named():
    with pytest.raises(UserError, match="prior"):
        made().use_sampler("normal")
    with pytest.raises(UserError, match="did you mean"):
        made().use_sampler("mixtrue")


def test_what_chooses_a_component_is_spread_evenly():
    model = made()
    for seed in (0, 1, 7):
        places = torch.special.ndtr(model.latents(torch.arange(1000), seed)[:, -1])
        counts = torch.histc(places, bins=50, min=0, max=1)
        assert (counts - 20).abs().max() <= 2, "chance would be off by 10"
    assert not torch.equal(model.latents(torch.arange(9), 0), model.latents(torch.arange(9), 1))
    assert torch.equal(model.latents(torch.arange(9), 0)[5:7], model.latents(torch.tensor([5, 6]), 0))


def test_truncation_leaves_the_choice_of_component():
    scaled = made().truncated(torch.ones(2, 3), 0.5)
    assert scaled.tolist() == [[0.5, 0.5, 1.0]] * 2


def test_making_ready_leaves_no_trace_in_training():
    model = made(average_half_life=100)
    model.train()
    state = torch.random.get_rng_state()
    model.ready(Splits())
    model.encode(binary(3))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(part.training for part in model.modules())


def test_a_denoising_autoencoder_returns_whole_pictures():
    clean, _ = next(Splits().batches("val", 40))
    model = trained(made(Autoencoder, degradation=Noise(60, 60), likelihood=Gaussian(), average_half_life=0))
    torch.manual_seed(0)
    damaged, seen = Noise(60, 60)(clean)
    assert seen.all()
    assert (model.restore(damaged) - clean).square().mean() < 0.5 * (damaged - clean).square().mean()


def test_a_masked_autoencoder_fills_in_what_is_hidden():
    clean, _ = next(Splits().batches("val", 40))
    degradation = Mask(share=0.5, patch=1)
    model = trained(made(Autoencoder, degradation=degradation, likelihood=Gaussian(), average_half_life=0), 150)
    torch.manual_seed(0)
    damaged, seen = degradation(clean)
    assert seen.mean().item() == 0.5
    hidden = (1 - seen) * (model.restore(damaged) - clean).square()
    assert hidden.sum() / (1 - seen).sum() < 0.1


def test_latents_of_a_regularised_autoencoder_are_paid_for():
    images = binary()
    plain = step(made(Autoencoder), images)
    paid = step(made(Autoencoder, latent_weight=2.0), images)
    expected = plain["loss"] + plain["latent_length"].square()
    assert paid["loss"].item() == pytest.approx(expected.item(), rel=1e-5)


def test_weight_decay_spares_biases_and_the_likelihood():
    model = made(optimizer=partial(torch.optim.AdamW, lr=0.001, weight_decay=0.1))
    decayed, spared = model.configure_optimizers().param_groups
    assert decayed["weight_decay"] == 0.1
    assert spared["weight_decay"] == 0
    assert any(parameter is model.network.likelihood.raw for parameter in spared["params"])
    assert all(parameter.ndim > 1 for parameter in decayed["params"])


class Data:
    """What a metric is given."""

    def __init__(self, images):
        self.name, self.image_shape = "toy", (1, 2, 2)
        self.split_digests = {"train": "a", "val": "b", "test": "c"}
        self.held = TensorPictures(((images + 1) * 127.5).to(torch.uint8), torch.zeros(len(images), dtype=torch.int64))

    def pictures(self, split):
        return self.held


def test_the_likelihood_metric_reports_the_evidence():
    model = made(likelihood=Bernoulli(), average_half_life=0)
    with torch.no_grad():
        model.network.encoder.output.weight.mul_(0.1)
    images = binary(12)
    values = Likelihood(nll_samples=500, nll_images=None).score(model, Data(images), "test", exact=True).values
    exact = evidence(model, images).mean().item()
    assert values["nll"] == pytest.approx(-exact, abs=0.05)
    assert values["bits_per_dim"] == pytest.approx(values["nll"] / (4 * 0.6931472), rel=1e-6)
    assert values["elbo"] == pytest.approx(-values["rate"] - values["distortion"])
    assert values["elbo"] < exact + 0.1
    assert values["information"] <= values["rate"]
    again = Likelihood(nll_samples=500, nll_images=None).score(model, Data(images), "test", exact=True).values
    assert again == values


def test_the_tight_bound_of_some_pictures_stands_for_that_of_all():
    model = made(likelihood=Bernoulli(), average_half_life=0)
    data = Data(binary(400))
    some, every = (
        Likelihood(nll_samples=100, nll_images=count).score(model, data, "test", exact=True).values
        for count in (100, None)
    )
    assert every["nll_error"] == 0
    assert 0 < some["nll_error"] < 0.2
    assert some["nll"] == pytest.approx(every["nll"], abs=5 * some["nll_error"] + 0.1)  # and the noise of one draw
    assert some["nll"] < -some["elbo"]
