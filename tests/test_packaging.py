import ast
import importlib.metadata
import os
import re
import shutil
import site
import subprocess
import sys
import tomllib
import zipfile
from collections import deque
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
WRITTEN = re.sub(r"^#.*\n", "", (ROOT / "requirements.lock").read_text(), flags=re.M).replace("\\\n", "").splitlines()
LOCK = [line.partition(" --hash=")[0].rstrip() for line in WRITTEN]
PINS = {canonicalize_name(pin.name): pin for pin in map(Requirement, LOCK)}
HASHES = {name: re.findall(r"--hash=sha256:(\S+)", line) for name, line in zip(PINS, WRITTEN, strict=True)}


def asked_for():
    """Every requirement of the project: its own, its extras', its developers', its build's."""
    project = PROJECT["project"]
    extras = [line for lines in project["optional-dependencies"].values() for line in lines]
    lines = [
        *project["dependencies"],
        *extras,
        *PROJECT["dependency-groups"]["dev"],
        *PROJECT["build-system"]["requires"],
    ]
    return [Requirement(line) for line in lines]


def pinned_version(name):
    (specifier,) = PINS[canonicalize_name(name)].specifier
    return specifier.version


# --- the lock ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("requirement", asked_for(), ids=str)
def test_requirement_is_pinned_inside_its_range(requirement):
    assert requirement.specifier.contains(pinned_version(requirement.name))


def test_lock_holds_exact_versions_and_nothing_else():
    assert [line for line in LOCK if not re.fullmatch(r"[\w.-]+==[\w.!+]+( ; [\w\s.'<>=!()]+)?", line)] == []
    assert len(PINS) == len(LOCK)
    assert "://" not in "".join(WRITTEN)


def test_every_file_that_may_be_installed_is_known_by_its_hash():
    for name, line in zip(PINS, WRITTEN, strict=True):
        assert HASHES[name], name
        assert all(re.fullmatch(r"[0-9a-f]{64}", found) for found in HASHES[name]), name
        assert len(set(HASHES[name])) == len(HASHES[name]) == line.count("--hash="), name
    for name in ("torch", "numpy", "pillow"):  # of which every platform and every Python has a file of its own
        assert len(HASHES[name]) > 10, name


def test_whatever_the_project_needs_here_is_pinned():
    installed = {canonicalize_name(d.metadata["Name"]): d for d in importlib.metadata.distributions()}
    waiting, seen, missing = deque(asked_for()), set(), set()
    while waiting:
        requirement = waiting.popleft()
        name = canonicalize_name(requirement.name)
        for extra in {"", *requirement.extras}:
            if (name, extra) in seen or name not in installed:
                continue
            seen.add((name, extra))
            pin = PINS.get(name)
            if pin is None or (pin.marker and not pin.marker.evaluate()):
                missing.add(name)
            for further in map(Requirement, installed[name].requires or []):
                if further.marker is None or further.marker.evaluate({"extra": extra}):
                    waiting.append(further)
    assert len(seen) > 100
    assert missing == set()


def test_what_one_platform_alone_has_carries_a_marker():
    only_linux = [name for name in PINS if name.startswith(("nvidia-", "cuda-")) or name == "triton"]
    assert only_linux
    for name in only_linux:
        assert not PINS[name].marker.evaluate({"sys_platform": "darwin", "platform_system": "Darwin"})


def test_whatever_is_imported_is_required():
    providers = importlib.metadata.packages_distributions()
    required = {canonicalize_name(Requirement(line).name) for line in PROJECT["project"]["dependencies"]}
    extras = PROJECT["project"]["optional-dependencies"].values()
    optional = {canonicalize_name(Requirement(line).name) for lines in extras for line in lines}
    strangers = set()
    for file in (ROOT / "src").rglob("*.py"):
        tree = ast.parse(file.read_text())
        # An extra is imported where its absence is caught, and nowhere else.
        caught = {
            node for way in ast.walk(tree) if isinstance(way, ast.Try) for step in way.body for node in ast.walk(step)
        }
        for node in ast.walk(tree):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names = [node.module]
            for top in {name.partition(".")[0] for name in names} - sys.stdlib_module_names - {"darkroom"}:
                allowed = required | optional if node in caught else required
                if not allowed & {canonicalize_name(provider) for provider in providers.get(top, ())}:
                    strangers.add(f"{top} in {file.relative_to(ROOT)}")
    assert strangers == set()


# --- make -------------------------------------------------------------------------------------------------------------


def make(*words):
    environment = {
        key: value for key, value in os.environ.items() if not key.startswith(("MAKE", "MFLAGS", "VENV", "BUDGET"))
    }
    done = subprocess.run(["make", "-C", ROOT, "-s", "-n", *words], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.fixture
def environment(tmp_path):
    """A folder that passes for an environment installed just now."""
    (tmp_path / ".installed").touch()
    return tmp_path


def test_no_file_but_those_of_the_lock_is_installed_and_other_locks_need_no_hashes(environment):
    new = f"VENV={environment / 'new'}"
    (ours,) = (line for line in make("install", new) if "requirements.lock" in line)
    assert "--require-hashes" in ours.split()
    other = environment / "oldest.txt"
    other.touch()
    (theirs,) = (line for line in make("install", new, f"LOCK={other}") if "oldest.txt" in line)
    assert "--require-hashes" not in theirs.split()


def test_the_lock_is_made_anew_by_one_command_without_the_address_of_an_index():
    lines = "\n".join(make("lock"))
    (compiled,) = re.findall(r"uv pip compile (.*(?:\n.*)?--output-file requirements\.lock)", lines)
    for word in ("pyproject.toml", "--universal", "--all-extras", "--generate-hashes", "--no-config"):
        assert word in compiled.split()
    assert "--upgrade" not in lines
    assert "--upgrade" in "\n".join(make("lock", "UPGRADE=1"))
    assert re.search(r"install .*\buv==[\d.]+$", lines, re.M)
    assert "://" not in lines
    header = (ROOT / "requirements.lock").read_text().splitlines()[:2]
    assert header[1] == "#    make lock"


def test_makefile_is_short_and_explains_itself():
    text = (ROOT / "Makefile").read_text()
    assert len(text.splitlines()) <= 70
    (phony,) = re.findall(r"^\.PHONY: (.*)$", text, re.M)
    assert phony.split() == re.findall(r"^(\w+):.*  ## \w", text, re.M)


@pytest.mark.parametrize(
    "target", ["install", "demo", "test", "slow", "lint", "check", "dashboard", "pipeline", "judges"]
)
def test_environment_is_made_once(target, environment):
    first = make(target, f"VENV={environment / 'new'}")
    again = make(target, f"VENV={environment}")
    assert sum("pip install" in line for line in first) == 2
    assert not any("pip" in line or "venv" in line for line in again)


def test_budget_shortens_the_demo(environment):
    (line,) = make("demo", f"VENV={environment}", "BUDGET=smoke")
    assert line.endswith("darkroom train experiment=gan/digits profile=smoke")


def test_clean_leaves_results_alone():
    assert not re.search(r"mlruns|data|conf|\.venv|\.dvc|git", " ".join(make("clean")))


def test_every_shipped_judge_is_made_again(environment):
    shipped = {path.stem.rpartition("-")[0] for path in (ROOT / "src/darkroom/judges/shipped").glob("*.safetensors")}
    (line,) = make("judges", f"VENV={environment}")
    assert set(re.search(r"for data in ([\w ]+);", line).group(1).split()) == shipped


def test_the_pipeline_is_what_dvc_finds_changed(environment):
    (line,) = make("pipeline", f"VENV={environment}")
    assert line.endswith("dvc repro")


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_shipped_judge_is_made_again(tmp_path):
    """On another processor sums are rounded otherwise: there it is another judge, as good, and no published FID its."""
    from darkroom.judges.judge import Judge

    command = ["darkroom", "judge", "data=digits", "output=judges/digits"]
    environment = outside(tmp_path) | {"DARKROOM_ROOT": str(tmp_path), "OMP_NUM_THREADS": "2"}
    subprocess.run([sys.executable, "-m", *command], cwd=tmp_path, env=environment, check=True)
    (made,) = (tmp_path / "judges" / "digits").glob("*.safetensors")
    (shipped,) = (ROOT / "src" / "darkroom" / "judges" / "shipped").glob("digits-*.safetensors")
    again, first = Judge.load(made), Judge.load(shipped)
    assert again.certificate is not None
    assert again.certificate.passed
    assert again.training_record.val_accuracy == pytest.approx(first.training_record.val_accuracy, abs=0.01)
    assert again.certificate.split_digest == first.certificate.split_digest
    assert made.with_suffix(".png").is_file()


# --- the wheel --------------------------------------------------------------------------------------------------------


def outside(folder):
    """The environment of a person who has the package and nothing of the repository."""
    ours = ("DARKROOM_", "DVC_", "MLFLOW_", "PYTHONPATH")
    kept = {key: value for key, value in os.environ.items() if not key.startswith(ours)}
    return kept | {"DARKROOM_CACHE": str(folder / "cache")}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, made from a checkout in which somebody has local settings."""
    checkout = tmp_path_factory.mktemp("checkout")
    for part in ("src", "conf"):
        shutil.copytree(ROOT / part, checkout / part, ignore=shutil.ignore_patterns("__pycache__"))
    for part in ("pyproject.toml", "README.md", "LICENSE", ".gitignore"):
        shutil.copy(ROOT / part, checkout / part)
    (checkout / "conf" / "local").mkdir(exist_ok=True)
    (checkout / "conf" / "local" / "default.yaml").write_text("paths: {data: /home/somebody}\n")
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-q", "-w", "dist", "."]
    subprocess.run(command, cwd=checkout, check=True)
    (made,) = (checkout / "dist").glob("*.whl")
    return made


@pytest.fixture(scope="module")
def darkroom(wheel, tmp_path_factory):
    """Run ``darkroom …`` as installed from the wheel, in a folder, beside the packages of this environment."""
    home = tmp_path_factory.mktemp("installed")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", home], check=True)
    python = home / "bin" / "python"
    (packages,) = (home / "lib").glob("python*/site-packages")
    (packages / "beside.pth").write_text("\n".join(site.getsitepackages()))
    subprocess.run(
        [sys.executable, "-m", "pip", "--python", python, "install", "-q", "--no-deps", "--force-reinstall", wheel],
        check=True,
    )

    def run(folder, *words):
        command = [home / "bin" / "darkroom", *words]
        return subprocess.run(
            command, cwd=folder, env=outside(home), capture_output=True, text=True, stdin=subprocess.DEVNULL
        )

    return run


@pytest.mark.slow
def test_wheel_carries_configurations_judges_and_the_page_and_nothing_of_this_machine(wheel):
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert all(name.startswith("darkroom/") for name in names)
    ours = (ROOT / "conf").rglob("*.yaml")
    relative = {file.relative_to(ROOT / "conf") for file in ours if file.parent.name != "local"}
    assert {name for name in names if name.startswith("darkroom/conf/")} == {
        f"darkroom/conf/{file}" for file in relative
    }
    judges = {f"darkroom/judges/shipped/{file.name}" for file in (ROOT / "src/darkroom/judges/shipped").iterdir()}
    assert judges
    assert judges <= names
    room = ROOT / "src/darkroom/reporting"
    page = {file.relative_to(room) for file in room.rglob("*.*") if file.suffix in (".css", ".html", ".js")}
    assert len(page) > 2
    assert {f"darkroom/reporting/{file}" for file in page} <= names


@pytest.mark.slow
def test_wheel_checks_and_prints_its_configurations(darkroom, tmp_path):
    checked = darkroom(tmp_path, "check")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    printed = darkroom(tmp_path, "train", "--cfg", "job")
    assert printed.returncode == 0, printed.stderr
    assert yaml.safe_load(printed.stdout)["model"]["_target_"] == "darkroom.models.gan.Gan"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_wheel_trains_in_any_folder(darkroom, tmp_path):
    done = darkroom(tmp_path, "train", "profile=smoke")
    assert done.returncode == 0, done.stdout + done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["mlruns"]
    assert len(list(tmp_path.glob("mlruns/*/*/artifacts/checkpoints/last.ckpt"))) == 1


@pytest.mark.slow
def test_wheel_takes_configurations_of_ones_own(darkroom, tmp_path):
    mine = tmp_path / "my_conf" / "experiment" / "mine.yaml"
    mine.parent.mkdir(parents=True)
    recipe = "# @package _global_\ndefaults: [{override /data: shapes}, _self_]\nmodel: {latent_dim: 7}\n"
    mine.write_text(recipe)
    words = ("train", "--config-dir", "my_conf", "experiment=mine")
    printed = darkroom(tmp_path, *words, "--cfg", "job")
    assert printed.returncode == 0, printed.stderr
    assert yaml.safe_load(printed.stdout)["model"]["latent_dim"] == 7

    mine.write_text(recipe.replace("latent_dim", "latent_dims"))
    refused = darkroom(tmp_path, *words)
    assert refused.returncode == 2
    assert "latent_dims" in refused.stderr
    assert "did you mean" in refused.stderr.lower()
    assert len(refused.stderr.splitlines()) == 1
    assert not (tmp_path / "mlruns").exists()
