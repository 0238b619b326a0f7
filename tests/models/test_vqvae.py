"""How a VQ-VAE and its prior learn together, and what is drawn of them."""

import math
from functools import partial

import pytest
import pytorch_lightning as pl
import torch
from sklearn.datasets import load_digits

from darkroom.config.checking import check
from darkroom.config.composing import compose
from darkroom.config.parts import build
from darkroom.data.pictures import TensorPictures
from darkroom.errors import UserError
from darkroom.losses.likelihoods import Bernoulli, Gaussian
from darkroom.models.averaged import ema_update
from darkroom.models.schedule import Schedule
from darkroom.models.vqvae import VqVae
from darkroom.networks.coder import ConvDecoder, ConvEncoder
from darkroom.networks.codes import CodePrior
from darkroom.networks.maps import MapDecoder, MapEncoder

from ..small_models import Outputs, fit

STEPS = 150
CURVES = {"loss", "distortion", "commitment", "prior", "perplexity", "sigma"}


def vqvae(**changes):
    torch.manual_seed(0)
    parts = {
        "encoder": partial(MapEncoder, width=8, blocks=1),
        "decoder": partial(MapDecoder, width=8, blocks=1),
        "prior": partial(CodePrior, width=16),
        "optimizer": partial(torch.optim.Adam, lr=5e-3),
        "schedule": Schedule("constant"),
        "image_shape": (1, 8, 8),
        "class_names": [str(digit) for digit in range(10)],
        "codes": 16,
        "dim": 4,
        "halvings": 2,
        "codebook_half_life": 1000,
    }
    return VqVae(**{**parts, **changes})


def digits():
    found = load_digits()
    images = torch.from_numpy(found.images).float()[:, None] / 8 - 1
    return images, torch.from_numpy(found.target).long()


def batches(count, size=64):
    images, labels = digits()
    rows = [(torch.arange(size) + index * size) % len(images) for index in range(count)]
    return [{"images": images[row], "labels": labels[row]} for row in rows]


@pytest.fixture(scope="module")
def trained():
    """A model that has learned the digits, one class at a time asked for, and its curves."""
    optimizer = partial(torch.optim.Adam, lr=1e-2)
    model = vqvae(conditioning="class", average_half_life=300, optimizer=optimizer)
    curves = Outputs()
    fit(model, batches(STEPS), [curves])
    return model.eval(), curves.seen


@pytest.mark.filterwarnings("ignore::UserWarning")
class TestTraining:
    def test_everything_learns_at_once(self, trained):
        model, curves = trained
        assert set(curves[0]) == CURVES
        mean = {name: sum(curve[name] for curve in curves[-20:]) / 20 for name in CURVES}
        assert mean["loss"] < 20 < curves[0]["loss"]
        assert mean["distortion"] < 0 < curves[0]["distortion"]
        assert mean["prior"] < 2.3 < math.log(16)
        assert mean["perplexity"] > 10
        assert 0.1 < mean["sigma"] < 0.2
        assert model.images_seen == STEPS * 64

    def test_the_parts_of_the_loss_are_the_loss(self, trained):
        _, curves = trained
        for curve in curves[::50]:
            whole = curve["distortion"] + 0.25 * curve["commitment"] + 4 * curve["prior"]
            assert curve["loss"] == pytest.approx(whole, rel=1e-4)

    def test_pictures_survive(self, trained):
        model, _ = trained
        images, _ = digits()
        codes = model.encode(images[:300])
        assert (codes.shape, codes.dtype) == ((300, 4), torch.int64)
        made = model.reconstruct(images[:300], None)
        assert torch.equal(made, model.decode(codes))
        assert made.abs().max() <= 1
        unexplained = (made - images[:300]).square().mean() / images[:300].var(dim=0).mean()
        assert unexplained < 0.5

    def test_what_is_drawn_is_what_was_learned(self, trained):
        model, _ = trained
        images, labels = digits()
        shown = torch.nn.functional.one_hot(model.encode(images), 16).float().mean(dim=0)
        indices = torch.arange(1500)
        drawn_codes = model.sample_codes(model.latents(indices, 0), labels[:1500])
        drawn = torch.nn.functional.one_hot(drawn_codes, 16).float().mean(dim=0)
        distance = 0.5 * (shown - drawn).abs().sum(dim=1).mean()
        from_uniform = 0.5 * (shown - 1 / 16).abs().sum(dim=1).mean()
        assert distance < 0.15
        assert from_uniform > 0.3

    def test_each_class_has_its_own_grids(self, trained):
        model, _ = trained
        images, labels = digits()
        network, codes = model.inference_network, model.encode(images)
        told = [network.condition(torch.full_like(labels, digit)) for digit in range(10)]
        log_probs = torch.stack([network.prior.log_prob(codes, condition) for condition in told], dim=1)
        assert (log_probs.argmax(dim=1) == labels).float().mean() > 0.5  # guessing would name one in ten

    def test_the_prior_moves_neither_encoder_nor_codes(self):
        model, images = vqvae(), digits()[0][:8]
        *_, prior = model._terms(model.network, images, None)
        prior.backward()
        moved = {name.partition(".")[0] for name, weight in model.network.named_parameters() if weight.grad is not None}
        assert moved == {"prior"}

    def test_the_decoder_speaks_to_the_encoder_straight_through(self):
        model, images = vqvae(), digits()[0][:8]
        *_, distortion, _, _ = model._terms(model.network, images, None)
        distortion.backward()
        for part in (model.network.encoder, model.network.decoder):
            assert sum(weight.grad.norm() for weight in part.parameters()) > 1

    def test_the_average_follows_networks_and_codes(self):
        model = vqvae(average_half_life=100, average_ramp=1.0)
        followed = vqvae().network.requires_grad_(False)

        class Follow(pl.Callback):
            def on_train_batch_end(self, trainer, module, *rest):
                ema_update(followed, module.network, 64, module.images_seen, 100, 1.0)

        fit(model, batches(3), [Follow()])
        assert model.averaged
        for name, tensor in followed.state_dict().items():
            assert torch.allclose(tensor, model.average.state_dict()[name], atol=1e-6), name

    def test_a_state_says_everything(self):
        # Without momentum, that no optimizer's state is missing.
        settings = {"optimizer": partial(torch.optim.SGD, lr=1e-4), "average_half_life": 100}
        model, first, second = (vqvae(**settings) for _ in range(3))
        shown = batches(5)
        fit(model, shown)
        fit(first, shown[:3])
        second.load_state_dict(first.state_dict())
        second.images_seen = first.images_seen
        fit(second, shown[3:])
        moved = first.network.codebook.codes - model.network.codebook.codes
        assert moved.abs().max() > 1e-3
        for name, tensor in model.state_dict().items():
            assert torch.equal(tensor, second.state_dict()[name]), name

    def test_half_precision_keeps_the_codes_whole(self):
        model = vqvae()
        fit(model, batches(3), precision="bf16-mixed")
        assert model.network.codebook.codes.dtype == torch.float32
        assert model.network.codebook.codes.isfinite().all()

    def test_rehearsing_changes_nothing(self):
        model = vqvae(conditioning="class")
        before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        model.dummy_loss(digits()[0][:4]).backward()
        assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
        assert all(weight.grad is None for weight in model.parameters())


class TestDrawing:
    def test_a_picture_is_the_same_whatever_is_drawn_beside_it(self, trained):
        model, _ = trained
        together = model.sample(torch.arange(70), seed=3)
        for rows in ([5], [69, 2], [64, 63]):
            assert torch.equal(model.sample(torch.tensor(rows), seed=3), together[rows])
        assert not torch.equal(model.sample(torch.arange(70), seed=4), together)

    def test_one_number_a_place(self):
        assert vqvae(halvings=1).latent_dim == 16
        assert vqvae(image_shape=(1, 12, 20)).latent_dim == 15

    def test_truncation_leaves_out_improbable_codes(self, trained):
        model, _ = trained
        network, labels = model.inference_network, torch.arange(500) % 10
        surprise = []
        for truncation in (1.0, 0.7, 0.3):
            latents = model.truncated(model.latents(torch.arange(500), 0), truncation)
            codes = model.sample_codes(latents, labels)
            surprise.append(-network.prior.log_prob(codes, network.condition(labels)).mean())
        assert surprise[0] > surprise[1] > surprise[2]
        with pytest.raises(UserError, match="at most 1"):
            model.truncated(latents, 1.5)

    def test_its_sampler_has_a_name(self):
        assert vqvae().sampler_name == "codes"
        assert not hasattr(vqvae(), "log_weights")


class TestRefusals:
    @pytest.mark.parametrize(
        ("changes", "sentence"),
        [
            ({"halvings": 4}, "model.halvings=3 or less"),
            ({"conditioning": "class", "class_names": []}, "model.conditioning=none"),
            ({"encoder": ConvEncoder}, "network@model.encoder=map_encoder"),
            ({"decoder": ConvDecoder}, "network@model.decoder=map_decoder"),
            ({"image_shape": (1, 7, 7)}, "needs 8"),
        ],
    )
    def test_what_cannot_be_is_refused(self, changes, sentence):
        with pytest.raises(UserError, match=sentence):
            vqvae(**changes)

    def test_grey_is_refused_where_only_black_and_white_have_a_probability(self):
        pixels = torch.randint(0, 256, (20, 1, 8, 8), dtype=torch.uint8)
        with pytest.raises(UserError, match="black and white"):
            vqvae(likelihood=Bernoulli()).init_from_data(TensorPictures(pixels, None))
        vqvae(likelihood=Gaussian()).init_from_data(TensorPictures(pixels, None))


def test_the_recipe_composes_and_builds():
    node = compose("train", ["experiment=vae/mnist_vq", "model.conditioning=class"])
    check(node, "train")
    model = build(node["model"], image_shape=(1, 28, 28), class_names=["a", "b"])
    assert model.latent_dim == 49
    assert model.classes == 2
    with pytest.raises(UserError, match="halvings"):
        check(compose("train", ["experiment=vae/mnist_vq", "+model.encoder.halvings=3"]), "train")
