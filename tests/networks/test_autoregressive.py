"""Networks over grids that speak of one place after the other: proper likelihoods, and drawing that remembers."""

import itertools
from functools import partial

import pytest
import torch

from darkroom.networks.autoregressive import picked
from darkroom.networks.codes import CodePrior
from darkroom.networks.pixelcnn import GatedPixelCnn
from darkroom.networks.row_lstm import RowLstm

SMALL = {"width": 6, "layers": 2}
GATED = partial(GatedPixelCnn, **SMALL, vertical_width=8, vertical_layers=2)
NETWORKS = {
    "gated": GATED,
    "rectified": partial(GATED, activation="relu"),
    "whole": partial(GATED, cell=1),
    "lstm": partial(RowLstm, **SMALL),
}
NAMES = sorted(NETWORKS)


def made(name, size, codes, condition_dim=0, dtype=torch.float64):
    """A network whose weights all matter, so that nothing is near uniform or alike."""
    torch.manual_seed(0)
    network = NETWORKS[name](size, codes, condition_dim).to(dtype)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return network


def uniforms(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def random_codes(codes, *shape, seed=0):
    return torch.randint(0, codes, shape, generator=torch.Generator().manual_seed(seed))


def alternating(count):
    return torch.eye(2, dtype=torch.float64)[torch.arange(count) % 2]


def slowly(network, numbers, condition=None, codes=None, known=None):
    """What is drawn when everything is computed again for each place."""
    drawn = torch.zeros(numbers.shape, dtype=torch.int64) if codes is None else codes.clone()
    for place in range(numbers.shape[1]):
        found = picked(network(drawn, condition)[:, place], numbers[:, place])
        drawn[:, place] = found if known is None else torch.where(known[:, place], drawn[:, place], found)
    return drawn


class TestLikelihood:
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    @pytest.mark.parametrize("levels", [2, 3])
    @pytest.mark.parametrize("name", NAMES)
    def test_the_probabilities_of_all_pictures_sum_to_one(self, name, levels, dtype):
        network = made(name, (2, 2), levels, condition_dim=2, dtype=dtype)
        grids = torch.tensor(list(itertools.product(range(levels), repeat=4)))
        found = []
        for label in range(2):
            condition = torch.eye(2, dtype=dtype)[[label] * len(grids)]
            log_probs = network.log_prob(grids, condition)
            assert log_probs.double().exp().sum().item() == pytest.approx(1, abs=1e-6)
            assert log_probs.std() > 0.1
            found.append(log_probs)
        assert (found[0] - found[1]).abs().max() > 0.1, "the condition matters"

    @pytest.mark.parametrize("name", NAMES)
    def test_no_logit_knows_its_own_code_or_a_later_one(self, name):
        size = (6, 5)
        network, codes = made(name, size, 3), random_codes(3, 1, 30)
        logits = network(codes)
        for place in range(30):
            changed = codes.clone()
            changed[0, place] = (changed[0, place] + 1) % 3
            moved = (network(changed) - logits).abs().sum(dim=2)[0] > 1e-12
            assert not moved[: place + 1].any()
            row, column = divmod(place, size[1])
            near = [(row, column + 1), (row + 1, column - 1), (row + 1, column), (row + 1, column + 1)]
            told = [r * size[1] + c for r, c in near if r < size[0] and 0 <= c < size[1]]
            assert moved[told].all(), "what stands next to it is told of it"

    @pytest.mark.parametrize("name", NAMES)
    def test_there_is_no_blind_spot(self, name):
        # The last pixel is told of everything, also of what stands to its right and far above.
        network, codes = made(name, (4, 5), 2), random_codes(2, 1, 20)
        logits = network(codes)[0, -1]
        for place in range(19):
            changed = codes.clone()
            changed[0, place] = 1 - changed[0, place]
            assert (network(changed)[0, -1] - logits).abs().sum() > 1e-12, place

    def test_the_gate_is_the_papers(self):
        layer = made("gated", (2, 2), 2).vertical[0]
        maps = torch.randn(2, 8, 3, 3, dtype=torch.float64)
        content, gate = layer.seen(maps).chunk(2, dim=1)
        assert torch.allclose(layer(maps), maps + layer.added(torch.tanh(content / 2) * torch.sigmoid(gate)))

    def test_the_memory_is_the_papers(self):
        memory = made("lstm", (2, 2), 2).memories[0]
        hidden, cell, gates = (torch.randn(3, size, dtype=torch.float64) for size in (6, 6, 24))
        reference = torch.nn.LSTMCell(1, 6).double()
        torch.nn.init.zeros_(reference.weight_hh)
        with torch.no_grad():
            reference.weight_ih.zero_()
            reference.bias_hh.zero_()
        take, forget, content, give = (part.clone() for part in gates.chunk(4, dim=1))
        for row in range(3):
            with torch.no_grad():
                reference.bias_ih.copy_(torch.cat([take[row], forget[row], content[row], give[row]]))
            expected = reference(torch.zeros(1, 1, dtype=torch.float64), (hidden[row, None], cell[row, None]))
            found = memory.updated(torch.cat([forget[row], take[row], give[row], 2 * content[row]]), cell[row])
            assert torch.allclose(found[0], expected[0][0])
            assert torch.allclose(found[1], expected[1][0])

    @pytest.mark.parametrize("name", NAMES)
    def test_half_precision_is_near(self, name):
        network, codes = made(name, (8, 8), 4, dtype=torch.float32), random_codes(4, 16, 64)
        with torch.autocast("cpu", torch.bfloat16):
            half = network.log_prob(codes)
        assert half.dtype == torch.float32
        assert torch.allclose(half, network.log_prob(codes), rtol=0.03)
        half.mean().backward()
        assert all(parameter.grad.abs().sum() > 0 for parameter in network.parameters())


class TestDrawing:
    @pytest.mark.parametrize("size", [(5, 7), (4, 6), (1, 9), (6, 1)])
    @pytest.mark.parametrize("name", NAMES)
    def test_remembering_draws_what_starting_over_would(self, name, size):
        places = size[0] * size[1]
        network, numbers = made(name, size, 5, condition_dim=2), uniforms(6, places)
        drawn = network.sample(numbers, alternating(6))
        assert torch.equal(drawn, slowly(network, numbers, alternating(6)))
        assert len(drawn.unique()) > 2

    @pytest.mark.parametrize("name", NAMES)
    def test_the_logits_of_steps_are_those_of_the_whole(self, name):
        network, codes = made(name, (5, 7), 5), random_codes(5, 3, 35)
        assert torch.allclose(torch.stack(list(network.steps(codes)), dim=1), network(codes), atol=1e-10)

    @pytest.mark.parametrize("name", [*NAMES, "prior"])
    def test_what_is_known_stays_and_the_rest_is_drawn_given_it(self, name, monkeypatch):
        monkeypatch.setitem(NETWORKS, "prior", partial(CodePrior, width=6))
        network, codes, numbers = made(name, (4, 5), 3), random_codes(3, 7, 20), uniforms(7, 20)
        known = uniforms(7, 20, seed=1) < 0.5
        found = network.complete(codes, known, numbers)
        assert torch.equal(found[known], codes[known])
        assert torch.equal(found, slowly(network, numbers, codes=codes, known=known))
        hidden = torch.where(known, codes, (codes + 1) % 3)
        assert torch.equal(network.complete(hidden, known, numbers), found), "what is hidden has no say"
        assert torch.equal(network.complete(codes, known | True, numbers), codes)

    @pytest.mark.parametrize("name", NAMES)
    def test_completions_are_as_frequent_as_they_are_probable(self, name):
        network, count = made(name, (2, 2), 2), 4000
        start = torch.tensor([[1, 0]])
        ends = torch.tensor(list(itertools.product(range(2), repeat=2)))
        shares = network.log_prob(torch.cat([start.expand(4, 2), ends], dim=1)).softmax(dim=0)
        known = torch.tensor([[True, True, False, False]]).expand(count, 4)
        codes = torch.tensor([[1, 0, 0, 0]]).expand(count, 4)
        drawn = network.complete(codes, known, uniforms(count, 4))[:, 2:] @ torch.tensor([2, 1])
        frequencies = torch.bincount(drawn, minlength=4) / count
        assert ((frequencies - shares).abs() < 4 * (shares * (1 - shares) / count).sqrt() + 1e-9).all()

    @pytest.mark.parametrize("name", NAMES)
    def test_each_place_is_computed_once(self, name):
        network = made(name, (4, 6), 2)
        seen = []
        network.output.register_forward_hook(lambda module, inputs, output: seen.append(tuple(output.shape[2:])))
        network.sample(uniforms(2, 24))
        assert seen == [(1, 1)] * 24
