"""What was typed after ``darkroom sweep``, and what that makes of every point."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from darkroom import advice, line
from darkroom.config import recorded, several
from darkroom.config.checking import check
from darkroom.config.composing import compose
from darkroom.config.nodes import Node
from darkroom.config.registering import COMPOSITION_ERRORS
from darkroom.config.sentences import explain
from darkroom.config.typed import Typed, group_choice, task_overrides, typed_folder, typed_keys
from darkroom.errors import UserError
from darkroom.sweeping.space import Space, Values
from darkroom.sweeping.trials import Line

_OWN = ("search", "trials", "workers", "seeds", "engine", "seed", "name")  # what a trial is not given as typed


@dataclass(frozen=True)
class Plan:
    """A sweep before anything of it is trained; the limits of every dimension have been composed and checked."""

    config: Node
    search: str  # the name of the search
    space: Space
    experiment: str
    typed: tuple[str, ...]  # what was typed and is every trial's too
    settings: tuple[str, ...]  # what the search says every trial gets
    options: tuple[str, ...]  # --config-dir

    @classmethod
    def of(cls, config: Node, experiment: str) -> "Plan":
        """Read a composed and checked configuration of ``darkroom sweep``.

        Raises:
            UserError: what the search chooses is not there, or cannot be what the search makes it.
        """
        search, name = config["search"], group_choice("search") or "own"
        space = Space.read(name, search["space"], config, search["needs"])
        model = group_choice("model")
        if model and search["needs"].startswith("model=") and f"model={model}" not in search["needs"].split():
            raise UserError(f"search={name} is not for model={model}: type {search['needs']}, or another search.")
        typed = [override for override in task_overrides() if _key(override) not in _OWN]
        folder = typed_folder()
        options = ["--config-dir", str(Path(folder).resolve())] if folder else []
        settings = _settings(config, typed_keys())
        plan = cls(config, name, space, experiment, tuple(typed), tuple(settings), tuple(options))
        if search["sampler"] == "grid" and space.values() is None:
            endless = next((each.key for each in space.dimensions if each.values() is None), space.dimensions[0].key)
            raise UserError(
                f"search.sampler=grid goes through every point, and {endless} has too many values: give it a step or"
                " choices, or type search.sampler=tpe."
            )
        for point in space.ends():
            plan.line(point, config["seed"])
        return plan

    @property
    def seeds(self) -> list[int]:
        """The seeds that every point is trained with."""
        return [self.config["seed"] + offset for offset in range(self.config["seeds"])]

    @property
    def trials(self) -> int:
        """How many points there are to be: no more than the space has."""
        every = self.space.values()
        return min(self.config["trials"], len(every)) if every is not None else int(self.config["trials"])

    @property
    def title(self) -> str:
        """What the run of the sweep is called."""
        return self.config["name"] or f"sweep of {self.search}"

    def digest(self, objectives: Mapping[str, str]) -> str:
        """Return a name for what makes this sweep the same one when it is typed again; more trials do not change it."""
        search = {key: self.config["search"][key] for key in ("space", "sampler", "pruner", "scores")}
        own = {"search": search, "objectives": objectives, "seeds": self.seeds, "experiment": self.experiment}
        base = {key: value for key, value in self.config.items() if key not in ("search", "trials", *_OWN)}
        text = json.dumps([own, recorded.digest(base), self.settings], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def line(self, point: Values, seed: int) -> Line:
        """Return what trains a point, composed and checked.

        Raises:
            UserError: the point is none that could be trained.
        """
        overrides = [
            *self.settings,
            *self.typed,
            *self.space.overrides(point),
            f"seed={seed}",
            f"tracking.experiment={self.experiment}",
        ]
        label = self.space.label(point)
        name = f"{label} seed={seed}" if len(self.seeds) > 1 else label
        try:
            config = self._composed(overrides)
            if (every := several.leading(config["metrics"]).get("every")) is None:
                raise UserError("nothing is scored: type metrics=generative.")
            # Scores are spread over the budget, unless somebody has said how many images lie between two.
            scores, images = self.config["search"]["scores"], config["budget"]["images"]
            place = several.path_of(config["metrics"], "every")
            if scores and images and place not in typed_keys():
                every = max(1, images // scores)
                overrides.append(f"{place}={every}")
                config = self._composed(overrides)
            check(config, "train")
        except UserError as error:
            raise UserError(f"search={self.search} at {label}: {error}") from None
        return Line(tuple(overrides), recorded.digest(config), name, every)

    def command_line(self, point: Values) -> str:
        """Return the line to type for a point; what the search said of short trials is left out."""
        overrides = [*self.typed, *self.space.overrides(point)]
        options = self.options if self.options and self._needs_folder(overrides) else ()
        return advice.line("train", *options, *map(line.unquoted, overrides))

    def _needs_folder(self, overrides: list[str]) -> bool:
        """Say whether a line means something else without the folder of one's own configurations."""
        try:
            return compose("train", overrides) != self._composed(overrides)
        except COMPOSITION_ERRORS:
            return True

    def _composed(self, overrides: list[str]) -> Node:
        overlay = Path(self.options[1]) if self.options else None
        try:
            return compose("train", overrides, overlay)
        except COMPOSITION_ERRORS as error:
            raise UserError(explain(error, Typed("train", overrides, overlay))) from None


def _key(override: str) -> str:
    return override.lstrip("+~").partition("=")[0].partition(".")[0]


def _settings(config: Node, typed: set[str]) -> list[str]:
    """Return the budget that the search gives each trial, unless one was typed."""
    budget: Mapping[str, Any] = config["search"]["budget"]
    given = any(value is not None for value in budget.values())
    if not given or typed & {"budget", "budget.images", "budget.minutes", "profile"}:
        return []
    return [f"budget.{key}={'null' if value is None else value}" for key, value in budget.items()]
