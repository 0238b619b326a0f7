"""The order in which training pictures are seen: endless, and known in advance from the seed alone."""

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info

from darkroom.data.pictures import Pictures
from darkroom.data.splits import generator


class Order:
    """Position p of training shows picture ``permutation(seed, p // count)[p % count]``.

    Nothing is remembered between calls, so a resumed run sees what an uninterrupted one would have seen, whatever its
    batch size or its number of devices.
    """

    def __init__(self, count: int, seed: int) -> None:
        self.count = count
        self.seed = seed
        self._pass = -1
        self._permutation = torch.empty(0, dtype=torch.int64)

    def permutation(self, number: int) -> Tensor:
        """Return the order of one pass over the data; each picture occurs once."""
        if number != self._pass:
            self._permutation = torch.randperm(self.count, generator=generator(self.seed, number))
            self._pass = number
        return self._permutation

    def indices(self, first: int, count: int) -> Tensor:
        """Return the pictures at positions ``first`` to ``first + count``, int64."""
        pieces = []
        while count > 0:
            number, offset = divmod(first, self.count)
            piece = self.permutation(number)[offset : offset + count]
            pieces.append(piece)
            first, count = first + len(piece), count - len(piece)
        return pieces[0] if len(pieces) == 1 else torch.cat(pieces)


class TrainStream(IterableDataset[dict[str, Tensor]]):
    """Endless training batches, uint8, from a given position on; this process's part of each when there are several.

    Under a DataLoader, worker i of n makes batches i, i + n, ...; the loader takes them in turn, so the order stays.
    """

    def __init__(
        self, pictures: Pictures, seed: int, first_image: int, batch_size: int, rank: int = 0, world_size: int = 1
    ) -> None:
        self.pictures = pictures
        self.order = Order(len(pictures), seed)
        self.first_image = first_image
        self.batch_size = batch_size
        self.rank = rank
        self.world_size = world_size

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        """Start at ``first_image``, every time."""
        worker = get_worker_info()
        number, step = (0, 1) if worker is None else (worker.id, worker.num_workers)
        part = self.batch_size // self.world_size
        while True:
            first = self.first_image + number * self.batch_size + self.rank * part
            indices = self.order.indices(first, part)
            batch = {"images": self.pictures.batch(indices)}
            if self.pictures.labels is not None:
                batch["labels"] = self.pictures.labels[indices]
            yield batch
            number += step
