import os
import subprocess
import sys

import pytest

from darkroom import __main__ as program
from darkroom import __version__


@pytest.fixture
def darkroom(tmp_path):
    """Run ``python -m darkroom …`` as a process of its own; Hydra registers things once and for all."""

    def run(*arguments, module="darkroom", **environment):
        return subprocess.run(
            [sys.executable, "-m", module, *arguments],
            env={**os.environ, "DARKROOM_ROOT": str(tmp_path), "MLFLOW_TRACKING_URI": "", **environment},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )

    return run


@pytest.mark.parametrize("arguments", [[], ["-h"], ["--help"], ["help"]])
def test_help_lists_every_command(arguments, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["darkroom", *arguments])
    program.main()
    printed = capsys.readouterr().out
    assert all(f"\n  {name} " in printed for name in program.COMMANDS)
    assert max(map(len, printed.splitlines())) < 100


def test_version(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["darkroom", "--version"])
    program.main()
    assert capsys.readouterr().out.strip() == __version__


@pytest.mark.parametrize(
    ("word", "fragment"), [("trian", "did you mean 'train'"), ("xyzzy", "the commands are train,"), ("seed=1", "train")]
)
def test_an_unknown_command_is_refused(word, fragment, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["darkroom", word])
    with pytest.raises(SystemExit) as left:
        program.main()
    assert left.value.code == 2
    assert fragment in capsys.readouterr().err


def test_help_loads_nothing_at_all(tmp_path):
    code = (
        "import sys; from darkroom.__main__ import main; sys.argv[1:] = ['--help']; main();"
        "assert not {'torch', 'hydra', 'mlflow'} & set(sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0


def test_every_command_has_a_module_and_a_configuration():
    from darkroom import paths
    from darkroom.config.schema import SCHEMAS

    assert set(program.COMMANDS) == set(SCHEMAS)
    for name in program.COMMANDS:
        assert (paths.PACKAGE / "commands" / f"{name}.py").is_file()
        assert (paths.conf() / f"{name}.yaml").is_file()


def test_hydras_own_options_work_and_load_nothing_heavy(tmp_path):
    code = """
import sys
from darkroom.__main__ import main
for line in (["train", "--help"], ["train", "seed=3", "--cfg", "job"], ["train", "--info", "defaults"],
             ["generate", "--cfg", "job"], ["edit", "--help"],
             ["train", "--cfg", "job", "--resolve", "-p", "model.generator"]):
    sys.argv = ["darkroom", *line]
    try:
        main()
    except SystemExit as left:
        assert not left.code, line
assert not {"torch", "mlflow"} & set(sys.modules)
"""
    environment = {**os.environ, "DARKROOM_ROOT": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "seed: 3" in done.stdout
    assert "darkroom.networks.dcgan.DcganGenerator" in done.stdout
    assert "model/gan" in done.stdout
    assert not any(tmp_path.iterdir())


def test_a_command_can_be_started_as_a_module(darkroom):
    """Lightning starts the further processes of a run this way."""
    done = darkroom("seed=3", "--cfg", "job", module="darkroom.commands.train")
    assert done.returncode == 0, done.stderr
    assert "seed: 3" in done.stdout
    refused = darkroom("sed=3", module="darkroom.commands.train")
    assert refused.returncode == 2
    assert "did you mean 'seed'" in refused.stderr


def test_lightning_finds_the_command_to_start_again(darkroom):
    code = """
import sys
from darkroom import __main__
from darkroom.config import command
sys.argv = ["darkroom", "train"]
command.command = lambda name: lambda function: lambda: print(sys.modules["__main__"].__spec__.name)
__main__.main()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "darkroom.commands.train"


COMPLETED = {
    "darkroom ": "train evaluate generate edit compare sweep report dashboard reproduce explain audit prepare judge"
    " check",
    "darkroom tr": "train",
    "darkroom train mod": "model. model=",
    "darkroom train model=": " ".join(
        f"model={name}"
        for name in (
            *("adain", "autoencoder", "classifier", "cyclegan", "denoiser", "gan"),
            *("pixelrnn", "restorer", "sequence", "stylizer", "vae", "vqvae"),
        )
    ),
    "darkroom train model.lat": "model.latent_dim=",
    "darkroom train exp": "experiment=",
    "darkroom train seed=1 experiment=gan/m": "experiment=gan/mnist experiment=gan/mnist_dcgan",
    "darkroom generate c": "checkpoint= count= curriculum=",
    "/usr/bin/darkroom compare form": "format=",
}


@pytest.mark.parametrize("line", COMPLETED)
def test_the_tab_key(line, monkeypatch, capsys):
    monkeypatch.setenv("COMP_LINE", line)
    monkeypatch.setattr(sys, "argv", ["/usr/bin/darkroom", "-sc", "query=bash"])
    try:
        program.main()
    except SystemExit as left:
        assert not left.code  # noqa: PT017
    assert capsys.readouterr().out.split() == COMPLETED[line].split()


@pytest.mark.parametrize("arguments", [["-sc", "install=bash"], ["train", "-sc", "install=bash"]])
def test_the_script_for_the_tab_key_is_for_darkroom(arguments, darkroom):
    done = darkroom(*arguments)
    assert done.returncode == 0, done.stderr
    assert done.stdout.rstrip().endswith("-F hydra_bash_completion darkroom")


def test_the_script_works_in_bash(darkroom, tmp_path):
    """The whole way: install the script in a shell, press tab behind a line."""
    script = darkroom("-sc", "install=bash").stdout
    (tmp_path / "darkroom").write_text(f'#!/bin/sh\nexec {sys.executable} -m darkroom "$@"\n')
    (tmp_path / "darkroom").chmod(0o755)
    line = "darkroom train model=g"
    pressed = f'COMP_LINE="{line}" COMP_POINT={len(line)} COMP_CWORD=2; hydra_bash_completion; echo "${{COMPREPLY[@]}}"'
    asked = f"{script}\n{pressed}"
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run(["bash", "-c", asked], env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "model=gan", done.stderr
