import csv
import json
import os
import re
import runpy
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
DVC = yaml.safe_load((ROOT / "dvc.yaml").read_text())
CHANGEABLE = yaml.safe_load((ROOT / "conf" / "pipeline.yaml").read_text())


def filled(text, known):
    """Return a text with every ``${item.networks[0]}`` in it filled in, as DVC does."""

    def value(found):
        place = known
        for name, number in re.findall(r"([\w-]+)|\[(\d+)\]", found.group(1)):
            place = place[name] if name else place[int(number)]
        return str(place)

    return re.sub(r"\$\{([^}]+)\}", value, text)


def expanded():
    """Every stage of dvc.yaml by the name it is run under, ``train@gan-digits``."""
    stages = {}
    for name, content in DVC["stages"].items():
        over = content.get("foreach", [None])
        items = over.items() if isinstance(over, dict) else [(item, item) for item in over]
        for key, item in items:
            full = name if key is None else f"{name}@{key}"
            known = CHANGEABLE | {"key": key, "item": item}
            once = json.loads(filled(json.dumps(content.get("do", content)), known))  # an item may ask for more itself
            stages[full] = json.loads(filled(json.dumps(once), known))
    return stages


STAGES = expanded()
OUTS = {out: stage for stage, content in STAGES.items() for out in content["outs"]}


def composed(command):
    """Every file of conf/ that a line such as ``darkroom train experiment=gan/digits`` composes."""
    import hydra
    from hydra.core.global_hydra import GlobalHydra
    from hydra.types import RunMode

    from darkroom.config.registering import register

    _, name, *overrides = command.split()
    register()
    with hydra.initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
        parts = loader.compute_defaults_list(name, overrides, RunMode.RUN).defaults
    files = {f"conf/{part.config_path}.yaml" for part in parts}
    return {file for file in files if (ROOT / file).is_file() and not file.startswith("conf/local/")}


# --- dvc.yaml ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stage", [stage for stage in STAGES if stage != "trial"])
def test_stage_depends_on_exactly_the_files_it_composes(stage):
    listed = {file for entry in STAGES[stage]["params"] for file in entry}
    assert listed == composed(STAGES[stage]["cmd"])
    assert all(keys is None for entry in STAGES[stage]["params"] for keys in entry.values()), "whole files"


def test_the_stage_for_any_experiment_depends_on_whatever_one_may_compose():
    groups = {f"conf/{folder.name}" for folder in (ROOT / "conf").iterdir() if folder.is_dir()}
    listed = {path for path in STAGES["trial"]["deps"] if path.startswith("conf/")}
    assert listed == groups - {"conf/local", "conf/operation", "conf/search"} | {"conf/train.yaml"}
    for experiment in ("gan/digits", "style/cyclegan"):
        for file in composed(f"darkroom train experiment={experiment}"):
            assert {file, "/".join(file.split("/")[:2])} & listed, file


@pytest.mark.parametrize("stage", STAGES)
def test_what_stages_read_is_there_or_made_by_another(stage):
    missing = [path for path in STAGES[stage]["deps"] if path not in OUTS and not (ROOT / path).exists()]
    assert missing == []


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_writes_what_its_command_is_told_to(stage):
    (out,) = STAGES[stage]["outs"]
    assert f"output={out}" in STAGES[stage]["cmd"].split()
    assert out.startswith("mlruns/pipeline/")


def test_every_experiment_is_prepared_trained_evaluated_and_reported():
    trained = {stage.partition("@")[2] for stage in STAGES if stage.startswith("train@")}
    assert trained == set(CHANGEABLE["overrides"]) == {stage[9:] for stage in STAGES if stage.startswith("evaluate@")}
    (runs,) = re.findall(r"runs=\[([^]]+)\]", STAGES["report"]["cmd"])
    assert set(runs.split(",")) == {f"mlruns/pipeline/train/{name}" for name in trained}
    assert set(runs.split(",")) <= set(STAGES["report"]["deps"])
    for name in trained:
        (data,) = (OUTS[path] for path in STAGES[f"train@{name}"]["deps"] if path in OUTS)
        chosen = composed(STAGES[f"train@{name}"]["cmd"])
        assert f"conf/data/{data.removeprefix('prepare@')}.yaml" in chosen


def test_metrics_and_plots_lie_in_what_stages_leave():
    plots = [
        path
        for entry in DVC["plots"]
        for path in ([entry] if isinstance(entry, str) else next(iter(entry.values()))["y"])
    ]
    for path in [*DVC["metrics"], *plots]:
        assert any(path.startswith(f"{out}/") for out in OUTS), path


def test_plots_name_files_since_an_experiment_in_a_fresh_clone_cannot_look_into_folders():
    assert all(isinstance(entry, dict) for entry in DVC["plots"])
    for entry in DVC["plots"]:
        ((name, how),) = entry.items()
        assert all(Path(path).suffix in (".csv", ".png") for path in how["y"]), name
        assert Path(name).suffix in ("", *(Path(path).suffix for path in how["y"])), "pictures are told by their name"


def test_documented_experiments_leave_tracked_files_as_they_are():
    text = (ROOT / "docs" / "pipeline.md").read_text() + (ROOT / "dvc.yaml").read_text()
    typed = re.findall(r"dvc exp run (?!--run-all)(\S+)", text + (ROOT / "conf" / "pipeline.yaml").read_text())
    assert len(typed) >= 4
    assert set(typed) <= {"--temp", "--queue"}


def test_the_lock_is_of_these_commands():
    lock = yaml.safe_load((ROOT / "dvc.lock").read_text())["stages"]
    assert {name: stage["cmd"].split() for name, stage in lock.items()} == {
        name: stage["cmd"].split() for name, stage in STAGES.items()
    }
    for stage in lock.values():
        assert {out["path"] for out in stage["outs"]} <= set(OUTS)


def test_overrides_are_checked_as_typed():
    from darkroom.config.checking import check
    from darkroom.config.composing import compose

    for stage, content in STAGES.items():
        if "darkroom train" in content["cmd"]:
            _, name, *overrides = content["cmd"].split()
            check(compose(name, overrides), name)
            assert stage


# --- CI ---------------------------------------------------------------------------------------------------------------

WORKFLOW = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yaml").read_text())
TARGETS = set(re.findall(r"^(\w+):.*  ## \w", (ROOT / "Makefile").read_text(), re.M))


def made(text):
    return set(re.findall(r"\bmake (?:-C \S+ )?(\w+)", text))


def lines():
    return [step["run"] for job in WORKFLOW["jobs"].values() for step in job["steps"] if "run" in step]


def test_the_workflow_calls_targets_of_make_and_all_that_ci_runs():
    called = made("\n".join(lines()))
    assert called <= TARGETS
    assert called == made((ROOT / ".ci" / "run").read_text())


def test_the_workflow_tries_two_versions_of_python_that_the_project_takes():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    versions = WORKFLOW["jobs"]["test"]["strategy"]["matrix"]["python"]
    allowed = Requirement(f"python{project['requires-python']}").specifier
    assert len(set(versions)) >= 2
    assert all(isinstance(version, str) and allowed.contains(version) for version in versions)


def test_the_cache_of_the_workflow_follows_the_lock():
    (cache,) = (
        step["with"] for step in WORKFLOW["jobs"]["pipeline"]["steps"] if "actions/cache" in step.get("uses", "")
    )
    assert cache["key"] == "dvc-${{ hashFiles('dvc.lock') }}"
    (kept,) = (
        step["with"] for step in WORKFLOW["jobs"]["pipeline"]["steps"] if "upload-artifact" in step.get("uses", "")
    )
    assert STAGES["report"]["outs"][0] in kept["path"]


def test_the_oldest_versions_are_the_lower_bounds():
    oldest = runpy.run_path(str(ROOT / ".ci" / "oldest.py"))
    assert oldest["oldest"]("torch>=2.6,<3") == "torch==2.6.*"
    assert oldest["oldest"]("hydra-core>=1.3.8,<1.4") == "hydra-core==1.3.8"
    with pytest.raises(ValueError, match="not enough values"):
        oldest["oldest"]("torch<3")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = {requirement.name: requirement for requirement in map(Requirement, project["dependencies"])}
    pinned = [requirement for line in oldest["lines"]() if "==" in line for requirement in [Requirement(line)]]
    assert {requirement.name for requirement in pinned} == set(wanted)
    for requirement in pinned:
        (version,) = (specifier.version for specifier in requirement.specifier)
        assert wanted[requirement.name].specifier.contains(version.removesuffix(".*"))


# --- DVC itself, on a repository with two small stages ----------------------------------------------------------------

TINY = """
vars: [conf/pipeline.yaml]
stages:
  prepare:
    cmd: {darkroom} prepare {data} output=mlruns/pipeline/prepare
    deps: [data/pictures]
    outs: [mlruns/pipeline/prepare]
  train:
    cmd: >-
      {darkroom} train {data} model=classifier profile=smoke budget.images=320 model.network.width=4 metrics.every=320
      saving.samples=10 output=mlruns/pipeline/train ${{overrides}}
    deps: [mlruns/pipeline/prepare]
    outs: [mlruns/pipeline/train]
metrics: [mlruns/pipeline/train/metrics.json]
plots:
  - loss:
      x: images
      y: {{mlruns/pipeline/train/curves/train.csv: [loss]}}
"""
DATA = "data=folder data.source.root=pictures data.image_size=8 data.channels=1 data.source.val=60 data.source.test=60"


def attempt(folder, *words):
    """Run a program in a folder as somebody would who has set up only the environment."""
    ours = ("DARKROOM_", "DVC_", "MLFLOW_")
    kept = {key: value for key, value in os.environ.items() if not key.startswith(ours)}
    environment = kept | {"DARKROOM_CACHE": str(folder.parent / "cache"), "OMP_NUM_THREADS": "1", "PAGER": "cat"}
    # DVC's queue starts a program 'dvc', and where none is found it waits for it without end.
    environment["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, stdin=subprocess.DEVNULL)


def call(folder, *words):
    """Run a program that must succeed, and return what it printed."""
    done = attempt(folder, *words)
    assert done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"
    return done.stdout + done.stderr


def dvc(folder, *words):
    return call(folder, sys.executable, "-m", "dvc", *words)


def git(folder, *words):
    return call(folder, "git", "-c", "user.name=Somebody", "-c", "user.email=somebody@example.org", *words)


@pytest.fixture(scope="module")
def repository(tmp_path_factory, empty_database):
    """A repository with this project's DVC settings, pictures tracked by DVC, and two stages that have run."""
    from PIL import Image
    from sklearn.datasets import load_digits

    folder = tmp_path_factory.mktemp("repositories") / "first"
    (folder / "conf").mkdir(parents=True)
    (folder / "conf" / "pipeline.yaml").write_text("overrides: seed=0\n")
    (folder / "dvc.yaml").write_text(TINY.format(darkroom=f"{sys.executable} -m darkroom", data=DATA))
    (folder / ".dvc").mkdir()
    for name in (".dvc/config", ".dvcignore", ".gitignore"):
        shutil.copy(ROOT / name, folder / name)
    (folder / ".dvc" / ".gitignore").write_text("/config.local\n/tmp\n/cache\n")
    (folder / "mlruns").mkdir()
    (folder / "mlruns" / "README.md").write_text("Runs.\n")
    shutil.copy(empty_database, folder / "mlruns" / "mlflow.db")
    found = load_digits()
    for number, (picture, label) in enumerate(zip(found.images[:400], found.target[:400], strict=True)):
        place = folder / "data" / "pictures" / str(label)
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray((picture * 15).astype("uint8")).save(place / f"{number:03}.png")
    git(folder, "init", "-q")
    git(folder, "config", "user.name", "Somebody")
    git(folder, "config", "user.email", "somebody@example.org")
    dvc(folder, "add", "data/pictures")
    dvc(folder, "repro")
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "first")
    return folder


def recorded(folder):
    """The runs of a repository's store, by their seed."""
    from darkroom.tracking.store import Store

    return {record.params["seed"]: record for record in Store.open(folder).runs()}


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_data_of_dvc_are_the_data_of_the_run(repository):
    tracked = git(repository, "ls-files").splitlines()
    assert {"data/pictures.dvc", "dvc.lock"} <= set(tracked)
    assert not any(path.endswith((".png", ".ckpt")) for path in tracked)
    lock = yaml.safe_load((repository / "dvc.lock").read_text())["stages"]["prepare"]
    pictures = yaml.safe_load((repository / "data" / "pictures.dvc").read_text())
    assert lock["deps"][0]["md5"] == pictures["outs"][0]["md5"]
    prepared = json.loads((repository / "mlruns" / "pipeline" / "prepare" / "data.json").read_text())
    run = recorded(repository)["0"]
    assert run.tags["darkroom.data_digest"] == prepared["digest"]
    assert run.tags["dvc.stage"] == "train"

    (repository / "src" / "__pycache__").mkdir(parents=True)
    (repository / "src" / "__pycache__" / "code.pyc").touch()
    (repository / "data" / "pictures" / "__pycache__").mkdir()
    (repository / "data" / "pictures" / "__pycache__" / "code.pyc").touch()
    assert "Data and pipelines are up to date" in dvc(repository, "repro")
    assert '"accuracy"' in dvc(repository, "metrics", "show", "--json")
    dvc(repository, "plots", "show", "-o", str(repository.parent / "plots"))
    assert "vega" in (repository.parent / "plots" / "index.html").read_text()


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_clone_without_data_takes_what_was_pushed(repository):
    dvc(repository, "push")
    clone = repository.parent / "clone"
    git(repository.parent, "clone", "-q", str(repository), str(clone))
    assert "Running stage" not in dvc(clone, "repro", "--dry", "--allow-missing")
    pulled = dvc(clone, "repro", "--pull")
    assert "Running stage" not in pulled
    left = clone / "mlruns" / "pipeline" / "train"
    facts = json.loads((left / "run.json").read_text())
    assert facts["run_id"] == recorded(repository)["0"].run_id
    darkroom = [sys.executable, "-m", "darkroom"]
    call(clone, *darkroom, "evaluate", f"checkpoint={left}", f"paths.data={clone / 'data'}", "output=scores")
    again = json.loads((clone / "scores" / "metrics.json").read_text())
    assert again["test"] == json.loads((left / "metrics.json").read_text())["test"]


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_no_run_of_an_experiment_is_lost(repository):
    """Aside and queued experiments run in folders that DVC deletes; their runs are in the repository's store."""
    setting = "conf/pipeline.yaml:overrides='seed={} model.network.width=8'"
    dvc(repository, "exp", "run", "--temp", "-n", "aside", "-S", setting.format(1))
    for seed in (2, 3):
        dvc(repository, "exp", "run", "--queue", "-n", f"queued-{seed}", "-S", setting.format(seed))
    dvc(repository, "exp", "run", "--run-all")
    runs = recorded(repository)
    assert {seed: run.tags.get("dvc.exp") for seed, run in runs.items()} == {
        "0": None,
        "1": "aside",
        "2": "queued-2",
        "3": "queued-3",
    }
    assert all(run.status == "FINISHED" for run in runs.values())
    assert all((run.folder / "checkpoints" / "best.ckpt").is_file() for run in runs.values())
    assert runs["1"].params["model.network.width"] == "8"
    assert (repository / "conf" / "pipeline.yaml").read_text() == "overrides: seed=0\n"

    dvc(repository, "exp", "apply", "queued-3")
    facts = json.loads((repository / "mlruns" / "pipeline" / "train" / "run.json").read_text())
    assert facts["run_id"] == runs["3"].run_id


# --- experiments in a fresh clone of this repository, which has neither data nor DVC's cache nor a remote -------------


@pytest.fixture
def fresh(tmp_path, empty_database):
    """The tracked files of this repository as they are now, committed in a repository of their own."""
    folder = tmp_path / "clone"
    for name in git(ROOT, "ls-files", "-z").split("\0"):
        if name and (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    git(folder, "init", "-q")
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "fresh")
    shutil.copy(empty_database, folder / "mlruns" / "mlflow.db")
    return folder


def changed(folder):
    return git(folder, "status", "--porcelain").split()


def trial(overrides):
    experiment = ["-S", "conf/pipeline.yaml:trial.experiment=classifier/digits"]
    return ["trial", *experiment, "-S", f"conf/pipeline.yaml:trial.overrides='profile=smoke {overrides}'"]


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_experiments_run_in_a_fresh_clone_and_change_no_tracked_file(fresh):
    small = "budget.images=320 model.network.width=4 seed="
    dvc(fresh, "exp", "run", "--temp", "-n", "aside", *trial(f"{small}1"))
    for seed in (2, 3):
        dvc(fresh, "exp", "run", "--queue", "-n", f"queued-{seed}", *trial(f"{small}{seed}"))
    dvc(fresh, "exp", "run", "--run-all")
    assert changed(fresh) == []
    runs = recorded(fresh)
    assert {seed: run.tags["dvc.exp"] for seed, run in runs.items()} == {
        "1": "aside",
        "2": "queued-2",
        "3": "queued-3",
    }
    table = list(csv.DictReader(dvc(fresh, "exp", "show", "--csv").splitlines()))
    accuracies = {row["Experiment"]: float(row["test.accuracy"]) for row in table if row["Experiment"]}
    assert set(accuracies) == {"aside", "queued-2", "queued-3"}
    assert all(0 < accuracy < 1 for accuracy in accuracies.values())

    dvc(fresh, "exp", "branch", "queued-3", "winner")
    git(fresh, "switch", "-q", "winner")
    dvc(fresh, "checkout", "trial")
    facts = json.loads((fresh / "mlruns" / "pipeline" / "trial" / "run.json").read_text())
    assert facts["run_id"] == runs["3"].run_id
    assert changed(fresh) == []

    failed = attempt(fresh, sys.executable, "-m", "dvc", "exp", "run", "--temp", *trial("seed=abc"))
    assert failed.returncode == 255
    assert "'seed' is 'abc', but a whole number was expected" in failed.stdout + failed.stderr
    assert changed(fresh) == []


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_an_experiment_in_place_succeeds_too_and_changes_what_git_restores(fresh):
    dvc(fresh, "exp", "run", "-n", "here", *trial("budget.images=320 model.network.width=4"))
    assert changed(fresh) == ["M", "conf/pipeline.yaml", "M", "dvc.lock"]
    git(fresh, "restore", "conf/pipeline.yaml", "dvc.lock")
    assert changed(fresh) == []
    assert "here" in dvc(fresh, "exp", "show", "--csv")
