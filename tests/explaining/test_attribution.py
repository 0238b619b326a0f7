import copy

import pytest
import torch
from torch import nn

from darkroom.errors import UserError
from darkroom.explaining import attribution
from darkroom.models.explainable import Alternatives, Explainable
from darkroom.networks.convnet import ConvNet
from darkroom.networks.lenet import LeNet
from darkroom.networks.resnet import ResNet
from darkroom.networks.speedrun import Speedrun

SHAPE = (2, 12, 12)


def explainable(network, shape=SHAPE, classes=3):
    names = [f"class {number}" for number in range(classes)]
    return Explainable.of("class", Alternatives(network, torch.ones(())), names, shape)


@pytest.fixture
def images():
    return torch.rand(4, *SHAPE, generator=torch.Generator().manual_seed(0)) * 2 - 1


@pytest.fixture
def targets():
    return torch.tensor([0, 1, 2, 1])


@pytest.fixture
def linear():
    torch.manual_seed(1)
    return nn.Sequential(nn.Flatten(), nn.Linear(2 * 144, 3))


NETWORKS = {
    "convnet": lambda channels: ConvNet(channels, 3, width=4),
    "lenet": lambda channels: LeNet(channels, 3),
    "resnet": lambda channels: ResNet(channels, 3, blocks=1, width=4),
    "speedrun": lambda channels: Speedrun(channels, 3, widths=(8, 12, 16)),
}


def network(kind="convnet", channels=2):
    torch.manual_seed(2)
    return NETWORKS[kind](channels)


def test_integrated_gradients_of_a_linear_model_are_weights_times_differences(linear, images, targets):
    maps = attribution.attribute(attribution.integrated_gradients, explainable(linear).ready(), images, targets)
    weights = linear[1].weight[targets].view(images.shape)
    expected = (weights * (images - images.mean(dim=(2, 3), keepdim=True))).sum(dim=1)
    torch.testing.assert_close(maps, expected.detach(), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize(
    ("kind", "steps", "tolerance"), [("lenet", 32, 0.01), ("lenet", 256, 0.001), ("convnet", 512, 0.005)]
)
def test_integrated_gradients_add_up_to_what_the_logit_gained(kind, steps, tolerance):
    # Within this share of all that speaks for or against; group normalisation bends the way and takes more points.
    images = torch.rand(3, 1, 20, 20, generator=torch.Generator().manual_seed(0)) * 2 - 1
    targets = torch.tensor([0, 1, 2])
    subject = explainable(network(kind, 1), (1, 20, 20)).ready()
    method = attribution.chosen(["integrated_gradients"], subject, steps=steps)["integrated_gradients"]
    maps = attribution.attribute(method, subject, images, targets)
    with torch.no_grad():
        gained = subject.outputs(images, targets) - subject.outputs(attribution.colourless(images), targets)
    assert ((maps.sum(dim=(1, 2)) - gained).abs() < tolerance * maps.abs().sum(dim=(1, 2))).all()


class Sees(nn.Module):
    """Class 0 is the light on the left half, class 1 that on the right."""

    def __init__(self):
        super().__init__()
        self.maps = nn.Conv2d(1, 2, 1, bias=False)
        self.maps.weight.data[:] = torch.tensor([1.0, -1.0]).view(2, 1, 1, 1)
        self.act = nn.ReLU(inplace=True)

    def forward(self, images):
        light, dark = self.act(self.maps(images)).mean(dim=(2, 3)).unbind(1)
        return torch.stack([light - 3 * dark, dark], dim=1)


def test_maps_of_a_network_made_by_hand_are_what_was_worked_out():
    # Logit 0 is mean(light) - 3 mean(dark): the maps' gradients are 1/16 and -3/16 everywhere.
    images = torch.full((1, 1, 4, 4), -0.5)
    images[:, :, 1, 2] = 0.8
    subject = explainable(Sees(), (1, 4, 4), 2).ready()
    assert list(subject.layers) == ["4x4"]
    worked_out = torch.where(images > 0, images / 16, 3 * images / 16)[:, 0]
    for name, expected in (("grad_cam", worked_out.clamp(min=0)), ("hires_cam", worked_out)):
        method = attribution.chosen([name], subject, layer="4x4")[name]
        torch.testing.assert_close(attribution.attribute(method, subject, images, torch.tensor([0])), expected)


def test_maps_of_all_sizes_are_fused_on_their_own_scales(images, targets):
    subject = explainable(network()).ready()
    assert list(subject.layers) == ["12x12", "6x6", "3x3"]
    single = [
        attribution.attribute(
            attribution.chosen(["grad_cam"], subject, layer=layer)["grad_cam"], subject, images, targets
        )
        for layer in subject.layers
    ]
    assert min(maps.min() for maps in single) == 0
    scaled = [maps / maps.amax(dim=(1, 2), keepdim=True).clamp(min=1e-12) for maps in single]
    fused = attribution.attribute(attribution.grad_cam, subject, images, targets)
    torch.testing.assert_close(fused, sum(scaled) / 3)


def test_an_occluded_picture_of_one_colour_loses_nothing(linear, targets):
    plain = torch.full((4, *SHAPE), 0.3)
    for method in (attribution.occlusion, attribution.integrated_gradients):
        maps = attribution.attribute(method, explainable(linear).ready(), plain, targets)
        assert maps.abs().max() < 1e-6


def test_occlusion_is_largest_where_the_answer_is_made():
    corner = torch.zeros(2, 1, 12, 12)
    corner[1, :, :3, :3] = 1
    looks = nn.Sequential(nn.Flatten(), nn.Linear(144, 2, bias=False))
    looks[1].weight.data = corner.view(2, 144)
    images = -torch.ones(1, 1, 12, 12)
    images[:, :, :3, :3] = 1
    subject = explainable(looks, (1, 12, 12), 2).ready()
    maps = attribution.attribute(attribution.occlusion, subject, images, torch.tensor([1]))[0]
    assert maps[:2, :2].min() > 0.5
    assert maps[5:, 5:].abs().max() < 1e-6


@pytest.mark.parametrize("name", attribution.METHODS)
@pytest.mark.parametrize("kind", NETWORKS)
def test_explaining_leaves_no_trace_in_the_model(name, kind):
    size = 20
    model = network(kind, channels=1).train()
    images = torch.rand(3, 1, size, size, generator=torch.Generator().manual_seed(0))
    targets = torch.tensor([0, 1, 2])
    model(images).sum().backward()
    before = copy.deepcopy(model.state_dict())
    gradients = {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None}
    learnt = [weight.requires_grad for weight in model.parameters()]
    subject = explainable(model, (1, size, size)).ready()
    pictures, again = images.clone(), []
    for _ in range(2):
        again.append(attribution.attribute(attribution.METHODS[name], subject, images, targets))
    assert torch.equal(*again)
    assert again[0].shape == (3, size, size)
    assert again[0].abs().max() > 0
    assert torch.equal(images, pictures)
    assert not images.requires_grad
    assert all(torch.equal(tensor, before[key]) for key, tensor in model.state_dict().items())
    assert gradients
    assert all(torch.equal(model.get_parameter(key).grad, old) for key, old in gradients.items())
    assert all(module.training for module in model.modules())
    assert [weight.requires_grad for weight in model.parameters()] == learnt


def test_the_answer_of_a_picture_does_not_depend_on_its_neighbours(images, targets):
    subject = explainable(network("resnet").bfloat16()).ready()
    assert next(subject.outputs.parameters()).dtype == torch.float32
    for method in attribution.METHODS.values():
        together = attribution.attribute(method, subject, images, targets)
        alone = attribution.attribute(method, subject, images[1:2], targets[1:2])
        torch.testing.assert_close(together[1:2], alone, atol=1e-5, rtol=1e-3)


def test_what_cannot_be_asked_is_told(linear):
    seeing, blind = explainable(network()), explainable(linear)
    with pytest.raises(UserError, match="did you mean 'grad_cam'"):
        attribution.chosen(["gradcam"], seeing)
    with pytest.raises(UserError, match="it has 12x12, 6x6, 3x3"):
        attribution.chosen(["grad_cam"], seeing, layer="7x7")
    with pytest.raises(UserError, match="asks for nothing"):
        attribution.chosen([], seeing)
    with pytest.raises(UserError, match="this one has none"):
        attribution.chosen(["grad_cam"], blind)
