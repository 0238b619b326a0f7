"""One run on SLURM: the script that sbatch is given, and a job that was requeued goes on with its run."""

import hashlib
import os
import re
import shlex
import shutil
import subprocess
import sys
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from darkroom.errors import UserError
from darkroom.tracking import tag
from darkroom.tracking.store import RunRecord, Store

_BREAKS = ("Cc", "Zl", "Zp")  # control characters and separators of lines, as Unicode sorts them
_PARTING = "\"'`\\#;$"  # what ends a word for sbatch, or is more than a word
REQUEUE = 138  # how a process says that SIGUSR1 made it stop: 128 and the signal's number


def script(wanted: Mapping[str, Any], typed: Sequence[str], root: Path) -> str:
    """Return what is submitted: a shell script that trains what was ``typed``, as ``wanted`` (conf/submit/slurm.yaml).

    SLURM sends SIGUSR1 before the time is up; the run then saves its state, and the script puts the job back in line.

    Raises:
        UserError: something in it would not stay in its place in the script.
    """
    _check(wanted, typed, root)
    options = {
        "job-name": _name(typed),
        "nodes": wanted["nodes"],
        "ntasks-per-node": wanted["tasks"],
        "gpus-per-node": wanted["gpus"] or None,
        "cpus-per-task": wanted["cpus"],
        "mem": wanted["memory"],
        "time": wanted["minutes"],
        "signal": f"USR1@{wanted['warning']}",
        "partition": wanted["partition"],
        "account": wanted["account"],
        "constraint": wanted["constraint"],
        "output": _quoted(root / "mlruns" / "slurm" / "%j.log"),
    }
    lines = [f"#SBATCH --{key}={value}" for key, value in options.items() if value is not None]
    return "\n".join(
        [
            "#!/bin/bash",
            *lines,
            "#SBATCH --requeue",
            "#SBATCH --open-mode=append",
            "#SBATCH --export=ALL",
            f"cd {shlex.quote(str(Path.cwd()))}",
            *wanted["setup"],
            f"srun --cpus-per-task={wanted['cpus']} {shlex.join(line(wanted, typed))}",
            "code=$?",
            f'if [ $code -eq {REQUEUE} ]; then scontrol requeue "$SLURM_JOB_ID"; fi   # out of time: goes on later',
            "exit $code",
            "",
        ]
    )


def line(wanted: Mapping[str, Any], typed: Sequence[str]) -> list[str]:
    """Return the command that each process of the job runs."""
    kept = [word for word in typed if not re.match(r"\+*(submit|trainer)[=.]", word)]
    trainer = [word for word in typed if re.match(r"\+*trainer\.(?!devices=|num_nodes=)", word)]
    accelerator = [] if wanted["gpus"] else ["trainer.accelerator=cpu"]
    return [sys.executable, "-m", "darkroom", "train", *kept, "trainer=slurm", *accelerator, *trainer]


def submit(wanted: Mapping[str, Any], typed: Sequence[str], root: Path) -> None:
    """Hand the run to sbatch and print its answer, or for a dry run print what would be handed over.

    Raises:
        UserError: there is no sbatch here, or it refuses.
    """
    text = script(wanted, typed, root)
    if wanted["dry_run"]:
        print(text, end="")
        return
    if shutil.which("sbatch") is None:
        raise UserError(
            "submit=slurm needs sbatch, which is not here: type it where jobs are submitted, or submit.dry_run=true to"
            " see what would be."
        )
    (root / "mlruns" / "slurm").mkdir(parents=True, exist_ok=True)
    done = subprocess.run(["sbatch"], input=text, capture_output=True, text=True)
    if done.returncode:
        raise UserError(f"sbatch refused the job ({done.stderr.strip()}): see it with submit.dry_run=true.")
    print(done.stdout.strip())


def _check(wanted: Mapping[str, Any], typed: Sequence[str], root: Path) -> None:
    """Refuse what would end a line of the script and begin another, or an option and begin another.

    Raises:
        UserError: there is such a thing.
    """
    lines = [(f"submit.setup[{index}]", str(text)) for index, text in enumerate(wanted["setup"])]
    options = [(f"submit.{key}", str(wanted[key])) for key in wanted if key != "setup" and wanted[key] is not None]
    words = [(word.partition("=")[0].strip() or "what was typed", word) for word in typed]
    places = [("the project folder", str(root)), ("the current folder", str(Path.cwd()))]
    for name, text in [*lines, *options, *words, *places]:
        if broken := next((sign for sign in text if unicodedata.category(sign) in _BREAKS), None):
            raise UserError(
                f"{_shown(name)} holds {broken!r}, which may begin a new line in the script that is submitted: type it"
                " on one line, and several lines of setup as several entries."
            )
    for name, text in options:
        if parting := next((sign for sign in text if sign.isspace() or sign in _PARTING), None):
            raise UserError(
                f"{_shown(name)}={_shown(text)} holds {parting!r}, which would end it in the script that is submitted:"
                " type one word without quotes."
            )


def _shown(text: str) -> str:
    return text if text.isprintable() else repr(text)[1:-1]


def _quoted(path: Path) -> str:
    """Return a path as sbatch reads it in an option."""
    text = str(path).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"' if re.search(r"[\s\"'#\\]", str(path)) else str(path)


def job_of(typed: Sequence[str]) -> str | None:
    """Return what this line is called in its SLURM job, the same when the job is requeued; None outside one."""
    number = os.environ.get("SLURM_JOB_ID")
    if number is None:
        return None
    return f"slurm:{number}:{hashlib.sha256(' '.join(typed).encode()).hexdigest()[:8]}"


def requeued(store: Store, typed: Sequence[str]) -> RunRecord | None:
    """Return the run that this job began before it was requeued, if it left a state to go on from."""
    if os.environ.get("SLURM_RESTART_COUNT", "0") == "0":
        return None
    job = job_of(typed)
    begun = (record for record in store.runs() if record.tags.get(tag.JOB) == job)
    return next((record for record in begun if store.fetch(record, "checkpoints/last.ckpt") is not None), None)


def _name(typed: Sequence[str]) -> str:
    chosen = dict(word.split("=", 1) for word in typed if "=" in word)
    name = chosen.get("name") or chosen.get("experiment") or chosen.get("model") or "train"
    return re.sub(r"[^\w.-]+", "-", name)
