import shlex

import pytest
import yaml

from darkroom.commands import edit as command
from darkroom.config.composing import compose
from darkroom.editing.editor import Editor
from darkroom.errors import UserError
from darkroom.operations.restoration import Denoise


def darker(colours, mask):
    return colours - 0.02


@pytest.fixture
def place(tmp_path, monkeypatch):
    """An empty folder to work in."""
    monkeypatch.setenv("DARKROOM_ROOT", str(tmp_path / "project"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def plain():
    """What ``darkroom edit operation=denoise track=false`` is composed to."""
    return compose("edit", ["operation=denoise", "track=false"])


@pytest.fixture
def faked(monkeypatch):
    """Put an editor of the test's choice behind operation=denoise."""

    def put(editor=None):
        monkeypatch.setattr(Denoise, "needs", None)
        monkeypatch.setattr(Denoise, "editor", lambda self, run: editor or Editor(darker, reach=0))

    return put


@pytest.fixture
def edit(place, plain, faked, capsys):
    """Do what ``darkroom edit operation=denoise track=false …`` does once Hydra has composed it, which takes longer."""

    def run(line, editor=None):
        faked(editor)
        typed = dict(argument.split("=", 1) for argument in shlex.split(line))
        capsys.readouterr()
        code, said = 0, ""
        try:
            command.edit(
                {**plain, **{key: value if "*" in value else yaml.safe_load(value) for key, value in typed.items()}}
            )
        except UserError as error:
            code, said = 2, str(error)
        except KeyboardInterrupt:
            code = 130
        except SystemExit as left:
            code = left.code
        out, err = capsys.readouterr()
        return code, out, said + err

    return run
