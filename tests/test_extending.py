"""The page on parts of one's own, executed: its files are written, its lines are typed, its results are looked at."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from darkroom.tracking.store import Store

PAGE = (Path(__file__).parents[1] / "docs" / "extending.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", PAGE, re.M | re.S)
MOST = {"A model family": 3, "A data set": 2, "A metric": 2, "An edit operation": 2, "A loss": 2}


def files():
    return {
        found.group(1): text for kind, text in BLOCKS if (found := re.match(r"# (my_\S+)\n", text)) and kind != "sh"
    }


def test_every_block_is_a_file_or_a_line():
    assert all(kind == "sh" or text.startswith("# my_") for kind, text in BLOCKS)


@pytest.mark.parametrize("job", MOST)
def test_a_job_takes_no_more_files_than_it_may(job):
    section = PAGE.split(f"\n## {job}\n")[1].split("\n## ")[0]
    assert 1 <= len(re.findall(r"^# my_", section, re.M)) <= MOST[job]


@pytest.fixture(scope="module")
def followed(tmp_path_factory):
    """Everything on the page, done in an empty folder."""
    folder = tmp_path_factory.mktemp("extending")
    for name, text in files().items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.partition("\n")[2] if "@package" in text else text)
    settings = {"DARKROOM_ROOT": str(folder), "MLFLOW_TRACKING_URI": "", "XDG_CONFIG_HOME": str(folder / "settings")}
    environment = {**os.environ, **settings, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    said = []
    for text in (text for kind, text in BLOCKS if kind == "sh"):
        for line in text.splitlines():
            if line.startswith("export "):
                name, _, value = line.removeprefix("export ").partition("=")
                environment[name] = os.pathsep.join(filter(None, (value, os.environ.get(name))))
                continue
            done = subprocess.run(
                line, shell=True, cwd=folder, env=environment, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
            said.append((line, done.stdout))
    return folder, said, environment


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_page_can_be_followed(followed):
    folder, said, _ = followed
    runs = Store.open(folder).runs()
    assert {run.params["model._target_"] for run in runs} >= {"my_lab.flow.Flow", "darkroom.models.gan.Gan"}
    assert all(run.status == "FINISHED" for run in runs)
    assert any("my_lab.contrast.Contrast" in run.params["metrics._target_"] for run in runs)
    assert any(run.params.get("model.loss._target_") == "my_lab.games.Exponential" for run in runs)
    assert (folder / "drawn.png").exists()
    before, after = (
        np.asarray(Image.open(folder / name)).astype(int) for name in ("drawings/000000.png", "grainy.png")
    )
    assert before.shape == after.shape
    assert 0 < np.abs(after - before).mean() < 40
    assert any(
        "amount: 0.1" in output and "makes a picture grainy" in output for line, output in said if "--help" in line
    )
    page = (folder / "page.html").read_text()
    assert all(run.name in page for run in runs)
    assert any("Flow" in output or "flow" in output for line, output in said if "compare" in line)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_family_of_ones_own_goes_on_to_the_bit_and_is_edited_with(followed):
    folder, _, environment = followed

    def typed(line):
        line = f"{sys.executable} -m darkroom {line}"
        done = subprocess.run(line.split(), cwd=folder, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    whole, halves = "--config-dir my_conf experiment=flow/digits profile=smoke", {}
    typed(f"train {whole} name=whole budget.images=1280")
    typed(f"train {whole} name=halves budget.images=640 metrics=none model.schedule.shape=constant")
    typed(f"train {whole} name=straight budget.images=1280 metrics=none model.schedule.shape=constant")
    typed("train resume=halves budget.images=1280")
    for name in ("halves", "straight"):
        path = Store.open(folder).find(name).folder / "checkpoints" / "last.ckpt"
        halves[name] = torch.load(path, weights_only=True)["state_dict"]
    assert all(torch.equal(halves["halves"][name], tensor) for name, tensor in halves["straight"].items())
    typed("generate checkpoint=whole count=1 output=one")
    typed("edit operation=interpolate checkpoint=whole input=one/000000.png other=one/000000.png refine=2 output=i.png")
    assert (folder / "i.png").exists()
