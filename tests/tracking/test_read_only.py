"""Stores that can only be read: compared, reported, drawn from and scored, and nothing in them changes."""

import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from darkroom import files
from darkroom.tracking import run
from darkroom.tracking.claims import Claim
from darkroom.tracking.store import Store


def state(folder):
    """Every file below a folder with its content and time."""
    found = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in found}


@pytest.fixture
def sealed(monkeypatch):
    """Make a folder one that nobody can write, for root too: as the operating system would answer."""

    def seal(folder):
        real_access, real_connect, real_open = os.access, sqlite3.connect, os.open

        def inside(path):
            return Path(os.fsdecode(path)).is_relative_to(folder) if not isinstance(path, int) else False

        def access(path, mode, **more):
            return real_access(path, mode, **more) and not (mode & os.W_OK and inside(path))

        def connect(database, *rest, **more):
            assert "mode=ro" in str(database) or not inside(database), database
            return real_connect(database, *rest, **more)

        def opened(path, flags, *rest, **more):
            if inside(path) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
                raise PermissionError(30, "Read-only file system", path)
            return real_open(path, flags, *rest, **more)

        monkeypatch.setattr(os, "access", access)
        monkeypatch.setattr(os, "open", opened)
        monkeypatch.setattr(sqlite3, "connect", connect)
        monkeypatch.setattr(sqlite3.dbapi2, "connect", connect)

        def aside(path, *rest, **more):
            assert not inside(path), f"{path} is written"
            return real_aside(path, *rest, **more)

        real_aside = files.atomic_file
        monkeypatch.setattr(files, "atomic_file", aside)

    return seal


def test_a_store_that_can_only_be_read_is_read_and_left_as_it_is(store, sealed):
    with run.start(store, "lab", "first", {}, {"rate": 1}, system_metrics=None) as opened:
        opened.log_metrics({"train/loss": 1.0}, 1)
    claim = Claim.take(store.runs_folder)
    gone = store.client.create_run("1", run_name="gone", tags={"darkroom.claim": claim.token}).info.run_id
    claim.release()
    before = state(store.root)
    sealed(store.root)
    reading = Store.open(store.root, reading=True)
    assert reading.read_only
    assert reading.reap() == []
    assert reading.run(gone).status == "RUNNING"
    assert reading.find("first").params == {"rate": "1"}
    assert reading.curve(opened.id, "train/loss") == [(1, 1.0)]
    assert state(store.root) == before


def test_the_commands_read_it(project, typed, sealed, monkeypatch, tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside")
    monkeypatch.chdir(outside)
    before = state(project)
    sealed(project)
    code, said, err = typed("compare")
    assert (code, "painter" in said, "namer" in said) == (0, True, True), err
    code, _, err = typed(f"report output={outside / 'report.html'}")
    assert (code, "painter" in (outside / "report.html").read_text()) == (0, True), err
    code, _, err = typed(f"generate checkpoint=painter count=4 output={outside / 'drawn.png'}")
    assert (code, (outside / "drawn.png").exists()) == (0, True), err
    code, _, err = typed(f"evaluate checkpoint=namer output={outside / 'scores'}")
    assert (code, "not kept in the run" in err) == (0, True), err
    assert (outside / "scores" / "metrics.json").exists()
    code, said, err = typed("dashboard serve=false port=5124")
    assert (code, "Every run" in said) == (0, True), err
    assert state(project) == before


def test_a_database_that_needs_recovery_is_read_without_it(store, tmp_path):
    """After a power cut a journal lies beside it, which only a writer may play back; the rows before it are there."""
    with run.start(store, "lab", "first", {}, {}, system_metrics=None):
        pass
    reading = Store(store.root, f"sqlite:///file:{store.database}?mode=ro&immutable=1&uri=true", 1.0)
    assert reading.find("first").name == "first"
    assert reading.database == store.database


@pytest.mark.slow
def test_on_a_file_system_that_is_mounted_to_be_read(project, tmp_path_factory):
    """The real thing, where this user may mount."""
    outside = tmp_path_factory.mktemp("outside")
    mount = f"mount --bind {project} {project} && mount -o remount,ro,bind {project}"
    may = shutil.which("unshare") and subprocess.run(["unshare", "-m", "sh", "-c", mount], capture_output=True)
    if not may or may.returncode:
        pytest.skip("this user may not mount")
    before = state(project)
    lines = [
        "compare",
        f"report output={outside}/a.html",
        f"generate count=4 checkpoint=painter output={outside}/a.png",
    ]
    lines += [f"evaluate checkpoint=namer output={outside}/scores", "dashboard serve=false port=5125"]
    for line in lines:
        words = " ".join([sys.executable, "-m", "darkroom", line])
        environment = os.environ | {"DARKROOM_ROOT": str(project)}
        inside = ["unshare", "-m", "sh", "-c", f"{mount} && cd {outside} && {words}"]
        done = subprocess.run(inside, env=environment, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, (line, done.stderr)
        assert "Traceback" not in done.stderr
    assert state(project) == before
