"""Configurations: what may stand in one, whether it is right, and how it becomes objects.

The only place that calls Hydra and OmegaConf. Importing it, and refusing a bad configuration, loads nothing heavy.
"""

import copy
import functools
import hashlib
import itertools
import json
import os
import re
import shlex
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, fields, is_dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any

import hydra
from hydra._internal.sources_registry import SourcesRegistry
from hydra._internal.utils import get_args_parser
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob, Override
from hydra.core.plugins import Plugins
from hydra.errors import HydraException, InstantiationException, MissingConfigException, OverrideParseException
from hydra.plugins.config_source import ConfigResult
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import (
    ConfigAttributeError,
    ConfigKeyError,
    GrammarParseError,
    MissingMandatoryValue,
    OmegaConfBaseException,
)
from yaml import YAMLError

from darkroom import annotations, documents, line, names, paths, ranks, signals, streams, trust
from darkroom.errors import Failure, Interrupted, UserError, cause, did_you_mean, nearest, out_of_memory, printable
from darkroom.numbers import Count, OneOf, Positive, Range, Seed, Share, Whole
from darkroom.signatures import TargetError, signature

Node = dict[str, Any]
COMPOSITION_ERRORS = (HydraException, OmegaConfBaseException, YAMLError)

# --- schema: the keys that stand at the top of a configuration -----------------------------------------------------


_TYPED = "typed"  # in a field's metadata: its type for the line, where OmegaConf has none
_TEXTS = {_TYPED: "str | list[str] | None"}


@dataclass
class Paths:
    """Folders; a relative one is relative to the current folder."""

    data: str | None = None


@dataclass
class Budget:
    """How long to train: real images consumed, or minutes of training, whichever comes first."""

    images: Count | None = None
    minutes: Positive | None = None


@dataclass
class Tracking:
    """How the run is recorded."""

    experiment: str | None = None
    tags: dict[str, str] = field(default_factory=dict)
    log_every: Count = 5000
    register: str | None = None
    alias: str = "champion"


@dataclass
class Saving:
    """What the run keeps beside its numbers."""

    every_minutes: Positive = 5.0
    samples_every: Count = 20000
    samples: Whole = 80


@dataclass
class Submit:
    """Where a run is queued instead of being trained here: what ``conf/submit/slurm.yaml`` says of each."""

    dry_run: bool = False
    nodes: Count = 1
    tasks: Count = 1
    gpus: Whole = 1
    cpus: Count = 4
    minutes: Count = 240
    warning: Count = 300
    memory: str | None = None
    partition: str | None = None
    account: str | None = None
    constraint: str | None = None
    setup: list[str] = field(default_factory=list)


@dataclass
class Train:
    """What ``darkroom train`` reads."""

    data: dict[str, Any] = field(default_factory=dict)
    model: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    trainer: dict[str, Any] = field(default_factory=dict)
    sentinel: dict[str, Any] = field(default_factory=dict)
    submit: dict[str, Any] | None = None
    seed: Seed = 0
    name: str | None = None
    precision: Annotated[str, OneOf("32", "bf16-mixed", "16-mixed", "auto")] = "32"
    budget: Budget = field(default_factory=Budget)
    saving: Saving = field(default_factory=Saving)
    resume: str | None = None
    fork: str | None = None
    init: str | None = None
    output: str | None = None
    trust: Any = None
    paths: Paths = field(default_factory=Paths)
    tracking: Tracking = field(default_factory=Tracking)


@dataclass
class Search:
    """What a sweep chooses among, how, and what each trial may cost; ``start`` and ``factors`` are for its space."""

    space: dict[str, Any] = field(default_factory=dict)
    needs: str = ""
    sampler: str = "tpe"
    pruner: str | None = "median"
    objectives: Any = None
    trials: Count = 24
    budget: Budget = field(default_factory=Budget)
    scores: Count | None = 8
    start: Positive | None = None
    factors: list[Positive] = field(default_factory=list)


@dataclass
class Sweep(Train):
    """What ``darkroom sweep`` reads: all that ``train`` does, which every trial gets, and how to search."""

    search: Search = field(default_factory=Search)
    trials: Count = 24
    workers: Count = 1
    seeds: Count = 1
    engine: Annotated[str, OneOf("processes", "ray")] = "processes"


@dataclass
class Prepare:
    """What ``darkroom prepare`` reads."""

    data: dict[str, Any] | None = None
    output: str | None = None
    trust: Any = None
    paths: Paths = field(default_factory=Paths)


@dataclass
class Evaluate:
    """What ``darkroom evaluate`` reads."""

    checkpoint: str | None = None
    samples: str | None = None
    data: dict[str, Any] | None = None
    metrics: dict[str, Any] | None = None
    split: Annotated[str, OneOf("train", "val", "test")] = "test"
    sampler: str | None = None
    seed: Seed | None = None
    output: str | None = None
    trust: Any = None
    paths: Paths = field(default_factory=Paths)


@dataclass
class Generate:
    """What ``darkroom generate`` reads."""

    checkpoint: str = "latest"
    count: Count = 64
    seed: Seed = 0
    labels: Any = None
    prompt: Any = field(default=None, metadata=_TEXTS)
    output: str | None = None
    sampler: str | None = None
    truncation: Annotated[float, Range(0, 10, open_low=True)] = 1.0
    trust: Any = None


@dataclass
class Compare:
    """What ``darkroom compare`` reads."""

    runs: list[str] | None = None
    within: str | None = None
    format: Annotated[str, OneOf("table", "json", "html")] = "table"
    output: str | None = None


@dataclass
class Report:
    """What ``darkroom report`` reads."""

    runs: list[str] | None = None
    within: str | None = None
    limit: Count = 200
    title: str | None = None
    megabytes: Positive = 6.0
    output: str = "report.html"


@dataclass
class Dashboard:
    """What ``darkroom dashboard`` reads."""

    port: Annotated[int, Range(1, 65_535)] = 5000
    serve: bool = True


@dataclass
class Check:
    """What ``darkroom check`` reads."""

    folder: str | None = None


@dataclass
class Reproduce:
    """What ``darkroom reproduce`` reads."""

    run: str = "latest"
    trust: Any = None
    paths: Paths = field(default_factory=Paths)


@dataclass
class Explain:
    """What ``darkroom explain`` reads."""

    checkpoint: str = "latest"
    input: str | None = None
    methods: list[str] = field(default_factory=lambda: ["grad_cam", "integrated_gradients"])
    layer: str | None = None
    target: str | None = None
    count: Count = 8
    images: Count = 64
    steps: Count = 32
    seed: Seed = 0
    output: str | None = None
    trust: Any = None
    paths: Paths = field(default_factory=Paths)


@dataclass
class Audit:
    """What ``darkroom audit`` reads."""

    checkpoint: str = "latest"
    groups: str = "label"
    generators: list[str] | None = None
    data: dict[str, Any] | None = None
    split: Annotated[str, OneOf("train", "val", "test")] = "test"
    images: Count = 10_000
    resamples: Annotated[int, Range(100)] = 1000
    confidence: Annotated[float, Range(0.5, 1, open_high=True)] = 0.95
    tolerance: Share = 0.05
    seed: Seed = 1
    output: str | None = None
    trust: Any = None
    paths: Paths = field(default_factory=Paths)


@dataclass
class Judge:
    """What ``darkroom judge`` reads."""

    features: str | None = None
    data: dict[str, Any] | None = None
    seed: Seed = 0
    output: str | None = None
    trust: Any = None
    paths: Paths = field(default_factory=Paths)


@dataclass
class Edit:
    """What ``darkroom edit`` reads."""

    operation: str | None = None
    checkpoint: str | None = None
    input: str | None = None
    output: str | None = None
    format: Annotated[str, OneOf("keep", "png", "jpeg", "webp", "tiff")] = "keep"
    quality: Annotated[int, Range(1, 100)] | None = None
    suffix: str = ""
    overwrite: bool = False
    skip_existing: bool = False
    strength: Share = 1.0
    level: Any = "auto"
    mask: str | None = None
    mask_invert: bool = False
    mask_grow: Whole = 0
    mask_feather: Whole = 0
    tile: Any = "auto"
    self_ensemble: bool = False
    device: str = "auto"
    reference: str | None = None
    self_test: bool | None = None
    compare: bool = False
    report: str | None = None
    track: bool = True
    pictures: Whole = 8
    seed: Seed = 0
    frames: Count = 10
    rotate: float = 0.0
    right: float = 0.0
    down: float = 0.0
    zoom: Positive = 1.0
    hide: str = "bottom"
    count: Count = 8
    attribute: str | None = None
    range: list[float] = field(default_factory=lambda: [-2.0, 2.0])
    hold: list[str] = field(default_factory=list)
    direction: str | None = None
    other: str | None = None
    way: str = "slerp"
    steps: Count | None = None
    residual: bool = False
    refine: Whole | None = None
    labels: Any = None
    prompt: Any = field(default=None, metadata=_TEXTS)
    truncation: Annotated[float, Range(0, 10, open_low=True)] = 1.0
    method: str = "patches"
    style: Any = field(default=None, metadata=_TEXTS)
    weights: list[float] | None = None
    alpha: Share = 1.0
    colour: str = "linear"
    preserve_color: bool = False
    levels: Count = 4
    size: Annotated[int, Range(16)] | None = None
    trust: Any = None
    paths: Paths = field(default_factory=Paths)


SCHEMAS: dict[str, type] = {
    "train": Train,
    "evaluate": Evaluate,
    "generate": Generate,
    "edit": Edit,
    "compare": Compare,
    "report": Report,
    "dashboard": Dashboard,
    "check": Check,
    "reproduce": Reproduce,
    "explain": Explain,
    "audit": Audit,
    "prepare": Prepare,
    "judge": Judge,
    "sweep": Sweep,
}

# Groups that a command adds to its own keys, for "did you mean".
_GROUPS = (
    "data",
    "model",
    "architecture",
    "network",
    "optimizer",
    "schedule",
    "penalty",
    "augmentation",
    "likelihood",
    "prior",
    "degradation",
    "curriculum",
    "search",
    "submit",
    "metrics",
    "trainer",
    "sentinel",
    "experiment",
    "profile",
)

# --- check: everything that can be known before anything is loaded --------------------------------------------------


def check(config: Node, command: str, grid: bool = False) -> None:
    """Refuse a composed configuration that could not run, alone or as one point of a ``grid``.

    Raises:
        UserError: an unknown, missing or misspelt key, a value of the wrong type or out of range, or keys that
            contradict each other.
    """
    _check_schema(config, SCHEMAS[command], "")
    trains = command in ("train", "sweep")
    if trains:
        for group in ("data", "model", "metrics", "trainer", "sentinel"):
            if not isinstance(config[group], Mapping) or "_target_" not in config[group]:
                raise UserError(f"There is no {group}: type {group}=<one of {', '.join(options(group))}>.")
    for path, node in _targets(config):
        _check_target(path, node)
    for key in ("runs", "generators"):
        if config.get(key) == []:
            raise UserError(f"'{key}' is an empty list, so nothing would be done: name some, or leave it out.")
    if trains:
        if config["submit"] is not None:
            _check_schema(config["submit"], Submit, "submit.")
        _check_training(config, grid)
    if command == "sweep":
        _check_sweep(config)


def check_part(node: Node, path: str) -> None:
    """Refuse the configuration of a part that was recorded in a file, as `check` refuses one that was composed.

    Raises:
        UserError: an unknown or missing key, or a value of the wrong type or out of range.
    """
    if not isinstance(node, Mapping) or "_target_" not in node:
        raise UserError(f"'{path}' says no _target_, the class that it is to be: type {path}=<file>, or write one.")
    for place, part in _targets(node, path):
        _check_target(place, part)


def _check_schema(node: Mapping[str, Any], schema: type, path: str) -> None:
    known = {f.name: f for f in fields(schema)}
    said = signature(f"{schema.__module__}.{schema.__qualname__}").parameters
    for key, value in node.items():
        if key not in known:
            raise UserError(f"There is no setting '{path}{key}'{did_you_mean(key, [*known, *_GROUPS])}.")
        kind = known[key].type
        if isinstance(kind, type) and is_dataclass(kind) and isinstance(value, Mapping):
            _check_schema(value, kind, f"{path}{key}.")
        else:
            annotations.check(f"{path}{key}", value, said[key].annotation)
    for key in known:
        if key not in node:
            raise UserError(f"'{path}{key}' was deleted, and the lab reads it: leave out ~{path}{key}.")


def _targets(node: Any, path: str = "") -> Iterator[tuple[str, Node]]:
    """Yield every node with a ``_target_``, outermost first."""
    if isinstance(node, Mapping):
        if "_target_" in node:
            yield path, dict(node)
        for key, value in node.items():
            yield from _targets(value, f"{path}.{key}" if path else str(key))
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from _targets(value, f"{path}[{index}]")


def _leaves(node: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(node, Mapping):
        for key, value in node.items():
            yield from _leaves(value, f"{path}.{key}" if path else str(key))
    else:
        yield path, node


def _check_target(path: str, node: Node) -> None:
    target = node["_target_"]
    if not isinstance(target, str) or not isinstance(node.get("_partial_", False), bool):
        raise UserError(f"'{path}' needs a _target_ that is a text, and a _partial_ that is true or false.")
    try:
        accepted = signature(target)
    except TargetError as error:
        raise UserError(f"{path}._target_ is '{target}', but {error}.") from None
    given = {key: value for key, value in node.items() if not key.startswith("_")}
    for key, value in given.items():
        if key not in accepted.parameters:
            if accepted.open:
                continue
            known = [name for name, parameter in accepted.parameters.items() if not parameter.supplied]
            hint = did_you_mean(key, known) or f" (it takes {', '.join(known)})"
            raise UserError(f"There is no setting '{path}.{key}': {target} takes no such argument{hint}.")
        parameter = accepted.parameters[key]
        if parameter.supplied:
            raise UserError(f"'{path}.{key}' is not yours to set: the lab passes it to {target} itself.")
        annotations.check(f"{path}.{key}", value, parameter.annotation)
        if target.startswith("darkroom."):  # elsewhere a capital may be an alias of texts and numbers
            annotations.check_part(f"{path}.{key}", value, parameter.annotation)
    if not node.get("_partial_"):
        for name, parameter in accepted.parameters.items():
            if parameter.required and parameter.supplied and "." in path:
                raise UserError(f"'{path}' lacks _partial_: true, since the lab itself passes '{name}' to {target}.")
            if parameter.required and name not in given and not parameter.supplied:
                raise UserError(f"'{path}.{name}' is missing: {target} needs it; type {path}.{name}=<value>.")


# What Lightning would take, and why this lab does not: the setting to use instead.
_NOT_THE_TRAINERS = {
    "max_epochs": "budget.images",
    "max_steps": "budget.images",
    "max_time": "budget.minutes",
    "gradient_clip_val": "model.gradient_clip",
    "accumulate_grad_batches": "data.batch_size",
    "enable_checkpointing": "saving.every_minutes",
    "val_check_interval": "metrics.every",
    "check_val_every_n_epoch": "metrics.every",
    "default_root_dir": "the environment variable DARKROOM_ROOT",
}


def _check_training(config: Node, grid: bool) -> None:
    """Refuse keys that are each fine and together are not."""
    if (config["budget"]["images"], config["budget"]["minutes"]) == (None, None):
        raise UserError("There is no budget: type budget.images=<real images> or budget.minutes=<minutes>.")
    origins = [key for key in ("resume", "fork", "init") if config[key]]
    if len(origins) > 1:
        raise UserError(f"{' and '.join(origins)} were both given: a run has one origin, so keep one of them.")
    for key, instead in _NOT_THE_TRAINERS.items():
        if config["trainer"].get(key) is not None:
            raise UserError(f"'trainer.{key}' would not do what it says here: use {instead}.")
    if str(config["trainer"].get("precision", config["precision"])) != config["precision"]:
        raise UserError(f"'trainer.precision' follows 'precision': type precision={config['trainer']['precision']}.")
    for path, node in _targets(config):
        if node.get("nesterov") and not node.get("momentum"):
            raise UserError(f"'{path}.nesterov' needs momentum: type {path}.momentum=0.9 or {path}.nesterov=false.")
    model = config["model"]
    penalty = str(model.get("penalty", {}).get("_target_")).rpartition(".")[2]
    normalization = model.get("discriminator", {}).get("normalization")
    if penalty in ("ZeroCentred", "OneCentred", "Recommended", "recommended") and normalization == "batch":
        raise UserError(
            "model.discriminator.normalization=batch mixes the images of a batch, which a penalty on the gradient of"
            " each image cannot bear: type penalty@model.penalty=none or model.discriminator.normalization=none."
        )
    if penalty == "WeightClipping" and normalization == "spectral":
        raise UserError(
            "model.discriminator.normalization=spectral divides weights by their size, so clipping them bounds nothing:"
            " type penalty@model.penalty=none or model.discriminator.normalization=none."
        )
    unscored = str(config["metrics"].get("_target_")).endswith(".Nothing")
    _check_names(config, unscored)
    if config["sentinel"].get("every") and config["sentinel"].get("on_collapse") == "rollback" and unscored:
        raise UserError(
            "sentinel.on_collapse=rollback returns to the best checkpoint, and metrics=none knows no best: type"
            " sentinel.on_collapse=stop, or metrics=generative."
        )
    fused = any(node.get("fused") for _, node in _targets(model))
    if config["precision"] == "16-mixed" and model.get("gradient_clip") and fused:
        raise UserError(
            "model.gradient_clip cannot see the true gradients of a fused optimizer under precision=16-mixed: type"
            " precision=bf16-mixed, or fused=false for the optimizers."
        )
    if config["output"] and grid:
        raise UserError("output and -m were both given: every run would be written to the same folder.")
    if grid and several_devices(config["trainer"]):
        raise UserError(
            "A grid (-m) and several devices do not mix: each device would start the whole grid again; run the points"
            " one by one, or use trainer.devices=1."
        )


def _check_names(config: Node, unscored: bool) -> None:
    """Refuse what MLflow would not take once the work is done."""
    tracking = config["tracking"]
    for setting, name in (("name", config["name"]), ("tracking.experiment", tracking["experiment"])):
        if name is not None:
            names.check_run(setting, name)
    names.check_tags("tracking.tags", tracking["tags"])
    if tracking["register"] is None:
        return
    names.check_model("tracking.register", tracking["register"])
    names.check_alias("tracking.alias", tracking["alias"])
    if unscored:
        raise UserError(
            f"tracking.register={tracking['register']} registers the best checkpoint, and metrics=none knows no best:"
            " type metrics=generative or another that scores, or leave tracking.register out."
        )


_SAMPLERS = ("tpe", "random", "grid", "nsgaii")


def _check_sweep(config: Node) -> None:
    """Refuse what no sweep can be; what its space holds is checked where it is read."""
    search = config["search"]
    if not search["space"]:
        raise UserError(f"A sweep needs a search: type search=<one of {', '.join(options('search'))}>.")
    for word, value, known in (("sampler", search["sampler"], _SAMPLERS), ("pruner", search["pruner"], ("median",))):
        if value not in known and not (word == "pruner" and value is None):
            raise UserError(f"'search.{word}' is '{value}', but one of {', '.join(known)} was expected"
                            f"{did_you_mean(str(value), known)}.")  # fmt: skip
    objectives = search["objectives"] or {}
    if not isinstance(objectives, Mapping):
        raise UserError(f"'search.objectives' is {objectives!r}, but metrics with min or max were expected: type"
                        " 'search.objectives={val/fid:min}'.")  # fmt: skip
    for metric, mode in objectives.items():
        if mode not in ("min", "max"):
            raise UserError(f"'search.objectives' wants {metric}: min or {metric}: max, not '{mode}'.")
        if metric.startswith("test/"):
            raise UserError(f"'{metric}' cannot be searched for: the test split is read once, to tell how it came out;"
                            f" type val/{metric.removeprefix('test/')}.")  # fmt: skip
    if config["submit"] is not None:
        raise UserError(
            "A sweep waits for its trials, and submit queues them: type engine=ray for trials on a cluster, or"
            " darkroom train -m submit=slurm for a grid of jobs."
        )
    for key in ("resume", "fork", "output"):
        if config[key]:
            raise UserError(
                f"search and {key} were both given: a sweep starts runs of its own, and goes on when the same line is"
                " typed again."
            )
    if config["metrics"].get("every") is None:
        raise UserError("A sweep ranks its trials by their score, and nothing is scored: type metrics=generative.")


def several_devices(trainer: Node) -> bool:
    """Say whether a trainer's settings ask for more than one process."""
    if trainer.get("workers", 1) > 1 or trainer.get("num_nodes", 1) > 1:
        return True
    devices = trainer.get("devices", 1)
    if isinstance(devices, list):
        return len(devices) > 1
    if str(devices) in ("auto", "-1"):
        return str(trainer.get("strategy")).startswith(("ddp", "fsdp"))
    return "," in str(devices) or (str(devices).isdigit() and int(devices) > 1)


# --- build: from a checked configuration to objects ------------------------------------------------------------------


def build(node: Mapping[str, Any], **supplied: Any) -> Any:
    """Build the object a ``_target_`` node describes; ``supplied`` are the parts that code passes.

    The only caller of Hydra's ``instantiate``. The parts are passed beside Hydra, which would copy them.
    """
    try:
        part = hydra.utils.instantiate({**_coerced(node), "_partial_": True}, _convert_="all")
    except InstantiationException as error:
        if sentence := cause(error, UserError):
            raise sentence from None
        raise
    return part(**supplied)


def located(target: str) -> Any:
    """Return the class that a ``_target_`` names."""
    return hydra.utils.get_class(target)


def admitted(recorded: Any, origin: str) -> Node:
    """Return a configuration that came with a file or a run, of parts that it may have and that could be built.

    Raises:
        UserError: it names what is no part of a model (`trust`), or settings that could not have been typed.
    """
    config = trust.admit(recorded, origin)
    try:
        _check_recorded(config, Train, "")
        for path, node in _targets(config):
            _check_target(path, node)
    except UserError as error:
        raise UserError(f"{origin} cannot be used: {error}") from None
    return config


def check_whole(recorded: Node, origin: str) -> None:
    """Refuse a recorded configuration of a run that is to go on, or to be made again, in which a setting is missing.

    Raises:
        UserError: which one.
    """
    for key in (key.name for key in fields(Train) if key.name not in _LATER):
        if key not in recorded:
            raise UserError(f"The configuration in {origin} cannot be used: '{key}' is missing.")


def _check_recorded(config: Node, schema: type, path: str) -> None:
    """Compare what a run recorded at the top of its configuration with the types there; older ones recorded less."""
    said = signature(f"{schema.__module__}.{schema.__qualname__}").parameters
    for known in fields(schema):
        value, kind = config.get(known.name), known.type
        if known.name not in config:
            continue
        if isinstance(kind, type) and is_dataclass(kind):
            if not isinstance(value, dict):
                raise UserError(f"'{path}{known.name}' is {value!r}, but several settings were expected.")
            _check_recorded(value, kind, f"{known.name}.")
        else:
            annotations.check(f"{path}{known.name}", value, said[known.name].annotation)


def _coerced(node: Any) -> Any:
    """Return the node as Hydra has to be given it, every value in it meant as it stands.

    ``betas`` become floats: YAML reads ``[0, 0.99]`` as an int, which PyTorch's Adam refuses. A ``${`` that is still
    there in a resolved configuration is part of a text, and would be looked up again.
    """
    if isinstance(node, Mapping):
        return {
            key: [float(beta) for beta in value] if key == "betas" and isinstance(value, list) else _coerced(value)
            for key, value in node.items()
        }
    if isinstance(node, list):
        return [_coerced(each) for each in node]
    # Hydra resolves everything in place and then reads it, so that what is escaped is unescaped twice.
    return _escaped(_escaped(node)) if isinstance(node, str) else node


def _escaped(text: str) -> str:
    return re.sub(r"(\\*)\$\{", lambda found: found[1] * 2 + "\\${", text)


# Settings that change where or how fast a run goes, never what comes out.
_NOT_IN_DIGEST = ("name", "paths", "tracking", "saving", "resume", "fork", "search", "submit", "output", "trust")


def digest(config: Mapping[str, Any]) -> str:
    """Return a name for what a configuration computes: equal digests, equal results."""
    kept = {key: value for key, value in config.items() if key not in _NOT_IN_DIGEST}
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()[:16]


def targets_below(node: Mapping[str, Any], prefix: str) -> list[str]:
    """Return the last names of everything that a configuration builds out of a package, outermost first."""
    names = [str(part["_target_"]) for _, part in _targets(node)]
    return [name.rpartition(".")[2] for name in names if name.startswith(prefix)]


def flatten(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``{"model.latent_dim": 64, …}``, without the names of classes and modes of building."""
    return {path: value for path, value in _leaves(config) if path.rpartition(".")[2] not in ("_partial_", "_convert_")}


def to_yaml(config: Mapping[str, Any]) -> str:
    """Return a configuration as the text of a YAML file."""
    return OmegaConf.to_yaml(OmegaConf.create(dict(config)))


# --- commands: from a line typed to a configuration -----------------------------------------------------------------


def command(name: str) -> Callable[[Callable[[Node], None]], Callable[[], None]]:
    """Make a function of a plain, resolved and checked configuration into the command ``darkroom <name>``.

    The result parses ``sys.argv`` as every Hydra program does, prints what a person got wrong as one sentence, and
    exits with 2 for that, 1 for a failure, 130 for an interruption.
    """

    def wrap(function: Callable[[Node], None]) -> Callable[[], None]:
        @functools.wraps(function)
        def main() -> None:
            streams.guard()
            os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then raises what it would print, and we say it in a sentence
            outcome = _Outcome()
            program = hydra.main(version_base="1.3", config_path=str(paths.conf()), config_name=name)(
                functools.partial(_run, function, name, outcome)
            )
            typed = Typed(name)
            try:
                register()
                typed = Typed.parse(name, sys.argv[1:])
                typed = typed.read()
                if typed.grid:
                    typed = typed.spelt_out()
                    check_alone(name)
                    _check_points(typed)
                sys.argv[1:] = typed.arguments()
                with signals.interrupting(), around_points:
                    program()
            except (KeyboardInterrupt, Interrupted) as interruption:
                outcome.interrupt(interruption)
            except SystemExit as left:  # of Hydra, after its help, or of a command that says how it came out
                if left.code is not None and not isinstance(left.code, int):
                    raise
                outcome.code = max(outcome.code, left.code or 0)
            except UserError as error:
                outcome.refuse(name, str(error))
            except (*COMPOSITION_ERRORS, ValueError, AssertionError) as error:
                if outcome.composed:
                    raise
                outcome.refuse(name, explain(error, typed))
            sys.exit(streams.code(outcome.code))

        return main

    return wrap


@dataclass(frozen=True)
class Typed:
    """What stood on the line after ``darkroom``: a command, its overrides, and a folder of further configurations."""

    command: str
    overrides: list[str] = field(default_factory=list)
    folder: Path | None = None
    grid: bool = False
    options: tuple[str, ...] = ()  # Hydra's own

    @classmethod
    def parse(cls, command: str, arguments: list[str]) -> "Typed":
        """Read the arguments as Hydra will.

        Raises:
            UserError: an option that Hydra does not have.
        """
        parser = get_args_parser()
        known = [option for action in parser._actions for option in action.option_strings]
        _refuse_dashes(command, arguments, known)

        def refuse(message: str) -> None:
            word = next((word for word in message.split() if word.startswith("-")), "")
            hint = did_you_mean(word, known) if "unrecognized" in message else ""
            raise UserError(f"{message[:1].upper()}{message[1:]}{hint}. Try: darkroom {command} --hydra-help")

        parser.error = refuse  # type: ignore[assignment,method-assign]  # argparse would print its usage and exit
        parsed = parser.parse_intermixed_args(arguments)
        for override in parsed.overrides:
            _check_size(override)
        folder = Path(parsed.config_dir) if parsed.config_dir else None
        grid = parsed.multirun and not parsed.cfg and not parsed.info
        options = tuple(argument for argument in arguments if argument not in parsed.overrides)
        return cls(command, parsed.overrides, folder, grid, options)

    def read(self) -> "Typed":
        """Return it with every value as Hydra has to be told it."""
        folder = self.folder if self.folder and self.folder.is_dir() else None
        return replace(self, overrides=_read(self.command, self.overrides, folder, self.grid))

    def spelt_out(self) -> "Typed":
        """Return the line with each ``group=glob(…)`` as the files it means, those in subfolders too.

        Hydra's own looks into no subfolder, where every experiment is, and trains nothing when it finds nothing.

        Raises:
            UserError: no file is meant.
        """
        parsed = OverridesParser.create().parse_overrides(self.overrides)
        return replace(self, overrides=[self._without_glob(override) for override in parsed])

    def _without_glob(self, override: Override) -> str:
        written = override.input_line or ""
        pattern: Any = override.value()
        if not isinstance(pattern, Glob):
            return written
        key, _, meant = written.partition("=")
        known = options(override.key_or_group, self.folders())
        if not known:
            raise UserError(f"{written} chooses among files, and '{override.key_or_group}' is no group of them: type"
                            f" {key}=<value>,<value>.")  # fmt: skip
        if not (found := pattern.filter(known)):
            raise UserError(f"{written} fits none of {override.key_or_group}: the nearest are {nearest(meant, known)}.")
        return f"{key}={','.join(found)}"

    def arguments(self) -> list[str]:
        """Return what Hydra is given, options first: it refuses ``model=gan -m seed=0,1``."""
        return [*self.options, *self.overrides]

    def folders(self) -> list[Path]:
        """Return the configuration folders, a person's own first."""
        return [*([self.folder] if self.folder else []), paths.conf()]


def _check_size(override: str) -> None:
    """Refuse what was typed before Hydra's parser, which calls itself for each bracket, sees it."""
    if len(override) > _LONGEST:
        raise UserError(f"'{override[:40]}…' has {len(override)} characters, and at most {_LONGEST} are read.")
    if (parts := override.count(",")) > _PARTS:
        raise UserError(f"'{override[:40]}…' lists {parts} values, and at most {_PARTS} are read.")
    depth = deepest = 0
    for character in override:
        depth += (character in "[{(") - (character in "]})")
        deepest = max(deepest, depth)
    if deepest > documents.DEPTH:
        raise UserError(
            f"'{override[:40]}…' holds brackets more than {documents.DEPTH} deep in each other: write fewer."
        )


def _renamed(command: str, argument: str) -> str:
    """Return ``compare experiment=…`` as ``within=…``: Hydra takes the former for a file of conf/experiment."""
    key, equals, value = argument.partition("=")
    looks = command in ("compare", "report") and (key, equals) == ("experiment", "=")
    return f"within={value}" if looks else argument


_LONGEST, _PARTS = 50_000, 2000  # characters and commas of one setting that is typed


def _read(command: str, overrides: Sequence[str], folder: Path | None, grid: bool = False) -> list[str]:
    """Return overrides as Hydra has to be told them, each by the type of its setting: see `darkroom.line`."""
    overrides = [_renamed(command, override) for override in overrides]
    groups = tuple(override for override in overrides if _chooses(override, folder))
    return [override if override in groups else _read_one(command, override, groups, folder, grid)
            for override in overrides]  # fmt: skip


def _read_one(command: str, override: str, groups: tuple[str, ...], folder: Path | None, grid: bool) -> str:
    parts = line.split(override)
    if parts is None:
        return override
    plus, key, value = parts
    kind = line.Kind.of(_annotation(command, key, groups, folder))
    return f"{plus}{key}={line.read(value, kind, grid)}"


def _chooses(override: str, folder: Path | None) -> bool:
    """Say whether an override chooses a file of a group, or what is built: the types of other settings follow it."""
    key = override.lstrip("+~").partition("=")[0]
    group = key.partition("@")[0]
    folders = [*([folder] if folder else []), paths.conf()]
    return key.endswith("._target_") or (bool(group) and any((each / group).is_dir() for each in folders))


def _annotation(command: str, key: str, groups: tuple[str, ...], folder: Path | None) -> str:
    """Return the type of a setting as source text: of the schema, or of the parameter that it becomes; "" if none."""
    schema: Any = SCHEMAS[command]
    *above, last = key.split(".")
    for depth, name in enumerate([*above, last]):
        known = {each.name: each for each in fields(schema)} if is_dataclass(schema) else {}
        if name not in known:
            return "str" if str(schema) == str(dict[str, str]) else ""
        schema = known[name].metadata.get(_TYPED) or known[name].type
        if depth < len(above) and str(schema) != str(dict[str, str]) and not is_dataclass(schema):
            return _annotation_below(command, tuple(above), last, groups, folder)
    return schema.__name__ if isinstance(schema, type) and not hasattr(schema, "__args__") else str(schema)


def _annotation_below(
    command: str, above: tuple[str, ...], last: str, groups: tuple[str, ...], folder: Path | None
) -> str:
    if above == ("submit",):
        return next((str(each.type) for each in fields(Submit) if each.name == last), "")
    node: Any = _files_chosen(command, groups, folder)
    for name in above:
        node = node.get(name) if isinstance(node, Mapping) else None
    try:
        known = signature(node["_target_"]).parameters if isinstance(node, Mapping) else {}
    except (KeyError, TargetError):
        return ""
    return known[last].annotation if last in known else ""


@functools.lru_cache(maxsize=64)
def _files_chosen(command: str, groups: tuple[str, ...], folder: Path | None) -> Node:
    """Return what the chosen files make, settings aside; of a grid over files the first of each; {} if that is none."""
    single = [override.partition(",")[0] for override in groups if "(" not in override]
    try:
        found = OmegaConf.to_container(_hydra_composed(command, single, folder))
    except (*COMPOSITION_ERRORS, ValueError, AssertionError):
        return {}
    return {str(key): value for key, value in found.items()} if isinstance(found, dict) else {}


def _choices(override: Override) -> list[str]:
    """Return what a grid makes of an override, one for each of its values.

    Raises:
        UserError: it has none, or endlessly many.
    """
    if not override.is_sweep_override():
        return [override.input_line or ""]
    if not override.is_discrete_sweep():
        raise UserError(f"{override.input_line} has no end of values for a grid to go through: type"
                        f" {override.get_key_element()}=<value>,<value>, or search with darkroom sweep.")  # fmt: skip
    values = list(override.sweep_string_iterator())
    if not values:
        raise UserError(f"{override.input_line} is an empty choice, so nothing would be done: type"
                        f" {override.get_key_element()}=<value>,<value>.")  # fmt: skip
    return [f"{override.get_key_element()}={value}" for value in values]


def _check_points(typed: Typed) -> None:
    """Check every point of a grid before the first leaves a run.

    What another sweeper than Hydra's own would choose is not known yet: those points are checked in turn.

    Raises:
        UserError: a point is wrong, or there is none.
    """
    overrides = OverridesParser.create().parse_overrides(typed.overrides)
    if any(override.key_or_group == "hydra/sweeper" for override in overrides):
        return
    choices = [_choices(override) for override in overrides]
    for point in itertools.product(*choices):
        check(compose(typed.command, list(point), overlay=typed.folder), typed.command, grid=True)


around_points = ExitStack()  # what is open around all points of a grid, closed with the truth about how they ended
_READING = ("check", "compare", "dashboard")  # commands that leave nothing which one of several processes would


def check_alone(command: str, trainer: Node | None = None) -> None:
    """Refuse to begin as one of several processes that nobody started; see `ranks.check`."""
    if command not in _READING:
        trainer = trainer or {}
        ranks.check(several_devices(trainer), int(trainer.get("num_nodes", 1)))


def _refuse_dashes(command: str, arguments: list[str], options: list[str]) -> None:
    """Refuse settings that are typed as options, ``--seed=3`` or ``-seed 3``: argparse takes some for others.

    Raises:
        UserError: what to type instead.
    """
    own = {each.name for each in fields(SCHEMAS[command])}
    settings = own | {*_GROUPS, "local"}
    after = set()  # the values of Hydra's own options, --config-dir my_conf
    for place, argument in enumerate(arguments):
        name, equals, value = argument.lstrip("-").partition("=")
        name = name.replace("-", "_")
        if not argument.startswith("-") or place in after:
            continue
        if argument.partition("=")[0] in options and name not in own:
            after.add(place + 1)
            continue
        top = name.partition(".")[0].partition("@")[0]
        if top in settings or (equals and argument.startswith("--") and not did_you_mean(f"--{name}", options)):
            following = arguments[place + 1 : place + 2]
            given = value if equals else next((word for word in following if not word.startswith("-")), "<value>")
            meant = f"{name}={given}" if given == "<value>" else shlex.quote(f"{name}={given}")
            raise UserError(f"'{argument}' is typed without dashes: type {meant}.")


class _Outcome:
    """The exit code of a command, the worst of all points of a grid."""

    def __init__(self) -> None:
        self.code = 0
        self.composed = False  # from then on an error is the command's, no longer the configuration's

    def refuse(self, name: str, sentence: str, code: int = 2) -> None:
        print(f"darkroom {name}: {printable(sentence)}", file=sys.stderr)
        if os.environ.get("DARKROOM_DEBUG"):  # what a sentence was made of, for whoever looks for its cause
            traceback.print_exc()
        self.code = max(self.code, code)

    def interrupt(self, interruption: BaseException) -> None:
        named = str(interruption) if isinstance(interruption, Interrupted) else "SIGINT"
        self.code = 128 + signal.Signals[named].value


def _run(function: Callable[[Node], None], name: str, outcome: _Outcome, composed: DictConfig) -> None:
    """Run one command once; in a grid, a point that fails is reported and the others go on."""
    try:
        config = resolve(composed)
        check(config, name, in_grid())
        trust.hear(config.get("trust"), (node["_target_"] for _, node in _targets(config)))
        check_alone(name, config.get("trainer"))
        outcome.composed = True
        function(config)
    except UserError as error:
        outcome.refuse(name, str(error))
    except Failure as error:
        outcome.refuse(name, str(error), code=1)
    except (KeyboardInterrupt, Interrupted) as interruption:
        outcome.interrupt(interruption)
        if in_grid():
            raise
    except Exception as error:
        if out_of_memory(error):
            said = " ".join(str(error).split())[:200].rstrip(".")
            sentence = f"There is not enough memory for what is asked ({said}): ask for less at once"
            outcome.refuse(name, f"{sentence}, such as a smaller data.batch_size.", code=1)
            return
        if not in_grid():
            raise
        traceback.print_exc()
        outcome.code = max(outcome.code, 1)


def _read_checked(read: Callable[[Any, str], ConfigResult]) -> Callable[[Any, str], ConfigResult]:
    """Return Hydra's way to read a file of conf/ or of a folder of one's own, with a look at it first.

    Raises:
        UserError: it is not YAML, or far too deep or too large.
    """

    @functools.wraps(read)
    def checked(source: Any, config_path: str) -> ConfigResult:
        file = Path(source.path) / source._normalize_file_name(config_path)
        with documents.understood(file):
            if file.is_file():
                documents.check_yaml(file)
            return read(source, config_path)

    return checked


@functools.cache
def register() -> None:
    """Make the schemas known to Hydra as ``schema/<command>``, and ``${darkroom.grids:}``, where it notes its grids."""
    OmegaConf.register_new_resolver("darkroom.grids", lambda: str(paths.runs() / "grids"), replace=True)
    # Where the strength of R1 and R2 begins: 1 for MNIST in batches of 64, and between the two ends of four of the six
    # schedules of Huang et al. 2024. StyleGAN2-ADA has 0.0002 for 0.08, for large pictures.
    OmegaConf.register_new_resolver("darkroom.gamma", lambda side, batch: 0.08 * side**2 / batch, replace=True)
    Plugins.instance()  # which makes Hydra's own reader known: a copy of its class, so that one is what is changed
    reader: Any = SourcesRegistry.instance().types["file"]
    reader.load_config = _read_checked(reader.load_config)
    store = ConfigStore.instance()
    for name, schema in SCHEMAS.items():
        store.store(group="schema", name=name, node=schema, package="_global_")
    store.store(name="training", node=_training())


def _training() -> DictConfig:
    """Return train.yaml as another primary can begin with: without its schema and what it says of Hydra itself."""
    file = paths.conf() / "train.yaml"
    with documents.understood(file):
        body = OmegaConf.create(documents.check_yaml(file))
    assert isinstance(body, DictConfig)
    del body["hydra"]
    listed = OmegaConf.to_container(body)
    assert isinstance(listed, dict)
    body["defaults"] = [
        entry
        for entry in listed["defaults"]
        if entry != "schema/train" and not (isinstance(entry, dict) and "hydra/" in next(iter(entry)))
    ]
    return body


def resolve(composed: DictConfig) -> Node:
    """Return a composed configuration as plain containers, every interpolation filled in."""
    try:
        plain = OmegaConf.to_container(composed, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        raise UserError(_about_value(error)) from None
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}


def compose(name: str, overrides: list[str], overlay: Path | None = None) -> Node:
    """Return the plain configuration that ``darkroom <name> <overrides>`` would use.

    ``overlay`` is a folder of further files beside this lab's conf/.
    """
    return resolve(_composed(name, overrides, overlay))


def _composed(name: str, overrides: list[str], overlay: Path | None, **more: Any) -> DictConfig:
    return _hydra_composed(name, _read(name, overrides, overlay), overlay, **more)


def _hydra_composed(name: str, overrides: list[str], overlay: Path | None, **more: Any) -> DictConfig:
    register()
    GlobalHydra.instance().clear()  # of the configuration that the command itself was started with
    searched = [f"hydra.searchpath=[{line.literal(f'file://{overlay.resolve()}')}]"] if overlay else []
    with hydra.initialize_config_dir(str(paths.conf()), version_base="1.3"):
        return hydra.compose(name, [*overrides, *searched], **more)


def in_grid() -> bool:
    """Say whether this process runs one point of a grid (``-m``)."""
    return HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN


def task_overrides() -> list[str]:
    """Return what was typed after the command, for this point of the grid."""
    return list(HydraConfig.get().overrides.task) if HydraConfig.initialized() else []


def typed_line() -> list[str]:
    """Return what was typed after the command with the folder of one's own configurations, so as to type it again."""
    folder = typed_folder()
    return [*([f"--config-dir={folder}"] if folder else []), *map(line.unquoted, task_overrides())]


def typed_keys() -> set[str]:
    """Return the settings and groups that were typed, ``{"budget.images", "trainer"}``."""
    return {override.lstrip("+~").partition("=")[0].partition("@")[0] for override in task_overrides()}


# What only watches, queues or exports a run, and which a run may be older than.
_LATER = ("sentinel", "submit", "output", "trust")
_FORMER = ("search",)  # what older runs recorded, and which changed nothing about them


def brought_up(recorded: Node, current: Node) -> Node:
    """Return the recorded configuration of a run with what it is older than, taken from a current one."""
    kept = {key: value for key, value in recorded.items() if key not in _FORMER}
    return kept | {key: current[key] for key in _LATER if key not in kept}  # in its order: it is compared as text


def overlaid(recorded: Node, composed: Node, keys: set[str]) -> Node:
    """Return a recorded configuration with the given settings, or whole groups, taken from a composed one.

    Raises:
        UserError: a setting that the recorded configuration does not have.
    """
    result = copy.deepcopy(recorded)
    for key in sorted(keys):
        *parents, last = key.split(".")
        source, target = composed, result
        for parent in parents:
            source, target = source.get(parent, {}), target.get(parent, {})
        if last not in source or last not in target:
            raise UserError(
                f"'{key}' cannot be changed when a run goes on: it keeps its own configuration, of which single"
                " settings (and the groups data, trainer, metrics) can be replaced."
            )
        target[last] = source[last]
    return result


def typed_folder() -> str | None:
    """Return the folder of further configurations that was typed, ``--config-dir``."""
    sources = HydraConfig.get().runtime.config_sources if HydraConfig.initialized() else []
    return next((str(source.path) for source in sources if source.provider == "command-line"), None)


def group_choice(group: str) -> str | None:
    """Return which file of a group was chosen, ``gan/digits`` for ``experiment=gan/digits``."""
    return HydraConfig.get().runtime.choices.get(group) if HydraConfig.initialized() else None


# --- what Hydra says, in one sentence --------------------------------------------------------------------------------


def options(group: str, folders: Sequence[Path] = ()) -> list[str]:
    """Return every file of a configuration group, ``gan/digits`` and the like."""
    bases = [folder / group for folder in folders or [paths.conf()]] if group else []
    return sorted({str(file.relative_to(base).with_suffix("")) for base in bases for file in base.rglob("*.yaml")})


def explain(error: BaseException, typed: Typed) -> str:
    """Return what Hydra and OmegaConf found wrong as one sentence, with the nearest thing that exists."""
    if isinstance(error, OverrideParseException):
        return _about_grammar(error.override, str(error), typed)
    text = str(error)
    if isinstance(error, YAMLError):
        return f"A file is not YAML: {' '.join(text.split())}."
    if "Additional config directory" in text:
        return f"--config-dir is '{typed.folder}', which is no folder."
    place = re.match(r"In '([^']+)'", text)
    where = f" in {place.group(1)}.yaml" if place and place.group(1) != typed.command else ""
    if isinstance(error, MissingConfigException):
        return _about_file(error, typed, where)
    if found := re.search(r"Could not override '([^']+)'|Could not delete from config. '([^']+)'", text):
        return _about_key(found.group(1) or found.group(2), typed, "")
    if found := re.search(r"Ambiguous value for argument '([^=]+)=([^']*)'", text):
        key, values = found.groups()
        return f"'{key}' was given several values: type {key}=[{values}] for a list, or add -m for a run with each."
    if isinstance(error, AssertionError):  # OmegaConf, about a setting below a group that is null
        typed_below = {override.lstrip("+").partition(".")[0] for override in typed.overrides}
        group = next((group for group in _GROUPS if group in typed_below), "group")
        return f"A setting of {group} was given without one: type {group}=<one of {', '.join(options(group))}>."
    if "Config group override must be" in text:
        return _about_choice(typed)
    if inner := cause(error, OmegaConfBaseException):
        if isinstance(inner, ConfigKeyError | ConfigAttributeError):
            return _about_key(str(inner.full_key or inner.key), typed, where)
        return _about_value(inner, where)
    return " ".join(text.split())


def _about_grammar(override: str, text: str, typed: Typed) -> str:
    if "=" not in override:
        if override in options("experiment", typed.folders()):
            return f"'{override}' stands alone: type experiment={override}."
        if override in SCHEMAS:
            return f"'{override}' stands behind another command: type darkroom {override}."
        return f"'{override}' has no value: type {override.lstrip('+')}=<value>."
    if controls := sorted({letter for letter in override if not letter.isprintable()}):
        return f"'{override}' holds {' and '.join(map(repr, controls))}, which no number or word does: leave it out."
    reason = text.splitlines()[0]
    return f"'{override}' cannot be read ({reason}): put the value in quotes, \"{override.partition('=')[0]}='…'\"."


def _about_file(error: MissingConfigException, typed: Typed, where: str) -> str:
    missing = str(error.missing_cfg_file or "")
    group, _, option = missing.partition("/")
    if option and any(override.endswith(option) for override in typed.overrides):
        where = ""
    if known := options(group, typed.folders()):
        return f"There is no {group} '{option}'{where}: the nearest are {nearest(option, known)}."
    if error.options:
        return f"There is no '{missing}'{where}: there are {', '.join(error.options)}."
    return f"There is no configuration '{missing}'{where} in {' or '.join(map(str, typed.folders()))}."


def _about_choice(typed: Typed) -> str:
    for override in typed.overrides:
        group, _, value = override.partition("=")
        if known := options(group.partition("@")[0], typed.folders()):
            if value in ("null", "") or value not in known:
                return f"{override} names no file: type {group}=<one of {', '.join(known)}>."
        elif not group:
            return f"'{override}' names no setting: type <setting>={value}."
    return f"A group was given something else than the name of a file: {' '.join(typed.overrides)}."


_TYPES = {"Integer": "a whole number", "Float": "a number", "Boolean": "true or false"}


def _about_value(error: OmegaConfBaseException, where: str = "") -> str:
    key = str(error.full_key or error.key or "?")
    text = str(error).partition("\n")[0]
    if isinstance(error, GrammarParseError):
        return f"'{key}' cannot be read{where} ({text}): a ${{ that refers to nothing is typed \\${{."
    if isinstance(error, MissingMandatoryValue):
        return f"'{key}' has no value yet{where}: type {key}=<value>."
    if found := re.search(r"Interpolation key '([^']+)' not found", text):
        return f"'{key}' refers to '{found.group(1)}'{where}, and there is no such setting."
    if found := re.search(r"Environment variable '([^']+)' not found", text):
        return f"'{key}' reads the environment variable {found.group(1)}{where}, which is not set."
    if found := re.search(r"Value '(.*)' of type '\w+' could not be converted to (\w+)", text):
        return f"'{key}' is '{found.group(1)}'{where}, but {_TYPES.get(found.group(2), found.group(2))} was expected."
    if re.search(r"is not Optional|Incompatible value 'None'|None to non-optional", text):
        return f"'{key}' is null{where}, but it needs a value."
    if found := re.search(r"is not a subclass of (\w+)|Cannot merge|Invalid type assigned", text):
        key = (found.group(1) or key).lower() if key == "?" else key
        return f"'{key}' holds several settings{where}, not one value: type {key}.<setting>=<value>."
    return f"'{key}' cannot be used{where}: {text}."


def _about_key(key: str, typed: Typed, where: str) -> str:
    """Say that there is no such setting, and which was meant or how it can be added."""
    group, _, slot = key.partition("@")
    if group.partition(".")[0] == "search" and typed.command == "train":
        return f"A search is a sweep of trials: type darkroom sweep {' '.join(typed.overrides)}."
    config, slots = _known(typed, key)
    if group in _GROUPS and (used := [known for known in slots if known.startswith(f"{group}@")]):
        nearby = get_close_matches(key, used, n=1, cutoff=0.8) if slot else []
        return f"'{key}' is not used here{where}: type {' or '.join(f'{known}=<file>' for known in nearby or used)}."
    *parents, last = key.split(".")
    if parents == ["trainer"] and last in _NOT_THE_TRAINERS:
        return f"'{key}' would not do what it says here: use {_NOT_THE_TRAINERS[last]}."
    parent: Any = config
    for part in parents:
        parent = parent.get(part) if isinstance(parent, dict) else None
    if parents and isinstance(parent, dict) and not where and _takes(parent, parents[-1], last):
        return f"'{key}' is not in the file yet, so it is added with a plus: type +{key}=<value>."
    known = flatten(config)
    if not parents and (below := [path for path in known if path.endswith(f".{key}")]):
        return f"There is no setting '{key}'{where} (did you mean {' or '.join(map(repr, below[:3]))}?)."
    if key in config:
        return f"'{key}' holds several settings{where}: type {key}.<setting>=<value>."
    inner = {path.rsplit(".", depth)[0] for path in known for depth in range(1, path.count(".") + 1)}
    return f"There is no setting '{key}'{where}{did_you_mean(key, [*known, *inner, *_GROUPS])}."


def _takes(node: Node, name: str, key: str) -> bool:
    """Say whether a setting that a file does not have could be added to it."""
    if "_target_" not in node:
        return name == "tags"
    try:
        accepted = signature(node["_target_"])
    except TargetError:
        return False
    return key in accepted.parameters and not accepted.parameters[key].supplied


def _known(typed: Typed, bad: str) -> tuple[Node, list[str]]:
    """Return a configuration near the one that was meant, and where its groups are used.

    What was typed, the bad key left out, may hold further mistakes; then the command's own defaults are taken.
    """
    kept = [override for override in typed.overrides if override.lstrip("+~").partition("=")[0] != bad]
    without_files = [override for override in kept if not override.startswith(("experiment=", "profile=", "local="))]
    for overrides in (kept, without_files):
        try:
            composed = _composed(typed.command, overrides, typed.folder, return_hydra_config=True)
            slots = list(composed.hydra.runtime.choices)
            with open_dict(composed):
                del composed["hydra"]
            return resolve(composed), slots
        except (*COMPOSITION_ERRORS, UserError, ValueError):
            continue
    return compose(typed.command, []), []
