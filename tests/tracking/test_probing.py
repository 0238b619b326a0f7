"""Servers and databases that do not answer, answer something else, or do not let us in; and passwords nobody sees."""

import contextlib
import json
import logging
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from darkroom.errors import UserError
from darkroom.tracking import probing, secrets
from darkroom.tracking.store import Store

PASSWORD = "s3cr3t/pa:ss"
WRITTEN = "s3cr3t%2Fpa%3Ass"


@pytest.fixture(autouse=True)
def direct(monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(probing, "CONNECT_SECONDS", 0.3)
    monkeypatch.setattr(probing, "ANSWER_SECONDS", 0.5)
    for name in ("USERNAME", "PASSWORD", "TOKEN"):
        monkeypatch.delenv(f"MLFLOW_TRACKING_{name}", raising=False)
    yield
    probing.export_credentials("")


@contextlib.contextmanager
def answering(status, body, kind="application/json", wanted=None):
    """A server that gives one answer to all, 401 to whoever does not send the ``wanted`` Authorization."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            heard.append(self.headers.get("Authorization"))
            refused = wanted is not None and self.headers.get("Authorization") != wanted
            text = b"who are you?" if refused else body.encode()
            self.send_response(401 if refused else status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        do_POST = do_GET

        def log_message(self, *_):
            pass

    heard = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_port, heard
    finally:
        server.shutdown()
        server.server_close()


@contextlib.contextmanager
def listening(say=None):
    """A port that takes connections and says nothing, or one thing to each, byte by byte."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        taken = []

        def take():
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = server.accept()
                    taken.append(connection)
                    if say is not None:
                        threading.Thread(target=drip, args=(connection,), daemon=True).start()

        def drip(connection):
            with contextlib.suppress(OSError):
                for byte in say:
                    connection.sendall(bytes([byte]))
                    time.sleep(0.05)

        threading.Thread(target=take, daemon=True).start()
        yield server.getsockname()[1]
        for connection in taken:
            connection.close()


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def refusal(root, monkeypatch, uri):
    """Open the store at an address that cannot be used, and return the sentence."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    with pytest.raises(UserError) as refused:
        Store.open(root)
    sentence = str(refused.value)
    assert len(sentence.splitlines()) == 1
    assert PASSWORD not in sentence
    assert WRITTEN not in sentence
    return sentence


@pytest.mark.parametrize(
    ("status", "body", "kind", "told"),
    [
        (401, "", "text/plain", "does not let us in"),
        (403, "{}", "application/json", "does not let us in"),
        (404, "<html>", "text/html", "is no MLflow server"),
        (404, "{}", "application/json", "is no MLflow server"),
        (200, "<html>welcome</html>", "text/html", "is no MLflow server"),
        (200, "[1]", "application/json", "is no MLflow server"),
        (200, "\x00\xff", "application/octet-stream", "is no MLflow server"),
        (429, "", "text/plain", "answers with an error"),
        (500, "Internal Server Error", "text/plain", "answers with an error"),
        (502, "<html>", "text/html", "answers with an error"),
        (503, "", "text/plain", "answers with an error"),
    ],
)
def test_what_is_no_mlflow_server_is_one_sentence(root, monkeypatch, status, body, kind, told):
    with answering(status, body, kind) as (port, _):
        assert told in refusal(root, monkeypatch, f"http://me:{WRITTEN}@127.0.0.1:{port}")


def test_silence_is_one_sentence_whatever_is_silent(root, monkeypatch):
    login = f"me:{WRITTEN}@127.0.0.1"
    for scheme, name in (("http", "The MLflow server"), ("postgresql+pg8000", "The database of runs")):
        end = "/runs" if scheme != "http" else ""
        sentence = refusal(root, monkeypatch, f"{scheme}://{login}:{free_port()}{end}")
        assert name in sentence
        assert f"{scheme}://me:***@127.0.0.1" in sentence
        assert "refused" in sentence
        with listening() as port:
            assert "does not answer" in refusal(root, monkeypatch, f"{scheme}://{login}:{port}{end}")
        with listening(b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n" + b"x" * 999) as port:
            assert "MLFLOW_TRACKING_URI" in refusal(root, monkeypatch, f"{scheme}://{login}:{port}{end}")


def test_a_name_that_is_looked_up_for_ever_is_one_sentence(root, monkeypatch):
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: time.sleep(20))
    for uri in ("http://tracking.invalid:5000", "postgresql+pg8000://me:pass@tracking.invalid/runs"):
        assert "does not answer" in refusal(root, monkeypatch, uri)


def test_the_limits_come_to_less_than_ten_seconds(monkeypatch):
    monkeypatch.undo()
    assert 2 * probing.CONNECT_SECONDS + 1 + probing.ANSWER_SECONDS < 13
    assert probing.CONNECT_SECONDS + probing.ANSWER_SECONDS < 10


@pytest.mark.parametrize(
    ("login", "variables", "wanted"),
    [
        (f"me:{WRITTEN}@", {}, "Basic bWU6czNjcjN0L3BhOnNz"),
        ("", {"USERNAME": "me", "PASSWORD": PASSWORD}, "Basic bWU6czNjcjN0L3BhOnNz"),
        ("", {"TOKEN": "abc"}, "Bearer abc"),
        (f"me:{WRITTEN}@", {"TOKEN": "abc"}, "Basic bWU6czNjcjN0L3BhOnNz"),  # MLflow lets the address win
    ],
)
def test_credentials_are_sent_as_mlflow_sends_them(root, monkeypatch, login, variables, wanted):
    for name, value in variables.items():
        monkeypatch.setenv(f"MLFLOW_TRACKING_{name}", value)
    with answering(200, json.dumps({"experiments": []}), wanted=wanted) as (port, heard):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://{login}127.0.0.1:{port}")
        store = Store.open(root)
        assert list(store.experiments()) == []  # MLflow's own client
    assert heard == [wanted, wanted]
    assert PASSWORD not in store.uri + store.shown
    assert WRITTEN not in store.uri + store.shown


def test_a_password_is_for_one_server(root, monkeypatch):
    with answering(200, "{}") as (port, heard):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://me:{WRITTEN}@127.0.0.1:{port}")
        Store.open(root)
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port}")
        Store.open(root)
    assert heard == ["Basic bWU6czNjcjN0L3BhOnNz", None]


def test_a_database_without_its_driver_is_one_sentence(root, monkeypatch):
    monkeypatch.setitem(sys.modules, "pg8000", None)
    monkeypatch.setitem(sys.modules, "psycopg2", None)
    for scheme in ("postgresql", "postgresql+pg8000"):
        sentence = refusal(root, monkeypatch, f"{scheme}://me:{WRITTEN}@127.0.0.1:{free_port()}/runs")
        assert "darkroom-lab[postgres]" in sentence


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("http://me:pass@host:5000/x", "http://me:***@host:5000/x"),
        ("at https://me:p@ss@host, twice https://you:word@host", "at https://me:***@host, twice https://you:***@host"),
        ("postgresql+pg8000://me:p%40ss@host/db?timeout=3", "postgresql+pg8000://me:***@host/db?timeout=3"),
        ("postgresql://host/db?user=me&password=pass&x=1", "postgresql://host/db?user=me&password=***&x=1"),
        ("http://:token@host", "http://:***@host"),
        ("http://me@host", "http://me@host"),
        ("http://me:pa/s:s@host/x", "http://me:***@host/x"),
        ("http://host:5000/me@home", "http://host:5000/me@home"),
        ("sqlite:////a/b.db", "sqlite:////a/b.db"),
        ("lr=0.1 a:b@c", "lr=0.1 a:b@c"),
        ("'http://me:pass@host'", "'http://me:***@host'"),
    ],
)
def test_passwords_in_addresses_are_hidden(text, shown):
    assert secrets.redacted(text) == shown
    assert secrets.redacted(shown) == shown


def test_a_password_is_hidden_wherever_it_stands():
    uri = f"postgresql+pg8000://me:{WRITTEN}@host/db"
    assert secrets.redacted(f"{PASSWORD} or {WRITTEN} is wrong", uri) == "*** or *** is wrong"


def test_what_mlflow_raises_comes_without_the_password(root, monkeypatch):
    store = Store(root, f"postgresql+pg8000://me:{WRITTEN}@host/db", 1.0)
    for message in (f"cannot log in with {PASSWORD}", f"bad address {store.uri}"):
        with pytest.raises(RuntimeError) as raised, store.plain_errors():
            raise ValueError(message)
        assert PASSWORD not in str(raised.value)
        assert WRITTEN not in str(raised.value)
        assert raised.value.__suppress_context__


def test_no_password_on_screen_in_a_tag_in_a_log_or_an_argument(root, monkeypatch, typed, empty_database, caplog):
    """The dashboard of a database that asks for a password: SQLite takes one in its address, and ignores it."""
    from darkroom.commands import dashboard
    from darkroom.tracking import run, tag

    database = root / "lab.db"
    shutil.copy(empty_database, database)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{database}?password={PASSWORD}")
    caplog.set_level(logging.DEBUG, "darkroom")
    store = Store.open(root)
    monkeypatch.setattr(Store, "database", None)
    monkeypatch.setattr(probing, "check_database", lambda uri: None)
    monkeypatch.setattr(store, "uri", f"sqlite:///{database}")
    with contextlib.suppress(UserError), run.start(store, "lab", "first", {}, {}, system_metrics=None):
        raise UserError(f"no luck at http://me:{PASSWORD}@host")
    assert PASSWORD not in store.find("first").tags[tag.ENDED]
    became = []
    monkeypatch.setattr(os, "execv", lambda path, line: became.append(line))
    monkeypatch.setattr(dashboard, "_taken", lambda port: False)
    monkeypatch.setattr(Store, "remote", False)
    _, said, err = typed("dashboard")
    (line,) = became
    assert "--backend-store-uri" not in line
    assert os.environ.pop("MLFLOW_BACKEND_STORE_URI").endswith(PASSWORD)
    assert PASSWORD not in " ".join([said, err, caplog.text, *line])


@pytest.mark.slow
def test_a_postgresql_that_asks_for_another_password_is_one_sentence(root, monkeypatch):
    pytest.importorskip("pg8000")
    monkeypatch.setattr(probing, "ANSWER_SECONDS", 5.0)
    if shutil.which("initdb") is None or shutil.which("setpriv") is None:
        pytest.skip("there is no PostgreSQL here, or no way to run it as somebody else")
    import tempfile

    with tempfile.TemporaryDirectory(prefix="darkroom-postgres-") as folder:
        os.chmod(folder, 0o777)
        (file := root / "password").write_text(PASSWORD)
        shutil.copy(file, f"{folder}/password")
        os.chmod(f"{folder}/password", 0o644)
        become = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"] if os.geteuid() == 0 else []
        port, data = free_port(), f"{folder}/data"

        def say(*words):
            subprocess.run([*become, *words], cwd=folder, check=True, stdout=subprocess.DEVNULL, timeout=120)

        say("initdb", "-D", data, "-U", "me", "--auth=scram-sha-256", f"--pwfile={folder}/password", "--no-sync")
        options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off"
        say("pg_ctl", "-D", data, "-w", "-l", f"{folder}/log", "-o", options, "start")
        try:
            at = f"127.0.0.1:{port}/postgres"
            sentence = refusal(root, monkeypatch, f"postgresql+pg8000://me:wrong-{WRITTEN}@{at}")
            assert "cannot be used" in sentence
            monkeypatch.setenv("MLFLOW_TRACKING_URI", f"postgresql+pg8000://me:{WRITTEN}@{at}")
            assert Store.open(root).shown == f"postgresql+pg8000://me:***@{at}"
        finally:
            say("pg_ctl", "-D", data, "-m", "immediate", "stop")


def test_a_locked_database_is_not_taken_for_one_that_can_only_be_read(store):
    holder = sqlite3.connect(store.database)
    holder.execute("BEGIN IMMEDIATE")
    assert not probing.cannot_write(store.database)
    holder.close()
