"""Square patches cut from photographs: what is learned from a few hundred of them is learned from thousands of patches.

Photographs are held out whole, so that no patch stands beside its neighbours from another split, and one that is held
out must not be in train under another name (`leaks`).
"""

import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from darkroom.data.folder import SUFFIXES, picture_files
from darkroom.data.leaks import refuse_shared
from darkroom.data.pictures import Pictures, TensorPictures
from darkroom.data.source import Collection
from darkroom.data.splits import SPLITS, generator
from darkroom.errors import UserError
from darkroom.imaging.styles import carried
from darkroom.numbers import Drawn, Positive, PositiveShare, Seed
from darkroom.picture_files import reading
from darkroom.picture_files.picture import UnreadablePicture

LOG = logging.getLogger(__name__)
USUAL = "bsds400"  # the folder that is taken where none is named
SIZE = 64  # pixels a side of a patch where no size is asked for
# Photographs in the package of scikit-image itself; others it would download. Of a stereo pair only the left one.
COLOUR = ("astronaut.png", "chelsea.png", "coffee.png", "hubble_deep_field.jpg", "motorcycle_left.png", "rocket.jpg")
GREY = ("brick.png", "camera.png", "coins.png", "grass.png", "gravel.png", "moon.png")


class Photos:
    """Patches of the photographs in a folder or, where there is none, of those that scikit-image carries.

    Training patches lie anywhere in their photographs; held-out photographs are cut into tiles, side by side.
    """

    flippable = True

    def __init__(
        self,
        root: str | None = None,
        patches: Drawn = 10_000,
        val: Positive = 0.05,
        test: Positive = 0.1,
        seed: Seed = 0,
        scale: PositiveShare = 1.0,
    ) -> None:
        """State where photographs are and how they are cut.

        Args:
            root: the folder, absolute or relative to the data folder; None takes ``bsds400`` there if there is one.
            patches: training patches, the same number of each photograph, or one less.
            val: share (below 1) or count of the photographs that are kept to choose the best checkpoint on.
            test: the same to report on.
            seed: which photographs are held out, and where the others are cut.
            scale: sides of photographs when they are cut, as a share of their own, so that below 1 a patch shows more
                of the scene; whole ones keep their size.
        """
        self.root = root
        self.name = "photos" if root is None else Path(root).name
        self.patches = int(patches)
        self.held_out = {"val": float(val), "test": float(test)}
        self.seed = int(seed)
        self.scale = float(scale)

    def load(self, folder: Path, cache: Path, image_size: int | None, channels: int | None) -> Collection:
        """Return patches of ``image_size`` pixels a side (64 when not given), grey where ``channels`` is 1."""
        size, channels = image_size or SIZE, channels or 3
        splits = self.photographs(folder, channels)
        parts: dict[str, Pictures] = {}
        for split, files in splits.items():
            photographs = (_read(file, size, channels, self.scale) for file in files)
            cut = self._anywhere(files, photographs, size) if split == "train" else _tiles(photographs, size)
            parts[split] = TensorPictures(torch.cat(list(cut)))
        for split in ("val", "test"):
            refuse_shared(splits["train"], splits[split], cache, self.name, split)

        def whole(split: str) -> Iterator[Tensor]:
            return (_read(file, 1, channels) for file in splits[split])

        return Collection(parts, whole=whole)

    def photographs(self, folder: Path, channels: int = 3) -> dict[str, list[Path]]:
        """Return the files of each split; of those that scikit-image carries, grey ones are for grey patches only."""
        files = self._found(folder, channels)
        counts = {k: max(1, round(size * len(files))) if size < 1 else int(size) for k, size in self.held_out.items()}
        if sum(counts.values()) >= len(files):
            raise UserError(
                f"{len(files)} photographs are too few to hold out {counts['val']} for val and {counts['test']} for"
                " test: add some, or lower data.source.val and data.source.test"
            )
        order = torch.randperm(len(files), generator=generator(self.seed)).tolist()
        ends = {"test": counts["test"], "val": counts["test"] + counts["val"], "train": len(files)}
        starts = {"test": 0, "val": ends["test"], "train": ends["val"]}
        return {split: [files[index] for index in sorted(order[starts[split] : ends[split]])] for split in SPLITS}

    def _found(self, folder: Path, channels: int) -> list[Path]:
        root = folder / Path(self.root or USUAL).expanduser()
        if root.is_dir():
            if files := picture_files(root):
                return files
            raise UserError(f"'{root}' holds no photographs ({', '.join(sorted(SUFFIXES))}): put some there")
        if self.root is not None:
            raise UserError(
                f"there is no folder '{root}': put photographs there, or type data.source.root=null for those that"
                " scikit-image carries"
            )
        names = COLOUR if channels == 3 else COLOUR + GREY
        files = sorted(file for name in names if (file := carried(name)))
        LOG.info("%s: no '%s', so patches are cut from %d photographs of scikit-image", self.name, root, len(files))
        if not files:
            raise UserError(f"there is no folder '{root}', and scikit-image carries no photographs: put some there")
        return files

    def _anywhere(self, files: list[Path], photographs: Iterator[Tensor], size: int) -> Iterator[Tensor]:
        """Yield the training patches of each photograph: the same number of each, or one less."""
        for index, (file, photograph) in enumerate(zip(files, photographs, strict=True)):
            count = self.patches // len(files) + (index < self.patches % len(files))
            # Where one photograph is cut does not depend on how many there are beside it.
            draw = generator(self.seed, *file.name.encode())
            tops, lefts = (
                torch.randint(side - size + 1, (count,), generator=draw).tolist() for side in photograph.shape[1:]
            )
            patches = [
                photograph[:, top : top + size, left : left + size] for top, left in zip(tops, lefts, strict=True)
            ]
            yield torch.stack(patches) if patches else photograph.new_empty(0, len(photograph), size, size)


def _tiles(photographs: Iterator[Tensor], size: int) -> Iterator[Tensor]:
    """Yield each photograph cut into as many tiles as fit side by side, in the middle of it."""
    for photograph in photographs:
        rows, columns = (side // size for side in photograph.shape[1:])
        top, left = ((side - side // size * size) // 2 for side in photograph.shape[1:])
        middle = photograph[:, top : top + rows * size, left : left + columns * size]
        tiles = middle.unfold(1, size, size).unfold(2, size, size)  # (C, rows, columns, size, size)
        yield tiles.permute(1, 2, 0, 3, 4).reshape(rows * columns, len(photograph), size, size)


def _read(file: Path, size: int, channels: int, scale: PositiveShare = 1.0) -> Tensor:
    """Return a photograph, upright, of ``scale`` times its size, uint8 ``(C, H, W)``."""
    try:
        picture = reading.shown(file).convert("L" if channels == 1 else "RGB")
    except UnreadablePicture as error:
        raise UserError(f"'{file}' cannot be decoded ({error.reason}): replace or remove it") from error
    if scale != 1:
        sides = [max(1, round(side * scale)) for side in picture.size]
        picture = picture.resize((sides[0], sides[1]), Image.Resampling.LANCZOS)
    if min(picture.size) < size:
        raise UserError(
            f"'{file}' is {picture.width}x{picture.height}, smaller than a patch: remove it, or type"
            f" data.image_size={min(picture.size)} or less"
        )
    array = np.asarray(picture).reshape(picture.height, picture.width, channels)
    return torch.from_numpy(array.transpose(2, 0, 1).copy())
