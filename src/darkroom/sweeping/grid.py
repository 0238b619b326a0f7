"""One parent run over the points of a grid (``-m``), and a readable name for each point."""

import os
import sys
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from darkroom import line, paths
from darkroom.config.command import around_points

_PARENT, _KEYS = "DARKROOM_GRID_PARENT", "DARKROOM_GRID_KEYS"  # inherited by whatever process runs a point


class Grid(Callback):
    """Open the parent run before the first point and close it after the last.

    Creating the store here, once, is also what lets parallel points start at the same time.
    """

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        """Open the parent run, unless another command than ``train`` is repeated; a sweep cannot be."""
        if config.hydra.job.config_name == "sweep":
            print("darkroom sweep: A sweep starts runs of its own, and -m was given: leave out -m.", file=sys.stderr)
            sys.exit(2)
        if config.hydra.job.config_name != "train" or (config.submit is not None and config.submit.dry_run):
            return
        from darkroom.errors import UserError
        from darkroom.tracking import run
        from darkroom.tracking.store import Store

        typed = list(config.hydra.overrides.task)
        parsed = OverridesParser.create().parse_overrides(typed)
        # With the place of a group, penalty@model.penalty: its bare name is not what the points are typed with.
        swept = [override.get_key_element().lstrip("+~") for override in parsed if override.is_sweep_override()]
        choices = config.hydra.runtime.choices
        chosen = (o for o in parsed if o.key_or_group == "experiment" and not o.is_sweep_override())
        experiment = config.tracking.experiment or next((str(override.value()) for override in chosen), None)
        experiment = experiment or f"{choices.get('model')}/{choices.get('data')}"
        name = "grid over " + " ".join(sorted(map(_short, swept)))
        try:
            store = Store.open(paths.root())
            store.reap()
            # Not kept by the callback: launchers of several processes send the callback to each.
            parent = around_points.enter_context(
                run.group(store, experiment, name, {"overrides": typed}, {"grid": " ".join(typed)})
            )
        except UserError as error:  # Hydra would swallow it and run every point without a parent
            print(f"darkroom train: {error}", file=sys.stderr)
            sys.exit(2)
        os.environ[_PARENT] = parent.id
        os.environ[_KEYS] = ",".join(swept)

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        """Close the parent run."""
        around_points.close()
        os.environ.pop(_PARENT, None)
        os.environ.pop(_KEYS, None)


def child_environment(run_id: str) -> dict[str, str]:
    """Return the environment of a process whose runs are parts of another run."""
    return {_PARENT: run_id}


def parent() -> str | None:
    """Return the id of the run that holds others together, inside a grid or a sweep."""
    return os.environ.get(_PARENT)


def point_name(overrides: list[str]) -> str | None:
    """Return the swept settings of this point, ``"lr=0.0002 seed=1"``; None outside a grid."""
    keys = os.environ.get(_KEYS)
    if not keys:
        return None
    swept = keys.split(",")
    typed = dict(line.unquoted(override).lstrip("+").split("=", 1) for override in overrides if "=" in override)
    shortened = {key: _short(key) for key in swept}
    short = {key: name if list(shortened.values()).count(name) == 1 else key for key, name in shortened.items()}
    return " ".join(f"{short[key]}={typed[key]}" for key in sorted(swept, key=lambda key: short[key]) if key in typed)


def _short(key: str) -> str:
    return key.rpartition(".")[2].partition("@")[0]
