from functools import partial

import pytest
import torch

from darkroom.errors import UserError
from darkroom.imaging.degradations import Downscale, Fade, Holes, Mask, Noise, noise_level
from darkroom.losses.penalties import ZeroCentred
from darkroom.metrics import paired
from darkroom.models.adversary import Adversary
from darkroom.models.restorer import Restorer, reflected
from darkroom.models.schedule import Schedule
from darkroom.networks.denoising import DenoisingAutoencoder
from darkroom.networks.dncnn import DnCNN
from darkroom.networks.enlarging import SRVGG
from darkroom.networks.naf import NAF
from darkroom.networks.sngan import SnganDiscriminator
from darkroom.networks.tone import Tone

from ..small_models import fit


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


def learnt(model, steps):
    fit(model, [{"images": planes(16, step)} for step in range(steps)])
    return model


@pytest.mark.parametrize("loss", ["mse", "l1"])
def test_it_learns_to_remove_noise(loss):
    model = learnt(restorer(loss=loss), 60)
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
    model = learnt(restorer(average_half_life=1000.0), 5)
    assert model.averaged
    image = planes(1, 0)
    assert torch.equal(model.restore(image), model.average(image).clamp(-1, 1))
    assert not torch.equal(model.average(image), model.network(image))
    assert not restorer().averaged


def test_answers_are_pictures():
    model = restorer()
    images = torch.linspace(-2, 2, 256).view(1, 1, 16, 16)
    assert torch.equal(model.restore(images), images.clamp(-1, 1))


def test_the_same_seed_makes_the_same_model():
    states = [learnt(restorer(), 3).state_dict() for _ in range(2)]
    assert all(torch.equal(first, second) for first, second in zip(*(s.values() for s in states), strict=True))


def test_a_rehearsal_reaches_every_weight_of_a_copy():
    model = restorer()
    model.dummy_loss(planes(2, 0)).backward()
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


class Watching(torch.nn.Module):
    """A network that keeps what it was shown."""

    multiple, reach = 4, 8

    def __init__(self, channels, channels_in, scale):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1))
        self.channels, self.channels_in, self.scale = channels, channels_in, scale

    def forward(self, inputs):
        self.shown = inputs
        large = inputs[:, : self.channels].repeat_interleave(self.scale, dim=2).repeat_interleave(self.scale, dim=3)
        return self.weight * large


def test_one_network_for_many_levels_is_shown_which():
    model = restorer(network=Watching, degradation=Noise(5, 50))
    assert (model.operation, model.scale, model.leveled, model.masked) == ("denoise", 1, True, False)
    assert (model.multiple, model.reach, model.network.channels_in) == (4, 8, 2)
    images = torch.rand(2, 1, 8, 8)
    model.restore(images, level=torch.tensor([10.0, 40.0]))
    assert torch.equal(model.network.shown[:, :1], images)
    assert torch.allclose(
        model.network.shown[:, 1], torch.tensor([10.0, 40.0]).view(2, 1, 1) / 127.5 * torch.ones(8, 8)
    )
    model.restore(images, level=25)
    assert torch.allclose(model.network.shown[:, 1], torch.full((2, 8, 8), 25 / 127.5))
    model.restore(images)
    assert torch.allclose(model.network.shown[:, 1, 0, 0] * 127.5, noise_level(images))


def test_noise_of_one_level_needs_no_map():
    assert restorer(network=Watching).network.channels_in == 1


def test_training_shows_the_level_that_was_drawn():
    model = learnt(restorer(network=Watching, degradation=Noise(5, 50)), 1)
    level = model.network.shown[:, 1].flatten(1).mean(dim=1) * 127.5
    noise = (model.network.shown[:, :1] - planes(16, 0)).flatten(1).std(dim=1) * 127.5
    assert torch.allclose(level, noise, rtol=0.2)
    assert level.max() > 2 * level.min()


@pytest.mark.parametrize("degradation", [Holes(0.1, 0.3), Mask(0.3, 2)], ids=["holes", "mask"])
def test_outside_the_holes_every_bit_stays(degradation):
    model = restorer(network=Watching, degradation=degradation, image_shape=(3, 16, 16))
    assert (model.operation, model.masked, model.network.channels_in, model.multiple) == ("inpaint", True, 4, 32)
    model.network.weight.data.fill_(0.7)
    images = (
        torch.rand(2, 3, 21, 35, generator=torch.Generator().manual_seed(0)) * 3 - 1.5
    )  # noise beyond the range too
    mask = torch.zeros(2, 1, 21, 35, dtype=torch.bool)
    mask[:, :, 3:9, 20:30] = True
    made = model.restore(images, mask=mask)
    kept = ~mask.expand_as(images)
    assert torch.equal(made[kept], images[kept])
    assert not torch.equal(made, images)
    hidden = torch.where(mask, 9.0, images)  # what lies in a hole decides nothing
    assert torch.equal(model.restore(hidden, mask=mask), made)
    with pytest.raises(UserError, match="give a mask"):
        model.restore(images)


def test_enlarged_pictures_are_larger_by_the_scale():
    model = restorer(network=Watching, degradation=Downscale(4))
    assert (model.operation, model.scale) == ("enlarge", 4)
    images = torch.rand(1, 1, 5, 7)
    assert torch.equal(model.restore(images), images.repeat_interleave(4, dim=2).repeat_interleave(4, dim=3))
    assert model.network.shown.shape == (1, 1, 8, 8)
    learnt(model, 1)
    assert model.network.shown.shape == (16, 1, 4, 4)
    with pytest.raises(UserError, match=r"multiples of 16.*18x18.*data\.image_size=32"):
        restorer(network=Watching, degradation=Downscale(4), image_shape=(1, 18, 18))
    with pytest.raises(UserError, match="leave the mask out"):
        model.restore(images, mask=torch.ones(1, 1, 5, 7, dtype=torch.bool))


def test_what_finds_damage_itself_can_be_kept_to_a_part():
    model = restorer(network=Watching)
    model.network.weight.data.fill_(0.5)
    images = torch.rand(1, 1, 9, 9)
    mask = torch.zeros(1, 1, 9, 9, dtype=torch.bool)
    mask[..., :4] = True
    assert torch.equal(model.restore(images, mask=mask), torch.where(mask, 0.5 * images, images))


def test_parts_are_restored_as_the_whole_they_are_of():
    model = restorer(network=partial(Tone, width=4), degradation=Fade(), image_shape=(3, 16, 16))
    for parameter in model.inference_network.parameters():
        parameter.data.add_(0.05 * torch.randn_like(parameter))
    faded = torch.rand(2, 3, 40, 24, generator=torch.Generator().manual_seed(0)) - 0.5
    whole = model.restore(faded)
    settings = model.look(faded)
    part = (..., slice(8, 32), slice(0, 16))
    assert torch.allclose(model.restore(faded[part], settings=settings), whole[part], atol=1e-6)
    assert not torch.allclose(model.restore(faded[part]), whole[part], atol=0.01)
    assert (model.decides, model.reach) == (True, 0)
    assert restorer(network=partial(NAF, width=4, window=None), degradation=Fade()).reach is None


def test_padding_mirrors_as_often_as_it_takes():
    line = torch.arange(3.0).view(1, 1, 1, 3)
    assert reflected(line, 0, 6).flatten().tolist() == [0, 1, 2, 1, 0, 1, 2, 1, 0]
    assert reflected(line[..., :1], 0, 2).flatten().tolist() == [0, 0, 0]


@pytest.mark.parametrize("network", [NAF, SRVGG], ids=["naf", "srvgg"])
def test_a_new_restorer_returns_what_it_is_given_whatever_the_size(network):
    model = restorer(network=partial(network, width=4), image_shape=(3, 16, 16))
    for size in [(16, 16), (33, 20), (5, 3), (1, 1)]:
        images = torch.rand(1, 3, *size)
        assert torch.allclose(model.restore(images), images, atol=1e-6)


def test_a_normalisation_over_the_batch_does_not_mix_pictures():
    model = learnt(restorer(network=partial(DnCNN, width=4, layers=4)), 3)
    model.train()
    images = planes(4, 7)
    assert torch.allclose(model.restore(images)[:1], model.restore(images[:1]), atol=1e-6)
    assert model.network.training


def test_several_losses_are_weighed_and_unknown_ones_refused():
    learnt(restorer(loss={"psnr": 1.0, "frequency": 0.5}), 1)
    with pytest.raises(UserError, match=r"no loss 'charbonier' \(did you mean 'charbonnier'"):
        restorer(loss="charbonier")


def opponent(**changes):
    parts = {
        "discriminator": partial(SnganDiscriminator, width=4, normalization="none"),
        "optimizer": partial(torch.optim.Adam, lr=0.001),
        "penalty": ZeroCentred(1.0, 0.0),
        "loss": "hinge",
    }
    return partial(Adversary, **{**parts, **changes})


def test_a_second_stage_trains_both_and_starts_where_the_first_one_ended():
    first = learnt(restorer(average_half_life=1000.0), 2)
    second = restorer(average_half_life=1000.0, adversarial=opponent())
    untrained = {name: value.clone() for name, value in second.adversary.state_dict().items()}
    second.load_state_dict(first.state_dict())
    images = planes(2, 3)
    assert torch.equal(second.restore(images), first.restore(images))
    learnt(second, 2)
    assert second.images_seen == 32
    assert second.trainer.global_step == 2
    moved = second.adversary.state_dict()
    assert any(not torch.equal(moved[name], value) for name, value in untrained.items())
    assert not torch.equal(
        second.network.state_dict()["encoder.1.weight"], first.network.state_dict()["encoder.1.weight"]
    )
    restorer(average_half_life=1000.0).load_state_dict(second.state_dict())


def test_a_discriminator_learns_to_tell_and_its_opponent_is_told():
    torch.manual_seed(0)
    adversary = opponent(penalty=None)(image_shape=(1, 16, 16))
    real, fake = planes(16, 0), planes(16, 0) + 0.5 * torch.randn(16, 1, 16, 16)
    step = adversary.optimizer(params=adversary.discriminator.parameters(), lr=0.01)
    before = adversary.generator_loss(real, fake).item()
    for _ in range(20):
        losses = adversary.losses(real, fake, torch.rand)
        step.zero_grad()
        losses["total"].backward()
        step.step()
    assert losses["discriminator_loss"] < 1
    fake.requires_grad_(True)
    step.zero_grad()
    deceived = adversary.generator_loss(real, fake)
    deceived.backward()
    assert deceived > before
    assert fake.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in adversary.parameters())
