import os
import signal
import subprocess
import sys
import time

from darkroom.sweeping import launching

SLEEP = "import time; print('began', flush=True); time.sleep(60)"


def until(condition, seconds=30):
    """Wait for something that comes soon; say whether it came."""
    end = time.monotonic() + seconds
    while not (found := condition()) and time.monotonic() < end:
        time.sleep(0.02)
    return found


def began(output):
    return lambda: output.exists() and "began" in output.read_text()


def test_what_is_launched_prints_into_its_file_and_returns_its_code(tmp_path):
    output = tmp_path / "a" / "said.log"
    code = "import os, sys; print(os.environ['WORD']); print('also', file=sys.stderr); sys.exit(7)"
    job = launching.engine("processes")([sys.executable, "-c", code], {"WORD": "heard"}, output)
    assert until(lambda: job.poll() is not None)
    assert job.poll() == 7
    assert sorted(output.read_text().split()) == ["also", "heard"]
    assert not launching.alive(output)


def test_stop_asks_and_kill_does_not(tmp_path):
    stubborn = f"import signal; signal.signal(signal.SIGTERM, lambda *_: print('asked', flush=True)); {SLEEP}"
    output = tmp_path / "said.log"
    job = launching.launch([sys.executable, "-c", stubborn], {}, output)
    assert until(began(output))
    assert job.poll() is None
    assert launching.alive(output)
    job.stop()
    assert until(lambda: "asked" in output.read_text())
    assert job.poll() is None
    job.kill()
    assert job.poll() == -signal.SIGKILL
    assert not launching.alive(output)


def test_what_it_started_itself_counts_as_alive(tmp_path):
    output = tmp_path / "said.log"
    code = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {SLEEP!r}], start_new_session=True)"
    job = launching.launch([sys.executable, "-c", f"{code}; print(subprocess)"], {}, output)
    assert until(lambda: job.poll() == 0)
    assert until(began(output))
    assert launching.alive(output)
    # to end it, by its id: its group is its own
    holders = [int(entry) for entry in os.listdir("/proc") if entry.isdigit() and holds(entry, output)]
    for holder in holders:
        os.kill(holder, signal.SIGKILL)
    assert until(lambda: not launching.alive(output))


def holds(process, path):
    try:
        return os.path.realpath(f"/proc/{process}/fd/1") == os.path.realpath(path)
    except OSError:
        return False


def test_what_was_launched_is_told_when_the_one_who_launched_it_is_killed(tmp_path):
    output = tmp_path / "said.log"
    obedient = (
        "import signal, sys; signal.signal(signal.SIGTERM, lambda *_: (print('ended', flush=True), sys.exit(0)));"
        f" {SLEEP}"
    )
    code = (
        "import sys, time; from pathlib import Path; from darkroom.sweeping import launching;"
        f"launching.launch([sys.executable, '-c', {obedient!r}], {{}}, Path({str(output)!r})); time.sleep(60)"
    )
    starter = subprocess.Popen([sys.executable, "-c", code])
    assert until(began(output))
    assert launching.alive(output)
    starter.kill()
    starter.wait()
    assert until(lambda: "ended" in output.read_text())
    assert until(lambda: not launching.alive(output))
