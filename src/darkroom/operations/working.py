"""One picture file after another: read, edited, written, scored, and what is said of each."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from darkroom.config import Node
from darkroom.editing.planning import COLOUR, Job, strip_of
from darkroom.errors import UserError

if TYPE_CHECKING:
    import numpy as np

    from darkroom.editing.applying import Manner
    from darkroom.editing.editor import Editor
    from darkroom.editing.masks import Holes, Mask
    from darkroom.editing.pictures import Levels, Picture
    from darkroom.tracking.run import Run

STRIP = 4_000_000  # pixels of a picture shown in full beside others


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


def common_holes(config: Node) -> "Holes | None":
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


def readable(job: Job) -> bool:
    """Say whether a picture, and its mask, can be read: otherwise no run needs to be loaded for it."""
    from darkroom.editing import pictures

    try:
        for path in (job.source, job.mask):
            if path is not None:
                pictures.read(path)
    except UserError:
        return False
    return True


def attempt(
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


def edited(
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
        save_png(strip_of(job), strip)
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
    elif found := COLOUR.fullmatch(given):
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
