"""An operation on picture files: which go where, one after another, and what is said of each."""

import errno
import os
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from io import FileIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from darkroom import files, paths
from darkroom.editing.inputs import expanded
from darkroom.editing.planning import COLOUR, IN_PLACE, Job, Plan, Request, planned
from darkroom.errors import UserError, printable, reason
from darkroom.operations.working import Line, Masking, Worker, beside, readable, stage
from darkroom.tracking.store import Store

if TYPE_CHECKING:
    import numpy as np

    from darkroom.editing.applying import Tile
    from darkroom.editing.editor import Editor
    from darkroom.editing.masks import Holes
    from darkroom.operations.operation import FileOperation, Learnt
    from darkroom.tracking.run import Run
    from darkroom.tracking.store import RunRecord

_DEVICE = re.compile(r"auto|cpu|mps|cuda(:\d+)?")


@dataclass(frozen=True)
class Batch:
    """What is asked of an operation on picture files, in the words of the settings of ``darkroom edit``."""

    request: Request
    masking: Masking = field(default_factory=Masking)
    strength: float = 1.0  # share of the result, the rest is the picture itself
    tile: "Tile" = "auto"
    self_ensemble: bool = False
    device: str = "auto"
    quality: int | None = None
    self_test: bool | None = None  # None: where the run knows its damage and there is no reference
    report: str | None = None
    track: bool = True
    pictures: int = 8  # how many the run in MLflow keeps
    seed: int = 0  # of the damage of the self-test

    def check(self, name: str, masked: bool) -> None:
        """Refuse settings that cannot be, before a file is looked at.

        Raises:
            UserError: which, and why.
        """
        request, tile, mask = self.request, self.tile, self.masking.given
        if tile not in ("auto", "none") and (not isinstance(tile, int) or isinstance(tile, bool) or tile < 1):
            raise UserError(
                f"tile={tile} was given: type tile=auto, tile=none, or the side of a tile, such as tile=256."
            )
        if masked and mask is None:
            raise UserError(
                f"operation={name} needs to be told where: type mask=<picture, white where to repair>, mask=alpha or"
                " mask=colour:ff0000."
            )
        if not _DEVICE.fullmatch(self.device):
            raise UserError(f"device={self.device} is not known: type one of auto, cpu, cuda, cuda:1, mps.")
        for key in ("invert", "grow", "feather"):
            if mask is None and (value := getattr(self.masking, key)):
                raise UserError(f"mask_{key}={value} shapes a mask, and there is none: type mask=, or leave it out.")
        if mask is not None and (found := COLOUR.fullmatch(mask)):
            from darkroom.editing import masks

            masks.parse_colour(found.group(1))
        if request.overwrite and request.skip_existing:
            raise UserError("overwrite=true and skip_existing=true contradict each other: keep one of them.")
        if "/" in request.suffix or "\0" in request.suffix:
            raise UserError(f"suffix={request.suffix} is put behind each name, and no name holds a '/': leave it out.")
        if self.quality is not None and request.format in ("png", "tiff"):
            raise UserError(f"quality={self.quality} says nothing to format={request.format}, which loses nothing.")
        if request.output == IN_PLACE:
            for key, plain in {"format": "keep", "suffix": "", "skip_existing": False, "compare": False}.items():
                if getattr(request, key) != plain:
                    raise UserError(f"output={IN_PLACE} puts results in the place of the originals: leave {key} out.")

    def planned(self) -> Plan:
        """Return what is to be done, with the rests of calls that were killed taken away.

        Raises:
            UserError: it cannot be done like this.
        """
        from darkroom.data.folder import SUFFIXES

        plan = planned(self.request, SUFFIXES)
        for folder in {job.target.parent for job in plan.jobs}:
            files.sweep(folder)
        return plan


def run(
    batch: Batch,
    plan: Plan,
    opened: "Callable[[], tuple[FileOperation, Learnt | None, RunRecord | None]]",
    name: str,
    params: Mapping[str, Any],
) -> None:
    """Edit every picture of a plan; exit with 1 when some could not be.

    The operation and its run are ``opened`` once there is a picture to be read.
    """
    from rich.console import Console

    from darkroom.reporting import summary

    holes = batch.masking.common()
    device = _device(batch.device)
    if plan.passed_over:
        summary.say(plan.passed_over)
    pending = [job for job in plan.jobs if job.pending]
    lines: list[Line] = []
    with ExitStack() as open_things:
        record = worker = None
        bar = open_things.enter_context(_progress(Console(stderr=True), len(pending)))
        if any(readable(job) for job in pending):
            operation, learnt, record = opened()
            operation.progress = bar.tile
            if learnt is not None:
                learnt.model.to(device)
            worker = _worker(batch, operation.editor(learnt), holes, device.startswith("cuda"), bar.tile)
        tracked = None
        if batch.track and worker is not None:
            tracked = open_things.enter_context(_tracked(params, name, record))
        report = open_things.enter_context(_report(batch.report, tracked, bar.say))
        for job in plan.jobs:
            line = Line.of(job)
            lines.append(line)
            if job.pending:
                strip = _attempt(job, line, worker)
                if tracked is not None and strip is not None and len(lines) <= batch.pictures:
                    with beside(line, "it is not shown in MLflow"):
                        tracked.log_picture("edited", strip, len(lines))
                bar.done(line.file)
            _say(line, bar.say)
            report.write(line)
        if tracked is not None:
            report.finish(tracked, lines)
    _conclude(lines, plan.jobs, summary, report.whole)


def _attempt(job: Job, line: Line, worker: "Worker | None") -> "np.ndarray | None":
    if worker is not None:
        return worker.attempt(job, line)
    try:  # what could not be read before cannot be now, and says why
        from darkroom.editing import photographs

        for path in (job.source, job.mask):
            if path is not None:
                with stage(f"{path} cannot be read"):
                    photographs.read(path)
        line.fail(f"{job.source} could not be read at first: try again.")
    except UserError as error:
        line.fail(str(error))
    return None


def _worker(
    batch: Batch, editor: "Editor", holes: "Holes | None", on_gpu: bool, progress: Callable[[int, int], None]
) -> Worker:
    """Return what edits the pictures in the way that is asked.

    Raises:
        UserError: the editor cannot.
    """
    from darkroom.editing import applying

    mask = batch.masking.given
    if editor.masked and mask is None:
        raise UserError("This run needs to be told where to repair: type mask=<picture>, mask=alpha or mask=colour:….")
    if editor.scale != 1 and mask is not None:
        raise UserError(f"This run makes pictures {editor.scale} times as large, all of them: leave mask out.")
    if batch.self_test and editor.damage is None:
        raise UserError("self_test=true needs a run that knows its damage, and this one does not: leave it out.")
    applying.check_tile(batch.tile, editor)
    return Worker(
        editor,
        applying.Manner(batch.strength, batch.tile, batch.self_ensemble),
        batch.masking,
        holes,
        quality=batch.quality,
        self_test=batch.self_test,
        seed=batch.seed,
        compare=batch.request.compare,
        keep=batch.track,
        on_gpu=on_gpu,
        progress=progress,
    )


def _device(asked: str) -> str:
    """Return the device to work on.

    Raises:
        UserError: this machine has no such device.
    """
    import torch

    if asked == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    kind, _, number = asked.partition(":")
    if kind == "cuda" and (not torch.cuda.is_available() or int(number or 0) >= torch.cuda.device_count()):
        raise UserError(f"device={asked} is not on this machine: type device=auto.")
    if kind == "mps" and not torch.backends.mps.is_available():
        raise UserError("device=mps is not on this machine: type device=auto.")
    return asked


# --- what is said ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Bar:
    tile: Callable[[int, int], None]
    done: Callable[[str], None]
    say: Callable[[str], None]


@contextmanager
def _progress(console: Any, count: int) -> Iterator[_Bar]:
    """Show a bar on a terminal: pictures, and the tiles of the present one."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.description}", markup=False))
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as progress:
        whole = progress.add_task("pictures", total=count)
        part = progress.add_task("tiles", total=1)

        def say(sentence: str) -> None:
            progress.console.print(sentence, highlight=False, markup=False, soft_wrap=True)

        yield _Bar(
            lambda made, total: progress.update(part, completed=made, total=total),
            lambda name: progress.update(whole, advance=1, description=printable(name)),
            say,
        )


class _Report:
    """The reports, a line a picture, written at once: an interruption loses none, and a full disk ends no batch."""

    def __init__(self, opened: list[FileIO], say: Callable[[str], None]) -> None:
        self.opened, self.say = opened, say
        self.whole = True  # whether everything could be written down

    def write(self, line: Line) -> None:
        """Add a line to each report."""
        for file in list(self.opened):
            try:
                with stage(f"{file.name} lacks {line.file}, and what follows"):
                    _append(file, line.json().encode() + b"\n")
            except UserError as error:  # and no more is tried: half a line, and others behind it, are of no use
                self.opened.remove(file)
                self._fail(error)

    def finish(self, tracked: "Run", lines: list[Line]) -> None:
        """Record the counts and the mean scores."""
        try:
            with stage("The means could not be recorded in MLflow"):
                _log_means(tracked, lines)
        except UserError as error:
            self._fail(error)

    def _fail(self, error: UserError) -> None:
        self.whole = False
        self.say(str(error))


@contextmanager
def _report(given: str | None, tracked: "Run | None", say: Callable[[str], None]) -> Iterator[_Report]:
    """Open the reports, to be added to."""
    with ExitStack() as stack:
        opened: list[FileIO] = []
        places = [expanded(given, "report")] if given is not None else []
        if tracked is not None:
            places.append(tracked.folder / "report.jsonl")
        for place in places:
            try:
                place.parent.mkdir(parents=True, exist_ok=True)
                opened.append(stack.enter_context(place.open("ab", buffering=0)))
                _end_line(place, opened[-1])
            except OSError as error:
                raise UserError(
                    printable(f"report={place} cannot be written ({reason(error)}): name another place.")
                ) from error
        yield _Report(opened, say)


def _append(file: FileIO, line: bytes) -> None:
    """Write a whole line, unbuffered: nothing is left to be written, and to fail, when the file is closed."""
    if file.write(line) != len(line):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _end_line(place: Path, file: FileIO) -> None:
    """End the last line of a report, which a kill may have cut off."""
    if not place.is_file() or not file.tell():
        return
    with place.open("rb") as written:
        written.seek(-1, os.SEEK_END)
        if written.read(1) != b"\n":
            _append(file, b"\n")


@contextmanager
def _tracked(params: Mapping[str, Any], name: str, record: "RunRecord | None") -> "Iterator[Run]":
    """Open a run for these edits, with the tags of the run that edits."""
    from darkroom.tracking import run as runs
    from darkroom.tracking import tag

    store = Store.open(paths.root())
    tags: dict[str, object] = {}
    if record is not None:
        own = ("mlflow.", "darkroom.")
        tags |= {key: value for key, value in record.tags.items() if not key.startswith(own)}
        tags[tag.EDITED_WITH] = record.run_id
    tags[tag.KIND] = "edit"
    config = {key: printable(value) if isinstance(value, str) else value for key, value in params.items()}
    said = {key: value for key, value in config.items() if value is not None}
    with runs.start(store, "edit", None, config, said, tags, system_metrics=None, stem=name) as opened:
        yield opened


def _log_means(tracked: "Run", lines: list[Line]) -> None:
    """Record how many pictures were edited, and the mean of each score over those that have it."""
    means = {f"edit/{status}": float(sum(line.status == status for line in lines)) for status in ("edited", "failed")}
    for key in {key: None for line in lines for key in line.scores}:
        values = [line.scores[key] for line in lines if key in line.scores]
        means[f"edit/{key}"] = sum(values) / len(values)
    tracked.log_metrics(means, len(lines))


def _say(line: Line, say: Callable[[str], None]) -> None:
    """Say what went wrong with one picture."""
    if line.error:
        say(printable(f"{line.file} failed: {line.error}"))
    for warning in line.warnings:
        say(printable(f"{line.file}: {warning}."))


def _conclude(lines: list[Line], jobs: list[Job], summary: Any, whole: bool) -> None:
    """Say what was done, and leave with 1 when something was not."""
    counted = Counter(line.status for line in lines)
    if len(lines) == 1 and counted["edited"]:
        _say_one(lines[0], summary)
    else:
        parents = {job.target.parent for job in jobs}
        folders = sorted((summary.shown(Path(os.path.realpath(parent))) for parent in parents), key=len)
        said = [f"{counted[status]} {status}" for status in ("edited", "skipped", "failed") if counted[status]]
        pictures = f"{len(lines)} picture{'s' if len(lines) > 1 else ''}"
        summary.say(printable(f"{pictures}: {', '.join(said)}, in {folders[0]}"))
        _say_means(lines, summary)
    if counted["failed"]:
        failed = [line.file for line in lines if line.status == "failed"]
        more = f" and {len(failed) - 3} more" if len(failed) > 3 else ""
        summary.say(
            printable(
                f"darkroom edit: {len(failed)} of {len(lines)} picture{'s' if len(lines) > 1 else ''} failed:"
                f" {', '.join(failed[:3])}{more}."
            )
        )
    if counted["failed"] or not whole:
        sys.exit(1)


def _say_one(line: Line, summary: Any) -> None:
    """Say all that is known of a single picture."""
    said = [f"{line.repaired:.1%} of it repaired"] if line.repaired is not None else []
    said += [line.level] if line.level else []
    said += [f"{_words(key)} {value:.2f}" for key, value in line.scores.items() if not key.endswith("_gain")]
    place = summary.shown(Path(os.path.realpath(line.output)))
    summary.say(printable(f"{place}{': ' + ', '.join(said) if said else ''}"))


def _say_means(lines: list[Line], summary: Any) -> None:
    keys = list(dict.fromkeys(key for line in lines for key in line.scores if not key.endswith("_gain")))
    if keys:
        values = {key: [line.scores[key] for line in lines if key in line.scores] for key in keys}
        summary.say(
            "mean " + ", ".join(f"{_words(key)} {sum(found) / len(found):.2f}" for key, found in values.items())
        )
    if holes := [line.repaired for line in lines if line.repaired is not None]:
        summary.say(f"repaired {min(holes):.1%} to {max(holes):.1%} of each")


def _words(key: str) -> str:
    """Return the name of a score as people say it."""
    measure, _, of = key.removeprefix("self_test").strip("_").partition("_")
    if key.startswith("self_test"):
        return f"self-test {measure or 'repaired'} dB".replace("self-test dB", "self-test")
    return f"{measure.upper() if measure in ('psnr', 'ssim') else measure}{f' {of}' if of else ''}".replace("_", " ")
