"""Pictures in black and white, drawn once from the grey ones: what likelihoods of binary pixels are compared on."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from darkroom.data.pictures import Pictures, TensorPictures
from darkroom.data.source import Collection, Source
from darkroom.errors import UserError
from darkroom.numbers import Seed

CHUNK = 4096  # pictures drawn at once, so that the random numbers stay small


class Binarised:
    """Every pixel of another source is white with the probability that its grey says (Salakhutdinov & Murray 2008).

    Drawn once, from ``seed``, for all splits: static binarisation, as Larochelle & Murray (2011) have it; their
    own draw is a file that would have to be fetched.
    """

    flippable = False

    def __init__(self, source: Source, seed: Seed = 0) -> None:
        self.source, self.seed = source, int(seed)
        self.name = f"{source.name}-binarised-{self.seed}"
        self.flippable = source.flippable

    def load(self, folder: Path, cache: Path, image_size: int | None, channels: int | None) -> Collection:
        """Return the other source's splits, in black and white."""
        if image_size is not None:
            raise UserError(
                f"data.image_size={image_size} would make grey of black and white: type data.image_size=null, which"
                " keeps the size that the pictures have."
            )
        found = self.source.load(folder, cache, image_size, channels)
        generator = np.random.Generator(np.random.PCG64(self.seed))
        return replace(
            found, parts={split: self._drawn(found.parts[split], generator) for split in sorted(found.parts)}
        )

    @staticmethod
    def _drawn(pictures: Pictures, generator: np.random.Generator) -> TensorPictures:
        """Return a part in black and white."""
        parts = []
        for indices in torch.split(torch.arange(len(pictures)), CHUNK):
            grey = pictures.batch(indices)
            chance = torch.from_numpy(generator.random(tuple(grey.shape), dtype=np.float32))
            parts.append((chance * 255 < grey).to(torch.uint8) * 255)
        return TensorPictures(torch.cat(parts), pictures.labels, pictures.numbers)
