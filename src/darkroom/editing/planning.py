"""Which files are edited, and what each becomes: planned before anything is read or written."""

import glob
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from darkroom.config import Node
from darkroom.errors import UserError

IN_PLACE = "overwrite"  # the word of output= that lets originals be replaced
COMPARED = ".compare.png"  # behind the name of a result, its strip
COLOUR = re.compile(r"colou?r:(.*)")


@dataclass(frozen=True)
class Job:
    """One picture: from where, to where, as what, and what belongs to it."""

    source: Path
    target: Path
    kind: str  # of file, in `darkroom.editing.pictures.ENDINGS`
    mask: Path | None = None
    reference: Path | None = None


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
    if given is None or (key == "mask" and (given == "alpha" or COLOUR.fullmatch(given))):
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
        wanted.update(strip_of(job) for job in jobs)
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


def pending_of(config: Node, jobs: list[Job]) -> list[Job]:
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


def strip_of(job: Job) -> Path:
    """Return where the strip of a result is written."""
    return job.target.with_name(f"{job.target.name}{COMPARED}")
