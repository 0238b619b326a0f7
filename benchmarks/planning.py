"""What planning an edit costs, in processor time, for so many pictures and for ten times as many.

    python -m benchmarks.planning [<the larger number of pictures>]

Planning is to be linear: ten times as many take ten times as long. Only names are planned, and the pictures are empty.
"""

import os
import sys
import tempfile
import time
from pathlib import Path

from darkroom.editing.planning import Request, planned

MOST, FOLDERS, REPEATS = 100_000, 100, 3


def main() -> None:
    """Measure and print."""
    most = int(sys.argv[1]) if len(sys.argv) > 1 else MOST
    with tempfile.TemporaryDirectory() as folder:
        took = {count: _measured(Path(folder) / str(count), count) for count in (most // 10, most)}
    for count, seconds in took.items():
        print(f"{count:,} pictures are planned in {seconds:.2f} s of processor time")
    print(f"ten times as many take {took[most] / took[most // 10]:.1f} times as long")


def _measured(folder: Path, count: int) -> float:
    """Return the least time of several plans."""
    for number in range(FOLDERS):
        (folder / f"{number:03d}").mkdir(parents=True)
    for number in range(count):
        os.close(os.open(folder / f"{number % FOLDERS:03d}" / f"{number:06d}.png", os.O_CREAT))
    times = []
    for _ in range(REPEATS):
        started = time.process_time()
        plan = planned(Request(str(folder), str(folder.parent / "out")), frozenset({".png"}))
        times.append(time.process_time() - started)
        assert len(plan.jobs) == count
    return min(times)


if __name__ == "__main__":
    main()
