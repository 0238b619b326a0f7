"""What is found is told, and what is asked for is done: to the weights, to the rates, in every process."""

import copy
import json
import math
from types import SimpleNamespace

import pytest
import pytorch_lightning as pl
import torch

from darkroom.callbacks.curves import Curves, Diverged
from darkroom.callbacks.health import Finding, Health
from darkroom.callbacks.sentinel import Sentinel, View, _as_it_is
from darkroom.commands.train import train
from darkroom.config.checking import check
from darkroom.config.composing import compose
from darkroom.data.pictures import TensorPictures
from darkroom.errors import UserError
from darkroom.tracking import checkpoints, tag

from .. import small_models

BATCH, RATE = 4, 1e-2
WELL, ILL = {"recall": 0.9}, {"recall": 0.1}


def gan():
    return small_models.gan(class_names=["0", "1"], penalty=None, average_half_life=8)


class Planned:
    """Sees what it is told to see, look after look."""

    extractor = None

    def __init__(self, *views):
        self.views, self.looks = list(views), 0

    def look(self, model):
        self.looks += 1
        return self.views.pop(0) if self.views else WELL


class Recorded:
    """Remembers what a run is told."""

    def __init__(self):
        self.tags, self.files, self.curves = {}, {}, []

    def set_tags(self, values):
        self.tags |= values

    def log_json(self, path, content):
        self.files[path] = copy.deepcopy(content)

    def log_metrics(self, metrics, step):
        self.curves += [(name, step) for name in metrics]


class Keeper(pl.Callback):
    """Keeps the state after a batch as the best, and what the weights were after every batch."""

    def __init__(self, folder, best=None):
        self.folder, self.best, self.states, self.rates = folder, best, [], []

    def path(self, which):
        return self.folder / f"{which}.ckpt"

    def on_train_batch_end(self, trainer, model, outputs, batch, batch_idx):
        self.states.append({name: tensor.clone() for name, tensor in model.state_dict().items()})
        self.rates.append([group["lr"] for optimizer in trainer.optimizers for group in optimizer.param_groups])
        if batch_idx + 1 == self.best:
            self.moments = copy.deepcopy([optimizer.state_dict()["state"] for optimizer in trainer.optimizers])
            checkpoints.save(self.path("best"), trainer._checkpoint_connector.dump_checkpoint(weights_only=False))


class After(pl.Callback):
    """Remembers the moments of the optimizers right after the sentinel had its turn."""

    def __init__(self, batch):
        self.batch = batch

    def on_train_batch_end(self, trainer, model, outputs, batch, batch_idx):
        if batch_idx + 1 == self.batch:
            self.moments = copy.deepcopy([optimizer.state_dict()["state"] for optimizer in trainer.optimizers])
            self.state = {name: tensor.clone() for name, tensor in model.state_dict().items()}


def fit(tmp_path, *views, best=None, steps=8, before=(), after=(), every=BATCH, **health):
    """Train a small GAN under a sentinel that looks every batch."""
    model, run, said = gan(), Recorded(), []
    keeper, curves = Keeper(tmp_path, best), Curves(None, BATCH)
    health = Health(**{"every": every, "grace": 0, **health})
    view = Planned(*views)
    sentinel = Sentinel(run, health, view, keeper, curves, None, said.append)
    sentinel._complained = True  # of its share of the time, which on a busy machine is any
    generator = torch.Generator().manual_seed(1)
    data = [
        {"images": torch.rand(BATCH, 1, 8, 8, generator=generator), "labels": torch.tensor([0, 1, 0, 1])}
        for _ in range(steps)
    ]
    small_models.fit(model, data, [*before, curves, keeper, sentinel, *after])
    return SimpleNamespace(model=model, run=run, said=said, keeper=keeper, sentinel=sentinel, view=view)


@pytest.mark.filterwarnings("ignore::UserWarning")
class TestInTraining:
    def test_a_warning_stands_in_the_run_and_training_goes_on(self, tmp_path):
        done = fit(tmp_path, WELL, WELL, ILL, ILL)
        assert done.model.images_seen == 32
        assert done.run.tags[tag.HEALTH] == "mode collapse at 12 images"
        (event,) = done.run.files["events.json"]
        assert (event["images"], event["ailment"], event["since"]) == (12, "mode collapse", 12)
        assert event["done"] == "training goes on"
        (sentence,) = done.said
        assert sentence.startswith("Mode collapse at 12 images: recall fell to 0.10 from 0.90; training goes on.")
        assert {name for name, _ in done.run.curves} >= {
            "health/recall", "health/generator_gradient", "health/discriminator_gradient"}  # fmt: skip
        assert [step for name, step in done.run.curves if name == "health/recall"] == [4 * i for i in range(1, 9)]

    def test_a_healthy_run_says_so_and_nothing_else(self, tmp_path):
        done = fit(tmp_path)
        assert done.run.tags == {tag.HEALTH: "healthy"}
        assert not done.said
        assert not done.run.files

    def test_nobody_looks_where_nobody_is_asked_to(self, tmp_path):
        done = fit(tmp_path, ILL, every=None)
        assert done.view.looks == 0
        assert not done.run.tags

    def test_stop_stops(self, tmp_path):
        done = fit(tmp_path, WELL, WELL, ILL, on_collapse="stop")
        assert done.model.images_seen == 12
        assert "training stops" in done.said[0]

    def test_a_rollback_restores_the_best_exactly_halves_the_rates_and_goes_on_counting(self, tmp_path):
        after = After(4)
        done = fit(tmp_path, WELL, WELL, WELL, ILL, best=2, after=[after], on_collapse="rollback")
        best = done.keeper.states[1]
        assert all(torch.equal(tensor, best[name]) for name, tensor in after.state.items())
        assert not all(torch.equal(tensor, best[name]) for name, tensor in done.keeper.states[3].items())
        for moments, kept in zip(after.moments, done.keeper.moments, strict=True):
            assert all(torch.equal(moments[0][key], kept[0][key]) for key in kept[0])
        assert done.keeper.rates == [[RATE] * 2] * 4 + [[RATE / 2] * 2] * 4
        assert done.model.images_seen == 32
        assert done.run.files["events.json"][0]["done"] == (
            "rolled back to the best checkpoint, of 8 images, with half the learning rates (1 of 3)"
        )

    def test_a_fourth_rollback_is_an_end(self, tmp_path):
        views = [WELL, ILL, WELL, ILL, WELL, ILL, WELL, ILL]
        done = fit(tmp_path, *views, best=1, steps=12, on_collapse="rollback")
        assert done.model.images_seen == 32
        assert done.keeper.rates[-1] == [RATE / 8] * 2
        assert [event["done"].partition(" ")[0] for event in done.run.files["events.json"]] == [
            "rolled", "rolled", "rolled", "training"]  # fmt: skip

    def test_without_a_best_there_is_nothing_to_return_to(self, tmp_path):
        done = fit(tmp_path, WELL, ILL, on_collapse="rollback")
        assert done.model.images_seen == 32
        assert done.keeper.rates[-1] == [RATE] * 2
        assert "no best checkpoint yet" in done.said[0]


class Poison(pl.Callback):
    """Makes a weight NaN before a batch."""

    def __init__(self, batch):
        self.batch = batch

    def on_train_batch_start(self, trainer, model, batch, batch_idx):
        if batch_idx + 1 == self.batch:
            next(model.discriminator.parameters()).data.fill_(math.nan)


@pytest.mark.filterwarnings("ignore::UserWarning")
class TestWhatIsNoNumber:
    def test_it_ends_training_unless_there_is_a_way_back(self, tmp_path):
        for health in ({}, {"on_collapse": "stop"}, {"every": None, "on_collapse": "rollback"}):
            with pytest.raises(Diverged, match=r"became NaN or infinite after 12 images"):
                fit(tmp_path, before=[Poison(3)], best=2, **health)

    @pytest.mark.parametrize("every", [BATCH, 1000])
    def test_a_rollback_leaves_no_trace_of_it(self, tmp_path, every):
        done = fit(tmp_path, before=[Poison(3)], best=2, every=every, on_collapse="rollback")
        assert done.model.images_seen == 32
        assert all(tensor.isfinite().all() for tensor in done.model.state_dict().values())
        assert done.run.tags[tag.HEALTH] == "divergence at 12 images"

    def test_with_no_way_back_it_is_told_and_ends_training(self, tmp_path):
        with pytest.raises(Diverged, match="there is no best checkpoint yet"):
            fit(tmp_path, before=[Poison(3)], on_collapse="rollback")


class TestOtherProcesses:
    def test_one_that_is_not_the_first_looks_at_nothing_and_does_what_was_decided(self, tmp_path):
        model, keeper = gan(), Keeper(tmp_path)
        optimizers = model.configure_optimizers()
        model.optimizers = lambda use_pl_optimizer=True: optimizers
        best = {name: tensor + 1 for name, tensor in model.state_dict().items()}
        state = {"state_dict": best, "optimizer_states": [], "images_seen": 8}
        answers = iter([[Finding("divergence", 12, "the distance rose")], True, state])
        loaded = []
        strategy = SimpleNamespace(broadcast=lambda _: next(answers), load_optimizer_state_dict=loaded.append)
        trainer = SimpleNamespace(is_global_zero=False, strategy=strategy, should_stop=False)
        view = Planned(ILL)
        sentinel = Sentinel(
            None, Health(every=4, on_collapse="rollback"), view, keeper, Curves(None, 4), None, pytest.fail
        )
        sentinel.on_train_start(trainer, model)
        model.images_seen = 4
        sentinel.on_train_batch_end(trainer, model, None, None, 0)
        assert view.looks == 0
        assert loaded == [state]
        assert all(torch.equal(tensor, best[name]) for name, tensor in model.state_dict().items())
        assert [o.param_groups[0]["initial_lr"] for o in optimizers] == [RATE / 2] * 2
        assert list(answers) == []


def test_the_generator_is_looked_at_as_it_is_and_its_average_comes_back():
    model = gan().eval()
    for parameter in model.average.parameters():
        parameter.data.zero_()
    indices, average = torch.arange(3), model.average
    averaged = model.sample(indices, 0)
    with _as_it_is(model):
        assert not torch.equal(model.sample(indices, 0), averaged)
    assert model.average is average
    assert torch.equal(model.sample(indices, 0), averaged)


SMALL = [
    "experiment=gan/digits", "data.image_size=8", "data.source.test=0.3", "saving.every_minutes=0.00001",
    "tracking.log_every=128", "budget.images=960", "model.generator.width=4", "model.discriminator.width=4",
    "metrics.images=100", "metrics.test_images=100", "metrics.every=192", "metrics.kid_subsets=1",
    "saving.samples_every=100000", "sentinel.every=128", "sentinel.images=64", "sentinel.grace=0",
]  # fmt: skip
# Any distance that is not the best is far too large: rollbacks come of themselves.
TOUCHY = ["sentinel.on_collapse=rollback", "sentinel.worse=1.000001", "sentinel.patience=1", "sentinel.lost=0.99"]


class Killed(Exception):
    pass


def settings(overrides, **top):
    config = compose("train", overrides)
    check(config, "train")
    config["tracking"]["experiment"] = "test"
    return {**config, **top}


def outcome(store, run_id):
    record = store.run(run_id)
    curves = {
        name: [(point.step, point.value) for point in store.client.get_metric_history(run_id, name)]
        for name in record.metrics
        if name.startswith(("health/", "val/", "train/")) and name != "train/images_per_second"
    }
    last = checkpoints.load(record.folder / "checkpoints" / "last.ckpt")
    events = json.loads((record.folder / "events.json").read_text())
    return last, curves, events, record.tags[tag.HEALTH]


def test_killed_after_a_rollback_and_resumed_equals_uninterrupted(store, monkeypatch):
    whole = train(settings([*SMALL, *TOUCHY]))
    last, curves, events, health = outcome(store, whole)
    rolled = sorted({event["images"] for event in events if event["done"].startswith("rolled back")})
    assert len(rolled) == 3
    assert "health/distance" in curves
    assert "health/overfitting" in curves

    step = Curves.on_train_batch_end

    def cut(self, trainer, model, *rest):
        if model.images_seen > rolled[0] + 64:
            raise Killed
        step(self, trainer, model, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(Curves, "on_train_batch_end", cut)
        with pytest.raises(Killed):
            train(settings([*SMALL, *TOUCHY]))
    part = store.find("latest").run_id
    assert train(settings([*SMALL, *TOUCHY], resume=part)) == part
    last_b, curves_b, events_b, health_b = outcome(store, part)
    assert (events_b, health_b, curves_b) == (events, health, curves)
    assert all(torch.equal(tensor, last_b["state_dict"][name]) for name, tensor in last["state_dict"].items())
    rates = [[group["initial_lr"] for o in state["optimizer_states"] for group in o["param_groups"]]
             for state in (last, last_b)]  # fmt: skip
    assert rates[0] == rates[1] == [0.0004 / 8] * 2


def test_looking_changes_nothing(store):
    runs = [train(settings([*SMALL, "budget.images=320", f"sentinel.every={every}"])) for every in (64, "null")]
    one, other = (checkpoints.load(store.run(run).folder / "checkpoints" / "last.ckpt")["state_dict"] for run in runs)
    assert all(torch.equal(tensor, other[name]) for name, tensor in one.items())
    assert [tag.HEALTH in store.run(run).tags for run in runs] == [True, False]


def test_a_rollback_without_a_best_is_refused_beforehand():
    with pytest.raises(UserError, match="metrics=none knows no best"):
        check(compose("train", ["metrics=none", *TOUCHY]), "train")


def test_a_view_needs_no_judge_and_no_average(tmp_path):
    pixels = torch.randint(0, 256, (40, 1, 8, 8), dtype=torch.uint8)
    pictures = TensorPictures(pixels, torch.arange(40) % 2)
    data = SimpleNamespace(pictures=lambda split: pictures)
    model = gan()
    model.average = None
    values = View(data, None, tmp_path, Health(images=40)).look(model)
    assert values.keys() == {"train_logit", "held_out_logit", "drawn_logit", "overfitting"}


def test_pictures_that_are_no_numbers_are_seen(tmp_path):
    pictures = TensorPictures(torch.zeros(40, 1, 8, 8, dtype=torch.uint8))
    model = gan()
    next(model.generator.parameters()).data.fill_(math.nan)
    values = View(SimpleNamespace(pictures=lambda split: pictures), None, tmp_path, Health()).look(model)
    assert math.isnan(values["drawn_pictures"])
