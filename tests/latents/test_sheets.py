from types import SimpleNamespace

import numpy as np
import pytest
import torch

from darkroom.data.digits import Digits
from darkroom.data.module import ImageData
from darkroom.data.shapes import Shapes
from darkroom.errors import UserError
from darkroom.explaining import explanation, subjects
from darkroom.judges.eye import Eye, reader
from darkroom.latents import sheets as module
from darkroom.latents.sheets import sheets
from darkroom.metrics.autoencoding import Likelihood
from darkroom.metrics.generative import Generative
from darkroom.models.autoencoder import Autoencoder
from darkroom.models.vae import Vae
from darkroom.training import conclusion

from ..small_models import coder


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def fewer(monkeypatch):
    for name, count in {"LEARNED": 400, "KNOWN": 150, "MEASURED": 20, "PAIRED": 10}.items():
        monkeypatch.setattr(module, name, count)


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    data = ImageData(Digits(), image_size=8)
    data.locate(tmp_path_factory.mktemp("data"), tmp_path_factory.mktemp("cache"))
    data.prepare()
    return data


@pytest.fixture
def metrics(tmp_path):
    return Generative(cache=str(tmp_path))


def made(data, family=Vae, **changes):
    parts = {"width": 16, "latent_dim": 4, "image_shape": data.image_shape, "class_names": data.class_names}
    return coder(family, **{**parts, **changes}).eval()


def check(found, names):
    assert list(found) == names
    for sheet in found.values():
        assert sheet.picture.dtype == np.uint8
        assert sheet.picture.ndim == 3
        assert len(sheet.caption) > 50
        assert all(np.isfinite(value) for value in sheet.numbers.values())


def test_digits_have_all_sheets_and_the_model_stays_as_it_is(digits, metrics):
    model = made(digits).train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    state = torch.get_rng_state()
    found = sheets(model, digits, metrics)
    check(found, ["interpolation", "traversal", "attributes"])
    assert torch.equal(torch.get_rng_state(), state)
    assert all(part.training for part in model.modules())
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    numbers = {name: value for sheet in found.values() for name, value in sheet.numbers.items()}
    assert {"interpolation_strayed_linear", "interpolation_strayed_spherical"} <= set(numbers)
    assert {"traversal_changed_class", "traversal_changed_stroke", "traversal_leaked"} <= set(numbers)
    for way in ("", "_logistic", "_held"):
        assert abs(numbers[f"attributes_moved{way}"]) <= 1
        assert 0 <= numbers[f"attributes_leaked{way}"] <= 1
    assert numbers["attributes_leaked_replaced"] > 0
    again = sheets(model, digits, metrics)
    assert all(np.array_equal(again[name].picture, sheet.picture) for name, sheet in found.items())


def test_a_conditional_model_is_told_another_class(digits, metrics):
    model = made(digits, conditioning="class")
    found = sheets(model, digits, metrics)
    check(found, ["interpolation", "traversal", "attributes"])
    assert {"attributes_moved", "attributes_moved_told"} <= set(found["attributes"].numbers)
    # Along the way the label is held, so both ends have the same one.
    assert "Both have the class" in found["interpolation"].caption
    assert "in the last column it is exchanged" in found["attributes"].caption


def test_without_a_judge_nothing_is_called_a_class(digits):
    found = sheets(made(digits, family=Autoencoder), digits, Likelihood())
    check(found, ["interpolation", "traversal"])
    assert found["interpolation"].numbers == {}
    assert set(found["traversal"].numbers) == {
        *("traversal_changed_stroke", "traversal_changed_slant"),
        *("traversal_moved", "traversal_leaked"),
    }


def test_an_eye_reads_every_attribute(tmp_path, metrics, monkeypatch):
    data = ImageData(Shapes(train=400, val=50, test=150), image_size=16)
    data.locate(tmp_path, tmp_path)
    lesson = data.attribute_data(4)
    monkeypatch.setattr(Eye, "of", classmethod(lambda cls, data, cache: cls(reader(lesson), lesson.names)))
    found = sheets(made(data), data, metrics)
    check(found, ["interpolation", "traversal", "attributes"])
    changed = {name.removeprefix("traversal_changed_") for name in found["traversal"].numbers}
    assert {"shape", "colour", "size", "position"} <= changed
    told = sheets(made(data, conditioning="class"), data, metrics)  # of shapes; other attributes are directions
    check(told, ["interpolation", "traversal", "attributes"])
    assert "attributes_leaked_logistic" in told["attributes"].numbers


class Notebook:
    """A run that only remembers."""

    def __init__(self):
        self.name, self.pictures, self.metrics = "run", {}, {}

    def log_picture(self, key, picture, step):
        self.pictures[key] = picture

    def log_metrics(self, metrics, step):
        self.metrics |= metrics


def test_a_finished_run_keeps_sheets_and_numbers(digits, metrics):
    run, model = Notebook(), made(digits)
    trained = SimpleNamespace(run=run, best=model, data=digits, metrics=metrics, images=100)
    conclusion.edit_latents(trained)
    conclusion.explain(trained)
    assert set(run.pictures) == {"test_interpolation", "test_traversal", "test_attributes", "test_explained_latent"}
    assert all(name.startswith("latents/") for name in run.metrics)


@pytest.mark.parametrize("conditioning", ["none", "class"])
@pytest.mark.parametrize("family", [Vae, Autoencoder])
def test_latents_are_explained_as_how_unusual_they_are(digits, family, conditioning):
    model = made(digits, family, conv=True, conditioning=conditioning)
    (found,) = model.explainable()
    ready = found.ready()
    images = torch.randn(5, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    numbers = [int(name.removeprefix("latent ")) for name in found.output_names]
    assert sorted(numbers) == [0, 1, 2, 3]
    with torch.no_grad():
        logits = ready.outputs(images)
        targets = torch.tensor([0, 1, 2, 3, 0])
        torch.testing.assert_close(ready.outputs(images, targets), logits[torch.arange(5), targets])
    # Untrained, latents are drawn from the standard normal prior.
    with torch.no_grad():
        codes = model.inference_network.encoder(images, torch.full((5, 10), 0.1) if model.classes else None)
    torch.testing.assert_close(logits, 1.702 * codes[:, numbers], atol=0.35, rtol=0.1)
    assert list(found.layers) == ["4x4"]  # not the padding, whose map is the picture itself
    assert set(subjects.sheets(model, digits, "title", 2)) == {"latent"}


def test_a_latent_is_asked_for_by_its_number(digits):
    (found,) = made(digits, latent_dim=12).explainable()
    assert len(found.output_names) == 8
    for place, name in enumerate(found.output_names):
        assert explanation.output(found, name) == place
        assert explanation.output(found, name.removeprefix("latent ")) == place
    absent = next(number for number in range(12) if f"latent {number}" not in found.output_names)
    with pytest.raises(UserError, match="no such latent"):
        explanation.output(found, str(absent))


def test_the_latent_that_moves_the_picture_most_comes_first(digits):
    model = made(digits)
    with torch.no_grad():
        model.network.decoder.hidden[0].weight[:, 2] *= 20
    (found,) = model.explainable()
    assert found.output_names[0] == "latent 2"
