"""What a run records, on disk and in order, until the store has it.

Two files lie beside a run's ``artifacts/``: ``outbox.jsonl``, to which every record is appended as one line, and
``outbox.sent``, how many bytes of it the store has confirmed. Appending takes microseconds and never waits for the
store; a process that is killed leaves both, and whoever comes next sends the rest.
"""

import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

Entry = dict[str, Any]

_JOURNAL, _SENT = "outbox.jsonl", "outbox.sent"
_CHUNK = 1 << 20
_POINTS = 1000  # of metrics in one batch, as many as MLflow takes in one request
_DIGITS = 20


class Outbox:
    """The queue of one run. Any thread may append; one reads and confirms."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / _JOURNAL
        self.closed = False
        self._lock = threading.Lock()
        self._unwritten = b""
        self._journal = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
        self._mark = os.open(folder / _SENT, os.O_RDWR | os.O_CREAT, 0o644)
        self.end = self._size = self._whole()
        os.ftruncate(self._journal, self.end)
        self.sent = min(self._confirmed(), self.end)

    @staticmethod
    def left(folder: Path) -> bool:
        """Say whether a run has left a queue behind, sent or not."""
        return (folder / _JOURNAL).exists()

    def append(self, kind: str, **content: Any) -> None:
        """Add a record to the end.

        A disk that takes nothing more does not end hours of training: what could not be written is kept in memory, and
        written before what comes after it.
        """
        line = json.dumps({"kind": kind, **content}, separators=(",", ":")).encode() + b"\n"
        with self._lock:
            if self.closed:
                raise ValueError(f"{self.path} is closed, and {kind} was to be added.")
            self._unwritten += line
            self._write()

    def _write(self) -> None:
        while self._unwritten:
            try:
                written = os.pwrite(self._journal, self._unwritten, self._size)
            except OSError:
                return
            self._size += written
            self._unwritten = self._unwritten[written:]
        self.end = self._size

    def sync(self) -> None:
        """Return when all that was appended is on the disk: it then survives a power cut."""
        with self._lock:
            self._write()
        if not self.full:
            os.fsync(self._journal)

    def batch(self, offset: int, *, alone: bool = False) -> tuple[list[Entry], int]:
        """Return the next records from an offset on that one request can hold, and the offset behind them.

        Only points of curves are put together, unless each is wanted ``alone``; anything else is a batch of its own.
        """
        taken: list[Entry] = []
        points, behind = 0, offset
        for entry, after in self.entries(offset):
            metrics = entry["kind"] == "metrics"
            if taken and (not metrics or points + len(entry["points"]) > _POINTS):
                break
            taken.append(entry)
            behind = after
            points += len(entry.get("points", ()))
            if alone or not metrics:
                break
        return taken, behind

    def entries(self, offset: int = 0) -> Iterator[tuple[Entry, int]]:
        """Yield the records from an offset on, each with the offset behind it."""
        rest = b""
        start = offset
        while start + len(rest) < self.end:
            position = start + len(rest)
            rest += os.pread(self._journal, min(_CHUNK, self.end - position), position)
            *lines, rest = rest.split(b"\n")
            for line in lines:
                start += len(line) + 1
                yield json.loads(line), start

    def confirm(self, offset: int) -> None:
        """Note that the store has everything before an offset."""
        with self._lock:
            if not self.closed:  # somebody else may have it open by now
                os.pwrite(self._mark, str(offset).rjust(_DIGITS).encode(), 0)
                self.sent = offset

    @property
    def waiting(self) -> bool:
        """Whether there is anything that the store has not confirmed."""
        return self.sent < self.end or bool(self._unwritten)

    @property
    def full(self) -> bool:
        """Whether the disk did not take all that was appended."""
        return bool(self._unwritten)

    def close(self) -> None:
        """Let go of the files; they stay. Nothing can be appended any more."""
        with self._lock:
            if not self.closed:
                self.closed = True
                os.close(self._journal)
                os.close(self._mark)
                self._journal = self._mark = -1  # whose number the next file that is opened gets

    def remove(self) -> None:
        """Delete the queue, all of which the store has."""
        self.close()
        self.path.unlink(missing_ok=True)
        self.path.with_name(_SENT).unlink(missing_ok=True)

    def _confirmed(self) -> int:
        try:
            return int(os.pread(self._mark, _DIGITS, 0) or b"0")
        except ValueError:
            return 0

    def _whole(self) -> int:
        """Return how many bytes are whole records: a power cut may have torn the last."""
        size = os.fstat(self._journal).st_size
        whole = position = 0
        rest = b""
        while position < size:
            chunk = os.pread(self._journal, _CHUNK, position)
            position += len(chunk)
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                if not _readable(line):
                    return whole
                whole += len(line) + 1
        return whole


def _readable(line: bytes) -> bool:
    try:
        entry = json.loads(line)
    except ValueError:
        return False
    return isinstance(entry, dict) and "kind" in entry
