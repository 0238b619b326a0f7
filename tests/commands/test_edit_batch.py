"""One file after another: whatever goes wrong with one is said of it, and the next goes on."""

import errno
import io
import json
import struct
import warnings
import zlib
from contextlib import contextmanager

import cv2
import numpy as np
import pytest
import torch
from PIL import Image, UnidentifiedImageError

from darkroom import images
from darkroom.editing import masks, photographs
from darkroom.editing.editor import Editor
from darkroom.errors import Interrupted, UserError
from darkroom.operations import batch, outcome, working


class Mute(Exception):
    """An error that fails when it is asked what it is."""

    def __str__(self):
        raise ValueError


THROWN = [
    Exception("plain"),
    OSError("broken data stream when reading image file"),
    OSError(errno.EIO, "Input/output error"),
    OSError(errno.ENOSPC, "No space left on device"),
    OSError(errno.ELOOP, "Too many levels of symbolic links"),
    PermissionError(errno.EACCES, "Permission denied"),
    FileNotFoundError(errno.ENOENT, "No such file or directory"),
    BlockingIOError(),
    TimeoutError(),
    BrokenPipeError(),
    EOFError(),
    SyntaxError("not a TIFF file"),
    ValueError("two\nlines\r"),
    TypeError("'<' not supported"),
    KeyError(50),
    IndexError("list index out of range"),
    LookupError("unknown encoding"),
    AttributeError("'NoneType' object has no attribute 'tobytes'"),
    NameError("x"),
    ZeroDivisionError("division by zero"),
    OverflowError("int too large"),
    FloatingPointError(),
    AssertionError(),
    RuntimeError("Kernel size can't be greater than actual input size"),
    NotImplementedError(),
    RecursionError("maximum recursion depth exceeded"),
    MemoryError(),
    BufferError(),
    SystemError("tile cannot extend outside image"),
    ReferenceError(),
    ImportError("no codec"),
    StopIteration(),
    StopAsyncIteration(),
    UserWarning("a warning, thrown"),
    Image.DecompressionBombWarning("a bomb, perhaps"),
    Image.DecompressionBombError("a bomb"),
    UnidentifiedImageError("cannot identify"),
    UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"),
    UnicodeEncodeError("utf-8", "\udcff", 0, 1, "surrogates not allowed"),
    struct.error("argument out of range"),
    zlib.error("Error -3"),
    json.JSONDecodeError("expecting value", "", 0),
    cv2.error("OpenCV(5)\n error: (-215)"),
    np.linalg.LinAlgError("singular matrix"),
    torch.cuda.OutOfMemoryError("out of memory"),
    UserError("A sentence of our own."),
    ExceptionGroup("several", [ValueError(1), KeyError(2)]),
    Mute(),
]


def save(path, *shape, seed=0, **settings):
    path.parent.mkdir(parents=True, exist_ok=True)
    levels = np.random.default_rng(seed).integers(30, 226, shape or (16, 20, 3), dtype=np.uint8)
    Image.fromarray(levels).save(path, **settings)
    return levels


def written(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def report(path="log.jsonl"):
    with open(path, encoding="utf-8") as file:
        return {line["file"]: line for line in map(json.loads, file)}


def same(colours, mask):
    return colours


# --- what stages throw ------------------------------------------------------------------------------------------------


@pytest.fixture
def thrower(place, monkeypatch):
    """A folder with a picture for each error, a good one first and last, and what throws that of the present one."""
    names = ["0.png", *(f"{number:02d}.png" for number in range(10, 10 + len(THROWN))), "z.png"]
    for name in names:
        save(place / "in" / name)
    save(place / "whole.png")
    errors = dict(zip(names[1:-1], THROWN, strict=True))
    now, read = [], photographs.read

    def reading(path):
        if path.parent.name == "in":
            now.append(path.name)
        return read(path)

    def throw(*args, **settings):
        if (error := errors.get(now[-1])) is not None:
            raise error

    monkeypatch.setattr(photographs, "read", reading)
    return throw


def before(function, throw):
    """Return a function that throws before it does what it did."""

    def thrown(*args, **settings):
        throw()
        return function(*args, **settings)

    return thrown


def acting(throw):
    return Editor(before(same, throw), reach=0)


def tuning(throw):
    return Editor(same, reach=0, tuned=lambda middle, small: before(lambda: (same, ""), throw)())


FAILING = {
    "reading": (photographs, "read", ""),
    "marking": (masks, "coloured", "mask=colour:red"),
    "editing": (None, acting, ""),
    "tuning": (None, tuning, ""),
    "writing": (photographs, "write", ""),
}


@pytest.mark.parametrize("stage", FAILING)
def test_whatever_a_stage_throws_fails_its_file_and_no_other(place, edit, thrower, monkeypatch, stage):
    module, name, line = FAILING[stage]
    editor = name(thrower) if module is None else Editor(same, reach=0)
    if stage == "reading":
        read = photographs.read
        monkeypatch.setattr(photographs, "read", lambda path: (read(path), thrower())[0])
    elif module is not None:
        monkeypatch.setattr(module, name, before(getattr(module, name), thrower))
    if stage == "marking":
        monkeypatch.setattr(masks, "check_share", lambda mask, given: None)
    code, out, err = edit(f"input=in output=out report=log.jsonl {line}", editor)
    assert (code, out) == (1, ""), err
    assert written(place / "out") == ["0.png", "z.png"]
    lines = list(report().values())
    assert [each["status"] for each in lines] == ["edited", *["failed"] * len(THROWN), "edited"]
    assert all(each["error"].endswith(".") and "\n" not in each["error"] for each in lines[1:-1])
    said = err.splitlines()
    assert all(sum(row.startswith(f"{each['file']} failed: ") for row in said) == 1 for each in lines[1:-1])
    assert len(said) <= len(THROWN) + 3  # a sentence each, and those that sum up
    assert f"{len(THROWN)} of {len(lines)} pictures failed" in said[-1]


def self_testing(throw):
    return Editor(same, reach=0, damage=lambda picture, seed: before(lambda: (picture * 0.9, None), throw)())


def classical(throw):
    return Editor(same, reach=0, baseline=before(same, throw), baseline_name="wavelet")


def judging(throw):
    return Editor(same, reach=0, judged=lambda before_it, after: before(lambda: ({"ssim": 1.0}, None), throw)())


def unspeakable(throw):
    """Scores that are no numbers."""

    def judged(before_it, after):
        try:
            throw()
        except BaseException as error:
            return {"ssim": error}, None
        return {"ssim": np.float32(1)}, None

    return Editor(same, reach=0, judged=judged)


ACCOMPANYING = {
    "self-test": (None, self_testing, "self_test"),
    "classical way": (None, classical, "compare"),
    "judging": (None, judging, "style"),
    "scores that are none": (None, unspeakable, "style"),
    "reference": (outcome, "against", "reference=whole.png"),
    "looking": (outcome, "insane", ""),
    "strip": (working, "_strip", "compare=true"),
    "writing the strip": (images, "save_png", "compare=true"),
}


@pytest.mark.parametrize("stage", ACCOMPANYING)
def test_what_only_accompanies_a_picture_cannot_lose_it(place, edit, thrower, monkeypatch, stage):
    module, name, line = ACCOMPANYING[stage]
    editor = name(thrower) if module is None else Editor(same, reach=0)
    if module is not None:
        monkeypatch.setattr(module, name, before(getattr(module, name), thrower))
    words = line if "=" in line else {"compare": "compare=true"}.get(line, "")
    code, _, err = edit(f"input=in output=out report=log.jsonl {words}", editor)
    assert code == 0, err
    results = [name for name in written(place / "out") if not name.endswith(".compare.png")]
    assert results == written(place / "in")
    lines = list(report().values())
    assert {each["status"] for each in lines} == {"edited"}
    assert [len(each["warnings"]) for each in lines] == [0, *[1] * len(THROWN), 0]
    assert len(err.splitlines()) >= len(THROWN) + 1


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, Interrupted])
@pytest.mark.parametrize("stage", ["editing", "scoring"])
def test_an_interruption_ends_the_batch_and_loses_nothing(place, edit, error, stage):
    for name in "abc":
        save(place / f"in/{name}.png", 40, 40, 3)
    seen = []

    def second(result):
        seen.append(1)
        if len(seen) == 2:
            raise error("SIGTERM")
        return result

    if stage == "editing":
        editor = Editor(lambda colours, mask: second(colours), reach=0)
    else:
        editor = Editor(same, reach=0, damage=lambda picture, seed: second((picture, None)))
    try:
        edit("input=in output=out report=log.jsonl", editor)
    except Interrupted:
        assert error is Interrupted
    assert written(place / "out") == (["a.png"] if stage == "editing" else ["a.png", "b.png"])
    code, _, err = edit("input=in output=out skip_existing=true", Editor(same, reach=0))
    assert code == 0, err
    assert written(place / "out") == ["a.png", "b.png", "c.png"]
    edit("input=in output=whole", Editor(same, reach=0))
    for name in written(place / "out"):
        assert (place / "out" / name).read_bytes() == (place / "whole" / name).read_bytes()


@pytest.mark.parametrize("error", THROWN, ids=lambda error: type(error).__name__)
def test_a_report_that_can_no_longer_be_written_ends_no_batch(place, edit, monkeypatch, error):
    for name in "abc":
        save(place / f"in/{name}.png")
    write = batch._append
    calls = []

    def second(file, line):
        calls.append(line)
        if len(calls) == 2:
            file.write(line[:10])
            raise error
        write(file, line)

    monkeypatch.setattr(batch, "_append", second)
    code, _, err = edit("input=in output=out report=log.jsonl")
    assert code == 1
    assert "3 pictures: 3 edited" in err
    assert "log.jsonl lacks in/b.png" in err or isinstance(error, UserError)
    assert written(place / "out") == ["a.png", "b.png", "c.png"]
    monkeypatch.undo()
    monkeypatch.chdir(place)
    assert edit("input=in output=out report=log.jsonl skip_existing=true")[0] == 0
    lines = (place / "log.jsonl").read_text().splitlines()
    assert [json.loads(line)["status"] for line in (lines[0], *lines[2:])] == ["edited", *["skipped"] * 3]


class Lost:
    """A run on a server that is gone."""

    def __init__(self, folder, error):
        self.folder, self.error = folder, error

    def log_picture(self, *args):
        raise self.error

    log_metrics = log_picture


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), RuntimeError("gone"), Mute()])
def test_a_server_that_is_lost_ends_no_batch(place, edit, monkeypatch, error):
    save(place / "in/a.png")
    save(place / "in/b.png")

    @contextmanager
    def tracked(config, name, record):
        yield Lost(place, error)

    monkeypatch.setattr(batch, "_tracked", tracked)
    code, _, err = edit("input=in output=out track=true")
    assert code == 1
    assert "in/a.png: it is not shown in MLflow (" in err
    assert "The means could not be recorded in MLflow (" in err
    assert written(place / "out") == ["a.png", "b.png"]
    lines = [json.loads(line) for line in (place / "report.jsonl").read_text().splitlines()]
    assert [line["status"] for line in lines] == ["edited", "edited"]


# --- damaged files ----------------------------------------------------------------------------------------------------

FORMATS = {
    "png": {},
    "jpg": {"quality": 90},
    "webp": {"lossless": True},
    "lossy.webp": {},
    "tif": {"compression": "tiff_adobe_deflate"},
    "plain.tif": {},
    "lzw.tif": {"compression": "tiff_lzw"},
    "avif": {},
    "gif": {},
    "bmp": {},
    "tga": {},
    "ppm": {},
    "jp2": {},
}


def damaged(whole, generator):
    """Yield a file cut short, with bytes of its beginning or anywhere changed, and with bytes taken out and put in."""
    for share in (0.0, 0.02, 0.1, 0.5, 0.9, 0.99):
        yield whole[: int(share * len(whole))]
    for reach in (64, 64, 64, 200, len(whole), len(whole), len(whole)):
        changed = bytearray(whole)
        for place in generator.integers(4, min(reach, len(whole)), 3):
            changed[place] = generator.integers(256)
        yield bytes(changed)
    middle = int(generator.integers(8, len(whole)))
    yield whole[:middle] + whole[middle + 3 :]
    yield whole[:middle] + bytes(5) + whole[middle:]


@pytest.mark.parametrize("ending", FORMATS)
def test_damaged_files_are_named_and_the_others_go_on(place, edit, ending):
    save(place / "in/0.png")
    save(place / "in/z.png")
    exif = Image.Exif()
    exif[0x010F], exif[0x9286] = "Maker", "a comment"
    picture = Image.fromarray(np.random.default_rng(1).integers(0, 256, (24, 32, 3), dtype=np.uint8))
    buffer = io.BytesIO()
    kind = {"jpg": "JPEG", "tif": "TIFF", "jp2": "JPEG2000"}.get(ending.rpartition(".")[2], ending.rpartition(".")[2])
    carrying = {} if kind in ("gif", "bmp", "tga", "ppm", "JPEG2000") else {"exif": exif}
    picture.save(buffer, format=kind, **FORMATS[ending], **carrying)
    files = list(damaged(buffer.getvalue(), np.random.default_rng(sum(map(ord, ending)))))
    for number, content in enumerate(files):
        (place / f"in/{number:02d}.{ending}").write_bytes(content)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        code, out, err = edit("input=in output=out report=log.jsonl", Editor(same, reach=0))
    assert (code, out) == (1, ""), err
    lines = report()
    assert len(lines) == len(files) + 2
    assert lines["in/0.png"]["status"] == lines["in/z.png"]["status"] == "edited"
    for name, line in lines.items():
        assert (place / line["output"]).exists() == (line["status"] == "edited")
        if line["status"] == "failed":
            assert name in line["error"] or line["output"] in line["error"]
            assert sum(row.startswith(f"{name} failed: ") for row in err.splitlines()) == 1
    assert sum(line["status"] == "failed" for line in lines.values()) >= 4
