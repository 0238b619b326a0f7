"""Where the trials of a sweep run: one function that starts a command, chosen by ``engine=``.

An engine is a module of this package with a function of the shape of `Engine`::

    def launch(command: list[str], environment: dict[str, str], output: Path) -> Job

It starts ``command`` (an argument list, the first of it the Python to use) with ``environment`` added to the process's
own, whatever it prints appended to the file ``output``, and returns at once. It must be called from the main thread.
"""

import fcntl
import importlib
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import IO, Protocol

ENGINES = {
    "processes": "darkroom.sweeping.launching",
    "ray": "darkroom.sweeping.ray",
}  # the module whose `launch` is meant


class Job(Protocol):
    """A command that was started."""

    def poll(self) -> int | None:
        """Return the exit code, None while it runs; never waits."""

    def stop(self) -> None:
        """Ask it to save its state and end, as SIGTERM does; it goes on being polled until it has ended."""

    def kill(self) -> None:
        """End it at once, with all that it started."""


class Engine(Protocol):
    """What starts a command somewhere."""

    def __call__(self, command: list[str], environment: dict[str, str], output: Path) -> Job:
        """Start it and return at once."""


def engine(name: str) -> Engine:
    """Return the function of an engine by its name in `ENGINES`."""
    launcher: Engine = importlib.import_module(ENGINES[name]).launch
    return launcher


class Process:
    """A process of this machine, the first of a group of its own, so that Ctrl-C in the terminal is ours to pass on."""

    def __init__(self, command: list[str], environment: dict[str, str], output: IO[bytes]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "darkroom.sweeping.exit_with_parent", str(os.getpid()), *command],
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def poll(self) -> int | None:
        """Return the exit code, None while it runs."""
        return self._process.poll()

    def stop(self) -> None:
        """Send SIGTERM to the first process, which tells the others it started."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL to the whole group."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()


def launch(command: list[str], environment: dict[str, str], output: Path) -> Job:
    """Start a command as a process of this machine, which ends when this one does, however that comes about.

    It holds a lock on its output file as long as it or anything it started lives: see `alive`.
    """
    output.parent.mkdir(parents=True, exist_ok=True)
    with output.open("ab") as file:
        # A lock of this kind belongs to the open file, and so to every process that inherits it, and to none when the
        # last of them is gone: what is left of a sweep that was killed is recognised by it.
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return Process(command, environment, file)


def alive(output: Path) -> bool:
    """Say whether anything that was launched with this output still lives."""
    if not output.exists():
        return False
    with output.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False
