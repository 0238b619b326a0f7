from functools import partial

import pytest
import torch

from darkroom.data.folder import read_picture
from darkroom.data.module import ImageData
from darkroom.data.pictures import TensorPictures
from darkroom.data.source import Collection
from darkroom.errors import UserError
from darkroom.images import from_uint8, save_png, to_uint8
from darkroom.latents import attributes
from darkroom.latents.finding import Finder
from darkroom.losses.likelihoods import Gaussian
from darkroom.metrics.nothing import Nothing
from darkroom.models.autoencoder import Autoencoder
from darkroom.models.gan import Gan
from darkroom.models.schedule import Schedule
from darkroom.networks.coder import MlpDecoder, MlpEncoder
from darkroom.networks.mlp import MlpDiscriminator, MlpGenerator
from darkroom.operations import latents
from darkroom.operations.latents import Attribute, Interpolate
from darkroom.operations.operation import Learnt

LEFT = (torch.arange(8) < 4).expand(1, 8, 8)


class Sides:
    """Faint pictures whose left and right halves are lighter or darker, mostly both alike; said in columns."""

    name, flippable = "sides", False

    def load(self, folder, cache, image_size, channels):
        generator = torch.Generator().manual_seed(0)
        left = torch.randn(300, generator=generator)
        right = 0.8 * left + 0.6 * torch.randn(300, generator=generator)
        noise = torch.randn(300, 1, 8, 8, generator=generator)
        light = torch.where(LEFT, left[:, None, None, None], right[:, None, None, None])
        pixels = (128 + 12 * light + 3 * noise).round().clamp(0, 255).to(torch.uint8)
        numbers = {name: pixels[:, part].double().mean(dim=1) for name, part in (("left", LEFT), ("right", ~LEFT))}
        columns = {name: [f"{value:.9f}" for value in values.tolist()] for name, values in numbers.items()}
        columns["dark"] = ["yes" if value < 128 else "no" for value in numbers["left"].tolist()]
        columns["mood"] = ["calm" if index % 3 else "wild" for index in range(300)]
        columns["style"] = ["calm" if index % 2 else "bold" for index in range(300)]
        parts = {
            "train": TensorPictures(pixels[:200], numbers=torch.arange(200)),
            "val": TensorPictures(pixels[200:250], numbers=torch.arange(200, 250)),
            "test": TensorPictures(pixels[250:], numbers=torch.arange(250, 300)),
        }
        return Collection(parts, attributes=lambda: columns)


BASE = torch.linalg.qr(torch.randn(64, 64, generator=torch.Generator().manual_seed(1))).Q


class Linear(Autoencoder):
    """Latents are pixels, turned: nothing is lost where there are as many, and everything is linear."""

    def encode(self, images, labels=None):
        return images.flatten(1) @ BASE[:, : self.code_dim]

    def rendered(self, latents, vectors):
        return (latents @ BASE[:, : self.code_dim].T).view(-1, 1, 8, 8)


def coder(dim=64, family=Linear, **changes):
    torch.manual_seed(0)
    return family(
        partial(MlpEncoder, widths=[4]),
        partial(MlpDecoder, widths=[4]),
        partial(torch.optim.Adam, lr=1e-3),
        Schedule("constant"),
        image_shape=(1, 8, 8),
        class_names=[],
        likelihood=Gaussian(),
        latent_dim=dim,
        **changes,
    ).eval()


def painter(**changes):
    torch.manual_seed(0)
    parts = {
        "generator": partial(MlpGenerator, widths=(8, 8)),
        "discriminator": partial(MlpDiscriminator, widths=(8, 8)),
        "generator_optimizer": partial(torch.optim.Adam, lr=1e-3),
        "discriminator_optimizer": partial(torch.optim.Adam, lr=1e-3),
        "schedule": Schedule("constant"),
        "image_shape": (1, 8, 8),
        "class_names": ["one", "two", "three"],
        "latent_dim": 4,
    }
    return Gan(**{**parts, **changes}).eval()


@pytest.fixture
def picture(tmp_path, monkeypatch):
    """The first test picture, as a file, with what the operations would find in a store."""
    monkeypatch.setenv("DARKROOM_CACHE", str(tmp_path / "cache"))
    data = ImageData(Sides())
    data.locate(tmp_path, tmp_path / "cache")
    monkeypatch.setattr(Learnt, "data", lambda self, folder=None: data)
    monkeypatch.setattr(Learnt, "metrics", lambda self: Nothing())
    monkeypatch.setattr(attributes, "LEARNED", 200)
    monkeypatch.setattr(latents, "USUAL", {True: 20, False: 2})
    for index in (0, 1):
        save_png(tmp_path / f"{index}.png", data.pictures("test").batch(torch.tensor([index]))[0])
    return tmp_path / "0.png"


def done(operation, model, picture):
    """What the operation makes of a picture with a run of this model."""
    run = Learnt(model, None, "run")
    operation.check(run)
    return operation.edited(run, picture)


def halves(images):
    """Mean brightness of the left and the right half, in levels."""
    light = (images.double() + 1) * 127.5
    return light[:, LEFT].mean(dim=1), light[:, ~LEFT].mean(dim=1)


def apart(picture):
    """How far the means of the left half lie apart, of training pictures with more of it and with less."""
    pixels = Learnt(None, None, "run").data().pictures("train").pixels
    left = pixels[:, LEFT].double().mean(dim=1)
    return left[left > left.median()].mean() - left[left <= left.median()].mean()


def test_a_known_attribute_changes_by_a_known_amount_and_what_is_held_by_nothing(picture):
    wished = {"attribute": "left", "range": [-1.0, 2.0], "steps": 4}
    amounts = torch.tensor([-1.0, 0.0, 1.0, 2.0], dtype=torch.float64)
    free = done(Attribute(**wished), coder(), picture)
    left, right = halves(free.film)
    torch.testing.assert_close(left[1:] - left[0], amounts * apart(picture), atol=1e-3, rtol=0)
    assert (right[1:] - right[0]).abs().max() > 10  # the other half goes along, as it does in training
    kept = done(Attribute(**{**wished, "hold": ["right"]}), coder(), picture)
    left, right = halves(kept.film)
    torch.testing.assert_close(right[1:] - right[0], torch.zeros(4, dtype=torch.float64), atol=1e-2, rtol=0)
    steps = left[1:] - left[:-1]
    assert (steps[1:] > 5).all()
    assert "holding right" in kept.sentence
    # and the reader that was taught with the columns says so
    leaks = [float(edited.sentence.split(" right ")[-1][:4].rstrip(",)")) for edited in (free, kept)]
    assert leaks[1] < 0.05 < 0.2 < leaks[0]


def test_the_original_stands_first_and_then_the_unchanged_reconstruction(picture):
    original = from_uint8(read_picture(picture, (1, 8, 8)))
    edited = done(Attribute(attribute="left", steps=3), coder(dim=20), picture)
    assert torch.equal(edited.images[0], original)
    assert torch.equal(edited.images[1:], edited.film)
    torch.testing.assert_close(edited.film[0], edited.film[2], atol=1e-5, rtol=0)  # amount 0 is the middle one of three
    assert not torch.equal(to_uint8(edited.film[0]), to_uint8(original))
    assert edited.columns == 5
    assert edited.page.ndim == 3
    added = done(Attribute(attribute="left", steps=3, residual=True), coder(dim=20), picture)
    assert torch.equal(to_uint8(added.film[0]), to_uint8(original))
    change, same = (part.film - part.film[:1] for part in (added, edited))
    torch.testing.assert_close(change, same, atol=1e-5, rtol=0)


def test_two_pictures_are_joined_and_with_what_was_missed_by_themselves(picture):
    other = picture.with_name("1.png")
    ends = from_uint8(torch.stack([read_picture(file, (1, 8, 8)) for file in (picture, other)]))
    wished = {"other": str(other), "steps": 5, "way": "lerp"}
    edited = done(Interpolate(**wished), coder(), picture)
    torch.testing.assert_close(
        edited.film, torch.lerp(ends[:1], ends[1:], torch.linspace(0, 1, 5)[:, None, None, None])
    )
    assert torch.equal(edited.images[[0, -1]], ends)
    added = done(Interpolate(**{**wished, "way": "slerp", "residual": True}), coder(dim=5), picture)
    assert torch.equal(to_uint8(added.film[[0, -1]]), to_uint8(ends))


def test_without_an_encoder_the_latents_are_looked_for_and_the_same_are_found_again(picture):
    model = painter()
    drawn = model.sample(torch.tensor([5]), 3, torch.tensor([1]))
    save_png(picture, to_uint8(drawn)[0])
    wished = {"attribute": "stroke", "steps": 3, "refine": 60}
    first, again = (done(Attribute(**wished), model, picture) for _ in range(2))
    assert torch.equal(first.film, again.film)
    found = Finder(model, 60).find(drawn, torch.arange(3))
    assert found.condition.tolist() == [1]
    assert found.psnr.item() > 25
    light = first.film[1:].mean(dim=(1, 2, 3))
    assert light[0] < light[1] < light[2]
    told = done(Attribute(**{**wished, "attribute": "three", "range": [0.0, 1.0], "steps": 2}), model, picture)
    expected = Finder(model, 60).show(found.latents, model.vectors(torch.tensor([2])))
    torch.testing.assert_close(told.film[2:], expected, atol=2e-2, rtol=0)
    narrow = Finder(model, 60, truncation=0.3).find(drawn, torch.tensor([1]))
    assert narrow.latents.norm() < 0.8 * found.latents.norm()


def test_a_picture_unlike_any_other_is_warned_of(picture):
    assert "WARNING" not in done(Attribute(attribute="left"), coder(dim=20), picture).sentence
    save_png(picture, torch.randint(0, 256, (1, 8, 8), generator=torch.Generator().manual_seed(0)).to(torch.uint8))
    assert "WARNING" in done(Attribute(attribute="left"), coder(dim=20), picture).sentence


def test_yes_and_no_are_called_by_their_column_and_a_value_by_itself(picture):
    edited = done(Attribute(attribute="dark", steps=2), coder(), picture)
    assert "dark:yes" in edited.sentence
    left, _ = halves(edited.film)
    assert left[1] > left[0] > left[2]
    assert "mood:wild" in done(Attribute(attribute="wild", steps=2), coder(), picture).sentence


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"attribute": "lfet"}, r"did you mean 'left'\?\): these pictures are known by dark:no, dark:yes, mood:calm"),
        ({"attribute": "calm"}, "may be several: type one of mood:calm, style:calm"),
        ({"attribute": "left", "hold": ["left"]}, "take it out of hold"),
        ({"attribute": "left", "hold": ["rihgt"]}, "did you mean 'right'"),
        ({"attribute": "left", "range": [2.0, -2.0]}, "give the least and the most"),
        ({"attribute": "left", "truncation": 0.5}, "an encoder does not look"),
        ({"attribute": "left", "labels": 3}, "not conditional"),
    ],
)
def test_what_cannot_be_is_said_in_a_sentence(picture, changes, words):
    with pytest.raises(UserError, match=words):
        done(Attribute(**changes), coder(), picture)


def test_what_else_cannot_be(picture):
    with pytest.raises(UserError, match="is what the picture shows already"):
        done(Attribute(attribute="two", labels="two", refine=4), painter(), picture)
    picture.write_bytes(b"no picture")
    with pytest.raises(UserError, match="cannot be read"):
        done(Attribute(attribute="left"), coder(), picture)
