"""From a reference to living objects: a checkpoint becomes a model, its configuration the data it was trained on."""

import functools
import hashlib
import logging
import os
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning_fabric.utilities.exceptions import MisconfigurationException

from darkroom import building, paths, streams, trust, variables
from darkroom.config import several
from darkroom.config.checking import check_part
from darkroom.config.composing import compose
from darkroom.config.groups import options
from darkroom.config.nodes import targets_below
from darkroom.config.parts import build, located
from darkroom.config.recorded import admitted
from darkroom.data.detection import Gallery, Painter, RealOrGenerated
from darkroom.data.module import ImageData
from darkroom.data.source import Source
from darkroom.errors import UserError
from darkroom.metrics.metric import Metric
from darkroom.metrics.several import Several
from darkroom.models import abilities
from darkroom.models.abilities import Draws, Forecasts
from darkroom.models.model import Model
from darkroom.tracking import checkpoints, contents, outputs
from darkroom.tracking.store import Store

Node = dict[str, Any]
PROMPTS = 1024  # captions that a checkpoint keeps, so that it can draw alone what it has learned


@dataclass(frozen=True)
class Description:
    """What a checkpoint says of its model: enough to build it again.

    A model that reads captions knows the words of ``vocabulary``, and draws ``prompts`` when it is not asked; one that
    is told of ``actions`` knows their names, each with its largest size in training.
    """

    config: Node
    image_shape: tuple[int, ...]
    class_names: list[str]
    data_digest: str
    vocabulary: list[str] = field(default_factory=list)
    prompts: list[str] = field(default_factory=list)
    actions: dict[str, float] = field(default_factory=dict)

    @classmethod
    def new(cls, config: Node, data: ImageData) -> "Description":
        """Describe the model that a configuration makes for some data."""
        reads = config["model"].get("conditioning") == "text"
        captions = data.captions("train") if reads else []
        prompts = list(dict.fromkeys(captions))[:PROMPTS]
        vocabulary = data.vocabulary if reads else []
        actions = data.actions if config["model"].get("conditioning") == "action" else {}
        return cls(config, data.image_shape, data.class_names, data.digest, vocabulary, prompts, actions)

    def build(self, fetching: bool = False) -> Model:
        """Build the model, with new weights; without ``fetching`` none are downloaded, whatever the configuration."""
        supplied: Node = {"image_shape": self.image_shape, "class_names": self.class_names}
        if self.config["model"].get("conditioning") == "text":
            supplied |= {"vocabulary": self.vocabulary, "prompts": self.prompts}
        if self.config["model"].get("conditioning") == "action":
            supplied["actions"] = self.actions
        node = self.config["model"] if fetching else trust.offline(self.config["model"])
        model = build(node, **supplied)
        if not isinstance(model, Model):
            raise UserError(f"model._target_ is '{self.config['model']['_target_']}', which is no model of this lab.")
        return model

    def to_dict(self) -> Node:
        """Return plain containers."""
        return {
            "config": self.config,
            "image_shape": list(self.image_shape),
            "class_names": self.class_names,
            "data_digest": self.data_digest,
            "vocabulary": self.vocabulary,
            "prompts": self.prompts,
            "actions": self.actions,
        }

    @classmethod
    def of(cls, checkpoint: Mapping[str, Any], path: Path) -> "Description":
        """Read the description in a loaded checkpoint.

        Raises:
            UserError: the checkpoint was not made here, or asks for what is no part of a model.
        """
        stored = checkpoint.get("darkroom")
        if not isinstance(stored, dict) or "config" not in stored or "state_dict" not in checkpoint:
            raise UserError(
                f"{path} is not a checkpoint of this lab (it holds no description of its model): name a run, or a"
                " .ckpt file under mlruns/."
            )
        contents.check(checkpoint, path)
        return cls(
            admitted(stored["config"], str(path)),
            tuple(stored["image_shape"]),
            list(stored["class_names"]),
            stored["data_digest"],
            list(stored.get("vocabulary", [])),
            list(stored.get("prompts", [])),
            dict(stored.get("actions", {})),
        )

    @property
    def family(self) -> str:
        """The model's class, ``Gan`` say."""
        return str(self.config["model"]["_target_"]).rpartition(".")[2]


def restore(path: Path, known: Description | None = None) -> tuple[Model, Description]:
    """Return the model of a checkpoint, in evaluation mode on the CPU, and its description.

    One that this process has just written is ``known`` by what was typed.
    """
    checkpoint = checkpoints.load(path)
    description = known or Description.of(checkpoint, path)
    with building.from_file(path, checkpoint["state_dict"]):
        model = description.build()
        building.check_weights(model.migrate(checkpoint["state_dict"]), model, path)
    model.load_state_dict(checkpoint["state_dict"])
    model.seed = description.config["seed"]
    model.images_seen = checkpoint["images_seen"]
    return model.eval(), description


def open_recorded(recorded: Node, folder: str | None) -> ImageData:
    """Return the data of a recorded configuration, with their files in ``folder`` or where the run found them.

    Nothing is downloaded: what was recorded does not say what to fetch, nor where to put it.

    Raises:
        UserError: the data are missing or cannot be used.
    """
    return open_data(trust.offline(recorded["data"]), folder or recorded["paths"]["data"])


def open_data(node: Node, folder: str | None) -> ImageData:
    """Return prepared data: found, decoded, split and checked.

    Raises:
        UserError: the data are missing or cannot be used.
    """
    check_part(node, "data")
    data = build(node)
    if not isinstance(data, ImageData):
        raise UserError(f"data._target_ is '{node['_target_']}', and data are darkroom.data.module.ImageData.")
    if not isinstance(data.source, Source):
        raise UserError(f"data.source is a {type(data.source).__name__}, which is no source of pictures.")
    if isinstance(data.source, RealOrGenerated):
        data.source.supply(*open_generator(data.source.generator, data.source.real, folder))
    data.locate(paths.data(folder), paths.cache())
    data.prepare()
    return data


def open_generator(
    reference: str | None, real: ImageData | None, folder: str | None
) -> tuple[Painter | Gallery, ImageData]:
    """Return what draws pictures, a run or a folder of them, and the prepared real ones that they resemble.

    ``real`` may be left out where the reference is a run: then it is what that run was trained on, with its files in
    the data ``folder`` or, when that is None, where the run found them.

    Raises:
        UserError: no such run or folder, or one that does not draw or cannot be compared.
    """
    if reference is None:
        raise UserError(
            "A detector learns from drawn pictures: type data.source.generator=<run that draws, or folder of pictures>."
        )
    drawings = _folder_of(reference, folder)
    if drawings is not None and real is None:
        raise UserError(
            f"data.source.generator={reference} is a folder, which does not say what its pictures resemble: type"
            " data@data.source.real=<data> too, such as data@data.source.real=digits."
        )
    if real is not None:
        real.locate(paths.data(folder), paths.cache())
        real.prepare()
        if drawings is not None:
            return Gallery.read(drawings, real.image_shape, paths.cache()), real
    store = Store.open(paths.root(), reading=True)
    path = checkpoints.locate(reference, store)
    model, description = restore(path)
    if not isinstance(model, Draws):
        raise UserError(
            f"'{reference}' is a {description.family}, which draws nothing: name a run of a generator (darkroom compare"
            " lists them), or a folder of drawn pictures."
        )
    recorded = description.config
    if real is None:
        if _tells_apart(recorded["data"]):
            raise UserError(f"'{reference}' was trained on drawn pictures itself: name a run of a generator.")
        real = open_recorded(recorded, folder)
    with path.open("rb") as file:
        weights = hashlib.file_digest(file, "sha256").hexdigest()
    networks = dict.fromkeys(targets_below(recorded["model"], "darkroom.networks."))
    run = run_id_of(path)
    record = store.known(run) if run else None
    painter = Painter(
        name=record.name if record else path.stem,
        family=f"{description.family} of {' and '.join(networks) or 'its own'}",
        shape=description.image_shape,
        class_names=model.class_names if model.classes else [],
        weights=weights,
        sample=model.sample,
        cache=paths.cache() / "drawn",
    )
    return painter, real


def pinned(node: Node, folder: str | None) -> Node:
    """Return the configuration of data with the run that draws for them named by its id: what is `latest` changes.

    Raises:
        UserError: no such run.
    """
    source = node.get("source") or {}
    reference = source.get("generator") if _tells_apart(node) else None
    if reference is None or _folder_of(reference, folder) is not None:
        return node
    path = checkpoints.locate(reference, Store.open(paths.root(), reading=True)).resolve()
    run = run_id_of(path)
    return {**node, "source": {**source, "generator": f"{run}/{path.stem}" if run else str(path)}}


def _tells_apart(node: Node) -> bool:
    """Say whether data are real pictures beside drawn ones."""
    return str((node.get("source") or {}).get("_target_")).endswith(f".{RealOrGenerated.__name__}")


def _folder_of(reference: str, folder: str | None) -> Path | None:
    """Return the folder that a reference names, in the data folder or from the current one; None when it names none."""
    places = (paths.data(folder) / Path(reference).expanduser(), Path(reference).expanduser())
    return next((place for place in places if place.is_dir()), None)


def run_id_of(checkpoint: Path) -> str | None:
    """Return the id of the run that a checkpoint is of, by where it lies; None for a file from elsewhere."""
    path = checkpoint.resolve()
    if (run := outputs.run_id(path.parent)) is not None:
        return run
    return path.parents[2].name if path.is_relative_to(paths.runs()) else None


def check_trainer(node: Node, precision: str) -> None:
    """Refuse devices and precisions that this machine does not have, before a run is made for them.

    Raises:
        UserError: no such device here, a precision that it cannot train in, or more processes than were started.
    """
    _check_processes(node)
    try:
        with (
            warnings.catch_warnings(action="ignore"),
            streams.suppress_logging(logging.WARNING),
        ):  # said again when it trains
            trainer = build(node, logger=False, callbacks=[], enable_checkpointing=False)
    except (MisconfigurationException, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split()).rstrip(".!")
        raise UserError(f"The trainer cannot be set up here ({reason}): type trainer=cpu.") from error
    if trainer.precision != node.get("precision") and precision == "16-mixed":
        raise UserError("precision=16-mixed needs a GPU: type precision=bf16-mixed, which trains anywhere.")


def _check_processes(trainer: Node) -> None:
    """Refuse as many processes as nobody started: Lightning would train with those that there are and say nothing."""
    devices, nodes = trainer.get("devices", 1), trainer.get("num_nodes", 1)
    devices = len(devices) if isinstance(devices, list) else devices
    if not str(devices).isdigit():  # auto: as many as there are
        return
    asked = int(devices) * nodes
    if TorchElasticEnvironment.detect():
        starter, started = "torchrun", variables.count("WORLD_SIZE")
        command = f"torchrun --nnodes={nodes} --nproc-per-node={devices}"
    elif "SLURM_NTASKS" in os.environ and SLURMEnvironment.job_name() not in ("bash", "interactive"):
        starter, started = "slurm", variables.count("SLURM_NTASKS")
        command = f"srun --nodes={nodes} --ntasks-per-node={devices}"
    else:
        return
    if started != asked:
        raise UserError(
            f"{starter} started {started} process{'es' if started > 1 else ''}, and the trainer asks for {asked}"
            f" (trainer.devices={devices}, trainer.num_nodes={nodes}), one for each device: start them with {command},"
            f" or type trainer={starter}, which takes as many as there are."
        )


def environment() -> list[SLURMEnvironment]:
    """Return the plugin that keeps Lightning from putting a SLURM job back in line by itself, with its own checkpoint.

    The state that a run goes on from is the lab's; who puts the job back is the script that was submitted.
    """
    if TorchElasticEnvironment.detect() or "SLURM_NTASKS" not in os.environ or not SLURMEnvironment.detect():
        return []
    return [SLURMEnvironment(auto_requeue=False)]


def check_frames(model: Model, data: ImageData) -> None:
    """Refuse sequences for a model of single pictures.

    Raises:
        UserError: it is one.
    """
    if data.frames is not None and not isinstance(model, Forecasts):
        raise UserError(
            f"{data.name} are sequences of {data.frames} frames, and a {type(model).__name__} knows single pictures:"
            " type model=sequence, or other data."
        )


def metrics_of(node: Mapping[str, Any]) -> Metric:
    """Build the metrics of a configuration, one or several by name.

    Raises:
        UserError: what is named is no metric.
    """
    several.check(node)
    parts = {}
    for name, part in several.named(node).items():
        check_part(part, f"metrics.{name}".rstrip("."))
        parts[name] = build(part)
        if not isinstance(parts[name], Metric):
            raise UserError(
                f"metrics._target_ is '{part['_target_']}', and metrics are darkroom.metrics.metric.Metric."
            )
    return parts[""] if "" in parts else Several(parts, node.get("objective"))


def check_fit(metrics: Metric, model: Model, data: ImageData, splits: Sequence[str] = ("val", "test")) -> None:
    """Refuse metrics that cannot score this model on these splits of data.

    Raises:
        UserError: they need what this model cannot do, or more pictures than there are.
    """
    check_able(metrics, model)
    metrics.check(model, data, splits)


def check_able(metrics: Metric, model: Model) -> None:
    """Refuse metrics that need what this model cannot do.

    Raises:
        UserError: that is so.
    """
    for name, part in metrics.parts.items():
        if not isinstance(model, part.needs):
            lacking = f"A {type(model).__name__} {abilities.lacks(part.needs)}"
            said = f"metrics.{name}" if name else f"metrics={snake_case(type(part))}"
            raise UserError(f"{lacking} that {said} could score: type metrics={_suited(model)}.")


def _suited(model: Model) -> str:
    """Return the metrics that ask most of what a model can do; none, where there are no others."""
    asks = {
        name: (len(frozenset().union(*(abilities.methods(kind.needs) for kind in kinds))), name == snake_case(kinds[0]))
        for name, kinds in _metrics().items()
        if all(isinstance(model, kind.needs) for kind in kinds)
    }
    return max(asks, key=lambda name: asks[name])


@functools.cache
def _metrics() -> dict[str, list[type[Metric]]]:
    """Return the classes of the metrics that can be typed, by the names of their files."""
    nodes = {name: compose("train", [f"metrics={name}"])["metrics"] for name in options("metrics")}
    return {
        name: [located(part["_target_"]) for part in several.named(node).values()]
        for name, node in nodes.items()
        if several.named(node)
    }


def snake_case(kind: type) -> str:
    """Return the name of a class as that of its file: ExactLikelihood, exact_likelihood."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", kind.__name__).lower()
