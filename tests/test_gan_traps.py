"""The traps that Lightning sets for two networks with an optimizer each: one test a trap, which fails in it."""

import warnings
from functools import partial
from types import SimpleNamespace

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.plugins import MixedPrecision

from darkroom.callbacks.cadence import Cadence
from darkroom.callbacks.curves import Curves
from darkroom.config.checking import check
from darkroom.config.composing import compose
from darkroom.config.parts import build
from darkroom.errors import UserError
from darkroom.losses.penalties import OneCentred
from darkroom.models.diffaugment import DiffAugment
from darkroom.models.schedule import Schedule
from darkroom.networks.dcgan import DcganDiscriminator, DcganGenerator

from .small_models import batches, fit, gan

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")
BATCH = 4


def weights(network):
    return torch.cat([parameter.detach().flatten() for parameter in network.parameters()])


class Noting(pl.Callback):
    """Keep what a function says of the model after each batch."""

    def __init__(self, look):
        self.look, self.seen = look, []

    def on_train_batch_end(self, trainer, model, *rest):
        self.seen.append(self.look(model))


def test_1_two_optimizers_are_stepped_by_hand():
    model, before = gan(), gan()
    assert not model.automatic_optimization
    fit(model, batches(1))
    for part in ("generator", "discriminator"):
        assert not torch.equal(weights(getattr(model, part)), weights(getattr(before, part)))


@pytest.mark.parametrize("discriminator_steps", [1, 5])
def test_2_the_discriminators_steps_do_not_count(discriminator_steps):
    model = gan(discriminator_steps=discriminator_steps)
    trainer = fit(model, batches(40), max_steps=4)
    assert trainer.global_step == 4
    assert model.images_seen == 4 * discriminator_steps * BATCH


def test_3_what_happens_every_so_often_happens_that_often(tmp_path):
    saving = ModelCheckpoint(tmp_path, "{step}", every_n_train_steps=3, save_top_k=-1)
    fit(gan(), batches(12), [saving], enable_checkpointing=True)
    assert {path.name for path in tmp_path.iterdir()} == {f"step={step}.ckpt" for step in (3, 6, 9, 12)}
    for discriminator_steps in (1, 3):
        cadence = Cadence(10)
        noting = Noting(lambda model, cadence=cadence: cadence.due(model.images_seen - BATCH, model.images_seen))
        fit(gan(discriminator_steps=discriminator_steps), batches(10), [noting])
        assert [4 * (index + 1) for index, due in enumerate(noting.seen) if due] == [12, 20, 32, 40]


@pytest.mark.parametrize("discriminator_steps", [1, 2])
def test_4_the_average_moves_at_every_batch_and_replaces_nothing(discriminator_steps):
    model, before = gan(discriminator_steps=discriminator_steps, average_half_life=20, average_ramp=1.0), gan()
    noting = Noting(lambda model: (weights(model.average), weights(model.generator)))
    fit(model, batches(6), [noting])
    moved = [not torch.equal(a[0], b[0]) for a, b in zip(noting.seen, noting.seen[1:], strict=False)]
    assert all(moved[discriminator_steps:])
    assert torch.equal(weights(model.generator), noting.seen[-1][1]), "training ends with the weights it trained"
    assert not torch.equal(weights(model.generator), weights(before.generator))
    assert not torch.equal(weights(model.generator), weights(model.average))


def test_5_a_checkpoint_has_the_average_and_the_weights_it_is_of(tmp_path):
    model = gan(average_half_life=20, average_ramp=1.0)
    fit(model, batches(4)).save_checkpoint(tmp_path / "last.ckpt")
    state = torch.load(tmp_path / "last.ckpt", weights_only=True)["state_dict"]
    raw, averaged = (
        {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}
        for prefix in ("generator.", "average.")
    )
    assert raw.keys() == averaged.keys()
    assert not any(torch.equal(raw[name], averaged[name]) for name in raw)
    others = {name.partition(".")[0] for name in state} - {"generator", "average"}
    assert others == {"discriminator", "augmentation"}, "of the discriminator there is one"


@pytest.mark.parametrize("scale", [None, 2.0**8])
def test_6_gradients_are_clipped_at_their_true_size(scale):
    plain = partial(torch.optim.SGD, lr=1.0)
    model, before = gan(generator_optimizer=plain, discriminator_optimizer=plain, gradient_clip=1e-3), gan()
    scaler = torch.amp.GradScaler("cpu", init_scale=scale) if scale else None
    fit(model, batches(1), plugins=[MixedPrecision("16-mixed", "cpu", scaler)] if scaler else [])
    for part in ("generator", "discriminator"):
        step = weights(getattr(model, part)) - weights(getattr(before, part))
        assert step.norm().item() == pytest.approx(1e-3, rel=1e-2)


@pytest.mark.parametrize(
    ("setting", "instead"),
    [("gradient_clip_val=1", "model.gradient_clip"), ("accumulate_grad_batches=2", "data.batch_size")],
)
def test_7_what_lightning_cannot_do_for_two_optimizers_is_refused(setting, instead):
    with pytest.raises(UserError, match=f"use {instead}"):
        check(compose("train", [f"+trainer.{setting}"]), "train")


def test_8_several_processes_look_for_weights_that_a_step_did_not_use():
    assert compose("train", ["trainer=ddp"])["trainer"]["strategy"] == "ddp_find_unused_parameters_true"
    model = gan()
    used = []

    class WhichWeights(pl.Callback):
        def on_before_optimizer_step(self, trainer, model, optimizer):
            used.append([p.grad is not None for p in model.generator.parameters()])

    fit(model, batches(1), [WhichWeights()])
    assert not any(used[0]), "the discriminator's step uses no weight of the generator"
    assert all(used[1])


@pytest.mark.parametrize("discriminator_steps", [1, 3])
def test_9_curves_are_over_images(discriminator_steps, tmp_path):
    logged = []
    run = SimpleNamespace(folder=tmp_path, log_metrics=lambda metrics, step: logged.append((step, metrics)))
    fit(gan(discriminator_steps=discriminator_steps), batches(6), [Curves(run, 2 * BATCH)])
    assert [step for step, _ in logged] == [8, 16, 24]
    assert all(metrics["train/discriminator_loss"] == metrics["train/discriminator_loss"] for _, metrics in logged)


STOCHASTIC = {
    "loss": "wasserstein",
    "penalty": OneCentred(10.0),
    "discriminator_steps": 3,
    "beta2_schedule": Schedule("cosine", final=0.1),
}


def test_10_stopped_and_continued_is_never_stopped(tmp_path):
    def adaptive():
        return {**STOCHASTIC, "augmentation": DiffAugment(0.8, target=0.0, adaptation=20)}

    data, whole, part, rest = batches(8), gan(**adaptive()), gan(**adaptive()), gan(**adaptive())
    expected = fit(whole, data)
    fit(part, data[:4]).save_checkpoint(tmp_path / "last.ckpt")
    torch.rand(7)
    continued = fit(rest, data[4:], ckpt_path=tmp_path / "last.ckpt", max_epochs=2)
    assert rest.images_seen == whole.images_seen == 32
    assert rest.discriminator_turns == whole.discriminator_turns == 8
    for name, tensor in whole.state_dict().items():
        assert torch.equal(rest.state_dict()[name], tensor), name
    for one, other in zip(expected.optimizers, continued.optimizers, strict=True):
        for mine, theirs in zip(one.state.values(), other.state.values(), strict=True):
            assert all(torch.equal(torch.as_tensor(mine[key]), torch.as_tensor(theirs[key])) for key in mine)


def test_11_learning_rates_move_though_nobody_steps_a_scheduler():
    model = gan(schedule=Schedule("linear", final=0.0))

    class Half(pl.Callback):
        def on_train_batch_start(self, trainer, model, *rest):
            model.fraction = 0.25

    noting = Noting(lambda model: [group["lr"] for o in model._optimizers() for group in o.param_groups])
    trainer = fit(model, batches(2), [Half(), noting])
    assert noting.seen == [pytest.approx([0.0075] * 2)] * 2
    assert trainer.lr_scheduler_configs == []


def test_12_neither_network_learns_from_the_others_loss_or_stays_frozen():
    gradients = []

    class Gradients(pl.Callback):
        def on_before_optimizer_step(self, trainer, model, optimizer):
            gradients.append([p.grad.clone() for p in model.discriminator.parameters()])

    network = partial(DcganGenerator, width=4, normalization="batch")
    model = gan(generator=network, discriminator=partial(DcganDiscriminator, width=4))
    statistics = model.generator.network.norms[0].running_mean.clone()
    fit(model, batches(2), [Gradients()])
    for of_discriminator, of_generator in (gradients[:2], gradients[2:]):
        assert all(torch.equal(a, b) for a, b in zip(of_discriminator, of_generator, strict=True))
    assert all(parameter.requires_grad for part in (model.generator, model.discriminator) for parameter in
               part.parameters())  # fmt: skip
    assert not any(parameter.requires_grad for parameter in model.average.parameters())
    assert not torch.equal(model.generator.network.norms[0].running_mean, statistics)


def test_13_nothing_is_called_what_lightnings_checkpoints_look_for():
    model = gan()
    assert not hasattr(model, "saved_models")
    assert not hasattr(model, "layer")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message=".*(does not have many workers|isinstance.treespec|srun).*")
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        warnings.filterwarnings("ignore", category=FutureWarning)
        fit(model, batches(2))


def test_14_whole_numbers_for_betas_are_taken():
    whole = [f"model.{part}_optimizer.betas=[0,0]" for part in ("generator", "discriminator")]
    node = compose("train", ["network@model.generator=mlp_generator", *whole])
    assert [type(beta) for beta in node["model"]["generator_optimizer"]["betas"]] == [int, int]
    model = build(node["model"], image_shape=(1, 8, 8), class_names=["a", "b"])
    for optimizer in model.configure_optimizers():
        assert [type(beta) for beta in optimizer.defaults["betas"]] == [float, float]
