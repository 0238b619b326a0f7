import pytest
import torch

from darkroom.errors import UserError
from darkroom.networks.convnet import ConvNet
from darkroom.networks.dcgan import DcganDiscriminator, DcganGenerator
from darkroom.networks.mlp import MlpDiscriminator, MlpGenerator

PAIRS = [(DcganGenerator, DcganDiscriminator), (MlpGenerator, MlpDiscriminator)]


@pytest.mark.parametrize(
    "shape", [(1, 8, 8), (1, 16, 16), (1, 28, 28), (3, 30, 30), (3, 32, 32), (1, 20, 33), (3, 64, 64)]
)
@pytest.mark.parametrize("classes", [0, 3])
@pytest.mark.parametrize("pair", PAIRS)
def test_a_pair_fits_any_picture(pair, shape, classes):
    small = {"width": 4} if pair is PAIRS[0] else {"widths": (8, 8)}
    generator = pair[0](latent_dim=5, image_shape=shape, classes=classes, **small)
    discriminator = pair[1](image_shape=shape, classes=classes, **small)
    labels = torch.tensor([0, 2]) if classes else None
    images = generator(torch.randn(2, 5), labels)
    assert images.shape == (2, *shape)
    assert images.abs().max() <= 1
    assert discriminator(images, labels).shape == (2,)


@pytest.mark.parametrize("pair", PAIRS)
def test_every_weight_is_used(pair):
    generator = pair[0](latent_dim=5, image_shape=(1, 16, 16), classes=3)
    discriminator = pair[1](image_shape=(1, 16, 16), classes=3)
    labels = torch.tensor([0, 1, 2])
    discriminator(generator(torch.randn(3, 5), labels), labels).square().sum().backward()
    for network in (generator, discriminator):
        unused = [name for name, weight in network.named_parameters() if weight.grad is None or not weight.grad.any()]
        assert unused == []


@pytest.mark.parametrize("pair", PAIRS)
def test_a_logit_depends_on_its_own_image_alone(pair):
    discriminator = pair[1](image_shape=(1, 16, 16), classes=3)
    images, labels = torch.rand(4, 1, 16, 16, requires_grad=True), torch.tensor([0, 1, 2, 0])
    (gradient,) = torch.autograd.grad(discriminator(images, labels)[1], images)
    assert gradient[1].any()
    assert not gradient[[0, 2, 3]].any()


def test_the_class_changes_the_picture_and_the_judgement():
    generator = DcganGenerator(latent_dim=5, image_shape=(1, 16, 16), classes=2, width=4)
    discriminator = DcganDiscriminator(image_shape=(1, 16, 16), classes=2, width=4)
    torch.nn.init.normal_(generator.class_shift.weight)
    latents = torch.randn(1, 5)
    images = [generator(latents, torch.tensor([label])) for label in (0, 1)]
    assert not torch.equal(*images)
    assert discriminator(images[0], torch.tensor([0])) != discriminator(images[0], torch.tensor([1]))


def test_too_small_pictures_are_refused():
    with pytest.raises(UserError, match="7 pixels are too small"):
        DcganGenerator(latent_dim=5, image_shape=(1, 7, 7))


def test_convnet_features_lie_under_its_logits():
    net = ConvNet(channels=1, classes=4, width=4, feature_dim=6, dropout=0.5).eval()
    images = torch.rand(3, 1, 16, 16)
    features = net.features(images)
    assert features.shape == (3, 6)
    assert features.min() >= 0
    assert torch.equal(net.output(features), net(images))


def test_convnet_looks_at_each_image_alone():
    net = ConvNet(channels=1, classes=4, width=4).train()
    images = torch.rand(5, 1, 16, 16)
    assert torch.allclose(net(images)[:2], net(images[:2]), atol=1e-6)
