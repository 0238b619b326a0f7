import pytest
import torch
import torch.nn.functional as F

from darkroom.errors import UserError
from darkroom.networks.denoising import DenoisingAutoencoder
from darkroom.networks.dncnn import DnCNN
from darkroom.networks.enlarging import EDSR, SRVGG, enlarged
from darkroom.networks.naf import NAF, local_mean
from darkroom.networks.unet import UNet

SMALL = {
    NAF: {"width": 4, "encoder": [1, 1], "decoder": [1, 1]},
    DnCNN: {"width": 4, "layers": 4},
    UNet: {"widths": [4, 8]},
    SRVGG: {"width": 4, "layers": 2},
    EDSR: {"width": 4, "blocks": 2},
    DenoisingAutoencoder: {"width": 4, "blocks": 1},
}
LARGER = [NAF, UNet, SRVGG, EDSR]


def noise(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("kind", SMALL)
def test_a_fresh_network_returns_the_picture_and_not_what_is_beside_it(kind):
    inputs = noise(2, 5, 16, 24)
    assert torch.equal(kind(3, channels_in=5, **SMALL[kind])(inputs), inputs[:, :3])


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("kind", LARGER)
def test_a_fresh_network_enlarges_as_bicubic_does(kind, scale):
    inputs = noise(1, 4, 8, 12)
    made = kind(3, channels_in=4, scale=scale, **SMALL[kind])(inputs)
    assert torch.equal(made, enlarged(inputs[:, :3], scale))
    assert made.shape == (1, 3, 8 * scale, 12 * scale)


@pytest.mark.parametrize("kind", [DnCNN, DenoisingAutoencoder])
def test_what_cannot_enlarge_says_so(kind):
    with pytest.raises(UserError, match="enlarges nothing"):
        kind(3, scale=2)


@pytest.mark.parametrize("kind", SMALL)
def test_what_is_beyond_its_reach_decides_nothing_and_every_weight_learns(kind):
    torch.manual_seed(0)
    network = kind(1, channels_in=2, **SMALL[kind]).double().eval()
    for parameter in network.parameters():
        parameter.data.add_(0.05 * torch.randn_like(parameter))
    inputs = noise(1, 2, 96, 96).double().requires_grad_(True)
    network(inputs)[0, 0, 48, 48].backward()
    reached = inputs.grad[0, 1].nonzero()
    assert len(reached) > 1
    if kind is not NAF:  # whose gates look at a wide neighbourhood, faintly
        assert (reached - 48).abs().max() <= network.reach
    assert all(parameter.grad is not None for parameter in network.parameters())


@pytest.mark.parametrize("unshuffle", [1, 2])
def test_naf_is_the_same_in_either_order_of_memory_and_for_each_picture(unshuffle):
    torch.manual_seed(0)
    network = NAF(3, unshuffle=unshuffle, **SMALL[NAF])
    torch.nn.init.normal_(network.last.weight, std=0.1)
    inputs = noise(3, 3, 16, 24)
    made = network(inputs)
    assert torch.allclose(made, network(inputs.contiguous(memory_format=torch.channels_last)), atol=1e-5)
    assert torch.allclose(made[:1], network(inputs[:1]), atol=1e-5)
    assert network.multiple == 4 * unshuffle
    assert not torch.allclose(made, inputs, atol=0.01)


def test_a_local_mean_is_a_mean_over_a_window_moved_inside():
    maps = noise(2, 3, 12, 9)
    made = local_mean(maps, 5)
    inner = F.avg_pool2d(maps, 5, stride=1)
    assert torch.allclose(made, F.pad(inner, (2, 2, 2, 2), mode="replicate"), atol=1e-5)
    assert torch.allclose(local_mean(maps, 12), maps.mean(dim=(2, 3), keepdim=True), atol=1e-6)
    assert torch.equal(local_mean(maps, None), local_mean(maps, 99))
    tall = local_mean(maps, 10)
    assert tall.shape == (2, 3, 12, 1)
    assert torch.allclose(tall[:, :, 0, 0], maps[:, :, :10].mean(dim=(2, 3)), atol=1e-5)


def test_too_few_layers_are_refused():
    with pytest.raises(UserError, match="3 or more"):
        DnCNN(3, layers=2)
