"""One point with one seed, from the line that trains it to what came of it, by as many processes as that takes."""

import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from darkroom.sweeping.launching import Engine, Job, alive
from darkroom.sweeping.study import State
from darkroom.tracking import tag
from darkroom.tracking.probing import Unreachable
from darkroom.tracking.store import RunRecord, Store

_ATTEMPTS = 3  # processes of one trial that may be killed by somebody else before it counts as failed
_LOOK_SECONDS = 1.0  # between two looks at what an earlier sweep has left


@dataclass(frozen=True)
class Outcome:
    """How a trial ended; ``record`` is None when it ended before it had a run."""

    state: State
    reason: str = ""
    record: RunRecord | None = None


@dataclass(frozen=True)
class Line:
    """A configuration as it is typed after ``darkroom train``, with the digest of what it composes."""

    overrides: tuple[str, ...]
    digest: str
    name: str
    every: int  # images between two of its scores


class Trial:
    """Trains what a line says, unless that is done already; `poll` until it returns an outcome.

    A run that was interrupted is resumed from its checkpoint, or begun anew when it has none. What another process is
    still training, left by a sweep that was killed, is waited for.
    """

    def __init__(
        self,
        store: Store,
        experiment: str,
        parent: str,
        line: Line,
        output: Path,
        engine: Engine,
        environment: Mapping[str, str],
        options: list[str],
        say: Callable[[str], None],
    ) -> None:
        self.line = line
        self._store, self._experiment, self._parent, self._say = store, experiment, parent, say
        self._output, self._engine, self._environment, self._options = output, engine, dict(environment), options
        self._job: Job | None = None
        self._resumed = False
        self._launched = 0
        self._before: set[str] = set()  # runs there were when the process was started
        self._written = 0  # bytes of output there were then
        self._run_id: str | None = None
        self._pruned = ""
        self._looked = 0.0
        self._waiting = False

    def poll(self) -> Outcome | None:
        """Return how it ended, None while it goes on; never waits.

        Raises:
            Unreachable: the store does not answer, and can be asked again.
        """
        if self._job is None:
            return self._begin()
        ended, code = self._job, self._job.poll()
        if code is None:
            return None
        self._job = None
        try:
            return self._judge(code)
        except Unreachable:
            self._job = ended  # it is judged when the store is back
            raise

    @property
    def working(self) -> bool:
        """Whether a process of ours is at it."""
        return self._job is not None and self._job.poll() is None

    def stop(self) -> None:
        """Ask its process to save the state and end."""
        if self._job is not None:
            self._job.stop()

    def kill(self) -> None:
        """End its process at once."""
        if self._job is not None:
            self._job.kill()

    def prune(self, reason: str) -> None:
        """End it before its time: it has come too short to go on."""
        if (run_id := self._running()) is not None:
            # Before the signal: killed in between, the sweep would find a run that somebody interrupted, and resume it.
            self._store.client.set_tag(run_id, tag.PRUNED, reason)
            self._pruned = reason
            self.stop()

    def curve(self, metric: str) -> dict[int, float]:
        """Return a metric of the run so far, by the number of the score."""
        if self._pruned or (run_id := self._running()) is None:
            return {}
        return {step // self.line.every: value for step, value in self._store.curve(run_id, metric)}

    def _running(self) -> str | None:
        if self._run_id is None and self._job is not None:
            found = (record for record in self._records() if record.status == "RUNNING")
            self._run_id = next((record.run_id for record in found), None)
        return self._run_id

    def _records(self) -> list[RunRecord]:
        """Return the runs of just this configuration; one that went on under other settings is none of them."""
        found = self._store.tagged(self._experiment, tag.POINT, self.line.digest)
        return [record for record in found if tag.DRIFT not in record.tags]

    def _begin(self) -> Outcome | None:
        """Start a process, unless it is done, or another one is at it."""
        if time.monotonic() - self._looked < _LOOK_SECONDS:
            return None
        self._looked = time.monotonic()
        records = self._records()
        if done := _finished(records):
            whose = "" if done.tags.get(tag.PARENT) == self._parent else ", by another command"
            self._say(f"{self.line.name} is trained already{whose}, and not trained again: run {done.short_id}")
            self._run_id = done.run_id
            return Outcome("finished", record=done)
        if alive(self._output) or any(self._held(record) for record in records):
            if not self._waiting:
                self._say(f"{self.line.name}: a process of an earlier sweep is still at it, and is waited for")
            self._waiting = True
            return None
        if any(record.status == "RUNNING" for record in records):
            self._store.reap()
            records = self._records()
        ours = [record for record in records if record.tags.get(tag.PARENT) == self._parent]
        if ours and (outcome := _ended(ours[0])):
            return outcome
        left = next((record for record in ours if record.status == "KILLED" and _can_resume(record)), None)
        if left is not None:
            self._say(f"{self.line.name} goes on where it was interrupted: run {left.short_id}")
        self._launch(left, records)
        return None

    def _held(self, record: RunRecord) -> bool:
        return record.status == "RUNNING" and self._store.is_locked_here(record)

    def _launch(self, left: RunRecord | None, records: list[RunRecord]) -> None:
        """Start the command that a person would type; the run that it leaves is found by the digest."""
        what = [f"resume={left.run_id}"] if left is not None else [*self.line.overrides, f"name='{self.line.name}'"]
        self._resumed = left is not None
        self._run_id = left.run_id if left is not None else None
        self._before = {record.run_id for record in records}
        self._written = self._output.stat().st_size if self._output.exists() else 0
        self._launched += 1
        command = [sys.executable, "-m", "darkroom", "train", *self._options, *what]
        self._job = self._engine(command, self._environment, self._output)

    def _judge(self, code: int) -> Outcome | None:
        """Return what a process that has ended leaves; None when another one has to go on."""
        records = self._records()
        if any(record.status == "RUNNING" for record in records):
            self._store.reap()
            records = self._records()
        if done := _finished(records):
            self._run_id = done.run_id
            return Outcome("finished", record=done)
        made = [record for record in records if record.run_id not in self._before or record.run_id == self._run_id]
        if self._resumed and code == 2 and not self._pruned:
            # It could not be gone on with: its checkpoint is damaged, say.
            self._launch(None, records)
            return None
        if not made:
            if code < 0 or code > 128:  # killed before it had a run
                return self._again("the process was killed")
            return Outcome("failed", self._last_words(code))
        if self._pruned:
            self._store.client.set_tag(made[0].run_id, tag.ENDED, f"pruned: {self._pruned}")
            return Outcome("pruned", self._pruned, made[0])
        if outcome := _ended(made[0]):
            return outcome
        return self._again(made[0].tags.get(tag.ENDED, "the process was killed"), made[0])

    def _again(self, reason: str, record: RunRecord | None = None) -> Outcome | None:
        if self._launched >= _ATTEMPTS:
            return Outcome("failed", f"{reason}, {self._launched} times", record)
        self._looked = 0.0
        return None  # the next poll begins again

    def _last_words(self, code: int) -> str:
        with self._output.open("rb") as file:
            file.seek(self._written)
            said = [line for line in file.read().decode(errors="replace").splitlines() if line.strip()]
        return said[-1].removeprefix("darkroom train: ") if said else f"it exited with {code}"


def _finished(records: list[RunRecord]) -> RunRecord | None:
    return next((record for record in records if record.status == "FINISHED"), None)


def _ended(record: RunRecord) -> Outcome | None:
    """Return the outcome of a run that is over for good."""
    if tag.PRUNED in record.tags and record.status != "RUNNING":
        return Outcome("pruned", record.tags[tag.PRUNED], record)
    if record.status == "FAILED":
        return Outcome("failed", record.tags.get(tag.ENDED, "it failed"), record)
    return None


def _can_resume(record: RunRecord) -> bool:
    return (record.folder / "checkpoints" / "last.ckpt").exists()
