"""``darkroom generate``: draw pictures with a trained run."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from darkroom import paths
from darkroom.config import Node, command
from darkroom.errors import UserError, did_you_mean
from darkroom.tracking.store import Store

if TYPE_CHECKING:
    from torch import Tensor

    from darkroom.models.model import Sampler

_AT_ONCE = 256  # pictures in memory at a time


@command("generate")
def main(config: Node) -> None:
    """Draw what the configuration says."""
    output = Path(config["output"] or "samples.png").expanduser()
    write = _writer(output)

    from darkroom import lab
    from darkroom.commands import report
    from darkroom.models.model import Sampler
    from darkroom.tracking import checkpoints

    path = checkpoints.locate(config["checkpoint"], Store.open(paths.root()))
    model, description = lab.restore(path)
    if not isinstance(model, Sampler):
        raise UserError(
            f"checkpoint={config['checkpoint']} is a {description.family}, which draws nothing: name a run of a"
            " generator (darkroom compare lists them)."
        )
    labels = parse_labels(config["labels"], model.class_names if model.classes else [])
    try:
        write(model, config["count"], config["seed"], labels, config["truncation"], output)
    except OSError as error:
        raise UserError(f"output={output} cannot be written ({error.strerror}): name another place.") from error
    report.say(
        f"{config['count']} pictures of {path.parent.parent.parent.name[:8]} are in {report.shown(output.resolve())}"
    )


def parse_labels(given: Any, class_names: list[str]) -> list[int] | None:
    """Return the classes that ``0-9``, ``3``, ``[1,4,7]`` or names ask for; None when nothing was asked.

    Raises:
        UserError: an unknown class, or a model without classes.
    """
    if given is None:
        return None
    if not class_names:
        raise UserError(f"labels={given} was given, but this model is not conditional: leave labels out.")
    chosen: list[int] = []
    for part in given if isinstance(given, list) else str(given).split(","):
        word = str(part).strip()
        if word in class_names:
            asked = [class_names.index(word)]
        elif found := re.fullmatch(r"(\d+)\s*-\s*(\d+)", word):
            asked = list(range(int(found.group(1)), int(found.group(2)) + 1))
        else:
            asked = [int(word)] if word.isdecimal() else []
        if not asked or asked[-1] >= len(class_names):
            known = ", ".join(
                f"{index} {name}" if name != str(index) else name for index, name in enumerate(class_names)
            )
            hint = did_you_mean(word, class_names)
            raise UserError(f"labels={given}: there is no class '{word}'{hint}; known: {known}.")
        chosen += asked
    if not chosen:
        raise UserError("labels=[] asks for no class: leave labels out for all in turn.")
    return chosen


Writer = Callable[["Sampler", int, int, list[int] | None, float, Path], None]


def _writer(output: Path) -> Writer:
    """Choose by the name of the output, and refuse what would overwrite or cannot be, before the model is loaded."""
    suffix = output.suffix.lower()
    if suffix not in ("", ".png", ".npz"):
        raise UserError(f"output={output} has the ending '{suffix}': use a folder, a .png sheet or an .npz array.")
    if suffix == "" and output.is_file():
        raise UserError(f"output={output} is a file: name a folder, a .png sheet or an .npz array.")
    if suffix and output.is_dir():
        raise UserError(f"output={output} is a folder: name one without an ending.")
    return {"": _write_folder, ".png": _write_sheet, ".npz": _write_array}[suffix]


def _drawn(
    model: "Sampler", count: int, seed: int, labels: list[int] | None, truncation: float
) -> Iterator[tuple[int, "Tensor", list[int] | None]]:
    """Yield ``(first index, uint8 images, labels)`` in parts of constant size, with a bar when it takes long."""
    import torch
    from rich.console import Console
    from rich.progress import track

    from darkroom.images import to_uint8

    parts = range(0, count, _AT_ONCE)
    console = Console(stderr=True)
    for first in track(parts, "drawing", console=console, disable=len(parts) < 5 or not console.is_terminal):
        indices = torch.arange(first, min(first + _AT_ONCE, count))
        asked = None
        if model.classes:
            classes = labels if labels is not None else list(range(model.classes))
            asked = torch.tensor([classes[index % len(classes)] for index in indices.tolist()])
        images = model.sample(indices, seed, asked, truncation)
        yield first, to_uint8(images).cpu(), asked.tolist() if asked is not None else None


def _write_folder(
    model: "Sampler", count: int, seed: int, labels: list[int] | None, truncation: float, output: Path
) -> None:
    """Write ``000017.png`` and so on, and ``labels.csv`` when the model is conditional."""
    from darkroom import files
    from darkroom.images import save_png

    output.mkdir(parents=True, exist_ok=True)
    lines = ["file,label,class"]
    digits = max(6, len(str(count - 1)))
    for first, images, asked in _drawn(model, count, seed, labels, truncation):
        for offset, image in enumerate(images):
            name = f"{first + offset:0{digits}d}.png"
            save_png(output / name, image)
            if asked is not None:
                lines.append(f"{name},{asked[offset]},{model.class_names[asked[offset]]}")
    if len(lines) > 1:
        files.write(output / "labels.csv", ("\n".join(lines) + "\n").encode())


def _write_sheet(
    model: "Sampler", count: int, seed: int, labels: list[int] | None, truncation: float, output: Path
) -> None:
    """Write one sheet, a column a class."""
    import torch

    from darkroom.images import save_png, sheet

    if count > 4096:
        raise UserError(f"count={count} is too many for one sheet, which takes 4096: write to a folder or an .npz.")
    images = torch.cat([part for _, part, _ in _drawn(model, count, seed, labels, truncation)])
    classes = len(labels) if labels is not None else model.classes
    save_png(output, sheet(images, columns=classes if 1 < classes <= 20 else None))


def _write_array(
    model: "Sampler", count: int, seed: int, labels: list[int] | None, truncation: float, output: Path
) -> None:
    """Write ``images`` (N, H, W, C) uint8 and ``labels`` (N,), without ever holding all of them in memory."""
    import tempfile
    import zipfile

    import numpy as np

    channels, height, width = model.image_shape
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output.parent, prefix=".partial-") as folder:
        array = Path(folder) / "images.npy"
        images = np.lib.format.open_memmap(array, "w+", np.uint8, (count, height, width, channels))
        asked_for: list[int] = []
        for first, part, asked in _drawn(model, count, seed, labels, truncation):
            images[first : first + len(part)] = part.permute(0, 2, 3, 1).numpy()
            asked_for += asked or []
        images.flush()
        del images
        partial = Path(folder) / "whole.npz"
        with zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.write(array, "images.npy")
            if asked_for:
                with archive.open("labels.npy", "w") as file:
                    np.lib.format.write_array(file, np.asarray(asked_for, dtype=np.int64))
        partial.replace(output)


if __name__ == "__main__":
    main()
