"""Motion as an operation: what a picture shows is moved, and a film goes on."""

import math
from pathlib import Path

import torch

from darkroom.config.nodes import Node
from darkroom.data.videos import read_frames
from darkroom.editing import motion
from darkroom.errors import UserError
from darkroom.images import from_uint8
from darkroom.metrics import paired
from darkroom.models.abilities import Forecasts
from darkroom.models.model import Model
from darkroom.operations.edited import Edited


def moved(config: Node, model: Model, source: Path) -> Edited:
    """Turn, move and enlarge what a picture shows, step by step, as the model has learnt to."""
    if not isinstance(model, Forecasts) or not model.actions:
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
    if tuple(model.actions) == motion.MOTIONS:
        plain = torch.cat([motion.moved(first, way) for way in motion.accumulated(steps[None]).unbind(dim=1)])
        near = paired.psnr(made, plain).clamp(max=100).mean().item()
        rows = torch.cat([rows, first, plain])
        sentence = f"What the picture shows was moved, {near:.1f} dB from bicubic interpolation (below it):"
    return Edited(rows, columns, torch.cat([first, made]), sentence)


def continued(config: Node, model: Model, source: Path) -> Edited:
    """Say the frames that follow a film."""
    if not isinstance(model, Forecasts):
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
