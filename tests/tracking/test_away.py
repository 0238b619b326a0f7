"""A real MLflow server that goes away: in the middle of training, before the end of a run, before its start."""

import signal
import subprocess
import sys

import pytest
import torch

from benchmarks import away
from darkroom import lab
from darkroom.config.composing import compose
from darkroom.errors import UserError
from darkroom.tracking import run, sending, tag
from darkroom.tracking.store import Store

KILLED = """
import os, signal, sys, time
from pathlib import Path
from darkroom.tracking import run
from darkroom.tracking.store import Store

with run.start(Store.open(Path(sys.argv[1])), "lab", "killed", {}, {}, system_metrics=None) as opened:
    opened.log_metrics({"train/loss": 1.0}, 1)
    opened.flush()
    print(opened.id, flush=True)
    sys.stdin.readline()
    for step in range(2, 50):
        opened.log_metrics({"train/loss": float(step)}, step)
    opened.log_text("note.txt", "here")
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    with away.serving() as server:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", server.address)
        yield server


def steps(store, run_id):
    return [point.step for point in store.client.get_metric_history(run_id, "train/loss")]


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_training_goes_on_without_the_server_and_nothing_is_lost(root, monkeypatch):
    """That it hangs instead is measured by the benchmark."""
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")
    monkeypatch.setenv("DARKROOM_CACHE", str(root / "cache"))
    monkeypatch.setattr(away, "WARM_UP", 0.5)
    config = compose("train", ["experiment=gan/digits", "model.generator.width=4", "model.latent_dim=8"])
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    outage, wrong, points = away.measure(5.0, "kill", config, lab.open_data(config["data"], None))
    torch.set_num_threads(threads)
    assert wrong == []
    assert points > 0
    assert list(outage.rates) == list(away.STRETCHES)


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_run_ends_without_the_server_and_is_closed_when_it_is_back(root, server, monkeypatch, caplog):
    monkeypatch.setattr(sending, "CLOSING_SECONDS", 1.0)
    store = Store.open(root)
    words = [sys.executable, "-c", KILLED, str(root)]
    process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    killed = process.stdout.readline().strip()
    with run.start(store, "lab", "ended", {"a": 1}, {"a": 1}, system_metrics=None) as opened:
        opened.log_metrics({"train/loss": 1.0}, 1)
        opened.flush()
        server.signal(signal.SIGKILL)
        opened.log_metrics({"train/loss": 2.0}, 2)
        opened.log_text("note.txt", "here")
    assert "ended as FINISHED" in caplog.text
    assert "Retry" not in caplog.text
    process.communicate("now\n")
    assert process.returncode == -signal.SIGKILL
    with pytest.raises(UserError, match="does not answer"):
        Store.open(root)
    server.start()
    server.wait()
    again = Store.open(root)
    assert {record.run_id for record in again.reap()} == {opened.id, killed}
    assert again.reap() == []
    ended, vanished = again.run(opened.id), again.run(killed)
    assert (ended.status, ended.tags[tag.ENDED]) == ("FINISHED", "finished")
    assert (vanished.status, vanished.tags[tag.ENDED]) == ("KILLED", "the process vanished")
    assert steps(again, opened.id) == [1, 2]
    assert steps(again, killed) == list(range(1, 50))
    for record in (ended, vanished):
        (record.folder / "note.txt").unlink()
        assert again.fetch(record, "note.txt").read_text() == "here"
