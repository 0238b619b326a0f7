"""What a run says of the code it was made with, and that asking for it runs nothing."""

import os
import stat
import subprocess

import pytest

from darkroom.tracking import environment

HOSTILE = {
    "fsmonitor": ({"core.fsmonitor": "{canary}"}, ""),
    "a comparing program": ({"diff.external": "{canary}"}, ""),
    "a comparing program of a driver": ({"diff.evil.command": "{canary}"}, "* diff=evil\n"),
    "a text converter": ({"diff.evil.textconv": "{canary}"}, "* diff=evil\n"),
    "a filter": ({"filter.evil.clean": "{canary}"}, "* filter=evil\n"),
    "a filter that is required": ({"filter.evil.clean": "{canary}", "filter.evil.required": "true"}, "* filter=evil\n"),
    "a filter process": ({"filter.evil.process": "{canary}"}, "* filter=evil\n"),
    "a filter with a name that -c cannot hold": ({"filter.e=v.il.clean": "{canary}"}, "* filter=e=v.il\n"),
    "a pager": ({"core.pager": "{canary}", "pager.diff": "true"}, ""),
    "hooks": ({"core.hooksPath": "{hooks}"}, ""),
}


def git(folder, *arguments):
    identity = ["-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", "-C", str(folder), *identity, *arguments], check=True, capture_output=True)


def repository(folder):
    folder.mkdir()
    git(folder, "init")
    (folder / "code.py").write_text("answer = 41\n")
    git(folder, "add", "code.py")
    git(folder, "commit", "-m", "first")
    (folder / "code.py").write_text("answer = 42\n")
    return folder


def program(path, mark):
    """Write an executable that leaves a mark and behaves as a filter that changes nothing."""
    path.write_text(f"#!/bin/sh\necho ran >> {mark}\ncat\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


@pytest.mark.parametrize("kind", HOSTILE)
def test_no_program_of_a_repository_runs(tmp_path, kind):
    folder, mark, hooks = repository(tmp_path / "project"), tmp_path / "mark", tmp_path / "hooks"
    hooks.mkdir()
    program(tmp_path / "canary", mark)
    program(hooks / "post-index-change", mark)
    settings, attributes = HOSTILE[kind]
    for key, value in settings.items():
        git(folder, "config", key, value.format(canary=tmp_path / "canary", hooks=hooks))
    (folder / ".gitattributes").write_text(attributes)
    (folder / ".git" / "info" / "attributes").write_text(attributes)
    os.utime(folder / "code.py")
    state = environment.git_state(folder)
    assert not mark.exists()
    assert len(state.commit) == 40
    assert "-answer = 41\n+answer = 42\n" in state.diff


@pytest.mark.parametrize("kind", ["fsmonitor", "a comparing program", "a text converter", "a filter"])
def test_the_canary_sings(tmp_path, kind):
    """Of git as it is, each of these runs a program: otherwise the test above would prove nothing."""
    folder, mark = repository(tmp_path / "project"), tmp_path / "mark"
    program(tmp_path / "canary", mark)
    settings, attributes = HOSTILE[kind]
    for key, value in settings.items():
        git(folder, "config", key, value.format(canary=tmp_path / "canary", hooks=""))
    (folder / ".gitattributes").write_text(attributes)
    subprocess.run(["git", "-C", str(folder), "diff", "HEAD"], capture_output=True)
    assert mark.exists()
