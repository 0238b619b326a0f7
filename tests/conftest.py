import functools
import os
import shutil
import tempfile
from pathlib import Path

import pytest

# What a shell, a scheduler, a launcher or a hook may have set, and what changes what is printed, found or written.
LEAKING = (
    *("DARKROOM_", "DVC_", "GIT_", "HYDRA_", "MLFLOW_", "SLURM_", "SUBMITIT_", "TORCHELASTIC_", "PL_", "_ARGCOMPLETE"),
    *("RANK", "LOCAL_RANK", "GROUP_RANK", "NODE_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "GROUP_WORLD_SIZE"),
    *("MASTER_ADDR", "MASTER_PORT", "COMP_LINE", "COMP_POINT", "COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR"),
    *("CLICOLOR", "CLICOLOR_FORCE", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "TERM", "LANG", "LANGUAGE", "LC_", "TZ"),
    *("PYTHONWARNINGS", "PYTHONOPTIMIZE", "PYTHONHASHSEED", "CDPATH", "TORCH_HOME", "XDG_CACHE_HOME"),
    *("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"),
)


def leaks(name):
    """Whether a variable is one of ``LEAKING``; what ends with an underscore stands for all that begin so."""
    return any(name == known or (known.endswith("_") and name.startswith(known)) for known in LEAKING)


def pytest_configure(config):
    """Let every test, and whatever it imports or starts, see the same machine: no settings but the tests' own."""
    ours = {
        "LC_ALL": "C.UTF-8",
        "TZ": "UTC",
        # Whatever hooks, signatures and identity somebody has configured; and whoever owns the checkout.
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": "safe.directory",
        "GIT_CONFIG_VALUE_0": "*",
    }
    if kept := os.environ.get("DARKROOM_CACHE"):
        ours["DARKROOM_CACHE"] = kept  # judges that are taught
    home = Path(os.environ.get("HOME", os.devnull))
    if not (home.is_dir() and os.access(home, os.W_OK)):  # fonts and the like are kept there
        ours["HOME"] = tempfile.mkdtemp(prefix="home-")
        config.add_cleanup(lambda: shutil.rmtree(ours["HOME"], ignore_errors=True))
    patch = pytest.MonkeyPatch()
    config.add_cleanup(patch.undo)
    for name in [name for name in os.environ if leaks(name)]:
        patch.delenv(name)
    for name, value in ours.items():
        patch.setenv(name, value)
    config.add_cleanup(functools.partial(os.umask, os.umask(0o022)))


@pytest.fixture(scope="session", autouse=True)
def taught_judges(tmp_path_factory):
    """Judges that are taught are kept for the length of the session, by all its processes together."""
    base = tmp_path_factory.getbasetemp()
    with pytest.MonkeyPatch.context() as patch:
        if "DARKROOM_CACHE" not in os.environ:
            shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
            patch.setenv("DARKROOM_CACHE", str(shared / "cache"))
        yield


@pytest.fixture(autouse=True)
def nothing_trusted(tmp_path_factory, monkeypatch):
    """Settings of their own for every test: what one trusts, the next does not, and the person's file is left alone."""
    from darkroom import trust

    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.mktemp("settings")))
    monkeypatch.setattr(trust, "_heard", set())


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
    from darkroom.tracking.database import create

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


@pytest.fixture
def typed(monkeypatch, capsys):
    """Type a line: ``typed("train seed=abc")`` returns the exit code, what was printed, and what went to stderr.

    With ``instead``, that function is given the checked configuration in place of the command.
    """
    import importlib
    import logging
    import shlex
    import sys

    from hydra.core.hydra_config import HydraConfig

    from darkroom.config.command import command

    def run(line, instead=None):
        name, *arguments = shlex.split(line)
        monkeypatch.setattr(sys, "argv", ["darkroom", *arguments])
        monkeypatch.setattr(logging, "raiseExceptions", False)  # handlers of an earlier line write to its closed stdout
        capsys.readouterr()
        module = importlib.import_module(f"darkroom.commands.{name}")
        main = command(name)(instead) if instead else module.main
        with pytest.raises(SystemExit) as left:
            main()
        HydraConfig.instance().cfg = None
        return left.value.code, *capsys.readouterr()

    return run


PAINTER = (
    "name=painter profile=smoke budget.images=640 data.image_size=8 model.latent_dim=8 model.generator.width=4"
    " model.discriminator.width=4 metrics.images=100 metrics.test_images=100 metrics.every=320 metrics.kid_subsets=2"
    " saving.samples=10 data.held_out=null"
)
NAMER = (
    "name=namer model=classifier profile=smoke budget.images=640 data.image_size=8 model.network.width=4"
    " metrics.every=640 saving.samples=10 data.held_out=null"
)


@pytest.fixture(scope="session")
def train_all(tmp_path_factory, empty_database):
    """Return what makes a project folder of runs, by the command: ``train_all("name", lines)``."""
    import sys

    import torch
    from hydra.core.hydra_config import HydraConfig

    from darkroom.commands import train

    def run(name, lines):
        folder = tmp_path_factory.mktemp(name)
        (folder / "mlruns").mkdir()
        shutil.copy(empty_database, folder / "mlruns" / "mlflow.db")
        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # sums are rounded in the order they are added: let it be the same everywhere
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("DARKROOM_ROOT", str(folder))
            patch.setenv("DARKROOM_CACHE", str(folder / "cache"))
            patch.delenv("MLFLOW_TRACKING_URI", raising=False)
            patch.delenv("DVC_ROOT", raising=False)
            for line in lines:
                patch.setattr(sys, "argv", ["darkroom", *line.split()])
                with pytest.raises(SystemExit) as left:
                    train.main()
                assert not left.value.code
        HydraConfig.instance().cfg = None
        torch.set_num_threads(threads)
        return folder

    return run


@pytest.fixture(scope="session")
def trained(train_all):
    """A project folder with two runs, the smallest GAN and then the smallest classifier, made once by the command."""
    return train_all("trained", (PAINTER, NAMER))


@pytest.fixture
def project(trained, tmp_path, monkeypatch):
    """A copy of that folder to work in, as the current folder."""
    import torch

    shutil.copytree(trained / "mlruns", tmp_path / "mlruns")
    monkeypatch.setenv("DARKROOM_ROOT", str(tmp_path))
    monkeypatch.setenv("DARKROOM_CACHE", str(trained / "cache"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    monkeypatch.chdir(tmp_path)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as the runs were made: sums are rounded in the order they are added
    yield tmp_path
    torch.set_num_threads(threads)


@pytest.fixture
def runs(project):
    """Return the runs of the project, by name."""
    from darkroom.tracking.store import Store

    return lambda: {record.name: record for record in Store.open(project).runs()}


@pytest.fixture(scope="session")
def everything():
    """Every configuration that conf/ can make by a single choice: ``(file, command, configuration)``."""
    from darkroom import paths
    from darkroom.commands.check import choices
    from darkroom.config.composing import compose

    return [(file, name, compose(name, overrides)) for file, name, overrides in choices(paths.conf())]
