"""Claims: whoever makes or resumes a run claims it first, so that one that vanishes at any moment is recognised.

A claim is a locked file, ``mlruns/.claims/<token>.json``. It exists before the run does, which carries the token as a
tag from the instant it is made, and it goes when the run has been closed. The operating system lets go of the lock when
the process dies, however that comes about: what is left is a claim that nobody holds, and `reaping` closes its run.
"""

import fcntl
import json
import os
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

_FOLDER = ".claims"
_SECONDS_WITHOUT_RUN = 86_400.0  # a run may still come to be: of a request that a server was busy with


class Claim:
    """A claim that this process holds."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self.token = path.stem
        self._descriptor: int | None = descriptor

    @classmethod
    def take(cls, runs_folder: Path, run_id: str | None = None) -> "Claim":
        """Claim a run, one that is to be made when ``run_id`` is None.

        The file gets its name when it is locked already: nobody sees it free.
        """
        folder = runs_folder / _FOLDER
        folder.mkdir(parents=True, exist_ok=True)
        token = uuid.uuid4().hex
        fresh = folder / f".{token}"
        descriptor = os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644)
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        claim = cls(folder / f"{token}.json", descriptor)
        claim.note(run_id)
        fresh.rename(claim.path)
        return claim

    def note(self, run_id: str | None) -> None:
        """Write down which run it is, so that it need not be searched by the token."""
        assert self._descriptor is not None
        os.pwrite(self._descriptor, json.dumps({"run": run_id}).encode().ljust(60), 0)

    def drop(self) -> None:
        """The run is closed, or none was made: nothing is left to do."""
        self.path.unlink(missing_ok=True)
        self.release()

    def release(self) -> None:
        """Let go, and leave the claim to whoever reaps."""
        if self._descriptor is not None:
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)  # also of the copies that forked workers hold
            os.close(self._descriptor)
            self._descriptor = None

    @property
    def run_id(self) -> str | None:
        """The run that was claimed; None when its maker did not come to note it."""
        assert self._descriptor is not None
        try:
            noted = json.loads(os.pread(self._descriptor, 1000, 0)).get("run")
        except (ValueError, AttributeError):
            return None
        return str(noted) if noted else None

    @property
    def old(self) -> bool:
        """Whether a run that does not exist by now will not come to be any more."""
        assert self._descriptor is not None
        return time.time() - os.fstat(self._descriptor).st_mtime > _SECONDS_WITHOUT_RUN


def abandoned(runs_folder: Path) -> Iterator[Claim]:
    """Yield the claims of processes that are gone, each held by this one until the next."""
    for path in sorted((runs_folder / _FOLDER).glob("*.json")):
        try:
            descriptor = os.open(path, os.O_RDWR)
        except OSError:
            continue  # dropped this instant, or another user's
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            continue
        claim = Claim(path, descriptor)
        try:
            yield claim
        finally:
            claim.release()
