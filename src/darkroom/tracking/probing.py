"""Whether a run store can be used, found out within seconds, and what is wrong with it in one sentence.

The probes ask as MLflow will: with the credentials of the address or of ``MLFLOW_TRACKING_USERNAME``, ``_PASSWORD`` and
``_TOKEN``, and with its settings for certificates. No password appears in what they say.
"""

import base64
import configparser
import json
import os
import queue
import re
import shlex
import socket
import sqlite3
import threading
import urllib.parse
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, TypeVar, cast

import filelock

from darkroom.errors import UserError
from darkroom.tracking.secrets import credentials, redacted

CONNECT_SECONDS = 3.0
ANSWER_SECONDS = 5.0
_LIST = "/api/2.0/mlflow/experiments/search"
# What each driver of a database calls the seconds it waits for a connection, so that it does not wait for ever.
_TIMEOUTS = {"pg8000": "timeout", "psycopg": "connect_timeout", "psycopg2": "connect_timeout"}
_TIMEOUTS |= {"pymysql": "connect_timeout", "mysqldb": "connect_timeout", "mysqlconnector": "connection_timeout"}
_PORTS = {"postgresql": 5432, "mysql": 3306, "mariadb": 3306, "mssql": 1433}
Value = TypeVar("Value")
_lent: dict[str, str] = {}  # credentials of an address that stand in this process's environment


class Unreachable(UserError):
    """The store does not answer; what is asked later may be answered."""


def export_credentials(uri: str) -> str:
    """Return a server's address without its password, which MLflow is told by the environment of this process.

    An address with a password would stand in every message about a request. Those of another store opened before are
    taken back: a password is for one server.
    """
    for name, value in _lent.items():
        if os.environ.get(name) == value:
            del os.environ[name]
    _lent.clear()
    found = credentials(uri)
    if found is None or not found[1] or not found[2]:
        return uri
    bare, user, password = found
    _lent.update({"MLFLOW_TRACKING_USERNAME": user, "MLFLOW_TRACKING_PASSWORD": password})
    os.environ.update(_lent)
    return bare


def check_server(uri: str, place: str) -> None:
    """Verify that an MLflow server answers there and lets us in; ``place`` is how its address is shown.

    Raises:
        UserError: it does not answer, asks for another password, or is something else than an MLflow server.
    """
    import requests
    import urllib3

    def ask() -> tuple[Any, bytes]:
        timeout = (CONNECT_SECONDS, ANSWER_SECONDS)
        address, asked = f"{uri.rstrip('/')}{_LIST}", {"max_results": "1"}
        with requests.get(address, asked, timeout=timeout, stream=True, **_as_mlflow_asks()) as answer:
            return answer, answer.raw.read(1_000_000, decode_content=True) if answer.ok else b""

    try:
        answer, body = _within(ask, CONNECT_SECONDS + ANSWER_SECONDS)
    except requests.exceptions.SSLError as error:
        raise UserError(
            f"The certificate of the MLflow server at {place} is not accepted ({_reason(error, uri)}): set"
            " MLFLOW_TRACKING_SERVER_CERT_PATH to the certificate that signed it, or MLFLOW_TRACKING_INSECURE_TLS=true."
        ) from None
    except (requests.RequestException, urllib3.exceptions.HTTPError, OSError, ValueError) as error:
        raise Unreachable(
            f"The MLflow server at {place} (MLFLOW_TRACKING_URI) does not answer: {_reason(error, uri)}; start it, or"
            " unset the variable to record runs in mlruns/."
        ) from None
    _judge(answer, body, place)


def _judge(answer: Any, body: bytes, place: str) -> None:
    status, signed = answer.status_code, os.environ.get("MLFLOW_TRACKING_AWS_SIGV4") or _plugin()
    if status in (401, 403, 407) and not signed:
        raise UserError(
            f"The MLflow server at {place} does not let us in (HTTP {status}): set MLFLOW_TRACKING_USERNAME and"
            " MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN, to what it expects."
        )
    if status >= 500 or status == 429:
        raise Unreachable(
            f"The MLflow server at {place} (MLFLOW_TRACKING_URI) answers with an error (HTTP {status}); look into its"
            " log, or unset the variable to record runs in mlruns/."
        )
    if status in (401, 403, 407):
        return  # signed by what only MLflow knows of
    try:
        known = answer.ok and isinstance(json.loads(body or b"{}"), dict)
    except ValueError:
        known = False
    if not known:
        raise UserError(
            f"What answers at {place} (MLFLOW_TRACKING_URI) is no MLflow server (HTTP {status}); expected the address"
            " of one, such as http://tracking:5000."
        )


def _as_mlflow_asks() -> dict[str, Any]:
    """Return how MLflow sends its requests: who we are, and which certificates are believed."""
    user, password = _login()
    token, own = os.environ.get("MLFLOW_TRACKING_TOKEN"), os.environ.get("MLFLOW_TRACKING_CLIENT_CERT_PATH")
    headers = {}
    if user and password:
        headers["Authorization"] = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
    elif token:
        headers["Authorization"] = f"Bearer {token}"
    insecure = os.environ.get("MLFLOW_TRACKING_INSECURE_TLS", "").lower() in ("true", "1")
    verify: Any = os.environ.get("MLFLOW_TRACKING_SERVER_CERT_PATH") or not insecure
    return {"headers": headers, "verify": verify, "cert": own}


def _login() -> tuple[str | None, str | None]:
    stored: dict[str, str] = {}
    file = configparser.ConfigParser(interpolation=None)
    if file.read(Path("~/.mlflow/credentials").expanduser()) and "mlflow" in file:
        stored = dict(file["mlflow"])
    names = ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD")
    user, password = (os.environ.get(name) or stored.get(name.lower()) for name in names)
    return user, password


def _plugin() -> str | None:
    return os.environ.get("MLFLOW_TRACKING_AUTH")


def _reason(error: BaseException, uri: str) -> str:
    """Return what lies at the bottom of a failed request, in a few words."""
    kind = type(error).__name__
    if "Timeout" in kind:
        return "no answer within a few seconds"
    seen: Any = error
    while (inner := getattr(seen, "reason", None) or next(iter(seen.args), None)) is not None:
        if not isinstance(inner, BaseException):
            break
        seen = inner
    text = getattr(seen, "strerror", None) or str(seen).rpartition("> ")[2].rpartition(": ")[2]
    return redacted(re.sub(r"^\[Errno \d+\] ", "", " ".join(str(text).split())), uri)[:200] or kind


def check_database(uri: str) -> None:
    """Verify that a database behind an address answers, and lets us in.

    MLflow itself would try for two minutes, without a word.

    Raises:
        UserError: it does not answer, does not let us in, or its driver is not installed.
    """
    import sqlalchemy

    place = redacted(uri)
    try:
        address = sqlalchemy.make_url(uri)
        engine = sqlalchemy.create_engine(address, connect_args=_patience(address), poolclass=sqlalchemy.NullPool)
    except ModuleNotFoundError as error:
        raise UserError(
            f"The run store {place} is reached through the package {error.name}, which is not installed: for PostgreSQL"
            " type pip install 'darkroom-lab[postgres]', and begin the address with postgresql+pg8000://."
        ) from None
    except (sqlalchemy.exc.ArgumentError, ValueError) as error:
        raise UserError(
            f"MLFLOW_TRACKING_URI is {place}, which is no address of a database ({redacted(str(error), uri)});"
            " expected postgresql+pg8000://user:password@host:5432/name."
        ) from None
    try:
        _knock(address)
    except OSError as error:
        raise Unreachable(_silent(place, error.strerror or str(error))) from None
    try:
        _within(lambda: engine.connect().close(), ANSWER_SECONDS)
    except TimeoutError:
        raise Unreachable(_silent(place, "it takes a connection and says nothing")) from None
    except Exception as error:  # each driver has errors of its own
        reason = redacted(" ".join(str(getattr(error, "orig", None) or error).split()), uri)[:300]
        raise Unreachable(f"The database of runs {place} (MLFLOW_TRACKING_URI) cannot be used: {reason}") from None


def _patience(address: Any) -> dict[str, Any]:
    name = _TIMEOUTS.get(address.drivername.partition("+")[2] or {"postgresql": "psycopg2"}.get(address.drivername, ""))
    return {name: int(ANSWER_SECONDS) + 1} if name and name not in address.query else {}


def _knock(address: Any) -> None:
    """Find out whether anybody listens, where the address says on which host."""
    port = address.port or _PORTS.get(address.get_backend_name())
    if address.host and port and "host" not in address.query:
        timeout = CONNECT_SECONDS
        _within(lambda: socket.create_connection((address.host, port), timeout=timeout).close(), timeout + 1)


def _silent(place: str, why: str) -> str:
    return (
        f"The database of runs {place} (MLFLOW_TRACKING_URI) does not answer: {why}; start it, or unset the variable to"
        " record runs in mlruns/."
    )


def _within(act: Callable[[], Value], seconds: float) -> Value:
    """Return what an act returns, or raise what it raises: TimeoutError when it is not over by then.

    No timeout of a library counts the time that a name takes to be looked up, or that an answer takes to trickle in.
    """
    came: queue.SimpleQueue[tuple[Value | None, Exception | None]] = queue.SimpleQueue()

    def acting() -> None:
        try:
            came.put((act(), None))
        except Exception as error:
            came.put((None, error))

    threading.Thread(target=acting, name="darkroom-probe", daemon=True).start()
    try:
        value, error = came.get(timeout=seconds)
    except queue.Empty:
        raise TimeoutError("no answer within a few seconds") from None
    if error is not None:
        raise error
    return cast("Value", value)


def check_sqlite(database: Path, wait: float) -> None:
    """Verify that a SQLite database, or its folder when it does not exist yet, can be written.

    Raises:
        UserError: it cannot, or another process kept it locked for ``wait`` seconds.
    """
    try:
        if not database.exists():
            database.parent.mkdir(parents=True, exist_ok=True)
            with filelock.FileLock(database.with_name(f".{database.name}.lock"), timeout=0, blocking=False):
                return
        with closing(_opened(database, "rw", wait)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            _check_owner(database, connection)
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            connection.execute(f"PRAGMA user_version = {version}")  # only a write finds out that nothing can be written
            connection.execute("ROLLBACK")
    except filelock.Timeout:
        return  # another process is creating it
    except OSError as error:
        raise UserError(
            f"Runs cannot be recorded in {database.parent} ({error.strerror}); make the folder writable, or set "
            "DARKROOM_ROOT or MLFLOW_TRACKING_URI to a place that is."
        ) from error
    except sqlite3.Error as error:
        raise UserError(_broken(database, error, wait)) from error


def cannot_write(database: Path) -> bool:
    """Say whether a SQLite database that exists can only be read, without waiting for whoever writes it."""
    if not database.exists():
        return False
    if not os.access(database, os.W_OK) or not os.access(database.parent, os.W_OK):
        return True
    try:
        check_sqlite(database, 0.0)
    except UserError as error:
        return "read-only" in str(error)
    return False


def reading_address(database: Path, wait: float) -> str:
    """Return the address by which SQLAlchemy opens a database that nobody here may write.

    Where not even a lock can be taken, as on a read-only file system after a power cut, it is opened as immutable.

    Raises:
        UserError: it is no intact database, or another process kept it locked for ``wait`` seconds.
    """
    failed: sqlite3.Error | None = None
    for mode in ("ro", "ro&immutable=1"):
        try:
            with closing(_opened(database, mode, wait)) as connection:
                _check_owner(database, connection)
            return f"sqlite:///file:{urllib.parse.quote(str(database))}?mode={mode}&uri=true"
        except sqlite3.Error as error:
            failed = failed or error
            if "locked" in str(error):
                break
    assert failed is not None
    raise UserError(_broken(database, failed, wait)) from failed


def _check_owner(database: Path, connection: sqlite3.Connection) -> None:
    """Refuse the database of another program, to which MLflow would add its own tables."""
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if tables and not tables & {"alembic_version", "experiments"}:
        raise UserError(
            f"{database} is the database of another program (it has a table '{min(tables)}'): move it away, or set"
            " MLFLOW_TRACKING_URI to another place."
        )


def _opened(database: Path, mode: str, wait: float) -> sqlite3.Connection:
    address = f"file:{urllib.parse.quote(str(database))}?mode={mode}"
    return sqlite3.connect(address, uri=True, timeout=wait, isolation_level=None)


def _broken(database: Path, error: sqlite3.Error, wait: float) -> str:
    return sentence(str(error), str(database), wait) or f"The run store {database} cannot be used: {error}."


def sentence(message: str, uri: str, wait: float) -> str:
    """Return what to tell a person about a store that failed with ``message``; empty when it is not known."""
    lowered, place = message.lower(), redacted(uri)
    if "locked" in lowered:
        return (
            f"The run store {place} stayed locked by another process for {wait:g} s; end whatever writes to it (mlflow "
            "server? a copy in progress?) and try again."
        )
    if "readonly" in lowered or "read-only" in lowered or "unable to open database" in lowered:
        return (
            f"The run store {place} cannot be written (read-only); make it writable, or set DARKROOM_ROOT or "
            "MLFLOW_TRACKING_URI to one that is."
        )
    if "disk is full" in lowered:
        return f"The disk with the run store {place} is full; free some space."
    if "not a database" in lowered or "malformed" in lowered:
        return f"The run store {place} is not an intact SQLite database; move it away or restore it from a copy."
    if "out-of-date database schema" in lowered:
        return (
            f"The run store {place} was written by another version of MLflow; copy it for safety, then type "
            + shlex.join(["mlflow", "db", "upgrade", place if "://" in place else f"sqlite:///{place}"])
        )
    return ""


def is_unreachable(message: str) -> bool:
    """Say whether an error's text is that of a store which does not answer."""
    lowered = message.lower()
    server = ("api request to ", "max retries exceeded")
    database = ("create a connection", "connection is closed", "connection refused", "closed the connection")
    return any(sign in lowered for sign in (*server, *database, "could not connect", "network error"))
