"""``darkroom evaluate``: score a run on a split, or pictures that others made."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from darkroom import paths
from darkroom.config import several
from darkroom.config.command import command
from darkroom.config.composing import compose
from darkroom.config.nodes import Node
from darkroom.errors import UserError
from darkroom.tracking import outputs
from darkroom.tracking.store import Store

if TYPE_CHECKING:
    from torch import Tensor

    from darkroom.data.archives import Stored

_AT_ONCE = 256  # pictures read together


@command("evaluate")
def main(config: Node) -> None:
    """Score what the configuration says."""
    if config["output"] is not None:
        outputs.check(Path(config["output"]).expanduser(), outputs.RUN)
    if (config["checkpoint"] is None) == (config["samples"] is None):
        raise UserError("Give one thing to score: checkpoint=<run>, or samples=<folder or .npz> with data=<data>.")
    if config["checkpoint"] is not None:
        _score_run(config)
    else:
        _score_samples(config)


def _score_run(config: Node) -> None:
    """Score the run's own checkpoint, and keep the numbers in the run."""
    from rich.console import Console

    from darkroom import judging, lab
    from darkroom.reporting import export, summary
    from darkroom.tracking import checkpoints

    store = Store.open(paths.root(), reading=True)
    path = checkpoints.locate(config["checkpoint"], store)
    model, description = lab.restore(path)
    recorded = description.config
    folder = config["paths"]["data"] or recorded["paths"]["data"]
    if config["sampler"] is not None:
        from darkroom.sampling import choose_sampler

        choose_sampler(model, config["sampler"])
    data = lab.open_data(config["data"], folder) if config["data"] else lab.open_recorded(recorded, folder)
    if tuple(data.image_shape) != tuple(description.image_shape):
        raise UserError(
            f"The run has pictures of {_size(description.image_shape)} and data={data.name} of"
            f" {_size(data.image_shape)}: set data.image_size and data.channels to match."
        )
    node = config["metrics"] or recorded["metrics"]
    if (seed := config["seed"]) is not None:
        node = several.changed(node, lambda part: {**part, "seed": seed} if "seed" in part else part)
    metrics = judging.open_metrics(node, data, summary.say, folder, model)
    lab.check_fit(metrics, model, data, [config["split"]])
    scores = metrics.score(model, data, config["split"], exact=True)
    summary.print_scores(Console(), scores, f"{config['checkpoint']}: {config['split']} split")
    if store.read_only:
        summary.say("not kept in the run: the run store is read-only")
    elif (kept_in := _folder_of_run(path, store)) is not None:
        name = f"{config['split']}-{path.stem}-{scores.protocol_digest[:8]}.json"
        kept = kept_in / "evaluations" / name
        _keep(kept, {**scores.written(), "checkpoint": path.stem})
        summary.say(f"kept as {summary.shown(kept)}")
    if config["output"] is not None:
        facts = {"run_id": lab.run_id_of(path), "checkpoint": path.stem, "data": export.digests(data)}
        export.leave_scores(Path(config["output"]).expanduser(), scores, config["split"], facts)


def _folder_of_run(checkpoint: Path, store: Store) -> Path | None:
    """Return the folder of the run that a checkpoint is of; None when the store does not hold it (any more)."""
    from darkroom import lab

    if (checkpoint.parent.parent / "config.yaml").is_file():
        return checkpoint.parent.parent
    run = lab.run_id_of(checkpoint)
    record = store.known(run) if run else None
    return record.folder if record is not None else None


def _score_samples(config: Node) -> None:
    """Score pictures from elsewhere against a data set."""
    from rich.console import Console

    from darkroom import judging, lab
    from darkroom.metrics.metric import judged
    from darkroom.reporting import export, summary

    if config["data"] is None:
        raise UserError("samples= needs something to compare with: type data=<data>, such as data=digits.")
    source = Path(config["samples"]).expanduser()
    if not source.exists():
        raise UserError(f"samples={source} does not exist: name a folder of pictures or an .npz file.")
    data = lab.open_data(config["data"], config["paths"]["data"])
    node = config["metrics"] or _default_metrics()
    metrics = judged(judging.open_metrics(node, data, summary.say, config["paths"]["data"]))
    if metrics is None:
        raise UserError("Pictures alone can be scored by metrics=generative or metrics=inception only.")
    images, labels = _pictures(source, data)
    scores = metrics.score_images(images, labels, data, config["split"], exact=True)
    summary.print_scores(Console(), scores, f"{source}: against the {config['split']} split of {data.name}")
    if config["output"] is not None:
        facts = {"samples": str(source), "data": export.digests(data)}
        export.leave_scores(Path(config["output"]).expanduser(), scores, config["split"], facts)


def _default_metrics() -> Node:
    return dict(compose("train", [])["metrics"])


def _pictures(source: Path, data: Any) -> tuple[Iterator["Tensor"], "Tensor | None"]:
    """Return uint8 pictures of the data's shape from a folder or an ``.npz``, and the labels if they are there."""
    import torch

    if source.is_dir():
        return _from_folder(source, data)
    images, labels = _arrays(source)
    channels, height, width = data.image_shape
    if images.dtype.name != "uint8" or len(images.shape) != 4 or images.shape[1:] != (height, width, channels):
        raise UserError(
            f"`images` in {source} is {images.dtype} {images.shape}, but uint8 (N, {height}, {width}, {channels}) was"
            f" expected to compare with data={data.name}: set data.image_size and data.channels to match."
        )
    if labels is not None and (labels.shape != images.shape[:1] or labels.dtype.kind not in "iu"):
        raise UserError(
            f"`labels` in {source} is {labels.dtype} {labels.shape}, but ({images.shape[0]},) was expected."
        )
    pictures = (torch.from_numpy(block.transpose(0, 3, 1, 2).copy()) for block in images.blocks(_AT_ONCE))
    if labels is None:
        return pictures, None
    asked = torch.from_numpy(labels.read().astype("int64"))
    _check_labels(asked, source, data)
    return pictures, asked


def _arrays(source: Path) -> tuple["Stored", "Stored | None"]:
    """Return ``images`` and ``labels`` (None when there are none) of an ``.npz``, of which nothing is unpickled."""
    from darkroom.data import archives

    try:
        arrays = archives.stored(source)
    except UserError as error:
        raise UserError(f"{source} is not an .npz file with an array `images` that can be scored: {error}") from error
    if "images" not in arrays:
        raise UserError(f"{source} is not an .npz file with an array `images` (N, H, W, C) of uint8.")
    return arrays["images"], arrays.get("labels")


def _from_folder(folder: Path, data: Any) -> tuple[Iterator["Tensor"], "Tensor | None"]:
    """Return the pictures of a folder in the order of their names, with the labels that ``generate`` leaves there."""
    from darkroom.data.folder import picture_files

    files = picture_files(folder)
    if not files:
        raise UserError(f"samples={folder} holds no pictures.")
    labels = _labels_of(listed, files) if (listed := folder / "labels.csv").is_file() else None
    if labels is not None:
        _check_labels(labels, listed, data)
    return (_read(file, data) for file in files), labels


def _labels_of(table: Path, files: list[Path]) -> "Tensor | None":
    """Return the labels in a table such as ``generate`` leaves; None of one with captions, or of other pictures."""
    import torch

    from darkroom.data import csv_tables

    (_, header), *listed = csv_tables.rows(table) or [(0, [])]
    if header[:2] == ["file", "caption"]:
        return None
    if header[:2] != ["file", "label"]:
        raise UserError(
            f"'{table}' was expected to begin with 'file,label', as generate leaves it, but begins with"
            f" '{','.join(header)[:80]}': take it out of the folder, or write it so."
        )
    known = {}
    for line, row in listed:
        label = row[1].strip() if len(row) > 1 else ""
        if not (label.isascii() and label.isdigit() and len(label) < 10):
            raise UserError(f"'{table}', line {line}, column label: the number of a class was expected, not"
                            f" '{label[:40]}'.")  # fmt: skip
        known[row[0]] = int(label)
    return torch.tensor([known[file.name] for file in files]) if all(file.name in known for file in files) else None


def _check_labels(labels: "Tensor", origin: object, data: Any) -> None:
    """Refuse labels that are of no class of the data."""
    classes = len(data.class_names)
    wrong = (labels < 0) | (labels >= classes)
    if classes and bool(wrong.any()):
        raise UserError(
            f"The labels in {origin} hold {int(labels[wrong][0])}, and data={data.name} has the classes 0 to"
            f" {classes - 1}: leave the labels out, or compare with the data that they are of."
        )


def _read(file: Path, data: Any) -> "Tensor":
    from darkroom.data.folder import read_picture
    from darkroom.picture_files import reading
    from darkroom.picture_files.picture import UnreadablePicture

    try:
        width, height = reading.size(file)
        image = read_picture(file, data.image_shape)
    except UnreadablePicture as error:
        raise UserError(f"{file} cannot be read as a picture ({error.reason}).") from None
    if (height, width) != tuple(data.image_shape[1:]):
        raise UserError(
            f"{file} has {height}x{width} pixels, but {data.image_shape[1]}x{data.image_shape[2]} was expected to"
            f" compare with data={data.name}: set data.image_size."
        )
    return image


def _keep(path: Path, content: dict[str, Any]) -> None:
    import json

    from darkroom import files

    files.write(path, (json.dumps(content, indent=2) + "\n").encode())


def _size(shape: Any) -> str:
    channels, height, width = shape
    return f"{height}x{width} with {channels} channel{'s' if channels > 1 else ''}"


if __name__ == "__main__":
    main()
