"""Completion as an operation: what is hidden of a picture is drawn, given the rest."""

from pathlib import Path

import torch

from darkroom.config.nodes import Node
from darkroom.data.folder import read_picture
from darkroom.errors import UserError, did_you_mean
from darkroom.images import from_uint8
from darkroom.models.abilities import Completes
from darkroom.models.model import Model
from darkroom.operations.edited import Edited
from darkroom.picture_files.picture import UnreadablePicture

HIDDEN = ("bottom", "top", "left", "right")  # halves of a picture that can be hidden


def completed(config: Node, model: Model, source: Path) -> Edited:
    """Draw what is hidden of a picture, given the rest of it."""
    if not isinstance(model, Completes):
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
    except UnreadablePicture as error:
        raise UserError(f"{source} cannot be read as a picture ({error.reason}).") from None
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
