"""One file after another: whatever goes wrong with one is said of it, and the next goes on."""

import errno
import io
import json
import os
import socket
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
from darkroom.commands import edit_files
from darkroom.editing import heic, masks, pictures
from darkroom.editing.editor import Editor
from darkroom.errors import Interrupted, UserError
from darkroom.operations import scoring, working


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
    now, read = [], pictures.read

    def reading(path):
        if path.parent.name == "in":
            now.append(path.name)
        return read(path)

    def throw(*args, **settings):
        if (error := errors.get(now[-1])) is not None:
            raise error

    monkeypatch.setattr(pictures, "read", reading)
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
    "reading": (pictures, "read", ""),
    "marking": (masks, "coloured", "mask=colour:red"),
    "editing": (None, acting, ""),
    "tuning": (None, tuning, ""),
    "writing": (pictures, "write", ""),
}


@pytest.mark.parametrize("stage", FAILING)
def test_whatever_a_stage_throws_fails_its_file_and_no_other(place, edit, thrower, monkeypatch, stage):
    module, name, line = FAILING[stage]
    editor = name(thrower) if module is None else Editor(same, reach=0)
    if stage == "reading":
        read = pictures.read
        monkeypatch.setattr(pictures, "read", lambda path: (read(path), thrower())[0])
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
    "reference": (scoring, "against", "reference=whole.png"),
    "looking": (scoring, "insane", ""),
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
    write = edit_files._append
    calls = []

    def second(file, line):
        calls.append(line)
        if len(calls) == 2:
            file.write(line[:10])
            raise error
        write(file, line)

    monkeypatch.setattr(edit_files, "_append", second)
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

    monkeypatch.setattr(edit_files, "_tracked", tracked)
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


# --- what lies in folders ---------------------------------------------------------------------------------------------


def test_links_pipes_and_sockets_stop_nothing(place, edit, monkeypatch):
    save(place / "in/a.png")
    save(place / "far/real.png")
    (place / "in/b.png").symlink_to(place / "far/real.png")
    (place / "in/c.png").symlink_to("nowhere.png")
    (place / "in/d.png").symlink_to("d.png")
    (place / "in/e.png").symlink_to("f.png")
    (place / "in/f.png").symlink_to("e.png")
    (place / "in/round").symlink_to("..")
    os.mkfifo(place / "in/g.png")  # to open it would wait for ever
    monkeypatch.chdir(place / "in")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("h.png")
        monkeypatch.chdir(place)
        for pattern, out in (("in", "one"), ("'in/**/*.png'", "two")):
            code, _, err = edit(f"input={pattern} output={out} report={out}.jsonl")
            assert code == 1, err
            assert written(place / out) == ["a.png", "b.png"]
            lines = report(f"{out}.jsonl")
            assert [line["status"] for line in lines.values()] == ["edited"] * 2 + ["failed"] * 4
            assert lines["in/c.png"]["error"] == "in/c.png is a link to nowhere.png, which is not there."
            assert all(f"in/{name}.png is a link that leads to itself" in err for name in "def")
            assert ("2 special files" in err and "1 linked folder" in err) or out == "two"


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: path.symlink_to("nowhere"), "is a link to nowhere, which is not there"),
        (lambda path: path.symlink_to(path.name), "is a link that leads to itself"),
        (lambda path: os.mkfifo(path), "is no file, but a folder, a pipe"),
        (lambda path: path.symlink_to("/dev/full"), "is no file, but a folder, a pipe"),
    ],
)
def test_places_that_cannot_be_written_fail_their_file(place, edit, make, words):
    for name in "abc":
        save(place / f"in/{name}.png")
    (place / "out").mkdir()
    make(place / "out/b.png")
    code, _, err = edit("input=in output=out report=log.jsonl")
    assert code == 1
    assert f"out/b.png {words}" in err
    assert [line["status"] for line in report().values()] == ["edited", "failed", "edited"]
    assert not (place / "out/nowhere").exists()
    make(place / "x.png")
    for line in ("input=x.png", "input=in mask=x.png", "input=in reference=x.png"):
        code, _, err = edit(f"{line} output=other")
        assert code == 2
        assert "x.png" in err
    (place / "loop").symlink_to("loop")
    code, _, err = edit("input=in output=loop")
    assert code == 2
    assert "output=loop is a link that leads to itself" in err


def test_a_folder_that_cannot_be_listed_is_named(place, edit, monkeypatch):
    save(place / "in/a.png")
    save(place / "in/locked/b.png")
    scandir = os.scandir

    def refusing(path):
        if str(path).endswith("locked"):
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    code, _, err = edit("input=in output=out report=log.jsonl")
    assert code == 1
    assert "in/locked cannot be listed (Permission denied)" in err
    assert written(place / "out") == ["a.png"]
    assert report()["in/locked"]["status"] == "failed"


NAMES = [
    b"plain.png",
    b"new\nline.png",
    b"carriage\rreturn.png",
    b"\x1b[31mred.png",
    b"latin-\xe9.png",
    b"\xff\xfe.png",
    "写真 👩‍🔬.png".encode(),
    b"[red]markup[bold].png",
    b"a'b\"c$d`e.png",
    b"-dash.png",
    b"a,b={c}.png",
    b"%s%d.png",
    b"n" * 251 + b".png",
]


@pytest.mark.parametrize("name", NAMES, ids=lambda name: name.decode("ascii", "backslashreplace")[:12])
def test_a_name_may_be_anything_that_a_disk_takes(place, edit, name):
    source = place / "in" / os.fsdecode(name)
    save(place / "plain.png")
    source.parent.mkdir()
    (place / "plain.png").rename(source)
    code, _, err = edit("input=in output=out report=log.jsonl")
    assert code == 0, err
    assert os.listdir(b"out") == [name]
    assert list(report()) == [f"in/{os.fsdecode(name)}"]
    source.write_bytes(b"damaged")
    code, _, err = edit("input=in output=out overwrite=true")
    assert code == 1
    err.encode()
    assert err.count("\n") == 3  # what failed, and two sentences that sum up
    assert not set(err) & set("\r\x1b")


def test_a_name_that_is_too_long_for_its_result_is_said(place, edit):
    save(place / "in/a.png")
    (place / "in/a.png").rename(place / "in" / f"{'n' * 250}.png")
    save(place / "in/b.png")
    code, _, err = edit("input=in output=out suffix=_edited")
    assert code == 1
    assert "cannot be written (File name too long)" in err
    assert written(place / "out") == ["b_edited.png"]
    code, _, err = edit("input=in output=two compare=true")
    assert code == 0
    assert ".compare.png was not written (File name too long)" in err
    assert "b.png.compare.png" in written(place / "two")


def test_a_picture_that_changes_while_it_is_read_is_left_alone(place, edit, monkeypatch):
    save(place / "in/a.png")
    before_it = save(place / "in/b.png")
    read = pictures.read

    def slowly(path):
        picture = read(path)
        if path.name == "b.png":
            os.utime(path, (1, 1))
        return picture

    monkeypatch.setattr(pictures, "read", slowly)
    code, _, err = edit("input=in output=out")
    assert code == 1
    assert "in/b.png was changed by another program meanwhile" in err
    monkeypatch.undo()
    monkeypatch.chdir(place)

    def touching(colours, mask):
        save(place / "in/b.png", seed=5)
        return colours * 0

    code, _, err = edit("input=in/b.png output=overwrite", Editor(touching, reach=0))
    assert code == 1
    assert "changed by another program" in err
    assert np.asarray(Image.open("in/b.png")).std() > 1  # the newer content, and not an edit of the older
    assert before_it.shape == np.asarray(Image.open("in/b.png")).shape


def test_a_picture_that_vanishes_is_said(place, edit):
    save(place / "in/a.png")
    save(place / "in/b.png")

    def removing(colours, mask):
        (place / "in/b.png").unlink(missing_ok=True)
        return colours

    code, _, err = edit("input=in output=out", Editor(removing, reach=0))
    assert code == 1
    assert "in/b.png cannot be read (No such file or directory)" in err
    assert written(place / "out") == ["a.png"]


# --- originals --------------------------------------------------------------------------------------------------------


def test_originals_keep_their_permissions_and_their_links(place, edit):
    save(place / "far/real.png")
    save(place / "in/a.png")
    (place / "in/a.png").chmod(0o600)
    (place / "far/real.png").chmod(0o640)
    (place / "in/b.png").symlink_to("../far/real.png")
    code, _, err = edit("input=in output=overwrite", Editor(lambda colours, mask: colours * 0, reach=0))
    assert code == 0, err
    assert (place / "in/b.png").is_symlink()
    assert np.asarray(Image.open("far/real.png")).std() < 1
    assert (place / "in/a.png").stat().st_mode & 0o777 == 0o600
    assert (place / "far/real.png").stat().st_mode & 0o777 == 0o640
    assert written(place / "far") == ["real.png"]


def test_an_original_with_two_names_is_edited_once(place, edit):
    levels = save(place / "in/b.png")
    (place / "in/a.png").symlink_to("b.png")
    code, _, err = edit("input=in output=overwrite report=log.jsonl", Editor(lambda c, m: c - 0.02, reach=0))
    assert code == 0, err
    assert np.abs(np.asarray(Image.open("in/b.png")) - levels.astype(int) + 2.55).max() <= 0.5
    lines = report()
    assert lines["in/a.png"]["status"] == "skipped"
    assert "in/b.png by another name" in lines["in/a.png"]["warnings"][0]


def test_what_a_killed_call_left_is_gone_after_the_next(place, edit):
    from darkroom import files

    save(place / "in/inner/a.png")
    edit("input=in output=out")
    left = place / "out/inner" / f".darkroom-{files._machine()}-0123456789ab.partial"
    left.write_bytes(b"half")
    files._swept.clear()
    assert edit("input=in output=out skip_existing=true")[0] == 0
    assert not left.exists()


# --- sizes ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "most"), [("webp", 16_383), ("jpeg", 65_500)])
def test_a_result_that_its_format_cannot_hold_is_refused_before_it_is_made(place, edit, kind, most):
    for number, width in enumerate((most // 4, most // 4 + 1)):
        save(place / f"in/{number}.png", 1, width, 3)
    asked = []

    def larger(colours, mask):
        asked.append(colours.shape)
        return colours.repeat_interleave(4, 1).repeat_interleave(4, 2)

    code, _, err = edit(f"input=in output=out format={kind}", Editor(larger, scale=4, reach=0))
    assert code == 1
    assert f"would become {(most // 4 + 1) * 4}x4 pixels, and a {kind.upper()} holds {most} a side" in err
    assert "type format=png" in err
    assert len(written(place / "out")) == 1
    assert sum(shape[2] for shape in asked) < 2 * most // 4  # the second was not begun
    code, _, err = edit("input=in output=out2 format=png", Editor(larger, scale=4, reach=0))
    assert code == 0, err


def test_the_largest_pictures_are_written_as_the_formats_say(tmp_path):
    """The table of sizes is what the libraries do, and not what is written about them."""
    for kind in ("webp", "jpeg"):
        most = working.LARGEST[kind]
        for width, fits in ((most, True), (most + 1, False)):
            picture = Image.new("L", (width, 1))
            try:
                picture.save(tmp_path / f"a.{kind}")
                done = True
            except (ValueError, OSError):
                done = False
            assert done == fits, (kind, width)


# --- other kinds ------------------------------------------------------------------------------------------------------


def test_other_kinds_are_counted_and_said(place, edit, monkeypatch):
    monkeypatch.setattr(heic, "readable", lambda: False)
    save(place / "in/a.png")
    for name in ("b.heic", "c.HEIC", "d.cr2", "notes", ".hidden.cr2"):
        (place / "in" / name).write_bytes(b"")
    code, _, err = edit("input=in output=out")
    assert code == 0
    assert "4 files of other kinds passed over (2 .heic, 1 .cr2, 1 without an ending)" in err
    assert "pip install 'darkroom-lab[heic]'" in err
    code, _, err = edit("input=in/b.heic output=b.png")
    assert code == 2
    assert "pip install 'darkroom-lab[heic]'" in err
    code, _, err = edit("input='in/*.heic' output=c")
    assert code == 2
    assert "names no picture (1 file of other kinds passed over (1 .heic): type pip install" in err


def test_heic_is_read_where_its_reader_is_installed(place, edit, monkeypatch):
    class Reader:
        """Stands for pillow-heif, which this test cannot count on; what it reads is a PNG."""

        @staticmethod
        def register_heif_opener():
            registered.append(1)

    registered = []
    monkeypatch.setitem(__import__("sys").modules, "pillow_heif", Reader)
    heic.readable.cache_clear()
    try:
        save(place / "in/a.heic", format="PNG")
        code, _, err = edit("input=in output=out")
        assert code == 0, err
        assert edit("input=in/a.heic output=b.png")[0] == 0
    finally:
        heic.readable.cache_clear()
    assert registered == [1]
    assert written(place / "out") == ["a.png"]
