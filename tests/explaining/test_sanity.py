from functools import partial

import pytest
import torch
from torch import nn

from darkroom.explaining import attribution, sanity
from darkroom.models.explainable import Alternatives, Explainable
from darkroom.networks.convnet import ConvNet
from darkroom.networks.resnet import ResNet

SIDE = 16


def explainable(network):
    return Explainable.of("class", Alternatives(network, torch.ones(())), ["no", "yes"], (1, SIDE, SIDE)).ready()


@pytest.fixture
def images():
    return torch.rand(12, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(0)) * 2 - 1


@pytest.fixture
def corner():
    """A network that says yes to contrast with the mean in one corner of the picture, and looks nowhere else."""

    class Corner(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(1, SIDE, SIDE))
            self.weight.data[:, :4, :4] = torch.randn(4, 4, generator=torch.Generator().manual_seed(5))

        def forward(self, images):
            seen = 3 * (images * self.weight).sum(dim=(1, 2, 3))
            return torch.stack([-seen, seen], dim=1)

    return explainable(Corner())


def certain(corner, images):
    """What the network says of each picture, so that every picture is one it is right to be sure of."""
    return corner.probabilities(images).argmax(dim=1)


def where(images):
    truth = torch.zeros(len(images), SIDE, SIDE)
    truth[:, :4, :4] = 1
    return truth


def test_taking_away_what_matters_drops_the_answer_fastest(corner, images):
    targets = certain(corner, images)
    truth = where(images)
    chance = torch.rand(truth.shape, generator=torch.Generator().manual_seed(1))
    areas = [
        [sanity.area(curve).mean().item() for curve in sanity.curves(corner, images, targets, maps)]
        for maps in (truth, chance, -truth)
    ]
    (low, high), (middle, middle_insertion), (last, late) = areas
    assert low < middle < last
    assert high > middle_insertion > late
    # 4 of 64 squares decide: after the first sixteenth nothing is left, and the answer is a coin.
    deletion, insertion = sanity.curves(corner, images, targets, truth)
    empty = corner.probabilities(attribution.colourless(images), targets)
    torch.testing.assert_close(deletion[:, 1:], empty[:, None].expand(-1, sanity.STEPS))
    torch.testing.assert_close(insertion[:, 1:], deletion[:, :1].expand(-1, sanity.STEPS))


def test_both_curves_run_between_the_picture_and_nothing(corner, images):
    targets = certain(corner, images)
    deletion, insertion = sanity.curves(corner, images, targets, torch.rand(12, SIDE, SIDE))
    torch.testing.assert_close(deletion[:, 0], insertion[:, -1])
    torch.testing.assert_close(deletion[:, -1], insertion[:, 0])
    torch.testing.assert_close(deletion[:, 0], corner.probabilities(images, targets))


def test_the_area_of_a_straight_line_is_its_middle():
    assert sanity.area(torch.linspace(1, 0, 17)) == pytest.approx(0.5)
    assert sanity.area(torch.full((3, 5), 0.7)).tolist() == pytest.approx([0.7] * 3)


def test_correlation_is_that_of_spearman():
    from scipy.stats import spearmanr

    one, other = torch.rand(2, 3, 5, 5, generator=torch.Generator().manual_seed(0)).round(decimals=1)
    expected = sum(spearmanr(a.flatten(), b.flatten()).statistic for a, b in zip(one, other, strict=True)) / 3
    assert sanity.correlation(one, other) == pytest.approx(expected)
    assert sanity.correlation(one, one**3) == pytest.approx(1)
    assert sanity.correlation(one, -one) == pytest.approx(-1)
    assert sanity.correlation(one, torch.zeros_like(one)) == 0


def by_name(findings):
    return {finding.name: finding for finding in findings}


def test_a_gradient_is_trusted_and_an_edge_detector_flagged(corner, images):
    methods = {"gradient": attribution.integrated_gradients, "outlines": attribution.edges}
    found = by_name(sanity.examine(corner, methods, images, certain(corner, images), seed=0))
    assert found["gradient"].verdict == sanity.TRUST
    assert abs(found["gradient"].same_order) < 0.2
    assert found["outlines"].verdict == sanity.SURVIVOR
    assert found["outlines"].same_order == found["outlines"].same_places == pytest.approx(1)
    assert found["edges"].verdict == sanity.ALONE
    assert found["gradient"].deletion_area < found["random order"].deletion_area


def test_what_depends_on_the_weights_but_finds_nothing_is_no_better_than_chance(corner, images):
    def noise(subject, images, targets):
        weight = next(subject.outputs.parameters())
        return torch.rand(
            len(images), SIDE, SIDE, generator=torch.Generator().manual_seed(int(1e6 * weight.sum().abs()))
        )

    found = by_name(sanity.examine(corner, {"noise": noise}, images, certain(corner, images), seed=0))
    assert found["noise"].verdict == sanity.NO_BETTER


def test_verdicts_in_words():
    good, bad = torch.linspace(0.1, 0.3, 20), torch.linspace(0.5, 0.7, 20)
    assert sanity.verdict(good, bad, 0.1, 0.1) == sanity.TRUST
    assert sanity.verdict(bad, good, 0.1, 0.1) == sanity.NO_BETTER
    assert sanity.verdict(good, good, 0.1, 0.1) == sanity.NO_BETTER
    assert sanity.verdict(good, bad, 0.6, 0.6) == sanity.SURVIVOR
    assert sanity.verdict(good, bad, 0.1, 0.6) == sanity.PLACES_SURVIVE
    assert sanity.verdict(good[:3], bad[:3], 0.1, 0.1) == sanity.TOO_FEW


def test_few_pictures_prove_nothing(corner, images):
    few = images[: sanity.FEWEST - 1]
    found = by_name(
        sanity.examine(corner, {"gradient": attribution.integrated_gradients}, few, certain(corner, few), seed=0)
    )
    assert found["gradient"].verdict == sanity.TOO_FEW


def test_the_same_seed_gives_the_same_findings(corner, images):
    methods = {"gradient": attribution.integrated_gradients}
    state = torch.get_rng_state()
    one, two, other = (sanity.examine(corner, methods, images, certain(corner, images), seed) for seed in (3, 3, 4))
    assert one == two != other
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("kind", [ConvNet, partial(ResNet, blocks=1)])
def test_random_weights_are_as_large_as_the_learned_ones_and_another_network(kind, images):
    torch.manual_seed(0)
    subject = explainable(kind(channels=1, classes=2))
    before = {name: weight.clone() for name, weight in subject.outputs.state_dict().items()}
    stranger = sanity.redrawn(subject, images, seed=0)
    assert all(torch.equal(weight, before[name]) for name, weight in subject.outputs.state_dict().items())
    assert not any(module.training for module in stranger.outputs.modules())
    for name, weight in stranger.outputs.named_parameters():
        if weight.ndim > 1:
            assert not torch.equal(weight, before[name])
            assert 0.5 < (weight.norm() / before[name].norm()).item() < 2
        else:
            assert torch.equal(weight.sort().values, before[name].sort().values)
    # The maps it is asked about are its own.
    owned = {id(module) for module in stranger.outputs.modules()}
    assert all(id(module) in owned for module in stranger.layers.values())
