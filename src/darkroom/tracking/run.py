"""One run: opened, written to, and closed with the truth about how it ended."""

import json
import logging
import math
import os
import re
import signal
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import filelock
import numpy as np
import yaml

from darkroom import files, paths
from darkroom.errors import Failure, Interrupted, UserError
from darkroom.tracking import environment, tag
from darkroom.tracking.store import ALIVE, RunRecord, Store

log = logging.getLogger("darkroom")

FLUSH_SECONDS = 3.0
SYSTEM_METRICS_SECONDS = 10.0

_METRICS_PER_BATCH = 1000  # MLflow's limits
_PARAMS_PER_BATCH = 100
_PARAM_LENGTH = 6000
_TAG_LENGTH = 8000
_DIGEST_LENGTH = 36
_ATTEMPTS = 4
_NAME = re.compile(r"[\w. :\-]+(/[\w. :\-]+)*")
_PICTURE_KEY = re.compile(r"[\w.\- ]+", re.ASCII)


class Run:
    """An open run. Made by `start` and `resume`; every method may be called from any thread.

    Files belong in ``folder``, directly or through the ``log_…`` methods. When a server keeps the files elsewhere they
    are uploaded: by the ``log_…`` methods and `publish` at once, everything else when the run is closed.
    """

    def __init__(self, store: Store, record: RunRecord, artifact_uri: str, lock: filelock.BaseFileLock) -> None:
        self.store = store
        self.id = record.run_id
        self.name = record.name
        self.experiment = record.experiment
        self.folder = record.folder
        self.artifact_uri = artifact_uri
        self._client = store.client
        self._lock = lock
        self._params = dict(record.params)
        self._drift: dict[str, list[str]] = json.loads(record.tags.get(tag.DRIFT, "{}"))
        # Three cases: MLflow's place for files is the folder itself; a server's, to upload to; or a stale address,
        # because the project has moved since, where nothing must be written.
        here = Path(artifact_uri.removeprefix("file://")).resolve() == self.folder.resolve()
        self.uploads = store.remote and not here
        self._dashboard_reads = here or self.uploads
        self._uploaded: dict[Path, int] = {}
        self._metrics: list[tuple[str, float, int, int]] = []
        self._known_names: set[str] = set()
        self._on_record: dict[str, int] = {}
        self._metrics_lock = threading.Lock()
        self._flush_lock = threading.Lock()
        self._closing = threading.Event()
        self._flusher = threading.Thread(target=self._flush_now_and_then, name="darkroom-metrics", daemon=True)
        self._monitor: Any = None

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """Record numbers at a step (images seen). Takes microseconds: they are written every few seconds.

        NaN is kept as such; infinities become the largest double.

        Raises:
            ValueError: a name that MLflow cannot store; names look like ``train/loss``.
        """
        now = int(time.time() * 1000)
        points = [
            (name, float(value), now, step) for name, value in metrics.items() if step > self._on_record.get(name, -1)
        ]
        for name in metrics:
            if name not in self._known_names:
                if not _NAME.fullmatch(name) or len(name) > 250:
                    raise ValueError(f"A metric cannot be called {name!r}: letters, digits and _ . - : / are allowed.")
                self._known_names.add(name)
        with self._metrics_lock:
            self._metrics.extend(points)

    def flush(self) -> None:
        """Write the metrics recorded so far; if the store refuses they are kept for the next time."""
        from mlflow.entities import Metric

        with self._flush_lock:
            with self._metrics_lock:
                pending, self._metrics = self._metrics, []
            try:
                while pending:
                    batch = [Metric(*point) for point in pending[:_METRICS_PER_BATCH]]
                    self._client.log_batch(self.id, metrics=batch)
                    pending = pending[_METRICS_PER_BATCH:]
            finally:
                if pending:
                    with self._metrics_lock:
                        self._metrics = pending + self._metrics

    def curves(self, prefix: str) -> dict[str, dict[int, float]]:
        """Return every metric with this prefix that was flushed: its value at each step, the last where two are."""
        names = sorted(name for name in self._client.get_run(self.id).data.metrics if name.startswith(prefix))
        return {name: dict(self.store.curve(self.id, name)) for name in names}

    def log_picture(self, key: str, image: np.ndarray[Any, Any], step: int) -> None:
        """Record a uint8 (H, W, C) or (H, W) picture as the next of a series, to be leafed through in the dashboard.

        A plain PNG of it lies at ``samples/<key>_<step>.png``, the step with eight digits or more.

        Raises:
            ValueError: a key other than letters, digits, ``_ - .`` and spaces, or a picture that is not uint8.
        """
        if not _PICTURE_KEY.fullmatch(key):
            raise ValueError(f"A series of pictures cannot be called {key!r}: letters, digits, _ - . and spaces only.")
        if image.dtype != np.uint8:
            raise ValueError(f"A picture to record is uint8, and this one is {image.dtype}.")
        from darkroom import images  # imports torch, which a run without pictures need not wait for

        self.flush_or_warn()
        path = self.folder / "samples" / f"{key}_{step:08d}.png"
        images.save_png(path, image)
        self.publish(path)
        if self._dashboard_reads:
            picture = image[:, :, 0] if image.ndim == 3 and image.shape[2] == 1 else image
            self._client.log_image(self.id, picture, key=key, step=step)

    def log_animation(self, key: str, frames: np.ndarray[Any, Any], step: int) -> None:
        """Keep uint8 frames ``(T, H, W, C)`` as a GIF at ``samples/<key>_<step>.gif``, which the dashboard plays."""
        from darkroom import images  # imports torch, which a run without pictures need not wait for

        path = self.folder / "samples" / f"{key}_{step:08d}.gif"
        images.save_gif(path, frames)
        self.publish(path)

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Record parameters; nested mappings become dotted names.

        A parameter never changes: another value for a known one goes into the tag ``darkroom.drift``, with a warning.
        """
        from mlflow.entities import Param

        flat = flatten(params)
        fresh = {key: value for key, value in flat.items() if key not in self._params}
        changed = {key: [self._params[key], flat[key]] for key in flat if self._params.get(key, flat[key]) != flat[key]}
        entries = [Param(key, value) for key, value in fresh.items()]
        for first in range(0, len(entries), _PARAMS_PER_BATCH):
            self._client.log_batch(self.id, params=entries[first : first + _PARAMS_PER_BATCH])
        self._params.update(fresh)
        if changed:
            self._drift.update(changed)
            self.set_tags({tag.DRIFT: json.dumps(self._drift)})
            told = ", ".join(f"{key} (was {was}, is {now})" for key, (was, now) in changed.items())
            log.warning("Run %s goes on with other settings than it began with: %s.", self.name, told)

    def set_tags(self, values: Mapping[str, object]) -> None:
        """Set tags, as text; longer ones than MLflow takes are cut."""
        from mlflow.entities import RunTag

        entries = [RunTag(key, str(value)[:_TAG_LENGTH]) for key, value in values.items()]
        for first in range(0, len(entries), _PARAMS_PER_BATCH):
            self._client.log_batch(self.id, tags=entries[first : first + _PARAMS_PER_BATCH])

    def set_objective(self, metric: str, mode: str, value: float | None = None) -> None:
        """Say which metric this run is judged by, ``"min"`` or ``"max"``, and its value at the best checkpoint."""
        recorded: dict[str, object] = {} if value is None else {tag.OBJECTIVE_VALUE: value}
        self.set_tags({tag.OBJECTIVE: metric, tag.OBJECTIVE_MODE: mode, **recorded})

    def log_text(self, path: str, text: str, append: bool = False) -> Path:
        """Write a text file into the run's folder, or ``append`` to the one that is there."""
        written = self.folder / path
        before = written.read_bytes() if append and written.exists() else b""
        files.write(written, before + text.encode())
        self.publish(written)
        return written

    def log_json(self, path: str, content: Any) -> Path:
        """Write plain containers as a JSON file into the run's folder."""
        return self.log_text(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")

    def log_dataset(self, name: str, digest: str, split: str) -> None:
        """Record the data this run read, as an MLflow data set; MLflow keeps 36 digits of the digest, we keep all."""
        from mlflow.entities import Dataset, DatasetInput, InputTag
        from mlflow.exceptions import MlflowException

        source = json.dumps({"name": name, "digest": digest})
        dataset = Dataset(name, digest[:_DIGEST_LENGTH], source_type="darkroom", source=source)
        inputs = [DatasetInput(dataset, [InputTag("mlflow.data.context", split)])]
        # MLflow looks whether the data are known and then adds them: of runs that begin together on a database with
        # several writers all but one are refused, and find them there the next time.
        for attempt in range(_ATTEMPTS):
            try:
                self._client.log_inputs(self.id, datasets=inputs)
                return
            except MlflowException:
                if attempt == _ATTEMPTS - 1:
                    raise
                time.sleep(0.1 * 2**attempt)

    def publish(self, path: Path) -> None:
        """Upload a file of the run's folder that is final; does nothing when the folder is where files are kept."""
        if not self.uploads:
            return
        inside = path.relative_to(self.folder).parent.as_posix()
        with self.store.speaking():
            self._client.log_artifact(self.id, str(path), None if inside == "." else inside)
        self._uploaded[path] = path.stat().st_mtime_ns

    def _record(self, path: str, text: str) -> None:
        """Write a file that says how the run began, or beside it one that says how it went on when that differs."""
        began = self.folder / path
        if began.exists() and began.read_text() != text:
            path = str(Path(path).with_suffix(f".resumed{began.suffix}"))
        self.log_text(path, text)

    def _begin(
        self,
        config: Mapping[str, Any] | str,
        params: Mapping[str, Any],
        values: Mapping[str, object],
        every: float | None,
        *,
        resumed: bool,
    ) -> None:
        state = environment.git_state(paths.PACKAGE, self.store.root)
        git = {tag.GIT_COMMIT: state.commit, tag.GIT_DIRTY: str(bool(state.diff)).lower()} if state else {}
        self.set_tags({**values, **git, tag.PROCESS: f"{socket.gethostname()}:{os.getpid()}"})
        self._record(
            "config.yaml", config if isinstance(config, str) else yaml.safe_dump(dict(config), sort_keys=False)
        )
        self._record("environment.json", json.dumps(environment.describe(), indent=2) + "\n")
        if state and state.diff:
            self._record("git.diff", state.diff)
        self.log_params(params)
        if every is not None:
            self._monitor = _system_monitor(self.store.uri, self.id, every, resumed)
        self._flusher.start()

    def _pass_over_what_is_on_record(self) -> None:
        """Do not record again the points that the run, going on from its last checkpoint, computes a second time.

        They come out the same; only under other settings than before would they not, and then they are all recorded.
        """
        if self._drift:
            return
        for name in self._client.get_run(self.id).data.metrics:
            if name.startswith(("train/", "val/", "health/")):
                history = self._client.get_metric_history(self.id, name)
                self._on_record[name] = max(point.step for point in history)

    def _flush_now_and_then(self) -> None:
        while not self._closing.wait(FLUSH_SECONDS):
            self.flush_or_warn()

    def flush_or_warn(self) -> None:
        """Flush; a store that is away for a moment must not end hours of training, and nothing is lost by waiting."""
        from mlflow.exceptions import MlflowException

        try:
            self.flush()
        except MlflowException as error:
            log.warning("The run store does not take metrics now, they are kept for later: %s", str(error)[:200])

    def _close(self, status: str, reason: str) -> None:
        """Write what is left, say how it ended, and let go of the run even if the store does not listen."""
        self._closing.set()
        if self._flusher.is_alive():
            self._flusher.join()
        with self.store.speaking(), ExitStack() as last_first:  # and each one even if another fails
            last_first.callback(self._lock.release)
            last_first.callback(self._client.set_terminated, self.id, status)
            last_first.callback(self.set_tags, {tag.ENDED: reason})
            last_first.callback(self._upload_rest)
            last_first.callback(self.flush)
            if self._monitor is not None:
                last_first.callback(_finish_monitor, self._monitor)

    def _upload_rest(self) -> None:
        if not self.uploads:
            return
        for path in sorted(self.folder.rglob("*")):
            hidden = path.name.startswith(".")
            if path.is_file() and not hidden and self._uploaded.get(path) != path.stat().st_mtime_ns:
                self.publish(path)


@contextmanager
def start(
    store: Store,
    experiment: str,
    name: str,
    config: Mapping[str, Any] | str,
    params: Mapping[str, Any],
    tags: Mapping[str, object] | None = None,
    parent: str | None = None,
    system_metrics: float | None = SYSTEM_METRICS_SECONDS,
) -> Iterator[Run]:
    """Open a new run for the length of a block; leaving it decides FINISHED, FAILED or KILLED.

    ``config`` is the resolved configuration, as YAML text or plain containers, kept as ``config.yaml``. ``parent`` is
    the id of the run that this one is a part of. ``system_metrics`` is how many seconds lie between two looks at
    processor, memory and GPUs; None looks away. Inside the block SIGTERM raises `Interrupted`, unless somebody handles
    it already.

    Raises:
        UserError: the store is locked, read-only or out of reach; no run was made.
    """
    with store.speaking():
        experiment_id = store.experiment_id(experiment)
        made = store.client.create_run(
            experiment_id,
            run_name=name,
            tags={tag.PARENT: parent} if parent else None,
        )
    record = store.run(made.info.run_id)
    lock = _hold(record)
    run = Run(store, record, made.info.artifact_uri, lock)
    with _alive(run):
        run._begin(config, params, tags or {}, system_metrics, resumed=False)
        yield run


@contextmanager
def resume(
    store: Store,
    record: RunRecord,
    config: Mapping[str, Any] | str,
    params: Mapping[str, Any],
    system_metrics: float | None = SYSTEM_METRICS_SECONDS,
) -> Iterator[Run]:
    """Open a run again, to go on where it stopped; otherwise like `start`.

    Parameters that changed since are told in a warning and in the tag ``darkroom.drift``; how the run began stays on
    record (``config.yaml``), and how it goes on stands beside it when that differs (``config.resumed.yaml``).

    Raises:
        UserError: another process is writing this very run, or the store cannot be written.
    """
    lock = _hold(record)
    try:
        with store.speaking():
            store.client.update_run(record.run_id, status="RUNNING")
            fresh = store.run(record.run_id)
            if tag.ENDED in fresh.tags:
                store.client.delete_tag(record.run_id, tag.ENDED)
            artifact_uri = store.client.get_run(record.run_id).info.artifact_uri
        run = Run(store, fresh, artifact_uri, lock)
    except BaseException:
        lock.release()
        raise
    with _alive(run):
        run._begin(config, params, {}, system_metrics, resumed=True)
        run._pass_over_what_is_on_record()
        yield run


@contextmanager
def group(
    store: Store,
    experiment: str,
    name: str,
    config: Mapping[str, Any] | str,
    params: Mapping[str, Any],
    tags: Mapping[str, object] | None = None,
) -> Iterator[Run]:
    """Open a run that only holds others together (a grid, a sweep): give its ``id`` to them as ``parent``."""
    with start(store, experiment, name, config, params, tags, system_metrics=None) as run:
        yield run


def register(run: Run, name: str, alias: str) -> int:
    """Make the best checkpoint of a run the next version of a registered model, and point ``alias`` at it.

    Returns the version. The model's source is the checkpoint file itself, not a copy.

    Raises:
        UserError: the run has no best checkpoint.
    """
    from mlflow.exceptions import MlflowException

    checkpoint = run.folder / "checkpoints" / "best.ckpt"
    if not checkpoint.exists():
        raise UserError(f"Run {run.name} has no checkpoints/best.ckpt to register as '{name}'; train it first.")
    run.publish(checkpoint)
    client = run.store.client
    with run.store.speaking():
        try:
            client.create_registered_model(name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        # The folder rather than the stored address, which is stale once the project has moved.
        source = f"{run.artifact_uri.rstrip('/')}/checkpoints/best.ckpt" if run.uploads else str(checkpoint)
        version = client.create_model_version(name, source, run_id=run.id)
        client.set_registered_model_alias(name, alias, version.version)
    return int(version.version)


def flatten(params: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Return nested mappings as one of dotted names to text, cut to the 6000 characters MLflow keeps."""
    flat: dict[str, str] = {}
    for key, value in params.items():
        if isinstance(value, Mapping) and value:
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = str(value)[:_PARAM_LENGTH]
    return flat


def _hold(record: RunRecord) -> filelock.BaseFileLock:
    """Take the lock that says "this run has a living process"."""
    record.folder.mkdir(parents=True, exist_ok=True)
    # Released where the run is closed, which may be in another thread than the one that opened it.
    lock = filelock.FileLock(record.folder.parent / ALIVE, thread_local=False)
    try:
        lock.acquire(blocking=False)
    except filelock.Timeout as error:
        holder = record.tags.get(tag.PROCESS, "another process")
        raise UserError(
            f"Run {record.short_id} {record.name} is being written by {holder}; wait for it or end it, or start a new "
            f"run from it with fork={record.short_id}."
        ) from error
    return lock


@contextmanager
def _alive(run: Run) -> Iterator[None]:
    with _terminations():
        try:
            yield
        except BaseException as error:
            try:
                run._close(*verdict(error))
            except Exception as closing:  # the block's own error is the one to tell; the run is reaped later
                log.error("Run %s could not be closed as it should: %s", run.name, closing)
            raise
        run._close("FINISHED", "finished")


def verdict(error: BaseException) -> tuple[str, str]:
    """Return the status and the reason of a run that an exception ended."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, KeyboardInterrupt):
            return "KILLED", "interrupted by SIGINT"
        if isinstance(seen, Interrupted):
            return "KILLED", f"interrupted by {seen}"
        if type(seen).__name__ == "SIGTERMException":  # Lightning's own
            return "KILLED", "interrupted by SIGTERM"
        # Lightning answers Ctrl-C with sys.exit(1): what stands behind an exit is what happened.
        seen = seen.__context__ if isinstance(seen, SystemExit) else None
    if isinstance(error, SystemExit):
        return ("FINISHED", "finished") if error.code in (None, 0) else ("FAILED", f"exited with {error.code}")
    if isinstance(error, UserError | Failure):
        return "FAILED", str(error)
    return "FAILED", f"{type(error).__name__}: {error}"


@contextmanager
def _terminations() -> Iterator[None]:
    """Turn SIGTERM into `Interrupted` for a while, unless it is handled already or this is not the main thread."""
    unhandled = signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    if not unhandled or threading.current_thread() is not threading.main_thread():
        yield
        return
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _interrupt(number: int, frame: FrameType | None) -> None:
    signal.signal(number, signal.SIG_IGN)  # a second one must not cut short the closing of the run
    raise Interrupted(signal.Signals(number).name)


def _system_monitor(uri: str, run_id: str, every: float, resumed: bool) -> Any:
    """Start MLflow's own thread that watches processor, memory, disk, network and GPUs."""
    from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

    watch: Any = SystemMetricsMonitor  # untyped
    monitor = watch(run_id, sampling_interval=every, resume_logging=resumed, tracking_uri=uri)
    monitor.start()
    return monitor


def _finish_monitor(monitor: Any) -> None:
    """Stop the thread, and record what it saw since its last report: for a short run, all there is."""
    monitor.finish()
    if metrics := monitor.aggregate_metrics():
        monitor.publish_metrics({key: value for key, value in metrics.items() if math.isfinite(value)})
        monitor.mlflow_logger.flush()
