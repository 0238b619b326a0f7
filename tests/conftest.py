import shutil

import pytest


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A project folder of its own, with no server configured."""
    monkeypatch.setenv("DARKROOM_ROOT", str(tmp_path))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    return tmp_path


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory):
    """An MLflow database without runs, made once: creating one takes seconds, copying it does not."""
    from darkroom.tracking.store import create

    folder = tmp_path_factory.mktemp("template")
    create(folder / "mlflow.db", folder)
    return folder / "mlflow.db"


@pytest.fixture
def store(root, empty_database):
    """The store of an empty project."""
    from darkroom.tracking.store import Store

    (root / "mlruns").mkdir()
    shutil.copy(empty_database, root / "mlruns" / "mlflow.db")
    return Store.open(root)
