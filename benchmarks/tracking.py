"""What share of training is spent on its record: the same loop in one process, in turns, with a run and without.

    python -m benchmarks.tracking                        gan/digits, logged as often as by default
    python -m benchmarks.tracking experiment=gan/mnist paths.data=<folder> tracking.log_every=500

With a run there are its curves, the thread that writes them, processor and memory every ten seconds, and the sheets of
samples; without one there is none of it, and everything else is the same. Both sides train the same images. Prints two
answers. The ratio of the two sides, in seconds of the clock and in seconds of this process's own: what another program
does to the machine is in it. And the account, which is steady: what the threads beside the training one computed, as a
share of the clock, and what recording and drawing took out of the training one, as a share of what it computed. Where
few images are trained in a turn, log them more often than by default: that is an upper bound.
"""

import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch

from benchmarks.loop import TRAINER
from darkroom import lab
from darkroom.callbacks.budget import Budget
from darkroom.callbacks.curves import Curves
from darkroom.callbacks.samples import Samples
from darkroom.callbacks.saving import Checkpoints
from darkroom.config.checking import check
from darkroom.config.composing import compose
from darkroom.config.nodes import flatten
from darkroom.data.module import ImageData
from darkroom.streams import quiet_lightning
from darkroom.tracking import run
from darkroom.tracking.logger import RunLogger
from darkroom.tracking.store import Store

TURNS = 5
SECONDS = 22.0  # of a turn without a run: two looks at the processor and seven writings fall into one with it
WARM_UP = 10  # steps


@dataclass
class Cost:
    """Seconds of a stretch of training: by the clock, all computed, beside the training thread, and recording in it."""

    wall: float
    process: float
    beside: float
    recording: float

    @property
    def share(self) -> float:
        """The part of training that went into the record, on a processor that has nothing else to do.

        What runs beside training does so every few seconds, however much was trained in them; what records inside
        training does so every so many images, however long they took.
        """
        return self.beside / self.wall + self.recording / (self.process - self.beside)


class Stopwatch:
    """Adds up what methods compute in the training thread, one inside another counted once."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._inside = False

    @contextmanager
    def watching(self, *methods: tuple[type, str]) -> Iterator[None]:
        """Time these methods for the length of a block."""
        with ExitStack() as restored:
            for owner, name in methods:
                method = getattr(owner, name)
                restored.callback(setattr, owner, name, method)
                setattr(owner, name, self._timed(method))
            yield

    def _timed(self, method: Any) -> Any:
        def timed(*arguments: Any, **named: Any) -> Any:
            if self._inside or threading.current_thread() is not threading.main_thread():
                return method(*arguments, **named)
            self._inside, began = True, time.thread_time()
            try:
                return method(*arguments, **named)
            finally:
                self._inside = False
                self.seconds += time.thread_time() - began

        return timed


class Stretch(pl.Callback):
    """Measure the steps after the first few, as many as asked for or as fit into the time."""

    def __init__(self, steps: int | None, watch: Stopwatch) -> None:
        self.wanted, self.watch = steps, watch
        self.steps = 0
        self.cost: Cost | None = None
        self._from = (0.0, 0.0, 0.0, 0.0)

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        """Count a step."""
        self.steps += 1
        now = (time.perf_counter(), time.process_time(), time.thread_time(), self.watch.seconds)
        if self.steps == WARM_UP:
            self._from = now
        taken = self.steps - WARM_UP
        if taken > 0 and (taken >= self.wanted if self.wanted else now[0] - self._from[0] > SECONDS):
            wall, process, thread, recording = (b - a for a, b in zip(self._from, now, strict=True))
            self.cost = Cost(wall, process, process - thread, recording)
            trainer.should_stop = True


def stretch(config: dict[str, Any], data: ImageData, store: Store | None, steps: int | None) -> tuple[Cost, int]:
    """Train for a while, with a run in a store or without any; return what it took and the number of steps."""
    torch.manual_seed(config["seed"])
    model = lab.Description.new(config, data).build()
    model.init_from_data(data.pictures("train"))
    watch, saving = Stopwatch(), config["saving"]
    measured = Stretch(steps, watch)
    with ExitStack() as stack:
        opened = None
        if store is not None:
            params = flatten({key: config[key] for key in ("model", "data", "budget", "seed")})
            opened = stack.enter_context(run.start(store, "benchmark", "tracking", config, params))
        folder = opened.folder if opened else Path(stack.enter_context(tempfile.TemporaryDirectory()))
        budget = Budget(10**9, None)
        callbacks = [budget, Curves(opened, config["tracking"]["log_every"])]
        if opened is not None:
            callbacks.append(Samples(opened, saving["samples_every"], saving["samples"], budget))
        callbacks += [Checkpoints(folder / "checkpoints", saving["every_minutes"], {}, opened), measured]
        trainer = pl.Trainer(
            **TRAINER,
            logger=RunLogger(opened, lambda: model.images_seen) if opened else False,
            callbacks=callbacks,
            precision=config["precision"],
        )
        with watch.watching((run.Run, "log_metrics"), (run.Run, "sync"), (Samples, "on_train_batch_end")):
            trainer.fit(model, datamodule=data)
    assert measured.cost is not None
    return measured.cost, measured.steps - WARM_UP


def main() -> None:
    """Measure in turns and print."""
    config = compose("train", sys.argv[1:] or ["experiment=gan/digits"])
    check(config, "train")
    quiet_lightning()
    torch.set_num_threads(1)
    data = lab.open_data(config["data"], config["paths"]["data"])
    walls, processes, shares = [], [], []
    with tempfile.TemporaryDirectory() as folder:
        store = Store.open(Path(folder))
        for turn in range(TURNS):
            bare, steps = stretch(config, data, None, None)
            kept, _ = stretch(config, data, store, steps)
            walls.append(kept.wall / bare.wall - 1)
            processes.append(kept.process / bare.process - 1)
            shares.append(kept.share)
            print(
                f"turn {turn + 1}: {steps * data.batch_size:,} images, {steps * data.batch_size / bare.wall:,.0f}/s;"
                f" with a run {walls[-1]:+.1%} by the clock, {processes[-1]:+.1%} computed; account {shares[-1]:.2%}"
                f" ({kept.beside:.3f} s beside training in {kept.wall:.0f} s by the clock, {kept.recording:.3f} s in it"
                f" of {kept.process:.1f} s computed)"
            )
    print(
        f"tracking costs {statistics.median(shares):.2%} of training (account, from {min(shares):.2%} to"
        f" {max(shares):.2%}); medians of the ratios {statistics.median(walls):+.1%} by the clock,"
        f" {statistics.median(processes):+.1%} computed; {len(shares)} turns"
    )


if __name__ == "__main__":
    main()
