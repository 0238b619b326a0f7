"""``darkroom generate``: draw pictures with a trained run."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from darkroom import paths
from darkroom.config.command import command
from darkroom.config.nodes import Node
from darkroom.errors import UserError
from darkroom.sampling import AT_ONCE, Conditions, choose_sampler, expand_conditions, parse_conditions, sample_batches
from darkroom.tracking.store import Store

if TYPE_CHECKING:
    from torch import Tensor

    from darkroom.models.abilities import Draws


@command("generate")
def main(config: Node) -> None:
    """Draw what the configuration says."""
    output = Path(config["output"] or "samples.png").expanduser()
    write = _writer(output)

    from darkroom import lab
    from darkroom.models.abilities import Draws
    from darkroom.reporting import summary
    from darkroom.tracking import checkpoints

    path = checkpoints.locate(config["checkpoint"], Store.open(paths.root(), reading=True))
    model, description = lab.restore(path)
    if not isinstance(model, Draws):
        raise UserError(
            f"checkpoint={config['checkpoint']} is a {description.family}, which draws nothing: name a run of a"
            " generator (darkroom compare lists them)."
        )
    choose_sampler(model, config["sampler"])
    asked = parse_conditions(model, config["labels"], config["prompt"])
    try:
        write(model, config["count"], config["seed"], asked, config["truncation"], output)
    except OSError as error:
        raise UserError(f"output={output} cannot be written ({error.strerror}): name another place.") from error
    count = len(expand_conditions(model, config["count"], asked)[0])
    summary.say(f"{count} pictures of {path.parent.parent.parent.name[:8]} are in {summary.shown(output.resolve())}")


Writer = Callable[["Draws", int, int, Conditions, float, Path], None]


def _writer(output: Path) -> Writer:
    """Choose by the name of the output, and refuse what would overwrite or cannot be, before the model is loaded."""
    suffix = output.suffix.lower()
    if suffix not in ("", ".png", ".npz"):
        raise UserError(f"output={output} has the ending '{suffix}': use a folder, a .png sheet or an .npz array.")
    if suffix == "" and output.is_file():
        raise UserError(f"output={output} is a file: name a folder, a .png sheet or an .npz array.")
    if suffix and output.is_dir():
        raise UserError(f"output={output} is a folder: name one without an ending.")
    paths.check_place("output", output)
    return {"": _write_folder, ".png": _write_sheet, ".npz": _write_array}[suffix]


def _drawn(
    model: "Draws", count: int, seed: int, asked: Conditions, truncation: float
) -> Iterator[tuple[int, "Tensor", Sequence[int] | Sequence[str] | None]]:
    """Yield ``(first index, uint8 images, what was asked)`` in parts of constant size, with a bar if it takes long."""
    from rich.console import Console
    from rich.progress import track

    from darkroom.images import to_uint8

    parts = -(-len(expand_conditions(model, count, asked)[0]) // AT_ONCE)
    console = Console(stderr=True)
    yielded = sample_batches(model, count, seed, asked, truncation)
    for first, images, wanted in track(
        yielded, "drawing", total=parts, console=console, disable=parts < 5 or not console.is_terminal
    ):
        yield first, to_uint8(images).cpu(), wanted


def _write_folder(model: "Draws", count: int, seed: int, asked: Conditions, truncation: float, output: Path) -> None:
    """Write ``000017.png`` and so on, and ``labels.csv`` when the model is conditional."""
    import csv
    import io

    from darkroom import files
    from darkroom.images import save_png

    output.mkdir(parents=True, exist_ok=True)
    table = io.StringIO()
    rows = csv.writer(table, lineterminator="\n")
    rows.writerow(["file", "caption"] if model.vocabulary else ["file", "label", "class"])
    digits = max(6, len(str(len(expand_conditions(model, count, asked)[0]) - 1)))
    for first, images, wanted in _drawn(model, count, seed, asked, truncation):
        for offset, image in enumerate(images):
            name = f"{first + offset:0{digits}d}.png"
            save_png(output / name, image)
            if wanted is not None:
                wish = wanted[offset]
                rows.writerow([name, wish] if isinstance(wish, str) else [name, wish, model.class_names[wish]])
    if model.vocabulary or model.classes:
        files.write(output / "labels.csv", table.getvalue().encode())


def _write_sheet(model: "Draws", count: int, seed: int, asked: Conditions, truncation: float, output: Path) -> None:
    """Write one sheet, a column a class, or a block a caption with the caption above it."""
    import torch

    from darkroom.images import captioned_sheet, save_png, sheet

    latents, wishes = expand_conditions(model, count, asked)
    if len(latents) > 4096:
        raise UserError(
            f"count={count} is too many for one sheet, which takes 4096 pictures: write to a folder or an .npz."
        )
    images = torch.cat([part for _, part, _ in _drawn(model, count, seed, asked, truncation)])
    if model.vocabulary and wishes is not None:
        save_png(output, captioned_sheet(images, [str(caption) for caption in wishes]))
        return
    classes = len(asked) if asked is not None else model.classes
    save_png(output, sheet(images, columns=classes if 1 < classes <= 20 else None))


def _write_array(model: "Draws", count: int, seed: int, asked: Conditions, truncation: float, output: Path) -> None:
    """Write ``images`` (N, H, W, C) uint8 and ``labels`` or ``captions`` (N,), never holding all of them in memory."""
    import zipfile

    import numpy as np

    from darkroom import files

    channels, height, width = model.image_shape
    latents, wishes = expand_conditions(model, count, asked)
    with files.scratch(output.parent) as folder, files.atomic_file(output) as file:
        array = folder / "images.npy"
        images = np.lib.format.open_memmap(array, "w+", np.uint8, (len(latents), height, width, channels))
        for first, part, _ in _drawn(model, count, seed, asked, truncation):
            images[first : first + len(part)] = part.permute(0, 2, 3, 1).numpy()
        images.flush()
        del images
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.write(array, "images.npy")
            if wishes is not None:
                with archive.open("captions.npy" if model.vocabulary else "labels.npy", "w") as listed:
                    np.lib.format.write_array(listed, np.asarray(wishes))


if __name__ == "__main__":
    main()
