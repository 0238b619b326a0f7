"""What the sentinel costs: one look against the training between two looks, in processor time of one process.

    python -m benchmarks.sentinel experiment=gan/mnist paths.data=<folder>

Processor time, because other work on the machine would lengthen whichever side it happened to meet.
"""

import itertools
import statistics
import sys
import time
from typing import Any

import pytorch_lightning as pl

from benchmarks.loop import TRAINER
from darkroom import lab
from darkroom.callbacks.sentinel import View
from darkroom.config.checking import check
from darkroom.config.composing import compose
from darkroom.config.parts import build
from darkroom.metrics.generative import Generative
from darkroom.models.model import Sampler
from darkroom.streams import quiet_lightning

WARM_UP, STEPS, LOOKS = 3, 24, 3


class Stopwatch(pl.Callback):
    """Time each step from the end of the one before, and stop when there are enough."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        """Note the time."""
        self.ends.append(time.process_time())
        trainer.should_stop = len(self.ends) > WARM_UP + STEPS


def main() -> None:
    """Measure and print."""
    config = compose("train", sys.argv[1:])
    check(config, "train")
    quiet_lightning()
    data = lab.open_data(config["data"], config["paths"]["data"])
    metrics = build(config["metrics"])
    health = build(config["sentinel"])
    assert isinstance(metrics, Generative)
    model = lab.Description.new(config, data).build()
    assert isinstance(model, Sampler)
    model.init_from_data(data.pictures("train"))
    stopwatch = Stopwatch()
    trainer = pl.Trainer(**TRAINER, logger=False, callbacks=[stopwatch], precision=config["precision"])
    trainer.fit(model, datamodule=data)
    ends = stopwatch.ends[WARM_UP:]
    step = statistics.median(after - before for before, after in itertools.pairwise(ends))

    view, looks = View(data, metrics.extractor(data), metrics.cache, health), []
    for _ in range(LOOKS + 1):
        started = time.process_time()
        with trainer.precision_plugin.forward_context():
            view.look(model)
        looks.append(time.process_time() - started)
    look = statistics.median(looks[1:])  # the first also reads what is known of the real pictures
    between = health.every / data.batch_size * step
    print(f"a step of {data.batch_size} images: {1000 * step:.1f} ms; a look at {view.count}: {1000 * look:.0f} ms")
    print(f"every {health.every:,} images a look is {look / (look + between):.1%} of the time")
    print(f"once, for what is known of the real pictures: {looks[0] - look:.1f} s")


if __name__ == "__main__":
    main()
