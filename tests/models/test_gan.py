"""How two networks learn from each other, and what is drawn of it."""

from functools import partial

import pytest
import pytorch_lightning as pl
import torch
from torch.nn.modules.batchnorm import _BatchNorm

from darkroom.config.checking import check
from darkroom.config.composing import compose
from darkroom.config.groups import options
from darkroom.config.parts import build
from darkroom.errors import UserError
from darkroom.losses.adversarial import LOSSES
from darkroom.losses.penalties import OneCentred, Penalty, WeightClipping, ZeroCentred
from darkroom.models.diffaugment import DiffAugment
from darkroom.models.schedule import Schedule
from darkroom.networks.captions import CaptionEncoder
from darkroom.networks.dcgan import DcganDiscriminator, DcganGenerator
from darkroom.networks.mlp import MlpDiscriminator

from ..small_models import batches, fit, gan

CONSTANT = Schedule("constant")
CLASSES = ["0", "1", "2"]


@pytest.mark.filterwarnings("ignore::UserWarning")
class TestInTraining:
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

        fit(model, batches(5), [Follow()])
        for expected, averaged in zip(followed, model.average.parameters(), strict=True):
            assert torch.allclose(expected, averaged)
        current = torch.cat([parameter.flatten() for parameter in model.generator.parameters()])
        assert not torch.allclose(torch.cat([parameter.flatten() for parameter in model.average.parameters()]), current)

    def test_an_average_without_memory_is_the_generator(self):
        model = gan(average_half_life=1e-6)
        fit(model, batches(3))
        for averaged, current in zip(model.average.parameters(), model.generator.parameters(), strict=True):
            assert torch.allclose(averaged, current)

    def test_the_average_carries_batch_statistics_and_takes_no_gradient(self):
        network = partial(DcganGenerator, width=4, normalization="batch")
        model = gan(generator=network, discriminator=partial(DcganDiscriminator, width=4), average_half_life=1e-6)
        fit(model, batches(3))
        for averaged, current in zip(model.average.buffers(), model.generator.buffers(), strict=True):
            torch.testing.assert_close(averaged, current)
        assert not any(parameter.requires_grad for parameter in model.average.parameters())

    def test_batch_normalisation_sees_real_and_drawn_images_apart(self):
        network = partial(DcganDiscriminator, width=4, normalization="batch")
        model = gan(
            discriminator=network,
            image_shape=(1, 16, 16),
            generator=partial(DcganGenerator, width=4),
            penalty=Penalty(),
        )
        batches = []
        norm = next(part for part in model.discriminator.modules() if isinstance(part, _BatchNorm))
        norm.register_forward_hook(lambda module, inputs, output: batches.append(len(inputs[0])))
        images = [{"images": torch.rand(4, 1, 16, 16), "labels": torch.zeros(4, dtype=torch.int64)}]
        fit(model, images)
        assert set(batches) == {4}

    @pytest.mark.parametrize("conditioning", ["class", "none"])
    @pytest.mark.parametrize("loss", ["relativistic", "non_saturating"])
    def test_bfloat16_trains_and_keeps_float32_weights(self, loss, conditioning):
        model = gan(loss=loss, conditioning=conditioning)
        fit(model, batches(3), precision="bf16-mixed")
        weights = torch.cat([parameter.flatten() for parameter in model.parameters()])
        assert weights.dtype == torch.float32
        assert weights.isfinite().all()

    def test_a_step_does_not_depend_on_random_numbers_drawn_before_it(self):
        class Waste(pl.Callback):
            def on_train_batch_end(self, *rest):
                torch.rand(1000)

        one, other = gan(), gan()
        fit(one, batches(4))
        fit(other, batches(4), [Waste()])
        assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))

    def test_the_penalty_shrinks_the_discriminators_gradient(self):
        norms = {}
        for gamma in (0.0, 100.0):
            model = gan(penalty=ZeroCentred(gamma, gamma) if gamma else Penalty())
            fit(model, batches(40))
            images = batches(1)[0]["images"].requires_grad_(True)
            logits = model.discriminator(images, torch.zeros(4, dtype=torch.int64))
            (gradient,) = torch.autograd.grad(logits.sum(), images)
            norms[gamma] = gradient.norm().item()
        assert norms[100.0] < 0.5 * norms[0.0]


PENALTIES = {
    "none": Penalty,
    "r1_r2": ZeroCentred,
    "r1": partial(ZeroCentred, 1.0, 0.0),
    "r2": partial(ZeroCentred, 0.0, 1.0),
    "gradient_penalty": OneCentred,
    "dragan": partial(OneCentred, 10.0, "perturbed"),
    "weight_clipping": WeightClipping,
}


def flat(network):
    return torch.cat([parameter.detach().flatten() for parameter in network.parameters()])


class At(pl.Callback):
    """Say how much of the budget is spent, and keep what a function says of the model after each batch."""

    def __init__(self, fraction, look=lambda model: None):
        self.fraction, self.look, self.seen = fraction, look, []

    def on_train_batch_start(self, trainer, module, *rest):
        module.fraction = self.fraction

    def on_train_batch_end(self, trainer, module, outputs, *rest):
        self.seen.append(self.look(module))
        self.outputs = outputs


@pytest.mark.filterwarnings("ignore::UserWarning")
class TestStrategies:
    @pytest.mark.parametrize("penalty", PENALTIES)
    @pytest.mark.parametrize("loss", LOSSES)
    def test_every_loss_trains_with_every_penalty(self, loss, penalty):
        model, before = gan(loss=loss, penalty=PENALTIES[penalty]()), gan()
        at = At(0.5)
        fit(model, batches(2), [at])
        for part in ("generator", "discriminator"):
            assert flat(getattr(model, part)).isfinite().all()
            assert not torch.equal(flat(getattr(model, part)), flat(getattr(before, part)))
        assert all(value.isfinite() for value in at.outputs.values())
        assert ("penalty" in at.outputs) == (penalty not in ("none", "weight_clipping"))

    def test_clipped_weights_stay_clipped_and_only_the_discriminators(self):
        model = gan(loss="wasserstein", penalty=WeightClipping(0.02))
        fit(model, batches(3))
        assert flat(model.discriminator).abs().max() <= 0.02
        assert flat(model.generator).abs().max() > 0.02

    @pytest.mark.parametrize("steps", [1, 3])
    def test_the_generator_takes_its_turn(self, steps):
        model = gan(discriminator_steps=steps)
        at = At(0.5, lambda model: (flat(model.generator), flat(model.discriminator)))
        fit(model, batches(7), [at])
        states = [(flat(gan().generator), flat(gan().discriminator)), *at.seen]
        moved = [
            [not torch.equal(a, b) for a, b in zip(one, two, strict=True)]
            for one, two in zip(states, at.seen, strict=False)
        ]
        assert [generator for generator, _ in moved] == [(index + 1) % steps == 0 for index in range(7)]
        assert all(discriminator for _, discriminator in moved)
        assert model.discriminator_turns == 7

    def test_the_curves_have_a_generators_loss_where_there_was_one(self):
        outputs = []

        class Keep(pl.Callback):
            def on_train_batch_end(self, trainer, module, output, *rest):
                outputs.append("generator_loss" in output)

        fit(gan(discriminator_steps=2), batches(4), [Keep()])
        assert outputs == [False, True, False, True]

    def test_two_time_scales(self):
        plain = {part: partial(torch.optim.SGD, lr=rate) for part, rate in
                 {"generator_optimizer": 0.001, "discriminator_optimizer": 0.004}.items()}  # fmt: skip
        model = gan(**plain, schedule=Schedule("linear", final=0.0))
        at = At(0.5, lambda model: [optimizer.param_groups[0]["lr"] for optimizer in model._optimizers()])
        fit(model, batches(1), [at])
        assert at.seen == [pytest.approx([0.002, 0.0005])]

    @pytest.mark.parametrize("fraction", [0.0, 0.1, 0.2, 0.9])
    def test_the_second_beta_follows_its_schedule(self, fraction):
        burn_in = Schedule("cosine", end=0.2, final=0.1)
        model = gan(
            beta2_schedule=burn_in,
            generator_optimizer=partial(torch.optim.Adam, lr=1e-3, betas=(0.0, 0.9)),
            discriminator_optimizer=partial(torch.optim.AdamW, lr=1e-3, betas=(0.5, 0.99)),
        )
        at = At(fraction, lambda model: [optimizer.param_groups[0]["betas"] for optimizer in model._optimizers()])
        fit(model, batches(2), [at])
        expected = [(0.5, 1 - 0.01 * burn_in(fraction)), (0.0, 1 - 0.1 * burn_in(fraction))]
        assert at.seen == [[pytest.approx(betas) for betas in expected]] * 2
        if fraction == 0.9:
            assert expected[1][1] == pytest.approx(0.99)

    @pytest.mark.parametrize("optimizer", [partial(torch.optim.SGD, momentum=0.9, nesterov=True), torch.optim.RMSprop])
    def test_optimizers_without_betas_have_none_to_schedule(self, optimizer):
        slow = partial(optimizer, lr=1e-3)
        model = gan(generator_optimizer=slow, discriminator_optimizer=slow, beta2_schedule=Schedule("linear"))
        fit(model, batches(2), [At(0.5)])
        assert not torch.equal(flat(model.generator), flat(gan().generator))

    def test_the_penalty_follows_its_schedule(self):
        plain = partial(torch.optim.SGD, lr=1.0)
        parts = {"generator_optimizer": plain, "discriminator_optimizer": plain, "loss": "wasserstein"}
        before = flat(gan().discriminator)
        steps = {}
        for name, changes in {
            "none": {"penalty": Penalty()},
            "full": {"penalty": ZeroCentred(1.0, 1.0)},
            "half": {"penalty": ZeroCentred(1.0, 1.0), "penalty_schedule": Schedule("linear", final=0.0)},
        }.items():
            model = gan(**parts, **changes)
            fit(model, batches(1), [At(0.5)])
            steps[name] = flat(model.discriminator) - before
        assert not torch.allclose(steps["full"], steps["none"])
        torch.testing.assert_close(steps["half"], (steps["full"] + steps["none"]) / 2)

    def test_the_average_follows_its_schedule(self):
        short = gan(average_half_life=2.0, average_ramp=1e9)
        scheduled = gan(average_half_life=20.0, average_ramp=1e9, average_schedule=Schedule("linear", final=0.0))
        for model in (short, scheduled):
            fit(model, batches(3), [At(0.9)])
        torch.testing.assert_close(flat(scheduled.average), flat(short.average))
        assert not torch.equal(flat(short.average), flat(short.generator))

    def test_early_on_the_average_forgets_faster(self):
        fast, slow = (gan(average_half_life=1000, average_ramp=ramp) for ramp in (0.1, 1e9))
        for model in (fast, slow):
            fit(model, batches(4))
        distances = [(flat(model.average) - flat(model.generator)).norm() for model in (fast, slow)]
        assert distances[0] < 0.2 * distances[1]

    def test_augmentation_reaches_both_networks_and_ramps(self):
        shown = []

        class Noting(DiffAugment):
            def forward(self, images, numbers, strength):
                shown.append((len(images), strength))
                return super().forward(images, numbers, strength)

        fit(gan(augmentation=Noting(0.8, ramp=0.2), penalty=OneCentred()), batches(1), [At(0.1)])
        # Real and drawn ones at once, those between them, drawn ones again, real ones for the pairs.
        assert shown == [(8, 0.4), (4, 0.4), (4, 0.4), (4, 0.4)]
        shown.clear()
        fit(gan(augmentation=Noting(0.8, ramp=0.2)), batches(1), [At(0.0)])
        assert shown == []

    def test_augmentation_changes_what_is_learned_and_not_what_is_drawn(self):
        plain, augmented = gan(), gan(augmentation=DiffAugment(1.0, ramp=0))
        assert torch.equal(plain.eval().sample(torch.arange(3), 0), augmented.eval().sample(torch.arange(3), 0))
        for model in (plain, augmented):
            fit(model.train(), batches(2))
        assert not torch.equal(flat(plain.generator), flat(augmented.generator))

    @pytest.mark.parametrize("loss", LOSSES)
    def test_augmentation_adapts_to_how_sure_the_discriminator_is(self, loss):
        class Brightness(torch.nn.Module):
            """Finds bright pictures real; the generator begins with grey ones."""

            def __init__(self, image_shape, condition_dim):
                super().__init__()
                self.scale = torch.nn.Parameter(torch.tensor(2.0))

            def features(self, images):
                return self.scale * images.flatten(1).mean(dim=1)

            def judge(self, features, condition):
                return features

        for brightness, expected in ((1.0, 0.4), (-1.0, 0.0)):
            augmentation = DiffAugment(0.8, target=0.5, adaptation=10)
            model = gan(loss=loss, discriminator=Brightness, augmentation=augmentation, penalty=Penalty())
            images = torch.full((4, 1, 8, 8), brightness)
            fit(model, [{"images": images, "labels": torch.zeros(4, dtype=torch.int64)}])
            assert augmentation.strength(0.0) == pytest.approx(expected)
            assert model.state_dict()["augmentation.adapted"] == augmentation.adapted

    def test_a_conditional_model_trains_without_labels_when_it_is_told_to(self):
        model = gan(conditioning="none")
        assert model.classes == 0
        fit(model, batches(2))
        assert flat(model.generator).isfinite().all()


@pytest.mark.filterwarnings("ignore::UserWarning")
class TestFromConfiguration:
    SMALL = ("data.image_size=8", "model.generator.width=4", "model.discriminator.width=4")

    @pytest.mark.parametrize(
        "chosen",
        [
            ["penalty@model.penalty=recommended", "model.loss=wasserstein"],
            ["penalty@model.penalty=weight_clipping", "model.loss=wasserstein", "model.discriminator_steps=2"],
            ["penalty@model.penalty=dragan", "model.loss=non_saturating"],
            ["augmentation@model.augmentation=diffaugment", "schedule@model.average_schedule=cosine"],
            ["augmentation@model.augmentation=adaptive", "schedule@model.beta2_schedule=burn_in"],
            [f"optimizer@model.{part}_optimizer=sgd" for part in ("generator", "discriminator")],
            ["optimizer@model.generator_optimizer=rmsprop", "optimizer@model.discriminator_optimizer=adamw"],
        ],
        ids=lambda chosen: chosen[0].partition("=")[2] + chosen[-1].rpartition(".")[2],
    )
    def test_every_strategy_trains(self, chosen):
        node = compose("train", [*self.SMALL, *chosen])
        check(node, "train")
        model = build(node["model"], image_shape=(1, 8, 8), class_names=CLASSES)
        before = flat(model.generator)
        fit(model, batches(2), [At(0.5)])
        assert flat(model.generator).isfinite().all()
        assert not torch.equal(flat(model.generator), before)

    def test_what_is_recommended_follows_the_loss(self):
        kinds = {}
        for loss in LOSSES:
            node = compose("train", [f"model.loss={loss}", "penalty@model.penalty=recommended"])
            kinds[loss] = type(build(node["model"]["penalty"]))
        assert kinds == {**dict.fromkeys(LOSSES, ZeroCentred), "wasserstein": OneCentred}

    @pytest.mark.parametrize("penalty", options("penalty"))
    def test_every_loss_goes_with_every_penalty(self, penalty):
        node = compose("train", [f"penalty@model.penalty={penalty}"])
        for loss in LOSSES:
            check({**node, "model": {**node["model"], "loss": loss}}, "train")


class TestSampling:
    def test_an_image_is_the_same_whatever_is_drawn_beside_it(self):
        model = gan().eval()
        whole = model.sample(torch.arange(150), seed=3)
        for indices in ([7], [149, 2], list(range(60, 70)), [130, 64, 63]):
            assert torch.equal(model.sample(torch.tensor(indices), seed=3), whole[indices])
        assert not torch.equal(model.sample(torch.tensor([7]), seed=4), whole[[7]])

    def test_the_class_asked_for_and_the_class_in_turn(self):
        model = gan().eval()
        torch.nn.init.normal_(model.average.network.shift.weight)
        indices = torch.arange(6)
        assert torch.equal(model.sample(indices, 0), model.sample(indices, 0, labels=indices % 3))
        same = torch.zeros(3, dtype=torch.int64)
        three = model.sample(same, 0, labels=torch.arange(3))
        assert not torch.equal(three[0], three[1])
        assert torch.equal(three[2:], model.sample(same[:1], 0, labels=torch.tensor([2])))

    def test_truncation_moves_toward_the_mean(self):
        model = gan(conditioning="none").eval()
        spread = [model.sample(torch.arange(64), 0, truncation=t).std(dim=0).mean() for t in (0.1, 1.0)]
        assert spread[0] < spread[1]

    def test_sampling_leaves_random_state_and_mode_alone(self):
        model = gan(generator=partial(DcganGenerator, width=4, normalization="batch"),
                    discriminator=partial(DcganDiscriminator, width=4)).train()  # fmt: skip
        state, statistics = torch.get_rng_state(), model.average.network.norms[0].running_mean.clone()
        model.sample(torch.arange(8), 0)
        assert torch.equal(torch.get_rng_state(), state)
        assert torch.equal(model.average.network.norms[0].running_mean, statistics)
        assert model.average.training

    def test_latents_are_standard_normal(self):
        latents = gan().latents(torch.arange(4000), seed=0)
        assert latents.mean().abs() < 0.02
        assert latents.std().item() == pytest.approx(1, abs=0.02)
        assert torch.unique(latents).numel() > 15_000


class TestRefusals:
    def test_a_conditional_model_needs_labels(self):
        with pytest.raises(UserError, match="needs labels"):
            gan(conditioning="class", class_names=[])

    def test_unlabelled_data_train_an_unconditional_model(self):
        assert gan(class_names=[]).classes == 0

    def test_a_penalty_does_not_bear_batch_normalisation(self):
        network = partial(DcganDiscriminator, width=4, normalization="batch")
        with pytest.raises(UserError, match="mixes the images of a batch"):
            gan(discriminator=network, image_shape=(1, 16, 16))
        for penalty in (OneCentred(), OneCentred(where="perturbed"), ZeroCentred(0, 1)):
            with pytest.raises(UserError, match=r"type penalty@model\.penalty=none"):
                gan(discriminator=network, image_shape=(1, 16, 16), penalty=penalty)
        assert gan(discriminator=network, image_shape=(1, 16, 16), penalty=WeightClipping()).apart

    def test_clipping_bounds_nothing_behind_spectral_normalisation(self):
        def network(image_shape, condition_dim):
            network = MlpDiscriminator(image_shape, condition_dim, widths=(8, 8))
            torch.nn.utils.parametrizations.spectral_norm(network.hidden[0])
            return network

        with pytest.raises(UserError, match="clipping them bounds nothing"):
            gan(discriminator=network, penalty=WeightClipping())
        gan(discriminator=network, penalty=ZeroCentred())


WORDS = ["a", "blue", "red", "ring"]
PROMPTS = ["a red ring", "a blue ring", "ring"]


def reader(**changes):
    parts = {"conditioning": "text", "vocabulary": WORDS, "prompts": PROMPTS}
    return gan(**parts, caption_encoder=partial(CaptionEncoder, dim=6, word_dim=4), **changes)


def captioned(count, size=4):
    tokens = torch.tensor([[1, 3, 4], [1, 2, 4], [4, 0, 0], [1, 4, 0]])
    return [{**batch, "captions": tokens} for batch in batches(count, size)]


@pytest.mark.filterwarnings("ignore::UserWarning")
class TestCaptions:
    def test_both_networks_learn_to_read_each_for_itself(self):
        model, before = reader(mismatch=1.0), reader()
        fit(model, captioned(3))
        for part in ("generator", "discriminator"):
            old, new = getattr(before, part).encoder, getattr(model, part).encoder
            assert all(not torch.equal(a, b) for a, b in zip(old.parameters(), new.parameters(), strict=True))
        one, other = model.generator.encoder.words.weight, model.discriminator.encoder.words.weight
        assert not torch.equal(one, other)

    def test_a_caption_changes_the_picture_and_the_judgement(self):
        model = reader().eval()
        fit(model, captioned(3))
        indices = torch.zeros(2, dtype=torch.int64)
        one, other = model.sample(indices, 0, labels=model.vocabulary.tokens(["a red ring", "a blue ring"]))
        assert not torch.equal(one, other)
        tokens = torch.tensor([[1, 3, 4], [1, 2, 4]])
        logits = model.discriminator(one.expand(2, *one.shape), tokens)
        assert logits[0] != logits[1]

    def test_a_picture_is_the_same_whatever_captions_are_drawn_beside_it(self):
        model = reader().eval()
        fit(model, captioned(3))
        whole = model.sample(torch.arange(70), 3)
        for indices in ([7], [66, 2]):
            asked = model.vocabulary.tokens([PROMPTS[index % 3] for index in indices])
            assert torch.equal(model.sample(torch.tensor(indices), 3, asked), whole[indices])

    def test_without_captions_there_is_nothing_to_read(self):
        with pytest.raises(UserError, match="needs captions"):
            gan(conditioning="text")
        assert not gan(vocabulary=WORDS, prompts=PROMPTS).vocabulary

    def test_realness_is_asked_under_prompts(self):
        model = reader().eval()
        fit(model, captioned(1))
        (explainable,) = model.explainable()
        assert explainable.output_names == [f"real {prompt}" for prompt in PROMPTS]
        assert not explainable.true_labels
        images = torch.rand(5, 1, 8, 8)
        every = explainable.outputs(images)
        assert every.shape == (5, 3)
        assert torch.allclose(explainable.outputs(images, torch.full((5,), 1)), every[:, 1])
        assert model.dummy_loss(images).isfinite()
