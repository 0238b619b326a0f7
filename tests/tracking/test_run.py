"""The life of a run, and what it leaves behind."""

import json
import math
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest
import yaml

from darkroom import files
from darkroom.errors import Interrupted, UserError
from darkroom.tracking import environment, run, tag
from darkroom.tracking.store import Store

WAIT = """
import sys, time
from pathlib import Path
from darkroom.tracking import run
from darkroom.tracking.store import Store

with run.start(Store.open(Path(sys.argv[1])), "lab", "waiting", {}, {}, system_metrics=None) as opened:
    opened.log_metrics({"train/loss": 1.0}, 1)
    print(opened.id, flush=True)
    time.sleep(60)
"""


@pytest.fixture
def begin(store):
    """Open a run the short way."""

    def begin(name="first", params=None, **more):
        return run.start(store, "lab", name, {"seed": 0}, params or {}, **({"system_metrics": None} | more))

    return begin


def wait_until(holds):
    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def history(store, opened, name):
    return [(point.step, point.value) for point in store.client.get_metric_history(opened.id, name)]


def test_a_run_ends_finished_and_leaves_its_record(store, begin):
    with begin(params={"model": {"latent_dim": 64, "loss": None}, "seed": 0}, tags={"purpose": "a test"}) as opened:
        assert store.find(opened.id).status == "RUNNING"
    record = store.find("first")
    assert (record.status, record.tags[tag.ENDED], record.tags["purpose"]) == ("FINISHED", "finished", "a test")
    assert record.params == {"model.latent_dim": "64", "model.loss": "None", "seed": "0"}
    assert yaml.safe_load((record.folder / "config.yaml").read_text()) == {"seed": 0}
    described = json.loads((record.folder / "environment.json").read_text())
    assert described["packages"]["mlflow"]
    assert described["cores"] >= 1


def test_config_given_as_text_is_kept_to_the_letter(store):
    text = "# a comment\nseed: 0\n"
    with run.start(store, "lab", "first", text, {}, system_metrics=None) as opened:
        pass
    assert (opened.folder / "config.yaml").read_text() == text


def killed_the_lightning_way():
    try:
        raise KeyboardInterrupt
    except KeyboardInterrupt:
        sys.exit(1)


def raising(error):
    def act():
        raise error

    return act


@pytest.mark.parametrize(
    ("act", "expected", "status", "reason"),
    [
        (raising(ValueError("no luck")), ValueError, "FAILED", "ValueError: no luck"),
        (raising(UserError("Type this.")), UserError, "FAILED", "Type this."),
        (raising(KeyboardInterrupt()), KeyboardInterrupt, "KILLED", "interrupted by SIGINT"),
        (killed_the_lightning_way, SystemExit, "KILLED", "interrupted by SIGINT"),
        (raising(SystemExit(3)), SystemExit, "FAILED", "exited with 3"),
        (raising(SystemExit(0)), SystemExit, "FINISHED", "finished"),
        (lambda: os.kill(os.getpid(), signal.SIGTERM), Interrupted, "KILLED", "interrupted by SIGTERM"),
    ],
)
def test_a_run_says_how_it_ended(store, begin, act, expected, status, reason):
    def live():
        with begin() as opened:
            opened.log_metrics({"train/loss": 1.0}, 1)
            act()

    with pytest.raises(expected):
        live()
    record = store.find("first")
    assert (record.status, record.tags[tag.ENDED]) == (status, reason)
    assert record.metrics == {"train/loss": 1.0}
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_somebody_elses_signal_handler_stays(begin):
    before = signal.signal(signal.SIGTERM, lambda *_: None)
    try:
        with begin():
            os.kill(os.getpid(), signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_sigkilled_run_is_reaped_and_can_be_resumed(store):
    process = subprocess.Popen([sys.executable, "-c", WAIT, str(store.root)], stdout=subprocess.PIPE, text=True)
    run_id = process.stdout.readline().strip()
    assert store.reap() == []
    told = rf"{run_id[:8]} waiting is being written by .*fork={run_id[:8]}"
    with pytest.raises(UserError, match=told), run.resume(store, store.find(run_id), {}, {}):
        pass
    left = store.find(run_id).folder / "checkpoints" / f".darkroom-{files._machine()}-0123456789ab.partial"
    files.write(left, b"half a checkpoint")
    process.kill()
    process.communicate()
    assert [record.run_id for record in store.reap()] == [run_id]
    assert not left.exists()
    record = store.find(run_id)
    assert (record.status, record.tags[tag.ENDED]) == ("KILLED", "the process vanished")
    with run.resume(store, record, {}, {}, system_metrics=None):
        pass
    assert store.find(run_id).status == "FINISHED"


def test_a_forked_worker_neither_frees_nor_closes_the_run(store, begin):
    with begin() as opened:
        worker = multiprocessing.get_context("fork").Process(target=int)
        worker.start()
        worker.join()
        assert worker.exitcode == 0
        assert store.reap() == []
        with pytest.raises(UserError, match="is being written"), run.resume(store, store.find(opened.id), {}, {}):
            pass
    assert store.find(opened.id).status == "FINISHED"


@pytest.mark.slow
def test_a_sigtermed_process_closes_its_run(store):
    process = subprocess.Popen(
        [sys.executable, "-c", WAIT, str(store.root)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    run_id = process.stdout.readline().strip()
    process.terminate()
    process.communicate()
    record = store.find(run_id)
    assert (record.status, record.tags[tag.ENDED]) == ("KILLED", "interrupted by SIGTERM")
    assert record.metrics == {"train/loss": 1.0}


def test_resume_goes_on_in_the_same_run(store, begin, caplog):
    with begin(params={"rate": 0.1, "seed": 0}) as opened:
        opened.log_metrics({"train/loss": 3.0}, 10)
    record = store.find("first")
    with run.resume(store, record, {"seed": 1}, {"rate": 0.2, "more": 1}, system_metrics=None) as resumed:
        assert store.find(record.run_id).status == "RUNNING"
        assert tag.ENDED not in store.find(record.run_id).tags
        assert resumed.id == opened.id
        resumed.log_metrics({"train/loss": 2.0}, 20)
    record = store.find("first")
    assert record.status == "FINISHED"
    assert record.params == {"rate": "0.1", "seed": "0", "more": "1"}
    assert json.loads(record.tags[tag.DRIFT]) == {"rate": ["0.1", "0.2"]}
    assert "rate (was 0.1, is 0.2)" in caplog.text
    assert history(store, opened, "train/loss") == [(10, 3.0), (20, 2.0)]
    assert yaml.safe_load((record.folder / "config.yaml").read_text()) == {"seed": 0}
    assert yaml.safe_load((record.folder / "config.resumed.yaml").read_text()) == {"seed": 1}


def test_two_cannot_resume_one_run_at_once(store, begin):
    with begin():
        pass
    record = store.find("first")
    with (
        run.resume(store, record, {}, {}, system_metrics=None),
        pytest.raises(UserError, match="is being written"),
        run.resume(store, record, {}, {}, system_metrics=None),
    ):
        pass
    assert store.find("first").status == "FINISHED"


def test_params_beyond_mlflows_limits(store, begin):
    many = {f"layer_{index}": index for index in range(250)}
    with begin(params={"network": many, "long": "x" * 7000}):
        pass
    params = store.find("first").params
    assert len(params) == 251
    assert params["network.layer_249"] == "249"
    assert params["long"] == "x" * 6000


def test_no_metric_is_lost(store, begin, monkeypatch):
    monkeypatch.setattr(run, "FLUSH_SECONDS", 0.02)
    with begin() as opened:

        def log(worker):
            for step in range(600):
                opened.log_metrics({f"train/worker_{worker}": step * 0.5, "train/shared": worker}, step)

        threads = [threading.Thread(target=log, args=(worker,)) for worker in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    for worker in range(4):
        assert history(store, opened, f"train/worker_{worker}") == [(step, step * 0.5) for step in range(600)]


def test_numbers_that_are_none(store, begin):
    with begin() as opened:
        opened.log_metrics({"val/fid": float("nan"), "val/up": float("inf"), "val/down": float("-inf")}, 5)
        opened.log_metrics({"val/count": 3}, 6)
    metrics = store.find("first").metrics
    assert math.isnan(metrics["val/fid"])
    assert (metrics["val/up"], metrics["val/down"]) == (sys.float_info.max, -sys.float_info.max)
    assert metrics["val/count"] == 3.0


def test_a_store_that_is_away_for_a_moment_loses_nothing(store, begin, monkeypatch, caplog):
    from mlflow.exceptions import MlflowException

    monkeypatch.setattr(run, "FLUSH_SECONDS", 0.02)
    real = store.client.log_batch

    def away(*args, **kwargs):
        raise MlflowException("database is locked")

    with begin() as opened:
        monkeypatch.setattr(store.client, "log_batch", away)
        opened.log_metrics({"train/loss": 1.0}, 1)
        wait_until(lambda: "does not answer" in caplog.text)
        monkeypatch.setattr(store.client, "log_batch", real)
        opened.log_metrics({"train/loss": 2.0}, 2)
    assert history(store, opened, "train/loss") == [(1, 1.0), (2, 2.0)]
    assert "answers again" in caplog.text


def test_logging_is_cheap(begin):
    with begin() as opened:
        began = time.perf_counter()
        for step in range(2000):
            opened.log_metrics({"train/loss": 1.0}, step)
        assert (time.perf_counter() - began) / 2000 < 1e-4


def test_a_name_that_cannot_be_stored_is_refused_at_once(begin):
    with begin() as opened:
        for name in ("train//loss", "/loss", "loss?", "", "a" * 251):
            with pytest.raises(ValueError, match="A metric cannot be called"):
                opened.log_metrics({name: 1.0}, 0)


def test_pictures_form_a_series(store, begin):
    from PIL import Image

    picture = np.arange(75, dtype=np.uint8).reshape(5, 5, 3)
    with begin() as opened:
        opened.log_metrics({"train/loss": 1.0}, 64)
        opened.log_picture("samples", picture, 64)
        assert opened.flush()
        assert history(store, opened, "train/loss") == [(64, 1.0)]
        opened.log_picture("samples", picture[:, :, :1], 128)
        with pytest.raises(ValueError, match="a/b"):
            opened.log_picture("a/b", picture, 1)
        with pytest.raises(ValueError, match="float64"):
            opened.log_picture("samples", picture / 255, 1)
    assert np.array_equal(np.asarray(Image.open(opened.folder / "samples" / "samples_00000064.png")), picture)
    names = [file.path for file in store.client.list_artifacts(opened.id, "images")]
    assert sum(name.startswith("images/samples+step+64+") and name.endswith(".png") for name in names) == 1
    assert sum(name.startswith("images/samples+step+128+") and name.endswith(".png") for name in names) == 1


def test_data_are_an_input_of_the_run(store, begin):
    digest = "0123456789abcdef" * 4
    with begin() as opened:
        opened.log_dataset("digits", digest, "train")
        opened.log_dataset("digits", digest, "train")
    (given,) = store.client.get_run(opened.id).inputs.dataset_inputs
    assert (given.dataset.name, given.dataset.digest) == ("digits", digest[:36])
    assert json.loads(given.dataset.source)["digest"] == digest
    assert [(label.key, label.value) for label in given.tags] == [("mlflow.data.context", "train")]


def test_data_that_another_run_records_at_the_same_moment_are_recorded(store, begin, monkeypatch):
    from mlflow.exceptions import MlflowException

    real, refused = store.client.log_inputs, []

    def refuse_once(*arguments, **named):
        if not refused:
            refused.append(arguments)
            raise MlflowException("duplicate key value violates unique constraint")
        real(*arguments, **named)

    with begin() as opened:
        monkeypatch.setattr(store.client, "log_inputs", refuse_once)
        opened.log_dataset("digits", "d" * 64, "train")
    (entry,) = store.client.get_run(opened.id).inputs.dataset_inputs
    assert entry.dataset.name == "digits"


def test_system_metrics_appear_even_for_a_short_run(store, begin, caplog):
    with begin(system_metrics=60.0):
        pass
    metrics = store.find("first").metrics
    assert metrics["system/system_memory_usage_megabytes"] > 0
    assert not [
        thread for thread in threading.enumerate() if thread.name in ("SystemMetricsMonitor", "darkroom-sender")
    ]
    assert "system metrics" not in caplog.text


def test_system_metrics_go_on_where_they_stopped(store, begin):
    with begin(system_metrics=0.1):
        time.sleep(0.5)
    with run.resume(store, store.find("first"), {}, {}, system_metrics=0.1) as opened:
        time.sleep(0.3)
    steps = [step for step, _ in history(store, opened, "system/cpu_utilization_percentage")]
    assert steps == list(range(len(steps)))
    assert len(steps) >= 4


def test_a_group_holds_its_members(store, begin):
    with run.group(store, "lab", "grid", {}, {}) as parent, begin("member", parent=parent.id):
        pass
    assert store.find("member").tags[tag.PARENT] == parent.id
    assert store.find("grid").status == "FINISHED"


def test_the_best_checkpoint_can_be_registered(store, begin):
    with begin() as opened:
        with pytest.raises(UserError, match=r"no checkpoints/best\.ckpt"):
            run.register(opened, "drawer", "champion")
        (opened.folder / "checkpoints").mkdir()
        (opened.folder / "checkpoints" / "best.ckpt").write_bytes(b"weights")
        assert run.register(opened, "drawer", "champion") == 1
        assert run.register(opened, "drawer", "champion") == 2
    version = store.client.get_model_version_by_alias("drawer", "champion")
    assert (int(version.version), version.run_id) == (2, opened.id)
    assert version.source == str(opened.folder / "checkpoints" / "best.ckpt")


def test_an_error_while_closing_does_not_hide_the_runs_own(store, begin, monkeypatch, caplog):
    def broken(*args):
        raise RuntimeError("disk gone")

    monkeypatch.setattr(store.client, "set_terminated", broken)
    with pytest.raises(ValueError, match="the real one"), begin():
        raise ValueError("the real one")
    monkeypatch.undo()
    assert "disk gone" in caplog.text
    assert store.find("first").tags[tag.ENDED] == "ValueError: the real one"
    assert [record.name for record in Store.open(store.root).reap()] == ["first"]


def test_outside_a_repository_there_is_no_state(tmp_path):
    assert environment.git_state(tmp_path) is None


def test_git_state_tells_commit_and_difference(tmp_path):
    def git(*arguments):
        identity = ["-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false"]
        subprocess.run(["git", "-C", str(tmp_path), *identity, *arguments], check=True, capture_output=True)

    git("init")
    (tmp_path / "code.py").write_text("answer = 41\n")
    git("add", "code.py")
    git("commit", "-m", "first")
    clean = environment.git_state(tmp_path / "missing", tmp_path)
    assert len(clean.commit) == 40
    assert clean.diff == ""
    (tmp_path / "code.py").write_text("answer = 42\n")
    (tmp_path / "new file.txt").write_text("x")
    dirty = environment.git_state(tmp_path)
    assert "+answer = 42" in dirty.diff
    assert "new file.txt" in dirty.diff
    (tmp_path / "code.py").write_text("x = 1\n" * 400_000)
    assert len(environment.git_state(tmp_path).diff) < 1_100_000


def test_the_run_carries_the_state_of_the_code(store, begin, monkeypatch):
    state = SimpleNamespace(commit="c" * 40, diff="+ a change\n")
    monkeypatch.setattr(environment, "git_state", lambda *folders: state)
    with begin() as opened:
        pass
    record = store.find("first")
    assert (record.tags[tag.GIT_COMMIT], record.tags[tag.GIT_DIRTY]) == ("c" * 40, "true")
    assert (opened.folder / "git.diff").read_text() == "+ a change\n"
