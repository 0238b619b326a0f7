"""Pictures pixel by pixel: what a level is, in what order, and what is kept of what is known."""

import itertools
import math
from functools import partial

import pytest
import torch
from sklearn.datasets import load_digits

from darkroom.config.checking import check
from darkroom.config.composing import compose
from darkroom.config.parts import build
from darkroom.data.pictures import TensorPictures
from darkroom.errors import UserError
from darkroom.images import from_uint8
from darkroom.models.pixelrnn import PixelRnn
from darkroom.models.schedule import Schedule
from darkroom.models.vqvae import VqVae
from darkroom.networks.codes import CodePrior
from darkroom.networks.maps import MapDecoder, MapEncoder
from darkroom.networks.pixelcnn import GatedPixelCnn
from darkroom.networks.row_lstm import RowLstm

from ..small_models import Outputs, fit

SMALL = partial(GatedPixelCnn, width=8, layers=1, vertical_width=8, vertical_layers=1)
NETWORKS = {"pixelcnn": SMALL, "lstm": partial(RowLstm, width=8, layers=1), "gru": partial(CodePrior, width=8)}


def pixelrnn(**changes):
    torch.manual_seed(0)
    parts = {
        "network": SMALL,
        "optimizer": partial(torch.optim.Adam, lr=1e-2),
        "schedule": Schedule("constant"),
        "image_shape": (1, 8, 8),
        "class_names": [str(digit) for digit in range(10)],
        "levels": 17,
    }
    model = PixelRnn(**{**parts, **changes})
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return model.eval()


def pictures(count, shape=(1, 8, 8), levels=17, seed=0):
    codes = torch.randint(0, levels, (count, *shape), generator=torch.Generator().manual_seed(seed))
    return codes / (levels - 1) * 2 - 1


class TestLevels:
    @pytest.mark.parametrize("levels", [2, 3, 17, 255, 256])
    def test_levels_there_and_back(self, levels):
        model = pixelrnn(levels=levels, image_shape=(3, 4, 5))
        codes = torch.randint(0, levels, (6, 60), generator=torch.Generator().manual_seed(0))
        images = model.pictures(codes)
        assert images.shape == (6, 3, 4, 5)
        assert images.abs().max() <= 1
        assert torch.equal(model.codes(images), codes)

    def test_every_value_of_a_file_goes_to_the_nearest_level(self):
        values = from_uint8(torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16))
        assert pixelrnn(levels=256, image_shape=(1, 16, 16)).codes(values).tolist() == [list(range(256))]
        model = pixelrnn(levels=5, image_shape=(1, 16, 16))
        assert (model.pictures(model.codes(values)) - values).abs().max() <= 1 / 4

    def test_colours_of_a_pixel_stand_side_by_side(self):
        model = pixelrnn(levels=256, image_shape=(3, 2, 2))
        red_first = torch.tensor([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]).view(2, 2, 3).permute(2, 0, 1)
        images = from_uint8(red_first.to(torch.uint8))[None]
        assert model.codes(images).tolist() == [list(range(1, 13))]

    def test_grey_is_refused_where_only_black_and_white_have_a_probability(self):
        grey = TensorPictures(torch.randint(0, 256, (20, 1, 8, 8), dtype=torch.uint8), None)
        with pytest.raises(UserError, match=r"hold 2\d\d values: type data=mnist_binarised, or model.levels=256"):
            pixelrnn(levels=2).init_from_data(grey)
        pixelrnn(levels=3).init_from_data(grey)
        pixelrnn(levels=2).init_from_data(TensorPictures(grey.batch(torch.arange(20)) // 128 * 255, None))

    @pytest.mark.parametrize(
        ("changes", "sentence"),
        [
            ({"conditioning": "class", "class_names": []}, "needs labels"),
            ({"network": partial(MapEncoder, outputs=4)}, "network@model.network=gated_pixelcnn"),
        ],
    )
    def test_what_cannot_be_is_refused(self, changes, sentence):
        with pytest.raises(UserError, match=sentence):
            pixelrnn(**changes)


class TestLikelihood:
    @pytest.mark.parametrize("network", NETWORKS)
    def test_the_probabilities_of_all_colours_sum_to_one(self, network):
        model = pixelrnn(network=NETWORKS[network], levels=2, image_shape=(3, 1, 2), conditioning="class")
        grids = torch.tensor(list(itertools.product(range(2), repeat=6)))
        images, labels = model.pictures(grids), torch.full((64,), 3)
        found = model.log_prob(images, labels)
        assert found.double().exp().sum().item() == pytest.approx(1, abs=1e-6)
        assert (found - model.log_prob(images, labels + 1)).abs().max() > 0.01

    def test_the_average_answers(self):
        model = pixelrnn(average_half_life=100)
        images, known = pictures(3), torch.zeros(1, 1, 8, 8, dtype=torch.bool)
        before = model.log_prob(images), model.complete(images, known), model.sample(torch.arange(3), 0)
        with torch.no_grad():
            for parameter in model.network.parameters():
                parameter.zero_()
        after = model.log_prob(images), model.complete(images, known), model.sample(torch.arange(3), 0)
        assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))
        assert not pixelrnn().averaged


class TestDrawing:
    def test_a_picture_does_not_depend_on_those_beside_it(self):
        model = pixelrnn(conditioning="class")
        together = model.sample(torch.arange(70), seed=1)
        assert torch.equal(model.sample(torch.tensor([66, 5]), seed=1), together[[66, 5]])
        assert not torch.equal(model.sample(torch.arange(3), seed=2), together[:3])
        asked = model.sample(torch.arange(3), seed=1, labels=torch.tensor([7, 7, 7]))
        assert (asked != together[:3]).any()

    def test_truncation_keeps_the_probable(self):
        model = pixelrnn()
        indices = torch.arange(32)
        surprises = [-model.log_prob(model.sample(indices, 0, truncation=kept)).mean() for kept in (1.0, 0.5, 1e-6)]
        assert surprises[0] > surprises[1] > surprises[2]
        assert torch.equal(*(model.sample(indices[:1], seed, truncation=1e-6) for seed in (0, 1)))
        with pytest.raises(UserError, match="at most 1"):
            model.sample(indices, 0, truncation=1.1)


class TestCompletion:
    def test_what_is_known_is_kept_to_the_bit(self):
        model = pixelrnn(image_shape=(3, 4, 5), levels=3)
        images = torch.rand(5, 3, 4, 5, generator=torch.Generator().manual_seed(0)) * 2 - 1  # between the levels
        known = torch.rand(5, 1, 4, 5, generator=torch.Generator().manual_seed(1)) < 0.5
        made = model.complete(images, known)
        everywhere = known.expand_as(images)
        assert torch.equal(made[everywhere], images[everywhere])
        assert set(made[~everywhere].tolist()) <= {-1.0, 0.0, 1.0}

    def test_nothing_known_is_a_drawing(self):
        model = pixelrnn(conditioning="class")
        images = pictures(12)
        made = model.complete(images, torch.zeros(1, 1, 8, 8, dtype=torch.bool), seed=3)
        assert torch.equal(made, model.sample(torch.arange(12), seed=3))
        told = model.complete(images, torch.zeros(1, 1, 8, 8, dtype=torch.bool), 3, labels=torch.full((12,), 4))
        assert torch.equal(told, model.sample(torch.arange(12), 3, labels=torch.full((12,), 4)))

    def test_only_what_is_known_counts(self):
        model, images = pixelrnn(), pictures(4)
        known = torch.zeros(1, 1, 8, 8, dtype=torch.bool)
        known[:, :, :4] = True
        made = model.complete(images, known)
        assert torch.equal(model.complete(torch.where(known, images, -images), known), made)
        assert not torch.equal(model.complete(torch.where(known, -images, images), known)[:, :, 4:], made[:, :, 4:])
        assert not torch.equal(model.complete(images, known, seed=1), made)

    def test_a_completion_does_not_depend_on_those_beside_it(self):
        model, images = pixelrnn(), pictures(66)
        known = torch.zeros(1, 1, 8, 8, dtype=torch.bool)
        known[..., :4] = True
        counts = set()
        model.network.network.output.register_forward_hook(lambda part, inputs, made: counts.add(len(made)))
        together = model.complete(images, known)
        assert torch.equal(model.complete(images[:3], known), together[:3])
        assert counts == {64}, "the rounding of a product depends on its shape"

    def test_the_lower_half_is_drawn_from_the_exact_conditional(self):
        model = pixelrnn(levels=2, image_shape=(1, 2, 2))
        upper = torch.tensor([1.0, -1.0]).view(1, 1, 1, 2)
        ends = torch.tensor(list(itertools.product([-1.0, 1.0], repeat=2))).view(4, 1, 1, 2)
        shares = model.log_prob(torch.cat([upper.expand(4, -1, -1, -1), ends], dim=2)).double().softmax(dim=0)
        known = torch.tensor([True, False]).view(1, 1, 2, 1)
        count = 4096
        made = model.complete(torch.cat([upper, upper], dim=2).expand(count, -1, -1, -1), known)
        places = ((made[:, 0, 1] > 0) * torch.tensor([2, 1])).sum(dim=1)
        frequencies = torch.bincount(places, minlength=4) / count
        assert ((frequencies - shares).abs() < 4 * (shares * (1 - shares) / count).sqrt()).all()


def test_it_learns_digits():
    found = load_digits()
    images = from_uint8((torch.from_numpy(found.images)[:, None] * 255 / 16).round().to(torch.uint8))
    labels = torch.from_numpy(found.target).long()
    rows = [(torch.arange(64) + index * 64) % len(images) for index in range(60)]
    model = pixelrnn(conditioning="class", average_half_life=300).train()
    curves = Outputs()
    fit(model, [{"images": images[row], "labels": labels[row]} for row in rows], [curves])
    losses = [curve["loss"] for curve in curves.seen]
    assert losses[-1] < 110 < 64 * math.log(17)
    assert curves.seen[-1]["bits_per_dim"] == pytest.approx(losses[-1] / 64 / math.log(2))
    gained = model.eval().log_prob(images, labels) - model.log_prob(images, (labels + 1) % 10)
    assert gained.mean() > 4 * gained.std() / math.sqrt(len(images)), "the right class makes a picture more probable"
    assert model.dummy_loss(images[:8]).requires_grad


@pytest.mark.parametrize("network", ["pixelcnn", "lstm"])
def test_each_network_is_a_prior_of_codes_too(network):
    model = VqVae(
        encoder=partial(MapEncoder, width=4, blocks=0),
        decoder=partial(MapDecoder, width=4, blocks=0),
        prior=NETWORKS[network],
        optimizer=partial(torch.optim.Adam, lr=1e-3),
        schedule=Schedule("constant"),
        image_shape=(1, 8, 8),
        class_names=["a", "b"],
        codes=16,
        dim=4,
        halvings=1,
        conditioning="class",
    ).eval()
    assert model.sample(torch.arange(3), 0).shape == (3, 1, 8, 8)
    model.dummy_loss(pictures(4)).backward()
    assert model.network.prior.output[-1].weight.requires_grad


@pytest.mark.parametrize("network", ["gated_pixelcnn", "row_lstm", "code_prior"])
def test_the_parts_compose_and_build(network):
    node = compose("train", ["model=pixelrnn", "model.conditioning=class", f"network@model.network={network}"])
    check(node, "train")
    model = build(node["model"], image_shape=(3, 4, 4), class_names=["a", "b"])
    assert (model.latent_dim, model.classes) == (48, 2)
    assert model.network.network.size == (4, 12)
    as_prior = compose("train", ["experiment=vae/mnist_vq", f"network@model.prior={network}"])
    check(as_prior, "train")
