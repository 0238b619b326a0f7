import glob
import os
import re
import shlex
import sys

import pytest

from darkroom.commands.edit import edit
from darkroom.editing import planning
from darkroom.editing.planning import Request, planned
from darkroom.errors import UserError

ENDINGS = frozenset({".png", ".jpg", ".gif", ".webp", ".bmp", ".tif"})


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def touch(*names):
    for name in names:
        if os.path.dirname(name):
            os.makedirs(os.path.dirname(name), exist_ok=True)
        open(name, "w").close()


def plan(**words):
    return planned(Request(**words), ENDINGS)


def targets(**words):
    return {str(job.source): str(job.target) for job in plan(**words).jobs}


# --- which become what ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("given", ["in", "in/", "./in", "in/**/*", "in/**/*.*"])
def test_folders_and_patterns_are_mirrored(given):
    touch("in/a.png", "in/b/c.jpg", "in/b/d/e.gif", "in/.hidden.png", "in/.hidden/f.png", "in/notes.txt")
    found = plan(input=given, output="out")
    assert {str(job.source): str(job.target) for job in found.jobs} == {
        "in/a.png": "out/a.png",
        "in/b/c.jpg": "out/b/c.jpg",
        "in/b/d/e.gif": "out/b/d/e.png",
    }
    assert found.passed_over == "1 file of other kinds passed over (1 .txt)."


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("*.png", {"a.png"}),
        ("**.png", {"a.png"}),
        ("*/*.png", {"b/c.png"}),
        ("**/c.png", {"b/c.png"}),
        ("**/[cd].png", {"b/c.png", "b/d/d.png"}),
        ("b/**/*.png", {"b/c.png", "b/d/d.png"}),
        (".h*/*.png", {".h/e.png"}),
        ("?.png", {"a.png"}),
    ],
)
def test_a_pattern_is_what_a_shell_takes_it_for(pattern, names):
    touch("in/a.png", "in/b/c.png", "in/b/d/d.png", "in/.h/e.png")
    assert {source.removeprefix("in/") for source in targets(input=f"in/{pattern}", output="out")} == names


@pytest.mark.parametrize("given", ["in", "in/*.png", "in/**/*.png"])
def test_links_that_lead_round_in_a_circle_name_each_file_once(given):
    touch("in/a.png")
    for name in "xyz":
        os.symlink(".", f"in/{name}")
    assert targets(input=given, output="out") == {"in/a.png": "out/a.png"}


@pytest.mark.parametrize("given", ["in", "in/**/*.png"])
@pytest.mark.parametrize("output", ["in/out", "in/x/../out", "link"])
def test_results_inside_the_input_are_not_taken_for_pictures(given, output):
    touch("in/a.png", "in/out/a.png", "in/x/b.png", "in/outer/c.png")
    os.symlink("in/out", "link")
    assert set(targets(input=given, output=output, overwrite=True)) == {"in/a.png", "in/x/b.png", "in/outer/c.png"}


def test_results_above_the_input_leave_it_whole():
    touch("all/in/a.png")
    assert targets(input="all/in/*.png", output="all") == {"all/in/a.png": "all/a.png"}


# --- two results of one name ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (("a.gif", "a.png"), {}),
        (("a.bmp", "a.png"), {}),
        (("b/a.gif", "b/a.png"), {}),
        (("a.gif", "a.png"), {"format": "tiff"}),
        (("a.gif", "a.png"), {"suffix": "_x"}),
        (("a.gif", "a.bmp"), {}),
    ],
)
@pytest.mark.parametrize("given", ["in", "in/**/*"])
def test_the_advice_on_results_of_one_name_helps(names, words, given):
    touch(*(f"in/{name}" for name in names))
    with pytest.raises(UserError, match="would both become out/") as refused:
        plan(input=given, output="out", **words)
    advice = str(refused.value)
    assert all(f"in/{name}" in advice for name in names)
    typed = shlex.split(re.search(r"with (.*), or rename", advice)[1].replace(" and then", ""))
    assert len(typed) == 3
    first, suffix, second = (word.partition("=")[2] for word in typed)
    done = targets(**{"output": "out", **words, "input": first, "suffix": suffix})
    done |= targets(**{"output": "out", **words, "input": second})
    assert set(done) == {f"in/{name}" for name in names}
    assert len(set(done.values())) == 2


def test_where_the_formats_differ_they_may_be_kept():
    touch("in/a.jpg", "in/a.png")
    with pytest.raises(UserError, match="type format=keep"):
        plan(input="in", output="out", format="tiff")
    assert len(set(targets(input="in", output="out").values())) == 2


def test_a_strip_may_have_the_name_of_a_result():
    touch("in/a.png", "in/a.png.compare.png")
    with pytest.raises(UserError, match="leave compare out"):
        plan(input="in", output="out", compare=True)
    assert len(targets(input="in", output="out")) == 2


@pytest.mark.parametrize(
    "names", [("A.png", "a.png"), ("a.PNG", "a.png"), ("É.png", "é.png"), ("é.png", "e\u0301.png")]
)
@pytest.mark.parametrize("tells", [True, False])
def test_names_that_are_one_on_the_disk_of_the_results_are_refused(monkeypatch, names, tells):
    touch(*(f"in/{name}" for name in names))
    monkeypatch.setattr(planning, "_tells_case", lambda folder: tells)
    if tells:
        assert len(targets(input="in", output="out")) == 2
    else:
        with pytest.raises(UserError, match="one name on this disk: rename one"):
            plan(input="in", output="out")


def test_this_disk_tells_case(place):
    assert planning._tells_case(place / "not" / "there")
    assert os.listdir(place) == []


# --- what is there already --------------------------------------------------------------------------------------------


def test_what_is_read_is_not_written_whatever_it_is_called():
    touch("in/a.png", "masks/a.png")
    os.symlink("in", "link")
    for words in (
        {"output": "link", "overwrite": True},
        {"output": "masks", "mask": "masks", "overwrite": True},
        {"output": "masks", "reference": "masks/a.png", "skip_existing": True},
    ):
        with pytest.raises(UserError, match="it is read"):
            plan(input="in", **words)
    os.makedirs("out")
    os.link("in/a.png", "out/a.png")
    with pytest.raises(UserError, match="it is read"):
        plan(input="in", output="out", overwrite=True)


@pytest.mark.parametrize("given", ["~no-such-person/in", "n" * 300, "x/" * 3000])
@pytest.mark.parametrize("key", ["input", "output", "mask", "reference"])
def test_paths_that_cannot_be_are_refused_in_a_sentence(given, key):
    touch("in/a.png")
    with pytest.raises(UserError) as refused:
        plan(**{"input": "in", key: given})
    assert len(str(refused.value).splitlines()) == 1


# --- as many as there are ---------------------------------------------------------------------------------------------


def calls(function):
    """Return how many functions are called, ours and the interpreter's."""
    count = 0

    def counted(frame, event, argument):
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(counted)
    try:
        function()
    finally:
        sys.setprofile(None)
    return count


def looks(monkeypatch, function):
    """Return how often the disk is asked."""
    count = 0

    def counted(asked):
        def ask(*args, **settings):
            nonlocal count
            count += 1
            return asked(*args, **settings)

        return ask

    with monkeypatch.context() as patch:
        for name in ("stat", "lstat", "scandir", "listdir", "readlink", "open", "access"):
            patch.setattr(os, name, counted(getattr(os, name)))
        function()
    return count


SITUATIONS = {
    "new": {"input": "in", "output": "out"},
    "pattern": {"input": "in/**/*.png", "output": "out"},
    "masks": {"input": "in", "output": "out", "mask": "in", "reference": "in"},
    "there": {"input": "in", "output": "there", "skip_existing": True},
    "compared": {"input": "in", "output": "there", "overwrite": True, "compare": True},
    "in place": {"input": "in", "output": "overwrite"},
    "links": {"input": "links", "output": "overwrite"},
    "same folder": {"input": "in", "output": "in", "suffix": "_x"},
    "inside": {"input": "in", "output": "in/out"},
    "format": {"input": "in", "output": "out", "format": "webp"},
}


@pytest.mark.parametrize("situation", SITUATIONS)
def test_a_plan_is_linear_in_the_files(monkeypatch, situation):
    words = SITUATIONS[situation]
    plan(input=_many(10), output="warm")
    found = {}
    for count in (100, 400):
        _many(count)
        found[count] = calls(lambda: plan(**words)), looks(monkeypatch, lambda: plan(**words))
        assert len(plan(**words).jobs) == count
    for few, many in zip(found[100], found[400], strict=True):
        assert many < 4.4 * few
    assert found[400][1] < 10 * 400 + 200  # looks at the disk, of files and of folders


def _many(count):
    """Make so many pictures in a few folders, with results of all of them, and links to all of them."""
    for number in range(count):
        inside = f"{number % 4}/{number:05d}.png"
        touch(f"in/{inside}", f"there/{inside}")
        os.makedirs(f"links/{number % 4}", exist_ok=True)
        if not os.path.lexists(f"links/{inside}"):
            os.symlink(os.path.abspath(f"in/{inside}"), f"links/{inside}")
    return "in"


def test_a_call_that_goes_on_is_linear_in_what_is_done(monkeypatch, capsys):
    from darkroom.config.composing import compose

    plain = compose("edit", ["operation=denoise", "track=false"])
    found = {}
    for count in (10, 100, 400):  # of which the first imports what the others need
        _many(count)
        settings = {**plain, "input": "in", "output": "there", "skip_existing": True, "report": f"{count}.jsonl"}
        found[count] = calls(lambda settings=settings: edit(settings))
        assert f"{count} pictures: {count} skipped" in capsys.readouterr().err
    assert found[400] < 4.4 * found[100]
    assert len(glob.glob("*.jsonl")) == 3
