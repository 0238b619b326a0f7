"""What lies in folders, how it is called, and what is refused beforehand."""

import errno
import json
import os
import socket

import numpy as np
import pytest
from PIL import Image

from darkroom import files
from darkroom.config import overrides
from darkroom.editing import heic, photographs
from darkroom.editing.editor import Editor


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


TYPED = [
    *("ä.png", "写真 👩‍🔬.png", "a\nb.png", "latin-\udce9.png", "a\u202fb.png"),
    *("a'b.png", 'a"b.png', "a\\b.png", "a\\'b.png", "a b(1)[2]{3}.png"),
    *("~a^b`c.png", "a=b&c;d#e!.png", "-a.png", "$a%s.png", "<a>|b.png", "*.png"),
]


@pytest.mark.parametrize("name", TYPED)
def test_such_a_name_may_be_typed(name):
    """What a person types after input= is what the command is given."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    for key in ("input", "output", "mask", "reference", "report"):
        override = OverridesParser.create().parse_override(overrides.read("edit", [f"{key}={name}"], None)[0])
        assert override.value() == name


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
    read = photographs.read

    def slowly(path):
        picture = read(path)
        if path.name == "b.png":
            os.utime(path, (1, 1))
        return picture

    monkeypatch.setattr(photographs, "read", slowly)
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
        most = photographs.MOST_SIDE[kind]
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
