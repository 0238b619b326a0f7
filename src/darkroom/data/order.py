"""The order in which training pictures are seen: endless, and known in advance from the seed alone."""

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info

from darkroom.data.clips import Clips
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


class BalancedOrder(Order):
    """An order in which every class is shown equally often: whatever K positions follow a multiple of K, once each.

    A pass is as long as it takes to show each picture of the largest class once; in it the pictures of the others
    return, each as often as its classmates or once more. Where a class has no pictures it is left out.
    """

    def __init__(self, labels: Tensor, seed: int) -> None:
        self.members = [(labels == label).nonzero().squeeze(1) for label in torch.bincount(labels).nonzero().squeeze(1)]
        self.rounds = max(map(len, self.members))
        super().__init__(self.rounds * len(self.members), seed)

    def permutation(self, number: int) -> Tensor:
        """Return the order of one pass, in rounds of one picture of each class."""
        if number != self._pass:
            drawn = generator(self.seed, number)
            columns = [members[self._turns(len(members), drawn)] for members in self.members]
            within_round = torch.rand(self.rounds, len(columns), generator=drawn).argsort(dim=1)
            self._permutation = torch.stack(columns, dim=1).gather(1, within_round).flatten()
            self._pass = number
        return self._permutation

    def _turns(self, count: int, drawn: torch.Generator) -> Tensor:
        """Return 0 .. count-1, shuffled anew each time they are through, for all rounds of a pass."""
        times = -(-self.rounds // count)
        return torch.rand(times, count, generator=drawn).argsort(dim=1).flatten()[: self.rounds]


class TrainStream(IterableDataset[dict[str, Tensor]]):
    """Endless training batches, uint8, from a given position on; this process's part of each when there are several.

    Of clips with actions, with ``actions`` ``(b, T-1, A)``.

    Under a DataLoader, worker i of n makes batches i, i + n, ...; the loader takes them in turn, so the order stays.
    """

    def __init__(
        self,
        pictures: Pictures,
        seed: int,
        first_image: int,
        batch_size: int,
        rank: int = 0,
        world_size: int = 1,
        balanced: bool = False,
        captions: Tensor | None = None,
    ) -> None:
        self.pictures = pictures
        self.captions = captions
        self.actions = pictures.actions if isinstance(pictures, Clips) else None
        balanced_by = pictures.labels if balanced else None
        self.order = Order(len(pictures), seed) if balanced_by is None else BalancedOrder(balanced_by, seed)
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
            if self.captions is not None:
                batch["captions"] = self.captions[indices]
            if self.actions is not None:
                batch["actions"] = self.actions[indices]
            yield batch
            number += step
