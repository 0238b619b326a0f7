"""How a classifier learns: mixed pictures, weighted classes, averaged weights, whitened patches."""

from functools import partial

import pytest
import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from torch import nn

from darkroom.data.pictures import TensorPictures
from darkroom.models.averaged import ema_update
from darkroom.models.classifier import Classifier
from darkroom.models.mixing import Mixing
from darkroom.models.schedule import Schedule
from darkroom.networks.convnet import ConvNet
from darkroom.networks.speedrun import Speedrun

from ..small_models import batches, fit


def classifier(**changes):
    torch.manual_seed(0)
    parts = {
        "network": partial(ConvNet, width=4, feature_dim=8),
        "optimizer": partial(torch.optim.SGD, lr=0.1),
        "schedule": Schedule("constant"),
        "image_shape": (1, 8, 8),
        "class_names": ["a", "b", "c"],
    }
    return Classifier(**{**parts, **changes})


def shown(labels):
    generator = torch.Generator().manual_seed(2)
    pixels = torch.randint(0, 256, (len(labels), 1, 8, 8), dtype=torch.uint8, generator=generator)
    return TensorPictures(pixels, torch.tensor(labels))


def test_mixed_labels_are_the_shares_of_the_pictures():
    images = torch.arange(8.0).reshape(8, 1, 1, 1).expand(8, 1, 4, 4)
    labels = torch.arange(8) % 4
    torch.manual_seed(3)
    mixed, shares = Mixing(4, mixup=1.0, cutmix=0.0, share=1.0)(images, labels)
    before = images.roll(1, 0)
    weight = ((mixed - before) / (images - before)).mean(dim=(1, 2, 3))
    assert weight.std() < 1e-5
    assert 0 < weight[0] < 1
    expected = weight[0] * F.one_hot(labels, 4) + (1 - weight[0]) * F.one_hot(labels.roll(1), 4)
    torch.testing.assert_close(shares, expected)


def test_a_pasted_rectangle_counts_by_its_area():
    images = torch.arange(4.0).reshape(4, 1, 1, 1).expand(4, 1, 16, 16)
    labels = torch.arange(4)
    torch.manual_seed(0)
    mixed, shares = Mixing(4, mixup=0.0, cutmix=1.0, share=1.0)(images, labels)
    kept = (mixed == images).float().mean(dim=(1, 2, 3))
    assert 0 < kept[0] < 1
    torch.testing.assert_close(shares.diagonal(), kept)
    torch.testing.assert_close(shares.sum(dim=1), torch.ones(4))


def test_a_share_of_batches_is_mixed_and_none_when_it_is_off():
    images, labels = torch.rand(4, 1, 4, 4), torch.arange(4)
    torch.manual_seed(0)
    mixing = Mixing(4, mixup=0.5, cutmix=0.5, share=0.3)
    mixed = sum(mixing(images, labels)[1].ndim == 2 for _ in range(400))
    assert 90 < mixed < 150
    preserve_rng_state, same = Mixing(4, mixup=0.0, cutmix=0.0, share=1.0)(images, labels)
    assert preserve_rng_state is images
    assert same is labels


def test_balanced_weights_make_every_class_count_the_same():
    model = classifier(class_weights="balanced")
    labels = [0] * 12 + [1] * 6 + [2] * 2
    model.init_from_data(shown(labels))
    weights = model.class_weight[torch.tensor(labels)]
    sums = torch.zeros(3).index_add_(0, torch.tensor(labels), weights)
    torch.testing.assert_close(sums, torch.full((3,), 20 / 3))
    assert "class_weight" not in model.state_dict()


def test_without_weights_every_picture_counts_the_same():
    model = classifier()
    model.init_from_data(shown([0, 0, 0, 1, 2]))
    assert model.class_weight.tolist() == [1, 1, 1]


def test_the_loss_of_a_step_is_the_weighted_cross_entropy():
    model = classifier(class_weights="balanced", label_smoothing=0.2)
    model.init_from_data(shown([0, 0, 0, 1, 1, 2]))
    model.trainer = pl.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
    (batch,) = batches(1, 6)
    loss = model.training_step(batch, 0)["loss"]
    shares = 0.8 * F.one_hot(batch["labels"], 3) + 0.2 / 3
    weights = torch.tensor([2 / 3, 1.0, 2.0])
    logs = model.network(batch["images"]).log_softmax(dim=1)
    expected = -(shares * weights * logs).sum() / weights[batch["labels"]].sum()
    torch.testing.assert_close(loss, expected)


def test_the_average_forgets_half_in_one_half_life():
    average, network = nn.Linear(1, 1), nn.Linear(1, 1)
    nn.init.zeros_(average.weight), nn.init.ones_(network.weight)
    for _ in range(10):
        ema_update(average, network, images=10, images_seen=10_000, half_life=100, ramp=1.0)
    assert average.weight.item() == pytest.approx(0.5, abs=1e-6)


def test_the_average_has_statistics_of_its_own():
    network = nn.BatchNorm2d(2)
    average = nn.BatchNorm2d(2)
    network(torch.randn(4, 2, 3, 3) + 5)
    ema_update(average, network, images=1, images_seen=1000, half_life=1, ramp=1.0)
    torch.testing.assert_close(average.running_mean, network.running_mean / 2)
    assert average.num_batches_tracked == network.num_batches_tracked


def test_answers_come_from_the_average_and_training_from_the_network():
    model = classifier(average_half_life=20)
    before = model.average.output.weight.clone()
    fit(model, batches(3, 6))
    assert model.averaged
    assert not torch.equal(model.average.output.weight, before)
    assert not torch.equal(model.average.output.weight, model.network.output.weight)
    images = batches(1, 6)[0]["images"]
    torch.testing.assert_close(model.eval().predict(images), model.average(images))
    assert not classifier().averaged


def test_biases_do_not_decay():
    model = classifier(optimizer=partial(torch.optim.SGD, lr=0.1, weight_decay=0.3))
    decaying, others = model.configure_optimizers().param_groups
    assert (decaying["weight_decay"], others["weight_decay"]) == (0.3, 0)
    assert {p.ndim > 1 for p in decaying["params"]} == {True}
    assert {p.ndim > 1 for p in others["params"]} == {False}
    assert len(decaying["params"]) + len(others["params"]) == len(list(model.network.parameters()))


def test_the_first_layer_is_made_from_the_training_pictures_and_stays():
    parts = {"network": partial(Speedrun, widths=(4, 4, 4)), "image_shape": (1, 20, 20), "average_half_life": 10}
    model = classifier(**parts)
    pictures = TensorPictures(torch.randint(0, 256, (50, 1, 20, 20), dtype=torch.uint8), torch.arange(50) % 3)
    model.init_from_data(pictures)
    expected = Speedrun(1, 3, widths=(4, 4, 4))
    expected.whiten(pictures.pixels / 127.5 - 1)
    torch.testing.assert_close(model.network.whitening.weight, expected.whitening.weight, atol=1e-4, rtol=1e-4)
    assert torch.equal(model.average.whitening.weight, model.network.whitening.weight)
    kept = model.network.whitening.weight.clone()
    data = [{"images": torch.rand(6, 1, 20, 20), "labels": torch.arange(6) % 3} for _ in range(2)]
    fit(model, data)
    torch.testing.assert_close(model.network.whitening.weight, kept)


def test_a_rehearsal_changes_nothing():
    model = classifier(network=partial(Speedrun, widths=(4, 4, 4)), image_shape=(1, 20, 20)).train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    model.dummy_loss(torch.rand(4, 1, 20, 20)).backward()
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert all(weight.grad is None for weight in model.parameters())
