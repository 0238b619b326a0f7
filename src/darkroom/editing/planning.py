"""Which files are edited, and what each becomes: planned before a picture is read or anything is written.

A plan costs a listing of each folder and a look at each place that is written, however many files there are.
"""

import errno
import functools
import glob
import os
import re
import shlex
import stat
import unicodedata
from dataclasses import dataclass, replace
from pathlib import Path

from darkroom import files
from darkroom.editing import inputs
from darkroom.editing.inputs import Found, Identity, expanded, identity
from darkroom.errors import UserError, printable, reason

IN_PLACE = "overwrite"  # the word of output= that lets originals be replaced
COMPARED = ".compare.png"  # behind the name of a result, its strip
COLOUR = re.compile(r"colou?r:(.*)")


@dataclass(frozen=True)
class Request:
    """What a person asks for, in the words of the settings of ``darkroom edit``."""

    input: str
    output: str | None = None
    format: str = "keep"
    suffix: str = ""
    mask: str | None = None
    reference: str | None = None
    compare: bool = False
    overwrite: bool = False
    skip_existing: bool = False

    @property
    def in_place(self) -> bool:
        """Whether results take the place of the originals."""
        return self.output == IN_PLACE

    @property
    def results(self) -> Path | None:
        """The place that results go to, None where that is the originals'."""
        return None if self.in_place else expanded(self.output or "edited", "output")


@dataclass(frozen=True)
class Job:
    """One picture: from where, to where, as what, and what belongs to it."""

    source: Path
    target: Path
    kind: str  # of file, in `darkroom.editing.photographs.ENDINGS`
    mask: Path | None = None
    reference: Path | None = None
    skipped: str | None = None  # why it is not done again, in words; empty: its result is there
    refused: str | None = None  # why it cannot be done, in a sentence

    @property
    def pending(self) -> bool:
        """Whether there is something to do."""
        return self.skipped is None and self.refused is None


@dataclass(frozen=True)
class Plan:
    """What is to be done, in the order of the paths, and what was passed over, in a sentence."""

    jobs: list[Job]
    passed_over: str | None = None


def planned(request: Request, suffixes: frozenset[str]) -> Plan:
    """Return what is to be done with pictures of these endings.

    What is wrong with a single file, a link that leads nowhere say, is noted in its job and stops no other.

    Raises:
        UserError: nothing is named, two results would have one name, an original would be lost, or results are there
            that nobody gave up.
    """
    try:
        return _planned(request, suffixes)
    except OSError as error:  # of a path as a whole: its name is too long, say
        named = os.fsdecode(error.filename) if error.filename is not None else request.input
        raise UserError(printable(f"{named} cannot be used ({reason(error)}): name another place.")) from None


def _planned(request: Request, suffixes: frozenset[str]) -> Plan:
    found = inputs.find(request.input, suffixes, request.results)
    output = _output(request, found)
    names = found.names
    if found.several and output is not None and identity(output) == identity(found.root):
        names = [name for name in names if not _is_result(name, request.suffix)]
        if not names and not found.refused:
            raise UserError(printable(f"input={request.input} holds nothing but earlier results in {output}."))
    companions = [_Companions(getattr(request, key), key, suffixes) for key in ("mask", "reference")]
    jobs = [_job(request, found, output, name, companions) for name in names]
    _check_names(jobs, request)
    jobs = _looked_at(jobs, request, found)
    for name, why in found.refused.items():
        source = found.root / name
        jobs.append(Job(source, output or source, "png", refused=printable(f"{source} {why}.")))
    return Plan(sorted(jobs, key=lambda job: str(job.source)), found.passed_over())


def strip_of(target: Path) -> Path:
    """Return where the strip of a result is written."""
    return target.with_name(f"{target.name}{COMPARED}")


def _output(request: Request, found: Found) -> Path | None:
    """Return the file or folder that is written; None: originals are replaced."""
    from darkroom.editing import photographs

    output, given = request.results, request.output
    if output is None:
        return None
    if os.path.islink(output) and not output.exists():
        raise UserError(printable(f"output={given} {inputs.not_a_file(output)}: name another place."))
    if given is None:
        source = found.root / (found.names or ["a.png"])[0]
        kept = source.suffix if photographs.format_of(source) else ".png"
        ending = kept if request.format == "keep" else photographs.ENDINGS[request.format][0]
        return output if found.several else Path(f"edited{ending}")
    kind = photographs.format_of(output)
    if found.several:
        if kind is not None or (output.exists() and not output.is_dir()):
            raise UserError(
                printable(f"output={given} is one file, and input={request.input} may be many: name a folder.")
            )
        return output
    if output.is_dir() or not output.suffix:
        if output.exists() and not output.is_dir():
            raise UserError(printable(f"output={given} is a file without an ending: name another place."))
        return output if not output.suffix else output / found.names[0]
    if kind is None:
        known = ", ".join(ending for endings in photographs.ENDINGS.values() for ending in endings[:1])
        raise UserError(printable(f"output={given} has the ending '{output.suffix}': use one of {known}, or a folder."))
    if request.format not in ("keep", kind):
        raise UserError(
            printable(f"output={given} and format={request.format} contradict each other: leave format out.")
        )
    if request.suffix:
        raise UserError(printable(f"output={given} is the whole name already: leave suffix out, or name a folder."))
    return output


def _is_result(name: str, suffix: str) -> bool:
    """Say whether a file in a folder of originals and results alike is a result, by its name."""
    return name.endswith(COMPARED) or bool(suffix and os.path.splitext(name)[0].endswith(suffix))


def _job(request: Request, found: Found, output: Path | None, name: str, companions: "list[_Companions]") -> Job:
    """Return what becomes of one picture."""
    source = Path(os.path.join(found.root, name))  # as text: joining paths is most of what a plan costs
    marks, reference = (companion.of(name, source) for companion in companions)
    target, kind = _target(request, found, output, name)
    if kind is None:
        sentence = f"{source} is of a kind that is not written here: type output=<folder>, not {IN_PLACE}."
        return Job(source, source, "png", refused=printable(sentence))
    return Job(source, target, kind, marks, reference)


def _target(request: Request, found: Found, output: Path | None, name: str) -> tuple[Path, str | None]:
    """Return where a result is written and as what, None where that cannot be."""
    from darkroom.editing import photographs

    inside, last = os.path.split(name)
    stem, ending = os.path.splitext(last)
    own = _format(ending)
    kind = own if request.format == "keep" else request.format
    if output is None:
        return found.root / name, kind
    if not found.several and output.suffix and not output.is_dir():
        return output, photographs.format_of(output)
    if kind is None or kind != own:
        ending = photographs.ENDINGS[kind or "png"][0]
    return Path(os.path.join(output, inside, f"{stem}{request.suffix}{ending}")), kind or "png"


@functools.cache
def _format(ending: str) -> str | None:
    from darkroom.editing import photographs

    return photographs.format_of(f"picture{ending}")


class _Companions:
    """Files that belong to pictures: one for all, or one for each by its name, in a folder that is listed once."""

    def __init__(self, given: str | None, key: str, suffixes: frozenset[str]) -> None:
        by_word = given is None or (key == "mask" and (given == "alpha" or bool(COLOUR.fullmatch(given))))
        self.key, self.given, self.suffixes = key, given, suffixes
        self.place = None if given is None or by_word else expanded(given, key)
        self.listed: dict[str, tuple[dict[str, Path], dict[str, Path]]] = {}
        self.one = self.place if self.place is not None and self.place.is_file() else None
        if self.place is not None and self.one is None and not self.place.is_dir():
            raise UserError(
                printable(f"{key}={given} does not exist: name a picture, or a folder with one for each by its name.")
            )

    def of(self, name: str, source: Path) -> Path | None:
        """Return the file that belongs to a picture.

        Raises:
            UserError: there is none.
        """
        if self.place is None or self.one is not None:
            return self.one
        inside, last = os.path.split(name)
        stem = os.path.splitext(last)[0]
        for folder in dict.fromkeys((inside, "")):
            whole, stems = self._list(folder)
            if (same := whole.get(last) or stems.get(stem)) is not None:
                return same
        raise UserError(printable(f"{self.key}={self.given} holds none for {source}: put {stem}.png there."))

    def _list(self, inside: str) -> tuple[dict[str, Path], dict[str, Path]]:
        """Return the pictures in a folder, by their names and by their names less the ending."""
        if inside not in self.listed:
            assert self.place is not None
            folder = self.place / inside
            try:
                with os.scandir(folder) as entries:
                    names = sorted(entry.name for entry in entries if not entry.name.startswith("."))
            except OSError:  # a folder that the pictures have and their companions do not
                names = []
            whole = {name: folder / name for name in names}
            stems: dict[str, Path] = {}
            for name in names:
                stem, ending = os.path.splitext(name)
                if ending.lower() in self.suffixes:
                    stems.setdefault(stem, folder / name)
            self.listed[inside] = whole, stems
        return self.listed[inside]


# --- what cannot be ---------------------------------------------------------------------------------------------------


def _check_names(jobs: list[Job], request: Request) -> None:
    """Refuse two results of one name, also where the disk takes A.png and a.png for one."""
    exact: dict[str, Job] = {}
    folded: dict[str, Job] = {}
    alike = None
    real = functools.cache(os.path.realpath)
    for job in jobs:
        for target in [job.target, strip_of(job.target)] if request.compare else [job.target]:
            folder, name = os.path.split(str(target))
            place = f"{real(folder)}/{name}"
            if (other := exact.setdefault(place, job)) is not job:
                raise _same_name(other, job, target, request, jobs)
            fold = place.lower() if place.isascii() else unicodedata.normalize("NFC", place).casefold()
            if (other := folded.setdefault(fold, job)) is not job and alike is None:
                alike = other, job, target
    if alike is not None and not request.in_place and not _tells_case(alike[2].parent):
        raise _same_name(*alike, request, jobs)


def _tells_case(folder: Path) -> bool:
    """Say whether a disk tells ``A`` from ``a``; asked of the nearest folder that is there."""
    while not folder.is_dir() and folder != folder.parent:
        folder = folder.parent
    try:
        with files.scratch(folder) as room:
            (room / "a").touch()
            return not (room / "A").exists()
    except OSError:  # it cannot be written to: nothing is lost there
        return True


def _same_name(first: Job, second: Job, target: Path, request: Request, jobs: list[Job]) -> UserError:
    """Return what to type where two results would have one name."""
    named = f"{first.source} and {second.source} would both become {target}"
    endings = [job.source.suffix for job in (first, second)]
    if target.name.endswith(COMPARED) and (first.target != second.target):
        return UserError(printable(f"{named}: leave compare out, or rename one."))
    if endings[0].lower() == endings[1].lower() or first.source.stem != second.source.stem:
        return UserError(printable(f"{named}, which is one name on this disk: rename one."))
    if request.format != "keep" and not _collide(jobs):
        return UserError(printable(f"{named}: type format=keep, or rename one."))
    root = Path(request.input).expanduser()
    each = [shlex.quote(f"input={_pattern(root, first, ending)}") for ending in endings]
    return UserError(
        printable(
            f"{named}: edit one kind after the other, with {each[0]} suffix={request.suffix}_{endings[0][1:]} and then"
            f" {each[1]}, or rename one."
        )
    )


def _pattern(root: Path, job: Job, ending: str) -> str:
    """Return what names the pictures of one ending alone."""
    place = glob.escape(str(root)) if root.is_dir() else str(job.source.parent)
    return os.path.join(place, "**", f"*{ending}") if root.is_dir() else os.path.join(place, f"*{ending}")


def _collide(jobs: list[Job]) -> bool:
    """Say whether results would have one name also if each kept its format."""
    from darkroom.editing import photographs

    kept = {
        job.target.parent / f"{job.target.stem}{job.source.suffix if photographs.format_of(job.source) else '.png'}"
        for job in jobs
    }
    return len(kept) < len(jobs)


def _looked_at(jobs: list[Job], request: Request, found: Found) -> list[Job]:
    """Return the jobs with what their places say: done already, or not to be done.

    Raises:
        UserError: an original, or an earlier result that nobody gave up, would be lost.
    """
    if request.in_place:
        return _once_each(jobs, found)
    looked_at, there = [], []
    for job in jobs:
        job, place = _at(job)
        if place is not None:
            there.append((job, place))
            if request.skip_existing:
                job = replace(job, skipped="")
        looked_at.append(job)
    _check_read(jobs, there, request)
    if there and not request.skip_existing and not request.overwrite:
        more = f" and {len(there) - 1} more" if len(there) > 1 else ""
        raise UserError(
            printable(f"{there[0][0].target}{more} {'are' if more else 'is'} there already:")
            + " type skip_existing=true to go on with the others, overwrite=true to replace, or another output."
        )
    return looked_at


def _at(job: Job) -> tuple[Job, Identity | None]:
    """Return a job, refused where its result could not be written, and what lies at that place."""
    if job.refused is not None:
        return job, None
    try:
        there = os.stat(job.target)
        if stat.S_ISREG(there.st_mode):
            return job, (there.st_dev, there.st_ino)
    except OSError as error:
        if error.errno == errno.ENOENT and not os.path.islink(job.target):
            return job, None
        if error.errno not in (errno.ENOENT, errno.ELOOP):
            return replace(job, refused=printable(f"{job.target} cannot be written ({reason(error)}).")), None
    why = inputs.not_a_file(job.target)
    return replace(job, refused=printable(f"{job.target} {why}: remove it, or name another output.")), None


def _check_read(jobs: list[Job], there: list[tuple[Job, Identity]], request: Request) -> None:
    """Refuse to write over anything that is read."""
    places = {place: job.target for job, place in there}
    if request.compare:
        strips = [strip_of(job.target) for job in jobs if job.refused is None]
        places |= {place: strip for strip in strips if (place := identity(strip)) is not None}
    if not places:
        return
    for job in jobs:
        for path in (job.source, job.mask, job.reference):
            if path is not None and (target := places.get(identity(path) or (-1, -1))) is not None:
                raise UserError(
                    printable(
                        f"{target} would be overwritten, and it is read: name another output, type suffix=_edited, or,"
                        f" to replace originals, output={IN_PLACE}."
                    )
                )


def _once_each(jobs: list[Job], found: Found) -> list[Job]:
    """Return the jobs with a picture that has several names, by links, edited under the first alone."""
    if not found.links:
        return jobs
    links = {found.root / name for name in found.links}
    seen = {identity(job.source): job.source for job in jobs if job.source not in links}
    kept = []
    for job in jobs:
        if job.source in links and (first := seen.setdefault(identity(job.source), job.source)) != job.source:
            job = replace(job, skipped=printable(f"it is {first} by another name, which is edited once"))
        kept.append(job)
    return kept
