"""``darkroom generate``: draw pictures with a trained run."""

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from darkroom import paths
from darkroom.config import Node, command
from darkroom.errors import UserError, did_you_mean
from darkroom.tracking.store import Store

if TYPE_CHECKING:
    from torch import Tensor

    from darkroom.captions import Vocabulary
    from darkroom.models.model import Model, Sampler

_AT_ONCE = 256  # pictures in memory at a time
SHOWN = 40  # words of a vocabulary named in a message
Asked = list[int] | list[str] | None  # classes, in turn, or captions, each ``count`` times


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
    choose_sampler(model, config["sampler"])
    if config["labels"] is not None and config["prompt"] is not None:
        raise UserError("labels and prompt were both given: a model is asked for classes or in words, so keep one.")
    if config["labels"] is not None and model.vocabulary:
        raise UserError(f"labels={config['labels']} asks for classes, but this model is asked in words: type prompt=.")
    asked: Asked = parse_prompts(config["prompt"], model.vocabulary)
    if asked is None:
        asked = parse_labels(config["labels"], model.class_names if model.classes else [])
    try:
        write(model, config["count"], config["seed"], asked, config["truncation"], output)
    except OSError as error:
        raise UserError(f"output={output} cannot be written ({error.strerror}): name another place.") from error
    count = len(_wishes(model, config["count"], asked)[0])
    report.say(f"{count} pictures of {path.parent.parent.parent.name[:8]} are in {report.shown(output.resolve())}")


def choose_sampler(model: "Model", name: str | None) -> None:
    """Let a model draw from another distribution of latents than the one that was best on val.

    Raises:
        UserError: the model has no such sampler, or no choice of them.
    """
    if name is None:
        return
    from darkroom.models.coder import Coder

    if not isinstance(model, Coder):
        raise UserError(
            f"sampler={name} was given, but a {type(model).__name__} draws in one way only: leave sampler out."
        )
    model.use_sampler(name)


def parse_prompts(given: Any, vocabulary: "Vocabulary") -> list[str] | None:
    """Return the captions that ``prompt="a red ring"`` or a list of such asks for; None when nothing was asked.

    Raises:
        UserError: an empty prompt, a word that the model has never seen, or a model that reads no words.
    """
    if given is None:
        return None
    from darkroom.captions import words_of

    if not vocabulary:
        raise UserError(f"prompt={given} was given, but this model does not read: name a run with conditioning=text.")
    prompts = [str(part).strip() for part in (given if isinstance(given, list) else [given])]
    if not prompts or not all(words_of(prompt) for prompt in prompts):
        raise UserError(f'prompt={given} says nothing: type prompt="a caption", or leave it out for captions in turn.')
    for prompt in prompts:
        if unknown := vocabulary.unknown(prompt):
            named = ", ".join(f"'{word}'{did_you_mean(word, vocabulary.words)}" for word in unknown)
            known = ", ".join(vocabulary.words[:SHOWN]) + (", …" if len(vocabulary) > SHOWN else "")
            raise UserError(f"prompt={prompt}: the model has never seen {named}; the words it knows are {known}.")
    return prompts


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


Writer = Callable[["Sampler", int, int, Asked, float, Path], None]


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


def _wishes(model: "Sampler", count: int, asked: Asked) -> tuple[Sequence[int], Sequence[int] | Sequence[str] | None]:
    """Return of every picture the index of its latents, and the class or caption that is asked for.

    Picture i of every caption begins with the same latents.
    """
    if model.vocabulary:
        if asked is None:
            return range(count), [model.prompts[index % len(model.prompts)] for index in range(count)]
        prompts = [str(caption) for caption in asked for _ in range(count)]
        return [number % count for number in range(len(prompts))], prompts
    if not model.classes:
        return range(count), None
    classes = [int(label) for label in asked] if asked is not None else list(range(model.classes))
    return range(count), [classes[index % len(classes)] for index in range(count)]


def _drawn(
    model: "Sampler", count: int, seed: int, asked: Asked, truncation: float
) -> Iterator[tuple[int, "Tensor", Sequence[int] | Sequence[str] | None]]:
    """Yield ``(first index, uint8 images, what was asked)`` in parts of constant size, with a bar if it takes long."""
    import torch
    from rich.console import Console
    from rich.progress import track

    from darkroom.images import to_uint8

    latents, wishes = _wishes(model, count, asked)
    parts = range(0, len(latents), _AT_ONCE)
    console = Console(stderr=True)
    for first in track(parts, "drawing", console=console, disable=len(parts) < 5 or not console.is_terminal):
        part = slice(first, first + _AT_ONCE)
        wanted = wishes[part] if wishes is not None else None
        labels = None
        if wanted is not None:
            captions = [str(caption) for caption in wanted]
            labels = model.vocabulary.tokens(captions) if model.vocabulary else torch.tensor(wanted)
        images = model.sample(torch.tensor(latents[part]), seed, labels, truncation)
        yield first, to_uint8(images).cpu(), wanted


def _write_folder(model: "Sampler", count: int, seed: int, asked: Asked, truncation: float, output: Path) -> None:
    """Write ``000017.png`` and so on, and ``labels.csv`` when the model is conditional."""
    import csv
    import io

    from darkroom import files
    from darkroom.images import save_png

    output.mkdir(parents=True, exist_ok=True)
    table = io.StringIO()
    rows = csv.writer(table, lineterminator="\n")
    rows.writerow(["file", "caption"] if model.vocabulary else ["file", "label", "class"])
    digits = max(6, len(str(len(_wishes(model, count, asked)[0]) - 1)))
    for first, images, wanted in _drawn(model, count, seed, asked, truncation):
        for offset, image in enumerate(images):
            name = f"{first + offset:0{digits}d}.png"
            save_png(output / name, image)
            if wanted is not None:
                wish = wanted[offset]
                rows.writerow([name, wish] if isinstance(wish, str) else [name, wish, model.class_names[wish]])
    if model.vocabulary or model.classes:
        files.write(output / "labels.csv", table.getvalue().encode())


def _write_sheet(model: "Sampler", count: int, seed: int, asked: Asked, truncation: float, output: Path) -> None:
    """Write one sheet, a column a class, or a block a caption with the caption above it."""
    import torch

    from darkroom.images import captioned_sheet, save_png, sheet

    latents, wishes = _wishes(model, count, asked)
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


def _write_array(model: "Sampler", count: int, seed: int, asked: Asked, truncation: float, output: Path) -> None:
    """Write ``images`` (N, H, W, C) uint8 and ``labels`` or ``captions`` (N,), never holding all of them in memory."""
    import tempfile
    import zipfile

    import numpy as np

    channels, height, width = model.image_shape
    latents, wishes = _wishes(model, count, asked)
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output.parent, prefix=".partial-") as folder:
        array = Path(folder) / "images.npy"
        images = np.lib.format.open_memmap(array, "w+", np.uint8, (len(latents), height, width, channels))
        for first, part, _ in _drawn(model, count, seed, asked, truncation):
            images[first : first + len(part)] = part.permute(0, 2, 3, 1).numpy()
        images.flush()
        del images
        partial = Path(folder) / "whole.npz"
        with zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.write(array, "images.npy")
            if wishes is not None:
                with archive.open("captions.npy" if model.vocabulary else "labels.npy", "w") as file:
                    np.lib.format.write_array(file, np.asarray(wishes))
        partial.replace(output)


if __name__ == "__main__":
    main()
