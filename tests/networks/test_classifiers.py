import pytest
import torch
import torch.nn.functional as F

from darkroom.errors import UserError
from darkroom.networks.backbone import Backbone
from darkroom.networks.convnet import ConvNet
from darkroom.networks.lenet import LeNet
from darkroom.networks.resnet import Block, ResNet
from darkroom.networks.speedrun import Speedrun

NETWORKS = {
    "convnet": lambda channels: ConvNet(channels, 5, width=4),
    "lenet": lambda channels: LeNet(channels, 5),
    "resnet": lambda channels: ResNet(channels, 5, blocks=1, width=4),
    "speedrun": lambda channels: Speedrun(channels, 5, widths=(8, 12, 16)),
}
every_network = pytest.mark.parametrize("make", NETWORKS.values(), ids=NETWORKS)


@every_network
@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32), (1, 20, 33), (3, 64, 64)])
def test_a_network_fits_any_picture(make, shape):
    network = make(shape[0]).eval()
    images = torch.rand(2, *shape) * 2 - 1
    features, logits = network.features(images), network(images)
    assert logits.shape == (2, 5)
    assert features.shape == (2, network.output.in_features)
    scale = getattr(network, "temperature", 1.0)
    torch.testing.assert_close(network.output(features) / scale, logits)


@every_network
def test_every_learnt_weight_is_used(make):
    network = make(3)
    network(torch.randn(8, 3, 32, 32)).square().sum().backward()
    learnt = {name: weight for name, weight in network.named_parameters() if weight.requires_grad}
    assert [name for name, weight in learnt.items() if weight.grad is None or not weight.grad.any()] == []


@every_network
def test_an_answer_depends_on_its_own_picture_alone(make):
    network = make(1).eval()
    images = torch.rand(3, 1, 28, 28)
    torch.testing.assert_close(network(images)[1:2], network(images[1:2]))


def test_the_textbook_counts_its_weights_right():
    # 3x3x3x32+32, 3x3x32x64+64, 3x3x64x64+64, 1024x64+64, 64x10+10
    assert sum(weight.numel() for weight in LeNet(3, 10).parameters()) == 896 + 18_496 + 36_928 + 65_600 + 650


def test_resnet_20_is_as_large_as_in_the_paper():
    network = ResNet(3, 10)
    assert sum(weight.numel() for weight in network.parameters()) == 269_722  # "0.27M", He et al. 2016, table 6
    layers = [part for part in network.modules() if isinstance(part, torch.nn.Conv2d | torch.nn.Linear)]
    assert len(layers) == 20


def test_a_shortcut_takes_every_second_pixel_and_adds_empty_channels():
    block = Block(2, 4).eval()
    for weight in block.layers.parameters():
        torch.nn.init.zeros_(weight)
    maps = torch.rand(1, 2, 4, 4)
    around = block(maps)
    torch.testing.assert_close(around[:, :2], maps[:, :, ::2, ::2])
    assert not around[:, 2:].any()


def test_whitened_patches_are_uncorrelated_and_of_unit_variance():
    generator = torch.Generator().manual_seed(0)
    smooth = F.avg_pool2d(torch.randn(200, 3, 34, 34, generator=generator), 3, stride=1)
    network = Speedrun(3, 10, widths=(8, 8, 8))
    network.whiten(smooth, floor=0.0)
    out = network.whitening(smooth).transpose(0, 1).flatten(1).double()
    half = len(out) // 2
    torch.testing.assert_close(out[half:], -out[:half])
    torch.testing.assert_close(torch.cov(out[:half]), torch.eye(half, dtype=torch.float64), atol=0.01, rtol=0)


def test_a_group_starts_by_passing_on_what_it_is_given():
    network = Speedrun(1, 10, widths=(12, 12, 12))
    first, second = (part for part in network.groups[1].modules() if isinstance(part, torch.nn.Conv2d))
    maps = torch.rand(2, 8, 6, 6)
    torch.testing.assert_close(first(maps)[:, :8], maps)
    more = torch.rand(2, 12, 6, 6)
    torch.testing.assert_close(second(more), more)


def test_the_whitening_is_not_learnt():
    network = Speedrun(1, 10, widths=(8, 8, 8))
    assert not network.whitening.weight.requires_grad
    assert network.whitening.bias.requires_grad


@pytest.mark.parametrize(("make", "plain"), [(ConvNet, True), (LeNet, True), (Speedrun, True), (ResNet, False)])
def test_a_network_says_whether_it_is_plain(make, plain):
    assert make.plain is plain


def test_a_name_that_timm_does_not_know_is_refused():
    pytest.importorskip("timm")
    with pytest.raises(UserError, match=r"timm knows no network 'resnet81'.*did you mean"):
        Backbone(1, 3, name="resnet81")


def test_a_network_of_timm_has_features_under_its_last_layer():
    pytest.importorskip("timm")
    network = Backbone(1, 3, name="test_resnet").eval()
    images = torch.rand(2, 1, 32, 32)
    assert network(images).shape == (2, 3)
    torch.testing.assert_close(network.output(network.features(images)), network(images))


def test_without_timm_the_way_to_get_it_is_named(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(UserError, match="pip install 'darkroom-lab\\[timm\\]'"):
        Backbone(1, 3)
