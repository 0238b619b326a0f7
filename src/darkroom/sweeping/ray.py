"""Trials of a sweep on Ray: each is the same command, run wherever Ray has room for it (``engine=ray``).

``DARKROOM_RAY_CPUS`` and ``DARKROOM_RAY_GPUS`` are what a trial is given: without them one processor, and one GPU where
there are any. A trial beside the sweep writes into its output file itself; of one on another machine the text is
brought over while it runs.
"""

import os
import tempfile
from pathlib import Path
from typing import Any

from darkroom import variables
from darkroom.scaling import on_ray
from darkroom.sweeping import launching
from darkroom.sweeping.launching import Job


class Trial:
    """Runs inside Ray, on the machine where the command does, which ends when this does."""

    def __init__(self, command: list[str], environment: dict[str, str], output: str, home: str, folder: str) -> None:
        ray = on_ray.import_ray()
        beside = ray.get_runtime_context().get_node_id() == home
        self.output = Path(output) if beside else Path(tempfile.mkdtemp()) / "output"
        self._brought = not beside
        self._read = 0
        if Path(folder).is_dir():
            os.chdir(folder)
        self.job = launching.launch(command, environment, self.output)

    def poll(self) -> tuple[int | None, bytes]:
        """Return the exit code, None while it runs, and what was printed since the last time if that is elsewhere."""
        code, text = self.job.poll(), b""
        if self._brought:
            with self.output.open("rb") as file:
                file.seek(self._read)
                text = file.read()
            self._read += len(text)
        return code, text

    def stop(self) -> None:
        """Ask the command to end."""
        self.job.stop()

    def kill(self) -> None:
        """End it and all that it started."""
        self.job.kill()


class Remote:
    """A trial as the sweep sees it."""

    def __init__(self, ray: Any, trial: Any, output: Path) -> None:
        self._ray, self._trial, self._output = ray, trial, output
        self._asked = trial.poll.remote()
        self._code: int | None = None

    def poll(self) -> int | None:
        """Return the exit code, None while it runs or waits for room, 1 when its machine is lost."""
        if self._code is None and self._ray.wait([self._asked], timeout=0)[0]:
            try:
                self._code, text = self._ray.get(self._asked)
            except self._ray.exceptions.RayActorError as error:
                self._code, text = 1, f"The trial was lost: {error}\n".encode()
            if text:
                with self._output.open("ab") as file:
                    file.write(text)
            if self._code is None:
                self._asked = self._trial.poll.remote()
            else:
                self._ray.kill(self._trial)  # gives the room back
        return self._code

    def stop(self) -> None:
        """Send SIGTERM to the command, wherever it runs."""
        if self._code is None:
            self._trial.stop.remote()

    def kill(self) -> None:
        """Send SIGKILL to the command's whole group, wherever it runs."""
        if self._code is None:
            self._ray.wait([self._trial.kill.remote()], timeout=30)


def launch(command: list[str], environment: dict[str, str], output: Path) -> Job:
    """Hand a command to Ray, which starts it as soon as there is room.

    Raises:
        UserError: Ray is not installed, or its machines cannot write to where the runs are kept.
    """
    ray = on_ray.connect()
    gpus = variables.number("DARKROOM_RAY_GPUS", min(1, ray.cluster_resources().get("GPU", 0)))
    room = {"num_cpus": variables.number("DARKROOM_RAY_CPUS", 1), "num_gpus": gpus}
    output.parent.mkdir(parents=True, exist_ok=True)
    home = ray.get_runtime_context().get_node_id()
    actor = ray.remote(**room)(Trial)
    trial = actor.remote(command, {**on_ray.worker_environment(), **environment}, str(output), home, str(Path.cwd()))
    return Remote(ray, trial, output)
