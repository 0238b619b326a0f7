"""Likelihoods that are exact: what is averaged, over what, and what is said of it."""

import math

import pytest
import torch

from darkroom import lab
from darkroom.errors import UserError
from darkroom.images import from_uint8
from darkroom.metrics import protocol
from darkroom.metrics.exact_likelihood import ExactLikelihood
from darkroom.models.model import Model
from darkroom.models.schedule import Schedule


class Coin(torch.nn.Module):
    """Every bright pixel costs one nat, every dark one two; it draws black and completes with white."""

    device, levels = torch.device("cpu"), 256

    def __init__(self, classes=0):
        super().__init__()
        self.classes, self.averaged, self.asked = classes, False, []

    def log_prob(self, images, labels=None):
        self.asked.append((len(images), labels, self.training))
        return -torch.where(images > 0, 1.0, 2.0).flatten(1).sum(dim=1)

    def sample(self, indices, seed):
        return -torch.ones(len(indices), 1, 12, 12)

    def complete(self, images, known, seed=0, labels=None):
        assert labels is None or len(labels) == len(images)
        return torch.where(known, images, torch.ones(()))


def expected(data, split, count):
    images = from_uint8(data.pictures(split).batch(torch.arange(count)))
    return 144 + (images <= 0).flatten(1).sum(dim=1).double()


class TestScores:
    def test_all_held_out_pictures_count_in_the_end(self, data):
        scores = ExactLikelihood(images=7).score(Coin(), data, "test", exact=True)
        costs = expected(data, "test", 150)
        assert scores.values["nll"] == pytest.approx(costs.mean().item())
        assert scores.values["nll_error"] == pytest.approx(costs.std().item() / math.sqrt(150))
        assert scores.values["bits_per_dim"] == pytest.approx(costs.mean().item() / 144 / math.log(2))
        assert scores.protocol["real_images"] == 150

    def test_some_of_them_while_training(self, data):
        model = Coin().train()
        scores = ExactLikelihood(images=7).score(model, data, "val")
        assert scores.values["nll"] == pytest.approx(expected(data, "val", 7).mean().item())
        assert scores.protocol["real_images"] == 7
        assert not any(training for *_, training in model.asked)
        assert model.training

    def test_a_conditional_model_is_told_the_class(self, data):
        model = Coin(classes=3)
        ExactLikelihood(images=7).score(model, data, "val")
        assert model.asked[0][1].tolist() == [0, 1, 2, 0, 1, 2, 0]

    def test_numbers_of_different_questions_are_not_ranked(self, data):
        metric = ExactLikelihood(images=7)
        plain, told, coarse = Coin(), Coin(classes=3), Coin()
        coarse.levels = 16
        protocols = [metric.score(model, data, "val").protocol for model in (plain, told, coarse)]
        assert "given the class" in protocol.differences(protocols[0], protocols[1])[0]
        assert protocol.differences(protocols[0], protocols[2]) == ["levels is 256 in one and 16 in the other"]
        assert not protocol.differences(protocols[0], metric.score(Coin(), data, "val").protocol)

    def test_progress_ends_at_the_end(self, data):
        seen = []
        ExactLikelihood().score(Coin(), data, "test", exact=True, progress=lambda *done: seen.append(done))
        assert seen == [(100, 150), (150, 150)]

    def test_sheets(self, data):
        scores = ExactLikelihood().score(Coin(), data, "test", exact=True)
        assert set(scores.pictures) == {"samples", "completions"}
        sheet = scores.pictures["completions"]
        cell = 48 + 2
        assert sheet.shape == (5 * cell + 2, 10 * cell + 2, 3)
        hidden = sheet[cell + 2 + 24 : cell + 2 + 48, 2 : 2 + 48]
        assert set(hidden.flatten().tolist()) == {128}, "hidden pixels are grey"
        for row in (2, 3, 4):
            assert (sheet[row * cell + 2 + 24 : row * cell + 2 + 48, 2 : 2 + 48] == 255).all()
            assert (sheet[row * cell + 2 : row * cell + 26] == sheet[2:26]).all(), "known pixels are kept"
        assert set(ExactLikelihood(images=3).score(Coin(), data, "val").pictures) == {"completions"}


class Painter(Model):
    def predict(self, images):
        return images


def test_a_model_without_an_exact_likelihood_is_refused(data):
    model = Painter((1, 12, 12), [], Schedule("constant"))
    with pytest.raises(UserError, match=r"A Painter has no exact likelihood .*: type metrics=classification"):
        lab.check_fit(ExactLikelihood(), model, data)
    model.log_prob = model.predict
    lab.check_fit(ExactLikelihood(), model, data)
