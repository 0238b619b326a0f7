"""The pictures of runs, made small enough to stand in one page."""

import base64
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageSequence

# How many frames of a slider, and pixels of their longer side: the first that fits is taken.
_SLIDERS = (
    *((12, 960), (8, 960), (8, 720), (6, 720), (8, 480), (5, 480), (3, 480)),
    *((1, 960), (1, 720), (1, 480), (1, 320), (1, 224), (1, 160), (1, 112)),
)
_SIDES = (1200, 960, 720, 480, 320, 224)  # of pictures that stand alone; a smaller one shows nothing
_OPENING = 0.6  # the share of a run's bytes that its slider may take
_TRIED, _GROWTH = 480, 1.7  # a first picture of so many pixels tells what others weigh: their side to this power
_QUALITY = 86  # of WebP; below, what a denoiser left of the noise is no longer told from what the file made
_ASIDE = ("images", "checkpoints")  # MLflow's own copies; and what is not for looking at
# What opens a run's card: the first of these that it has.
_FIRST = ("samples", "restored", "completions", "forecasts", "importance", "reconstructions", "confusion", "explained")
_STEPPED = re.compile(r"(.+)_(\d{8,})")


@dataclass(frozen=True)
class Series:
    """Pictures of one name, by images seen; a picture without a step stands at -1."""

    name: str
    frames: tuple[tuple[int, Path], ...]


@dataclass(frozen=True)
class Frame:
    """A picture of the page: its step (-1: none), address and size in pixels."""

    step: int
    source: str
    width: int
    height: int


@dataclass(frozen=True)
class Album:
    """What is shown of a run: the series that opens it, the last picture of each other series, and what is left out."""

    name: str
    slider: tuple[Frame, ...]
    others: tuple[tuple[str, Frame], ...]
    left_out: int


def found(folder: Path) -> list[Series]:
    """Return the series of pictures in a run's folder, those to be looked at first in front.

    Where a test picture follows a validation series of the same name, both are there.
    """
    series: dict[str, list[tuple[int, Path]]] = {}
    paths = [path for ending in ("png", "gif") for path in folder.rglob(f"*.{ending}")]
    for path in sorted(paths):
        inside = path.relative_to(folder)
        if inside.parts[0] in _ASIDE or any(part.startswith(".") for part in inside.parts):
            continue
        stem = inside.with_suffix("").as_posix().removeprefix("samples/")
        stepped = _STEPPED.fullmatch(stem)
        name, step = (stepped[1], int(stepped[2])) if stepped else (stem, -1)
        name += " moving" if path.suffix == ".gif" else ""
        series.setdefault(name, []).append((step, path))
    ordered = sorted(series, key=lambda name: (_place(name), len(series[name]) == 1, name))
    return [Series(name, tuple(sorted(series[name]))) for name in ordered]


def album(folder: Path, most_bytes: int) -> Album:
    """Return the pictures of a run in no more than about so many bytes, the first series leafed through.

    What the page leaves out, because it would be too small to see or is the validation's side of a test picture, is
    counted. A file that is no picture any more is left out as well.
    """
    whole = (Series(one.name, tuple(frame for frame in one.frames if _readable(frame[1]))) for one in found(folder))
    series = [one for one in whole if one.frames]
    if not series:
        return Album("", (), (), 0)
    opening, *rest = series
    slider = _slider(opening, int(most_bytes * _OPENING))
    left = max(0, most_bytes - sum(len(frame.source) for frame in slider))
    names = {one.name for one in rest}
    shown = [one for one in rest if not one.name.startswith("val_") or f"test_{one.name[4:]}" not in names]
    others = []
    for number, one in enumerate(shown):
        step, path = one.frames[-1]
        frame = _fitting(path, step, left // (len(shown) - number))
        if frame is not None:
            others.append((spoken(one.name), frame))
            left -= len(frame.source)
    return Album(spoken(opening.name), slider, tuple(others), len(rest) - len(others))


def spoken(name: str) -> str:
    """Return the name of a series as words."""
    return name.replace("/", ": ").replace("_", " ")


def _place(name: str) -> int:
    """Return how early a series is to be looked at; what moves, and what was made once, later than a series."""
    bare = name.removeprefix("test_").removeprefix("val_")
    for place, word in enumerate(_FIRST):
        if bare.startswith(word):
            return 2 * place + name.endswith("moving")
    return 2 * len(_FIRST)


def _readable(path: Path) -> bool:
    try:
        with Image.open(path) as picture:
            picture.verify()
    except (OSError, SyntaxError, ValueError):  # what Pillow raises of a file that was cut short
        return False
    return True


def _slider(series: Series, most_bytes: int) -> tuple[Frame, ...]:
    frames = series.frames
    step, path = frames[-1]
    tried = _frame(path, step, _TRIED)
    drawn = max(tried.width, tried.height)
    for count, side in _SLIDERS:
        weight = len(tried.source) * (side / drawn) ** _GROWTH if drawn == _TRIED else len(tried.source)
        if (count == 1 or len(frames) > 1) and weight * min(count, len(frames)) <= most_bytes:
            break
    chosen = [frames[index] for index in _evenly(len(frames), count)]
    return tuple(tried if side == _TRIED and at == step else _frame(each, at, side) for at, each in chosen)


def _fitting(path: Path, step: int, most_bytes: int) -> Frame | None:
    """Return a picture as large as its bytes allow; None when it would be too small to see anything."""
    sides = list(_SIDES)
    while sides:
        frame = _frame(path, step, sides.pop(0))
        if len(frame.source) <= most_bytes:
            return frame
        # Its weight tells which of the smaller ones are worth a try.
        fitting = max(frame.width, frame.height) * (most_bytes / len(frame.source)) ** (1 / _GROWTH)
        sides = [side for side in sides if side <= fitting or side == _SIDES[-1]]
    return None


def _evenly(total: int, count: int) -> Iterator[int]:
    """Yield ``count`` of ``total`` places, the first and the last among them; the last alone if one is asked for."""
    if count == 1 or total == 1:
        yield total - 1
        return
    count = min(count, total)
    for number in range(count):
        yield round(number * (total - 1) / (count - 1))


def _frame(path: Path, step: int, side: int) -> Frame:
    """Return a picture, or a film, as WebP whose longer side has at most so many pixels."""
    buffer = io.BytesIO()
    with Image.open(path) as picture:
        if getattr(picture, "n_frames", 1) > 1:
            frames = [_scaled(frame.convert("RGB"), side) for frame in ImageSequence.Iterator(picture)]
            width, height = frames[0].size
            pause = int(picture.info.get("duration", 200))
            frames[0].save(buffer, "WEBP", save_all=True, append_images=frames[1:], duration=pause, loop=0, quality=75)
        else:
            small = _scaled(picture.convert("RGBA" if picture.has_transparency_data else "RGB"), side)
            width, height = small.size
            small.save(buffer, "WEBP", quality=_QUALITY)
    content = base64.b64encode(buffer.getvalue()).decode()
    return Frame(step, f"data:image/webp;base64,{content}", width, height)


def _scaled(picture: Image.Image, side: int) -> Image.Image:
    scale = side / max(picture.size)
    if scale >= 1:
        return picture
    width, height = (max(1, round(length * scale)) for length in picture.size)
    return picture.resize((width, height), Image.Resampling.LANCZOS)
