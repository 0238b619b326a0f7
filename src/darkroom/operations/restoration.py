"""Restoration as operations: a trained restorer edits pictures, beside the classical way to do the same."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from darkroom.config.nodes import Node
from darkroom.editing import classical
from darkroom.editing.degradations import noise_level
from darkroom.editing.editor import Apply, Editor
from darkroom.errors import UserError
from darkroom.models.abilities import Decides, Repairs
from darkroom.models.model import Model


def restorer(config: Node, model: Model) -> Editor:
    """Return what a run has learnt to do with pictures.

    Raises:
        UserError: it has learnt something else, or takes no noise level and was given one.
    """
    operation, level = config["operation"], config["level"]
    if not isinstance(model, Repairs) or model.operation != operation:
        can = f"is a {type(model).__name__}"
        if isinstance(model, Repairs):
            can = f"has learnt to {model.operation}: type operation={model.operation}"
        raise UserError(f"checkpoint={config['checkpoint']} {can}, or name a run that has learnt to {operation}.")
    leveled, masked = model.leveled, model.masked
    if level != "auto" and not leveled:
        raise UserError(f"level={level} was given, but this run is told no noise level: leave level out, use strength.")

    def at(sigma: float | None, settings: Tensor | None = None) -> Apply:
        def apply(colours: Tensor, mask: Tensor | None) -> Tensor:
            said: dict[str, Any] = {}
            if masked and mask is not None:
                said["mask"] = mask[None]
            if leveled:
                said["level"] = sigma
            if settings is not None:
                said["settings"] = settings
            with torch.no_grad():
                return model.restore(colours[None], **said)[0].cpu()

        return apply

    given = None if level == "auto" else float(level)
    estimated = leveled and level == "auto"

    looking: object = model  # what it is said to be is no bar to its being more

    def tuned(middle: Tensor, small: Tensor) -> tuple[Apply, str]:
        sigma = float(noise_level(middle[None])[0]) if estimated else given
        settings = looking.look(small[None]) if isinstance(looking, Decides) and looking.decides else None
        return at(sigma, settings), f"noise of {sigma:.1f} levels found" if estimated else ""

    name, baseline = classical.for_operation(operation, model.scale)
    return Editor(
        apply=at(given),
        scale=model.scale,
        channels=model.image_shape[0],
        reach=model.reach,
        multiple=model.multiple,
        masked=masked,
        baseline=baseline,
        baseline_name=name,
        damage=_damage(model),
        tuned=tuned if estimated or model.decides else None,
        recolours=operation in ("enhance", "restore"),
    )


def _damage(model: Repairs) -> Callable[[Tensor, int], tuple[Tensor, Tensor | None]]:
    """Return what damages a picture as the model was taught, by a seed; with where, if it is told."""

    def damage(picture: Tensor, seed: int) -> tuple[Tensor, Tensor | None]:
        generator = torch.Generator().manual_seed(seed)

        def draw(kind: Callable[..., Tensor], count: int, *shape: int) -> Tensor:
            return kind(count, *shape, generator=generator)

        damaged, seen = model.degradation(picture[None], draw)
        holes = seen[0] < 0.5 if model.masked else None
        return damaged[0], holes

    return damage
