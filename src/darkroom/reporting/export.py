"""What a run leaves in a folder of its own (``output=``): for pipelines, which keep folders and know no runs."""

import csv
import io
import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from darkroom import baselines, files
from darkroom.tracking import outputs

if TYPE_CHECKING:
    from darkroom.data.module import ImageData
    from darkroom.metrics.scores import Scores
    from darkroom.tracking.run import Run

_CURVES = ("train", "val", "health")  # what has many points: the first words of its metrics' names


def leave(
    folder: Path, run: "Run", data: "ImageData", checkpoint: Path, scores: "Scores", val: "Scores | None"
) -> None:
    """Write a folder that stands for a finished run.

    ``run.json`` has the run's id, data and protocols; ``metrics.json`` numbers alone, for ``dvc metrics``;
    ``curves/<word>.csv`` a row for each number of images seen; ``samples/<key>.png`` the last picture of each series;
    ``best.ckpt`` the checkpoint that was scored.

    Raises:
        UserError: the folder holds other files than an earlier result's.
    """
    facts = {
        "run_id": run.id,
        "run_name": run.name,
        "experiment": run.experiment,
        "data": digests(data),
        "checkpoint": checkpoint.stem,
        "test": scores.written(),
        "val": val.written() if val else None,
    }
    run.flush()
    with outputs.writing(folder, outputs.RUN, facts) as target:
        numbers = {"test": scores.own, "val": val.own if val else {}}
        cost = {name: points[max(points)] for name, points in _curves(run, "cost/").items()}
        _write(target / "metrics.json", numbers | {"cost": cost})
        for word in _CURVES:
            if table := _table(baselines.own(_curves(run, f"{word}/"), scores.references)):
                files.write(target / "curves" / f"{word}.csv", table.encode())
        for key, picture in last_pictures(run.folder / "samples").items():
            (target / "samples").mkdir(exist_ok=True)
            shutil.copyfile(picture, target / "samples" / f"{key}{picture.suffix}")
        shutil.copyfile(checkpoint, target / outputs.CHECKPOINT)


def leave_scores(folder: Path, scores: "Scores", split: str, facts: dict[str, Any]) -> None:
    """Write a folder with what a model scored on a split: numbers, protocol, pictures.

    Raises:
        UserError: the folder holds other files than an earlier result's.
    """
    from darkroom import images

    content = {**facts, "split": split, **scores.written()}
    with outputs.writing(folder, outputs.RUN, content) as target:
        _write(target / "metrics.json", {split: scores.own})
        for key, picture in scores.pictures.items():
            images.save_png(target / "pictures" / f"{key}.png", picture)
        for key, frames in scores.animations.items():
            images.save_gif(target / "pictures" / f"{key}.gif", frames)


def digests(data: "ImageData") -> dict[str, Any]:
    """Return what data are known by, on a run and in ``data.json``."""
    return {"name": data.name, "digest": data.digest, "splits": data.split_digests}


def last_pictures(folder: Path) -> dict[str, Path]:
    """Return the last picture of each series ``<key>_<step>.png`` (or ``.gif``) in a folder."""
    found: dict[str, Path] = {}
    for path in sorted(folder.glob("*_*.*"), key=lambda path: int(path.stem.rpartition("_")[2])):
        found[path.stem.rpartition("_")[0]] = path
    return found


def _curves(run: "Run", prefix: str) -> dict[str, dict[int, float]]:
    return {name.removeprefix(prefix): points for name, points in run.curves(prefix).items()}


def _table(curves: dict[str, dict[int, float]]) -> str:
    """Return curves as CSV: a column each, a row for each number of images seen; "" where there are none."""
    steps = sorted({step for points in curves.values() for step in points})
    if not steps:
        return ""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["images", *curves])
    for step in steps:
        table.writerow([step, *(points.get(step, "") for points in curves.values())])
    return text.getvalue()


def _write(path: Path, content: Any) -> None:
    files.write(path, (json.dumps(content, indent=2) + "\n").encode())
