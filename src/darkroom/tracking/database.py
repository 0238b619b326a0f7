"""MLflow's own database and its client, made and opened without their chatter.

Nothing here imports torch, and MLflow itself (a second or more) is imported when it is first needed.
"""

import logging
import os
from pathlib import Path
from typing import Any

import filelock

from darkroom import files


def address(database: Path) -> str:
    """Return the address of an SQLite file, in which a ``?`` would begin options and a ``%`` a letter's number."""
    return f"sqlite:///{database}".replace("%", "%25").replace("?", "%3F")


def create(database: Path, artifacts: Path) -> None:
    """Create an empty MLflow database, once, however many processes ask for it at the same time.

    It is built under another name and renamed, so a file that exists is whole.
    """
    database.parent.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(database.with_name(f".{database.name}.lock"), timeout=120):
        if database.exists():
            return
        quiet_client()
        with files.scratch(database.parent) as folder:
            partial = folder / database.name
            tables(address(partial), artifacts).engine.dispose()
            partial.replace(database)


def tables(uri: str, artifacts: Path) -> Any:
    """Open a database itself, with new experiments' files under ``artifacts/<experiment id>``."""
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    return SqlAlchemyStore(uri, str(artifacts))  # type: ignore[no-untyped-call]


def quiet_client() -> Any:
    """Import MLflow without its progress chatter, and without its reports home."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    from mlflow.tracking import MlflowClient

    # A request that fails is an answer to us, who wait and ask again: MLflow would for minutes, a line each time.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for name in ("mlflow.store.db.utils", "mlflow.exceptions", "urllib3.connectionpool"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # what they log they also raise
    return MlflowClient


def of_database(error: Exception) -> bool:
    """Say whether what was raised is about what a database holds: SQLAlchemy's own, or wrapped by MLflow."""
    ours = type(error).__module__.startswith(("sqlalchemy.", "alembic.", "sqlite3"))
    return ours or isinstance(error, UnicodeDecodeError) or "(sqlite3." in str(error)
