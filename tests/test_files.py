import errno
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from darkroom import files
from darkroom.errors import UserError, printable, reason
from darkroom.tracking import outputs

LONGEST = "ä" * 125 + ".json"  # 255 bytes, the most that a file system takes


@pytest.fixture(autouse=True)
def first_look():
    """Every test is a process that has swept no folder yet."""
    files._swept.clear()


def there(folder):
    return sorted(path.name for path in folder.iterdir())


def age(path, seconds=90_000):
    os.utime(path, (time.time() - seconds,) * 2)


# --- whole or not there -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("durable", [True, False])
@pytest.mark.parametrize("name", ["a.bin", LONGEST, "a\n.bin", os.fsdecode(b"\xff.bin")])
def test_a_file_is_whole_and_alone(tmp_path, name, durable):
    path = tmp_path / "new" / name
    files.write(path, b"one", durable)
    files.write(path, b"two", durable)
    assert path.read_bytes() == b"two"
    assert there(path.parent) == [name]


@pytest.mark.parametrize("error", [ValueError, OSError, MemoryError, KeyboardInterrupt, SystemExit])
def test_an_error_leaves_the_previous_file_and_nothing_else(tmp_path, error):
    def broken(write):
        with write as file:
            if isinstance(file, Path):
                (file / "part" if file.is_dir() else file).write_bytes(b"half")
            else:
                file.write(b"half")
            raise error

    path, folder = tmp_path / "a", tmp_path / "b"
    files.write(path, b"whole")
    files.write(folder / "c", b"whole")
    for write in (
        files.atomic_file(path),
        files.atomic_path(path),
        files.atomic_folder(folder),
        files.scratch(tmp_path),
    ):
        with pytest.raises(error):
            broken(write)
        assert there(tmp_path) == ["a", "b"]
        assert path.read_bytes() == (folder / "c").read_bytes() == b"whole"


def test_names_aside_are_short_and_cannot_be_foreseen(tmp_path):
    names = set()
    for _ in range(20):
        with files.atomic_file(tmp_path / LONGEST) as file:
            file.write(b"x")
            names |= {name for name in there(tmp_path) if name.endswith(".partial")}
    assert len(names) == 20
    assert all(len(name.encode()) < 64 and str(os.getpid()) not in name for name in names)


def test_a_planted_name_is_not_followed(tmp_path, monkeypatch):
    """Where somebody foresaw the name, with a link or a file of the same name, another is taken."""
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    drawn = iter(["1" * 12, "2" * 12, "3" * 12])
    monkeypatch.setattr(files.secrets, "token_hex", lambda size: next(drawn))
    (tmp_path / f".darkroom-{files._machine()}-{'1' * 12}.partial").symlink_to(victim)
    (tmp_path / f".darkroom-{files._machine()}-{'2' * 12}.partial").write_bytes(b"of another process")
    monkeypatch.setattr(files, "sweep", lambda folder: None)
    files.write(tmp_path / "a", b"new")
    assert victim.read_bytes() == b"precious"
    assert (tmp_path / "a").read_bytes() == b"new"


# --- permissions and links --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mask", [0o022, 0o027, 0o077, 0o002])
def test_a_new_file_has_the_permissions_of_the_umask(tmp_path, mask):
    before = os.umask(mask)
    try:
        files.write(tmp_path / "a", b"")
        with files.atomic_path(tmp_path / "b") as place:
            place.write_bytes(b"")
        with files.atomic_folder(tmp_path / "c"):
            pass
    finally:
        os.umask(before)
    for name, whole in {"a": 0o666, "b": 0o666, "c": 0o777}.items():
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == whole & ~mask


@pytest.mark.parametrize("mode", [0o600, 0o644, 0o640, 0o664, 0o755, 0o444])
def test_a_file_that_is_replaced_hands_its_permissions_on(tmp_path, mode):
    path = tmp_path / "a"
    path.write_bytes(b"old")
    path.chmod(mode)
    files.write(path, b"new")
    assert stat.S_IMODE(path.stat().st_mode) == mode
    assert path.read_bytes() == b"new"


@pytest.mark.parametrize("write", [files.atomic_file, files.atomic_path])
def test_a_link_is_followed_and_stays(tmp_path, write):
    (tmp_path / "far").mkdir()
    (tmp_path / "far/real").write_bytes(b"old")
    (tmp_path / "near").mkdir()
    (tmp_path / "near/link").symlink_to("other")
    (tmp_path / "near/other").symlink_to("../far/real")
    with write(tmp_path / "near/link") as file:
        file.write_bytes(b"new") if isinstance(file, Path) else file.write(b"new")
        assert any(name.endswith(".partial") for name in there(tmp_path / "far"))  # on the same disk as the file
    assert (tmp_path / "near/link").is_symlink()
    assert (tmp_path / "far/real").read_bytes() == b"new"
    assert there(tmp_path / "far") == ["real"]


@pytest.mark.parametrize("write", [files.atomic_file, files.atomic_path])
@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: path.symlink_to("nowhere"), "a link that leads to nowhere, which is not there"),
        (lambda path: path.symlink_to(path), "a link that leads to itself"),
        (lambda path: path.mkdir(), "a folder"),
        (lambda path: path.symlink_to(path.parent), "a folder"),
        (lambda path: os.mkfifo(path), "a pipe, a socket or a device"),
        (lambda path: path.symlink_to("/dev/null"), "a pipe, a socket or a device"),
    ],
)
def test_what_is_no_file_is_refused_in_a_sentence(tmp_path, write, make, words):
    make(tmp_path / "a")
    before = (tmp_path / "a").lstat()
    with pytest.raises(UserError, match=words), write(tmp_path / "a"):
        pass
    assert (tmp_path / "a").lstat().st_ino == before.st_ino
    assert there(tmp_path) == ["a"]
    assert not (tmp_path / "nowhere").exists()


# --- after a kill -----------------------------------------------------------------------------------------------------

HOLD = """
import sys, time
from pathlib import Path
from darkroom import files
with getattr(files, sys.argv[1])(Path(sys.argv[2])) as made:
    print("writing", flush=True)
    time.sleep(600)
"""


@pytest.mark.parametrize("write", ["atomic_file", "atomic_path", "atomic_folder", "scratch"])
def test_what_a_killed_process_left_is_swept_and_what_a_living_one_writes_is_not(tmp_path, write):
    place = tmp_path if write == "scratch" else tmp_path / "a"
    with subprocess.Popen([sys.executable, "-c", HOLD, write, str(place)], stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"writing\n"
        (partial,) = tmp_path.iterdir()
        files.sweep(tmp_path)
        assert partial.exists()
        process.send_signal(signal.SIGKILL)
    files.sweep(tmp_path)
    assert partial.exists()  # a folder is looked through once in the life of a process
    files._swept.clear()
    files.write(tmp_path / "b", b"")  # as any writer does
    assert there(tmp_path) == ["b"]


@pytest.mark.parametrize(
    ("name", "gone"),
    [
        (".darkroom-{here}-0123456789ab.partial", True),
        (".darkroom-00000000-0123456789ab.partial", True),  # of another machine, and old
        (".a.png.{dead}.partial", True),  # as earlier versions named them
        (".a.png.{own}.partial", False),
        (".a.png.partial", False),
        ("a.png.123.partial", False),
        (".darkroom-notes.partial", False),
        (".mlflow.db.lock", False),
    ],
)
@pytest.mark.parametrize("kind", ["file", "folder", "read-only"])
def test_only_what_this_package_left_is_swept(tmp_path, name, gone, kind):
    dead = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True)
    path = tmp_path / name.format(here=files._machine(), dead=dead.stdout.strip(), own=os.getpid())
    path.mkdir() if kind == "folder" else path.write_bytes(b"half")
    if kind == "read-only":
        path.chmod(0o400)
    age(path)
    files.sweep(tmp_path)
    assert path.exists() != gone


def test_what_another_machine_or_an_earlier_version_may_be_writing_is_left_alone(tmp_path):
    for name in (".darkroom-00000000-0123456789ab.partial", ".a.png.999999999.partial"):
        (tmp_path / name).write_bytes(b"")
    files.sweep(tmp_path)
    assert len(there(tmp_path)) == 2


def test_what_lies_below_is_swept_again(tmp_path):
    left = tmp_path / "a" / "b" / f".darkroom-{files._machine()}-0123456789ab.partial"
    for _ in range(2):
        left.parent.mkdir(parents=True, exist_ok=True)
        left.write_bytes(b"half")
        files.sweep_below(tmp_path)
        assert there(left.parent) == []


def test_a_file_system_without_locks_is_written_to_and_swept_by_age(tmp_path, monkeypatch):
    def no_locks(descriptor, how):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(files.fcntl, "flock", no_locks)
    young, old = (tmp_path / f".darkroom-{files._machine()}-{digit * 12}.partial" for digit in "12")
    young.write_bytes(b"")
    old.write_bytes(b"")
    age(old)
    files.write(tmp_path / "a", b"new")
    assert there(tmp_path) == [young.name, "a"]


def test_pipes_and_links_by_such_a_name_are_not_opened(tmp_path):
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    age(victim)
    os.mkfifo(tmp_path / f".darkroom-{files._machine()}-{'1' * 12}.partial")  # which to open would wait for ever
    (tmp_path / f".darkroom-{files._machine()}-{'2' * 12}.partial").symlink_to(victim)
    files.sweep(tmp_path)
    assert victim.read_bytes() == b"precious"


def test_a_folder_that_was_being_replaced_when_the_power_went_is_put_back(tmp_path):
    room = tmp_path / f".darkroom-{files._machine()}-{'1' * 12}.partial"
    files.write(room / "old/result/run.json", b'{"files": []}')
    files.write(room / "new/run.json", b'{"files": ["half.png"]}')
    outputs.check(tmp_path / "result", "run.json")
    assert there(tmp_path) == ["result"]
    assert (tmp_path / "result/run.json").read_bytes() == b'{"files": []}'


def test_a_folder_takes_the_place_of_another_whole(tmp_path):
    for content in (b"one", b"two"):
        with files.atomic_folder(tmp_path / "result") as folder:
            (folder / content.decode()).write_bytes(content)
    assert there(tmp_path) == ["result"]
    assert there(tmp_path / "result") == ["two"]


# --- what is said -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        (b"a b.png", "a b.png"),
        ("ä 写真 👩‍🔬.png".encode(), "ä 写真 👩‍🔬.png"),
        (b"a\nb.png", "a\\nb.png"),
        (b"a\rb.png", "a\\rb.png"),
        (b"\x1b[31mred", "\\x1b[31mred"),
        (b"\xff\xfe.png", "\\xff\\xfe.png"),
        ("gnp\u202e.exe".encode(), "gnp\\u202e.exe"),
        ("a\u2028b".encode(), "a\\u2028b"),
    ],
)
def test_names_are_shown_on_one_line(name, shown):
    assert printable(os.fsdecode(name)) == shown
    shown.encode()


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "No space left on device"),
        (OSError("broken data stream"), "broken data stream"),
        (ValueError("two\nlines."), "two lines"),
        (KeyError(5), "KeyError: 5"),
        (MemoryError(), "there is not enough memory"),
        (RecursionError(), "RecursionError"),
        (ZeroDivisionError("division by zero"), "ZeroDivisionError: division by zero"),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"), "'utf-8' codec can't decode byte 0xff"),
    ],
)
def test_every_error_has_words(error, words):
    assert words in reason(error)
    assert "\n" not in reason(error)
