"""What a sweep is worth that is killed again and again: every point once, none lost, none twice.

    DARKROOM_ROOT=<empty folder> python -m benchmarks.sweep 24 5 20 140     # trials, kills, after 20 to 140 s

The smallest classifier there is on digits, two workers; SIGKILL at random moments, in turns to the sweep alone and to
it with everything it started, then the same line typed again. Prints what became of it as JSON.
"""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import psutil

from darkroom import paths
from darkroom.tracking import tag
from darkroom.tracking.store import Store

EXPERIMENT = "sweep"
LINE = (
    "search=classifier",
    "search.pruner=null",
    "experiment=classifier/digits",
    "data.image_size=8",
    "model.network.width=4",
    "budget.images=256",
    "metrics.every=128",
    "saving.samples=10",
    f"tracking.experiment={EXPERIMENT}",
    "workers=2",
)


def harass(command: Sequence[str], kills: int, between: tuple[float, float], seed: int = 0) -> dict[str, Any]:
    """Type a sweep, kill it so many times, let it end, and count.

    It is killed at random moments, which are counted in seconds since it had its first process at work.
    """
    chance = random.Random(seed)
    Store.open(paths.root()).experiment_id(EXPERIMENT)
    log = paths.runs() / "sweep.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    killed = []
    with log.open("ab") as output:
        for number in range(kills):
            process = subprocess.Popen(command, stdout=output, stderr=output, stdin=subprocess.DEVNULL)
            if not _at_work(process):
                break
            time.sleep(chance.uniform(*between))
            if process.poll() is not None:
                break  # it was done before
            alone = number % 2 == 0
            victims = [psutil.Process(process.pid)]
            victims += [] if alone else victims[0].children(recursive=True)
            for victim in victims:
                try:
                    os.kill(victim.pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
            process.wait()
            killed.append({"alone": alone, "processes": len(victims), "finished": counted()["finished"]})
        code = subprocess.run(command, stdout=output, stderr=output, stdin=subprocess.DEVNULL, check=False).returncode
    return {"exit": code, "kills": killed, **counted()}


def counted() -> dict[str, Any]:
    """Return how many runs came to which end, and how many points they are."""
    store = Store.open(paths.root())
    store.reap()
    records = store.runs(EXPERIMENT)
    (parent,) = [record for record in records if tag.STUDY in record.tags]
    trials = [record for record in records if record.tags.get(tag.PARENT) == parent.run_id]
    finished = Counter(record.tags[tag.POINT] for record in trials if record.status == "FINISHED")
    recorded = json.loads((parent.folder / "study.json").read_text())["points"]
    return {
        "runs": dict(Counter(record.status for record in trials)),
        "finished": len(finished),
        "twice": sum(count > 1 for count in finished.values()),
        "recorded": dict(Counter(point["state"] for point in recorded)),
    }


def _at_work(process: "subprocess.Popen[bytes]", seconds: float = 240.0) -> bool:
    """Wait until a sweep has started a process; False when it ended instead."""
    end = time.monotonic() + seconds
    while process.poll() is None and time.monotonic() < end:
        for child in psutil.Process(process.pid).children():
            with suppress(psutil.Error):  # gone already
                if "-c" not in child.cmdline():  # which is what creates the database
                    return True
        time.sleep(0.1)
    return False


def main() -> None:
    """Measure and print."""
    trials, kills, low, high = (float(argument) for argument in sys.argv[1:5])
    command = [sys.executable, "-m", "darkroom", "sweep", *LINE, f"trials={trials:.0f}"]
    print(json.dumps(harass(command, int(kills), (low, high)), indent=2))


if __name__ == "__main__":
    main()
