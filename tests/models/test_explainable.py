import pytest
import torch
from torch import nn

from darkroom.models.conditioning import Conditioned, OneHot
from darkroom.models.explainable import Explainable, map_layers
from darkroom.models.gan import Realness
from darkroom.networks.convnet import ConvNet
from darkroom.networks.dcgan import DcganDiscriminator
from darkroom.networks.resnet import Block, ResNet


class Asked(nn.Module):
    """Any network as outputs."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, images, targets=None):
        return self.network(images)


def test_the_last_maps_of_each_size_are_found_after_their_activation():
    network = ConvNet(1, 3, width=4)
    found = map_layers(Asked(network), (1, 28, 28))
    assert list(found) == [(28, 28), (14, 14), (7, 7), (3, 3)]
    assert [isinstance(found[size], nn.ReLU) for size in [(28, 28), (14, 14), (7, 7)]] == [True] * 3
    residual = map_layers(Asked(ResNet(1, 3, blocks=1, width=4)), (1, 28, 28))
    # What the last block gives is what the row of blocks gives.
    assert [type(module) for module in residual.values()] == [Block, Block, nn.Sequential]


def test_a_module_that_works_twice_is_passed_over():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.act, self.other = nn.Conv2d(1, 1, 3, padding=1), nn.ReLU(), nn.Conv2d(1, 1, 3, padding=1)

        def forward(self, images):
            return self.act(self.other(self.act(self.conv(images)))).mean(dim=(2, 3))

    network = Twice()
    assert map_layers(Asked(network), (1, 8, 8)) == {(8, 8): network.other}


def test_a_network_without_maps_has_no_layers():
    assert map_layers(Asked(nn.Sequential(nn.Flatten(), nn.Linear(64, 2))), (1, 8, 8)) == {}


def test_looking_for_layers_changes_nothing():
    network = ResNet(1, 3, blocks=1, width=4).train()
    network.blocks[0].eval()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    modes = [module.training for module in network.modules()]
    map_layers(Asked(network), (1, 28, 28))
    assert [module.training for module in network.modules()] == modes
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert not any(module._forward_hooks for module in network.modules())


def test_a_copy_that_is_ready_works_in_nothing_in_place():
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(72, 2)).double().train()
    original = Explainable.of("class", Asked(network), ["a", "b"], (1, 8, 8))
    ready = original.ready()
    assert network[1].inplace
    assert network.training
    parts = list(ready.outputs.modules())
    assert not any(getattr(part, "inplace", False) or part.training for part in parts)
    assert {weight.dtype for weight in ready.outputs.parameters()} == {torch.float32}
    assert ready.layers["6x6"] in parts
    assert original.layers["6x6"] is network[1]


@pytest.mark.parametrize("conditional", [True, False])
def test_realness_is_the_discriminators_logit_over_a_typical_one(conditional):
    torch.manual_seed(0)
    classes = 3 if conditional else 0
    discriminator = Conditioned(DcganDiscriminator((1, 8, 8), classes, width=4), OneHot(classes) if classes else None)
    typical = torch.tensor([1.0, 2.0, 3.0]) if conditional else torch.tensor([1.0])
    outputs = Realness(discriminator, typical, torch.arange(3) if conditional else None)
    images = torch.randn(4, 1, 8, 8)
    for kind in range(len(typical)):
        labels = torch.full((4,), kind)
        expected = discriminator(images, labels if conditional else None) - typical[kind]
        torch.testing.assert_close(outputs(images)[:, kind], expected)
        torch.testing.assert_close(outputs(images, labels), expected)
    subject = Explainable.of("realness", outputs, [str(kind) for kind in typical], (1, 8, 8), exclusive=False)
    assert list(subject.layers) == ["4x4"]
    torch.testing.assert_close(subject.probabilities(images), outputs(images).sigmoid())
