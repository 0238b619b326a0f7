"""What a run was made with: the machine, the packages, the state of the code.

A repository's own configuration can name programs for git to start: to watch files, to compare, to filter, to fetch. A
project that somebody else made must not choose what runs here, so all of them are switched off.
"""

import importlib.metadata
import os
import platform
import subprocess
import sys
from collections.abc import Mapping
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
_SECONDS = 20
# What names a program under any name: filter.<name>.clean and so on; an empty one is none.
_PROGRAMS = (".clean", ".smudge", ".process", ".textconv", ".command")
_OFF = {
    "core.fsmonitor": "false",
    "core.hookspath": os.devnull,
    "core.attributesfile": os.devnull,
    "protocol.allow": "never",  # a partial clone fetches what it lacks, by whatever its remote is configured to be
    "safe.barerepository": "explicit",
}


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
    plain = ("--no-ext-diff", "--no-textconv", "--no-color", "--ignore-submodules=dirty")
    diff = _git(folder, "diff", *plain, "HEAD", off=_configured(folder)) or ""
    if len(diff) > _DIFF_BYTES:
        diff = f"{diff[:_DIFF_BYTES]}\n[cut: the whole difference has {len(diff)} characters]\n"
    untracked = (_git(folder, "ls-files", "--others", "--exclude-standard", "--full-name", ":/") or "").splitlines()
    if untracked:
        listed = untracked[:_UNTRACKED_FILES]
        more = [f"[and {len(untracked) - len(listed)} more]"] if len(untracked) > len(listed) else []
        diff += "\n".join(["", "Untracked files (their contents are not recorded):", *listed, *more, ""])
    return diff


def _configured(folder: Path) -> dict[str, str]:
    """Return the programs of filters and of comparisons that are configured under names of their own, switched off."""
    keys = (_git(folder, "config", "--list", "--name-only", "-z") or "").split("\0")
    named = [key for key in keys if key.startswith(("filter.", "diff.")) and key.count(".") > 1]
    off = {key: "" for key in named if key.endswith(_PROGRAMS)}
    return off | {key: "false" for key in named if key.endswith(".required")}


def _git(folder: Path, *arguments: str, off: Mapping[str, str] | None = None) -> str | None:
    """Return what git says, or None when it is not installed, this is no repository, or it refuses."""
    try:
        done = subprocess.run(
            ["git", "--no-pager", "-c", "core.fsmonitor=false", "-C", str(folder), *arguments],
            capture_output=True,
            timeout=20,
            check=True,
            stdin=subprocess.DEVNULL,
            env=_own_settings({**_OFF, **(off or {})}),
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.decode(errors="replace")


def _own_settings(settings: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a git with settings that win over a repository's; a name may hold any sign there."""
    quiet = {"GIT_OPTIONAL_LOCKS": "0", "GIT_NO_LAZY_FETCH": "1", "GIT_TERMINAL_PROMPT": "0"}
    pairs = {"GIT_CONFIG_COUNT": str(len(settings))}
    for index, (key, value) in enumerate(settings.items()):
        pairs |= {f"GIT_CONFIG_KEY_{index}": key, f"GIT_CONFIG_VALUE_{index}": value}
    return {**os.environ, **quiet, **pairs}


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
