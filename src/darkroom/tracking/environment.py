"""What a run was made with: the machine, the packages, the state of the code."""

import importlib.metadata
import os
import platform
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel

_PACKAGES = (
    "torch",
    "torchvision",
    "pytorch-lightning",
    "torchmetrics",
    "torch-fidelity",
    "mlflow",
    "hydra-core",
    "omegaconf",
    "dvc",
    "numpy",
    "scipy",
    "scikit-learn",
    "pillow",
    "darkroom-lab",
)
_DIFF_BYTES = 1_000_000
_UNTRACKED_FILES = 200


@dataclass(frozen=True)
class GitState:
    """The commit, and what stood uncommitted beside it (empty when nothing did)."""

    commit: str
    diff: str


class Described(BaseModel):
    """What `describe` returns, as far as others rely on it."""

    packages: dict[str, str] = {}


def describe() -> dict[str, Any]:
    """Return python, platform, package versions, processor, threads and GPUs, as plain containers."""
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: version for name in _PACKAGES if (version := _version(name))},
        "cpu": _processor(),
        "cores": os.cpu_count(),
        **_accelerators(),
    }


def git_state(*folders: Path) -> GitState | None:
    """Return the state of the first of these folders that lies in a git repository with a commit; None without one."""
    for folder in folders:
        commit = _git(folder, "rev-parse", "--verify", "HEAD")
        if commit:
            return GitState(commit.strip(), _uncommitted(folder))
    return None


def _uncommitted(folder: Path) -> str:
    diff = _git(folder, "diff", "HEAD") or ""
    if len(diff) > _DIFF_BYTES:
        diff = f"{diff[:_DIFF_BYTES]}\n[cut: the whole difference has {len(diff)} characters]\n"
    untracked = (_git(folder, "ls-files", "--others", "--exclude-standard", "--full-name", ":/") or "").splitlines()
    if untracked:
        listed = untracked[:_UNTRACKED_FILES]
        more = [f"[and {len(untracked) - len(listed)} more]"] if len(untracked) > len(listed) else []
        diff += "\n".join(["", "Untracked files (their contents are not recorded):", *listed, *more, ""])
    return diff


def _git(folder: Path, *arguments: str) -> str | None:
    """Return what git says, or None when it is not installed, this is no repository, or it refuses."""
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments],
            capture_output=True,
            timeout=20,
            check=True,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.decode(errors="replace")


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _accelerators() -> dict[str, Any]:
    """Ask torch about threads and GPUs if it is loaded; what does not use torch has no use for them either."""
    torch = sys.modules.get("torch")
    if torch is None:
        return {}
    gpus = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return {"threads": torch.get_num_threads(), "cuda": torch.version.cuda, "gpus": gpus}
