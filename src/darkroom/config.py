"""Configurations: what may stand in one, whether it is right, and how it becomes objects.

The only place that calls Hydra and OmegaConf. Importing it, and refusing a bad configuration, loads nothing heavy.
"""

import ast
import copy
import functools
import hashlib
import json
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any

import hydra
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from darkroom import paths
from darkroom.errors import Interrupted, UserError, did_you_mean, nearest
from darkroom.signatures import TargetError, signature

Node = dict[str, Any]
COMPOSITION_ERRORS = (HydraException, OmegaConfBaseException)

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
class Train:
    """What ``darkroom train`` reads."""

    data: dict[str, Any] = field(default_factory=dict)
    model: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    trainer: dict[str, Any] = field(default_factory=dict)
    seed: int = 0
    name: str | None = None
    precision: str = "32"
    budget: Budget = field(default_factory=Budget)
    saving: Saving = field(default_factory=Saving)
    resume: str | None = None
    fork: str | None = None
    init: str | None = None
    paths: Paths = field(default_factory=Paths)
    tracking: Tracking = field(default_factory=Tracking)


@dataclass
class Evaluate:
    """What ``darkroom evaluate`` reads."""

    checkpoint: str | None = None
    samples: str | None = None
    data: dict[str, Any] | None = None
    metrics: dict[str, Any] | None = None
    split: str = "test"
    seed: int = 0
    paths: Paths = field(default_factory=Paths)


@dataclass
class Generate:
    """What ``darkroom generate`` reads."""

    checkpoint: str = "latest"
    count: int = 64
    seed: int = 0
    labels: str | None = None
    output: str | None = None
    truncation: float = 1.0


@dataclass
class Compare:
    """What ``darkroom compare`` reads."""

    runs: list[str] | None = None
    experiment: str | None = None
    format: str = "table"
    output: str | None = None


@dataclass
class Check:
    """What ``darkroom check`` reads."""

    folder: str | None = None


@dataclass
class Reproduce:
    """What ``darkroom reproduce`` reads."""

    run: str = "latest"
    paths: Paths = field(default_factory=Paths)


SCHEMAS: dict[str, type] = {
    "train": Train,
    "evaluate": Evaluate,
    "generate": Generate,
    "compare": Compare,
    "check": Check,
    "reproduce": Reproduce,
}

# Groups that a command adds to its own keys, for "did you mean".
_GROUPS = ("data", "model", "network", "optimizer", "schedule", "metrics", "trainer", "experiment", "profile")

# What code passes to a part when it is built: never set in a file, and never missing.
_SUPPLIED: dict[str, frozenset[str]] = {
    "model": frozenset({"image_shape", "class_names"}),
    "generator": frozenset({"latent_dim", "image_shape", "classes"}),
    "discriminator": frozenset({"image_shape", "classes"}),
    "network": frozenset({"channels", "classes"}),
    "optimizer": frozenset({"params"}),
    "generator_optimizer": frozenset({"params"}),
    "discriminator_optimizer": frozenset({"params"}),
    "trainer": frozenset({"logger", "callbacks", "plugins"}),
}


# --- ranges: what a number may be, by the name it goes by everywhere ------------------------------------------------


@dataclass(frozen=True)
class Range:
    """Numbers from ``low`` to ``high``; ``open_low`` leaves ``low`` itself out."""

    low: float = -float("inf")
    high: float = float("inf")
    open_low: bool = False

    def __contains__(self, value: float) -> bool:
        return (value > self.low if self.open_low else value >= self.low) and value <= self.high

    def __str__(self) -> str:
        if self.high == float("inf"):
            return f"{'more than' if self.open_low else 'at least'} {self.low:g}"
        return f"{'more than' if self.open_low else 'from'} {self.low:g} {'and at most' if self.open_low else 'to'} {self.high:g}"


_POSITIVE, _NOT_NEGATIVE, _COUNT, _SHARE = Range(0, open_low=True), Range(0), Range(1), Range(0, 1)
_RANGES: dict[str, Range] = {
    "seed": Range(0, 2**63 - 1),
    "lr": _POSITIVE,
    "betas": _SHARE,
    "eps": _POSITIVE,
    "weight_decay": _NOT_NEGATIVE,
    "momentum": _SHARE,
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
    "latent_dim": _COUNT,
    "width": _COUNT,
    "depth": _COUNT,
    "feature_dim": _COUNT,
    "dropout": Range(0, 0.99),
    "r1": _NOT_NEGATIVE,
    "r2": _NOT_NEGATIVE,
    "half_life": _NOT_NEGATIVE,
    "ramp": _SHARE,
    "warmup": _SHARE,
    "final": _NOT_NEGATIVE,
    "gradient_clip": _POSITIVE,
    "label_smoothing": Range(0, 0.99),
    "count": _COUNT,
    "truncation": Range(0, 10, open_low=True),
    "neighbours": _COUNT,
    "max_corrupt": _SHARE,
}
_CHOICES: dict[str, tuple[str, ...]] = {
    "precision": ("32", "bf16-mixed", "16-mixed"),
    "split": ("train", "val", "test"),
    "format": ("table", "json", "html"),
}


# --- check: everything that can be known before anything is loaded --------------------------------------------------


def check(config: Node, command: str) -> None:
    """Refuse a composed configuration that could not run.

    Raises:
        UserError: an unknown, missing or misspelt key, a value of the wrong type or out of range, or keys that
            contradict each other.
    """
    _check_schema(config, SCHEMAS[command], "")
    for path, node in _targets(config):
        _check_target(path, node)
    for path, value in _leaves(config):
        _check_value(path, value)
    if command == "train":
        _check_training(config)


def _check_schema(node: Mapping[str, Any], schema: type, path: str) -> None:
    known = {f.name: f for f in fields(schema)}
    for key, value in node.items():
        if key not in known:
            raise UserError(f"There is no setting '{path}{key}'{did_you_mean(key, [*known, *_GROUPS])}.")
        kind = known[key].type
        if isinstance(kind, type) and is_dataclass(kind) and isinstance(value, Mapping):
            _check_schema(value, kind, f"{path}{key}.")


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
        _check_annotation(f"{path}.{key}", value, accepted.parameters[key].annotation)
    if not node.get("_partial_"):
        for name, parameter in accepted.parameters.items():
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


def _union(node: ast.expr) -> list[ast.expr]:
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        return [*_union(node.left), *_union(node.right)]
    return [node]


def _check_value(path: str, value: Any) -> None:
    name = path.rpartition(".")[2]
    if name in _CHOICES and value is not None and "_target_" not in name:
        if "." not in path and str(value) not in _CHOICES[name]:
            choices = _CHOICES[name]
            raise UserError(f"'{path}' is '{value}', but one of {', '.join(choices)} was expected"
                            f"{did_you_mean(str(value), choices)}.")  # fmt: skip
    elif name in _RANGES:
        for number in value if isinstance(value, list) else [value]:
            if isinstance(number, int | float) and not isinstance(number, bool) and number not in _RANGES[name]:
                raise UserError(f"'{path}' is {number:g}, but a number {_RANGES[name]} was expected.")


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


def _check_training(config: Node) -> None:
    """Refuse keys that are each fine and together are not."""
    if (config["budget"]["images"], config["budget"]["minutes"]) == (None, None):
        raise UserError("There is no budget: type budget.images=<real images> or budget.minutes=<minutes>.")
    origins = [key for key in ("resume", "fork", "init") if config[key]]
    if len(origins) > 1:
        raise UserError(f"{' and '.join(origins)} were both given: a run has one origin, so keep one of them.")
    for key, instead in _NOT_THE_TRAINERS.items():
        if config["trainer"].get(key) is not None:
            raise UserError(f"'trainer.{key}' would not do what it says here: use {instead}.")
    model = config["model"]
    penalised = model.get("r1", 0) or model.get("r2", 0)
    if penalised and model.get("discriminator", {}).get("normalization") == "batch":
        raise UserError(
            "model.discriminator.normalization=batch mixes the images of a batch, which the per-image penalties"
            " model.r1 and model.r2 cannot bear: type model.r1=0 model.r2=0 or model.discriminator.normalization=none."
        )
    if in_grid() and _several_devices(config["trainer"]):
        raise UserError(
            "A grid (-m) and several devices do not mix: each device would start the whole grid again; run the points"
            " one by one, or use trainer.devices=1."
        )


def _several_devices(trainer: Node) -> bool:
    devices = trainer.get("devices", 1)
    return (isinstance(devices, list) and len(devices) > 1) or (str(devices).isdigit() and int(devices) > 1)


# --- build: from a checked configuration to objects ------------------------------------------------------------------


def build(node: Mapping[str, Any], **supplied: Any) -> Any:
    """Build the object a ``_target_`` node describes; ``supplied`` are the parts that code passes.

    The only caller of Hydra's ``instantiate``. The parts are passed beside Hydra, which would copy them.
    """
    try:
        part = hydra.utils.instantiate({**_coerced(node), "_partial_": True}, _convert_="all")
    except hydra.errors.InstantiationException as error:
        if isinstance(error.__cause__, UserError):
            raise error.__cause__ from None
        raise
    return part(**supplied)


def partial(node: Mapping[str, Any]) -> Callable[..., Any]:
    """Return a callable that builds the node when the missing parts are passed to it."""
    return functools.partial(build, node)


def _coerced(node: Any) -> Any:
    """Return the node with ``betas`` as floats: YAML reads ``[0, 0.99]`` as an int, which PyTorch's Adam refuses."""
    if isinstance(node, Mapping):
        return {
            key: [float(beta) for beta in value] if key == "betas" and isinstance(value, list) else _coerced(value)
            for key, value in node.items()
        }
    return node


# Settings that change where or how fast a run goes, never what comes out.
_NOT_IN_DIGEST = ("name", "paths", "tracking", "saving", "resume", "fork")


def digest(config: Mapping[str, Any]) -> str:
    """Return a name for what a configuration computes: equal digests, equal results."""
    kept = {key: value for key, value in config.items() if key not in _NOT_IN_DIGEST}
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()[:16]


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
            register()
            os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then raises what it would print, and we say it in a sentence
            outcome = _Outcome()
            program = hydra.main(version_base="1.3", config_path=str(paths.conf()), config_name=name)(
                functools.partial(_run, function, name, outcome)
            )
            try:
                program()
            except UserError as error:
                outcome.refuse(name, str(error))
            except COMPOSITION_ERRORS as error:
                outcome.refuse(name, explain(error, name, _overrides(sys.argv[1:])))
            sys.exit(outcome.code)

        return main

    return wrap


class _Outcome:
    """The exit code of a command, the worst of all points of a grid."""

    def __init__(self) -> None:
        self.code = 0

    def refuse(self, name: str, sentence: str) -> None:
        print(f"darkroom {name}: {sentence}", file=sys.stderr)
        self.code = max(self.code, 2)


def _run(function: Callable[[Node], None], name: str, outcome: _Outcome, composed: DictConfig) -> None:
    """Run one command once; in a grid, a point that fails is reported and the others go on."""
    try:
        config = resolve(composed)
        check(config, name)
        function(config)
    except UserError as error:
        outcome.refuse(name, str(error))
    except (KeyboardInterrupt, Interrupted) as interruption:
        outcome.code = 143 if str(interruption) == "SIGTERM" else 130
        if in_grid():
            raise
    except Exception:
        if not in_grid():
            raise
        traceback.print_exc()
        outcome.code = max(outcome.code, 1)


def register() -> None:
    """Make the schemas known to Hydra as ``schema/<command>``."""
    store = ConfigStore.instance()
    for name, schema in SCHEMAS.items():
        store.store(group="schema", name=name, node=schema, package="_global_")


def resolve(composed: DictConfig) -> Node:
    """Return a composed configuration as plain containers, every interpolation filled in."""
    try:
        plain = OmegaConf.to_container(composed, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        raise UserError(f"The configuration cannot be filled in: {str(error).splitlines()[0]}") from None
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}


def compose(name: str, overrides: list[str], folder: Path | None = None) -> Node:
    """Return the plain configuration that ``darkroom <name> <overrides>`` would use."""
    register()
    with hydra.initialize_config_dir(str(folder or paths.conf()), version_base="1.3"):
        return resolve(hydra.compose(name, overrides))


def leave_hydra() -> None:
    """Let go of the configuration a command was started with, so that others can be composed in its place."""
    GlobalHydra.instance().clear()


def in_grid() -> bool:
    """Say whether this process runs one point of a grid (``-m``)."""
    return (
        HydraConfig.initialized() and HydraConfig.get().mode is not None and HydraConfig.get().mode.name == "MULTIRUN"
    )


def task_overrides() -> list[str]:
    """Return what was typed after the command, for this point of the grid."""
    return list(HydraConfig.get().overrides.task) if HydraConfig.initialized() else []


def typed_keys() -> set[str]:
    """Return the settings and groups that were typed, ``{"budget.images", "trainer"}``."""
    return {override.lstrip("+~").partition("=")[0].partition("@")[0] for override in task_overrides()}


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
                f"'{key}' cannot be changed when a run goes on: it keeps its own configuration, of which single settings"
                " (and the groups data, trainer, metrics) can be replaced."
            )
        target[last] = source[last]
    return result


def group_choice(group: str) -> str | None:
    """Return which file of a group was chosen, ``gan/digits`` for ``experiment=gan/digits``."""
    return HydraConfig.get().runtime.choices.get(group) if HydraConfig.initialized() else None


# --- what Hydra says, in one sentence --------------------------------------------------------------------------------


def _overrides(arguments: list[str]) -> list[str]:
    return [argument for argument in arguments if not argument.startswith("-")]


def options(group: str) -> list[str]:
    """Return every file of a configuration group, ``gan/digits`` and the like."""
    folder = paths.conf() / group
    return sorted(str(file.relative_to(folder).with_suffix("")) for file in folder.rglob("*.yaml"))


def explain(error: BaseException, name: str, overrides: list[str]) -> str:
    """Return Hydra's message as one sentence with the nearest thing that exists."""
    text = str(error)
    if found := re.search(r"Could not find '([^']+)'", text):
        missing = found.group(1)
        group, _, option = missing.partition("/")
        if known := options(group):
            return f"There is no {group} '{option}': the nearest are {nearest(option, known)}."
        return f"There is no configuration '{missing}' in {paths.conf()}."
    if found := re.search(r"Could not override '([^']+)'", text):
        key = found.group(1).partition("@")[0]
        return f"There is no setting '{key}'{did_you_mean(key, _known_keys(name, overrides, key))}."
    if found := re.search(r"Key '([^']+)' (?:is not in struct|not in '(\w+)')", text):
        full = re.search(r"full_key: (\S+)", text)
        key = full.group(1) if full else found.group(1)
        return f"There is no setting '{key}'{did_you_mean(key, _known_keys(name, overrides, key))}."
    if found := re.search(r"Value '(.*)' of type '(\w+)' could not be converted to (\w+)", text):
        full = re.search(r"full_key: (\S+)", text)
        kind = {"Integer": "a whole number", "Float": "a number", "Boolean": "true or false"}.get(found.group(3))
        return f"'{full.group(1) if full else '?'}' is '{found.group(1)}', but {kind or found.group(3)} was expected."
    if found := re.search(r"no viable alternative|mismatched input|extraneous input|token recognition error", text):
        typed = re.search(r"parsing '?(\S+?)'?[.:\s]", text)
        return (
            f"'{typed.group(1) if typed else ' '.join(overrides)}' cannot be read as key=value: {text.splitlines()[0]}"
        )
    return " ".join(text.split())


def _known_keys(name: str, overrides: list[str], bad: str) -> list[str]:
    """Return the keys that a configuration has when the overrides of the bad key are left out."""
    kept = [override for override in overrides if override.lstrip("+~").partition("=")[0] != bad]
    try:
        known = flatten(compose(name, kept))
    except Exception:  # the rest of the line may be wrong too: then only the schema is known
        known = {field.name: None for field in fields(SCHEMAS[name])}
    parents = {path.rsplit(".", depth)[0] for path in known for depth in range(1, path.count(".") + 1)}
    return [*known, *parents, *_GROUPS]
