"""What interruptions cost: commands that are killed at random moments, gone on with, and compared to the bit.

    python -m benchmarks.kills [kills] [seed] [act …]     # 60 kills, seed 0, of everything

Every family is trained once without interruption, and everything that is done with a run is done once; that is what
is right. Then each in turn is killed by SIGKILL, SIGTERM, SIGINT or SIGHUP at a random moment between its beginning and
its end, scoring included, and gone on with (``resume=``, or the same line typed again) until it is done. Compared are
weights, every point of every curve, numbers, and files; looked for is what was left behind: runs that are RUNNING,
files that are half written, locks that are held, processes that live on. Prints a line a kill and counts at the end;
exits with 1 when anything differs.
"""

import hashlib
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import filelock
import psutil
import torch

from darkroom import images
from darkroom.tracking import checkpoints
from darkroom.tracking.reaping import ALIVE
from darkroom.tracking.store import RunRecord, Store

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
SMALL = (
    "data.image_size=8 budget.images=640 saving.every_minutes=0.0005 saving.samples=10 saving.samples_every=320"
    " tracking.log_every=128 tracking.experiment=kills"
)
SCORED = "metrics.every=256"
FAMILIES = {
    "gan": f"model.generator.width=4 model.discriminator.width=4 metrics.images=100 metrics.test_images=100 {SCORED}",
    "classifier": f"model=classifier model.network.width=4 {SCORED}",
    "vae": "model=vae network@model.encoder=mlp_encoder network@model.decoder=mlp_decoder model.latent_dim=4"
    " model.components=2 model.flow_steps=50 metrics.images=100 metrics.test_images=100 metrics.nll_samples=2"
    f" {SCORED}",
    "autoencoder": "model=autoencoder network@model.encoder=mlp_encoder network@model.decoder=mlp_decoder"
    f" model.latent_dim=4 model.flow_steps=50 metrics.images=100 metrics.test_images=100 {SCORED}",
    "restorer": f"model=restorer data=digits data.image_size=16 model.network.width=4 model.network.window=16 {SCORED}",
    "sequence": "model=sequence data=moving_digits data.source.train=128 data.source.val=32 data.source.test=32"
    f" budget.images=128 data.image_size=null data.source.canvas=16 data.source.digit_size=8 {SCORED}",
    "style": "model=adain data=shapes data.image_size=32 data.batch_size=16 data.source.train=256 data.source.val=64"
    f" data.source.test=64 budget.images=128 {SCORED}",
    "pixelrnn": f"model=pixelrnn {SCORED}",
}
TIMES = re.compile(r"system/.*|train/images_per_second|cost/(seconds|images_per_second|peak_memory.*)")
PARTIAL = re.compile(r"\..*\.(partial|before)|\.partial-.*")
# What says when and where a run was trained rather than what came of it.
CIRCUMSTANCES = re.compile(r"environment\.json|git\.diff|study\.json|trials\.csv|.*\.log|(importance|parallel)\.png")
DEADLINE = 900.0  # seconds for any one command


@dataclass(frozen=True)
class Act:
    """Something that is typed; where it leaves a run, that is gone on with, and else it is typed again."""

    name: str
    line: str
    output: str | None = None  # the file or folder that it leaves
    trains: bool = False


ACTS = [
    *(Act(name, f"train {SMALL} {line}", trains=True) for name, line in FAMILIES.items()),
    Act(
        "sweep",
        f"sweep search=classifier search.pruner=null search.sampler=random {SMALL} {FAMILIES['classifier']}"
        " budget.images=256 metrics.every=128 trials=2",
    ),
    Act("generate", "generate checkpoint={gan} count=200 output=drawn", output="drawn"),
    Act("edit", "edit operation=denoise checkpoint={restorer} input=pictures output=edited overwrite=true", "edited"),
    Act("evaluate", "evaluate checkpoint={classifier} output=scored", output="scored"),
]


@dataclass
class Found:
    """What an act has left: equal for equal results."""

    weights: dict[str, str] = field(default_factory=dict)
    curves: dict[str, Any] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)

    def differences(self, right: "Found") -> list[str]:
        """Return what differs from what is right."""
        return [
            f"{kind} {name}"
            for kind in ("weights", "curves", "files")
            for name in sorted({*getattr(self, kind), *getattr(right, kind)})
            if getattr(self, kind).get(name) != getattr(right, kind).get(name)
        ]


class Place:
    """A project folder of its own in which things are typed."""

    def __init__(self, folder: Path, cache: Path) -> None:
        self.folder = folder
        self.environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith(("MLFLOW_", "DVC_"))},
            "DARKROOM_ROOT": str(folder),
            "DARKROOM_CACHE": str(cache),
            "OMP_NUM_THREADS": "1",
        }

    @property
    def store(self) -> Store:
        """The runs of the place."""
        return Store(self.folder, f"sqlite:///{self.folder / 'mlruns' / 'mlflow.db'}", 20.0)

    def start(self, line: str) -> "subprocess.Popen[str]":
        """Type a line."""
        command = [sys.executable, "-m", "darkroom", *line.split()]
        with (self.folder / "said.txt").open("a") as said:
            return subprocess.Popen(
                command, cwd=self.folder, env=self.environment, stdin=subprocess.DEVNULL, stdout=said, stderr=said,
                text=True, start_new_session=True,
            )  # fmt: skip

    def runs(self) -> list[RunRecord]:
        """Return every run there is, those that edit too."""
        if not (self.folder / "mlruns" / "mlflow.db").exists():
            return []
        return [run for run in self.store._search("", None, None) if not run.name.startswith("given-")]


def outcome(place: Place, act: Act) -> Found:
    """Return what is left in a place."""
    found = Found()
    for run in place.runs():
        if run.status != "FINISHED":
            continue
        label = re.sub(r"-\d+$", "", run.name)
        for which in ("best", "last"):
            if (path := run.folder / "checkpoints" / f"{which}.ckpt").exists():
                found.weights[f"{label}/{which}"] = _digest_of_state(checkpoints.load(path)["state_dict"])
        for name in run.metrics:
            if not TIMES.fullmatch(name):
                points = place.store.client.get_metric_history(run.run_id, name)
                found.curves[f"{label}/{name}"] = [(point.step, repr(point.value)) for point in points]
        if act.trains:
            found.files |= {f"run/{name}": digest for name, digest in _digests(run.folder).items()}
    if act.output is not None:
        left = _digests(place.folder / act.output)
        found.files |= {name: digest for name, digest in left.items() if name != "run.json"}
    return found


def _digest_of_state(state: dict[str, torch.Tensor]) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(state.items()):
        digest.update(name.encode() + tensor.contiguous().cpu().numpy().tobytes())
    return digest.hexdigest()


def _digests(folder: Path) -> dict[str, str]:
    """Return the files of a folder; of those that hold ids, times or weights, only how many there are."""
    found: Counter[str] = Counter()
    contents: dict[str, str] = {}
    for file in sorted(folder.rglob("*")) if folder.is_dir() else [folder]:
        name = re.sub(r"\+timestamp.*(?=\.)", "", file.relative_to(folder.parent).as_posix())
        if not file.is_file() or CIRCUMSTANCES.fullmatch(file.name):
            continue
        found[name] += 1
        plain = file.suffix in (".json", ".csv", ".png", ".gif", ".npz") and file.name != "metrics.json"
        contents[name] = hashlib.sha256(file.read_bytes()).hexdigest() if plain else ""
        if file.name in ("phases.json", "config.yaml") or "explained" in file.name:  # with times, or the run's name
            contents[name] = ""
    return {name: f"{count} {contents[name]}" for name, count in found.items()}


def left_over(place: Place) -> list[str]:
    """Return what should not be there any more."""
    runs = place.runs()
    found = [f"{run.name} is RUNNING" for run in runs if run.status == "RUNNING"]
    for path in place.folder.rglob("*"):
        if PARTIAL.fullmatch(path.name):
            found.append(path.relative_to(place.folder).as_posix())
    for run in runs:
        lock = filelock.FileLock(run.folder.parent / ALIVE)
        try:
            lock.acquire(blocking=False)
            lock.release()
        except filelock.Timeout:
            found.append(f"the lock of {run.name} is held")
    return found + [f"process {process.pid}" for process in _alive(place)]


def _alive(place: Place) -> list[psutil.Process]:
    """Return the processes that were started in a place, whoever started them."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.pid != os.getpid() and process.environ().get("DARKROOM_ROOT") == str(place.folder):
                found.append(process)
        except (psutil.Error, OSError):
            continue
    return [process for process in found if process.status() != psutil.STATUS_ZOMBIE]


def next_line(place: Place, act: Act) -> str:
    """Return what a person would type after an interruption."""
    place.store.reap()
    for run in place.runs():
        if act.trains and run.status == "KILLED" and (run.folder / "checkpoints" / "last.ckpt").exists():
            return f"train resume={run.run_id}"
    return act.line


def finish(place: Place, act: Act) -> int:
    """Go on until it is done; return how often that took."""
    for attempt in range(1, 6):
        process = place.start(next_line(place, act))
        if process.wait(timeout=DEADLINE) == 0:
            return attempt
    raise RuntimeError(f"{act.name} does not come to an end: see {place.folder / 'said.txt'}")


def struck(place: Place, act: Act, number: signal.Signals, moment: float) -> str | None:
    """Type an act and send it a signal after so many seconds; return how it ended, None when it was done before."""
    process = place.start(act.line)
    try:
        process.wait(timeout=moment)
        return None
    except subprocess.TimeoutExpired:
        process.send_signal(number)
    code = process.wait(timeout=DEADLINE)
    deadline = time.monotonic() + 120  # trials of a sweep save their states and end by themselves
    while _alive(place) and time.monotonic() < deadline:
        time.sleep(0.2)
    expected = -number if number == signal.SIGKILL else 128 + number
    return f"exit {code}" if code in (expected, 0) or code == -number else f"exit {code}, {expected} was expected"


def draw_pictures(folder: Path, count: int = 24) -> None:
    """Write pictures to edit."""
    generator = torch.Generator().manual_seed(0)
    for number in range(count):
        noise = torch.randint(0, 256, (1, 40, 48), generator=generator, dtype=torch.uint8)
        images.save_png(folder / f"{number:03d}.png", noise)


class Bench:
    """What is right, and what is done to see whether it still comes about."""

    def __init__(self, names: set[str]) -> None:
        self.base = Path(tempfile.mkdtemp(prefix="kills-"))
        self.cache = self.base / "cache"
        self.given = self.base / "given"
        self.given.mkdir()
        self.right: dict[str, tuple[Found, float]] = {}
        self.acts = [act for act in ACTS if not names or act.name in names]
        needed = {name for act in self.acts for name in re.findall(r"{(\w+)}", act.line)}
        self._named = {name: f"given-{name}" for name in needed}
        self.acts = [replace(act, line=act.line.format(**self._named)) for act in self.acts]

    def prepare(self) -> None:
        """Train what is to be drawn, edited and scored with, and see how everything comes out undisturbed."""
        draw_pictures(self.given / "pictures")
        place = Place(self.given, self.cache)
        for act in ACTS:
            if act.name in self._named:
                assert place.start(f"{act.line} name={self._named[act.name]}").wait(timeout=DEADLINE) == 0, self.given
        for act in self.acts:
            with self.place(act) as place:
                for _ in range(2 if act.trains else 1):  # the first also fills caches, which takes its time
                    began = time.monotonic()
                    assert place.start(act.line).wait(timeout=DEADLINE) == 0, place.folder
                    seconds = time.monotonic() - began
                self.right[act.name] = outcome(place, act), seconds
            print(f"right  {act.name}: {seconds:.1f} s, {len(self.right[act.name][0].curves)} curves", flush=True)

    @contextmanager
    def place(self, act: Act) -> Iterator[Place]:
        """Yield a folder with the runs that an act needs, and nothing else."""
        folder = Path(tempfile.mkdtemp(prefix="place-", dir=self.base))
        if not act.trains:
            shutil.copytree(self.given, folder, dirs_exist_ok=True)
        yield Place(folder, self.cache)
        shutil.rmtree(folder)

    def kill(self, number: int, act: Act, sent: signal.Signals, share: float) -> bool:
        """Kill an act after a share of its time, go on, print what came of it, and say whether it is right."""
        expected, whole = self.right[act.name]
        with self.place(act) as place:
            ended = struck(place, act, sent, share * whole)
            if ended is not None:
                attempts = finish(place, act)
                troubles = outcome(place, act).differences(expected) + left_over(place)
                troubles += [ended] if "was expected" in ended else []
                said = f"WRONG: {'; '.join(troubles[:6])}" if troubles else "the same, nothing left"
                when = f"after {share * whole:5.1f} s, {ended}, {attempts} more"
                print(f"{number:3}  {act.name:12} {sent.name:8} {when}: {said}", flush=True)
                if troubles:
                    shutil.copytree(place.folder, self.base / f"wrong-{number}")
                return not troubles
        return self.kill(number, act, sent, 0.6 * share)  # it was done before: that was no kill


def main(kills: int, seed: int, names: set[str]) -> int:
    """Do it all; return how many kills did not come out right."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # in the background, what is started would ignore it
    chance, bench = random.Random(seed), Bench(names)
    bench.prepare()
    right = 0
    for number in range(kills):
        act = bench.acts[number % len(bench.acts)]
        sent = SIGNALS[(number + number // len(bench.acts)) % len(SIGNALS)]
        right += bench.kill(number + 1, act, sent, chance.uniform(0.1, 1.0))
    wrong = kills - right
    print(
        f"{kills} kills: {right} came out the same with nothing left, {wrong} wrong"
        + f" (see {bench.base})" * bool(wrong)
    )
    if not wrong:
        shutil.rmtree(bench.base)
    return wrong


if __name__ == "__main__":
    kills, seed = (int(word) for word in (*sys.argv[1:3], *("60", "0")[len(sys.argv[1:3]) :]))
    sys.exit(min(1, main(kills, seed, set(sys.argv[3:]))))
