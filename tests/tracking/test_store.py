"""Opening, listing and searching the store."""

import contextlib
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import filelock
import pytest

from darkroom.errors import UserError
from darkroom.tracking import run, tag
from darkroom.tracking.store import Store

OPEN_AND_RUN = """
import sys
from pathlib import Path
from darkroom.tracking import run
from darkroom.tracking.store import Store

store = Store.open(Path(sys.argv[1]))
store.prepare_in_background()
with run.start(store, "race", sys.argv[2], {}, {}, system_metrics=None) as opened:
    opened.log_metrics({"train/loss": 1.0}, 1)
print(opened.id)
"""


def made(store, name, experiment="lab", status="FINISHED", **tags):
    """Make a run the short way: what the store finds does not depend on what the run did."""
    client = store.client
    created = client.create_run(store.experiment_id(experiment), run_name=name, tags=tags)
    if status != "RUNNING":
        client.set_terminated(created.info.run_id, status)
    time.sleep(0.002)  # runs are ordered by the millisecond they started in
    return created.info.run_id


def judged(store, name, value, metric="val/fid", mode="min", **more):
    return made(
        store,
        name,
        **more,
        **{tag.OBJECTIVE: metric, tag.OBJECTIVE_MODE: mode, tag.OBJECTIVE_VALUE: str(value)},
    )


def test_importing_the_store_imports_neither_torch_nor_mlflow():
    code = "import sys; import darkroom.tracking.store; print([m for m in ('torch', 'mlflow') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_runs_lie_under_the_experiment_id_wherever_the_process_stands(store, monkeypatch, tmp_path_factory):
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    run_id = made(store, "first")
    record = store.find(run_id)
    assert record.folder == store.root / "mlruns" / "1" / run_id / "artifacts"
    assert store.client.get_run(run_id).info.artifact_uri == str(record.folder)


def test_an_experiment_is_created_once(store):
    assert store.experiment_id("gan/shapes") == store.experiment_id("gan/shapes")
    assert store.experiment_id("gan/shapes") != store.experiment_id("vae/shapes")


def test_a_deleted_experiment_is_told(store):
    number = store.experiment_id("gone")
    store.client.delete_experiment(number)
    with pytest.raises(UserError, match="'gone' was deleted"):
        store.experiment_id("gone")


def test_runs_are_listed_newest_first(store):
    ids = [made(store, f"run {index}", experiment=("a", "b")[index % 2]) for index in range(4)]
    assert [record.run_id for record in store.runs()] == ids[::-1]
    assert [record.run_id for record in store.runs("b")] == [ids[3], ids[1]]
    assert [record.run_id for record in store.runs(limit=2)] == [ids[3], ids[2]]
    record = store.runs(limit=1)[0]
    assert (record.name, record.experiment, record.status) == ("run 3", "b", "FINISHED")
    assert record.started <= record.ended


def test_an_unknown_experiment_is_told_with_the_nearest(store):
    made(store, "first", experiment="gan/shapes")
    with pytest.raises(UserError, match=r"no experiment 'gan/shape'.*gan/shapes"):
        store.runs("gan/shape")


def test_find_by_id_prefix_and_name(store):
    first, second = made(store, "lr=0.1"), made(store, "it's")
    assert store.find(first).name == "lr=0.1"
    assert store.find(first[:10]).run_id == first
    assert store.find("lr=0.1").run_id == first
    assert store.find("it's").run_id == second
    again = made(store, "lr=0.1")
    assert store.find("latest").run_id == again
    with pytest.raises(UserError, match=f"'lr=0.1' is the name of several runs: .*{again[:8]}") as refused:
        store.find("lr=0.1")
    assert first[:8] in str(refused.value)


def test_find_tells_candidates(store):
    ids = [made(store, f"run {index}") for index in range(17)]
    digit = next(digit for digit in "0123456789abcdef" if sum(run_id[0] == digit for run_id in ids) > 1)
    with pytest.raises(UserError, match=f"'{digit}' begins the ids of several runs: {digit}.* run .*digits"):
        store.find(digit)
    with pytest.raises(UserError, match=r"No run's id begins with 'run 77'.*run 16.*darkroom compare"):
        store.find("run 77")


def test_find_in_an_empty_store(store):
    for ref in ("latest", "best", "abc"):
        with pytest.raises(UserError, match="darkroom train"):
            store.find(ref)


def test_best_stays_within_the_newest_experiment_and_objective(store):
    elsewhere = judged(store, "elsewhere", 1.0, experiment="other")
    good = judged(store, "good", 5.0)
    judged(store, "bad", 9.0)
    judged(store, "not a number", float("nan"))
    judged(store, "failed", 0.0, status="FAILED")
    made(store, "not judged")
    assert store.find("best").run_id == good
    assert store.find("best", experiment="other").run_id == elsewhere
    judged(store, "other metric", 0.5, metric="val/accuracy", mode="max")
    best = judged(store, "other metric, better", 0.7, metric="val/accuracy", mode="max")
    assert store.find("best").run_id == best


def test_latest_passes_over_runs_without_the_file(store):
    trained = made(store, "trained")
    checkpoint = store.find(trained).folder / "checkpoints" / "last.ckpt"
    checkpoint.parent.mkdir(parents=True)
    checkpoint.touch()
    made(store, "evaluated")
    assert store.find("latest", having="checkpoints/last.ckpt").run_id == trained


def test_runs_are_found_after_the_project_moved(store, tmp_path_factory, monkeypatch):
    with run.start(store, "lab", "mover", {}, {}, system_metrics=None) as opened:
        opened.log_text("note.txt", "here")
    moved = tmp_path_factory.mktemp("moved") / "project"
    shutil.copytree(store.root, moved)
    monkeypatch.setenv("DARKROOM_ROOT", str(moved))
    again = Store.open(moved)
    record = again.find("mover")
    assert (record.folder / "note.txt").read_text() == "here"
    assert record.folder.is_relative_to(moved)
    shutil.rmtree(store.root / "mlruns")
    with run.resume(again, record, {}, {}, system_metrics=None) as resumed:
        resumed.log_text("more.txt", "there")
    assert (record.folder / "more.txt").exists()
    assert not (store.root / "mlruns").exists()


def test_a_locked_store_is_one_sentence(store):
    holder = sqlite3.connect(store.database)
    holder.execute("BEGIN EXCLUSIVE")
    with pytest.raises(UserError, match=r"stayed locked by another process for 0\.1 s"):
        Store.open(store.root, wait=0.1)
    holder.close()


def test_a_store_locked_after_opening_is_one_sentence(store, monkeypatch):
    from mlflow.exceptions import MlflowException

    def locked(*args, **kwargs):
        raise MlflowException("(sqlite3.OperationalError) database is locked")

    monkeypatch.setattr(store.client, "create_run", locked)
    with pytest.raises(UserError, match="locked"), run.start(store, "lab", "none", {}, {}):
        pass
    assert store.runs() == []


def test_a_read_only_store_is_one_sentence(store, monkeypatch):
    store.database.chmod(0o444)
    store.database.parent.chmod(0o555)
    if os.access(store.database, os.W_OK):  # chmod does not bind root: ask SQLite for the same

        def connect(address, **options):
            return real(address.replace("mode=rw", "mode=ro"), **options)

        real = sqlite3.connect
        monkeypatch.setattr(sqlite3, "connect", connect)
    try:
        with pytest.raises(UserError, match="cannot be written"):
            Store.open(store.root)
    finally:
        store.database.parent.chmod(0o755)


def test_a_folder_that_cannot_be_made_is_one_sentence(root):
    (root / "mlruns").write_text("a file where the folder should be")
    with pytest.raises(UserError, match="cannot be recorded"):
        Store.open(root)


def test_a_file_that_is_no_database_is_one_sentence(store):
    store.database.write_bytes(b"not a database at all" * 100)
    with pytest.raises(UserError, match="not an intact SQLite database"):
        Store.open(store.root)


def test_a_server_out_of_reach_is_one_sentence(root, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "*")
    with pytest.raises(UserError, match=r"http://127\.0\.0\.1:9 .*does not answer"):
        Store.open(root, wait=2)


def test_the_file_store_is_refused(root, monkeypatch):
    for uri in ("./mlruns", "file:./mlruns"):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        with pytest.raises(UserError, match="a folder"):
            Store.open(root)


def test_a_database_elsewhere_keeps_files_in_the_project(root, empty_database, tmp_path_factory, monkeypatch):
    database = tmp_path_factory.mktemp("databases") / "lab.db"
    shutil.copy(empty_database, database)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{database}")
    store = Store.open(root)
    with run.start(store, "lab", "first", {}, {}, system_metrics=None) as opened:
        opened.log_text("note.txt", "here")
    assert opened.folder.is_relative_to(root / "mlruns")
    assert [file.path for file in store.client.list_artifacts(opened.id) if file.path == "note.txt"]


def test_reap_leaves_living_and_foreign_runs_alone(store):
    foreign = made(store, "another machine's", status="RUNNING", **{tag.PROCESS: "elsewhere:1"})
    with run.start(store, "lab", "alive", {}, {}, system_metrics=None) as opened:
        assert store.reap() == []
    assert store.find(opened.id).status == "FINISHED"
    assert store.find(foreign).status == "RUNNING"


def test_reap_closes_a_run_whose_lock_is_free(store):
    dead = made(store, "dead", status="RUNNING", **{tag.PROCESS: "here:1"})
    lock = store.find(dead).folder.parent / "alive.lock"
    lock.parent.mkdir(parents=True)
    with filelock.FileLock(lock):
        assert store.reap() == []
    assert [record.run_id for record in store.reap()] == [dead]
    assert store.find(dead).status == "KILLED"
    assert store.find(dead).tags[tag.ENDED] == "the process vanished"


@pytest.mark.slow
def test_four_processes_start_together_on_a_store_that_does_not_exist(root):
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", OPEN_AND_RUN, str(root), f"run {index}"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for index in range(4)
    ]
    said = [process.communicate(timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [0] * 4, said
    assert [errors for _, errors in said] == [""] * 4
    records = Store.open(root).runs("race")
    assert sorted(record.run_id for record in records) == sorted(out.strip() for out, _ in said)
    assert {record.metrics["train/loss"] for record in records} == {1.0}
    assert not list((root / "mlruns").glob(".*partial*"))


@pytest.mark.slow
def test_a_real_server_keeps_the_files(root, empty_database, tmp_path_factory, monkeypatch):
    served = tmp_path_factory.mktemp("served")
    shutil.copy(empty_database, served / "mlflow.db")
    port = free_port()
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{served / 'mlflow.db'}"]
    command += ["--artifacts-destination", str(served / "files")]
    quiet = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true", "no_proxy": "*"}
    monkeypatch.setenv("no_proxy", "*")
    with (served / "log").open("wb") as log:
        server = subprocess.Popen(
            command, stdout=log, stderr=log, cwd=served, env=os.environ | quiet, start_new_session=True
        )
    try:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port}")
        store = wait_for_server(root, (served / "log"))
        with run.start(store, "lab", "remote", {"a": 1}, {"a": 1}, {"x": "y"}, system_metrics=None) as opened:
            opened.log_metrics({"train/loss": 1.0}, 64)
            opened.log_picture("samples", picture(), 64)
            (opened.folder / "checkpoints").mkdir()
            (opened.folder / "checkpoints" / "best.ckpt").write_bytes(b"weights")
        assert run.register(opened, "drawer", "champion") == 1
        record = store.find("remote")
        assert (record.status, record.metrics, record.params) == ("FINISHED", {"train/loss": 1.0}, {"a": "1"})
        shutil.rmtree(root / "mlruns")  # as on another machine
        fetched = store.fetch(record, "checkpoints/best.ckpt")
        assert fetched == record.folder / "checkpoints" / "best.ckpt"
        assert fetched.read_bytes() == b"weights"
        assert "a: 1" in store.fetch(record, "config.yaml").read_text()
        assert [path.name for path in store.fetch(record, "samples").iterdir()] == ["samples_00000064.png"]
        assert store.fetch(record, "metrics.json") is None
        paths = {file.path for file in store.client.list_artifacts(record.run_id)}
        assert paths >= {"config.yaml", "environment.json", "samples", "images", "checkpoints"}
    finally:
        os.killpg(server.pid, 15)
        server.wait(20)


def picture():
    import numpy as np

    return np.arange(48, dtype=np.uint8).reshape(4, 4, 3)


def free_port():
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for_server(root: Path, log: Path) -> Store:
    for _ in range(60):
        try:
            return Store.open(root, wait=2)
        except UserError:
            time.sleep(1)
    raise AssertionError(log.read_text())
    raise AssertionError(log.read_text())


def test_another_programs_database_is_left_as_it_is(root):
    (root / "mlruns").mkdir()
    database = root / "mlruns" / "mlflow.db"
    with contextlib.closing(sqlite3.connect(database)) as connection:
        connection.execute("CREATE TABLE recipes (name)")
        connection.commit()
    before = database.read_bytes()
    with pytest.raises(UserError, match=r"another program \(it has a table 'recipes'\)"):
        Store.open(root)
    assert database.read_bytes() == before


def test_a_value_that_is_no_text_is_said_and_names_the_store(store, root):
    store.experiment_id("one")
    with contextlib.closing(sqlite3.connect(root / "mlruns" / "mlflow.db")) as connection:
        connection.execute("UPDATE experiments SET name = CAST(x'ff' AS TEXT) WHERE name = 'one'")
        connection.commit()
    with pytest.raises(UserError, match=r"mlflow\.db is damaged, or another program's"):
        store.runs()
