"""``darkroom train``: train a model, score it on the test split with its best checkpoint, leave a run."""

import os
import shlex
import shutil
import sys
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from darkroom import config as configuration
from darkroom import paths
from darkroom.config import Node, command
from darkroom.errors import UserError
from darkroom.scaling import on_ray, slurm
from darkroom.tracking import outputs, tag
from darkroom.tracking.store import RunRecord, Store

if TYPE_CHECKING:
    import pytorch_lightning as pl

    from darkroom.data.module import ImageData
    from darkroom.metrics.scores import Scores
    from darkroom.models.model import Model
    from darkroom.tracking.run import Run


@dataclass(frozen=True)
class Origin:
    """Where a run starts from: nothing, or a checkpoint of another run or of itself."""

    kind: str = "scratch"  # or resume, fork, init
    record: RunRecord | None = None
    path: Path | None = None
    checkpoint: dict[str, Any] = field(default_factory=dict)

    @property
    def continues(self) -> bool:
        """Whether optimizers, counters and pace are taken over, not weights alone."""
        return self.kind in ("resume", "fork")


@command("train")
def main(config: Node) -> None:
    """Train what the configuration says."""
    if config["submit"] is not None:
        slurm.submit(config["submit"], configuration.typed_line(), paths.root())
        return
    if config["trainer"]["_target_"] == on_ray.TARGET and not on_ray.inside():
        on_ray.train("darkroom.commands.train", configuration.typed_line(), config["trainer"])
        return
    tags = {tag.COMMAND: shlex.join(["darkroom", "train", *configuration.typed_line()])}
    if not (config["resume"] or config["fork"]):
        tags[tag.POINT] = configuration.digest(config)
    train(config, configuration.typed_keys(), tags=tags)


def train(
    config: Node,
    typed: Collection[str] = (),
    pace: list[list[float]] | None = None,
    tags: dict[str, str] | None = None,
) -> str | None:
    """Train, score, record, and print where to look; return the run's id, or None on a process that is not the first.

    A run that goes on keeps its own settings but for the ``typed`` ones. ``pace`` makes the schedules follow an earlier
    run instead of the clock; ``tags`` are added to the run's.
    """
    output = Path(config["output"]).expanduser() if config["output"] else None
    if output is not None:
        outputs.check(output, outputs.RUN)
    store = Store.open(paths.root())
    store.prepare_in_background()
    store.reap()
    if (begun := slurm.requeued(store, configuration.typed_line())) is not None:
        config, typed = {**config, "resume": begun.run_id, "fork": None, "init": None}, {"trainer"}
    origin = _origin(config, store)
    config = _settled(config, origin, typed)

    # Everything that can be wrong is found before the run exists.
    from pytorch_lightning.utilities import rank_zero_only

    from darkroom import judging, lab
    from darkroom.callbacks.samples import sample_sheet
    from darkroom.commands import export, summary
    from darkroom.commands.quiet import quieten
    from darkroom.errors import Interrupted
    from darkroom.models.model import Sampler

    quieten()
    first = getattr(rank_zero_only, "rank", 0) == 0
    config = {
        **config,
        "data": lab.pinned(config["data"], config["paths"]["data"]),
        "metrics": judging.pinned_judge(config["metrics"]),
    }
    data = lab.open_data(config["data"], config["paths"]["data"])
    data.seed = config["seed"]
    model = _model(config, data, origin)
    data.captioned = isinstance(model, Sampler) and bool(model.vocabulary)
    config = _with_precision(config, model, data)
    metrics = judging.open_metrics(config["metrics"], data, summary.say, config["paths"]["data"])
    lab.check_fit(metrics, model, data)
    judging.open_eye(metrics, model, data, summary.say)
    lab.check_trainer(config["trainer"], config["precision"])
    description = lab.Description.new(config, data)

    with _run(store, config, origin, data, tags or {}) if first else nullcontext() as run:
        trainer, scoring, interrupted = _trainer(config, description, model, metrics, data, run, pace)
        _fit(trainer, model, data, origin)
        if run is None:
            return None
        if signal := interrupted():
            summary.interrupted(run)
            raise Interrupted(signal)
        checkpoint = run.folder / "checkpoints" / ("best.ckpt" if scoring.best is not None else "last.ckpt")
        best, _ = lab.restore(checkpoint)
        fitted = _conclude(best.to(model.device), metrics, data, checkpoint)
        val = metrics.score(best, data, "val") if fitted else scoring.scores
        scores = metrics.score(best, data, "test", exact=True)
        run.log_metrics({f"fitted/{name}": value for name, value in fitted.items()}, step=model.images_seen)
        cost = size_of(best, data)
        _record(run, config, scores, val, scoring, model.images_seen, cost)
        if fitted and isinstance(best, Sampler):
            run.log_picture("samples", sample_sheet(best, config["saving"]["samples"]), step=model.images_seen)
        if any(hasattr(best, ability) for ability in ("predict", "code_dim", "forecast")):
            _explain(run, best, data, model.images_seen)
        if hasattr(best, "code_dim"):
            _edit_latents(run, best, data, metrics, model.images_seen)
        if output is not None:
            export.leave(output, run, data, checkpoint, scores, val)
        summary.finished(run, scores, scoring, cost)
        return run.id


def _origin(config: Node, store: Store) -> Origin:
    """Find the checkpoint that ``resume``, ``fork`` or ``init`` names."""
    from darkroom import lab
    from darkroom.tracking import checkpoints, contents

    for kind in ("resume", "fork", "init"):
        if reference := config[kind]:
            which: Literal["best", "last"] = "best" if kind == "init" else "last"
            path = checkpoints.locate(reference, store, which)
            if kind == "resume" and Path(reference).suffix == ".ckpt":
                raise UserError(
                    f"resume={reference} is a file, but a run goes on as itself: type resume=<run>, or fork=."
                )
            # The run is read off the file: `latest` means the newest that has one.
            run = lab.home(path)
            record = store.known(run) if run else None
            checkpoint = checkpoints.load(path)
            lab.Description.of(checkpoint, path)
            if kind != "init":
                contents.check_training(checkpoint, path)
            return Origin(kind, record, path, checkpoint)
    return Origin()


def _settled(config: Node, origin: Origin, typed: Collection[str]) -> Node:
    """Return the configuration that will be recorded.

    A run that goes on keeps its own, with what was typed on top; any other gets a name for its experiment.
    """
    if origin.continues and origin.path is not None:
        from darkroom.lab import Description

        recorded = Description.of(origin.checkpoint, origin.path).config
        configuration.check_recorded(recorded, str(origin.path))
        recorded = configuration.brought_up(recorded, config)
        config = configuration.overlaid(recorded, config, set(typed) - {"resume", "fork"})
        config = {**config, "trainer": {**config["trainer"], "precision": config["precision"]}}
        configuration.check(config, "train")
        _check_budget(config, origin)
    config = {**config, "tracking": {**config["tracking"], "experiment": experiment_of(config)}}
    return {**config, "resume": None, "fork": None, "submit": None, "output": None}


def experiment_of(config: Node) -> str:
    """Return the name under which runs of a configuration stand together."""
    chosen = config["tracking"]["experiment"] or configuration.group_choice("experiment")
    return chosen or f"{configuration.group_choice('model')}/{configuration.group_choice('data')}"


def _with_precision(config: Node, model: "Model", data: "ImageData") -> Node:
    """Return the configuration with the precision that will be used in both places where it stands."""
    precision = config["precision"]
    if precision == "auto":
        import torch

        from darkroom.hardware import fastest_precision
        from darkroom.images import from_uint8

        shown = data.pictures("train")
        images = from_uint8(shown.batch(torch.arange(min(data.batch_size, len(shown)))))
        # Several processes must agree, so they do not each try what is faster for them.
        alone = not configuration.several_devices(config["trainer"])
        accelerator = config["trainer"]["accelerator"]
        precision = fastest_precision(accelerator, (lambda: model.rehearse(images)) if alone else None)
    return {**config, "precision": precision, "trainer": {**config["trainer"], "precision": precision}}


def _check_budget(config: Node, origin: Origin) -> None:
    """Refuse to go on with a run that has nothing left to spend."""
    seen, images = origin.checkpoint["images_seen"], config["budget"]["images"]
    if images is not None and seen >= images:
        raise UserError(
            f"That run has seen {seen} images and its budget is {images}: type budget.images=<more> to go on."
        )
    elapsed, minutes = origin.checkpoint["callbacks"]["Budget"]["elapsed"] / 60, config["budget"]["minutes"]
    if minutes is not None and elapsed >= minutes:
        raise UserError(
            f"That run has trained for {elapsed:.1f} minutes and its budget is {minutes:g}: type"
            " budget.minutes=<more> to go on."
        )


def _model(config: Node, data: "ImageData", origin: Origin) -> "Model":
    """Build the model, with the weights of ``init`` if it has one."""
    import pytorch_lightning as pl

    from darkroom import building, lab
    from darkroom.lab import Description
    from darkroom.tracking import contents

    pl.seed_everything(config["seed"], verbose=False)
    known = Description.new(config, data)
    weights = origin.checkpoint.get("state_dict", {})
    with building.from_file(origin.path, weights) if origin.path and origin.continues else nullcontext():
        model = known.build()
    model.seed = config["seed"]
    lab.check_frames(model, data)
    model.acquaint(data.pictures("train"))
    if origin.path is not None:
        description = Description.of(origin.checkpoint, origin.path)
        family = type(model).__name__
        if description.family != family:
            raise UserError(
                f"{origin.path.parent.parent.parent.name[:8]} is a {description.family} and this configuration trains a"
                f" {family}: name a run of the same family, or type model={description.family.lower()}."
            )
        shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
        state = model.brought_up(origin.checkpoint["state_dict"])
        stored = {name: tuple(tensor.shape) for name, tensor in state.items()}
        if shapes != stored:
            name = next(key for key in [*shapes, *stored] if shapes.get(key) != stored.get(key))
            raise UserError(
                f"The weights of {origin.kind}={config[origin.kind] or origin.path} do not fit this model ('{name}' is"
                f" {stored.get(name, 'absent')} there and {shapes.get(name, 'absent')} here): use the same model.* and"
                " data.* settings."
            )
        building.check_weights(state, model, origin.path)
        if origin.continues:
            contents.check_optimizers(origin.checkpoint["optimizer_states"], model, origin.path)
        if description.vocabulary != known.vocabulary:
            raise UserError(
                f"The captions of {origin.kind}={config[origin.kind] or origin.path} are of other words than those of"
                " these data: use the data that it was trained on."
            )
        if origin.kind == "resume" and description.data_digest != data.digest:
            raise UserError(
                f"The data are not those the run was trained on (digest {data.digest[:8]}, recorded"
                f" {description.data_digest[:8]}): point paths.data to the same files, or type fork= for a new run."
            )
        if origin.kind == "init":
            model.load_state_dict(origin.checkpoint["state_dict"])
        else:
            data.first_image = origin.checkpoint["images_seen"]
    return model


@contextmanager
def _run(store: Store, config: Node, origin: Origin, data: "ImageData", tags: dict[str, str]) -> Iterator["Run"]:
    """Open the run, new or resumed."""
    from darkroom.commands import grid
    from darkroom.tracking import run

    aside = ("tracking", "paths", "saving", "name", "resume", "fork", "init", "output")
    settings = {key: value for key, value in config.items() if key not in aside}
    params = {key: value for key, value in configuration.flatten(settings).items() if value is not None}
    if origin.kind == "resume" and origin.record is not None:
        with run.resume(store, origin.record, config, params) as opened:
            yield opened
        return
    all_tags = {
        **config["tracking"]["tags"],
        **tags,
        tag.CONFIG_DIGEST: configuration.digest(config),
        tag.DATA_DIGEST: data.digest,
    }
    for label, variable in ((tag.DVC_STAGE, "DVC_STAGE"), (tag.DVC_EXPERIMENT, "DVC_EXP_NAME")):
        if value := os.environ.get(variable):
            all_tags[label] = value
    if job := slurm.job_of(configuration.typed_line()):
        all_tags[tag.JOB] = job
    if origin.record is not None:
        all_tags[tag.FORKED_FROM if origin.kind == "fork" else tag.INIT_FROM] = origin.record.run_id
    experiment = config["tracking"]["experiment"]
    name = config["name"] or grid.point_name(configuration.task_overrides()) or _next_name(store, experiment)
    with run.start(store, experiment, name, config, params, all_tags, parent=grid.parent()) as opened:
        for split, digest in data.split_digests.items():
            opened.log_dataset(data.name, digest, split)
        if origin.kind == "fork" and origin.path is not None:
            _take_along_best(origin.path.parent, opened.folder / "checkpoints")
        yield opened


def _take_along_best(source: Path, target: Path) -> None:
    """Copy the best state so far: a fork that never gets better ends with it."""
    if (source / "best.ckpt").exists():
        target.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source / "best.ckpt", target / "best.ckpt")


def _next_name(store: Store, experiment: str) -> str:
    """Return the experiment's name and the next number, ``gan-digits-3``."""
    store.experiment_id(experiment)
    return f"{experiment.replace('/', '-')}-{len(store.runs(experiment)) + 1}"


def _trainer(
    config: Node,
    description: Any,
    model: "Model",
    metrics: Any,
    data: "ImageData",
    run: "Run | None",
    pace: list[list[float]] | None,
) -> tuple["pl.Trainer", Any, Callable[[], str | None]]:
    """Return the trainer with its callbacks, the one that scores, and a way to ask whether a signal came."""
    from darkroom import lab
    from darkroom.callbacks.budget import Budget
    from darkroom.callbacks.checkpoints import Checkpoints
    from darkroom.callbacks.curves import Curves
    from darkroom.callbacks.progress import ProgressBar
    from darkroom.callbacks.samples import Samples
    from darkroom.callbacks.scoring import Scoring
    from darkroom.callbacks.sentinel import Sentinel, View
    from darkroom.callbacks.signals import Signals
    from darkroom.commands import summary
    from darkroom.metrics.generative import Generative
    from darkroom.tracking.checkpoint_io import AtomicCheckpointIO
    from darkroom.tracking.logger import RunLogger

    saving = config["saving"]
    folder = run.folder if run is not None else Path()
    budget = Budget(config["budget"]["images"], config["budget"]["minutes"], pace)
    checkpoints = Checkpoints(folder / "checkpoints", saving["every_minutes"], description.to_dict(), run)
    curves = Curves(run, config["tracking"]["log_every"])
    scoring = Scoring(run, metrics, data, checkpoints, budget)
    signals = Signals()
    health = configuration.build(config["sentinel"])
    judged = isinstance(metrics, Generative)
    view = View(data, metrics.extractor(data) if judged else None, metrics.cache if judged else paths.cache(), health)
    sentinel = Sentinel(run, health, view, checkpoints, curves, scoring.cadence, summary.say)
    # In this order after each step: the budget is read, curves and samples are drawn, the sentinel looks and may put a
    # better state in the place of this one, the state is scored, a signal is heeded, and last of all the state, now
    # whole, is saved.
    callbacks: list[Any] = [budget, curves]
    if run is not None:
        callbacks.append(Samples(run, saving["samples_every"], saving["samples"], budget))
    callbacks += [sentinel, scoring, ProgressBar(curves, scoring), signals, checkpoints]
    trainer = configuration.build(
        {
            **config["trainer"],
            "max_epochs": -1,
            "num_sanity_val_steps": 0,
            "limit_val_batches": 0,
            "use_distributed_sampler": False,
            "enable_checkpointing": False,
            "enable_progress_bar": False,
            "enable_model_summary": False,
        },
        logger=RunLogger(run, lambda: model.images_seen) if run is not None else False,
        callbacks=callbacks,
        plugins=[AtomicCheckpointIO(), *([] if on_ray.inside() else lab.environment())],
    )
    return trainer, scoring, lambda: signals.received


def _fit(trainer: "pl.Trainer", model: "Model", data: "ImageData", origin: Origin) -> None:
    """Train; Lightning leaves by SystemExit when it is interrupted a second time."""
    path = origin.path if origin.continues else None
    try:
        trainer.fit(model, datamodule=data, ckpt_path=path, weights_only=True)
    except SystemExit as stopped:
        raise KeyboardInterrupt from stopped


def _conclude(model: "Model", metrics: Any, data: "ImageData", path: Path) -> dict[str, float]:
    """Fit on ``val`` what comes after training, and save the model's state with it in place of the one without."""
    from darkroom.tracking import checkpoints

    judged = (lambda: metrics.judged(model, data, "val")) if hasattr(metrics, "judged") else None
    fitted = model.conclude(data, judged)
    if fitted:
        checkpoints.save(path, {**checkpoints.load(path), "state_dict": model.state_dict()})
    return fitted


def size_of(model: "Model", data: "ImageData") -> dict[str, float]:
    """Return how many numbers a model learns and how many multiply-adds it spends on a training picture or sequence.

    Of the way forwards; the way back costs twice as much again. What a model cannot rehearse is left out, and so is
    what runs in one piece inside a library, such as a GRU over a whole sentence.
    """
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from darkroom.images import from_uint8

    cost = {"parameters": float(sum(weights.numel() for weights in model.parameters() if weights.requires_grad))}
    images = from_uint8(data.pictures("train").batch(torch.arange(2)))
    with torch.random.fork_rng(devices=[]), FlopCounterMode(display=False) as counter:
        rehearsed = model.rehearse(images.to(model.device))
    if rehearsed is not None:
        cost["multiply_adds"] = counter.get_total_flops() / 2 / len(images)
    return cost


def _record(
    run: "Run",
    config: Node,
    scores: "Scores",
    val: "Scores | None",
    scoring: Any,
    seen: int,
    cost: dict[str, float],
) -> None:
    """Leave the final numbers, with their protocol, in the run."""
    from darkroom.hardware import peak_memory
    from darkroom.tracking.run import register

    run.log_metrics({f"test/{name}": value for name, value in scores.values.items()}, step=seen)
    seconds = scoring.budget.elapsed
    cost = {"seconds": seconds, "images_per_second": seen / max(seconds, 1e-9), **peak_memory(), **cost}
    run.log_metrics({f"cost/{name}": number for name, number in cost.items()}, step=seen)
    for key, picture in scores.pictures.items():
        run.log_picture(f"test_{key}", picture, step=seen)
    for key, frames in scores.animations.items():
        run.log_animation(f"test_{key}", frames, step=seen)
    if scoring.metrics.objective is not None:
        name, mode = scoring.metrics.objective
        run.set_objective(f"val/{name}", mode, scoring.best)
    run.log_json(
        "metrics.json",
        {
            "test": {"values": scores.values, "protocol": scores.protocol},
            "val": {
                "values": val.values if val else {},
                "protocol": val.protocol if val else {},
            },
            "best_at_images": scoring.best_at,
            "images_seen": seen,
        },
    )
    if config["budget"]["minutes"]:
        run.log_json("pace.json", scoring.budget.pace)
    if name := config["tracking"]["register"]:
        register(run, name, config["tracking"]["alias"])


def _explain(run: "Run", model: "Model", data: "ImageData", seen: int) -> None:
    """Leave a sheet of test pictures with what the model looked at in them; a second of work."""
    from darkroom.commands.explain import sheets

    for name, picture in sheets(model, data, run.name).items():
        run.log_picture(f"test_explained_{name}", picture, step=seen)


def _edit_latents(run: "Run", model: Any, data: "ImageData", metrics: Any, seen: int) -> None:
    """Leave sheets of what the latents can do, with how much leaks; some seconds of work."""
    from darkroom.commands import summary
    from darkroom.commands.latent_sheets import sheets
    from darkroom.metrics.generative import Generative

    if isinstance(metrics, Generative) and data.lesson(1) is not None:
        summary.say(f"Attributes of '{data.name}' are read by an eye: if there is none yet, it is taught now.")
    for name, sheet in sheets(model, data, metrics).items():
        run.log_picture(f"test_{name}", sheet.picture, step=seen)
        run.log_metrics({f"latents/{number}": value for number, value in sheet.numbers.items()}, step=seen)


if __name__ == "__main__":
    main()
    sys.exit(0)
