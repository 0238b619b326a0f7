import pytest
import torch
import torch.nn.functional as F

from darkroom.errors import UserError
from darkroom.networks.denoising import DenoisingAutoencoder
from darkroom.networks.dncnn import DnCNN
from darkroom.networks.enlarging import EDSR, SRVGG, enlarged
from darkroom.networks.naf import NAF, local_mean
from darkroom.networks.tone import CLIPPED, STEEP, Tone
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


def test_gates_that_see_everything_have_no_reach():
    assert NAF(3, window=None, **SMALL[NAF]).reach is None
    assert NAF(3, **SMALL[NAF]).reach == 64


class Shown(torch.nn.Module):
    """Returns whatever it is given."""

    def forward(self, inputs):
        return inputs


def chosen(net, low=-1.0, spread=2.0, black=0.0, white=0.0, curve=(), mix=None):
    """Settings that are the same for every channel, but for the mix."""
    curve = torch.tensor(curve or [0.0] * net.knots)
    mix = torch.zeros(net.channels, net.channels) if mix is None else mix - torch.eye(net.channels)
    parts = [torch.full((net.channels,), value) for value in (low, spread, black, white)]
    return torch.cat([*parts, curve.repeat(net.channels), mix.flatten()])[None]


def test_before_it_has_learned_tones_are_stretched_from_black_to_white():
    ramp = torch.linspace(-0.5, 0.2, 64 * 64).view(1, 1, 64, 64)
    faded = torch.cat([ramp, 0.5 * ramp.flip(2), -ramp], dim=1)
    made = Tone(3)(faded)
    ends = [round(share * (64 * 64 - 1)) for share in (CLIPPED, 1 - CLIPPED)]
    ordered = faded.flatten(2).sort(dim=2).values
    low, high = (ordered[:, :, end, None, None] for end in ends)
    assert torch.allclose(made, 2 * (faded - low) / (high - low) - 1, atol=1e-5)
    flat = Tone(3)(torch.full((1, 3, 32, 32), 0.3))
    assert torch.allclose(flat, torch.zeros(()), atol=1e-6)


def test_a_curve_goes_through_its_knots_and_on_beyond_its_ends():
    net = Tone(1, knots=2)
    levels = torch.tensor([-2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0]).view(1, 1, 1, 7)
    shares = torch.tensor([0.25, 0.75]).log().tolist()
    made = net(levels, chosen(net, curve=shares)).flatten()
    assert torch.allclose(made, torch.tensor([-1.5, -1.0, -0.75, -0.5, 0.25, 1.0, 2.5]), atol=1e-6)
    made = net(levels, chosen(net, curve=shares, black=0.5, white=-0.5)).flatten()
    assert torch.allclose(made[[1, 3, 5]], torch.tensor([-0.5, -0.25, 0.5]), atol=1e-6)


def test_channels_are_mixed_after_their_curves():
    net = Tone(3)
    mix = torch.tensor([[0.5, 0.5, 0.0], [0.0, 2.0, -1.0], [1 / 3, 1 / 3, 1 / 3]])
    pictures = noise(2, 3, 5, 7).clamp(-1, 1)
    made = net(pictures, chosen(net, mix=mix).expand(2, -1))
    assert torch.allclose(made, torch.einsum("ij,bjhw->bihw", mix, pictures), atol=1e-5)


def test_parts_match_the_whole_whose_settings_they_are_given_and_every_weight_learns():
    torch.manual_seed(0)
    net = Tone(3, width=4, refine=lambda **given: NAF(**given, **SMALL[NAF]))
    for parameter in net.parameters():
        parameter.data.add_(0.05 * torch.randn_like(parameter))
    whole = noise(2, 3, 96, 64)
    settings = net.look(whole)
    assert settings.shape == (2, net.settings)
    assert torch.equal(net(whole, settings), net(whole))
    inner = (..., slice(0, 32), slice(0, 32))
    bare = Tone(3, width=4)
    bare.load_state_dict({name: value for name, value in net.state_dict().items() if not name.startswith("refine.")})
    assert torch.allclose(bare(whole[inner], settings), bare(whole, settings)[inner], atol=1e-6)
    assert not torch.allclose(bare(whole[inner]), bare(whole, settings)[inner], atol=1e-2)
    net(whole).square().mean().backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in net.parameters())
    assert (bare.reach, net.reach, net.multiple) == (0, 64, 4)


def test_what_refines_is_shown_how_much_noise_has_grown():
    net = Tone(2, channels_in=3, knots=3, refine=lambda **given: Shown())
    inputs = noise(1, 3, 6, 6).double().requires_grad_(True)
    settings = chosen(net, low=-0.4, spread=0.9, curve=[0.2, -1.0, 0.5])
    shown = net(inputs, settings)
    assert shown.shape == (1, 5, 6, 6)
    (slopes,) = torch.autograd.grad(shown[:, :2].sum(), inputs)
    assert torch.allclose(shown[:, 2:4].double() * STEEP, slopes[:, :2], atol=1e-5)
    assert torch.equal(shown[:, 4].double(), inputs[:, 2].float().double())


@pytest.mark.parametrize("asked", [{"scale": 2}, {"channels_in": 4}])
def test_tones_alone_neither_enlarge_nor_know_of_more_than_the_picture(asked):
    with pytest.raises(UserError, match=r"network@model\.network\.refine=naf"):
        Tone(3, **asked)
