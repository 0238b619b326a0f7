"""Runs whose process is gone: what they recorded is sent, and they are closed as what they came to.

A process that writes a run holds a lock on it, and a claim from before it was made, which the operating system lets go
of when the process dies. What is left of one in this project's folder is finished by whoever opens the store next;
runs of other machines have neither lock nor claim here and are left alone.
"""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import filelock

from darkroom import files
from darkroom.tracking import claims, secrets, sending, tag
from darkroom.tracking.claims import Claim
from darkroom.tracking.delivery import Delivery
from darkroom.tracking.outbox import Entry, Outbox

if TYPE_CHECKING:
    from darkroom.tracking.store import RunRecord, Store

log = logging.getLogger("darkroom")

ALIVE = "alive.lock"  # beside a run's artifacts/; held by the process that writes the run, for as long as it lives
_VANISHED = "the process vanished"


def reap(store: "Store") -> list["RunRecord"]:
    """Close the runs that nobody holds, each with what it recorded, and return them."""
    reaped = []
    for claim in claims.abandoned(store.runs_folder):
        with store.plain_errors():
            record = _claimed(store, claim)
            if record is not None and _finish(store, record):
                reaped.append(record)
            if _is_done(store, claim, record):
                claim.drop()
    for record in list(store.search("attributes.status = 'RUNNING'")):  # of a time when there were no claims
        if tag.CLAIM not in record.tags and _lock(record).exists():
            with store.plain_errors():
                if _finish(store, record):
                    reaped.append(record)
    return reaped


def deliver(store: "Store", record: "RunRecord") -> None:
    """Send what a run has recorded and the store does not have; the caller holds the run's lock."""
    if not Outbox.left(record.folder.parent):
        return
    outbox = Outbox(record.folder.parent)
    uri = store.client.get_run(record.run_id).info.artifact_uri
    recipient = recipient_of(store, record, uri)
    waited = outbox.waiting
    try:
        sending.drain(outbox, recipient, _tell_refused)
    except BaseException:
        outbox.close()
        raise
    outbox.remove()
    if waited:
        log.warning("What run %s %s had recorded for the store is sent now.", record.short_id, record.name)


def recipient_of(store: "Store", record: "RunRecord", artifact_uri: str) -> Delivery:
    """Return what gives a run's records to the store."""
    uploads, here = places(store, record, artifact_uri)
    return Delivery(store.client, record.run_id, record.folder, uploads=uploads, shows=uploads or here)


def places(store: "Store", record: "RunRecord", artifact_uri: str) -> tuple[bool, bool]:
    """Return whether a run's files must be uploaded, and whether MLflow reads them in the run's own folder.

    Neither holds where the stored address is stale because the project has moved: nothing must be written there.
    """
    here = Path(artifact_uri.removeprefix("file://")).resolve() == record.folder.resolve()
    return store.remote and not here, here


@contextmanager
def try_lock(path: Path) -> Iterator[bool]:
    """Hold a run's lock for a block if nobody does, and say so; False when its process lives or is another user's."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(path)
    try:
        lock.acquire(blocking=False)
    except (filelock.Timeout, PermissionError):
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


def _claimed(store: "Store", claim: Claim) -> "RunRecord | None":
    """Return the run that was claimed, None when this store holds none (yet, or any more)."""
    if claim.run_id is not None:
        return store.known(claim.run_id)
    return next(iter(store.search(f"tags.`{tag.CLAIM}` = '{claim.token}'", limit=1)), None)


def _is_done(store: "Store", claim: Claim, record: "RunRecord | None") -> bool:
    """Say whether nothing is left to do for a claim.

    A run that this store does not know may be known to another, which is opened later.
    """
    if record is None:
        return claim.old and claim.run_id is None
    now = store.known(record.run_id)
    return now is None or (now.status != "RUNNING" and not Outbox.left(record.folder.parent))


def _finish(store: "Store", record: "RunRecord") -> bool:
    """Send and close a run unless its process lives; say whether it was open."""
    with try_lock(_lock(record)) as free:
        if not free:
            return False
        left = Outbox.left(record.folder.parent)
        running = store.client.get_run(record.run_id).info.status == "RUNNING"  # nobody closed it meanwhile
        if left or running:
            _note_end(record, running=running)
            deliver(store, record)
            files.sweep_below(record.folder)
        return bool(running)


def _note_end(record: "RunRecord", *, running: bool) -> None:
    """Record that the run is over, unless it did so itself: at the last moment that it recorded anything."""
    outbox = Outbox(record.folder.parent)
    last, ended = 0, False
    for entry, _ in outbox.entries():
        last = max(last, _moment(entry))
        ended = entry["kind"] == "end"
    if running and not ended:
        began = int(record.started.timestamp() * 1000)
        when = max(last or int(time.time() * 1000), began)
        outbox.append("end", status="KILLED", reason=_VANISHED, time=when, files=False)
    outbox.close()


def _moment(entry: Entry) -> int:
    return int(entry["points"][0][2]) if entry["kind"] == "metrics" else int(entry.get("time", 0))


def _lock(record: "RunRecord") -> Path:
    return record.folder.parent / ALIVE


def _tell_refused(entry: Entry, error: Exception) -> None:
    log.error("The run store refuses a record (%s): %s", entry["kind"], secrets.redacted(str(error))[:200])
