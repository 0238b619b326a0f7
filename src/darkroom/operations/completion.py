"""Completion as an operation: what is hidden of a picture is drawn, given the rest."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch

from darkroom.data.folder import read_picture
from darkroom.images import from_uint8
from darkroom.models.abilities import Completes
from darkroom.numbers import Count, OneOf, Seed
from darkroom.operations.operation import Edited, Learnt, SheetOperation, able


@dataclass
class Complete(SheetOperation):
    """Several things that could stand in the half that is not seen."""

    does = "draws what could stand in the hidden half of a picture"
    example = "operation=complete input=digit.png hide=bottom count=8"
    needs = Completes
    train = "pixelrnn/digits"

    hide: Annotated[str, OneOf("bottom", "top", "left", "right")] = "bottom"  # the half that is drawn
    count: Count = 8  # completions
    seed: Seed = 0

    def edited(self, run: Learnt | None, source: Path) -> Edited:
        """Return the picture, what is shown of it, and its completions."""
        model = able(run, Completes)
        picture = from_uint8(read_picture(source, model.image_shape))[None]  # type: ignore[arg-type]  # three numbers
        if model.levels == 2:
            picture = picture.sign()
        _, height, width = model.image_shape
        known = torch.ones(1, 1, height, width, dtype=torch.bool)
        place = {
            "bottom": (slice(height // 2, None), slice(None)),
            "top": (slice(height // 2), slice(None)),
            "left": (slice(None), slice(width // 2)),
            "right": (slice(None), slice(width // 2, None)),
        }[self.hide]
        known[0, 0, *place] = False
        made = model.complete(picture.expand(self.count, -1, -1, -1), known, self.seed).cpu()
        shown = torch.where(known, picture, torch.zeros_like(picture))
        images = torch.cat([picture, shown, made])
        sentence = f"The picture, what was shown of it, and {self.count} completions:"
        return Edited(images, min(len(images), 10), images, sentence)
