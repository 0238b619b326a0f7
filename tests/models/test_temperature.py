import math
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from darkroom.models.classifier import Classifier
from darkroom.models.schedule import Schedule
from darkroom.models.temperature import MOST, fit_temperature


def honest(count=2000, classes=4, seed=0):
    """Logits whose softmax is exactly how likely each label is."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(count, classes, generator=generator) * 2
    return logits, torch.multinomial(logits.softmax(dim=1), 1, generator=generator).squeeze(1)


@pytest.mark.parametrize("distortion", [0.2, 1.0, 3.0])
def test_a_known_distortion_is_found(distortion):
    logits, labels = honest()
    assert fit_temperature(logits * distortion, labels) == pytest.approx(distortion, rel=0.05)
    assert fit_temperature(logits * distortion, labels) == pytest.approx(
        distortion * fit_temperature(logits, labels), rel=1e-6
    )


def test_no_other_temperature_is_likelier():
    logits, labels = honest(count=300)
    best = fit_temperature(logits, labels)
    losses = [F.cross_entropy(logits.double() / (best * factor), labels) for factor in (0.99, 1, 1.01)]
    assert losses[1] < min(losses[0], losses[2])


def test_adding_to_all_logits_of_a_picture_changes_nothing():
    logits, labels = honest()
    assert fit_temperature(logits.double() + torch.randn(2000, 1).double(), labels) == pytest.approx(
        fit_temperature(logits, labels)
    )


def test_when_nothing_is_wrong_the_confidence_is_that_of_as_many_successes(caplog):
    logits, _ = honest(count=50)
    logits = logits + 3 * F.one_hot(logits.argmax(dim=1), 4)  # no close calls
    temperature = fit_temperature(logits, logits.argmax(dim=1))
    assert (logits.double() / temperature).softmax(dim=1).amax(dim=1).mean() == pytest.approx(51 / 52, abs=1e-9)
    assert "All 50 pictures of val are named right" in caplog.text


def test_names_no_better_than_chance_are_not_trusted(caplog):
    logits, _ = honest()
    assert fit_temperature(logits, logits.argmin(dim=1)) == MOST
    assert "no better than by chance" in caplog.text


@pytest.mark.parametrize("value", [math.nan, math.inf, 2.0])
def test_answers_that_say_nothing_leave_the_confidence_alone(value, caplog):
    assert fit_temperature(torch.full((10, 3), value), torch.zeros(10, dtype=torch.int64)) == 1
    assert "was not calibrated" in caplog.text


class Flat(nn.Module):
    """Takes the first pixels for logits, three times too large."""

    def __init__(self, channels, classes):
        super().__init__()
        self.classes, self.scale = classes, nn.Parameter(torch.tensor(3.0))

    def forward(self, images):
        return images.flatten(1)[:, : self.classes] * self.scale * 8


class OneSplit:
    """Pictures whose first pixels are an honest network's logits, an eighth as large."""

    def __init__(self, count=2000):
        logits, self.labels = honest(count)
        self.images = torch.zeros(count, 1, 4, 4)
        self.images.flatten(1)[:, :4] = logits / 8

    def batches(self, split, size):
        assert split == "val"
        return zip(self.images.split(size), self.labels.split(size), strict=True)


@pytest.fixture
def model():
    optimizer = partial(torch.optim.SGD, lr=0.1)
    return Classifier(Flat, optimizer, Schedule("constant"), (1, 4, 4), ["a", "b", "c", "d"]).eval()


def test_a_classifier_is_calibrated_on_val(model):
    splits = OneSplit()
    raw = model.predict(splits.images)
    curves = model.conclude(splits)
    logits, labels = honest()
    assert curves["temperature"] == pytest.approx(3 * fit_temperature(logits, labels), rel=1e-5)
    assert curves["temperature"] == pytest.approx(3, rel=0.05)
    calibrated = model.predict(splits.images)
    assert calibrated.equal(raw / curves["temperature"])
    assert calibrated.argmax(dim=1).equal(raw.argmax(dim=1))
    assert curves["loss_after"] == pytest.approx(F.cross_entropy(calibrated, labels).item(), rel=1e-5)
    assert curves["loss_before"] == pytest.approx(F.cross_entropy(raw, labels).item(), rel=1e-5)
    assert curves["loss_after"] < curves["loss_before"]
    assert curves["calibration_error_after"] < 0.3 * curves["calibration_error_before"]
    again = model.conclude(splits)
    assert again == curves


def test_a_temperature_is_part_of_the_state_and_older_states_have_that_of_no_effect(model):
    model.conclude(OneSplit())
    state = model.state_dict()
    other = Classifier(Flat, model.optimizer, model.schedule, (1, 4, 4), ["a", "b", "c", "d"])
    other.load_state_dict(state)
    assert other.temperature.equal(model.temperature)
    assert "temperature" not in dict(other.named_parameters())
    older = {name: tensor for name, tensor in state.items() if name != "temperature"}
    other.load_state_dict(older)
    assert other.temperature == 1
    assert "temperature" not in older
    assert other.state_dict().keys() == model.migrate(older).keys()
    with pytest.raises(RuntimeError, match="Missing key"):
        other.load_state_dict({})
