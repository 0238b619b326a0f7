"""``darkroom edit``: move what a picture shows, go on from a film, fill in what is hidden, with a trained run."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from darkroom import paths
from darkroom.config import Node, command, typed_keys
from darkroom.errors import UserError, did_you_mean
from darkroom.operations.edited import Edited
from darkroom.tracking.store import Store

if TYPE_CHECKING:
    from darkroom.models.model import Model

HIDDEN = ("bottom", "top", "left", "right")  # halves of a picture that can be hidden


@command("edit")
def main(config: Node) -> None:
    """Edit what the configuration says."""
    name = config["operation"]
    if name not in OPERATIONS:
        known = ", ".join(OPERATIONS)
        raise UserError(f"operation={name} is not known{did_you_mean(str(name), OPERATIONS)}: type one of {known}.")
    operation, suffix, own = OPERATIONS[name]
    if config["input"] is None:
        raise UserError(f"operation={name} needs something to work on: type input=<file or folder>.")
    source = Path(config["input"]).expanduser()
    if not source.exists():
        raise UserError(f"input={config['input']} does not exist: name a picture, a film or a folder of frames.")
    every = {key for _, _, keys in OPERATIONS.values() for key in keys}
    if unfit := sorted((typed_keys() & every) - set(own)):
        raise UserError(
            f"{unfit[0]}= says nothing to operation={name}, which listens to {', '.join(own)}: leave it out."
        )
    output = Path(config["output"] or f"edited{suffix}").expanduser()
    _check_output(output, source)

    from darkroom import lab
    from darkroom.commands import report
    from darkroom.tracking import checkpoints

    path = checkpoints.locate(config["checkpoint"], Store.open(paths.root()))
    model, _ = lab.restore(path)
    edited = operation(config, model, source)
    try:
        _write(edited, output)
    except OSError as error:
        raise UserError(f"output={output} cannot be written ({error.strerror}): name another place.") from error
    report.say(f"{edited.sentence} {report.shown(output.resolve())}")


def _moved(config: Node, model: "Model", source: Path) -> Edited:
    """Turn, move and enlarge what a picture shows, step by step, as the model has learnt to."""
    import torch

    from darkroom.data.videos import read_frames
    from darkroom.editing.motion import MOTIONS, accumulated, moved
    from darkroom.images import from_uint8
    from darkroom.metrics import paired
    from darkroom.models.sequence import Sequence

    if not isinstance(model, Sequence) or not model.actions:
        raise UserError(
            f"checkpoint={config['checkpoint']} has not learnt to move what a picture shows: train one with darkroom"
            " train experiment=sequence/transforms_mnist, and name its run."
        )
    frames, total = config["frames"], {name: float(config[name]) for name in ("rotate", "right", "down")}
    total["zoom"] = math.log(config["zoom"])
    if not any(total.values()):
        raise UserError(
            "operation=move was told no motion: type rotate=<degrees>, right=, down=<pixels> or zoom=<factor>."
        )
    unknown = [name for name, size in total.items() if size and name not in model.actions]
    if unknown:
        raise UserError(f"{unknown[0]}= is no motion that this run has learnt: it knows {', '.join(model.actions)}.")
    for name, size in total.items():
        most = model.actions.get(name, 0.0)
        if abs(size) / frames > most * 1.001 and size:
            raise UserError(
                f"{name}={config[name]:g} in {frames} frames is more a frame than this run has learnt: type"
                f" frames={math.ceil(abs(size) / most)} or more."
            )
    picture = read_frames(source, model.image_shape)  # type: ignore[arg-type]  # a model's shape has three numbers
    if len(picture) != 1:
        raise UserError(f"input={config['input']} has {len(picture)} frames: operation=move takes a single picture.")
    still = from_uint8(picture)[None].expand(1, model.inputs, -1, -1, -1)
    steps = torch.tensor([[total.get(name, 0.0) / frames for name in model.actions]]).expand(frames, -1)
    standing = torch.zeros(model.inputs - 1, len(model.actions))
    with torch.no_grad():
        made = model.forecast(still, frames, torch.cat([standing, steps])[None])[0].cpu()
    columns = frames + 1
    first = still[0, :1]
    rows = torch.cat([first, made])
    sentence = "What the picture shows was moved:"
    if tuple(model.actions) == MOTIONS:
        plain = torch.cat([moved(first, way) for way in accumulated(steps[None]).unbind(dim=1)])
        near = paired.psnr(made, plain).clamp(max=100).mean().item()
        rows = torch.cat([rows, first, plain])
        sentence = f"What the picture shows was moved, {near:.1f} dB from bicubic interpolation (below it):"
    return Edited(rows, columns, torch.cat([first, made]), sentence)


def _continued(config: Node, model: "Model", source: Path) -> Edited:
    """Say the frames that follow a film."""
    import torch

    from darkroom.data.videos import read_frames
    from darkroom.images import from_uint8
    from darkroom.models.sequence import Sequence

    if not isinstance(model, Sequence):
        raise UserError(
            f"checkpoint={config['checkpoint']} is a {type(model).__name__}, which forecasts nothing: name a run of"
            " model=sequence."
        )
    if model.actions:
        raise UserError("This run goes on only as it is told: type operation=move, or name a run that is told nothing.")
    film = read_frames(source, model.image_shape)  # type: ignore[arg-type]  # a model's shape has three numbers
    if len(film) < model.inputs:
        raise UserError(
            f"input={config['input']} has {len(film)} frame{'s' if len(film) > 1 else ''}, and this run goes on from"
            f" {model.inputs}: give a GIF, a video or a folder of {model.inputs} frames or more."
        )
    shown = from_uint8(film)
    with torch.no_grad():
        noise = None
        if model.latents:
            noise = model.noise(torch.zeros(1), len(shown) - 1 + config["frames"], config["seed"])
        made = model.forecast(shown[None], config["frames"], noise=noise)[0].cpu()
    whole = torch.cat([shown, made])
    return Edited(whole, min(len(whole), 10), whole, f"{config['frames']} frames follow the {len(shown)} of the film:")


def _completed(config: Node, model: "Model", source: Path) -> Edited:
    """Draw what is hidden of a picture, given the rest of it."""
    import torch

    from darkroom.data.folder import read_picture
    from darkroom.images import from_uint8
    from darkroom.models.pixelrnn import PixelRnn

    if not isinstance(model, PixelRnn):
        raise UserError(
            f"checkpoint={config['checkpoint']} is a {type(model).__name__}, which completes nothing: name a run of"
            " model=pixelrnn."
        )
    hidden = config["hide"]
    if hidden not in HIDDEN:
        raise UserError(
            f"hide={hidden} is not known{did_you_mean(str(hidden), HIDDEN)}: type one of {', '.join(HIDDEN)}."
        )
    try:
        picture = from_uint8(read_picture(source, model.image_shape))[None]  # type: ignore[arg-type]  # three numbers
    except (OSError, SyntaxError, ValueError) as error:
        raise UserError(f"{source} cannot be read as a picture ({error}).") from None
    if model.levels == 2:
        picture = picture.sign()
    _, height, width = model.image_shape
    known = torch.ones(1, 1, height, width, dtype=torch.bool)
    place = {
        "bottom": (slice(height // 2, None), slice(None)),
        "top": (slice(height // 2), slice(None)),
        "left": (slice(None), slice(width // 2)),
        "right": (slice(None), slice(width // 2, None)),
    }[hidden]
    known[0, 0, *place] = False
    count = config["count"]
    made = model.complete(picture.expand(count, -1, -1, -1), known, config["seed"]).cpu()
    shown = torch.where(known, picture, torch.zeros_like(picture))
    images = torch.cat([picture, shown, made])
    return Edited(images, min(len(images), 10), images, f"The picture, what was shown of it, and {count} completions:")


def _towards(config: Node, model: "Model", source: Path) -> Edited:
    """Move a picture towards an attribute."""
    from darkroom.operations import latents

    return latents.attribute(config, model, source)


def _between(config: Node, model: "Model", source: Path) -> Edited:
    """Go from a picture to another."""
    from darkroom.operations import latents

    return latents.interpolate(config, model, source)


SOUGHT = ("steps", "residual", "refine", "labels", "prompt", "truncation", "seed", "paths.data")
OPERATIONS: dict[str, tuple[Callable[[Node, Any, Path], Edited], str, tuple[str, ...]]] = {
    "move": (_moved, ".gif", ("frames", "rotate", "right", "down", "zoom")),
    "continue": (_continued, ".gif", ("frames", "seed")),
    "complete": (_completed, ".png", ("hide", "count", "seed")),
    "attribute": (_towards, ".png", ("attribute", "range", "hold", "direction", *SOUGHT)),
    "interpolate": (_between, ".png", ("other", "way", *SOUGHT)),
}


def _check_output(output: Path, source: Path) -> None:
    """Refuse what would overwrite or cannot be, before the model is loaded."""
    suffix = output.suffix.lower()
    if suffix not in ("", ".png", ".gif"):
        raise UserError(f"output={output} has the ending '{suffix}': use a .gif, a .png sheet or a folder.")
    if output.exists() and output.resolve() == source.resolve():
        raise UserError(f"output={output} is the input itself, which would be lost: name another place.")
    if suffix and output.is_dir():
        raise UserError(f"output={output} is a folder: name one without an ending.")
    if not suffix and output.exists() and (output.is_file() or any(output.iterdir())):
        raise UserError(f"output={output} is there already: name a new folder, a .png sheet or a .gif.")


def _write(edited: Edited, output: Path) -> None:
    """Write a film, a sheet, or every picture by itself."""
    import numpy as np

    from darkroom.images import save_gif, save_png, sheet, to_uint8

    suffix = output.suffix.lower()
    if suffix == ".gif":
        film = [sheet(frame[None], columns=1, gap=0, least=160) for frame in to_uint8(edited.film)]
        save_gif(output, np.stack(film))
    elif suffix == ".png":
        page = edited.page
        save_png(output, sheet(to_uint8(edited.images), columns=edited.columns) if page is None else page)
    else:
        for index, image in enumerate(to_uint8(edited.film)):
            save_png(output / f"{index:04d}.png", image)


if __name__ == "__main__":
    main()
