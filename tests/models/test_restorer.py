from functools import partial

import pytest
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader

from darkroom.editing.degradations import Noise
from darkroom.metrics import paired
from darkroom.models.restorer import Restorer
from darkroom.models.schedule import Schedule
from darkroom.networks.denoising import DenoisingAutoencoder


def restorer(**changes):
    torch.manual_seed(0)
    parts = {
        "network": partial(DenoisingAutoencoder, width=8, blocks=1),
        "degradation": Noise(),
        "optimizer": partial(torch.optim.Adam, lr=0.01),
        "schedule": Schedule("constant"),
        "image_shape": (1, 16, 16),
        "class_names": [],
    }
    return Restorer(**{**parts, **changes})


def planes(count, seed):
    """Smooth pictures: a slope each."""
    slopes = torch.rand(count, 2, 1, 1, generator=torch.Generator().manual_seed(seed)) - 0.5
    rows, columns = torch.linspace(-1, 1, 16).view(16, 1), torch.linspace(-1, 1, 16).view(1, 16)
    return (slopes[:, :1] * rows + slopes[:, 1:] * columns).float()


def fit(model, steps):
    pl.Trainer(
        accelerator="cpu",
        max_epochs=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    ).fit(model, DataLoader([{"images": planes(16, step)} for step in range(steps)], batch_size=None))
    return model


@pytest.mark.parametrize("loss", ["mse", "l1"])
def test_it_learns_to_remove_noise(loss):
    model = fit(restorer(loss=loss), 60)
    whole = planes(32, 1000)
    damaged = whole + torch.randn(whole.shape, generator=torch.Generator().manual_seed(1)) * 25 / 127.5
    gain = (paired.psnr(model.restore(damaged), whole) - paired.psnr(damaged, whole)).mean()
    assert gain > 5
    assert model.images_seen == 60 * 16


@pytest.mark.parametrize("residual", [True, False])
@pytest.mark.parametrize("size", [(16, 16), (33, 20), (7, 7)])
def test_pictures_of_any_size_come_back_in_their_size(residual, size):
    network = DenoisingAutoencoder(3, width=8, blocks=1, residual=residual)
    assert network(torch.rand(2, 3, *size)).shape == (2, 3, *size)


def test_at_first_a_residual_network_sees_no_damage():
    images = torch.rand(2, 3, 15, 16)
    assert torch.equal(DenoisingAutoencoder(3, width=8, blocks=1)(images), images)


def test_the_code_is_maps_of_half_the_size():
    network = DenoisingAutoencoder(1, width=8, blocks=2)
    assert network.encode(torch.rand(2, 1, 16, 24)).shape == (2, 8, 8, 12)


def test_the_network_is_the_same_everywhere():
    network = DenoisingAutoencoder(1, width=8, blocks=1, residual=False).double()
    images = torch.rand(1, 1, 64, 64, dtype=torch.double, generator=torch.Generator().manual_seed(0))
    whole, moved = network(images), network(images.roll((8, 4), dims=(2, 3)))
    middle = slice(24, 40)
    assert torch.allclose(whole[:, :, 16:32, 20:36], moved[:, :, middle, middle])


def test_what_answers_is_the_average():
    model = fit(restorer(average_half_life=1000.0), 5)
    assert model.averaged
    image = planes(1, 0)
    assert torch.equal(model.restore(image), model.average(image).clamp(-1, 1))
    assert not torch.equal(model.average(image), model.network(image))
    assert not restorer().averaged


def test_answers_are_pictures_and_edits():
    model = restorer()
    images = torch.linspace(-2, 2, 256).view(1, 1, 16, 16)
    assert torch.equal(model.restore(images), images.clamp(-1, 1))
    assert torch.equal(model.edit(images), model.restore(images))


def test_the_same_seed_makes_the_same_model():
    states = [fit(restorer(), 3).state_dict() for _ in range(2)]
    assert all(torch.equal(first, second) for first, second in zip(*(s.values() for s in states), strict=True))


def test_a_rehearsal_reaches_every_weight_of_a_copy():
    model = restorer()
    model.rehearse(planes(2, 0)).backward()
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.slow
def test_the_experiment_runs_without_a_data_folder(typed, store, root, monkeypatch):
    monkeypatch.setenv("DARKROOM_CACHE", str(root / "cache"))
    monkeypatch.delenv("DARKROOM_DATA", raising=False)
    small = "budget.images=32 data.source.patches=32 data.image_size=128 metrics.images=4 model.network.width=4"
    code, printed, _ = typed(f"train experiment=dae/photos precision=32 trainer=cpu {small}")
    assert not code
    assert "wavelet denoiser" in printed
    (run,) = store.runs()
    metrics = run.metrics
    assert metrics["test/psnr_gain"] == pytest.approx(metrics["test/psnr"] - metrics["test/psnr_wavelet"])
