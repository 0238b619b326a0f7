import numpy as np
import pytest
import torch

from darkroom.metrics.diagrams import draw_classes, draw_confusion, draw_reliability
from darkroom.metrics.reliability import Reliability


def test_the_picture_shows_what_was_confused():
    table = np.diag([98, 100, 50])
    table[0, 1] = 2
    names = ["a", "b", "a rather long name of a class"]
    picture, clean = draw_confusion(table, names), draw_confusion(np.diag([98, 100, 50]), names)
    assert (picture != clean).any()
    assert max(draw_confusion(np.eye(200), [str(i) for i in range(200)]).shape) < 800
    assert draw_confusion(np.zeros((2, 2)), ["a", "b"]).dtype == np.uint8


@pytest.fixture(scope="module")
def unsure():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(300, 5, generator=generator) * 2
    labels = torch.multinomial(logits.softmax(dim=1), 1, generator=generator)[:, 0]
    return {scale: Reliability.of((logits * scale).softmax(dim=1), labels) for scale in (1, 3)}


def reddish(picture):
    """The share of pixels with the colour of a network that is too sure."""
    pixels = picture.astype(int)
    return ((pixels[:, :, 0] - pixels[:, :, 2]) > 40).mean()


def test_overconfidence_is_red_and_a_temperature_adds_a_second_panel(unsure):
    alone, worse = draw_reliability(unsure[1]), draw_reliability(unsure[3])
    assert alone.dtype == np.uint8
    assert alone.shape == worse.shape
    assert reddish(worse) > 5 * reddish(alone)
    both = draw_reliability(unsure[1], unsure[3], 3.0)
    assert both.shape[0] == alone.shape[0]
    assert both.shape[1] > 1.5 * alone.shape[1]
    assert (both == draw_reliability(unsure[1], unsure[3], 3.0)).all()
    assert (both != draw_reliability(unsure[1], unsure[3], 2.0)).any()


def test_one_bin_alone_can_be_drawn():
    certain = Reliability.of(torch.eye(2), torch.tensor([0, 1]))
    assert draw_reliability(certain, certain, 0.01).std() > 0


def test_of_many_classes_the_hardest_are_drawn():
    rows = {str(number): (1.0, 1.0, number / 100) for number in range(100)}
    many = draw_classes(rows, [5] * 100)
    assert many.shape == draw_classes(dict(list(rows.items())[:40]), [5] * 40).shape
    assert (many == draw_classes(dict(reversed(rows.items())), [5] * 100)).all()
    assert draw_classes({"a": (1.0, 0.5, 0.67), "b": (0.6, 1.0, 0.75)}, [5, 6]).shape[0] < many.shape[0] / 3
