"""``darkroom train``: train a model, score it on the test split with its best checkpoint, leave a run."""

import os
import shutil
import sys
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from darkroom import advice, paths, ranks
from darkroom.config.checking import check
from darkroom.config.command import command
from darkroom.config.contradictions import several_devices
from darkroom.config.nodes import Node, flatten
from darkroom.config.parts import build
from darkroom.config.recorded import admitted, check_whole, digest, migrate, overlaid
from darkroom.config.typed import group_choice, task_overrides, typed_keys, typed_line
from darkroom.errors import UserError
from darkroom.scaling import on_ray, slurm
from darkroom.tracking import outputs, tag
from darkroom.tracking.store import RunRecord, Store

if TYPE_CHECKING:
    import pytorch_lightning as pl

    from darkroom.data.module import ImageData
    from darkroom.lab import Description
    from darkroom.models.model import Model
    from darkroom.tracking.run import Run


@dataclass(frozen=True)
class Origin:
    """Where a run starts from: nothing, or a checkpoint of another run or of itself."""

    kind: str = "scratch"  # or resume, fork, init
    record: RunRecord | None = None
    path: Path | None = None
    checkpoint: dict[str, Any] = field(default_factory=dict)
    description: "Description | None" = None  # what the checkpoint says of its model
    over: bool = False  # trained to its end already: what is left comes after the last step

    @property
    def continues(self) -> bool:
        """Whether optimizers, counters and pace are taken over, not weights alone."""
        return self.kind in ("resume", "fork")

    @property
    def finished(self) -> bool:
        """Whether nothing of the run is left to do."""
        return self.record is not None and self.record.status == "FINISHED"


@command("train")
def main(config: Node) -> None:
    """Train what the configuration says."""
    if config["submit"] is not None:
        slurm.submit(config["submit"], typed_line(), paths.root())
        return
    if config["trainer"]["_target_"] == on_ray.TARGET and not on_ray.inside():
        on_ray.train("darkroom.commands.train", typed_line(), config["trainer"])
        return
    tags = {tag.COMMAND: advice.line("train", *typed_line())}
    if not (config["resume"] or config["fork"]):
        tags[tag.POINT] = digest(config)
    train(config, typed_keys(), tags=tags)


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
    if config["output"]:
        outputs.check(Path(config["output"]).expanduser(), outputs.RUN)
    store = Store.open(paths.root())
    store.prepare_in_background()
    store.reap()
    if (begun := slurm.requeued(store, typed_line())) is not None:
        config, typed = {**config, "resume": begun.run_id, "fork": None, "init": None}, {"trainer"}
    origin = _origin(config, store)
    output = _output(config, origin)
    config = _recorded_config(config, origin, typed)
    origin = replace(origin, over=_is_over(config, origin))

    # Everything that can be wrong is found before the run exists.
    from pytorch_lightning.utilities import rank_zero_only

    from darkroom import judging, lab
    from darkroom.errors import Interrupted
    from darkroom.models.abilities import Draws
    from darkroom.reporting import summary
    from darkroom.streams import quiet_lightning
    from darkroom.training import conclusion, foresight

    quiet_lightning()
    first = getattr(rank_zero_only, "rank", 0) == 0
    if first:
        _check_loads(config)
    config = {
        **config,
        "data": lab.pinned(config["data"], config["paths"]["data"]),
        "metrics": judging.pinned_judge(config["metrics"]),
    }
    chosen = any(key.partition(".")[0] == "data" for key in typed) or not origin.continues
    data = lab.open_data(config["data"], config["paths"]["data"]) if chosen else lab.open_recorded(config, None)
    data.seed = config["seed"]
    model = _model(config, data, origin)
    model.check_batch(data.batch_size)
    data.captioned = isinstance(model, Draws) and bool(model.vocabulary)
    config = _with_precision(config, model, data)
    metrics = judging.open_metrics(config["metrics"], data, summary.say, config["paths"]["data"], model)
    lab.check_fit(metrics, model, data)
    lab.check_trainer(config["trainer"], config["precision"])
    foresight.check_registry(store, config["tracking"]["register"], metrics)
    foresight.check_room(paths.runs(), model)
    description = lab.Description.new(config, data)

    with _run(store, config, origin, data, tags or {}, output) if first else nullcontext() as run:
        trainer, scoring, interrupted = _trainer(config, description, model, metrics, data, run, pace)
        done: dict[str, Any] = {}
        if origin.over:
            done = _taken_up(store, config, origin, model, scoring)
        else:
            _fit(trainer, model, data, origin)
        if run is None:
            return None
        trained = conclusion.Trained(run, description, data, scoring, model.images_seen, model.device, output, done)
        try:
            if signal := interrupted():
                raise Interrupted(signal)
            conclusion.conclude(trained)
        except (KeyboardInterrupt, Interrupted):
            summary.interrupted(run)
            raise
        summary.finished(run, trained.scores, scoring, trained.done["recording"])
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
                    f"resume={reference} is a file, but only a run can be resumed: type resume=<run>, or fork=."
                )
            # The run is read off the file: `latest` means the newest that has one.
            run = lab.run_id_of(path)
            record = store.known(run) if run else None
            if kind == "resume" and record is not None:
                store.fetch(record, "checkpoints/best.ckpt")
            checkpoint = checkpoints.load(path)
            description = lab.Description.of(checkpoint, path)
            if kind != "init":
                contents.check_training(checkpoint, path)
            return Origin(kind, record, path, checkpoint, description)
    return Origin()


def _recorded_config(config: Node, origin: Origin, typed: Collection[str]) -> Node:
    """Return the configuration that will be recorded.

    A run that goes on keeps its own, with what was typed on top; any other gets a name for its experiment.
    """
    if origin.continues and origin.description is not None:
        recorded = origin.description.config
        check_whole(recorded, str(origin.path))
        recorded = migrate(recorded, config)
        config = overlaid(recorded, config, set(typed) - {"resume", "fork"})
        config = {**config, "trainer": {**config["trainer"], "precision": config["precision"]}}
        check(config, "train")
    config = {**config, "tracking": {**config["tracking"], "experiment": experiment_of(config)}}
    return {**config, "resume": None, "fork": None, "submit": None, "output": None, "trust": None}


def _check_loads(config: Node) -> None:
    """Say before the run is made that its checkpoints could not be loaded: what was typed may name more than they."""
    from darkroom.reporting import summary

    try:
        admitted(config, "Such a checkpoint")
    except UserError as error:
        summary.say(f"Note: this run trains, but what it leaves could not be loaded again. {error}")


def experiment_of(config: Node) -> str:
    """Return the name under which runs of a configuration stand together."""
    chosen = config["tracking"]["experiment"] or group_choice("experiment")
    return chosen or f"{group_choice('model')}/{group_choice('data')}"


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
        alone = not several_devices(config["trainer"])
        accelerator = config["trainer"]["accelerator"]
        precision = fastest_precision(accelerator, (lambda: model.dummy_loss(images)) if alone else None)
    return {**config, "precision": precision, "trainer": {**config["trainer"], "precision": precision}}


def _is_over(config: Node, origin: Origin) -> bool:
    """Say whether a run that goes on has been trained to its end and only what comes after that is left.

    Raises:
        UserError: nothing is left to do, or nothing to train for a fork.
    """
    if not origin.continues:
        return False
    if sentence := _spent(config, origin):
        if origin.kind == "fork" or origin.record is None or origin.finished:
            raise UserError(sentence)
        return True
    # Stopped for the sentinel's reasons, or by the pace of the run that it repeats.
    callbacks = origin.checkpoint["callbacks"]
    ended = callbacks.get("Sentinel", {}).get("stopped") or callbacks["Budget"].get("finished")
    same = origin.checkpoint["darkroom"]["config"]["budget"] == config["budget"]
    return bool(ended) and same and origin.kind == "resume" and origin.record is not None and not origin.finished


def _spent(config: Node, origin: Origin) -> str | None:
    """Return what to type for a run that has nothing left to spend; None for one that has."""
    seen, images = origin.checkpoint["images_seen"], config["budget"]["images"]
    if images is not None and seen >= images:
        return f"That run has seen {seen} images and its budget is {images}: type budget.images=<more> to go on."
    elapsed, minutes = origin.checkpoint["callbacks"]["Budget"]["elapsed"] / 60, config["budget"]["minutes"]
    if minutes is not None and elapsed >= minutes:
        return (
            f"That run has trained for {elapsed:.1f} minutes and its budget is {minutes:g}: type"
            " budget.minutes=<more> to go on."
        )
    return None


def _output(config: Node, origin: Origin) -> Path | None:
    """Return the folder to leave the result in: what was typed, or was when an interrupted run was begun.

    Raises:
        UserError: the latter holds files of others by now.
    """
    if config["output"]:
        return Path(config["output"]).expanduser()
    again = origin.kind == "resume" and origin.record is not None and not origin.finished
    given = origin.record.tags.get(tag.OUTPUT) if again and origin.record is not None else None
    if given is None:
        return None
    output = Path(given).expanduser()
    outputs.check(output, outputs.RUN)
    return output


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
        model = known.build(fetching=not origin.continues)
    model.seed = config["seed"]
    lab.check_frames(model, data)
    model.init_from_data(data.pictures("train"))
    if origin.path is not None and (description := origin.description) is not None:
        family = type(model).__name__
        if description.family != family:
            raise UserError(
                f"{origin.path.parent.parent.parent.name[:8]} is a {description.family} and this configuration trains a"
                f" {family}: name a run of the same family, or type model={description.family.lower()}."
            )
        shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
        state = model.migrate(origin.checkpoint["state_dict"])
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
def _run(
    store: Store, config: Node, origin: Origin, data: "ImageData", tags: dict[str, str], output: Path | None
) -> Iterator["Run"]:
    """Open the run, new or resumed."""
    from darkroom.sweeping import grid
    from darkroom.tracking import run

    aside = ("tracking", "paths", "saving", "name", "resume", "fork", "init", "output", "trust")
    settings = {key: value for key, value in config.items() if key not in aside}
    params = {key: value for key, value in flatten(settings).items() if value is not None}
    if origin.kind == "resume" and origin.record is not None:
        with run.resume(store, origin.record, config, params) as opened:
            if output is not None or tag.OUTPUT in origin.record.tags:
                opened.set_tags({tag.OUTPUT: output.resolve() if output is not None else ""})
            yield opened
        return
    if output is not None:
        tags = {**tags, tag.OUTPUT: str(output.resolve())}
    all_tags = {
        **config["tracking"]["tags"],
        **tags,
        tag.CONFIG_DIGEST: digest(config),
        tag.DATA_DIGEST: data.digest,
    }
    for label, variable in ((tag.DVC_STAGE, "DVC_STAGE"), (tag.DVC_EXPERIMENT, "DVC_EXP_NAME")):
        if value := os.environ.get(variable):
            all_tags[label] = value
    if job := slurm.job_of(typed_line()):
        all_tags[tag.JOB] = job
    if origin.record is not None:
        all_tags[tag.FORKED_FROM if origin.kind == "fork" else tag.INIT_FROM] = origin.record.run_id
    experiment = config["tracking"]["experiment"]
    name = config["name"] or grid.point_name(task_overrides())
    with run.start(store, experiment, name, config, params, all_tags, parent=grid.parent()) as opened:
        for split, split_digest in data.split_digests.items():
            opened.log_dataset(data.name, split_digest, split)
        if origin.kind == "fork" and origin.path is not None:
            _take_along_best(origin.path.parent, opened.folder / "checkpoints")
        yield opened


def _take_along_best(source: Path, target: Path) -> None:
    """Copy the best state so far: a fork that never gets better ends with it."""
    if (source / "best.ckpt").exists():
        target.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source / "best.ckpt", target / "best.ckpt")


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
    from darkroom.callbacks.curves import Curves
    from darkroom.callbacks.interruption import Signals
    from darkroom.callbacks.progress import ProgressBar
    from darkroom.callbacks.samples import Samples
    from darkroom.callbacks.saving import Checkpoints
    from darkroom.callbacks.scoring import Scoring
    from darkroom.callbacks.sentinel import Sentinel, View
    from darkroom.metrics.metric import judged as judged_by
    from darkroom.reporting import summary
    from darkroom.tracking.checkpoint_io import AtomicCheckpointIO
    from darkroom.tracking.logger import RunLogger

    saving = config["saving"]
    folder = run.folder if run is not None else Path()
    budget = Budget(config["budget"]["images"], config["budget"]["minutes"], pace)
    checkpoints = Checkpoints(folder / "checkpoints", saving["every_minutes"], description.to_dict(), run)
    curves = Curves(run, config["tracking"]["log_every"])
    scoring = Scoring(run, metrics, data, checkpoints, budget)
    signals = Signals()
    health = build(config["sentinel"])
    judged = judged_by(metrics)
    view = View(data, judged.extractor(data) if judged else None, judged.cache if judged else paths.cache(), health)
    sentinel = Sentinel(run, health, view, checkpoints, curves, scoring.cadence, summary.say)
    # In this order after each step: the budget is read, curves and samples are drawn, the sentinel looks and may put a
    # better state in the place of this one, the state is scored, a signal is heeded, and last of all the state, now
    # whole, is saved.
    callbacks: list[Any] = [budget, curves]
    if run is not None:
        callbacks.append(Samples(run, saving["samples_every"], saving["samples"], budget))
    callbacks += [sentinel, scoring, ProgressBar(curves, scoring), signals, checkpoints]
    trainer = build(
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
        with ranks.starting():
            trainer.fit(model, datamodule=data, ckpt_path=path, weights_only=True)
    except SystemExit as stopped:
        raise KeyboardInterrupt from stopped


def _taken_up(store: Store, config: Node, origin: Origin, model: "Model", scoring: Any) -> dict[str, Any]:
    """Put everything in the state that training left it in, and return the phases after it that are done."""
    from darkroom.reporting import summary
    from darkroom.training import conclusion

    callbacks = origin.checkpoint["callbacks"]
    scoring.load_state_dict(callbacks["Scoring"])
    scoring.budget.load_state_dict(callbacks["Budget"])
    model.images_seen = origin.checkpoint["images_seen"]
    assert origin.record is not None
    done = conclusion.done_before(store, origin.record, config, model.images_seen)
    left = [phase for phase in conclusion.PHASES if phase not in done]
    summary.say(f"Training is over; what is left: {', '.join([*left, 'closing'])}.")
    return done


if __name__ == "__main__":
    main()
    sys.exit(0)
