"""Names and times of new runs, given one after another: no two share a name, and the newest is the newest."""

import random
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import filelock

from darkroom.tracking import tag
from darkroom.tracking.clock import Clock
from darkroom.tracking.probing import Unreachable

if TYPE_CHECKING:
    from darkroom.tracking.store import Store

_LOCK = ".names.lock"
_TRIES = 8  # with other machines, against which no lock of ours holds


@contextmanager
def lock(store: "Store") -> Iterator[None]:
    """Hold the lock under which runs get their names and are made; it is one of this machine, or of a shared folder."""
    store.runs_folder.mkdir(parents=True, exist_ok=True)
    try:
        with filelock.FileLock(store.runs_folder / _LOCK, timeout=store.wait):
            yield
    except filelock.Timeout as error:
        raise Unreachable(
            f"Another process has been making a run in {store.runs_folder} for {store.wait:g} s; wait for it or end it,"
            " and try again."
        ) from error


def number(store: "Store", stem: str, experiment_id: str) -> str:
    """Return the stem and the number after the highest that it was ever given in an experiment: ``gan-digits-3``.

    Deleted runs count, and so do those that MLflow has removed for good: the experiment keeps the number as a tag.
    """
    highest = _highest(store, stem, experiment_id)
    while list(_called(store, experiment_id, f"{stem}-{highest + 1}")):  # renamed in the dashboard
        highest += 1
    store.client.set_experiment_tag(experiment_id, _key(stem), str(highest + 1))
    return f"{stem}-{highest + 1}"


def note(store: "Store", stem: str, experiment_id: str, name: str) -> None:
    """Keep in mind a number that was typed as part of a name: it is given, too."""
    typed = _number_of(stem, name)
    if typed > 0 and typed > _highest(store, stem, experiment_id):
        store.client.set_experiment_tag(experiment_id, _key(stem), str(typed))


def settle(store: "Store", stem: str, experiment_id: str, run_id: str, name: str) -> str:
    """Return the name that a numbered run keeps: another where another machine gave out the same at the same moment."""
    for _ in range(_TRIES):
        if all(run.info.run_id == run_id for run in _called(store, experiment_id, name)):
            break
        time.sleep(random.uniform(0.0, 0.3))  # both take another; this parts them
        name = number(store, stem, experiment_id)
        store.client.update_run(run_id, name=name)
    return name


def clock_after_runs(store: "Store") -> Clock:
    """Return a clock that begins now, and after every run there is: a clock that was set back leaves their order."""
    from mlflow.entities import ViewType

    ids = [str(found.experiment_id) for found in store.experiments()]
    newest = store.client.search_runs(
        ids, run_view_type=ViewType.ALL, max_results=1, order_by=["attributes.start_time DESC"]
    )
    return Clock(not_before=newest[0].info.start_time + 1 if newest else 0)


def _highest(store: "Store", stem: str, experiment_id: str) -> int:
    noted = store.client.get_experiment(experiment_id).tags.get(_key(stem))
    if noted and noted.isdigit():
        return int(noted)
    names = (run.info.run_name or "" for run in _search(store, experiment_id, ""))
    return max((_number_of(stem, name) for name in names), default=0)


def _key(stem: str) -> str:
    return f"{tag.NUMBERED}.{re.sub(r'[^A-Za-z0-9_.-]', '_', stem)[:200]}"


def _number_of(stem: str, name: str) -> int:
    """Return the number in a name of the kind that is counted; 0 for any other."""
    head, _, digits = name.rpartition("-")
    return int(digits) if head == stem and re.fullmatch(r"[0-9]{1,9}", digits) else 0


def _called(store: "Store", experiment_id: str, name: str) -> Iterator[Any]:
    return _search(store, experiment_id, f"attributes.run_name = {quoted(name)}")


def _search(store: "Store", experiment_id: str, query: str) -> Iterator[Any]:
    from mlflow.entities import ViewType

    token = None
    while True:
        page = store.client.search_runs(
            [experiment_id], query, run_view_type=ViewType.ALL, max_results=500, page_token=token
        )
        yield from page
        token = page.token
        if not token:
            return


def quoted(text: str) -> str:
    """Return a text as it stands in a query of MLflow, which knows two quotes and no way to write one in itself."""
    quote = '"' if "'" in text else "'"
    return f"{quote}{text}{quote}"
