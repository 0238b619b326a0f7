"""The store of every run: opened, listed, searched.

By default it is one SQLite file, ``mlruns/mlflow.db`` in the project root; ``MLFLOW_TRACKING_URI`` points to a server
or to another database instead. Nothing here imports torch, and MLflow itself (a second or more) is imported when it is
first needed.
"""

import itertools
import os
import re
import subprocess
import sys
import urllib.error
import urllib.parse
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import filelock

from darkroom import advice, files, recorded_names
from darkroom.errors import UserError, nearest
from darkroom.tracking import database, naming, outputs, probing, reaping, secrets, tag
from darkroom.tracking.probing import Unreachable

_CREATE = (
    "import sys; from pathlib import Path; from darkroom.tracking import database; "
    "database.create(Path(sys.argv[1]), Path(sys.argv[2]))"
)
_LISTED = 8  # runs in a sentence, of which one is meant


@dataclass(frozen=True)
class RunRecord:
    """What the store knows of one run, at the moment it was asked."""

    run_id: str
    name: str
    experiment: str
    status: str
    started: datetime
    ended: datetime | None
    params: Mapping[str, str]
    metrics: Mapping[str, float]
    tags: Mapping[str, str]
    folder: Path

    @property
    def short_id(self) -> str:
        """The first eight digits of the id: enough to name a run in a sentence."""
        return self.run_id[:8]

    @property
    def objective(self) -> tuple[str, str] | None:
        """The metric this run is judged by and whether less of it is better: ``("val/fid", "min")``."""
        metric = self.tags.get(tag.OBJECTIVE)
        return (metric, self.tags.get(tag.OBJECTIVE_MODE, "min")) if metric else None

    @property
    def objective_value(self) -> float | None:
        """The objective at the best checkpoint when that was recorded, else as last logged."""
        if (recorded := self.tags.get(tag.OBJECTIVE_VALUE)) is not None:
            return float(recorded)
        return self.metrics.get(self.objective[0]) if self.objective else None


class Store:
    """Where runs are kept and found again."""

    def __init__(self, root: Path, uri: str, wait: float) -> None:
        self.root = root
        self.uri = uri  # with its password where that is needed to connect: what is shown is `shown`
        self.shown = secrets.redacted(uri)
        self.wait = wait
        self.read_only = False
        self.runs_folder = root / "mlruns"
        self._creator: subprocess.Popen[bytes] | None = None

    @classmethod
    def open(cls, root: Path, wait: float = 20.0, *, reading: bool = False) -> "Store":
        """Open the store of a project, or the one that ``MLFLOW_TRACKING_URI`` names.

        Returns in milliseconds: it is verified that the store can be written, and MLflow is left for the first use. For
        ``reading``, one that cannot be written is opened as it is: nothing is created, closed or locked in it.

        Raises:
            UserError: the database stayed locked for ``wait`` seconds, cannot be written or is not one, or the server
                does not answer within a few seconds, or does not let us in.
        """
        root = root.resolve()
        uri = os.environ.get("MLFLOW_TRACKING_URI") or database.address(root / "mlruns" / "mlflow.db")
        store = cls(root, uri, wait)
        if store.remote:
            store.uri = probing.export_credentials(uri)
            probing.check_server(store.uri, store.shown)
        elif not re.match(r"[a-z0-9+]+://", uri) or uri.startswith("file:"):
            raise UserError(
                f"MLFLOW_TRACKING_URI is {store.shown!r}, a folder, which MLflow no longer writes to; expected a server"
                " or a database: unset it, or type MLFLOW_TRACKING_URI=sqlite:////absolute/path/mlflow.db."
            )
        elif store.database is None:
            probing.check_database(uri)
        elif reading and probing.cannot_write(store.database):
            store.read_only = True
            store.uri = probing.reading_address(store.database, wait)
        else:
            probing.check_sqlite(store.database, wait)
        return store

    @property
    def place(self) -> str:
        """What a person calls the store: a server's or a database's host and port, or the file."""
        return secrets.host(self.uri)

    @property
    def remote(self) -> bool:
        """Whether a server stands between this process and the database, so that files must be uploaded."""
        return self.uri.startswith(("http://", "https://"))

    @property
    def database(self) -> Path | None:
        """The SQLite file, when the store is one."""
        if not self.uri.startswith("sqlite:///"):
            return None
        path = self.uri.removeprefix("sqlite:///").split("?")[0]
        return Path(urllib.parse.unquote(path.removeprefix("file:"))).absolute()

    def prepare_in_background(self) -> None:
        """Start creating a database that does not exist yet in a process of its own.

        Creating one takes seconds; called before torch is imported, they pass unnoticed. Does nothing otherwise.
        """
        if self.database is not None and not self.database.exists() and self._creator is None:
            self._creator = subprocess.Popen(
                [sys.executable, "-c", _CREATE, str(self.database), str(self.runs_folder)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )

    @cached_property
    def client(self) -> Any:
        """The MLflow client, with the database behind it created if need be."""
        if self._creator is not None:
            self._creator.wait()  # when it failed, creating it here says why
            self._creator = None
        with self.plain_errors():
            mlflow_client = database.quiet_client()
            if self.database is not None and not self.database.exists():
                database.create(self.database, self.runs_folder)
            return mlflow_client(self.uri)

    @contextmanager
    def plain_errors(self) -> Iterator[None]:
        """Turn what MLflow and SQLAlchemy raise about a locked, read-only, old or unreachable store into a sentence."""
        try:
            yield
        except UserError:
            raise
        except Exception as error:
            text = secrets.redacted(str(error), self.uri)
            if probing.is_unreachable(text):
                raise Unreachable(
                    f"The run store at {self.shown} (MLFLOW_TRACKING_URI) stopped answering; start it again."
                ) from None
            if sentence := probing.sentence(text, self.shown, self.wait):
                raise UserError(sentence) from error
            if self.database is not None and database.of_database(error):
                reason = " ".join(text.partition("[SQL")[0].split())[:200]
                raise UserError(
                    f"The run store {self.shown} is damaged, or another program's ({reason}): move it away or restore"
                    " it from a copy."
                ) from error
            if text != str(error):  # a password must not stand in a traceback
                raise RuntimeError(text) from None
            raise

    def experiment_id(self, name: str) -> str:
        """Return the id of an experiment, creating it on first use.

        It is created such that its runs lie at ``mlruns/<experiment id>/<run id>/artifacts``, wherever we stand.
        """
        with self.plain_errors():
            found = self.client.get_experiment_by_name(name)
            if found is None:
                self.runs_folder.mkdir(parents=True, exist_ok=True)
                with _locked(self.runs_folder / ".experiments.lock", self.uri, self.wait):
                    found = self.client.get_experiment_by_name(name)
                    if found is None:
                        return self._create_experiment(name)
        if found.lifecycle_stage == "deleted":
            raise UserError(
                f"Experiment '{name}' was deleted in the dashboard; choose another name, or type "
                f"{advice.mlflow(self.uri, 'experiments', 'restore', '--experiment-id', str(found.experiment_id))}"
            )
        return str(found.experiment_id)

    def _create_experiment(self, name: str) -> str:
        if not self.remote:
            # The client can only be told a whole location, not "one folder per id under here"; what is behind it can.
            return str(database.tables(self.uri, self.runs_folder).create_experiment(name))
        from mlflow.exceptions import MlflowException

        try:
            return str(self.client.create_experiment(name))
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":  # by somebody on another machine, just now
                raise
            return str(self.client.get_experiment_by_name(name).experiment_id)

    def folder(self, experiment_id: str, run_id: str) -> Path:
        """Return the folder of a run's files: by layout, not by stored address, so that the project may move."""
        for name in (experiment_id, run_id):
            if not re.fullmatch(r"\w[\w-]*", name):  # a server's word, and a folder is made of it
                raise UserError(
                    f"The store {self.uri} calls a run or an experiment {name!r}, which is no id of MLflow's."
                )
        return self.runs_folder / experiment_id / run_id / "artifacts"

    def runs(self, experiment: str | None = None, limit: int | None = None) -> list[RunRecord]:
        """Return the runs of one experiment, or those of all that train, newest first."""
        if experiment is not None:
            return list(self._search("", experiment, limit))
        return list(itertools.islice((run for run in self._search("", None, None) if tag.KIND not in run.tags), limit))

    def tagged(self, experiment: str, name: str, value: str) -> list[RunRecord]:
        """Return the runs of an experiment whose tag has this value, newest first."""
        return list(self._search(f"tags.`{name}` = '{value}'", experiment, None))

    def parts(self, record: RunRecord) -> list[RunRecord]:
        """Return the runs that a grid or a sweep holds together, newest first; none when a run is neither."""
        return self.tagged(record.experiment, tag.PARENT, record.run_id)

    def run(self, run_id: str) -> RunRecord:
        """Return the run with exactly this id."""
        with self.plain_errors():
            run = self.client.get_run(run_id)
            return self._record(run, self.client.get_experiment(run.info.experiment_id).name)

    def find(self, ref: str, *, experiment: str | None = None, having: str | None = None) -> RunRecord:
        """Return the run that a person means by ``ref``.

        ``ref`` is a full id; the first digits of one id; a run's name, when no other has it; a folder that stands for a
        run (`outputs`); ``latest`` (the newest); or ``best``: the finished run with the best objective of its own
        (``darkroom.objective``), among the runs of the newest run's experiment unless ``experiment`` names another, and
        only among those judged by the same metric as the newest judged run.

        With ``having``, a path such as ``checkpoints/last.ckpt``, ``latest`` and ``best`` pass over runs without it.
        """
        if ref in ("latest", "best"):
            return self._latest(experiment, having) if ref == "latest" else self._best(experiment, having)
        if (meant := outputs.run_id(Path(ref).expanduser())) is not None:
            return self._of_folder(ref, meant)
        begun: list[RunRecord] = []
        if re.fullmatch(r"[0-9a-f]{1,32}", ref):
            begun = list(self._search(f"attributes.run_id LIKE '{ref}%'", experiment, _LISTED))
            if len(begun) > 1:
                raise UserError(
                    f"'{ref}' begins the ids of several runs: {_listed(begun)}. Type more digits of the one."
                )
        named: list[RunRecord] = []
        if not {"'", '"'} <= set(ref):
            named = list(self._search(f"attributes.run_name = {naming.quoted(ref)}", experiment, _LISTED))
        matches = {record.run_id: record for record in [*begun, *named]}
        if len(matches) == 1 or ref in matches:
            return matches.get(ref) or next(iter(matches.values()))
        if matches:
            raise UserError(
                f"'{ref}' is the name of several runs: {_listed(list(matches.values()))}. Type the id of the one."
            )
        recent = self.runs(experiment, limit=200)
        if not recent:
            raise UserError(f"There is no run '{ref}': {self._nothing(experiment)}")
        by_name = {record.name: record for record in reversed(recent)}
        close = [name for name in by_name if name in nearest(ref, by_name)][:3]
        shown = list({r.run_id: r for r in [*(by_name[name] for name in close), *recent[:3]]}.values())
        raise UserError(
            f"No run's id begins with '{ref}' and none has that name. Recent runs: {_listed(shown)}. "
            "Try: darkroom compare"
        )

    def known(self, run_id: str) -> RunRecord | None:
        """Return the run with exactly this id, or None: a checkpoint may outlive the store that its run was in."""
        return next(self._search(f"attributes.run_id = '{run_id}'", None, limit=1), None)

    def _of_folder(self, folder: str, run_id: str) -> RunRecord:
        if (record := self.known(run_id)) is not None:
            return record
        raise UserError(
            f"{folder} stands for run {run_id[:8]}, which the store {self.shown} does not hold: its numbers, pictures"
            " and checkpoint are in that folder; to have it among the runs, train it again."
        )

    def _latest(self, experiment: str | None, having: str | None) -> RunRecord:
        for record in self._search("", experiment, None):
            if self._has(record, having) and (experiment is not None or tag.KIND not in record.tags):
                return record
        raise UserError(f"There is no latest run{_with(having)}: {self._nothing(experiment)}")

    def _best(self, experiment: str | None, having: str | None) -> RunRecord:
        if experiment is None:
            experiment = self._latest(None, having).experiment
        objective: tuple[str, str] | None = None
        best: tuple[float, RunRecord] | None = None
        for record in self._search("attributes.status = 'FINISHED'", experiment, None):
            value = record.objective_value
            if record.objective is None or value is None or value != value or not self._has(record, having):
                continue
            objective = objective or record.objective
            if record.objective != objective:
                continue
            badness = value if objective[1] == "min" else -value
            if best is None or badness < best[0]:
                best = (badness, record)
        if best is None:
            raise UserError(
                f"No finished run of experiment '{experiment}'{_with(having)} recorded an objective to be the best by; "
                "name a run, or type darkroom compare to see them."
            )
        return best[1]

    def _nothing(self, experiment: str | None) -> str:
        where = f"experiment '{experiment}'" if experiment else f"the store {self.shown}"
        return f"{where} holds none that fits. Try: darkroom train"

    def _has(self, record: RunRecord, having: str | None) -> bool:
        if having is None or (record.folder / having).exists():
            return True
        above = Path(having).parent.as_posix()
        return self.remote and any(
            file.path == having for file in self.client.list_artifacts(record.run_id, None if above == "." else above)
        )

    def curve(self, run_id: str, metric: str) -> list[tuple[int, float]]:
        """Return every point of a run's metric by its step; of points at the same step the one logged last."""
        with self.plain_errors():
            points = self.client.get_metric_history(run_id, metric)
        return sorted({p.step: float(p.value) for p in sorted(points, key=lambda point: point.timestamp)}.items())

    def data(self, record: RunRecord) -> dict[str, tuple[str, str]]:
        """Return the name and the digest of the data that a run has read, by split."""
        with self.plain_errors():
            inputs = self.client.get_run(record.run_id).inputs.dataset_inputs
        found = {}
        for each in inputs:
            split = next((label.value for label in each.tags if label.key == "mlflow.data.context"), "")
            found[split] = (each.dataset.name, each.dataset.digest)
        return found

    def fetch(self, record: RunRecord, name: str) -> Path | None:
        """Return one of a run's files or folders, downloaded if only the server has it; None when nobody does."""
        path = record.folder / name
        if not path.exists() and self.remote and self._has(record, name):
            path.parent.mkdir(parents=True, exist_ok=True)
            with files.scratch(path.parent) as folder, self.plain_errors():
                Path(self.client.download_artifacts(record.run_id, name, str(folder))).replace(path)
        return path if path.exists() else None

    def is_locked_here(self, record: RunRecord) -> bool:
        """Say whether a process of this machine holds the lock of a run."""
        path = record.folder.parent / reaping.ALIVE
        if not path.exists():
            return False
        with reaping.try_lock(path) as free:
            return not free

    def reap(self) -> list[RunRecord]:
        """Close the runs whose process vanished (SIGKILL, power cut), and return them; see `reaping`.

        What a run recorded while the store was away is sent now. A store that is only read is left as it is.
        """
        if self.read_only or (self.database is not None and not self.database.exists()):
            return []
        return reaping.reap(self)

    def search(self, query: str, limit: int | None = None) -> list[RunRecord]:
        """Return the runs of all experiments that a query of MLflow's finds, newest first."""
        return list(self._search(query, None, limit))

    def _search(self, query: str, experiment: str | None, limit: int | None) -> Iterator[RunRecord]:
        with self.plain_errors():
            names = {str(found.experiment_id): found.name for found in self.experiments()}
        if experiment is not None:
            if experiment not in names.values():
                known = f" Known: {nearest(experiment, names.values())}." if names else ""
                raise UserError(f"There is no experiment '{experiment}'.{known} Try: darkroom compare")
            names = {key: name for key, name in names.items() if name == experiment}
        token = None
        found = 0
        while limit is None or found < limit:
            with self.plain_errors():
                page = self.client.search_runs(
                    list(names),
                    filter_string=query,
                    max_results=min(limit - found, 200) if limit is not None else 200,
                    order_by=["attributes.start_time DESC"],
                    page_token=token,
                )
            for run in page:
                found += 1
                yield self._record(run, names[str(run.info.experiment_id)])
            token = page.token
            if not token:
                return

    def experiments(self) -> Iterator[Any]:
        """Yield the experiments that are not deleted, as MLflow has them."""
        token = None
        while True:
            page = self.client.search_experiments(page_token=token)
            yield from page
            token = page.token
            if not token:
                return

    def _record(self, run: Any, experiment: str) -> RunRecord:
        info = run.info
        return RunRecord(
            run_id=info.run_id,
            name=info.run_name or "",
            experiment=experiment,
            status=info.status,
            started=_moment(info.start_time),
            ended=_moment(info.end_time) if info.end_time and info.status != "RUNNING" else None,
            params={name: recorded_names.now(value) for name, value in run.data.params.items()},
            metrics=dict(run.data.metrics),
            tags=dict(run.data.tags),
            folder=self.folder(str(info.experiment_id), info.run_id),
        )


@contextmanager
def _locked(path: Path, uri: str, wait: float) -> Iterator[None]:
    try:
        with filelock.FileLock(path, timeout=wait):
            yield
    except filelock.Timeout as error:
        raise UserError(probing.sentence("database is locked", uri, wait)) from error


def _listed(records: list[RunRecord]) -> str:
    return ", ".join(f"{record.short_id} {record.name}" for record in records)


def _with(having: str | None) -> str:
    return f" with {having}" if having else ""


def _moment(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)
