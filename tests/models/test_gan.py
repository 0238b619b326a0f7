"""Every trap that Lightning sets for a GAN, stepped over."""

from functools import partial

import pytest
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader

from darkroom.errors import UserError
from darkroom.models.gan import Gan
from darkroom.models.schedule import Schedule
from darkroom.networks.dcgan import DcganDiscriminator, DcganGenerator
from darkroom.networks.mlp import MlpDiscriminator, MlpGenerator

CONSTANT = Schedule("constant")
CLASSES = ["0", "1", "2"]


def gan(**changes):
    torch.manual_seed(0)
    parts = {
        "generator": partial(MlpGenerator, widths=(8, 8)),
        "discriminator": partial(MlpDiscriminator, widths=(8, 8)),
        "generator_optimizer": partial(torch.optim.Adam, lr=1e-2, betas=(0.0, 0.99)),
        "discriminator_optimizer": partial(torch.optim.Adam, lr=1e-2, betas=(0.0, 0.99)),
        "schedule": CONSTANT,
        "penalty_schedule": CONSTANT,
        "image_shape": (1, 8, 8),
        "class_names": CLASSES,
        "latent_dim": 4,
    }
    return Gan(**{**parts, **changes})


def batches(count, size=4):
    generator = torch.Generator().manual_seed(1)
    return [
        {
            "images": torch.rand(size, 1, 8, 8, generator=generator) * 2 - 1,
            "labels": torch.randint(0, 3, (size,), generator=generator),
        }
        for _ in range(count)
    ]


def fit(model, steps, callbacks=(), data=None, **settings):
    trainer = pl.Trainer(
        **{
            "accelerator": "cpu",
            "devices": 1,
            "max_epochs": 1,
            "logger": False,
            "enable_checkpointing": False,
            **settings,
        },
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=list(callbacks),
    )
    trainer.fit(model, DataLoader(data or batches(steps), batch_size=None))
    return trainer


@pytest.mark.filterwarnings("ignore::UserWarning")
class TestInTraining:
    def test_a_batch_is_one_step_and_counts_its_images_once(self):
        model = gan()
        trainer = fit(model, 5)
        assert trainer.global_step == 5
        assert model.images_seen == 20

    def test_max_steps_means_batches(self):
        model = gan()
        fit(model, 10, max_steps=6)
        assert model.images_seen == 24

    def test_both_networks_learn_and_neither_is_left_frozen(self):
        model, before = gan(), gan()
        fit(model, 2)
        for part in ("generator", "discriminator"):
            old, new = getattr(before, part), getattr(model, part)
            moved = [not torch.equal(a, b) for a, b in zip(old.parameters(), new.parameters(), strict=True)]
            assert all(moved)
            assert all(parameter.requires_grad for parameter in new.parameters())

    def test_the_average_follows_the_generator_alone(self):
        model = gan(average_half_life=8, average_ramp=1.0)
        followed = [parameter.detach().clone() for parameter in model.generator.parameters()]
        seen = 0

        class Follow(pl.Callback):
            def on_train_batch_end(self, trainer, module, *rest):
                nonlocal seen
                seen += 4
                weight = 1 - 0.5 ** (4 / min(8, seen))
                for average, current in zip(followed, module.generator.parameters(), strict=True):
                    average.lerp_(current.detach(), weight)

        fit(model, 5, [Follow()])
        for expected, averaged in zip(followed, model.average.parameters(), strict=True):
            assert torch.allclose(expected, averaged)
        current = torch.cat([parameter.flatten() for parameter in model.generator.parameters()])
        assert not torch.allclose(torch.cat([parameter.flatten() for parameter in model.average.parameters()]), current)

    def test_an_average_without_memory_is_the_generator(self):
        model = gan(average_half_life=1e-6)
        fit(model, 3)
        for averaged, current in zip(model.average.parameters(), model.generator.parameters(), strict=True):
            assert torch.allclose(averaged, current)

    def test_the_average_carries_batch_statistics_and_takes_no_gradient(self):
        network = partial(DcganGenerator, width=4, normalization="batch")
        model = gan(generator=network, discriminator=partial(DcganDiscriminator, width=4), average_half_life=1e-6)
        fit(model, 3)
        for averaged, current in zip(model.average.buffers(), model.generator.buffers(), strict=True):
            torch.testing.assert_close(averaged, current)
        assert not any(parameter.requires_grad for parameter in model.average.parameters())

    def test_batch_normalisation_sees_real_and_drawn_images_apart(self):
        network = partial(DcganDiscriminator, width=4, normalization="batch")
        model = gan(
            discriminator=network, image_shape=(1, 16, 16), generator=partial(DcganGenerator, width=4), r1=0, r2=0
        )
        batches = []
        norm = next(part for part in model.discriminator.modules() if isinstance(part, torch.nn.BatchNorm2d))
        norm.register_forward_hook(lambda module, inputs, output: batches.append(len(inputs[0])))
        images = [{"images": torch.rand(4, 1, 16, 16), "labels": torch.zeros(4, dtype=torch.int64)}]
        fit(model, 0, data=images)
        assert set(batches) == {4}

    def test_clipping_bounds_the_step(self):
        plain = partial(torch.optim.SGD, lr=1.0)
        model, before = gan(generator_optimizer=plain, discriminator_optimizer=plain, gradient_clip=1e-3), gan()
        fit(model, 1)
        for part in ("generator", "discriminator"):
            old, new = getattr(before, part), getattr(model, part)
            step = torch.cat([(a - b).flatten() for a, b in zip(old.parameters(), new.parameters(), strict=True)])
            assert step.norm().item() == pytest.approx(1e-3, rel=1e-2)

    def test_schedules_follow_the_fraction_and_scale_the_configured_rate(self):
        model = gan(schedule=Schedule("linear", final=0.0))
        seen = []

        class Half(pl.Callback):
            def on_train_batch_start(self, trainer, module, *rest):
                module.fraction = 0.25

            def on_train_batch_end(self, trainer, module, *rest):
                seen.extend(group["lr"] for optimizer in trainer.optimizers for group in optimizer.param_groups)

        fit(model, 2, [Half()])
        assert seen == pytest.approx([0.0075] * 4)

    @pytest.mark.parametrize("conditional", [True, False])
    @pytest.mark.parametrize("loss", ["relativistic", "non_saturating"])
    def test_bfloat16_trains_and_keeps_float32_weights(self, loss, conditional):
        model = gan(loss=loss, conditional=conditional)
        fit(model, 3, precision="bf16-mixed")
        weights = torch.cat([parameter.flatten() for parameter in model.parameters()])
        assert weights.dtype == torch.float32
        assert weights.isfinite().all()

    def test_a_step_does_not_depend_on_random_numbers_drawn_before_it(self):
        class Waste(pl.Callback):
            def on_train_batch_end(self, *rest):
                torch.rand(1000)

        one, other = gan(), gan()
        fit(one, 4)
        fit(other, 4, [Waste()])
        assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))

    def test_the_penalty_shrinks_the_discriminators_gradient(self):
        norms = {}
        for gamma in (0.0, 100.0):
            model = gan(r1=gamma, r2=gamma)
            fit(model, 40)
            images = batches(1)[0]["images"].requires_grad_(True)
            logits = model.discriminator(images, torch.zeros(4, dtype=torch.int64))
            (gradient,) = torch.autograd.grad(logits.sum(), images)
            norms[gamma] = gradient.norm().item()
        assert norms[100.0] < 0.5 * norms[0.0]


class TestSampling:
    def test_an_image_is_the_same_whatever_is_drawn_beside_it(self):
        model = gan().eval()
        whole = model.sample(torch.arange(150), seed=3)
        for indices in ([7], [149, 2], list(range(60, 70)), [130, 64, 63]):
            assert torch.equal(model.sample(torch.tensor(indices), seed=3), whole[indices])
        assert not torch.equal(model.sample(torch.tensor([7]), seed=4), whole[[7]])

    def test_the_class_asked_for_and_the_class_in_turn(self):
        model = gan().eval()
        torch.nn.init.normal_(model.average.class_shift.weight)
        indices = torch.arange(6)
        assert torch.equal(model.sample(indices, 0), model.sample(indices, 0, labels=indices % 3))
        same = torch.zeros(3, dtype=torch.int64)
        three = model.sample(same, 0, labels=torch.arange(3))
        assert not torch.equal(three[0], three[1])
        assert torch.equal(three[2:], model.sample(same[:1], 0, labels=torch.tensor([2])))

    def test_truncation_moves_toward_the_mean(self):
        model = gan(conditional=False).eval()
        spread = [model.sample(torch.arange(64), 0, truncation=t).std(dim=0).mean() for t in (0.1, 1.0)]
        assert spread[0] < spread[1]

    def test_sampling_leaves_random_state_and_mode_alone(self):
        model = gan(generator=partial(DcganGenerator, width=4, normalization="batch"),
                    discriminator=partial(DcganDiscriminator, width=4)).train()  # fmt: skip
        state, statistics = torch.get_rng_state(), model.average.norms[0].running_mean.clone()
        model.sample(torch.arange(8), 0)
        assert torch.equal(torch.get_rng_state(), state)
        assert torch.equal(model.average.norms[0].running_mean, statistics)
        assert model.average.training

    def test_latents_are_standard_normal(self):
        latents = gan().latents(torch.arange(4000), seed=0)
        assert latents.mean().abs() < 0.02
        assert latents.std().item() == pytest.approx(1, abs=0.02)
        assert torch.unique(latents).numel() > 15_000


class TestRefusals:
    def test_a_conditional_model_needs_labels(self):
        with pytest.raises(UserError, match="needs labels"):
            gan(conditional=True, class_names=[])

    def test_unlabelled_data_train_an_unconditional_model(self):
        assert gan(class_names=[]).classes == 0

    def test_a_penalty_does_not_bear_batch_normalisation(self):
        network = partial(DcganDiscriminator, width=4, normalization="batch")
        with pytest.raises(UserError, match="mixes the images of a batch"):
            gan(discriminator=network, image_shape=(1, 16, 16))
        assert not gan(discriminator=network, image_shape=(1, 16, 16), r1=0, r2=0).penalised
