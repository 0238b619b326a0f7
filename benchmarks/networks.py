"""How fast the networks of a GAN train: every pair in conf/network, one thread, one process.

    python -m benchmarks.networks                    28x28 grey, ten classes, batches of 64
    python -m benchmarks.networks dcgan r3           these only

Prints real images a second of the best of several turns, each a few steps of discriminator and generator with the
relativistic loss: with R1 and R2 in float32 and in bfloat16, and in float32 without a penalty. Seconds are those that
the process itself computes, so that other programs hardly matter; all pairs take one turn before any takes the next.
"""

import sys
import time
from collections import defaultdict
from collections.abc import Callable

import torch

from benchmarks.loop import gan_step
from darkroom.config.composing import compose
from darkroom.config.groups import options
from darkroom.config.parts import build
from darkroom.errors import UserError, did_you_mean
from darkroom.models.gan import Gan

SHAPE = (1, 28, 28)
CLASSES = 10
BATCH = 64
TURNS = 5
STEPS = 4  # in each turn, after one that is not timed
COLUMNS = {
    "R1 and R2": ("r1_r2", False),
    "R1 and R2, bf16": ("r1_r2", True),
    "no penalty": ("none", False),
}


def pairs() -> list[str]:
    """Return the names of all generators that have a discriminator of the same name."""
    halves = set(options("network"))
    names = [half.removesuffix("_generator") for half in halves if half.endswith("_generator")]
    return sorted(name for name in names if f"{name}_discriminator" in halves)


def step_of(pair: str, penalty: str) -> Callable[[bool], None]:
    """Return one training step of a pair of networks under random pictures, in bfloat16 when told so."""
    chosen = {
        "network@model.generator": f"{pair}_generator",
        "network@model.discriminator": f"{pair}_discriminator",
        "penalty@model.penalty": penalty,
    }
    config = compose("train", ["model=gan", *(f"{group}={file}" for group, file in chosen.items())])
    torch.manual_seed(0)
    model = build(config["model"], image_shape=SHAPE, class_names=[str(kind) for kind in range(CLASSES)])
    assert isinstance(model, Gan)
    step = gan_step(model.train())
    images, labels = torch.rand(BATCH, *SHAPE) * 2 - 1, torch.arange(BATCH) % CLASSES
    return lambda short: step(images, labels, lambda: torch.autocast("cpu", torch.bfloat16, enabled=short))


def speed(step: Callable[[bool], None], short: bool) -> float:
    """Return real images a second of this process's own time in one turn."""
    step(short)
    started = time.process_time()
    for _ in range(STEPS):
        step(short)
    return STEPS * BATCH / (time.process_time() - started)


def main() -> None:
    """Measure in turns and print."""
    known = pairs()
    chosen = sys.argv[1:] or known
    for name in chosen:
        if name not in known:
            raise UserError(f"There is no pair of networks '{name}'{did_you_mean(name, known)}.")
    torch.set_num_threads(1)
    penalties = {penalty for penalty, _ in COLUMNS.values()}
    steps = {(pair, penalty): step_of(pair, penalty) for pair in chosen for penalty in penalties}
    best: dict[tuple[str, str], float] = defaultdict(float)
    for _ in range(TURNS):
        for pair in chosen:
            for column, (penalty, short) in COLUMNS.items():
                best[pair, column] = max(best[pair, column], speed(steps[pair, penalty], short))
    print(f"{'images/s per core':20}", *(f"{column:>16}" for column in COLUMNS))
    for pair in chosen:
        print(f"{pair:20}", *(f"{best[pair, column]:16,.0f}" for column in COLUMNS))


if __name__ == "__main__":
    main()
