"""``darkroom edit`` on picture files: which go where, one after another, and what is said of each."""

import glob
import json
import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from darkroom import paths
from darkroom.config import Node
from darkroom.errors import UserError
from darkroom.operations import table
from darkroom.operations.table import Operation
from darkroom.tracking.store import Store

if TYPE_CHECKING:
    import numpy as np

    from darkroom.editing.applying import Manner
    from darkroom.editing.editor import Editor
    from darkroom.editing.masks import Holes, Mask
    from darkroom.editing.pictures import Levels, Picture
    from darkroom.models.model import Model
    from darkroom.tracking.run import Run
    from darkroom.tracking.store import RunRecord

IN_PLACE = "overwrite"  # the word of output= that lets originals be replaced
COMPARED = ".compare.png"  # behind the name of a result, its strip
STRIP = 4_000_000  # pixels of a picture shown in full beside others
_COLOUR = re.compile(r"colou?r:(.*)")
_DEVICE = re.compile(r"auto|cpu|mps|cuda(:\d+)?")


@dataclass(frozen=True)
class Job:
    """One picture: from where, to where, as what, and what belongs to it."""

    source: Path
    target: Path
    kind: str  # of file, in `darkroom.editing.pictures.ENDINGS`
    mask: Path | None = None
    reference: Path | None = None


@dataclass
class Line:
    """What is to be said of one picture, a line of the report."""

    file: str
    output: str
    status: str = "edited"
    milliseconds: int = 0
    size: tuple[int, int] | None = None
    output_size: tuple[int, int] | None = None
    mode: str | None = None
    format: str | None = None
    tile: int | None = None
    level: str | None = None
    repaired: float | None = None  # share that a mask marks
    scores: dict[str, float] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    error: str | None = None

    def json(self) -> str:
        """Return it as JSON, numbers rounded to what they are worth."""
        said = {key: value for key, value in vars(self).items() if value is not None}
        said["scores"] = {key: round(value, 4) for key, value in self.scores.items()}
        return json.dumps(said, ensure_ascii=False)


def run(config: Node, name: str, operation: Operation) -> None:
    """Edit every picture that the configuration names; exit with 1 when some could not be."""
    _check_words(config, name, operation)
    jobs = planned(config)
    pending = _pending(config, jobs)

    from rich.console import Console

    from darkroom.commands import summary

    holes = _common_holes(config)
    config = {**config, "device": _device(config["device"])}
    lines: list[Line] = []
    with ExitStack() as open_things:
        record = editor = manner = None
        if any(_readable(job) for job in pending):
            record, editor, manner = _loaded(config, name, operation)
        bar = open_things.enter_context(_progress(Console(stderr=True), len(pending)))
        tracked = None
        if config["track"] and editor is not None:
            tracked = open_things.enter_context(_tracked(config, name, record))
        log = open_things.enter_context(_log(config["report"], tracked))
        for job in jobs:
            line = Line(str(job.source), str(job.target))
            lines.append(line)
            if job not in pending:
                line.status = "skipped"
            else:
                work = partial(_edited, config, job, line, editor, manner, holes, bar.tile)
                _attempt(work, line, bar.say, tracked, config["pictures"], len(lines))
                bar.done(line.file)
            log(line.json())
        if tracked is not None:
            _log_means(tracked, lines)
    _conclude(lines, jobs, summary)


# --- what is asked ---------------------------------------------------------------------------------------------------


def _check_words(config: Node, name: str, operation: Operation) -> None:
    """Refuse settings that cannot be, before a file is looked at."""
    tile, level, mask = config["tile"], config["level"], config["mask"]
    if tile not in ("auto", "none") and (not isinstance(tile, int) or isinstance(tile, bool) or tile < 1):
        raise UserError(f"tile={tile} was given: type tile=auto, tile=none, or the side of a tile, such as tile=256.")
    number = isinstance(level, int | float) and not isinstance(level, bool)
    if level != "auto" and not (number and 0 <= level <= 255):
        raise UserError(f"level={level} was given: type level=auto, or the deviation of the noise in 255ths.")
    if not _DEVICE.fullmatch(str(config["device"])):
        raise UserError(f"device={config['device']} is not known: type one of auto, cpu, cuda, cuda:1, mps.")
    if operation.masked and mask is None:
        raise UserError(
            f"operation={name} needs to be told where: type mask=<picture, white where to repair>, mask=alpha or"
            " mask=colour:ff0000."
        )
    shaping = [key for key in table.OF_MASKS[1:] if config[key]]
    if mask is None and shaping:
        raise UserError(
            f"{shaping[0]}={config[shaping[0]]} shapes a mask, and there is none: type mask=, or leave it out."
        )
    if mask is not None and (found := _COLOUR.fullmatch(mask)):
        from darkroom.editing import masks

        masks.parse_colour(found.group(1))
    if config["overwrite"] and config["skip_existing"]:
        raise UserError("overwrite=true and skip_existing=true contradict each other: keep one of them.")
    if config["quality"] is not None and config["format"] in ("png", "tiff"):
        raise UserError(f"quality={config['quality']} says nothing to format={config['format']}, which loses nothing.")
    if config["output"] == IN_PLACE:
        for key, plain in {"format": "keep", "suffix": "", "skip_existing": False, "compare": False}.items():
            if config[key] != plain:
                raise UserError(f"output={IN_PLACE} puts results in the place of the originals: leave {key} out.")


def planned(config: Node) -> list[Job]:
    """Return what is to be done, in the order of the paths.

    Raises:
        UserError: nothing is named, two results would have one name, or an original would be lost.
    """
    from darkroom.editing import pictures

    sources, root, several = _sources(config["input"])
    output = _output(config, several)
    if several and output is not None:
        sources = _without_results(sources, root, output, config["suffix"])
        if not sources:
            raise UserError(f"input={config['input']} holds nothing but earlier results in {output}.")
    jobs = []
    for source in sources:
        kind = pictures.format_of(source) if config["format"] == "keep" else config["format"]
        same = kind is not None and kind == pictures.format_of(source)
        ending = source.suffix if same else pictures.ENDINGS[kind or "png"][0]
        if output is None:
            if kind is None:
                raise UserError(
                    f"{source} is of a kind that is not written here: type output=<folder>, not {IN_PLACE}."
                )
            target = source
        elif several or not output.suffix:
            inside = source.relative_to(root).parent if several else Path()
            target = output / inside / f"{source.stem}{config['suffix']}{ending}"
        else:
            target, kind = output, pictures.format_of(output)
        marks = _companion(config["mask"], "mask", source, root)
        jobs.append(
            Job(source, target, kind or "png", marks, _companion(config["reference"], "reference", source, root))
        )
    _check_targets(jobs, output is None, config["compare"])
    return jobs


def _sources(given: str) -> tuple[list[Path], Path, bool]:
    """Return the pictures that are named, the folder they have in common, and whether they may be several."""
    from darkroom.data.folder import SUFFIXES, picture_files

    path = Path(given).expanduser()
    if path.is_file():
        return [path], path.parent, False
    if path.is_dir():
        found, root = picture_files(path), path
    else:
        matches = sorted(map(Path, glob.glob(str(path), recursive=True)))
        found = [match for match in matches if match.is_file() and match.suffix.lower() in SUFFIXES]
        fixed = path.parts
        first = next((place for place, part in enumerate(fixed) if glob.has_magic(part)), None)
        if first is None:
            raise UserError(
                f"input={given} does not exist: name a picture, a folder, or a pattern such as 'photos/*.png'."
            )
        root = Path(*fixed[:first])
    if not found:
        raise UserError(f"input={given} names no picture: give a file, a folder, or a pattern such as 'photos/*.png'.")
    return found, root, True


def _output(config: Node, several: bool) -> Path | None:
    """Return the file or folder that is written; None: originals are replaced."""
    from darkroom.editing import pictures

    given = config["output"]
    if given == IN_PLACE:
        return None
    if given is None:
        source = Path(config["input"])
        kept = source.suffix if pictures.format_of(source) else ".png"
        ending = kept if config["format"] == "keep" else pictures.ENDINGS[config["format"]][0]
        return Path("edited" if several else f"edited{ending}")
    output = Path(given).expanduser()
    kind = pictures.format_of(output)
    if several:
        if output.is_file() or kind is not None:
            raise UserError(f"output={given} is one file, and input={config['input']} may be many: name a folder.")
        return output
    if output.is_dir() or not output.suffix:
        if output.is_file():
            raise UserError(f"output={given} is a file without an ending: name another place.")
        return output if not output.suffix else output / Path(config["input"]).name
    if kind is None:
        known = ", ".join(ending for endings in pictures.ENDINGS.values() for ending in endings[:1])
        raise UserError(f"output={given} has the ending '{output.suffix}': use one of {known}, or a folder.")
    if config["format"] not in ("keep", kind):
        raise UserError(f"output={given} and format={config['format']} contradict each other: leave format out.")
    if config["suffix"]:
        raise UserError(f"output={given} is the whole name already: leave suffix out, or name a folder.")
    return output


def _without_results(sources: list[Path], root: Path, output: Path, suffix: str) -> list[Path]:
    """Return the pictures less what an earlier call has left among them."""
    inside, within = output.resolve(), root.resolve()
    if inside == within:
        return [
            source
            for source in sources
            if not source.name.endswith(COMPARED) and not (suffix and source.stem.endswith(suffix))
        ]
    if inside.is_relative_to(within):
        return [source for source in sources if not source.resolve().is_relative_to(inside)]
    return sources


def _companion(given: str | None, key: str, source: Path, root: Path) -> Path | None:
    """Return the file that belongs to a picture: the one that is named, or one of its name in a folder."""
    if given is None or (key == "mask" and (given == "alpha" or _COLOUR.fullmatch(given))):
        return None
    path = Path(given).expanduser()
    if path.is_file():
        return path
    if not path.is_dir():
        raise UserError(f"{key}={given} does not exist: name a picture, or a folder with one for each by its name.")
    from darkroom.data.folder import SUFFIXES

    for folder in (path / source.relative_to(root).parent, path):
        same = folder / source.name
        if same.is_file():
            return same
        found = sorted(
            other for other in folder.glob(f"{glob.escape(source.stem)}.*") if other.suffix.lower() in SUFFIXES
        )
        if found:
            return found[0]
    raise UserError(f"{key}={given} holds none for {source}: put {source.stem}.png there.")


def _check_targets(jobs: list[Job], in_place: bool, compare: bool) -> None:
    """Refuse results that would have one name, or the name of something that is read."""
    wanted = Counter(job.target for job in jobs)
    if compare:
        wanted.update(_strip_of(job) for job in jobs)
    if twice := [target for target, count in wanted.items() if count > 1]:
        named = " and ".join(str(job.source) for job in jobs if job.target == twice[0])
        raise UserError(f"{named} would both become {twice[0]}: type format=keep, or rename one.")
    if in_place:
        return
    read = {path.resolve() for job in jobs for path in (job.source, job.mask, job.reference) if path is not None}
    for target in wanted:
        if target.resolve() in read:
            raise UserError(
                f"{target} would be overwritten, and it is read: name another output, type suffix=_edited, or, to"
                f" replace originals, output={IN_PLACE}."
            )


def _pending(config: Node, jobs: list[Job]) -> list[Job]:
    """Return what is left to do, refused when it would replace earlier results that nobody gave up."""
    if config["overwrite"] or config["output"] == IN_PLACE:
        return jobs
    there = [job.target for job in jobs if job.target.exists()]
    if there and not config["skip_existing"]:
        more = f" and {len(there) - 1} more" if len(there) > 1 else ""
        raise UserError(
            f"{there[0]}{more} {'are' if more else 'is'} there already: type skip_existing=true to go on with the"
            " others, overwrite=true to replace, or another output."
        )
    return [job for job in jobs if not job.target.exists()]


def _common_holes(config: Node) -> "Holes | None":
    """Return the holes that one mask marks in all pictures, refused at once if it cannot be."""
    if config["mask"] is None or not (file := Path(config["mask"]).expanduser()).is_file():
        return None
    from darkroom.editing import masks

    holes = masks.marked(file)
    masks.check_share(_shaped(config, holes), config["mask"])
    return holes


def _shaped(config: Node, holes: "Holes") -> "Mask":
    from darkroom.editing import masks

    return masks.shaped(holes, config["mask_invert"], config["mask_grow"], config["mask_feather"])


# --- what edits ------------------------------------------------------------------------------------------------------


def _loaded(config: Node, name: str, operation: Operation) -> "tuple[RunRecord | None, Editor, Manner]":
    """Return the record of the run that edits, what it edits with, and in which manner.

    Raises:
        UserError: there is no such run, or it cannot do what is asked.
    """
    from darkroom.editing import applying

    record, model = None, None
    if operation.fits is not None:
        config, model, record = restored(config, name)
        model = model.to(config["device"])
    editor = operation.make()(config, model)
    if editor.masked and config["mask"] is None:
        raise UserError("This run needs to be told where to repair: type mask=<picture>, mask=alpha or mask=colour:….")
    if editor.scale != 1 and config["mask"] is not None:
        raise UserError(f"This run makes pictures {editor.scale} times as large, all of them: leave mask out.")
    if config["self_test"] and editor.damage is None:
        raise UserError("self_test=true needs a run that knows its damage, and this one does not: leave it out.")
    applying.check_tile(config["tile"], editor)
    return record, editor, applying.Manner(config["strength"], config["tile"], config["self_ensemble"])


def restored(config: Node, name: str) -> "tuple[Node, Model, RunRecord | None]":
    """Return the model that an operation is done with, the run it is of, and settings that name that run.

    Where no run is named it is the newest that fits, and said so.

    Raises:
        UserError: there is no such run.
    """
    from darkroom import lab
    from darkroom.commands import summary
    from darkroom.tracking import checkpoints

    store = Store.open(paths.root())
    record: RunRecord | None
    if config["checkpoint"] is None:
        path, record = table.newest(name, store)
        summary.say(f"{record.short_id} {record.name} is used, the newest run that fits.")
        config = {**config, "checkpoint": record.short_id}
    else:
        path = checkpoints.locate(config["checkpoint"], store)
        run_id = lab.home(path)
        record = store.known(run_id) if run_id else None
    return config, lab.restore(path)[0], record


def _device(asked: str) -> str:
    """Return the device to work on.

    Raises:
        UserError: this machine has it not.
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


def _readable(job: Job) -> bool:
    """Say whether a picture, and its mask, can be read: otherwise no run needs to be loaded for it."""
    from darkroom.editing import pictures

    try:
        for path in (job.source, job.mask):
            if path is not None:
                pictures.read(path)
    except UserError:
        return False
    return True


# --- one picture -----------------------------------------------------------------------------------------------------


def _attempt(
    work: "Callable[[], np.ndarray | None]",
    line: Line,
    say: Callable[[str], None],
    tracked: "Run | None",
    most: int,
    number: int,
) -> None:
    """Edit one picture; what goes wrong with it is said and written down, and the others go on."""
    started = time.perf_counter()
    try:
        strip = work()
    except UserError as error:
        line.status, line.error = "failed", str(error)
    except OSError as error:
        reason = error.strerror or str(error)
        line.status, line.error = "failed", f"{line.output} cannot be written ({reason})."
    else:
        if tracked is not None and strip is not None and number <= most:
            tracked.log_picture("edited", strip, number)
    line.milliseconds = round((time.perf_counter() - started) * 1000)
    if line.error:
        say(f"{line.file} failed: {line.error}")
    for warning in line.warnings:
        say(f"{line.file}: {warning}.")


def _edited(
    config: Node,
    job: Job,
    line: Line,
    editor: "Editor | None",
    manner: "Manner | None",
    holes: "Holes | None",
    progress: Callable[[int, int], None],
) -> "np.ndarray | None":
    """Edit one picture and write it; return it beside what it was."""
    from darkroom.editing import applying, pictures
    from darkroom.operations import scoring

    picture = pictures.read(job.source)
    line.size, line.mode, line.format = picture.size, picture.carried.mode, job.kind
    mask = _mask(config, job, picture, holes)
    assert editor is not None  # as a picture could be read
    assert manner is not None
    line.warnings += picture.notes
    if mask is not None:
        line.repaired = round(mask.share, 6)
    on_gpu = config["device"].startswith("cuda")
    outcome = applying.edit(picture, editor, manner, mask, str(job.source), on_gpu, progress)
    made = outcome.picture
    if config["mask"] == "alpha" and mask is not None and made.alpha is not None:
        import numpy as np

        made = replace(made, alpha=np.where(mask.weights > 0, made.most, made.alpha).astype(made.alpha.dtype))
    line.tile, line.level, line.output_size = outcome.tile, outcome.found or None, made.size
    line.warnings += pictures.write(made, job.target, job.kind, config["quality"])
    baseline = None
    if job.reference is not None or config["compare"]:
        baseline = scoring.classical(picture, editor, mask)
    _score(config, job, line, editor, manner, picture, made, baseline)
    strip = _strip(picture, made, baseline) if config["compare"] or config["track"] else None
    if config["compare"]:
        from darkroom.images import save_png

        assert strip is not None
        save_png(_strip_of(job), strip)
    return strip


def _mask(config: Node, job: Job, picture: "Picture", common: "Holes | None") -> "Mask | None":
    """Return where this picture is to be repaired."""
    given = config["mask"]
    if given is None:
        return None
    from darkroom.editing import masks

    if common is not None:
        holes = common
    elif job.mask is not None:
        given, holes = str(job.mask), masks.marked(job.mask)
    elif found := _COLOUR.fullmatch(given):
        holes = masks.coloured(picture, masks.parse_colour(found.group(1)))
    else:
        holes = masks.transparent(picture, str(job.source))
    mask = _shaped(config, holes)
    masks.check_size(mask, picture, given)
    masks.check_share(mask, given)
    return mask


def _score(
    config: Node,
    job: Job,
    line: Line,
    editor: "Editor",
    manner: "Manner",
    before: "Picture",
    after: "Picture",
    baseline: "Levels | None",
) -> None:
    """Say how good a result is, as far as that can be known, and what looks wrong."""
    from darkroom.editing import applying, pictures
    from darkroom.operations import scoring

    if job.reference is not None:
        try:
            reference = pictures.read(job.reference)
            line.scores |= scoring.against(reference, before, after, baseline, editor.baseline_name)
        except UserError as error:
            line.warnings.append(str(error).rstrip("."))
    wanted = config["self_test"] if config["self_test"] is not None else job.reference is None
    if wanted and editor.damage is not None:
        line.scores |= scoring.self_test(before, editor, manner, config["seed"])
    if (sentence := scoring.worse(line.scores, editor.baseline_name)) is not None:
        line.warnings.append(sentence)
    if editor.judged is not None:
        scores, warning = editor.judged(
            *(applying.in_channels(each.levels, editor.channels) for each in (before, after))
        )
        line.scores |= scores
        line.warnings += [warning] if warning else []
    line.warnings += scoring.insane(before, after, editor)


def _strip_of(job: Job) -> Path:
    return job.target.with_name(f"{job.target.name}{COMPARED}")


def _strip(before: "Picture", after: "Picture", baseline: "Levels | None") -> "np.ndarray":
    """Return before | after | classical as uint8 ``(H, W, 3)``, on white, reduced when they are large."""
    import cv2
    import numpy as np

    width, height = after.size
    if width * height > STRIP:
        factor = (STRIP / (width * height)) ** 0.5
        width, height = max(1, round(width * factor)), max(1, round(height * factor))
    shown = []
    for picture in (before, after, *([replace(after, levels=baseline)] if baseline is not None else [])):
        way = cv2.INTER_NEAREST if picture.size[0] < width else cv2.INTER_AREA
        parts = [part for part in (picture.levels, picture.alpha) if part is not None]
        levels, *alpha = (cv2.resize(part, (width, height), interpolation=way) for part in parts)
        image = np.broadcast_to(levels.reshape(height, width, -1), (height, width, 3)) / picture.most
        if alpha:
            share = alpha[0][:, :, None] / picture.most
            image = image * share + 1 - share
        shown.append((image * 255).round().astype(np.uint8))
    gap = np.full((height, 4, 3), 128, np.uint8)
    return np.concatenate([part for image in shown for part in (gap, image)][1:], axis=1)


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

    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as progress:
        whole = progress.add_task("pictures", total=count)
        part = progress.add_task("tiles", total=1)

        def say(sentence: str) -> None:
            progress.console.print(sentence, highlight=False, markup=False, soft_wrap=True)

        yield _Bar(
            lambda made, total: progress.update(part, completed=made, total=total),
            lambda name: progress.update(whole, advance=1, description=name),
            say,
        )


@contextmanager
def _log(given: str | None, tracked: "Run | None") -> Iterator[Callable[[str], None]]:
    """Open the reports, a line a picture, written at once: an interruption loses none."""
    with ExitStack() as files:
        opened = []
        places = [Path(given).expanduser()] if given is not None else []
        if tracked is not None:
            places.append(tracked.folder / "report.jsonl")
        for place in places:
            try:
                place.parent.mkdir(parents=True, exist_ok=True)
                opened.append(files.enter_context(place.open("a", encoding="utf-8")))
            except OSError as error:
                raise UserError(f"report={place} cannot be written ({error.strerror}): name another place.") from error

        def write(line: str) -> None:
            for file in opened:
                file.write(line + "\n")
                file.flush()

        yield write


@contextmanager
def _tracked(config: Node, name: str, record: "RunRecord | None") -> "Iterator[Run]":
    """Open a run for these edits, with the tags of the run that edits."""
    from darkroom.tracking import run, tag

    store = Store.open(paths.root())
    tags: dict[str, object] = {}
    if record is not None:
        own = ("mlflow.", "darkroom.")
        tags |= {key: value for key, value in record.tags.items() if not key.startswith(own)}
        tags[tag.EDITED_WITH] = record.run_id
    tags[tag.KIND] = "edit"
    params = {key: value for key, value in config.items() if value is not None}
    with run.start(store, "edit", None, config, params, tags, system_metrics=None, stem=name) as opened:
        yield opened


def _log_means(tracked: "Run", lines: list[Line]) -> None:
    """Record how many pictures were edited, and the mean of each score over those that have it."""
    means = {f"edit/{status}": float(sum(line.status == status for line in lines)) for status in ("edited", "failed")}
    for key in {key: None for line in lines for key in line.scores}:
        values = [line.scores[key] for line in lines if key in line.scores]
        means[f"edit/{key}"] = sum(values) / len(values)
    tracked.log_metrics(means, len(lines))


def _conclude(lines: list[Line], jobs: list[Job], summary: Any) -> None:
    """Say what was done, and leave with 1 when something was not."""
    counted = Counter(line.status for line in lines)
    if len(lines) == 1 and counted["edited"]:
        _say_one(lines[0], summary)
    else:
        folders = sorted({summary.shown(job.target.parent.resolve()) for job in jobs}, key=len)
        said = [f"{counted[status]} {status}" for status in ("edited", "skipped", "failed") if counted[status]]
        summary.say(f"{len(lines)} picture{'s' if len(lines) > 1 else ''}: {', '.join(said)}, in {folders[0]}")
        _say_means(lines, summary)
    if counted["failed"]:
        failed = [line.file for line in lines if line.status == "failed"]
        more = f" and {len(failed) - 3} more" if len(failed) > 3 else ""
        summary.say(
            f"darkroom edit: {len(failed)} of {len(lines)} picture{'s' if len(lines) > 1 else ''} failed:"
            f" {', '.join(failed[:3])}{more}."
        )
        sys.exit(1)


def _say_one(line: Line, summary: Any) -> None:
    """Say all that is known of a single picture."""
    said = [f"{line.repaired:.1%} of it repaired"] if line.repaired is not None else []
    said += [line.level] if line.level else []
    said += [f"{_words(key)} {value:.2f}" for key, value in line.scores.items() if not key.endswith("_gain")]
    summary.say(f"{summary.shown(Path(line.output).resolve())}{': ' + ', '.join(said) if said else ''}")


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
