"""Many processes record at the same time, and nothing of it is lost: into SQLite, into PostgreSQL behind a server."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import pytest

from darkroom.tracking.store import Store

WRITERS = 8
POINTS = 400  # of each curve: written in bursts, over several flushes
CURVES = ("train/loss", "train/accuracy", "val/fid")
WRITE = f"""
import sys, time
from pathlib import Path
from darkroom.tracking import run
from darkroom.tracking.store import Store

root, number = Path(sys.argv[1]), int(sys.argv[2])
run.FLUSH_SECONDS = 1.0
store = Store.open(root, wait=60)
with run.start(store, "together", f"writer {{number}}", {{"number": number}}, {{"number": number}}) as opened:
    for point in range({POINTS}):
        opened.log_metrics({{name: number * 1000.0 + point for name in {CURVES!r}}}, step=point)
        if point % 100 == 0:
            opened.flush()
            time.sleep(0.05)
            opened.log_json(f"notes/{{point}}.json", {{"number": number, "point": point}})
    (opened.folder / "checkpoints").mkdir()
    (opened.folder / "checkpoints" / "best.ckpt").write_bytes(bytes([number]) * 100_000)
    opened.log_dataset("digits", "d" * 64, "train")
"""


def write_together(root, **environment):
    """Let all writers write at once; each must succeed without a word of complaint."""
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", WRITE, str(root), str(number)],
            env=os.environ | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for number in range(WRITERS)
    ]
    said = [process.communicate(timeout=600)[0] for process in processes]
    assert [(process.returncode, text) for process, text in zip(processes, said, strict=True)] == [(0, "")] * WRITERS


def assert_nothing_is_lost(store):
    """Every run, every point of every curve with its value, every file, to the byte."""
    records = {record.name: record for record in store.runs("together")}
    assert sorted(records) == [f"writer {number}" for number in range(WRITERS)]
    for number in range(WRITERS):
        record = records[f"writer {number}"]
        assert (record.status, record.params) == ("FINISHED", {"number": str(number)})
        for name in CURVES:
            points = store.client.get_metric_history(record.run_id, name)
            assert len(points) == POINTS
            assert {point.step: point.value for point in points} == {p: number * 1000.0 + p for p in range(POINTS)}
        assert any(name.startswith("system/") for name in record.metrics)
        assert len(store.client.get_run(record.run_id).inputs.dataset_inputs) == 1
        assert store.fetch(record, "checkpoints/best.ckpt").read_bytes() == bytes([number]) * 100_000
        notes = store.fetch(record, "notes")
        assert sorted(path.name for path in notes.iterdir()) == sorted(f"{p}.json" for p in range(0, POINTS, 100))
        assert store.fetch(record, "config.yaml").read_text() == f"number: {number}\n"


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@pytest.mark.slow
def test_eight_processes_lose_nothing_in_sqlite(root):
    """Starting from no store at all: who comes first makes it."""
    write_together(root)
    assert_nothing_is_lost(Store.open(root))


@pytest.fixture
def postgres():
    """The address of a PostgreSQL of its own, run by a user who is not root, which it refuses."""
    if shutil.which("initdb") is None or shutil.which("pg_ctl") is None:
        pytest.skip("there is no PostgreSQL here: initdb and pg_ctl make one")
    pytest.importorskip("pg8000", reason="PostgreSQL is reached through pg8000: the extra 'postgres'")
    become = []
    if os.geteuid() == 0:
        if shutil.which("setpriv") is None:
            pytest.skip("PostgreSQL refuses root, and there is no setpriv to become somebody else")
        become = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"]
    folder = Path(tempfile.mkdtemp(prefix="darkroom-postgres-"))  # not below pytest's, which only its user may enter
    if become:
        shutil.chown(folder, "nobody", "nogroup")
    port, database = free_port(), folder / "data"

    def say(*words):
        subprocess.run([*become, *words], cwd=folder, check=True, capture_output=True, timeout=120)

    settings = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off"
    try:
        say("initdb", "-D", str(database), "-U", "darkroom", "--auth=trust", "-E", "UTF8", "--no-sync")
        # Not through a pipe, which the server would inherit and hold open.
        subprocess.run(
            [*become, "pg_ctl", "-D", database, "-w", "-l", folder / "log", "-o", settings, "start"],
            cwd=folder,
            check=True,
            stdout=subprocess.DEVNULL,
            timeout=120,
        )
        yield f"postgresql+pg8000://darkroom@127.0.0.1:{port}/postgres"
    finally:
        if (database / "postmaster.pid").exists():
            say("pg_ctl", "-D", str(database), "-m", "immediate", "stop")
        shutil.rmtree(folder)


@pytest.fixture
def server(postgres, tmp_path_factory, monkeypatch):
    """The address of an MLflow server on PostgreSQL with a folder for the files."""
    served, port = tmp_path_factory.mktemp("served"), free_port()
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "2"]
    command += ["--backend-store-uri", postgres, "--artifacts-destination", str(served / "files")]
    quiet = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    monkeypatch.setenv("no_proxy", "*")
    with (served / "log").open("wb") as log:
        process = subprocess.Popen(
            command, stdout=log, stderr=log, cwd=served, env=os.environ | quiet, start_new_session=True
        )
    address, deadline = f"http://127.0.0.1:{port}", time.monotonic() + 200
    try:
        while True:
            assert process.poll() is None, (served / "log").read_text()
            assert time.monotonic() < deadline, (served / "log").read_text()
            try:
                with urllib.request.urlopen(f"{address}/health", timeout=5):
                    break
            except OSError:
                time.sleep(0.5)
        yield address
    finally:
        os.killpg(process.pid, signal.SIGTERM)  # its workers as well
        process.wait(60)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_eight_processes_lose_nothing_behind_a_server_on_postgresql(root, server, monkeypatch):
    """What a person changes is one variable."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    write_together(root)
    shutil.rmtree(root / "mlruns")  # as on another machine: the files have to come from the server
    assert_nothing_is_lost(Store.open(root))
