"""Codes that follow their vectors, and a prior that knows how probable grids of them are."""

import itertools
import math
import threading

import pytest
import torch

from darkroom import processes
from darkroom.errors import UserError
from darkroom.networks.autoregressive import picked
from darkroom.networks.codebook import DEAD, Codebook, perplexity, straight_through
from darkroom.networks.codes import CodePrior
from darkroom.networks.maps import MapDecoder, MapEncoder


def normals(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def uniforms(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


class TestMaps:
    @pytest.mark.parametrize(
        ("size", "halvings", "grid"),
        [
            ((8, 8), 1, (4, 4)),
            ((28, 28), 2, (7, 7)),
            ((28, 28), 3, (4, 4)),
            ((9, 21), 2, (3, 6)),
            ((31, 33), 4, (2, 3)),
            ((128, 128), 5, (4, 4)),
        ],
    )
    def test_any_size_there_and_back(self, size, halvings, grid):
        encoder = MapEncoder((1, *size), 5, halvings, width=4, blocks=1)
        decoder = MapDecoder(5, (1, *size), 3, halvings, width=4, blocks=1)
        maps = encoder(torch.rand(2, 1, *size))
        assert maps.shape == (2, 5, *grid)
        assert encoder.size == decoder.size == grid
        assert decoder(maps).shape == (2, 3, *size)

    def test_a_vector_concerns_its_surroundings_only(self):
        encoder = MapEncoder((1, 64, 64), 3, halvings=2, width=4, blocks=0)
        images = torch.rand(1, 1, 64, 64)
        changed = images.clone()
        changed[..., 0, 0] += 1
        moved = (encoder(images) - encoder(changed)).abs().sum(dim=1)[0] > 0
        assert moved[0, 0]
        assert not moved[2:].any()
        assert not moved[:, 2:].any()

    def test_pictures_that_are_too_small_are_refused(self):
        with pytest.raises(UserError, match="needs 8"):
            MapEncoder((1, 7, 7), 4)


class TestStraightThrough:
    def test_the_gradient_is_that_of_the_quantised_vectors(self):
        codebook = Codebook(5, 3).double()
        vectors = normals(4, 3).requires_grad_(True)
        quantised = codebook(codebook.nearest(vectors))
        passed = straight_through(vectors, quantised)
        assert torch.allclose(passed, quantised)
        weights = normals(4, 3, seed=1)
        (gradient,) = torch.autograd.grad((weights * passed.square()).sum(), vectors)
        assert torch.allclose(gradient, 2 * weights * quantised)
        assert not quantised.requires_grad


class TestCodebook:
    def test_the_nearest_code_is_the_nearest(self):
        codebook = Codebook(17, 4).double()
        vectors = normals(6, 5, 4)
        codes = codebook.nearest(vectors)
        assert codes.shape == (6, 5)
        assert torch.equal(codes, torch.cdist(vectors, codebook.codes).argmin(dim=-1))

    def test_codes_become_the_means_of_clusters(self):
        torch.manual_seed(0)
        codebook = Codebook(4, 2, half_life=300).double()
        centres = torch.tensor([[4.0, 0.0], [-4.0, 0.0], [0.0, 4.0], [0.0, -4.0]], dtype=torch.float64)
        # Far from even: the rarest cluster has one vector in fifty.
        rows = torch.tensor([0] * 25 + [1] * 16 + [2] * 8 + [3])
        for step in range(300):
            vectors = centres[rows] + 0.1 * normals(50, 2, seed=step)
            codebook.learn(vectors, codebook.nearest(vectors), 50, uniforms(50, seed=step))
        codes = codebook.codes
        assert codes[codebook.nearest(centres)].sub(centres).abs().max() < 0.05
        shares = codebook.shares[codebook.nearest(centres)]
        assert shares == pytest.approx(torch.tensor([0.5, 0.32, 0.16, 0.02], dtype=torch.float64), abs=1e-6)

    def test_a_code_is_the_weighted_mean_of_what_took_it(self):
        codebook = Codebook(2, 1, half_life=8).double()
        codebook.shares.fill_(0.5)
        codebook.sums.copy_(torch.tensor([[-0.5], [0.5]]))
        vectors = torch.tensor([[-1.2], [-2.0], [-4.0], [2.0]], dtype=torch.float64)
        codes = codebook.nearest(vectors)
        assert codes.tolist() == [0, 0, 0, 1]
        shares = codebook.learn(vectors, codes, 8, torch.rand(4))  # one half-life
        assert shares.tolist() == [0.75, 0.25]
        assert codebook.shares.tolist() == [0.625, 0.375]
        assert codebook.codes.flatten().tolist() == pytest.approx([-(0.5 + 1.8) / 1.25, (0.5 + 0.5) / 0.75])

    def test_dead_codes_go_where_vectors_are_badly_served(self):
        codebook = Codebook(8, 2).double()
        codebook.shares.copy_(torch.tensor([1.0] + [0.0001] * 7))
        codebook.sums.copy_(codebook.shares[:, None] * torch.tensor([[0.0, 0.0]] + [[50.0, 50.0]] * 7))
        served = torch.zeros(90, 2, dtype=torch.float64)
        lost = torch.tensor([8.0, 3.0], dtype=torch.float64) + 0.1 * normals(10, 2)
        vectors = torch.cat([served, lost])
        codebook.learn(vectors, codebook.nearest(vectors), 100, uniforms(100))
        assert (codebook.shares >= DEAD / 8).all()
        assert (torch.cdist(codebook.codes[1:], lost).min(dim=1).values < 1e-9).all()
        assert len(codebook.codes[1:].unique(dim=0)) == 7

    def test_fewer_vectors_than_codes(self):
        codebook = Codebook(8, 2)
        vectors = torch.tensor([[5.0, 5.0], [6.0, 6.0]])
        codebook.learn(vectors, codebook.nearest(vectors), 1, torch.rand(2))
        assert torch.allclose(codebook(codebook.nearest(vectors)), vectors)

    def test_processes_together_learn_what_one_does(self, monkeypatch):
        vectors, numbers = 3 * normals(40, 3), uniforms(40)
        torch.manual_seed(0)
        alone = Codebook(6, 3, half_life=10).double()
        halves = [Codebook(6, 3, half_life=10).double() for _ in range(2)]
        for half in halves:
            half.load_state_dict(alone.state_dict())
        codes = alone.nearest(vectors)
        shares = alone.learn(vectors, codes, 40, numbers)

        group = Group(2)
        monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
        monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
        monkeypatch.setattr(torch.distributed, "all_reduce", group.all_reduce)
        monkeypatch.setattr(torch.distributed, "all_gather", group.all_gather)
        assert processes.count() == 2

        def learn(rank):
            own = slice(20 * rank, 20 * rank + 20)
            return halves[rank].learn(vectors[own], codes[own], 40, numbers[own])

        for half, found in zip(halves, group.run(learn), strict=True):
            assert torch.allclose(found, shares)
            assert torch.allclose(half.codes, alone.codes)
            assert torch.allclose(half.shares, alone.shares)

    def test_perplexity_counts_codes(self):
        assert perplexity(torch.tensor([0.25, 0.25, 0.25, 0.25, 0.0])) == pytest.approx(4)
        assert perplexity(torch.tensor([1.0, 0.0])) == pytest.approx(1)


class Group:
    """Processes, played by threads."""

    def __init__(self, count):
        self.barrier = threading.Barrier(count, timeout=5)
        self.given = [None] * count
        self.own = threading.local()

    def run(self, function):
        results = [None] * len(self.given)

        def work(rank):
            self.own.rank = rank
            results[rank] = function(rank)

        threads = [threading.Thread(target=work, args=(rank,)) for rank in range(len(self.given))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return results

    def exchanged(self, tensor):
        self.given[self.own.rank] = tensor.clone()
        self.barrier.wait()
        everyone = list(self.given)
        self.barrier.wait()
        return everyone

    def all_reduce(self, tensor):
        tensor.copy_(sum(self.exchanged(tensor)))

    def all_gather(self, parts, tensor):
        for part, other in zip(parts, self.exchanged(tensor), strict=True):
            part.copy_(other)


def prior(size=(2, 2), codes=3, **changes):
    torch.manual_seed(0)
    made = CodePrior(size, codes, **{"width": 8, **changes}).double()
    with torch.no_grad():
        made.output.weight.mul_(4)  # far from uniform
    return made


def every_grid(places, codes):
    return torch.tensor(list(itertools.product(range(codes), repeat=places)))


class TestCodePrior:
    @pytest.mark.parametrize("conditional", [False, True])
    def test_the_probabilities_of_all_grids_sum_to_one(self, conditional):
        net = prior(condition_dim=2 if conditional else 0)
        condition = torch.tensor([[0.0, 1.0]], dtype=torch.float64).expand(81, 2) if conditional else None
        log_probs = net.log_prob(every_grid(4, 3), condition)
        assert log_probs.exp().sum().item() == pytest.approx(1, abs=1e-6)
        assert log_probs.std() > 0.1

    def test_no_logit_knows_its_own_code_or_a_later_one(self):
        net = prior(size=(3, 4), codes=5)
        codes = torch.randint(0, 5, (1, 12), generator=torch.Generator().manual_seed(0))
        logits = net(codes)
        for place in range(12):
            changed = codes.clone()
            changed[0, place] = (changed[0, place] + 1) % 5
            moved = (net(changed) - logits).abs().sum(dim=2)[0]
            assert not moved[: place + 1].any()
            # What stands right of it, or below, is told of it at once.
            told = [next_ for next_, there in ((place + 1, place % 4 < 3), (place + 4, place < 8)) if there]
            assert all(moved[told] > 0)

    @pytest.mark.parametrize("layers", [1, 2])
    def test_remembering_draws_what_starting_over_would(self, layers):
        net = prior(size=(3, 4), codes=5, layers=layers, condition_dim=2)
        condition = torch.eye(2, dtype=torch.float64)[torch.arange(6) % 2]
        numbers = uniforms(6, 12)
        codes = torch.zeros(6, 12, dtype=torch.int64)
        for place in range(12):
            codes[:, place] = picked(net(codes, condition)[:, place], numbers[:, place])
        assert torch.equal(net.sample(numbers, condition), codes)
        assert len(codes.unique()) == 5

    def test_what_it_was_saved_with_is_still_what_it_has(self):
        memory = [f"memory.{kind}_{where}_l0" for kind in ("weight", "bias") for where in ("ih", "hh")]
        others = ["places", "left.weight", "above.weight", "told.weight", "output.weight", "output.bias"]
        assert set(prior(condition_dim=2).state_dict()) == {*memory, *others}

    def test_it_is_asked_once_a_place(self):
        net = prior(size=(3, 4))
        lengths = []
        net.memory.register_forward_hook(lambda module, inputs, output: lengths.append(inputs[0].shape[1]))
        net.sample(uniforms(2, 12))
        assert lengths == [1] * 12

    def test_samples_are_as_frequent_as_they_are_probable(self):
        net, count = prior(), 20_000
        grids = every_grid(4, 3)
        probabilities = net.log_prob(grids).exp()
        drawn = net.sample(uniforms(count, 4))
        places = 3 ** torch.arange(3, -1, -1)
        frequencies = torch.bincount((drawn * places).sum(dim=1), minlength=81) / count
        deviations = (frequencies - probabilities) / (probabilities * (1 - probabilities) / count).sqrt()
        common = probabilities * count > 20  # of rarer ones the number is not normally distributed
        assert common.sum() > 20
        assert deviations[common].abs().max() < 4
        assert (frequencies - probabilities).abs().sum() < 0.04

    def test_the_condition_matters(self):
        net = prior(condition_dim=2)
        grids = every_grid(4, 3)
        one, other = (net.log_prob(grids, torch.eye(2).double()[[label] * 81]) for label in (0, 1))
        assert (one - other).abs().max() > 0.1

    def test_it_learns_what_is_above(self):
        torch.manual_seed(0)
        net = CodePrior((2, 3), 4, width=32)
        optimizer = torch.optim.Adam(net.parameters(), lr=0.02)
        for _ in range(100):
            row = torch.randint(0, 4, (64, 3))
            loss = -net.log_prob(torch.cat([row, (row + 1) % 4], dim=1)).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        assert 3 * math.log(4) - 0.1 < loss < 3 * math.log(4) + 0.2
        drawn = net.sample(torch.rand(200, 6)).view(-1, 2, 3)
        assert ((drawn[:, 0] + 1) % 4 == drawn[:, 1]).float().mean() > 0.97


class TestPicked:
    def test_the_extremes_pick_the_most_and_the_least_probable(self):
        logits = torch.tensor([[0.1, 0.6, 0.3]]).log().expand(5, 3)
        numbers = torch.tensor([0.0, 0.599, 0.601, 0.899, 1.0])
        assert picked(logits, numbers).tolist() == [1, 1, 2, 2, 0]

    def test_what_is_impossible_is_never_picked(self):
        logits = torch.tensor([[0.0, -torch.inf, 0.0]]).expand(101, 3)
        assert set(picked(logits, torch.linspace(0, 1, 101)).tolist()) == {0, 2}
