"""A thousand inputs that are not what they should be, each read by the command that reads such an input.

    python -m benchmarks.mutations [count] [seed] [number]

Of every kind of input a valid one is made; it is changed by chance or by somebody who knows its format, and read in a
process of its own, forked from one that has imported everything. That must end well, or with one sentence and exit code
1 or 2, within seconds and 2 GB. What does not is told with its number: with all three arguments that one alone is read,
and what it printed is shown.
"""

import importlib
import os
import random
import resource
import shlex
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path

from benchmarks import mutation_inputs
from benchmarks.mutation_inputs import KINDS, Kind

SECONDS, MEGABYTES = 20, 2048  # of processor time, and of memory held at once
_PATIENCE = 6  # times that by the clock, on a machine with other work
_ESCAPED = 70  # exit code of a child that an exception escaped from
_MODULES = ("generate", "edit", "edit_files", "explain", "audit", "evaluate", "train", "prepare", "compare", "report",
            "reproduce")  # fmt: skip


@dataclass(frozen=True)
class Case:
    """One changed input, and how it ended."""

    number: int
    kind: Kind
    mutation: str
    outcome: str  # well, sentence, or what is wrong
    seconds: float
    megabytes: float
    said: str

    @property
    def fine(self) -> bool:
        """Whether that is how it should end."""
        return self.outcome == "well" or (self.outcome == "sentence" and not self.kind.succeeds)


def main() -> None:
    """Run, print the table, and exit with 1 when anything ended badly."""
    count, seed, only = ([*map(int, sys.argv[1:]), *(1000, 0, -1)[len(sys.argv) - 1 :]])[:3]
    os.environ["OMP_NUM_THREADS"] = "1"
    with tempfile.TemporaryDirectory(prefix="mutations-") as place:
        template = Path(place) / "template"
        template.mkdir()
        _import_everything()
        _prepare(template)
        numbers = range(count) if only < 0 else [only]
        cases = _all(template, Path(place), numbers, seed)
        _print(cases, only >= 0)
    sys.exit(0 if all(case.fine for case in cases) else 1)


def _import_everything() -> None:
    """Import what commands import, so that a fork need not; and compute nothing, since threads do not survive one."""
    import torch

    torch.set_num_threads(1)
    for name in _MODULES:
        importlib.import_module(f"darkroom.commands.{name}")
    for name in ("lab", "judging", "trained", "data.archives", "data.videos", "data.mnist", "data.cifar10",
                 "data.folder", "data.shapes", "metrics.generative", "callbacks.scoring", "models.gan",
                 "tracking.run", "tracking.contents", "reporting.summary", "reporting.export", "latents.sheets",
                 "operations.restoration", "operations.style"):  # fmt: skip
        importlib.import_module(f"darkroom.{name}")
    from mlflow.store.tracking import sqlalchemy_store  # noqa: F401
    from mlflow.tracking import MlflowClient  # noqa: F401


def _prepare(template: Path) -> None:
    """Make the valid inputs, in processes of their own."""
    mutation_inputs.write(template)
    for line in mutation_inputs.lines():
        child = _fork(template, line, None)
        _, status, _ = os.wait4(child, 0)
        if status:
            raise SystemExit(f"darkroom {line} failed:\n{_said(template)}")
    mutation_inputs.gather(template)
    preserve_rng_state = [_case(number, kind, "nothing", *_await(template, kind)) for number, kind in enumerate(KINDS)]
    if refused := [case for case in preserve_rng_state if case.outcome != "well"]:
        raise SystemExit("Inputs that nothing was done to are refused:\n" + "\n".join(map(_told, refused)))


def _await(template: Path, kind: Kind) -> tuple[int, resource.struct_rusage, str]:
    """Read an input as it is, in a copy of everything; return how that ended."""
    folder = template.with_name("preserve_rng_state")
    shutil.copytree(template, folder)
    _, status, usage = os.wait4(_fork(folder, kind.read, mutation_inputs.find(folder, kind)), 0)
    said = _said(folder)
    shutil.rmtree(folder)
    return status, usage, said


def _all(template: Path, place: Path, numbers: "range | list[int]", seed: int) -> list[Case]:
    """Read every changed input, as many at once as there are processors."""
    running: dict[int, tuple[int, Kind, str, Path, float]] = {}
    waiting, cases = list(reversed(numbers)), []
    while waiting or running:
        while waiting and len(running) < (os.cpu_count() or 1):
            number = waiting.pop()
            child, *begun = _begin(template, place, number, seed)
            running[child] = (number, *begun, time.monotonic())  # type: ignore[assignment]
        child, status, usage = os.wait4(-1, os.WNOHANG)
        if not child:
            for late, (*_, since) in running.items():
                if time.monotonic() - since > _PATIENCE * SECONDS:
                    os.kill(late, signal.SIGKILL)
            time.sleep(0.005)
            continue
        number, kind, mutation, folder, _ = running.pop(child)
        cases.append(_case(number, kind, mutation, status, usage, _said(folder)))
        if not cases[-1].fine:
            print(f"\n{_told(cases[-1])}", flush=True)
        shutil.rmtree(folder, ignore_errors=True)
    return cases


def _begin(template: Path, place: Path, number: int, seed: int) -> tuple[int, Kind, str, Path]:
    """Change an input in a copy of everything, and start what reads it."""
    chance = random.Random(f"{seed}/{number}")
    kind = KINDS[number % len(KINDS)]
    mutation = chance.choice(kind.mutations)
    folder = place / str(number)
    shutil.copytree(template, folder)
    path = mutation_inputs.find(folder, kind)
    stamp = path.stat()
    path.write_bytes(mutation(chance, path.read_bytes()))
    os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    return _fork(folder, kind.read, path), kind, mutation.__name__, folder


def _fork(folder: Path, read: object, path: Path | None) -> int:
    """Start what reads an input in a process of its own, and return that."""
    sys.stdout.flush()
    child = os.fork()
    if child:
        return child
    code = _ESCAPED
    try:
        os.chdir(folder)
        output = os.open(folder / ".said", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.environ |= {"DARKROOM_ROOT": str(folder), "DARKROOM_CACHE": str(folder / "cache")}
        if path is not None:
            _limit()
        code = _read(read, path)
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _limit() -> None:
    """Bound what the process may allocate beyond what it has, so that a bomb is no danger to the machine."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + 2 * MEGABYTES * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CPU, (2 * SECONDS, 3 * SECONDS))


def _read(read: object, path: Path | None) -> int:
    """Type a line, or call a function with a path; return the exit code."""
    from darkroom.errors import UserError

    if callable(read):
        try:
            read(path)
        except UserError as error:
            print(f"darkroom load: {error}", file=sys.stderr)
            return 2
        return 0
    line = str(read)
    name, *words = shlex.split(line)
    if "{words}" in words and path is not None:
        words[words.index("{words}")] = path.read_bytes().decode(errors="surrogateescape")
    sys.argv = ["darkroom", *words]
    try:
        importlib.import_module(f"darkroom.commands.{name}").main()
    except SystemExit as left:
        return left.code if isinstance(left.code, int) else int(left.code is not None)
    return 0


def _case(number: int, kind: Kind, mutation: str, status: int, usage: resource.struct_rusage, said: str) -> Case:
    seconds, megabytes = usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024
    sentences = [line for line in said.splitlines() if line.startswith("darkroom ") and ": " in line[:30]]
    code = os.waitstatus_to_exitcode(status)
    if code < 0:
        outcome = "killed" if -code in (signal.SIGKILL, signal.SIGXCPU) else signal.Signals(-code).name
    elif "Traceback (most recent call last)" in said or code == _ESCAPED:
        outcome = "traceback"
    elif code not in (0, 1, 2):
        outcome = f"exit {code}"
    elif (code == 2 and len(sentences) != 1) or (code == 1 and not said.strip()):
        outcome = f"{len(sentences)} sentences"
    elif seconds > SECONDS or megabytes > MEGABYTES:
        outcome = "slow" if seconds > SECONDS else "large"
    else:
        outcome = "sentence" if code else "well"
    return Case(number, kind, mutation, outcome, seconds, megabytes, said)


def _said(folder: Path) -> str:
    return (folder / ".said").read_text(errors="replace") if (folder / ".said").exists() else ""


def _told(case: Case) -> str:
    last = "\n".join(case.said.strip().splitlines()[-12:])
    return (f"number {case.number}, {case.kind.name}, {case.mutation}: {case.outcome}"
            f" ({case.seconds:.1f} s, {case.megabytes:.0f} MB)\n{last}")  # fmt: skip


def _print(cases: list[Case], whole: bool) -> None:
    """Print a row for each kind: how its inputs ended, and what the longest and the largest cost."""
    if whole:
        print(*(f"{_told(case)}\n{case.said}" for case in cases), sep="\n")
    rows: dict[str, list[Case]] = defaultdict(list)
    for case in cases:
        rows[case.kind.name].append(case)
    print(f"\n{'kind':24}{'inputs':>8}{'well':>8}{'sentence':>10}{'bad':>6}{'seconds':>9}{'MB':>7}")
    for name, found in [*sorted(rows.items()), ("all", cases)]:
        ended = Counter(case.outcome for case in found)
        bad = sum(not case.fine for case in found)
        most, held = max(case.seconds for case in found), max(case.megabytes for case in found)
        print(f"{name:24}{len(found):8}{ended['well']:8}{ended['sentence']:10}{bad:6}{most:9.1f}{held:7.0f}")


if __name__ == "__main__":
    main()
