"""Configurations: what may stand in one, whether it is right, and how it becomes objects.

The only place that calls Hydra and OmegaConf. Importing it, and refusing a bad configuration, loads nothing heavy.
"""

import ast
import copy
import functools
import hashlib
import itertools
import json
import math
import os
import re
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar

import hydra
from hydra._internal.core_plugins.file_config_source import FileConfigSource
from hydra._internal.sources_registry import SourcesRegistry
from hydra._internal.utils import get_args_parser
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob
from hydra.core.plugins import Plugins
from hydra.errors import HydraException, InstantiationException, MissingConfigException, OverrideParseException
from hydra.plugins.config_source import ConfigResult
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, MissingMandatoryValue, OmegaConfBaseException
from yaml import YAMLError

from darkroom import documents, paths
from darkroom.errors import Interrupted, UserError, did_you_mean, nearest
from darkroom.signatures import TargetError, signature

Node = dict[str, Any]
COMPOSITION_ERRORS = (HydraException, OmegaConfBaseException, YAMLError)

# --- schema: the keys that stand at the top of a configuration -----------------------------------------------------


@dataclass
class Paths:
    """Folders; a relative one is relative to the current folder."""

    data: str | None = None


@dataclass
class Budget:
    """How long to train: real images consumed, or minutes of training, whichever comes first."""

    images: int | None = None
    minutes: float | None = None


@dataclass
class Tracking:
    """How the run is recorded."""

    experiment: str | None = None
    tags: dict[str, str] = field(default_factory=dict)
    log_every: int = 5000
    register: str | None = None
    alias: str = "champion"


@dataclass
class Saving:
    """What the run keeps beside its numbers."""

    every_minutes: float = 5.0
    samples_every: int = 20000
    samples: int = 80


@dataclass
class Submit:
    """Where a run is queued instead of being trained here: what ``conf/submit/slurm.yaml`` says of each."""

    dry_run: bool = False
    nodes: int = 1
    tasks: int = 1
    gpus: int = 1
    cpus: int = 4
    minutes: int = 240
    warning: int = 300
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
    seed: int = 0
    name: str | None = None
    precision: str = "32"
    budget: Budget = field(default_factory=Budget)
    saving: Saving = field(default_factory=Saving)
    resume: str | None = None
    fork: str | None = None
    init: str | None = None
    output: str | None = None
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
    trials: int = 24
    budget: Budget = field(default_factory=Budget)
    scores: int | None = 8
    start: float | None = None
    factors: list[float] = field(default_factory=list)


@dataclass
class Sweep(Train):
    """What ``darkroom sweep`` reads: all that ``train`` does, which every trial gets, and how to search."""

    search: Search = field(default_factory=Search)
    trials: int = 24
    workers: int = 1
    seeds: int = 1
    engine: str = "processes"


@dataclass
class Prepare:
    """What ``darkroom prepare`` reads."""

    data: dict[str, Any] | None = None
    output: str | None = None
    paths: Paths = field(default_factory=Paths)


@dataclass
class Evaluate:
    """What ``darkroom evaluate`` reads."""

    checkpoint: str | None = None
    samples: str | None = None
    data: dict[str, Any] | None = None
    metrics: dict[str, Any] | None = None
    split: str = "test"
    sampler: str | None = None
    seed: int | None = None
    output: str | None = None
    paths: Paths = field(default_factory=Paths)


@dataclass
class Generate:
    """What ``darkroom generate`` reads."""

    checkpoint: str = "latest"
    count: int = 64
    seed: int = 0
    labels: Any = None
    prompt: Any = None
    output: str | None = None
    sampler: str | None = None
    truncation: float = 1.0


@dataclass
class Compare:
    """What ``darkroom compare`` reads."""

    runs: list[str] | None = None
    within: str | None = None
    format: str = "table"
    output: str | None = None


@dataclass
class Report:
    """What ``darkroom report`` reads."""

    runs: list[str] | None = None
    within: str | None = None
    limit: int = 200
    title: str | None = None
    megabytes: float = 6.0
    output: str = "report.html"


@dataclass
class Dashboard:
    """What ``darkroom dashboard`` reads."""

    port: int = 5000
    serve: bool = True


@dataclass
class Check:
    """What ``darkroom check`` reads."""

    folder: str | None = None


@dataclass
class Reproduce:
    """What ``darkroom reproduce`` reads."""

    run: str = "latest"
    paths: Paths = field(default_factory=Paths)


@dataclass
class Explain:
    """What ``darkroom explain`` reads."""

    checkpoint: str = "latest"
    input: str | None = None
    methods: list[str] = field(default_factory=lambda: ["grad_cam", "integrated_gradients"])
    layer: str | None = None
    target: str | None = None
    count: int = 8
    images: int = 64
    steps: int = 32
    seed: int = 0
    output: str | None = None
    paths: Paths = field(default_factory=Paths)


@dataclass
class Audit:
    """What ``darkroom audit`` reads."""

    checkpoint: str = "latest"
    groups: str = "label"
    generators: list[str] | None = None
    data: dict[str, Any] | None = None
    split: str = "test"
    images: int = 10_000
    resamples: int = 1000
    confidence: float = 0.95
    tolerance: float = 0.05
    seed: int = 1
    output: str | None = None
    paths: Paths = field(default_factory=Paths)


@dataclass
class Judge:
    """What ``darkroom judge`` reads."""

    features: str | None = None
    data: dict[str, Any] | None = None
    seed: int = 0
    output: str | None = None
    paths: Paths = field(default_factory=Paths)


@dataclass
class Edit:
    """What ``darkroom edit`` reads."""

    operation: str | None = None
    checkpoint: str | None = None
    input: str | None = None
    output: str | None = None
    format: str = "keep"
    quality: int | None = None
    suffix: str = ""
    overwrite: bool = False
    skip_existing: bool = False
    strength: float = 1.0
    level: Any = "auto"
    mask: str | None = None
    mask_invert: bool = False
    mask_grow: int = 0
    mask_feather: int = 0
    tile: Any = "auto"
    self_ensemble: bool = False
    device: str = "auto"
    reference: str | None = None
    self_test: bool | None = None
    compare: bool = False
    report: str | None = None
    track: bool = True
    pictures: int = 8
    seed: int = 0
    frames: int = 10
    rotate: float = 0.0
    right: float = 0.0
    down: float = 0.0
    zoom: float = 1.0
    hide: str = "bottom"
    count: int = 8
    attribute: str | None = None
    range: list[float] = field(default_factory=lambda: [-2.0, 2.0])
    hold: list[str] = field(default_factory=list)
    direction: str | None = None
    other: str | None = None
    way: str = "slerp"
    steps: int | None = None
    residual: bool = False
    refine: int | None = None
    labels: Any = None
    prompt: Any = None
    truncation: float = 1.0
    method: str = "patches"
    style: Any = None
    weights: list[float] | None = None
    alpha: float = 1.0
    colour: str = "linear"
    preserve_color: bool = False
    levels: int = 4
    size: int | None = None
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

# What code passes to a part when it is built: never set in a file, and never missing.
_SUPPLIED: dict[str, frozenset[str]] = {
    "model": frozenset({"image_shape", "class_names", "vocabulary", "prompts", "actions"}),
    "caption_encoder": frozenset({"words"}),
    "generator": frozenset({"latent_dim", "image_shape", "condition_dim", "channels"}),
    "discriminator": frozenset({"image_shape", "condition_dim", "channels"}),
    "encoder": frozenset({"image_shape", "outputs", "condition_dim", "halvings"}),
    "decoder": frozenset({"latent_dim", "image_shape", "outputs", "condition_dim", "halvings"}),
    "prior": frozenset({"dim", "condition_dim", "size", "codes"}),
    "network": frozenset(
        {
            "channels",
            "channels_in",
            "scale",
            "classes",
            "size",
            "action_dim",
            "latents",
            "inputs",
            "condition_dim",
            "codes",
        }
    ),
    "refine": frozenset({"channels", "channels_in", "scale"}),
    "memory": frozenset({"inputs", "width"}),
    "adversarial": frozenset({"image_shape"}),
    "optimizer": frozenset({"params"}),
    "generator_optimizer": frozenset({"params"}),
    "discriminator_optimizer": frozenset({"params"}),
    "trainer": frozenset(
        {
            "logger",
            "callbacks",
            "plugins",
            "num_sanity_val_steps",
            "limit_val_batches",
            "use_distributed_sampler",
            "enable_checkpointing",
            "enable_progress_bar",
            "enable_model_summary",
        }
    ),
}


# --- ranges: what a number may be, by the name it goes by everywhere ------------------------------------------------


@dataclass(frozen=True)
class Range:
    """Finite numbers from ``low`` to ``high``; ``open_low`` and ``open_high`` leave the ends themselves out."""

    low: float
    high: float = math.inf
    open_low: bool = False
    open_high: bool = False

    def __contains__(self, value: float) -> bool:
        above = value > self.low if self.open_low else value >= self.low
        below = value < self.high if self.open_high else value <= self.high
        return above and below and math.isfinite(value)

    def __str__(self) -> str:
        above = f"more than {self.low}" if self.open_low else f"at least {self.low}"
        if self.high == math.inf:
            return above
        return f"{above} and {'less than' if self.open_high else 'at most'} {self.high}"


_POSITIVE, _NOT_NEGATIVE, _COUNT = Range(0, open_low=True), Range(0), Range(1)
_SHARE, _BELOW_ONE = Range(0, 1), Range(0, 1, open_high=True)
_WORDS = frozenset({"hold"})  # settings at the top that are words, and elsewhere a number
_RANGES: dict[str, Range] = {
    "nodes": _COUNT,
    "tasks": _COUNT,
    "gpus": _NOT_NEGATIVE,
    "cpus": _COUNT,
    "warning": Range(1),
    "num_nodes": _COUNT,
    "megabytes": _POSITIVE,
    "seed": Range(0, 2**32 - 1),  # what NumPy and Lightning take
    "split_seed": Range(0, 2**32 - 1),
    "lr": _POSITIVE,
    "betas": _BELOW_ONE,
    "eps": _POSITIVE,
    "weight_decay": _NOT_NEGATIVE,
    "momentum": _BELOW_ONE,
    "alpha": _BELOW_ONE,
    "images": _COUNT,
    "minutes": _POSITIVE,
    "log_every": _COUNT,
    "every": _COUNT,
    "every_minutes": _POSITIVE,
    "samples_every": _COUNT,
    "batch_size": _COUNT,
    "image_size": Range(4, 4096),
    "channels": Range(1, 4),
    "workers": Range(0, 256),
    "limit": _COUNT,
    "held_out": Range(2),
    "latent_dim": _COUNT,
    "dim": _COUNT,
    "word_dim": _COUNT,
    "width": _COUNT,
    "widths": _COUNT,
    "expansion": _COUNT,
    "group_width": _COUNT,
    "hidden_dim": _COUNT,
    "feature_dim": _COUNT,
    "dropout": _BELOW_ONE,
    "r1": _NOT_NEGATIVE,
    "r2": _NOT_NEGATIVE,
    "model.penalty.weight": _POSITIVE,
    "model.penalty.limit": _POSITIVE,
    "mismatch": _NOT_NEGATIVE,
    "near_misses": _NOT_NEGATIVE,
    "discriminator_steps": _COUNT,
    "probability": _SHARE,
    "translation": _SHARE,
    "cutout": _SHARE,
    "ramp": _NOT_NEGATIVE,
    "model.augmentation.target": _SHARE,
    "adaptation": _COUNT,
    "search.start": _POSITIVE,
    "search.factors": _POSITIVE,
    "trials": _COUNT,
    "sweep.workers": _COUNT,
    "seeds": _COUNT,
    "scores": _COUNT,
    "average_half_life": _NOT_NEGATIVE,
    "average_ramp": _NOT_NEGATIVE,
    "warmup": _SHARE,
    "hold": _SHARE,
    "end": Range(0, 1, open_low=True),
    "final": _NOT_NEGATIVE,
    "gradient_clip": _POSITIVE,
    "label_smoothing": _BELOW_ONE,
    "mixup": _NOT_NEGATIVE,
    "cutmix": _NOT_NEGATIVE,
    "mixed": _SHARE,
    "style_size": Range(8, 4096),
    "scales": _COUNT,
    "directions": _COUNT,
    "style_weight": _NOT_NEGATIVE,
    "content_weight": _NOT_NEGATIVE,
    "patch_weight": _NOT_NEGATIVE,
    "identity_weight": _NOT_NEGATIVE,
    "cycle_weight": _NOT_NEGATIVE,
    "autoencoding": _BELOW_ONE,
    "history": _NOT_NEGATIVE,
    "blocks": _COUNT,
    "model.encoder.blocks": _NOT_NEGATIVE,
    "model.decoder.blocks": _NOT_NEGATIVE,
    "hidden": _COUNT,
    "beta": _NOT_NEGATIVE,
    "free_bits": _NOT_NEGATIVE,
    "capacity": _NOT_NEGATIVE,
    "capacity_weight": _POSITIVE,
    "importance_samples": _COUNT,
    "latent_weight": _NOT_NEGATIVE,
    "codes": Range(2),
    "halvings": _COUNT,
    "commitment": _NOT_NEGATIVE,
    "inputs": _COUNT,
    "latents": _NOT_NEGATIVE,
    "divergence_weight": _NOT_NEGATIVE,
    "kernel": _COUNT,
    "reach": _COUNT,
    "parts": _COUNT,
    "futures": _COUNT,
    "codebook_half_life": _POSITIVE,
    "components": _COUNT,
    "flow_steps": _NOT_NEGATIVE,
    "sigma": _POSITIVE,
    "levels": Range(2, 256),
    "layers": _COUNT,
    "vertical_width": _COUNT,
    "vertical_layers": _COUNT,
    "cell": _COUNT,
    "least": _NOT_NEGATIVE,
    "most": _NOT_NEGATIVE,
    "share": _BELOW_ONE,
    "patch": _COUNT,
    "model.degradation.scale": Range(1, 4),
    "unshuffle": _COUNT,
    "window": _COUNT,
    "middle": _NOT_NEGATIVE,
    "knots": _COUNT,
    "side": Range(16),
    "model.degradation.longest": Range(3, 31),
    "model.degradation.motion": _SHARE,
    "model.degradation.noise": _NOT_NEGATIVE,
    "model.degradation.strength": Range(0, 1, open_low=True),
    "model.degradation.lines": _NOT_NEGATIVE,
    "model.degradation.specks": _NOT_NEGATIVE,
    "model.degradation.boxes": _SHARE,
    "model.degradation.widest": Range(1),
    "model.adversarial.weight": _POSITIVE,
    "model.loss.psnr": _NOT_NEGATIVE,
    "model.loss.frequency": _NOT_NEGATIVE,
    "patches": _COUNT,
    "nll_samples": _COUNT,
    "nll_images": _COUNT,
    "temperature": _POSITIVE,
    "count": _COUNT,
    "steps": _COUNT,
    "resamples": Range(100),
    "confidence": Range(0.5, 1, open_high=True),
    "tolerance": Range(0, 1),
    "truncation": Range(0, 10, open_low=True),
    "test_images": _COUNT,
    "kid_subsets": _COUNT,
    "kid_subset_size": Range(2),
    "splits": _COUNT,
    "neighbours": _COUNT,
    "precision_neighbours": _COUNT,
    "saving.samples": Range(0),
    "shift": _NOT_NEGATIVE,
    "augment.rotate": Range(0, 180),
    "augment.zoom": _BELOW_ONE,
    "source.rotate": Range(0, 180),
    "source.zoom": Range(1),
    "source.frames": Range(2),
    "frames": _COUNT,
    "zoom": _POSITIVE,
    "canvas": Range(8, 4096),
    "picture_size": Range(4, 4096),
    "digits": _COUNT,
    "digit_size": Range(4, 4096),
    "speed": _NOT_NEGATIVE,
    "stride": _COUNT,
    "erase": _SHARE,
    "erase_area": Range(0, 1, open_low=True),
    "data.augment.blur": _SHARE,
    "data.augment.jpeg": _SHARE,
    "data.augment.noise": _SHARE,
    "max_corrupt": _SHARE,
    "grace": _NOT_NEGATIVE,
    "patience": _COUNT,
    "worse": Range(1, open_low=True),
    "urgent": Range(1, open_low=True),
    "lost": _SHARE,
    "duplicates": _SHARE,
    "overfit": _NOT_NEGATIVE,
    "copies": _SHARE,
    "quality": Range(1, 100),
    "strength": _SHARE,
    "edit.alpha": _SHARE,
    "edit.levels": _COUNT,
    "edit.steps": _COUNT,
    "edit.size": Range(16),
    "port": Range(1, 65_535),
    "report.limit": _COUNT,
    "mask_grow": _NOT_NEGATIVE,
    "mask_feather": _NOT_NEGATIVE,
    "pictures": _NOT_NEGATIVE,
}
_CHOICES: dict[str, tuple[str, ...]] = {
    "precision": ("32", "bf16-mixed", "16-mixed", "auto"),
    "split": ("train", "val", "test"),
    "compare.format": ("table", "json", "html"),
    "edit.format": ("keep", "png", "jpeg", "webp", "tiff"),
    "engine": ("processes", "ray"),
}


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
    for path, value in _leaves(config):
        _check_value(path, value, command)
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
    for place, value in _leaves(node, path):
        _check_value(place, value, "train")


def check_recorded(config: Node, origin: str) -> None:
    """Refuse a configuration that was read from a file and not composed, so that nothing has looked at its types yet.

    Raises:
        UserError: something in it is of another type than the schema says.
    """
    from pydantic import TypeAdapter, ValidationError

    for key in (key.name for key in fields(Train) if key.name not in _LATER):
        if key not in config:
            raise UserError(f"The configuration in {origin} cannot be used: '{key}' is missing.")
    try:
        TypeAdapter(Train).validate_json(json.dumps(config), strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"])) or "it"
        raise UserError(
            f"The configuration in {origin} cannot be used: '{place}' is wrong ({first['msg']})."
        ) from error
    except (TypeError, ValueError) as error:
        raise UserError(f"The configuration in {origin} cannot be used ({error}).") from error


def _check_schema(node: Mapping[str, Any], schema: type, path: str) -> None:
    known = {f.name: f for f in fields(schema)}
    for key, value in node.items():
        if key not in known:
            raise UserError(f"There is no setting '{path}{key}'{did_you_mean(key, [*known, *_GROUPS])}.")
        kind = known[key].type
        if isinstance(kind, type) and is_dataclass(kind) and isinstance(value, Mapping):
            _check_schema(value, kind, f"{path}{key}.")
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
    supplied = _SUPPLIED.get(path.rpartition(".")[2], frozenset())
    for key, value in given.items():
        if key in supplied:
            raise UserError(f"'{path}.{key}' is not yours to set: the lab passes it to {target} itself.")
        if key not in accepted.parameters:
            if accepted.open:
                continue
            known = [name for name in accepted.parameters if name not in supplied]
            hint = did_you_mean(key, known) or f" (it takes {', '.join(known)})"
            raise UserError(f"There is no setting '{path}.{key}': {target} takes no such argument{hint}.")
        annotation = accepted.parameters[key].annotation
        _check_annotation(f"{path}.{key}", value, annotation)
        if target.startswith("darkroom."):  # elsewhere a capital may be an alias of texts and numbers
            _check_part_there(f"{path}.{key}", value, annotation)
    if not node.get("_partial_"):
        for name, parameter in accepted.parameters.items():
            if parameter.required and name in supplied and "." in path:
                raise UserError(f"'{path}' lacks _partial_: true, since the lab itself passes '{name}' to {target}.")
            if parameter.required and name not in given and name not in supplied:
                raise UserError(f"'{path}.{name}' is missing: {target} needs it; type {path}.{name}=<value>.")


_PLAIN: dict[str, tuple[type, ...]] = {"int": (int,), "float": (int, float), "str": (str,), "bool": (bool,)}
_SPOKEN = {"int": "a whole number", "float": "a number", "str": "a text", "bool": "true or false"}


def _check_annotation(path: str, value: Any, annotation: str) -> None:
    """Compare a value with an annotation made of int, float, str, bool, Literal and None; others are let through."""
    try:
        options = _union(ast.parse(annotation, mode="eval").body) if annotation else []
    except SyntaxError:
        return
    spoken: list[str] = []
    for option in options:
        if isinstance(option, ast.Constant) and option.value is None:
            if value is None:
                return
        elif isinstance(option, ast.Name) and option.id in _PLAIN:
            if isinstance(value, _PLAIN[option.id]) and (option.id == "bool" or not isinstance(value, bool)):
                return
            spoken.append(_SPOKEN[option.id])
        elif isinstance(option, ast.Subscript) and ast.unparse(option.value) == "Literal":
            elements = option.slice.elts if isinstance(option.slice, ast.Tuple) else [option.slice]
            choices = [element.value for element in elements if isinstance(element, ast.Constant)]
            if value in choices:
                return
            spoken.append(f"one of {', '.join(str(choice) for choice in choices)}")
            spoken[-1] += did_you_mean(str(value), [str(choice) for choice in choices])
        else:
            return
    if spoken:
        raise UserError(f"'{path}' is {value!r}, but {' or '.join(spoken)} was expected.")


_NOT_PARTS = ("Any", "Path", "Mapping", "Sequence", "Iterable", "Collection", "Literal")


def _check_part_there(path: str, value: Any, annotation: str) -> None:
    """Refuse numbers and plain settings where an annotation names nothing but classes; a text may be of an alias."""
    try:
        options = _union(ast.parse(annotation, mode="eval").body) if annotation else []
    except SyntaxError:
        return
    classes = [option for option in options if not (isinstance(option, ast.Constant) and option.value is None)]
    names = [ast.unparse(option).partition("[")[0].rpartition(".")[2] for option in classes]
    if not names or not all(name[:1].isupper() and name not in _NOT_PARTS for name in names):
        return
    if isinstance(value, str) or (value is None and len(classes) < len(options)):
        return
    if not isinstance(value, Mapping) or "_target_" not in value:
        raise UserError(f"'{path}' is {str(value)[:80]!r}, but a part was expected, settings with a _target_.")


def _union(node: ast.expr) -> list[ast.expr]:
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        return [*_union(node.left), *_union(node.right)]
    return [node]


def _range(path: str, command: str = "") -> Range | None:
    """Return what a number may be: by its full name or, where nothing is known of that, by as much as is known."""
    if path in _WORDS:
        return None
    parts = [command, *path.split(".")]
    names = (".".join(parts[start:]) for start in range(len(parts)))
    return next((_RANGES[name] for name in names if name in _RANGES), None)


def _check_value(path: str, value: Any, command: str) -> None:
    name = path.rpartition(".")[2]
    choices = _CHOICES.get(name) or _CHOICES.get(f"{command}.{name}")
    if choices and value is not None and "_target_" not in name:
        if "." not in path and str(value) not in choices:
            raise UserError(f"'{path}' is '{value}', but one of {', '.join(choices)} was expected"
                            f"{did_you_mean(str(value), choices)}.")  # fmt: skip
    elif name == "betas" and not (isinstance(value, list) and len(value) == 2):
        raise UserError(f"'{path}' is {value!r}, but two numbers were expected: type {path}=[0.9,0.999].")
    elif expected := _range(path, command):
        for number in value if isinstance(value, list) else [value]:
            if isinstance(number, str):
                raise UserError(f"'{path}' is '{number}', but a number was expected.")
            if isinstance(number, int | float) and not isinstance(number, bool) and number not in expected:
                raise UserError(f"'{path}' is {number}, but a number of {expected} was expected.")


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
    if penalty in ("ZeroCentred", "OneCentred", "recommended") and normalization == "batch":
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
                        " search.objectives={val/fid:min}.")  # fmt: skip
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
        if sentence := _cause(error, UserError):
            raise sentence from None
        raise
    return part(**supplied)


# Where the classes live that a file from elsewhere may ask for; DARKROOM_PACKAGES adds more, separated by commas.
_TRUSTED = ("darkroom", "torch.nn", "torch.optim", "pytorch_lightning")


def refuse_strangers(node: Mapping[str, Any], origin: str) -> None:
    """Refuse a configuration that came with a file and would build anything but parts of a model.

    A ``_target_`` may name any callable of any package, so a checkpoint from elsewhere could run whatever it likes
    although nothing in it is unpickled.

    Raises:
        UserError: a target outside the packages that parts come from.
    """
    own = [name.strip() for name in os.environ.get("DARKROOM_PACKAGES", "").split(",") if name.strip()]
    for path, part in _targets(node):
        if not str(part["_target_"]).startswith(tuple(f"{name}." for name in (*_TRUSTED, *own))):
            raise UserError(
                f"{origin} asks for {part['_target_']} as its '{path}', which is no part of this lab: if you trust the"
                f" file, type DARKROOM_PACKAGES={str(part['_target_']).partition('.')[0]} before the command."
            )


def _coerced(node: Any) -> Any:
    """Return the node with ``betas`` as floats: YAML reads ``[0, 0.99]`` as an int, which PyTorch's Adam refuses."""
    if isinstance(node, Mapping):
        return {
            key: [float(beta) for beta in value] if key == "betas" and isinstance(value, list) else _coerced(value)
            for key, value in node.items()
        }
    return node


# Settings that change where or how fast a run goes, never what comes out.
_NOT_IN_DIGEST = ("name", "paths", "tracking", "saving", "resume", "fork", "search", "submit", "output")


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
            os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then raises what it would print, and we say it in a sentence
            sys.argv[1:] = [_kept_as_text(_renamed(name, argument)) for argument in sys.argv[1:]]
            outcome = _Outcome()
            program = hydra.main(version_base="1.3", config_path=str(paths.conf()), config_name=name)(
                functools.partial(_run, function, name, outcome)
            )
            typed = Typed(name)
            try:
                register()
                typed = Typed.parse(name, sys.argv[1:])
                sys.argv[1:] = typed.reordered(sys.argv[1:])
                if typed.grid:
                    _check_points(typed)
                program()
            except UserError as error:
                outcome.refuse(name, str(error))
            except (*COMPOSITION_ERRORS, ValueError, AssertionError) as error:
                if outcome.composed:
                    raise
                outcome.refuse(name, explain(error, typed))
            sys.exit(outcome.code)

        return main

    return wrap


@dataclass(frozen=True)
class Typed:
    """What stood on the line after ``darkroom``: a command, its overrides, and a folder of further configurations."""

    command: str
    overrides: list[str] = field(default_factory=list)
    folder: Path | None = None
    grid: bool = False

    @classmethod
    def parse(cls, command: str, arguments: list[str]) -> "Typed":
        """Read the arguments as Hydra will.

        Raises:
            UserError: an option that Hydra does not have.
        """
        parser = get_args_parser()
        known = [option for action in parser._actions for option in action.option_strings]

        def refuse(message: str) -> None:
            word = next((word for word in message.split() if word.startswith("-")), "")
            hint = did_you_mean(word, known) if "unrecognized" in message else ""
            raise UserError(f"{message[:1].upper()}{message[1:]}{hint}. Try: darkroom {command} --hydra-help")

        parser.error = refuse  # type: ignore[assignment,method-assign]  # argparse would print its usage and exit
        parsed = parser.parse_intermixed_args(arguments)
        for override in parsed.overrides:
            _check_size(override)
        folder = Path(parsed.config_dir) if parsed.config_dir else None
        return cls(command, parsed.overrides, folder, parsed.multirun and not parsed.cfg and not parsed.info)

    def reordered(self, arguments: list[str]) -> list[str]:
        """Return the arguments with options first: Hydra refuses ``model=gan -m seed=0,1``."""
        return [argument for argument in arguments if argument not in self.overrides] + self.overrides

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

# A run id may look like a number, 12e4 say; in these settings it never is one.
_PATHS = ("input", "output", "reference", "mask", "report")
_NAMES = (
    *("checkpoint", "run", "runs", "resume", "fork", "init", "name"),
    *("generators", "data.source.generator", "features", "metrics.judge"),
)


def _kept_as_text(argument: str) -> str:
    """Return an override with what is text in quotes, so that Hydra reads text.

    That is a number which is the beginning of a run's id, a prompt, which may hold commas and apostrophes, and the name
    of a file, which may hold brackets and spaces. Commas in one stay what they are, so that a grid may go over files.
    """
    key, _, value = argument.partition("=")
    if key == "prompt" and value not in ("", "null") and value[0] not in "[\"'":
        return "prompt='{}'".format(value.replace("\\", "\\\\").replace("'", "\\'"))
    if key in _PATHS and re.search(r"[()#&'!;=\[\]{} ]", value) and not re.match(r"[\[\"']|.*(,|\$\{)", value):
        return "{}='{}'".format(key, value.replace("\\", "\\\\").replace("'", "\\'"))
    if key not in _NAMES:
        return argument
    return re.sub(r"(?<=[=\[,])(\d+(?:[eE]\d+)?)(?=[,\]]|$)", r"'\1'", argument)


def _check_points(typed: Typed) -> None:
    """Check every point of a grid before the first leaves a run.

    What a glob or another sweeper than Hydra's own would choose is not known yet: those points are checked in turn.
    """
    overrides = OverridesParser.create().parse_overrides(typed.overrides)
    if any(override.key_or_group == "hydra/sweeper" or isinstance(override.value(), Glob) for override in overrides):
        return
    choices = [
        [f"{override.get_key_element()}={value}" for value in override.sweep_string_iterator()]
        if override.is_sweep_override()
        else [override.input_line or ""]
        for override in overrides
    ]
    for point in itertools.product(*choices):
        check(compose(typed.command, list(point), overlay=typed.folder), typed.command, grid=True)


class _Outcome:
    """The exit code of a command, the worst of all points of a grid."""

    def __init__(self) -> None:
        self.code = 0
        self.composed = False  # from then on an error is the command's, no longer the configuration's

    def refuse(self, name: str, sentence: str) -> None:
        print(f"darkroom {name}: {sentence}", file=sys.stderr)
        if os.environ.get("DARKROOM_DEBUG"):  # what a sentence was made of, for whoever looks for its cause
            traceback.print_exc()
        self.code = max(self.code, 2)


def _run(function: Callable[[Node], None], name: str, outcome: _Outcome, composed: DictConfig) -> None:
    """Run one command once; in a grid, a point that fails is reported and the others go on."""
    try:
        config = resolve(composed)
        check(config, name, in_grid())
        outcome.composed = True
        function(config)
    except UserError as error:
        outcome.refuse(name, str(error))
    except (KeyboardInterrupt, Interrupted) as interruption:
        named = str(interruption) if isinstance(interruption, Interrupted) else "SIGINT"
        outcome.code = 128 + signal.Signals[named].value
        if in_grid():
            raise
    except Exception:
        if not in_grid():
            raise
        traceback.print_exc()
        outcome.code = max(outcome.code, 1)


class CheckedFiles(FileConfigSource):
    """The files of conf/ and of a folder of one's own, each looked at before Hydra makes settings of it."""

    def load_config(self, config_path: str) -> ConfigResult:
        """Return what Hydra makes of a file.

        Raises:
            UserError: it is not YAML, or far too deep or too large.
        """
        file = Path(self.path) / self._normalize_file_name(config_path)
        with documents.understood(file):
            if file.is_file():
                documents.check_yaml(file)
            return super().load_config(config_path)


def register() -> None:
    """Make the schemas known to Hydra as ``schema/<command>``, and ``${darkroom.grids:}``, where it notes its grids."""
    OmegaConf.register_new_resolver("darkroom.grids", lambda: str(paths.runs() / "grids"), replace=True)
    # Where the strength of R1 and R2 begins: 1 for MNIST in batches of 64, and between the two ends of four of the six
    # schedules of Huang et al. 2024. StyleGAN2-ADA has 0.0002 for 0.08, for large pictures.
    OmegaConf.register_new_resolver("darkroom.gamma", lambda side, batch: 0.08 * side**2 / batch, replace=True)
    Plugins.instance()  # which makes Hydra's own reader known, in whose place this one comes
    SourcesRegistry.instance().types["file"] = CheckedFiles
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
    register()
    GlobalHydra.instance().clear()  # of the configuration that the command itself was started with
    searched = [f"hydra.searchpath=[file://{overlay.resolve()}]"] if overlay else []
    with hydra.initialize_config_dir(str(paths.conf()), version_base="1.3"):
        return hydra.compose(name, [*(_renamed(name, override) for override in overrides), *searched], **more)


def in_grid() -> bool:
    """Say whether this process runs one point of a grid (``-m``)."""
    return HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN


def task_overrides() -> list[str]:
    """Return what was typed after the command, for this point of the grid."""
    return list(HydraConfig.get().overrides.task) if HydraConfig.initialized() else []


def typed_line() -> list[str]:
    """Return what was typed after the command with the folder of one's own configurations, so as to type it again."""
    folder = typed_folder()
    return [*([f"--config-dir={folder}"] if folder else []), *task_overrides()]


def typed_keys() -> set[str]:
    """Return the settings and groups that were typed, ``{"budget.images", "trainer"}``."""
    return {override.lstrip("+~").partition("=")[0].partition("@")[0] for override in task_overrides()}


# What only watches, queues or exports a run, and which a run may be older than.
_LATER = ("sentinel", "submit", "output")
_FORMER = ("search",)  # what older runs recorded, and which changed nothing about them


def brought_up(recorded: Node, current: Node) -> Node:
    """Return the recorded configuration of a run with what it is older than, taken from a current one."""
    kept = {key: value for key, value in recorded.items() if key not in _FORMER}
    return {key: current[key] for key in _LATER} | kept


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
    if inner := _cause(error, OmegaConfBaseException):
        if isinstance(inner, ConfigKeyError | ConfigAttributeError):
            return _about_key(str(inner.full_key or inner.key), typed, where)
        return _about_value(inner, where)
    return " ".join(text.split())


_Error = TypeVar("_Error", bound=BaseException)


def _cause(error: BaseException | None, kind: type[_Error]) -> _Error | None:
    """Return the first error of a kind in a chain of causes."""
    while error is not None:
        if isinstance(error, kind):
            return error
        error = error.__cause__ or error.__context__
    return None


def _about_grammar(override: str, text: str, typed: Typed) -> str:
    if "=" not in override:
        if override in options("experiment", typed.folders()):
            return f"'{override}' stands alone: type experiment={override}."
        if override in SCHEMAS:
            return f"'{override}' stands behind another command: type darkroom {override}."
        return f"'{override}' has no value: type {override.lstrip('+')}=<value>."
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
    return key in accepted.parameters and key not in _SUPPLIED.get(name, ())


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
