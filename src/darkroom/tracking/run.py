"""One run: opened, written to, and closed with the truth about how it ended."""

import json
import logging
import os
import re
import socket
import uuid
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import filelock
import numpy as np
import yaml

from darkroom import files, paths, signals
from darkroom.errors import Failure, Interrupted, UserError
from darkroom.tracking import environment, naming, reaping, secrets, sending, tag
from darkroom.tracking.claims import Claim
from darkroom.tracking.clock import Clock
from darkroom.tracking.delivery import stored
from darkroom.tracking.outbox import Outbox
from darkroom.tracking.reaping import ALIVE
from darkroom.tracking.store import RunRecord, Store

log = logging.getLogger("darkroom")

FLUSH_SECONDS = 3.0
SYSTEM_METRICS_SECONDS = 10.0

_PARAM_LENGTH = 6000  # MLflow's limits
_TAG_LENGTH = 8000
_COMPUTED = ("train/", "val/", "health/", "fitted/", "test/", "cost/", "latents/")  # by training and what follows it
_TAKING_SECONDS = 1.0  # that somebody may hold a run's lock only to see whether it is free
_NAME = re.compile(r"[\w. :\-]+(/[\w. :\-]+)*")
_PICTURE_KEY = re.compile(r"[\w.\- ]+", re.ASCII)


class Run:
    """An open run. Made by `start` and `resume`; every method may be called from any thread, and none waits.

    What is recorded is written to the `outbox` of the run, and sent to the store by a thread of its own. Files belong
    in ``folder``, directly or through the ``log_…`` methods. When a server keeps the files elsewhere they are uploaded:
    those of the ``log_…`` methods and of `publish` in turn, everything else when the run is closed.
    """

    def __init__(self, store: Store, record: RunRecord, artifact_uri: str, clock: Clock) -> None:
        self.store = store
        self.id = record.run_id
        self.name = record.name
        self.experiment = record.experiment
        self.folder = record.folder
        self.artifact_uri = artifact_uri
        self._clock = clock
        self._params = dict(record.params)
        self._drift: dict[str, list[str]] = json.loads(record.tags.get(tag.DRIFT, "{}"))
        self.uploads, _ = reaping.places(store, record, artifact_uri)
        self._known_names: set[str] = set()
        self._on_record: dict[str, int] = {}
        self._earlier: dict[str, dict[int, float]] = {}
        self._outbox = Outbox(record.folder.parent)
        self._recipient = reaping.recipient_of(store, record, artifact_uri)
        self._sender = sending.Sender(self._outbox, self._recipient, store.place, FLUSH_SECONDS)
        self._monitor: Any = None

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """Record numbers at a step (images seen). Takes microseconds.

        NaN is kept as such; infinities become the largest double.

        Raises:
            ValueError: a name that MLflow cannot store; names look like ``train/loss``.
        """
        now = self._clock.now()
        for name in metrics:
            if name not in self._known_names:
                if not _NAME.fullmatch(name) or len(name) > 250:
                    raise ValueError(f"A metric cannot be called {name!r}: letters, digits and _ . - : / are allowed.")
                self._known_names.add(name)
        points = [
            (name, stored(float(value)), now, int(step))
            for name, value in metrics.items()
            if step > self._on_record.get(name, -1)
        ]
        if points:
            self._write("metrics", points=points)

    def flush(self) -> bool:
        """Wait until the store has all that was recorded so far; False, soon, when it is away."""
        return self._outbox.closed or self._sender.flush()

    def sync(self) -> None:
        """Return when all that was recorded so far is on this machine's disk; the store is not waited for."""
        self._outbox.sync()

    def curves(self, prefix: str) -> dict[str, dict[int, float]]:
        """Return every metric with this prefix: its value at each step, the last where two are."""
        found: dict[str, dict[int, float]] = defaultdict(dict)
        for name, points in self._earlier.items():
            found[name] |= points
        for entry, _ in self._outbox.entries():
            for name, value, _, step in entry.get("points", ()):
                found[name][step] = value
        return {name: dict(sorted(found[name].items())) for name in sorted(found) if name.startswith(prefix)}

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

        path = self.folder / "samples" / f"{key}_{step:08d}.png"
        images.save_png(path, image)
        inside = path.relative_to(self.folder).as_posix()
        self._write("picture", path=inside, key=key, step=int(step), time=self._clock.now(), id=str(uuid.uuid4()))

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
        flat = flatten(params)
        fresh = {key: value for key, value in flat.items() if key not in self._params}
        changed = {key: [self._params[key], flat[key]] for key in flat if self._params.get(key, flat[key]) != flat[key]}
        if fresh:
            self._write("params", values=fresh)
        self._params.update(fresh)
        if changed:
            self._drift.update(changed)
            self.set_tags({tag.DRIFT: json.dumps(self._drift)})
            told = ", ".join(f"{key} (was {was}, is {now})" for key, (was, now) in changed.items())
            log.warning("Run %s goes on with other settings than it began with: %s.", self.name, told)

    def set_tags(self, values: Mapping[str, object]) -> None:
        """Set tags, as text; longer ones than MLflow takes are cut, and passwords in addresses are hidden."""
        self._write("tags", values={key: _tag(value) for key, value in values.items()})

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
        self._write("dataset", name=name, digest=digest, split=split)

    def publish(self, path: Path) -> None:
        """Upload a file of the run's folder that is final; does nothing when the folder is where files are kept."""
        if self.uploads:
            self._write("file", path=path.relative_to(self.folder).as_posix())

    def log_model(self, name: str, source: str, alias: str, images: int | None = None) -> None:
        """Make a file the next version of a registered model, and point ``alias`` at it: see `register`."""
        record = uuid.uuid4().hex if images is None else f"{self.id}-{images}"
        self._write("model", name=name, source=source, alias=alias, id=record)

    def _write(self, kind: str, **content: Any) -> None:
        """Put a record into the queue; of a run that is closed, which has none any more, it is sent at once."""
        if not self._outbox.closed:
            self._outbox.append(kind, **content)
            return
        with self.store.plain_errors():
            self._recipient.send([{"kind": kind, **content}], doubtful=False)

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
        code = {tag.GIT_COMMIT: state.commit, tag.GIT_DIRTY: str(bool(state.diff)).lower()} if state else {}
        self.set_tags({**values, **code, tag.PROCESS: _process()})
        self._record(
            "config.yaml", config if isinstance(config, str) else yaml.safe_dump(dict(config), sort_keys=False)
        )
        self._record("environment.json", json.dumps(environment.describe(), indent=2) + "\n")
        if state and state.diff:
            self._record("git.diff", state.diff)
        self.log_params(params)
        if every is not None:
            from darkroom.tracking import system_metrics  # imports MLflow

            uri = self.store.uri
            self._monitor = system_metrics.start(self.log_metrics, self.id, uri, every, resumed=resumed)
        self._sender.start()
        self.flush()

    def _pass_over_what_is_on_record(self) -> None:
        """Do not record again the points that the run, going on from its last checkpoint, computes a second time.

        They come out the same; only under other settings than before would they not, and then they are all recorded.
        """
        with self.store.plain_errors():
            for name in self.store.client.get_run(self.id).data.metrics:
                if name.startswith(_COMPUTED):
                    self._earlier[name] = dict(self.store.curve(self.id, name))
        if not self._drift:
            self._on_record = {name: max(points) for name, points in self._earlier.items()}

    def _close(self, status: str, reason: str) -> bool:
        """Record how it ended, and send what is left; False when the store is away and it waits on disk."""
        if self._monitor is not None:
            self._monitor.finish()
        self._write("end", status=status, reason=_tag(reason), time=self._clock.now(), files=True)
        sent = False
        try:
            sent = self._sender.close(sending.CLOSING_SECONDS)
        finally:
            if sent:
                self._outbox.remove()
            else:
                self._tell_what_waits(status)
                self._outbox.close()
        return sent

    def _tell_what_waits(self, status: str) -> None:
        self._outbox.sync()
        log.warning(
            "Run %s %s ended as %s, and what the run store at %s does not have of it yet waits in %s: the next command"
            " that reads the store, such as darkroom compare, sends it and closes the run.",
            *(self.id[:8], self.name, status, self.store.place, self._outbox.path),
        )


@contextmanager
def start(
    store: Store,
    experiment: str,
    name: str | None,
    config: Mapping[str, Any] | str,
    params: Mapping[str, Any],
    tags: Mapping[str, object] | None = None,
    parent: str | None = None,
    system_metrics: float | None = SYSTEM_METRICS_SECONDS,
    stem: str | None = None,
) -> Iterator[Run]:
    """Open a new run for the length of a block; leaving it decides FINISHED, FAILED or KILLED.

    A run without a name gets ``stem``, which is the experiment's name if nothing else, with the next number.
    ``config`` is the resolved configuration, as YAML text or plain containers, kept as ``config.yaml``. ``parent`` is
    the id of the run that this one is a part of. ``system_metrics`` is how many seconds lie between two looks at
    processor, memory and GPUs; None looks away. Inside the block SIGTERM, SIGHUP and their like raise
    `Interrupted`, unless somebody handles them already (`signals.interruptible`).

    Raises:
        UserError: the store is locked, read-only or out of reach; no run was made.
    """
    stem = stem or experiment.replace("/", "-")
    with ExitStack() as held:
        with store.plain_errors():
            experiment_id = store.experiment_id(experiment)
            with naming.lock(store):
                clock = naming.clock_after_runs(store)
                given = name or naming.number(store, stem, experiment_id)
                claim = held.enter_context(_claimed(store))
                labels = {tag.CLAIM: claim.token, tag.PROCESS: _process(), **({tag.PARENT: parent} if parent else {})}
                made = store.client.create_run(experiment_id, clock.began, labels, given)
                claim.note(made.info.run_id)
            if name:
                naming.note(store, stem, experiment_id, name)
            elif store.remote:
                naming.settle(store, stem, experiment_id, made.info.run_id, given)
            record = store.run(made.info.run_id)
        held.enter_context(_held(record))
        run = Run(store, record, made.info.artifact_uri, clock)
        with _alive(run, claim):
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
    with ExitStack() as held:
        held.enter_context(_held(record))
        claim = held.enter_context(_claimed(store, record.run_id))
        with store.plain_errors():
            reaping.deliver(store, record)
            store.client.set_tag(record.run_id, tag.CLAIM, claim.token)
            store.client.update_run(record.run_id, status="RUNNING")
            fresh = store.run(record.run_id)
            if tag.ENDED in fresh.tags:
                store.client.delete_tag(record.run_id, tag.ENDED)
            artifact_uri = store.client.get_run(record.run_id).info.artifact_uri
        last = max(moment for moment in (record.started, record.ended) if moment is not None)
        files.sweep_below(fresh.folder)
        run = Run(store, fresh, artifact_uri, Clock(not_before=int(last.timestamp() * 1000) + 1))
        with _alive(run, claim):
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


def register(run: Run, name: str, alias: str, images: int | None = None) -> int | None:
    """Make the best checkpoint of a run the next version of a registered model, and point ``alias`` at it.

    Returns the version, None when the store is away and will give one later; it is the earlier one when the run was
    registered under this name at as many ``images`` before. The model's source is the checkpoint file itself, not a
    copy.

    Raises:
        UserError: the run has no best checkpoint.
    """
    checkpoint = run.folder / "checkpoints" / "best.ckpt"
    if not checkpoint.exists():
        raise UserError(f"Run {run.name} has no checkpoints/best.ckpt to register as '{name}'; train it first.")
    run.publish(checkpoint)
    # The folder rather than the stored address, which is stale once the project has moved.
    source = f"{run.artifact_uri.rstrip('/')}/checkpoints/best.ckpt" if run.uploads else str(checkpoint)
    run.log_model(name, source, alias, images)
    if not run.flush():
        return None
    with run.store.plain_errors():
        return int(run.store.client.get_model_version_by_alias(name, alias).version)


def flatten(params: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Return nested mappings as one of dotted names to text, cut to the 6000 characters MLflow keeps."""
    flat: dict[str, str] = {}
    for key, value in params.items():
        if isinstance(value, Mapping) and value:
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = str(value)[:_PARAM_LENGTH]
    return flat


def _tag(value: object) -> str:
    return secrets.redacted(str(value))[:_TAG_LENGTH]


def _process() -> str:
    return f"{socket.gethostname()}:{os.getpid()}"


@contextmanager
def _claimed(store: Store, run_id: str | None = None) -> Iterator[Claim]:
    """Claim a run for a block. The claim stays where the block ends before the run is closed: see `reaping`."""
    claim = Claim.take(store.runs_folder, run_id)
    try:
        yield claim
    finally:
        claim.release()


@contextmanager
def _held(record: RunRecord) -> Iterator[None]:
    """Hold the lock that says "this run has a living process"."""
    record.folder.mkdir(parents=True, exist_ok=True)
    # Released where the run is closed, which may be in another thread than the one that opened it.
    lock = filelock.FileLock(record.folder.parent / ALIVE, thread_local=False)
    try:
        lock.acquire(timeout=_TAKING_SECONDS)
    except filelock.Timeout as error:
        holder = record.tags.get(tag.PROCESS, "another process")
        raise UserError(
            f"Run {record.short_id} {record.name} is being written by {holder}; wait for it or end it, or start a new "
            f"run from it with fork={record.short_id}."
        ) from error
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _alive(run: Run, claim: Claim) -> Iterator[None]:
    with signals.interruptible():
        try:
            yield
        except BaseException as error:
            try:
                with signals.deferred():
                    _end(run, claim, *verdict(error))
            except Exception as closing:  # the block's own error is the one to tell; the run is reaped later
                log.error("Run %s could not be closed as it should: %s", run.name, secrets.redacted(str(closing)))
            raise
        with signals.deferred(deliver=True):
            _end(run, claim, "FINISHED", "finished")


def _end(run: Run, claim: Claim, status: str, reason: str) -> None:
    if run._close(status, reason):
        claim.drop()


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
        # Lightning answers Ctrl-C with sys.exit(1): what happened is the context of an exit.
        seen = seen.__context__ if isinstance(seen, SystemExit) else None
    if isinstance(error, SystemExit):
        return ("FINISHED", "finished") if error.code in (None, 0) else ("FAILED", f"exited with {error.code}")
    if isinstance(error, UserError | Failure):
        return "FAILED", str(error)
    return "FAILED", f"{type(error).__name__}: {error}"
