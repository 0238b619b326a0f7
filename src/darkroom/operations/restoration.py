"""Restoration as operations: a trained restorer edits pictures, beside the classical way to do the same."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from darkroom.config import Node
from darkroom.editing import classical
from darkroom.editing.degradations import noise_level
from darkroom.editing.editor import Apply, Editor
from darkroom.errors import UserError
from darkroom.models.model import Model


def restorer(config: Node, model: Model) -> Editor:
    """Return what a run has learnt to do with pictures.

    Raises:
        UserError: it has learnt something else, or takes no noise level and was given one.
    """
    operation, level = config["operation"], config["level"]
    known = getattr(model, "operation", None)
    if known != operation:
        can = f"has learnt to {known}: type operation={known}" if known else f"is a {type(model).__name__}"
        raise UserError(f"checkpoint={config['checkpoint']} {can}, or name a run that has learnt to {operation}.")
    leveled, masked = bool(getattr(model, "leveled", False)), bool(getattr(model, "masked", False))
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
                made: Tensor = model.restore(colours[None], **said)  # type: ignore[operator]
            return made[0].cpu()

        return apply

    given = None if level == "auto" else float(level)
    estimated = leveled and level == "auto"
    decides = bool(getattr(model, "decides", False))

    def tuned(middle: Tensor, small: Tensor) -> tuple[Apply, str]:
        sigma = float(noise_level(middle[None])[0]) if estimated else given
        settings = model.look(small[None]) if decides else None  # type: ignore[operator]
        return at(sigma, settings), f"noise of {sigma:.1f} levels found" if estimated else ""

    name, baseline = classical.for_operation(operation, model)
    scale = int(getattr(model, "scale", 1))
    return Editor(
        apply=at(given),
        scale=scale,
        channels=model.image_shape[0],
        reach=getattr(model, "reach", None),
        multiple=int(getattr(model, "multiple", 1)),
        masked=masked,
        baseline=baseline,
        baseline_name=name,
        damage=_damage(model, scale),
        tuned=tuned if estimated or decides else None,
        recolours=operation in ("enhance", "restore"),
    )


def _damage(model: Model, scale: int) -> Callable[[Tensor, int], tuple[Tensor, Tensor | None]] | None:
    """Return what damages a picture as the model was taught, by a seed; with where, if it is told."""
    degradation = getattr(model, "degradation", None)
    if degradation is None:
        return None

    def damage(picture: Tensor, seed: int) -> tuple[Tensor, Tensor | None]:
        generator = torch.Generator().manual_seed(seed)

        def draw(kind: Callable[..., Tensor], count: int, *shape: int) -> Tensor:
            return kind(count, *shape, generator=generator)

        damaged, seen = degradation(picture[None], draw)
        holes = seen[0] < 0.5 if getattr(model, "masked", False) else None
        return damaged[0], holes

    return damage
