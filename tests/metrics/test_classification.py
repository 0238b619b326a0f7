import math

import numpy as np
import pytest
import torch

from darkroom.errors import UserError
from darkroom.metrics.classification import Classification, draw_confusion


class Reciter(torch.nn.Module):
    """Names picture i of a split as it was told to, with a given confidence."""

    device = torch.device("cpu")

    def __init__(self, named, confidence, classes=3):
        super().__init__()
        self.named, self.next = named, 0
        self.logit = math.log(confidence * (classes - 1) / (1 - confidence))
        self.classes = classes

    def predict(self, images):
        assert not self.training
        assert images.dtype == torch.float32
        assert images.min() >= -1
        assert images.max() <= 1
        part = self.named[self.next : self.next + len(images)]
        self.next += len(images)
        return torch.nn.functional.one_hot(part, self.classes) * self.logit


def test_known_answers(make_data):
    data = make_data(val=120)  # 40 of each class
    named = data.pictures("val").labels.clone()
    named[named == 2] = 0  # every cross is taken for upright
    metric = Classification(every=10)
    assert (metric.every, metric.objective) == (10, ("accuracy", "max"))
    scores = metric.score(Reciter(named, 0.9), data, "val")
    expected = {
        "accuracy": 2 / 3,
        "balanced_accuracy": 2 / 3,
        "recall": 2 / 3,
        "precision": (0.5 + 1 + 0) / 3,
        "f1": (2 / 3 + 1 + 0) / 3,
        "calibration_error": 0.9 - 2 / 3,
        "loss": -(2 * math.log(0.9) + math.log(0.05)) / 3,
        "accuracy_majority": 1 / 3,
        "recall_upright": 1,
        "recall_level": 1,
        "recall_cross": 0,
    }
    assert scores.values == pytest.approx(expected, abs=1e-6)
    assert scores.protocol["real_images"] == 120
    assert scores.protocol["data_digest"] == data.split_digests["val"]
    picture = scores.pictures["confusion"]
    assert picture.dtype == np.uint8
    assert picture.shape[2] == 3


def test_the_majority_is_that_of_training(make_data):
    data = make_data(val=120)
    data.splits["train"].labels[:] = 1
    labels = data.splits["val"].labels
    labels[:30] = 0
    scores = Classification().score(Reciter(labels, 0.9), data, "val")
    assert scores.values["accuracy"] == 1
    assert scores.values["accuracy_majority"] == pytest.approx((labels == 1).double().mean().item())


def test_training_is_not_disturbed(data, random_state):
    model = Reciter(data.pictures("val").labels, 0.9).train()
    before = random_state()
    Classification().score(model, data, "val")
    assert random_state() == before
    assert model.training


def test_names_become_keys(make_data):
    data = make_data(class_names=["T-shirt/top", "Ankle boot", "Größe"])
    values = Classification().score(Reciter(data.pictures("val").labels, 0.9), data, "val").values
    assert {"recall_T-shirt_top", "recall_Ankle_boot", "recall_Gr_e"} <= values.keys()


def test_unlabelled_data(make_data):
    with pytest.raises(UserError, match="not labelled"):
        Classification().score(Reciter(torch.zeros(1, dtype=torch.int64), 0.9), make_data(class_names=[]), "val")
    with pytest.raises(UserError, match=r"metrics\.every is 0"):
        Classification(every=0)


def test_the_picture_shows_what_was_confused():
    table = np.diag([98, 100, 50])
    table[0, 1] = 2
    names = ["a", "b", "a rather long name of a class"]
    picture, clean = draw_confusion(table, names), draw_confusion(np.diag([98, 100, 50]), names)
    assert (picture != clean).any()
    assert max(draw_confusion(np.eye(200), [str(i) for i in range(200)]).shape) < 800
    assert draw_confusion(np.zeros((2, 2)), ["a", "b"]).dtype == np.uint8
