"""Two folders of pictures, none of which belongs to one of the other: photographs and paintings, say."""

from pathlib import Path

import torch
from torch import Tensor

from darkroom.data.folder import Folder, located
from darkroom.data.pictures import FilePictures, Pictures, TensorPictures
from darkroom.data.source import Collection
from darkroom.errors import UserError
from darkroom.numbers import Positive, Share


class TwoFolders:
    """The pictures of two folders, labelled with the folder that they come from: 0 for ``a``, 1 for ``b``.

    With ``sampling: balanced`` and an even batch each batch has as many of both. Folders inside that are called train,
    val and test are taken as the splits, in both folders or in none.
    """

    flippable = True

    def __init__(
        self,
        a: str,
        b: str,
        val: Positive = 0.1,
        test: Positive = 0.1,
        max_corrupt: Share = 0.01,
        in_memory_mb: Positive = 2048,
        name: str | None = None,
    ) -> None:
        """State where the pictures are, as of `Folder`; shares are held out of each folder."""
        self.roots = {"a": str(a), "b": str(b)}
        self.val, self.test = float(val), float(test)
        self.max_corrupt, self.in_memory_mb = float(max_corrupt), float(in_memory_mb)
        names = [Path(root).name for root in self.roots.values()]
        self.name = name or " and ".join(names)
        # The folder's name says more than a letter, unless both have one name.
        self.class_names = names if len(set(names)) == 2 else ["a", "b"]

    def load(self, folder: Path, cache: Path, image_size: int | None, channels: int | None) -> Collection:
        """Return the pictures of both folders, resized and cropped alike; colours, unless grey is asked for.

        Raises:
            UserError: both are one folder, or split in two ways, or one only fits into memory.
        """
        places = {key: located(root, folder, "pictures") for key, root in self.roots.items()}
        if places["a"].resolve() == places["b"].resolve():
            raise UserError(
                f"data.source.a and data.source.b are both '{places['a']}': name two folders, one for each kind."
            )
        found = {
            key: Folder(str(place.resolve()), False, self.val, self.test, self.max_corrupt, self.in_memory_mb / 2).load(
                folder, cache, image_size, channels or 3
            )
            for key, place in places.items()
        }
        first, second = (collection.parts for collection in found.values())
        if first.keys() != second.keys():
            raise UserError(
                f"'{places['a']}' is split into {', '.join(first)} and '{places['b']}' into {', '.join(second)}: give"
                " both the same folders inside, or none."
            )
        parts = {split: _joined(first[split], second[split]) for split in first}
        return Collection(parts, self.class_names, val=self.val, test=self.test)


def _joined(first: Pictures, second: Pictures) -> Pictures:
    """Return two sets as one, labelled 0 and 1."""
    labels = torch.cat([torch.full((len(part),), label) for label, part in enumerate((first, second))])
    if isinstance(first, TensorPictures) and isinstance(second, TensorPictures):
        if first.shape != second.shape:
            raise UserError(
                f"pictures of {_size(first)} and of {_size(second)} make no batch: type data.image_size=<pixels a side>"
            )
        return TensorPictures(torch.cat([first.pixels, second.pixels]), labels)
    if isinstance(first, FilePictures) and isinstance(second, FilePictures):
        return FilePictures(
            [*first.files, *second.files], first.decode, first.shape, [*first.hashes, *second.hashes], labels
        )
    raise UserError(
        "one of the two folders fits into memory and the other does not: raise data.source.in_memory_mb, or lower it to"
        " 0 and type data.workers=4"
    )


def _size(pictures: TensorPictures) -> str:
    shape: Tensor | tuple[int, ...] = pictures.shape
    return f"{shape[2]}x{shape[1]}"
