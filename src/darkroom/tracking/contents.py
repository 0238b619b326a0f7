"""What must stand in a checkpoint for any command to use it, and what it takes for a run to go on from one.

Both are declared here, checked where a checkpoint is opened, and relied on everywhere else.
"""

import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import torch
from packaging.version import InvalidVersion, Version
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor

from darkroom import streams
from darkroom.errors import UserError

_SHOWN = 60  # characters of a wrong value that are told


class _Checked(BaseModel):
    """A mapping with these keys, each of exactly this type; what else it holds is nobody's business."""

    model_config = ConfigDict(strict=True, extra="ignore", arbitrary_types_allowed=True)


def _part(node: dict[str, Any]) -> dict[str, Any]:
    if not isinstance(node.get("_target_"), str):
        raise ValueError("a _target_ is missing")
    return node


def _metrics(node: dict[str, Any]) -> dict[str, Any]:
    parts = [node] if "_target_" in node else [part for part in node.values() if isinstance(part, dict)]
    if not parts:
        raise ValueError("no metric is named")
    for part in parts:
        _part(part)
    return node


def _version(text: str) -> str:
    try:
        Version(text)
    except InvalidVersion:
        raise ValueError("a version was expected") from None
    return text


Whole = Annotated[int, Field(ge=0, lt=2**63)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Part = Annotated[dict[str, Any], AfterValidator(_part)]
Metrics = Annotated[dict[str, Any], AfterValidator(_metrics)]
Words = list[str]
Shape = Annotated[list[Annotated[int, Field(ge=1, le=4096)]], Field(min_length=3, max_length=3)]


class _Paths(_Checked):
    data: str | None


class _Tracking(_Checked):
    experiment: str | None


class _Configuration(_Checked):
    model: Part
    data: Part
    metrics: Metrics
    paths: _Paths
    tracking: _Tracking
    seed: Annotated[int, Field(ge=0, lt=2**32)]


class _Description(_Checked):
    config: _Configuration
    image_shape: Shape
    class_names: Words
    data_digest: str
    vocabulary: Words = []
    prompts: Words = []
    actions: dict[str, NotNegative] = {}


class _Checkpoint(_Checked):
    darkroom: _Description
    state_dict: dict[str, Tensor]
    images_seen: Whole


class _Optimizer(_Checked):
    state: dict[int, dict[str, Any]]
    param_groups: Annotated[list[dict[str, Any]], Field(min_length=1)]


class _Budget(_Checked):
    elapsed: NotNegative
    pace: list[Annotated[list[NotNegative], Field(min_length=2, max_length=2)]]


class _Curves(_Checked):
    sums: dict[str, Tensor]
    steps: Whole


class _Scoring(_Checked):
    best: float | None
    best_at: Whole
    scored_at: Annotated[int, Field(ge=-1)]


class _Watch(_Checked):
    best: dict[str, Any]
    rows: dict[str, Any]
    told: list[Any]


class _Sentinel(_Checked):
    watch: _Watch
    events: list[Any]
    rollbacks: Whole
    norms: dict[str, Tensor]
    steps: dict[str, Whole]


class _Callbacks(_Checked):
    budget: _Budget = Field(alias="Budget")
    curves: _Curves = Field(alias="Curves")
    scoring: _Scoring = Field(alias="Scoring")
    sentinel: _Sentinel | None = Field(alias="Sentinel", default=None)


class _Training(_Checked):
    epoch: Whole
    global_step: Whole
    version: Annotated[str, AfterValidator(_version)] = Field(alias="pytorch-lightning_version")
    callbacks: _Callbacks
    optimizer_states: list[_Optimizer]
    lr_schedulers: Annotated[list[Any], Field(max_length=0)]
    loops: dict[str, dict[str, Any]]
    discriminator_turns: Whole = 0


def check(checkpoint: Mapping[str, Any], path: Path) -> None:
    """Refuse a checkpoint that no model can be built from.

    Raises:
        UserError: it lacks something that a command uses, or holds it as something else; the first is named.
    """
    _check(_Checkpoint, checkpoint, path)


def check_training(checkpoint: Mapping[str, Any], path: Path) -> None:
    """Refuse a checkpoint that no run can go on from.

    Raises:
        UserError: it lacks some of the state of training, or holds it as something else; the first is named.
    """
    _check(_Training, checkpoint, path)
    _check_loops(checkpoint["loops"], path)


def check_optimizers(states: Sequence[Mapping[str, Any]], model: Any, path: Path) -> None:
    """Refuse the states of optimizers that are not those of this model.

    Raises:
        UserError: there are other ones, of other parameters, or with NaN or infinity in them.
    """
    remembered = list(model._settings)  # which making optimizers adds to
    made = model.configure_optimizers()
    model._settings = remembered
    optimizers = made if isinstance(made, list) else [made]
    if len(states) != len(optimizers):
        said = f"holds {len(states)} optimizers, and this model has {len(optimizers)}"
        raise UserError(_sentence(path, "optimizer_states", said))
    for number, (optimizer, state) in enumerate(zip(optimizers, states, strict=True)):
        where = f"optimizer_states.{number}"
        try:
            optimizer.load_state_dict(dict(state))
        except Exception as error:  # a state from elsewhere makes PyTorch fail in every way that there is
            said = f"is not that of this model's optimizer ({' '.join(str(error).split())[:200]})"
            raise UserError(_sentence(path, where, said)) from error
        for parameter, values in optimizer.state.items():
            for name, value in values.items():
                if not _fits(value, parameter):
                    raise UserError(_sentence(path, where, f"holds a {name} that does not fit its parameter"))


def _fits(value: Any, parameter: Any) -> bool:
    """Say whether an optimizer can have remembered a value of a parameter; what is none is a number that none has."""
    if not isinstance(parameter, Tensor):
        return False
    if isinstance(value, Tensor):
        alike = value.dim() == 0 or value.dim() != parameter.dim() or value.shape == parameter.shape
        counts = value.dim() == 0 < parameter.dim()  # steps; of a parameter that is one number, averages are one too
        return alike and bool(torch.isfinite(value).all()) and (not counts or float(value) >= 0)
    return value is None or (isinstance(value, int | float) and math.isfinite(value))


def _check(kind: type[_Checked], checkpoint: Mapping[str, Any], path: Path) -> None:
    try:
        kind.model_validate(dict(checkpoint))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(place) for place in first["loc"])
        given = f", not {_short(first['input'])}" if first["type"].endswith("_type") else ""
        what = "is missing" if first["type"] == "missing" else f"is wrong ({_lower(first['msg'])}{given})"
        raise UserError(_sentence(path, where, what)) from error


def _check_loops(loops: Mapping[str, Any], path: Path) -> None:
    """Compare the counters of Lightning's loops with those of a Trainer that has done nothing yet."""
    import pytorch_lightning as pl

    with streams.suppress_logging(logging.CRITICAL):  # a Trainer tells of its devices
        trainer = pl.Trainer(
            accelerator="cpu", devices=1, logger=False, enable_checkpointing=False, enable_progress_bar=False
        )
    for name in ("fit_loop", "validate_loop", "test_loop", "predict_loop"):
        expected = getattr(trainer, name).state_dict()
        if name in loops or name == "fit_loop":
            _check_counters(expected, loops.get(name), f"loops.{name}", path)


def _check_counters(expected: Any, found: Any, where: str, path: Path) -> None:
    if isinstance(expected, Mapping):
        if not isinstance(found, Mapping):
            raise UserError(_sentence(path, where, f"is {_short(found)}, and a mapping was expected"))
        for key, part in expected.items():
            _check_counters(part, found.get(key), f"{where}.{key}", path)
    elif type(found) is not type(expected) or (type(found) is int and not 0 <= found < 2**63):
        raise UserError(_sentence(path, where, f"is {_short(found)}, and a count was expected"))


def _sentence(path: Path, where: str, what: str) -> str:
    return (
        f"{path} cannot be used as a checkpoint: its '{where}' {what}; take another one of the run, such as <run>/last."
    )


def _lower(message: str) -> str:
    text = message.removeprefix("Value error, ").partition(" or instance of ")[0]
    return f"{text[:1].lower()}{text[1:]}"


def _short(value: object) -> str:
    if isinstance(value, Tensor):
        return f"a tensor {tuple(value.shape)}"
    if isinstance(value, str | int | float | None):
        text = repr(value) if not isinstance(value, str) else repr(value[:_SHOWN])
        return text if len(text) <= 2 * _SHOWN else f"{text[:_SHOWN]}…"
    return f"a {type(value).__name__}"
