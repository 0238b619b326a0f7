import math

import numpy as np
import pytest
import torch

from darkroom.errors import UserError
from darkroom.metrics.classification import Classification


class Reciter(torch.nn.Module):
    """Names picture i of a split as it was told to, with a given confidence."""

    device = torch.device("cpu")
    averaged = False

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
        "brier_score": (2 * (0.1**2 + 2 * 0.05**2) + 0.9**2 + 0.05**2 + 0.95**2) / 3,
        "loss": -(2 * math.log(0.9) + math.log(0.05)) / 3,
        "accuracy_majority": 1 / 3,
        "precision_upright": 0.5,
        "precision_level": 1,
        "precision_cross": 0,
        "recall_upright": 1,
        "recall_level": 1,
        "recall_cross": 0,
        "f1_upright": 2 / 3,
        "f1_level": 1,
        "f1_cross": 0,
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
    for metric in ("precision", "recall", "f1"):
        assert {f"{metric}_T-shirt_top", f"{metric}_Ankle_boot", f"{metric}_Gr_e"} <= values.keys()


def test_unlabelled_data(make_data):
    with pytest.raises(UserError, match="not labelled"):
        Classification().score(Reciter(torch.zeros(1, dtype=torch.int64), 0.9), make_data(class_names=[]), "val")


class Linear(torch.nn.Module):
    """Names a picture by one product with its pixels, so that it may answer otherwise to its mirror image."""

    device = torch.device("cpu")
    averaged = False

    def __init__(self, classes=3, scale=4.0):
        super().__init__()
        self.weight = torch.randn(classes, 144, generator=torch.Generator().manual_seed(3)) * scale

    def predict(self, images):
        return images.flatten(1) @ self.weight.T


def test_a_temperature_is_told_apart_from_what_it_changed(data):
    model = Linear()
    raw = Classification().score(model, data, "val", exact=True)
    assert not {"temperature", "loss_uncalibrated", "calibrated"} & (raw.values.keys() | raw.protocol.keys())
    answer = model.predict
    model.predict = lambda images: answer(images) / 2.5
    model.calibration = lambda: 2.5
    cooled = Classification().score(model, data, "val", exact=True)
    for name in ("calibration_error", "loss"):
        assert cooled.values[f"{name}_uncalibrated"] == pytest.approx(raw.values[name], rel=1e-5)
        assert cooled.values[name] != pytest.approx(raw.values[name], rel=1e-2)
    assert cooled.values["temperature"] == 2.5
    for name in ("accuracy", "f1", "recall_cross"):
        assert cooled.values[name] == raw.values[name]
    assert cooled.protocol_digest == raw.protocol_digest
    while_training = Classification().score(model, data, "val")
    assert while_training.values == {name: cooled.values[name] for name in while_training.values}
    assert while_training.pictures.keys() == {"confusion"}


def test_views_are_averaged_and_stand_beside_the_accuracy(data):
    model, images, labels = Linear(), *pictures_and_labels(data)

    def moves(images):
        wide = torch.nn.functional.pad(images, (1, 1, 1, 1), mode="replicate")
        return [images, wide[:, :, 2:, 2:], wide[:, :, :-2, :-2]]

    mirrored = images.flip(3)
    looks = {"flip": [images, mirrored], "shift": moves(images), "flip,shift": [*moves(images), *moves(mirrored)]}
    plain = Classification().score(model, data, "val", exact=True)
    for asked, seen in looks.items():
        scores = Classification(views=asked.split(",")).score(model, data, "val", exact=True)
        shares = torch.stack([model.predict(look).softmax(dim=1) for look in seen]).mean(dim=0)
        expected = (shares.argmax(dim=1) == labels).double().mean().item()
        assert scores.values["accuracy_views"] == expected
        assert scores.values == {**plain.values, "accuracy_views": expected}
        assert scores.protocol["views"] == asked.replace(",", ", ")
        assert scores.protocol_digest == plain.protocol_digest
    assert Classification(views=["flip"]).score(model, data, "val").protocol.get("views") is None


def pictures_and_labels(data):
    pictures = data.pictures("val")
    return pictures.batch(torch.arange(len(pictures))).float() / 127.5 - 1, pictures.labels


def test_a_model_that_cannot_tell_sides_gains_nothing_from_a_mirror(data):
    model = Linear()
    model.weight = (model.weight.view(3, 12, 12) + model.weight.view(3, 12, 12).flip(2)).flatten(1)
    values = Classification(views=["flip"]).score(model, data, "val", exact=True).values
    assert values["accuracy_views"] == pytest.approx(values["accuracy"], abs=1e-6)


def test_unknown_and_impossible_views(make_data):
    with pytest.raises(UserError, match="did you mean 'flip'"):
        Classification(views=["flipp"])
    digits = make_data(name="digits")
    digits.flippable = False
    with pytest.raises(UserError, match=r"would mirror digits.*metrics\.views=\[shift\]"):
        Classification(views=["shift", "flip"]).check(None, digits, ["val"])
    Classification(views=["shift"]).check(None, digits, ["val"])


def test_two_classes_have_a_ranking():
    data = TwoKinds()
    # Of the three drawn and two real ones, five of six pairs are in the right order.
    model = Reader([-2.0, -1.0, 1.0, 0.5, 3.0])
    values = Classification().score(model, data, "val").values
    assert values["auroc"] == pytest.approx(5 / 6)
    data.pictures("val").labels[:] = 0
    assert "auroc" not in Classification().score(model, data, "val").values


class Reader(torch.nn.Module):
    """Answers the logits it was told to, for real."""

    device = torch.device("cpu")
    averaged = False

    def __init__(self, logits):
        super().__init__()
        self.logits = torch.tensor(logits)

    def predict(self, images):
        return torch.stack([torch.zeros(len(self.logits)), self.logits], dim=1)


class TwoKinds:
    name, class_names, image_shape, flippable = "two", ["generated", "real"], (1, 4, 4), True
    split_digests = {"val": "0" * 64}  # noqa: RUF012

    def __init__(self):
        self.held = Held(torch.zeros(5, 1, 4, 4, dtype=torch.uint8), torch.tensor([0, 0, 0, 1, 1]))

    def pictures(self, split):
        return self.held


class Held:
    def __init__(self, pixels, labels):
        self.pixels, self.labels = pixels, labels

    def __len__(self):
        return len(self.pixels)

    def batch(self, indices):
        return self.pixels[indices]


def test_a_network_that_has_diverged_is_scored_all_the_same(data):
    model = Linear(scale=float("nan"))
    scores = Classification().score(model, data, "val", exact=True)
    assert math.isnan(scores.values["loss"])
    assert scores.pictures.keys() == {"confusion", "classes", "reliability"}
