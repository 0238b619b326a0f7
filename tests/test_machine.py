"""The tests themselves: what a shell, a scheduler or a folder that happens to exist must not change."""

import os
import re
import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).parent
HOSTILE = {
    **dict.fromkeys(("LOCAL_RANK", "RANK", "SLURM_JOB_ID", "SLURM_RESTART_COUNT", "NO_COLOR", "COMP_LINE"), "1"),
    **{"WORLD_SIZE": "2", "SLURM_NTASKS": "2", "COLUMNS": "33", "TERM": "dumb", "LC_ALL": "C", "TZ": "Asia/Kathmandu"},
    **{"MLFLOW_TRACKING_URI": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9", "PYTHONHASHSEED": "7"},
    **dict.fromkeys(("DARKROOM_ROOT", "DARKROOM_DATA", "DVC_ROOT", "GIT_DIR", "HOME"), "/dev/null/nowhere"),
}


def test_no_test_takes_a_folder_for_granted_that_some_machine_has():
    """A path below /dev/null is nowhere; any other one is there on somebody's machine."""
    taken = re.compile(r"[\"' =](/(?:nonexistent|nowhere|missing|does|no|not)[\w/-]*)")
    assert [found for file in TESTS.rglob("*.py") if file.name != Path(__file__).name
            for found in taken.findall(file.read_text())] == []  # fmt: skip


def test_settings_of_the_machine_do_not_reach_a_test(tmp_path):
    """Under a hostile environment, in another folder, tests see none of it and words come out as ever."""
    lines = [
        "import os, pathlib, subprocess",
        "def test_clean(root, typed):",
        f"    hostile = {sorted(set(HOSTILE) - {'HOME', 'LC_ALL', 'TZ', 'DARKROOM_ROOT'})!r}",
        "    assert [name for name in hostile if name in os.environ] == []",
        "    assert pathlib.Path.home().is_dir()",
        "    assert os.umask(0o022) == 0o022",
        "    assert typed('train seed=abc')[0] == 2",
        "    subprocess.run(['git', 'init', '-q', root / 'here'], check=True)",
    ]
    (tmp_path / "conftest.py").write_text((TESTS / "conftest.py").read_text())
    (tmp_path / "test_clean.py").write_text("\n".join(lines))
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    kept = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST")}
    words = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", tmp_path / "pytest.ini", tmp_path]
    done = subprocess.run(
        words, env=kept | HOSTILE, cwd="/", capture_output=True, text=True, preexec_fn=lambda: os.umask(0o077)
    )
    assert done.returncode == 0, done.stdout + done.stderr
