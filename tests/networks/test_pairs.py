"""Generators and discriminators: whatever holds for every pair, and what each promises besides."""

import copy
import itertools

import pytest
import torch

from darkroom.errors import UserError
from darkroom.networks.dcgan import DcganDiscriminator, DcganGenerator
from darkroom.networks.infogan import InfoganDiscriminator, InfoganGenerator
from darkroom.networks.initialisation import scaled
from darkroom.networks.mlp import MlpDiscriminator, MlpGenerator
from darkroom.networks.modulation import Modulation
from darkroom.networks.projection import Projection
from darkroom.networks.pyramid import doubled, sizes
from darkroom.networks.r3 import Block, R3Discriminator, R3Generator
from darkroom.networks.sngan import Down, SnganDiscriminator, SnganGenerator

GENERATORS = {
    "mlp": (MlpGenerator, {"widths": (8, 8)}),
    "infogan": (InfoganGenerator, {"width": 4, "hidden_dim": 8, "normalization": "none"}),
    "infogan_batch": (InfoganGenerator, {"width": 4, "hidden_dim": 8, "normalization": "batch"}),
    "dcgan": (DcganGenerator, {"width": 4}),
    "dcgan_batch": (DcganGenerator, {"width": 4, "normalization": "batch"}),
    "sngan": (SnganGenerator, {"width": 4, "normalization": "none"}),
    "sngan_batch": (SnganGenerator, {"width": 4, "normalization": "batch"}),
    "r3": (R3Generator, {"width": 8, "group_width": 4}),
}
DISCRIMINATORS = {
    "mlp": (MlpDiscriminator, {"widths": (8, 8)}),
    "infogan": (InfoganDiscriminator, {"width": 4, "feature_dim": 8}),
    "infogan_batch": (InfoganDiscriminator, {"width": 4, "feature_dim": 8, "normalization": "batch"}),
    "infogan_spectral": (InfoganDiscriminator, {"width": 4, "feature_dim": 8, "normalization": "spectral"}),
    "dcgan": (DcganDiscriminator, {"width": 4, "feature_dim": 8}),
    "dcgan_batch": (DcganDiscriminator, {"width": 4, "feature_dim": 8, "normalization": "batch"}),
    "dcgan_spectral": (DcganDiscriminator, {"width": 4, "feature_dim": 8, "normalization": "spectral"}),
    "sngan": (SnganDiscriminator, {"width": 4, "normalization": "none"}),
    "sngan_spectral": (SnganDiscriminator, {"width": 4, "normalization": "spectral"}),
    "r3": (R3Discriminator, {"width": 8, "group_width": 4}),
}
every_generator = pytest.mark.parametrize("name", GENERATORS)
every_discriminator = pytest.mark.parametrize("name", DISCRIMINATORS)
ALONE = [name for name in DISCRIMINATORS if not name.endswith("batch")]
SPECTRAL = [name for name in DISCRIMINATORS if name.endswith("spectral")]


def generator(name, shape, condition_dim=0, **changed):
    kind, settings = GENERATORS[name]
    return kind(latent_dim=5, image_shape=shape, condition_dim=condition_dim, **(settings | changed))


def discriminator(name, shape, condition_dim=0, **changed):
    kind, settings = DISCRIMINATORS[name]
    return kind(image_shape=shape, condition_dim=condition_dim, **(settings | changed))


def stirred(network):
    """Return the network with every weight that starts at zero moved, so that nothing hides behind it."""
    for weight in network.parameters():
        if not weight.any():
            torch.nn.init.normal_(weight, std=0.1)
    return network


@pytest.mark.parametrize("size", [28, 32, 33, 48, 64, 100, 128, (20, 33), (8, 64)])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("condition_dim", [0, 10])
@every_generator
def test_a_generator_draws_any_size(name, size, channels, condition_dim):
    shape = (channels, *(size if isinstance(size, tuple) else (size, size)))
    condition = torch.eye(10)[[0, 2]] if condition_dim else None
    images = generator(name, shape, condition_dim)(torch.randn(2, 5), condition)
    assert images.shape == (2, *shape)
    assert images.abs().max() <= 1


@pytest.mark.parametrize("size", [28, 32, 33, 48, 64, 100, 128, (20, 33), (8, 64)])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("condition_dim", [0, 10])
@every_discriminator
def test_a_discriminator_judges_any_size(name, size, channels, condition_dim):
    shape = (channels, *(size if isinstance(size, tuple) else (size, size)))
    condition = torch.eye(10)[[0, 2]] if condition_dim else None
    network = discriminator(name, shape, condition_dim)
    images = torch.rand(2, *shape) * 2 - 1
    features = network.features(images)
    assert features.shape == (2, network.judge.output.in_features)
    assert network.eval()(images, condition).shape == (2,)
    torch.testing.assert_close(network(images, condition), network.judge(network.features(images), condition))


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 33, 33), (1, 20, 33)])
@every_discriminator
def test_every_pixel_is_seen(name, shape):
    network = stirred(discriminator(name, shape))
    images = torch.randn(4, *shape, requires_grad=True)
    logits = network(images)
    (gradient,) = torch.autograd.grad((logits * torch.randn(4)).sum(), images)
    assert gradient.abs().sum(dim=(0, 1)).min() > 0


def unused(network):
    return [name for name, weight in network.named_parameters() if weight.grad is None or not weight.grad.any()]


@every_generator
def test_every_weight_of_a_generator_is_used(name):
    network = stirred(generator(name, (3, 20, 20), 10, **({"widths": (64, 64)} if name == "mlp" else {"width": 16})))
    images = network(torch.randn(16, 5), torch.eye(10)[torch.arange(16) % 10])
    (images * torch.randn_like(images)).sum().backward()
    assert unused(network) == []


@every_discriminator
def test_every_weight_of_a_discriminator_is_used(name):
    network = stirred(discriminator(name, (3, 20, 20), 10))
    logits = network(torch.randn(16, 3, 20, 20), torch.eye(10)[torch.arange(16) % 10])
    (logits * torch.randn(16)).sum().backward()
    assert unused(network) == []


def gradient_of_one_logit(name):
    network = stirred(discriminator(name, (1, 16, 16), 3))
    images, condition = torch.randn(4, 1, 16, 16, requires_grad=True), torch.eye(3)[[0, 1, 2, 0]]
    (gradient,) = torch.autograd.grad(network(images, condition)[1], images)
    assert gradient[1].any()
    return gradient[[0, 2, 3]]


@pytest.mark.parametrize("name", ALONE)
def test_a_logit_depends_on_its_own_image_alone(name):
    assert not gradient_of_one_logit(name).any()


@pytest.mark.parametrize("name", [name for name in DISCRIMINATORS if name not in ALONE])
def test_batch_normalisation_mixes_images(name):
    assert gradient_of_one_logit(name).any()


@every_generator
def test_the_condition_changes_the_picture(name):
    network = generator(name, (1, 16, 16), 2).eval()
    latents = torch.randn(1, 5)
    images = [network(latents, torch.eye(2)[[kind]]) for kind in (0, 1)]
    assert (images[0] - images[1]).abs().max() > 1e-3


@every_discriminator
def test_the_condition_changes_the_judgement(name):
    network = discriminator(name, (1, 16, 16), 2).eval()
    images = torch.randn(2, 1, 16, 16)
    logits = [network(images, torch.eye(2)[[kind, kind]]) for kind in (0, 1)]
    assert (logits[0] - logits[1]).abs().min() > 1e-4


def test_modulation_starts_silent_and_then_scales_and_shifts():
    modulation = Modulation(2, 3)
    maps, condition = torch.randn(2, 3, 4, 4), torch.eye(2)
    assert torch.equal(modulation(maps, condition), maps)
    modulation.amounts.weight.data = torch.tensor([[1.0, 2, 3, 10, 20, 30], [0.0] * 6]).T
    changed = modulation(maps, condition)
    torch.testing.assert_close(changed[0, 2], maps[0, 2] * 4 + 30)
    assert torch.equal(changed[1], maps[1])
    torch.testing.assert_close(modulation(maps[:, :, 0, 0], condition), changed[:, :, 0, 0])
    assert torch.equal(Modulation(0, 3)(maps, None), maps)


@pytest.mark.parametrize("name", ALONE)
def test_a_penalty_on_the_gradient_can_be_differentiated(name):
    """The second derivative that R1 needs agrees with what a small step of each weight does to the first one."""
    torch.manual_seed(0)
    network = stirred(discriminator(name, (2, 9, 9), 3)).double().eval()
    images = torch.randn(3, 2, 9, 9, dtype=torch.float64, requires_grad=True)
    condition = torch.eye(3, dtype=torch.float64)

    def penalty():
        (gradient,) = torch.autograd.grad(network(images, condition).sum(), images, create_graph=True)
        return gradient.square().sum()

    parameters = [weight for weight in network.parameters() if weight.ndim > 1]
    direction = [torch.randn_like(weight) for weight in parameters]
    slopes = torch.autograd.grad(penalty(), parameters)
    expected = sum((slope * step).sum() for slope, step in zip(slopes, direction, strict=True))
    values = []
    for sign in (1, -1):
        for weight, step in zip(parameters, direction, strict=True):
            weight.data.add_(step, alpha=sign * 1e-7)
        values.append(penalty().detach())
        for weight, step in zip(parameters, direction, strict=True):
            weight.data.add_(step, alpha=-sign * 1e-7)
    torch.testing.assert_close((values[0] - values[1]) / 2e-7, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", SPECTRAL)
def test_the_largest_singular_value_of_every_weight_is_one(name):
    torch.manual_seed(0)
    network = discriminator(name, (1, 16, 16), 3)
    for weight in network.parameters():
        weight.data.mul_(7)  # what the norm was must not matter
    for _ in range(100):
        network(torch.randn(2, 1, 16, 16), torch.eye(3)[:2])
    layers = [part for part in network.modules() if isinstance(part, torch.nn.Linear | torch.nn.Conv2d)]
    assert len(layers) > 4
    for layer in layers:
        largest = torch.linalg.matrix_norm(layer.eval().weight.detach().flatten(1), 2)
        assert largest.item() == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("name", SPECTRAL)
def test_a_spectrally_normalised_network_is_the_same_every_time_in_evaluation(name):
    network = discriminator(name, (1, 16, 16), 3).eval()
    again = discriminator(name, (1, 16, 16), 3).eval()
    again.load_state_dict(network.state_dict())
    images, condition = torch.randn(2, 1, 16, 16), torch.eye(3)[:2]
    logits = network(images, condition)
    for other in (network, again, copy.deepcopy(network)):
        assert torch.equal(other(images, condition), logits)


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 64, 64)])
@every_generator
def test_first_pictures_are_neither_grey_nor_saturated(name, shape):
    torch.manual_seed(0)
    wide = {"widths": (128, 256, 512)} if name == "mlp" else {"width": 32}
    hidden = {"hidden_dim": 256} if name.startswith("infogan") else {}
    images = generator(name, shape, 10, **wide, **hidden)(torch.randn(64, 5), torch.eye(10)[torch.arange(64) % 10])
    assert 0.2 < images.std() < 0.8
    assert images.std(dim=0).mean() > 0.2  # from latents, not the same for all
    assert (images.abs() > 0.99).float().mean() < 0.05


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 64, 64)])
@every_discriminator
def test_first_logits_are_of_order_one(name, shape):
    torch.manual_seed(0)
    wide = {"widths": (512, 256, 128)} if name == "mlp" else {"width": 32}
    images = torch.nn.functional.interpolate(torch.rand(32, shape[0], 7, 7) * 2 - 1, shape[1:])
    logits = discriminator(name, shape, 10, **wide)(images, torch.eye(10)[torch.arange(32) % 10])
    assert 0.01 < logits.std() < 2
    assert logits.abs().mean() < 2.5


def test_blocks_of_r3_start_by_passing_on_what_they_are_given():
    block = Block(8, expansion=2, group_width=4, depth=3)
    maps = torch.randn(2, 8, 5, 5)
    assert torch.equal(block(maps), maps)
    assert not torch.equal(stirred(block)(maps), maps)


def test_the_first_opinion_of_r3_is_the_same_however_deep_it_is():
    networks = [discriminator("r3", (1, 16, 16), blocks=blocks) for blocks in (1, 3)]
    weights = networks[0].state_dict()
    networks[1].load_state_dict(
        {name: weight for name, weight in weights.items() if "stages" not in name}, strict=False
    )
    images = torch.randn(2, 1, 16, 16)
    torch.testing.assert_close(*(network(images) for network in networks))


def test_a_grouped_convolution_looks_at_its_group_alone():
    block = Block(8, expansion=2, group_width=4, depth=1)
    assert block.look.weight.shape == (16, 4, 3, 3)


@pytest.mark.parametrize(("halved", "size"), [(True, 4), (False, 7)])
def test_a_block_of_sngan_halves_and_rounds_up(halved, size):
    assert Down(3, 6, "spectral", first=False, halved=halved)(torch.randn(2, 3, 7, 7)).shape == (2, 6, size, size)


def test_infogan_has_as_many_weights_as_in_the_paper():
    # 64x1024+1024, 1024x6272+6272, 128x64x16+64, 64x1x16+1 and, by 1024, 128 and 64, what batch normalisation learns
    drawing = InfoganGenerator(latent_dim=64, image_shape=(1, 28, 28), normalization="none")
    linear, convolutional = 66_560 + 6_428_800, 131_136 + 1_025
    assert sum(weight.numel() for weight in drawing.parameters()) == linear + convolutional
    # 1x64x16+64, 64x128x16+128, 6272x1024+1024, 1024+1
    judging = InfoganDiscriminator(image_shape=(1, 28, 28))
    assert sum(weight.numel() for weight in judging.parameters()) == 1_088 + 131_200 + 6_423_552 + 1_025


def test_sizes_are_halved_and_rounded_up_to_a_few_pixels():
    assert sizes((1, 28, 28), "it") == [(28, 28), (14, 14), (7, 7)]
    assert sizes((3, 100, 33), "it") == [(100, 33), (50, 17), (25, 9), (13, 5)]
    assert sizes((3, 100, 33), "it", halvings=1) == [(100, 33), (50, 17)]
    for size in range(8, 200):
        *_, (last, _) = sizes((1, size, size), "it")
        assert 4 <= last <= 8
    assert doubled(3, 4, most=4) == [3, 6, 12, 12]


def test_scaled_weights_keep_the_variance():
    torch.manual_seed(0)
    layer = scaled(torch.nn.Linear(400, 300), 400)
    activations = torch.relu(torch.randn(500, 400))
    assert layer(activations).var().item() == pytest.approx(1, rel=0.05)
    assert scaled(torch.nn.Conv2d(16, 8, 3), 9 * 16, gain=1.0).weight.std().item() == pytest.approx(1 / 12, rel=0.1)


@pytest.mark.parametrize(
    "make",
    [
        *(lambda name=name: generator(name, (1, 7, 28)) for name in ("infogan", "dcgan", "sngan", "r3")),
        *(lambda name=name: discriminator(name, (1, 28, 7)) for name in ("infogan", "dcgan", "sngan", "r3")),
    ],
)
def test_too_small_pictures_are_refused(make):
    with pytest.raises(UserError, match=r"7 pixels are too small for \w+, which needs 8: type data.image_size=8"):
        make()


@pytest.mark.parametrize("half", [generator, discriminator])
def test_groups_that_do_not_divide_are_refused(half):
    with pytest.raises(UserError, match=r"group_width=5 does not divide the \d+ channels.*such as group_width=1\b"):
        half("r3", (1, 28, 28), group_width=5)


@pytest.mark.parametrize(
    ("half", "name", "kind"),
    [
        *((generator, name, "spectral") for name in ("infogan", "dcgan", "sngan")),
        *((discriminator, name, "bach") for name in ("infogan", "dcgan")),
        (discriminator, "sngan", "batch"),
    ],
)
def test_an_unknown_normalisation_is_refused(half, name, kind):
    with pytest.raises(UserError, match=rf"normalization={kind} is nothing the \w+ of {name} knows: give none or"):
        half(name, (1, 28, 28), normalization=kind)


def test_generators_may_be_averaged_and_restored():
    for name, condition in itertools.product(GENERATORS, (0, 3)):
        network = generator(name, (1, 16, 16), condition)
        again = generator(name, (1, 16, 16), condition)
        again.load_state_dict(copy.deepcopy(network).state_dict())
        latents, vectors = torch.randn(3, 5), torch.eye(3) if condition else None
        assert torch.equal(network.eval()(latents, vectors), again.eval()(latents, vectors))


def test_a_projection_judges_each_picture_under_every_condition():
    judge = Projection(features=6, condition_dim=3)
    features, conditions = torch.randn(4, 6), torch.randn(5, 3)
    table = judge.under_each(features, conditions)
    for column, condition in enumerate(conditions):
        torch.testing.assert_close(table[:, column], judge(features, condition.expand(4, -1)))
    assert Projection(features=6).under_each(features, conditions).shape == (4, 5)
