"""One picture file after another: read, edited, written, scored, and what is said of each.

Whatever a decoder, a network, an encoder or a scorer throws is a sentence on that picture, and the next goes on. A
result is written before anything is said of it, so that what only accompanies it cannot lose it.
"""

import json
import logging
import math
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from darkroom.editing.planning import COLOUR, Job, strip_of
from darkroom.errors import UserError, printable, reason

if TYPE_CHECKING:
    import numpy as np

    from darkroom.editing.applying import Manner
    from darkroom.editing.editor import Editor
    from darkroom.editing.masks import Holes, Mask
    from darkroom.editing.photographs import Levels, Picture

LOG = logging.getLogger(__name__)
STRIP = 4_000_000  # pixels of a picture shown in full beside others


@dataclass(frozen=True)
class Masking:
    """Where pictures are repaired, in the words of the settings, and how what marks it is shaped."""

    given: str | None = None
    invert: bool = False
    grow: int = 0
    feather: int = 0

    def shaped(self, holes: "Holes") -> "Mask":
        """Return the mask of some holes."""
        from darkroom.editing import masks

        return masks.shaped(holes, self.invert, self.grow, self.feather)

    def common(self) -> "Holes | None":
        """Return the holes that one file marks in all pictures, None where there is no such file.

        Raises:
            UserError: it cannot be read, or marks nothing, or all.
        """
        if self.given is None or not (file := Path(self.given).expanduser()).is_file():
            return None
        from darkroom.editing import masks

        with stage(f"mask={self.given} cannot be read"):
            holes = masks.marked(file)
        masks.check_share(self.shaped(holes), self.given)
        return holes


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

    @classmethod
    def of(cls, job: Job) -> "Line":
        """Return what is known of a job beforehand."""
        line = cls(str(job.source), str(job.target))
        if job.refused is not None:
            line.fail(job.refused)
        elif job.skipped is not None:
            line.status = "skipped"
            line.warnings += [job.skipped] if job.skipped else []
        return line

    def fail(self, sentence: str) -> None:
        """Note in a sentence that nothing came of it."""
        self.status, self.error = "failed", printable(sentence)

    def add(self, scores: Mapping[str, float]) -> None:
        """Add scores, which may come as whatever can be made a number."""
        self.scores |= {key: float(value) for key, value in scores.items()}

    def json(self) -> str:
        """Return it as JSON, numbers rounded to what they are worth, bytes of names that are not UTF-8 as escapes."""
        said = {key: value for key, value in vars(self).items() if value is not None}
        said["scores"] = {key: round(value, 4) if math.isfinite(value) else None for key, value in self.scores.items()}
        text = json.dumps(said, ensure_ascii=False)
        return re.sub("[\ud800-\udfff]", lambda found: f"\\u{ord(found[0]):04x}", text)


class Failed(UserError):
    """One sentence on something that failed although what was typed could be done."""


@contextmanager
def stage(failing: str) -> Iterator[None]:
    """Turn whatever is thrown in the block into one sentence, which begins with ``failing``.

    Raises:
        UserError: as it was thrown.
        Failed: anything else was.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # of any kind: decoders, encoders and networks throw them all
        LOG.debug("%s", printable(failing), exc_info=True)
        raise Failed(printable(f"{failing} ({reason(error)}).")) from None


@contextmanager
def beside(line: Line, missing: str) -> Iterator[None]:
    """Turn whatever is thrown in the block into a warning: the picture itself is there already."""
    try:
        with stage(missing):
            yield
    except UserError as error:
        line.warnings.append(str(error).rstrip("."))


def readable(job: Job) -> bool:
    """Say whether a picture, and its mask, can be read: otherwise no run needs to be loaded for it."""
    from darkroom.editing import photographs

    try:
        for path in (job.source, job.mask):
            if path is not None:
                with stage(""):
                    photographs.read(path)
    except UserError:
        return False
    return True


@dataclass(frozen=True)
class Worker:
    """What edits pictures, one at a time."""

    editor: "Editor"
    manner: "Manner"
    masking: Masking = field(default_factory=Masking)
    holes: "Holes | None" = None  # that one mask marks in all pictures
    quality: int | None = None
    self_test: bool | None = None  # None: where there is no reference
    seed: int = 0
    compare: bool = False  # whether strips are written
    keep: bool = False  # whether they are wanted by somebody else
    on_gpu: bool = False
    progress: Callable[[int, int], None] | None = None

    def attempt(self, job: Job, line: Line) -> "np.ndarray | None":
        """Edit one picture, write it and fill in its line; return it beside what it was, where that is wanted."""
        started = time.perf_counter()
        try:
            with stage(f"{job.source} could not be edited"):
                return self._edit(job, line)
        except UserError as error:
            line.fail(str(error))
        finally:
            line.milliseconds = round((time.perf_counter() - started) * 1000)
        return None

    def _edit(self, job: Job, line: Line) -> "np.ndarray | None":
        from darkroom.editing import applying, photographs

        with stage(f"{job.source} cannot be read"):
            state = _state(job.source)
            picture = photographs.read(job.source)
        _check_unchanged(job.source, state)
        line.size, line.mode, line.format = picture.size, picture.carried.mode, job.kind
        check_fits(picture.size, self.editor.scale, job)
        mask = self._mask(job, picture)
        line.warnings += picture.notes
        if mask is not None:
            line.repaired = round(mask.share, 6)
        outcome = applying.edit(
            picture, self.editor, self.manner, mask, str(job.source), self.on_gpu, self.progress
        )  # fmt: skip
        made = outcome.picture
        if self.masking.given == "alpha" and mask is not None and made.alpha is not None:
            made = replace(made, alpha=_shown(made, mask))
        line.tile, line.level, line.output_size = outcome.tile, outcome.found or None, made.size
        if job.target == job.source:
            _check_unchanged(job.source, state)
        with stage(f"{job.target} cannot be written"):
            line.warnings += photographs.write(made, job.target, job.kind, self.quality)
        return self._accompany(job, line, picture, made, mask)

    def _mask(self, job: Job, picture: "Picture") -> "Mask | None":
        """Return where this picture is to be repaired."""
        given = self.masking.given
        if given is None:
            return None
        from darkroom.editing import masks

        if self.holes is not None:
            holes = self.holes
        elif job.mask is not None:
            given = str(job.mask)
            with stage(f"{given} cannot be read"):
                holes = masks.marked(job.mask)
        elif found := COLOUR.fullmatch(given):
            holes = masks.coloured(picture, masks.parse_colour(found.group(1)))
        else:
            holes = masks.transparent(picture, str(job.source))
        mask = self.masking.shaped(holes)
        masks.check_size(mask, picture, given)
        masks.check_share(mask, given)
        return mask

    def _accompany(
        self, job: Job, line: Line, before: "Picture", after: "Picture", mask: "Mask | None"
    ) -> "np.ndarray | None":
        """Score what was written, and show it beside what it was; none of it can lose the picture."""
        from darkroom.operations import outcome

        baseline = strip = None
        if job.reference is not None or self.compare:
            with beside(line, f"what {self.editor.baseline_name or 'a classical way'} makes of it is not known"):
                baseline = outcome.classical(before, self.editor, mask)
        self._score(job, line, before, after, baseline)
        if self.compare or self.keep:
            with beside(line, "it is not shown beside what it was"):
                strip = _strip(before, after, baseline)
        if self.compare and strip is not None:
            from darkroom.images import save_png

            with beside(line, f"{strip_of(job.target)} was not written"):
                save_png(strip_of(job.target), strip)
        return strip

    def _score(
        self, job: Job, line: Line, before: "Picture", after: "Picture", baseline: "Levels | None"
    ) -> None:  # fmt: skip
        """Say how good a result is, as far as that can be known, and what looks wrong."""
        from darkroom.editing import applying, photographs
        from darkroom.operations import outcome

        editor = self.editor
        if job.reference is not None:
            with beside(line, f"it is not scored against {job.reference}"):
                reference = photographs.read(job.reference)
                line.add(outcome.against(reference, before, after, baseline, editor.baseline_name))
        wanted = self.self_test if self.self_test is not None else job.reference is None
        if wanted and editor.damage is not None:
            with beside(line, "the self-test is left out"):
                line.add(outcome.self_test(before, editor, self.manner, self.seed))
        if (sentence := outcome.worse(line.scores, editor.baseline_name)) is not None:
            line.warnings.append(sentence)
        if editor.judged is not None:
            with beside(line, "it is left without a score"):
                scores, warning = editor.judged(
                    *(applying.in_channels(each.levels, editor.channels) for each in (before, after))
                )
                line.add(scores)
                line.warnings += [warning] if warning else []
        with beside(line, "whether it looks wrong is not known"):
            line.warnings += outcome.insane(before, after, editor)


def check_fits(size: tuple[int, int], scale: int, job: Job) -> None:
    """Refuse a result that its format cannot hold, before it is made.

    Raises:
        UserError: it has too many pixels a side.
    """
    from darkroom.editing import photographs

    width, height = (side * scale for side in size)
    most = photographs.MOST_SIDE.get(job.kind)
    if most is not None and max(width, height) > most:
        raise UserError(
            f"{job.source} would become {width}x{height} pixels, and a {job.kind.upper()} holds {most} a side: type"
            " format=png."
        )


def _state(path: Path) -> tuple[int, int, int]:
    """Return what changes when a file does."""
    found = os.stat(path)
    return found.st_ino, found.st_size, found.st_mtime_ns


def _check_unchanged(path: Path, state: tuple[int, int, int]) -> None:
    with stage(f"{path} is gone, or cannot be looked at any more"):
        now = _state(path)
    if now != state:
        raise UserError(f"{path} was changed by another program meanwhile: try again when that is done.")


def _shown(picture: "Picture", mask: "Mask") -> "Levels":
    """Return transparency in which what was repaired is seen."""
    import numpy as np

    assert picture.alpha is not None
    return np.asarray(np.where(mask.weights > 0, picture.most, picture.alpha).astype(picture.alpha.dtype))


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
