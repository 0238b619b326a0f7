"""One run on Ray: Ray Train starts the processes, each types the same line again, and Lightning trains in them.

Ray is an extra, imported when it is asked for. It reports how it is used to its makers unless told not to: it is told.
"""

import os
import runpy
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from darkroom.errors import UserError

TARGET = "darkroom.scaling.ray_trainer.RayTrainer"
_INSIDE = "DARKROOM_ON_RAY"
_MISSING = "Ray is not installed: type pip install 'darkroom-lab[ray]'."
# What a process on another node has to know of this one's environment.
_CARRIED = ("DARKROOM_", "MLFLOW_", "PYTHONPATH", "OMP_NUM_THREADS", "GLOO_", "NCCL_")


def import_ray() -> ModuleType:
    """Return Ray, told to keep what it sees to itself.

    Raises:
        UserError: it is not installed.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError as error:
        raise UserError(_MISSING) from error
    return ray


def connect() -> ModuleType:
    """Return Ray, connected to the cluster that RAY_ADDRESS names or that runs here, else to one made for us.

    Raises:
        UserError: it is not installed, or runs on several machines while the runs are kept in a file of this one.
    """
    ray = import_ray()
    if not ray.is_initialized():
        ray.init(include_dashboard=False, configure_logging=False, log_to_driver=True, runtime_env=_surroundings())
    machines = [node for node in ray.nodes() if node["Alive"]]
    uri = os.environ.get("MLFLOW_TRACKING_URI", "sqlite:")
    if len(machines) > 1 and uri.startswith("sqlite:"):
        raise UserError(
            f"Ray has {len(machines)} machines, and the runs are kept in a file of this one, which the others cannot"
            " write to: start an MLflow server and set MLFLOW_TRACKING_URI=http://<host>:5000 (docs/scaling.md)."
        )
    return ray


def worker_environment() -> dict[str, str]:
    """Return the part of this process's environment that the others need."""
    return {key: value for key, value in os.environ.items() if key.startswith(_CARRIED)}


def _surroundings() -> dict[str, Any]:
    return {"env_vars": worker_environment()}


def inside() -> bool:
    """Say whether this process was started by Ray Train."""
    return _INSIDE in os.environ


def train(command: str, line: Sequence[str], wanted: Mapping[str, Any]) -> None:
    """Train what was typed in as many processes as ``wanted``; each runs the module ``command`` with ``line``.

    Raises:
        UserError: Ray is not installed, or the run failed; it says itself why.
    """
    ray = connect()
    try:
        from ray.train import RunConfig, ScalingConfig
        from ray.train.torch import TorchTrainer
    except ImportError as error:  # Ray without what trains
        raise UserError(_MISSING) from error

    room = ray.cluster_resources().get("CPU", 0)
    if room < wanted["workers"] * wanted["cpus"]:
        raise UserError(
            f"trainer.workers={wanted['workers']} of trainer.cpus={wanted['cpus']} need more than the {room:g}"
            " processors that Ray has: type fewer, or add nodes."
        )
    with tempfile.TemporaryDirectory() as folder:  # where Ray notes its own state; the run's home is with the others
        job = TorchTrainer(
            _work,
            train_loop_config={"command": command, "line": list(line), "folder": str(Path.cwd())},
            scaling_config=ScalingConfig(
                num_workers=wanted["workers"],
                use_gpu=wanted["gpus"],
                resources_per_worker={"CPU": wanted["cpus"], **({"GPU": 1} if wanted["gpus"] else {})},
            ),
            run_config=RunConfig(storage_path=folder, name="run"),
        )
        try:
            job.fit()
        except Exception as error:
            if not type(error).__module__.startswith("ray."):
                raise
            raise UserError(f"The run on Ray failed ({_cause(error)}): it said why, above.") from error
        finally:
            ray.shutdown()


def _work(settings: dict[str, Any]) -> None:
    """Type the line in one of the processes."""
    from lightning_utilities.core.rank_zero import rank_zero_only

    os.environ[_INSIDE] = "1"
    rank_zero_only.rank = int(os.environ["RANK"])  # type: ignore[attr-defined]  # Ray's; Lightning may be here already
    if Path(settings["folder"]).is_dir():
        os.chdir(settings["folder"])
    sys.argv = ["darkroom", *settings["line"]]
    try:
        runpy.run_module(settings["command"], run_name="__main__", alter_sys=False)
    except SystemExit as left:
        if left.code:
            raise RuntimeError(f"darkroom train ended with {left.code}") from None


def _cause(error: BaseException) -> str:
    return str(error).strip().splitlines()[-1][:200] if str(error).strip() else type(error).__name__
