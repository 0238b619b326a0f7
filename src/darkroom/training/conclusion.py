"""What is left to do once the last step is taken: phase by phase, each once, however often it is interrupted.

Which phases are done stands in the run's folder (``phases.json``), with what each leaves for those after it. The mark
is set when everything that a phase recorded is on the disk, so a phase that was cut short is done again from its
beginning; what it recorded the first time takes the place of nothing and is not recorded twice.
"""

import json
import random
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from darkroom.config.nodes import Node
from darkroom.config.recorded import digest
from darkroom.errors import UserError, printable

if TYPE_CHECKING:
    from darkroom.callbacks.scoring import Scoring
    from darkroom.data.module import ImageData
    from darkroom.lab import Description
    from darkroom.metrics.scores import Scores
    from darkroom.models.model import Model
    from darkroom.tracking.run import Run
    from darkroom.tracking.store import RunRecord, Store

RECORD = "phases.json"


@dataclass
class Trained:
    """A run whose training is over: what its phases work on, and what those that are done have left."""

    run: "Run"
    description: "Description"  # of the model, by what was typed
    data: "ImageData"
    scoring: "Scoring"  # with the metrics, the budget, and which state was the best
    images: int  # seen in training
    device: Any
    output: Path | None = None
    done: dict[str, Any] = field(default_factory=dict)

    @property
    def config(self) -> Node:
        """The settings of the run."""
        return self.description.config

    @property
    def metrics(self) -> Any:
        """What scores."""
        return self.scoring.metrics

    @property
    def checkpoint(self) -> Path:
        """The best state, or the last where nothing says which is best."""
        which = "best" if self.scoring.best is not None else "last"
        return self.run.folder / "checkpoints" / f"{which}.ckpt"

    @cached_property
    def best(self) -> Any:
        """The model to be used from now on; read when it is first needed, which is after it was concluded."""
        from darkroom import lab

        return lab.restore(self.checkpoint, self.description)[0].to(self.device)

    @property
    def scores(self) -> "Scores":
        """The scores on the test split."""
        return _read(self.done["scoring test"])

    @property
    def val(self) -> "Scores | None":
        """The scores on the validation split, where there are any."""
        left = self.done["scoring val"]
        return _read(left) if left else None

    def mark(self, phase: str, left: Any) -> None:
        """Note that a phase is done, once all that it recorded is on the disk."""
        self.done[phase] = left
        self.run.sync()
        settings = digest(self.config)
        self.run.log_json(RECORD, {"images_seen": self.images, "settings": settings, "done": self.done})


def done_before(store: "Store", record: "RunRecord", config: Node, images: int) -> dict[str, Any]:
    """Return the phases that are done of a run that was trained this far with these settings, with what they left."""
    path = store.fetch(record, RECORD)
    content = json.loads(path.read_text()) if path is not None else {}
    now = {"images_seen": images, "settings": digest(config)}
    same = all(content.get(key) == value for key, value in now.items())
    found: dict[str, Any] = content["done"] if same else {}
    return found


def conclude(trained: Trained) -> None:
    """Go through the phases that are left."""
    for name, phase in PHASES.items():
        if name not in trained.done:
            with _seeded(trained.config["seed"], name):
                left = _beside(trained, name) if name in BESIDE else phase(trained)
            trained.mark(name, left)


def _beside(trained: Trained, name: str) -> Any:
    """Do what stands beside the scores: if it fails, that is a warning, and the run is finished without."""
    from darkroom.reporting import summary

    try:
        return PHASES[name](trained)
    except Exception as error:
        reason = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
        summary.say(f"Warning: {name} came to nothing, and the run is finished without: {printable(reason)}")
        trained.run.log_text("warnings.log", f"{name}\n{traceback.format_exc()}\n", append=True)
        return None


# --- the phases ------------------------------------------------------------------------------------------------------


def fit(trained: Trained) -> dict[str, float]:
    """Fit on ``val`` what comes after training, and save the best state with it in place of the one without.

    What was fitted stands in the checkpoint beside the state, so that both are there or neither.
    """
    from darkroom import lab
    from darkroom.metrics.metric import judged
    from darkroom.tracking import checkpoints

    path, data, metrics = trained.checkpoint, trained.data, trained.metrics
    checkpoint = checkpoints.load(path)
    known = checkpoint.get("concluded", {})
    settings = digest({"metrics": trained.config["metrics"], "data": data.digest})
    fitted: dict[str, float] = known.get("fitted", {})
    if known.get("settings") != settings:
        model = lab.restore(path, trained.description)[0].to(trained.device)
        seen = judged(metrics)
        fitted = model.conclude(data, None if seen is None else lambda: seen.judged(model, data, "val"))
        if fitted:
            noted = {"settings": settings, "fitted": fitted}
            checkpoints.save(path, {**checkpoint, "state_dict": model.state_dict(), "concluded": noted})
    trained.run.log_metrics({f"fitted/{name}": value for name, value in fitted.items()}, step=trained.images)
    return fitted


def score_val(trained: Trained) -> dict[str, Any] | None:
    """Score on val what fitting has changed; a state that it has not was scored while training."""
    scoring = trained.scoring
    if trained.done["concluding"] or (scoring.best is not None and scoring.best_scores is None):
        return _written(trained.metrics.score(trained.best, trained.data, "val"))
    return scoring.best_scores


def score_test(trained: Trained) -> dict[str, Any]:
    """Score on the test split, the only time that it is read."""
    run, images = trained.run, trained.images
    scores = trained.metrics.score(trained.best, trained.data, "test", exact=True)
    run.log_metrics({f"test/{name}": value for name, value in scores.values.items()}, step=images)
    for key, picture in scores.pictures.items():
        run.log_picture(f"test_{key}", picture, step=images)
    for key, frames in scores.animations.items():
        run.log_animation(f"test_{key}", frames, step=images)
    return _written(scores)


def record(trained: Trained) -> dict[str, float]:
    """Leave the final numbers in the run, with their protocol, and what they cost."""
    from darkroom.hardware import peak_memory

    run, scoring, seen = trained.run, trained.scoring, trained.images
    size = size_of(trained.best, trained.data)
    seconds = scoring.budget.elapsed
    cost = {"seconds": seconds, "images_per_second": seen / max(seconds, 1e-9), **peak_memory(), **size}
    run.log_metrics({f"cost/{name}": number for name, number in cost.items()}, step=seen)
    if scoring.metrics.objective is not None:
        name, mode = scoring.metrics.objective
        run.set_objective(f"val/{name}", mode, scoring.best)
    run.log_json(
        "metrics.json",
        {
            "test": trained.done["scoring test"],
            "val": trained.done["scoring val"] or {"values": {}, "protocol": {}},
            "best_at_images": scoring.best_at,
            "images_seen": seen,
        },
    )
    if trained.config["budget"]["minutes"]:
        run.log_json("pace.json", scoring.budget.pace)
    return size


def draw(trained: Trained) -> None:
    """Draw samples once more where fitting has changed how they are drawn."""
    from darkroom.callbacks.samples import sample_sheet
    from darkroom.models.abilities import Draws

    if trained.done["concluding"] and isinstance(trained.best, Draws):
        sheet = sample_sheet(trained.best, trained.config["saving"]["samples"])
        trained.run.log_picture("samples", sheet, step=trained.images)


def explain(trained: Trained) -> None:
    """Leave a sheet of test pictures with what the model looked at in them; a second of work."""
    from darkroom.explaining.subjects import sheets
    from darkroom.models.abilities import Discriminates

    if isinstance(trained.best, Discriminates):  # what it explains is not what it makes, and is there to be asked for
        return
    for name, picture in sheets(trained.best, trained.data, trained.run.name).items():
        trained.run.log_picture(f"test_explained_{name}", picture, step=trained.images)


def edit_latents(trained: Trained) -> None:
    """Leave sheets of what the latents can do, with how much leaks; some seconds of work."""
    from darkroom.latents.sheets import sheets
    from darkroom.metrics.metric import judged
    from darkroom.models.abilities import Traverses
    from darkroom.reporting import summary

    if not isinstance(trained.best, Traverses):
        return
    data, metrics = trained.data, trained.metrics
    if judged(metrics) is not None and data.attribute_data(1) is not None:
        summary.say(f"Attributes of '{data.name}' are read by an eye: if there is none yet, it is taught now.")
    for name, sheet in sheets(trained.best, data, metrics).items():
        trained.run.log_picture(f"test_{name}", sheet.picture, step=trained.images)
        numbers = {f"latents/{number}": value for number, value in sheet.numbers.items()}
        trained.run.log_metrics(numbers, step=trained.images)


def leave(trained: Trained) -> None:
    """Leave the result in the folder that was asked for."""
    from darkroom.reporting import export

    if trained.output is not None:
        export.leave(trained.output, trained.run, trained.data, trained.checkpoint, trained.scores, trained.val)


def register(trained: Trained) -> int | None:
    """Make the best state the next version of a registered model."""
    from darkroom.tracking import run

    tracking = trained.config["tracking"]
    if not tracking["register"]:
        return None
    return run.register(trained.run, tracking["register"], tracking["alias"], trained.images)


PHASES: dict[str, Callable[[Trained], Any]] = {
    "concluding": fit,
    "scoring val": score_val,
    "scoring test": score_test,
    "recording": record,
    "samples": draw,
    "explanations": explain,
    "latents": edit_latents,
    "output": leave,
    "registering": register,
}
BESIDE = ("samples", "explanations", "latents", "output", "registering")


# --- what they share -------------------------------------------------------------------------------------------------


def size_of(model: "Model", data: "ImageData") -> dict[str, float]:
    """Return how many numbers a model learns and how many multiply-adds it spends on a training picture or sequence.

    Of the forward pass; the backward pass costs twice that. What has no dummy loss is left out, and so is
    what runs in one piece inside a library, such as a GRU over a whole sentence.
    """
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from darkroom.images import from_uint8

    cost = {"parameters": float(sum(weights.numel() for weights in model.parameters() if weights.requires_grad))}
    images = from_uint8(data.pictures("train").batch(torch.arange(2)))
    with torch.random.fork_rng(devices=[]), FlopCounterMode(display=False) as counter:
        loss = model.dummy_loss(images.to(model.device))
    if loss is not None:
        cost["multiply_adds"] = counter.get_total_flops() / 2 / len(images)
    return cost


def _written(scores: "Scores") -> dict[str, Any]:
    """Return scores as they stand in JSON, the same whether they were read from it or not; pictures are files."""
    written: dict[str, Any] = json.loads(json.dumps(scores.written()))
    return written


def _read(written: dict[str, Any]) -> "Scores":
    from darkroom.metrics.scores import Scores

    return Scores.read(written)


@contextmanager
def _seeded(seed: int, phase: str) -> Iterator[None]:
    """Begin a phase with random numbers that depend on nothing that came before it in the process."""
    import numpy as np
    import torch

    with torch.random.fork_rng(devices=[]):
        number = int(np.random.SeedSequence([seed, *phase.encode()]).generate_state(1)[0])
        states = random.getstate(), np.random.get_state()
        random.seed(number)
        np.random.seed(number)
        torch.manual_seed(number)
        try:
            yield
        finally:
            random.setstate(states[0])
            np.random.set_state(states[1])
