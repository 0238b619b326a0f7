"""Records of an outbox, given to MLflow so that nothing arrives twice.

A request whose answer is lost may have been received. Files are written under names that are decided when they are
recorded, tags and parameters can be set again, and for points of curves the store is asked what it has.
"""

import glob
import json
import math
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from darkroom.tracking import tag
from darkroom.tracking.outbox import Entry

_POINTS = 1000  # MLflow's limits of one request
_NAMES = 100
_DIGEST_LENGTH = 36
_ATTEMPTS = 4
_SHOWN = 256  # pixels of the longer side of what the dashboard shows of a picture at first
_LARGEST = sys.float_info.max
# What the store will answer the next time as well: the record is wrong, and not the moment.
_REFUSALS = (
    *("INVALID_PARAMETER_VALUE", "BAD_REQUEST", "RESOURCE_ALREADY_EXISTS"),
    *("ENDPOINT_NOT_FOUND", "FEATURE_DISABLED", "NOT_IMPLEMENTED"),
)


def refused(error: Exception) -> bool:
    """Say whether what failed will fail again, however long one waits.

    A store that does not know the run is none of it, and may be another one that answers in its place for a while.
    """
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    if isinstance(error, MlflowException):  # with "API request to" not MLflow answers, but what stands before it
        return error.error_code in _REFUSALS and not str(error).startswith("API request to")
    return not isinstance(error, (OSError, SQLAlchemyError))  # of which requests' own errors are a kind


class Delivery:
    """Gives the records of one run to an MLflow client.

    ``uploads`` says whether files of the run's folder must be sent, and ``shows`` whether MLflow's dashboard finds
    pictures of this run at all.
    """

    def __init__(self, client: Any, run_id: str, folder: Path, *, uploads: bool, shows: bool) -> None:
        self._client, self._run_id, self._folder = client, run_id, folder
        self._uploads, self._shows = uploads, shows
        self._uploaded: dict[Path, int] = {}
        self._known: dict[str, set[tuple[int, int, float | None]]] = {}

    def reachable(self) -> None:
        """Ask the store something harmless; what it raises says that it is away."""
        self._client.get_run(self._run_id)
        self._known.clear()

    def send(self, entries: Sequence[Entry], *, doubtful: bool) -> None:
        """Give one batch of an outbox to the store; ``doubtful`` when it may have some of it already.

        Raises:
            Exception: MLflow's; see `refused`.
        """
        kind = entries[0]["kind"]
        if kind == "metrics":
            self._metrics([point for entry in entries for point in entry["points"]], doubtful)
            return
        for entry in entries:
            getattr(self, f"_{kind}")(entry, doubtful)

    def _metrics(self, points: Sequence[list[Any]], doubtful: bool) -> None:
        from mlflow.entities import Metric

        if doubtful:
            points = [point for point in points if _identity(*point[1:]) not in self._on_record(point[0])]
        for first in range(0, len(points), _POINTS):
            metrics = [Metric(*point) for point in points[first : first + _POINTS]]
            self._client.log_batch(self._run_id, metrics=metrics)

    def _on_record(self, name: str) -> set[tuple[int, int, float | None]]:
        if name not in self._known:
            history = self._client.get_metric_history(self._run_id, name)
            self._known[name] = {_identity(point.value, point.timestamp, point.step) for point in history}
        return self._known[name]

    def _params(self, entry: Entry, doubtful: bool) -> None:
        from mlflow.entities import Param

        params = [Param(key, value) for key, value in entry["values"].items()]
        for first in range(0, len(params), _NAMES):
            self._client.log_batch(self._run_id, params=params[first : first + _NAMES])

    def _tags(self, entry: Entry, doubtful: bool) -> None:
        from mlflow.entities import RunTag

        tags = [RunTag(key, value) for key, value in entry["values"].items()]
        for first in range(0, len(tags), _NAMES):
            self._client.log_batch(self._run_id, tags=tags[first : first + _NAMES])

    def _dataset(self, entry: Entry, doubtful: bool) -> None:
        from mlflow.entities import Dataset, DatasetInput, InputTag
        from mlflow.exceptions import MlflowException

        name, digest = entry["name"], entry["digest"]
        source = json.dumps({"name": name, "digest": digest})
        dataset = Dataset(name, digest[:_DIGEST_LENGTH], source_type="darkroom", source=source)
        # MLflow looks whether the data are known and then adds them: of runs that begin together on a database with
        # several writers all but one are refused, and find them there the next time.
        inputs = [DatasetInput(dataset, [InputTag("mlflow.data.context", entry["split"])])]
        for attempt in range(_ATTEMPTS):
            try:
                self._client.log_inputs(self._run_id, datasets=inputs)
                return
            except MlflowException:
                if attempt == _ATTEMPTS - 1:
                    raise
                time.sleep(0.1 * 2**attempt)

    def _file(self, entry: Entry, doubtful: bool) -> None:
        path = self._folder / entry["path"]
        if self._uploads and path.is_file():
            self._upload(path)

    def _upload(self, path: Path) -> None:
        changed = path.stat().st_mtime_ns
        if self._uploaded.get(path) == changed:
            return
        inside = path.relative_to(self._folder).parent.as_posix()
        self._client.log_artifact(self._run_id, str(path), None if inside == "." else inside)
        self._uploaded[path] = changed

    def _picture(self, entry: Entry, doubtful: bool) -> None:
        """Add a picture to the series that the dashboard leafs through, which is known by the names of its files."""
        self._file(entry, doubtful)
        source = self._folder / entry["path"]
        if not self._shows or not source.is_file():
            return
        from PIL import Image

        place = f"{entry['key']}+step+{entry['step']}+"
        name = f"{place}timestamp+{entry['time']}+{entry['id']}"
        if not self._uploads:  # drawn again, after an interruption, it takes the place of the one before
            for earlier in (self._folder / "images").glob(f"{glob.escape(place)}*"):
                earlier.unlink(missing_ok=True)
        with tempfile.TemporaryDirectory() as folder:
            whole, small = Path(folder) / f"{name}.png", Path(folder) / f"{name}+compressed.webp"
            shutil.copyfile(source, whole)
            with Image.open(whole) as picture:
                scale = _SHOWN / max(picture.size)
                width, height = (max(1, int(side * scale)) for side in picture.size)
                picture.resize((width, height)).save(small)
            for path in (whole, small):
                self._client.log_artifact(self._run_id, str(path), "images")
        self._client.set_tag(self._run_id, "mlflow.loggedImages", True)

    def _model(self, entry: Entry, doubtful: bool) -> None:
        """Add a version to a registered model, unless this record made one before, and point the alias at it."""
        from mlflow.exceptions import MlflowException

        name, wanted = entry["name"], entry["id"]
        try:
            self._client.create_registered_model(name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        made = self._client.search_model_versions(f"name = '{name}'")
        version = next((each for each in made if each.tags.get(tag.RECORD) == wanted), None)
        if version is None:
            version = self._client.create_model_version(
                name, entry["source"], run_id=self._run_id, tags={tag.RECORD: wanted}
            )
        self._client.set_registered_model_alias(name, entry["alias"], version.version)

    def _end(self, entry: Entry, doubtful: bool) -> None:
        """Close the run, with all of its files sent and how it ended on record."""
        if self._uploads and entry["files"]:
            for path in sorted(self._folder.rglob("*")):
                if path.is_file() and not path.name.startswith("."):
                    self._upload(path)
        self._tags({"values": {tag.ENDED: entry["reason"]}}, doubtful)
        self._client.set_terminated(self._run_id, entry["status"], entry["time"])


def stored(value: float) -> float:
    """Return a number as MLflow keeps it: infinities become the largest double."""
    return math.copysign(_LARGEST, value) if math.isinf(value) else value


def _identity(value: float, timestamp: int, step: int) -> tuple[int, int, float | None]:
    """Return what makes a point of a curve this one; NaN is not equal to itself, and None is."""
    value = stored(float(value))
    return int(timestamp), int(step), None if math.isnan(value) else value
