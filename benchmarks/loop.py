"""How much of a bare PyTorch loop's speed the lab keeps: both in one process, in turns, on the same networks.

    python -m benchmarks.loop experiment=gan/mnist paths.data=<folder>

The lab's side is the whole of ``darkroom train`` but for scoring, sample sheets and the sentinel: data module,
callbacks, logging to a store, progress. The bare side is what a person would write by hand. Prints images a
second of each turn and the median of the ratios.
"""

import contextlib
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from darkroom import lab
from darkroom.callbacks.budget import Budget
from darkroom.callbacks.curves import Curves
from darkroom.callbacks.progress import ProgressBar
from darkroom.callbacks.saving import Checkpoints
from darkroom.callbacks.scoring import Scoring
from darkroom.config.checking import check
from darkroom.config.composing import compose
from darkroom.data.augment import Augment
from darkroom.data.module import ImageData
from darkroom.images import from_uint8
from darkroom.metrics.nothing import Nothing
from darkroom.models.classifier import Classifier
from darkroom.models.conditioning import contrastive_loss
from darkroom.models.gan import Gan
from darkroom.models.model import Model
from darkroom.streams import quiet_lightning
from darkroom.tracking import run
from darkroom.tracking.checkpoint_io import AtomicCheckpointIO
from darkroom.tracking.logger import RunLogger
from darkroom.tracking.store import Store

TURNS = 5
SECONDS = 12.0  # of each side in each turn
WARM_UP = 10  # steps
TRAINER: dict[str, Any] = {  # endless, on the processor, with nothing that Lightning would add
    "accelerator": "cpu",
    "max_epochs": -1,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "use_distributed_sampler": False,
}


class Stopwatch(pl.Callback):
    """Time the steps after the first few, and stop when the time is up."""

    def __init__(self) -> None:
        self.started, self.steps, self.seconds = 0.0, 0, 0.0

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        """Count a step."""
        self.steps += 1
        now = time.perf_counter()
        if self.steps == WARM_UP:
            self.started = now
        elif self.steps > WARM_UP and now - self.started > SECONDS:
            self.seconds = now - self.started
            trainer.should_stop = True


def lab_speed(config: dict[str, Any], data: ImageData, store: Store) -> float:
    """Return images a second of the lab's own loop."""
    model = _model(config, data)
    stopwatch = Stopwatch()
    with run.start(store, "benchmark", "loop", config, {}) as opened:
        budget = Budget(10**9, None)
        checkpoints = Checkpoints(opened.folder / "checkpoints", 60.0, {}, opened)
        curves = Curves(opened, config["tracking"]["log_every"])
        scoring = Scoring(opened, Nothing(), data, checkpoints, budget)
        trainer = pl.Trainer(
            **TRAINER,
            logger=RunLogger(opened, lambda: model.images_seen),
            callbacks=[budget, curves, scoring, ProgressBar(curves, scoring), stopwatch],
            plugins=[AtomicCheckpointIO()],
            precision=config["precision"],
        )
        trainer.fit(model, datamodule=data)
    return (stopwatch.steps - WARM_UP) * data.batch_size / stopwatch.seconds


def bare_speed(config: dict[str, Any], data: ImageData) -> float:
    """Return images a second of a loop written by hand over the same networks, batches and losses."""
    model = _model(config, data)
    step = gan_step(model) if isinstance(model, Gan) else _classifier_step(model, data.augment)
    context: Callable[[], Any] = contextlib.nullcontext
    if config["precision"] == "bf16-mixed":
        context = lambda: torch.autocast("cpu", torch.bfloat16)  # noqa: E731
    started = 0.0
    for done, (images, labels) in enumerate(_bare_batches(data), start=1):
        step(images, labels, context)
        now = time.perf_counter()
        if done == WARM_UP:
            started = now
        elif done > WARM_UP and now - started > SECONDS:
            return (done - WARM_UP) * data.batch_size / (now - started)
    raise AssertionError("the batches have no end")


def _bare_batches(data: ImageData) -> Iterator[tuple[Tensor, Tensor]]:
    pictures = data.pictures("train")
    whole = pictures.batch(torch.arange(len(pictures)))
    labels = pictures.labels
    assert labels is not None
    while True:
        for chosen in torch.split(torch.randperm(len(whole)), data.batch_size):
            if len(chosen) == data.batch_size:
                yield from_uint8(whole[chosen]), labels[chosen]


def gan_step(model: Gan) -> Callable[..., None]:
    """Return a step written by hand: both networks, their losses and penalties, the average."""
    discriminator_step, generator_step = model.configure_optimizers()
    judging = model.discriminator.network

    def told_apart(features: Tensor, asked: Tensor | None) -> Tensor | float:
        if not model.mismatch or asked is None:
            return 0.0
        logits = judging.judge.under_each(features, model.discriminator.vectors(asked))
        return model.mismatch * contrastive_loss(logits, asked)

    def step(real: Tensor, labels: Tensor, context: Callable[[], Any]) -> None:
        asked = labels if model.classes else None
        with context():
            latents = torch.randn(len(real), model.latent_dim)
            with torch.no_grad():
                fake = model.generator(latents, asked)
            images = torch.cat([real, fake]).requires_grad_(model.penalty.reads_images)
            twice = torch.cat([asked, asked]) if asked is not None else None
            if model.apart:
                features = torch.cat([judging.features(real), judging.features(fake)])
            else:
                features = judging.features(images)
            logits = judging.judge(features, model.discriminator.vectors(twice)).float()
            loss = model.loss.discriminator(*logits.chunk(2)) + told_apart(features[: len(real)], asked)
            penalty = model.penalty(images, logits, lambda points: model.discriminator(points, asked).float())
            if penalty is not None:
                loss = loss + penalty
        discriminator_step.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        discriminator_step.step()
        model.penalty.constrain(model.discriminator)
        model.discriminator.requires_grad_(False)
        with context():
            features = judging.features(model.generator(latents, asked))
            fake_logits = judging.judge(features, model.discriminator.vectors(asked)).float()
            real_logits = fake_logits
            if model.loss.paired:
                with torch.no_grad():
                    real_logits = model.discriminator(real, asked).float()
            loss = model.loss.generator(real_logits, fake_logits) + told_apart(features, asked)
        generator_step.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        generator_step.step()
        model.discriminator.requires_grad_(True)
        if model.average is not None:
            with torch.no_grad():
                torch._foreach_lerp_(list(model.average.parameters()), list(model.generator.parameters()), 0.01)

    return step


def _classifier_step(model: Model, augment: Augment | None) -> Callable[..., None]:
    assert isinstance(model, Classifier)
    optimizer = model.configure_optimizers()

    def step(images: Tensor, labels: Tensor, context: Callable[[], Any]) -> None:
        images, targets = model.mixing(augment(images) if augment else images, labels)
        with context():
            logits = model.network(images)
            loss = nn.functional.cross_entropy(logits.float(), targets, label_smoothing=model.label_smoothing)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        if model.average is not None:
            with torch.no_grad():
                torch._foreach_lerp_(list(model.average.parameters()), list(model.network.parameters()), 0.01)

    return step


def _model(config: dict[str, Any], data: ImageData) -> Model:
    torch.manual_seed(config["seed"])
    model = lab.Description.new(config, data).build()
    model.init_from_data(data.pictures("train"))
    return model.train()


def main() -> None:
    """Measure in turns and print."""
    config = compose("train", sys.argv[1:])
    check(config, "train")
    quiet_lightning()
    data = lab.open_data(config["data"], config["paths"]["data"])
    ratios = []
    with tempfile.TemporaryDirectory() as folder:
        store = Store.open(Path(folder))
        for turn in range(TURNS):
            bare = bare_speed(config, data)
            ours = lab_speed(config, data, store)
            ratios.append(ours / bare)
            print(f"turn {turn + 1}: bare {bare:,.0f} images/s, lab {ours:,.0f} images/s, ratio {ratios[-1]:.3f}")
    print(f"median ratio {statistics.median(ratios):.3f} (from {min(ratios):.3f} to {max(ratios):.3f})")


if __name__ == "__main__":
    main()
