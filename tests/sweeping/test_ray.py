"""Trials on a Ray of two workers, made for the test on this machine."""

import signal
import sys
import time

import pytest

from darkroom.sweeping import launching

SLEEP = "import time; print('began', flush=True); time.sleep(300)"


def until(condition, seconds=240):
    end = time.monotonic() + seconds
    while not (found := condition()) and time.monotonic() < end:
        time.sleep(0.1)
    return found


@pytest.fixture
def launch(monkeypatch, root):
    ray = pytest.importorskip("ray", reason="the extra 'ray'")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("DARKROOM_ROOT", str(root))
    ray.init(address="local", num_cpus=2, include_dashboard=False, configure_logging=False, log_to_driver=False)
    yield launching.engine("ray")
    ray.shutdown()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_trials_run_two_at_a_time_and_say_how_they_ended(launch, root, tmp_path):
    code = (
        "import os, sys, time; print(os.environ['DARKROOM_ROOT'], os.environ['WORD'], flush=True);"
        " time.sleep(3); sys.exit(int(os.environ['WORD']))"
    )
    outputs = [tmp_path / "out" / f"{number}.log" for number in range(3)]
    jobs = [
        launch([sys.executable, "-c", code], {"WORD": str(number)}, output) for number, output in enumerate(outputs)
    ]
    most = 0

    def over():
        nonlocal most
        most = max(most, sum(launching.alive(output) for output in outputs))
        codes = [job.poll() for job in jobs]
        return None not in codes

    assert until(over)
    assert [job.poll() for job in jobs] == [0, 1, 2]
    assert [output.read_text() for output in outputs] == [f"{root} {number}\n" for number in range(3)]
    assert 1 <= most <= 2  # the third waited for room
    assert not any(launching.alive(output) for output in outputs)

    stubborn = f"import signal; signal.signal(signal.SIGTERM, lambda *_: print('asked', flush=True)); {SLEEP}"
    obedient, other = tmp_path / "obedient.log", tmp_path / "stubborn.log"
    jobs = [
        launch([sys.executable, "-c", SLEEP], {}, obedient),
        launch([sys.executable, "-c", stubborn], {}, other),
    ]
    assert until(lambda: obedient.exists() and other.exists() and "began" in obedient.read_text() + other.read_text())
    assert until(lambda: "began" in obedient.read_text() and "began" in other.read_text())
    assert [job.poll() for job in jobs] == [None, None]
    for job in jobs:
        job.stop()
    assert until(lambda: jobs[0].poll() is not None)
    assert jobs[0].poll() == -signal.SIGTERM
    assert until(lambda: "asked" in other.read_text())
    assert jobs[1].poll() is None
    jobs[1].kill()
    assert until(lambda: jobs[1].poll() is not None)
    assert jobs[1].poll() == -signal.SIGKILL
    assert not launching.alive(other)
