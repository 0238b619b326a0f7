"""What it costs that the run store's server is away in the middle of training, and whether anything is lost.

    python -m benchmarks.away                      180 s, the server hangs (SIGSTOP)
    python -m benchmarks.away 30 kill              30 s, the server is killed and started again
    python -m benchmarks.away 30 stop experiment=gan/mnist paths.data=<folder>

A real MLflow server on a SQLite database of its own, reached over the loopback. One process trains, with a point every
1,280 images, a sheet of samples every 6,400 and a checkpoint every minute, for as long before the outage as it lasts,
during it, and a while after. Prints images a second and images for each second that the process computed, in the three
stretches, and whether every point that was recorded is in the store afterwards: in order, and once.
"""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch

from benchmarks.loop import TRAINER
from darkroom import lab
from darkroom.callbacks.budget import Budget
from darkroom.callbacks.curves import Curves
from darkroom.callbacks.samples import Samples
from darkroom.callbacks.saving import Checkpoints
from darkroom.config.checking import check
from darkroom.config.composing import compose
from darkroom.data.module import ImageData
from darkroom.streams import quiet_lightning
from darkroom.tracking import run
from darkroom.tracking.logger import RunLogger
from darkroom.tracking.outbox import Outbox
from darkroom.tracking.store import Store

LOG_EVERY, SAMPLES_EVERY = 1280, 6400  # images
WARM_UP = 5.0  # seconds
AFTER = 20.0  # seconds of training once the server is back, at most as long as it was away
STRETCHES = ("before", "away", "after")
Points = dict[str, list[tuple[int, float]]]


class Server:
    """An MLflow server in a folder of its own, which can be made unreachable."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        with socket.socket() as found:
            found.bind(("127.0.0.1", 0))
            self.port = found.getsockname()[1]
        self.address = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, without waiting for it."""
        options = ["--host", "127.0.0.1", "--port", str(self.port), "--workers", "1"]
        options += ["--backend-store-uri", f"sqlite:///{self._folder / 'mlflow.db'}"]
        options += ["--artifacts-destination", str(self._folder / "files")]
        quiet = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "mlflow", "server", *options],
                stdout=log,
                stderr=log,
                env=os.environ | quiet,
                start_new_session=True,
            )

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to it and its workers."""
        assert self._process is not None
        os.killpg(self._process.pid, number)
        if number == signal.SIGKILL:
            self._process.wait()

    def answers(self) -> bool:
        """Say whether it does."""
        try:
            with urllib.request.urlopen(f"{self.address}/health", timeout=2):
                return True
        except OSError:
            return False

    def wait(self) -> None:
        """Return when it answers."""
        deadline = time.monotonic() + 240
        while not self.answers():
            if time.monotonic() > deadline:
                raise TimeoutError((self._folder / "log").read_text())
            time.sleep(0.5)


@contextmanager
def serving() -> Iterator[Server]:
    """Run a server for the length of a block."""
    with tempfile.TemporaryDirectory() as folder:
        server = Server(Path(folder))
        server.start()
        try:
            server.wait()
            yield server
        finally:
            server.signal(signal.SIGKILL)


class Outage(pl.Callback):
    """Make the server unreachable in the middle, and measure the stretches before, during and after."""

    def __init__(self, server: Server, seconds: float, kind: str) -> None:
        self.server, self.seconds, self.kind = server, seconds, kind
        self.rates: dict[str, tuple[float, float]] = {}
        self._left = [WARM_UP, seconds, seconds, min(seconds, AFTER)]
        self._since = time.perf_counter()
        self._images, self._computed = 0, 0.0

    def on_train_batch_end(self, trainer: pl.Trainer, model: Any, *_: Any) -> None:
        """Go from one stretch to the next when its time is up."""
        elapsed = time.perf_counter() - self._since
        if elapsed < self._left[0] or (len(self._left) == 1 and self._returning()):
            return
        self._left.pop(0)
        images, computed = model.images_seen - self._images, time.process_time() - self._computed
        done = len(STRETCHES) - len(self._left) - 1
        if done >= 0:
            self.rates[STRETCHES[done]] = (images / elapsed, images / computed)
        if len(self._left) == 2:
            self.server.signal(signal.SIGSTOP if self.kind == "stop" else signal.SIGKILL)
        elif len(self._left) == 1 and self.kind == "stop":
            self.server.signal(signal.SIGCONT)
        elif len(self._left) == 1:
            self.server.start()
        elif not self._left:
            trainer.should_stop = True
        self._since, self._images, self._computed = time.perf_counter(), model.images_seen, time.process_time()

    def _returning(self) -> bool:
        """Whether a server that was started again is still on its way."""
        return not self.server.answers()


def train(config: dict[str, Any], data: ImageData, store: Store, outage: Outage) -> tuple[str, Points]:
    """Train through an outage; return the run's id and every point that was recorded."""
    torch.manual_seed(config["seed"])
    model = lab.Description.new(config, data).build()
    model.init_from_data(data.pictures("train"))
    recorded: Points = defaultdict(list)
    budget = Budget(10**9, None)
    with run.start(store, "benchmark", "away", config, {"seconds": outage.seconds}) as opened:
        log = opened.log_metrics

        def logged(metrics: dict[str, float], step: int) -> None:
            for name, value in metrics.items():
                recorded[name].append((int(step), float(value)))
            log(metrics, step)

        opened.log_metrics = logged  # type: ignore[assignment,method-assign]
        trainer = pl.Trainer(
            **TRAINER,
            logger=RunLogger(opened, lambda: model.images_seen),
            callbacks=[
                budget,
                Curves(opened, LOG_EVERY),
                Samples(opened, SAMPLES_EVERY, 64, budget),
                Checkpoints(opened.folder / "checkpoints", 1.0, {}, opened),
                outage,
            ],
            precision=config["precision"],
        )
        trainer.fit(model, datamodule=data)
    return opened.id, recorded


def faults(store: Store, run_id: str, recorded: Points) -> list[str]:
    """Return what is wrong with the points in the store: one is missing, is there twice, or out of order."""
    found = []
    for name, points in recorded.items():
        kept = [(point.step, point.value) for point in store.client.get_metric_history(run_id, name)]
        if sorted(kept) != sorted(points):
            found.append(f"{name}: {len(points)} points recorded, {len(kept)} in the store")
        elif kept != points:
            found.append(f"{name}: out of order")
    names = {file.path for file in store.client.list_artifacts(run_id, "samples")}
    shown = [file.path for file in store.client.list_artifacts(run_id, "images") if file.path.endswith(".png")]
    if len(names) != len(shown):
        found.append(f"{len(names)} sheets of samples, {len(shown)} in the dashboard")
    return found


def measure(seconds: float, kind: str, config: dict[str, Any], data: ImageData) -> tuple[Outage, list[str], int]:
    """Return the rates, what is wrong afterwards, and how many points there were."""
    with serving() as server, tempfile.TemporaryDirectory() as folder:
        os.environ["MLFLOW_TRACKING_URI"] = server.address
        store = Store.open(Path(folder))
        outage = Outage(server, seconds, kind)
        run_id, recorded = train(config, data, store, outage)
        record = store.run(run_id)
        wrong = faults(store, run_id, recorded)
        if record.status != "FINISHED":
            wrong.append(f"the run says {record.status}")
        if Outbox.left(record.folder.parent):
            wrong.append("something waits on disk")
        return outage, wrong, sum(map(len, recorded.values()))


def main() -> None:
    """Measure once and print."""
    words = [word for word in sys.argv[1:] if "=" not in word]
    seconds = float(words[0]) if words else 180.0
    kind = words[1] if len(words) > 1 else "stop"
    if kind not in ("stop", "kill"):
        sys.exit(f"{kind} is no kind of outage: stop or kill")
    os.environ["no_proxy"] = "*"
    config = compose("train", [word for word in sys.argv[1:] if "=" in word] or ["experiment=gan/digits"])
    check(config, "train")
    quiet_lightning()
    torch.set_num_threads(1)
    data = lab.open_data(config["data"], config["paths"]["data"])
    outage, wrong, points = measure(seconds, kind, config, data)
    for name, (clock, computed) in outage.rates.items():
        print(f"{name:>6}: {clock:,.0f} images/s by the clock, {computed:,.0f} for each second computed")
    before, away = outage.rates["before"], outage.rates["away"]
    print(
        f"{kind}, {seconds:g} s away: {away[0] / before[0] - 1:+.1%} images/s by the clock,"
        f" {away[1] / before[1] - 1:+.1%} for each second computed; {points} points recorded, "
        + ("; ".join(wrong) if wrong else "each in the store afterwards, in order, once")
    )
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
