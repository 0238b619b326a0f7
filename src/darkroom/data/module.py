"""Pictures for training and for scoring: found, split and checked once, then served in an order known in advance."""

import copy
import functools
import hashlib
import itertools
import json
import logging
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal

import torch
from pytorch_lightning import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader

from darkroom import images
from darkroom.captions import Vocabulary
from darkroom.data.augment import Augment
from darkroom.data.clips import Clips, DrawnClips, TensorClips
from darkroom.data.metadata import TABLE
from darkroom.data.order import TrainStream
from darkroom.data.pictures import FilePictures, Pictures, TensorPictures
from darkroom.data.source import AttributeData, Source
from darkroom.data.splits import SPLITS, complete_splits, stratified_order
from darkroom.errors import UserError, did_you_mean
from darkroom.numbers import Count, Range, Seed, Side

LOG = logging.getLogger(__name__)
PHOTOGRAPH = 100  # pictures that a whole photograph counts as, where held_out is a number
SIDE = 4  # pictures, side by side, that are taken of the middle of such a photograph
UNSTATED = "not stated"  # the group of pictures of which a column says nothing


class ImageData(LightningDataModule):
    """A source of pictures, or of clips, brought to one size, cut into train, val and test.

    Training never ends and never repeats by accident: the picture at every position is a pure function of ``seed``,
    so a run that starts at ``first_image`` continues what another left off.

        data = ImageData(Digits(), image_size=16)
        data.locate(folder=Path("data"), cache=Path("cache"))
        data.prepare()
        for images, labels in data.batches("val", size=100): ...   # float in [-1, 1], int64 or None
    """

    def __init__(
        self,
        source: Source,
        image_size: Side | None = None,
        channels: Literal[1, 3] | None = None,
        batch_size: Count = 64,
        augment: Augment | None = None,
        sampling: Literal["natural", "balanced"] = "natural",
        workers: Annotated[int, Range(0, 256)] = 0,
        limit: Count | None = None,
        split_seed: Seed = 0,
        held_out: Annotated[int, Range(2)] | None = None,
    ) -> None:
        """State what to serve and how.

        Args:
            source: where the pictures come from.
            image_size: pixels a side; None keeps the source's own size.
            channels: 1 (grey) or 3 (colour); None keeps the source's own.
            batch_size: training pictures per step, over all devices together.
            augment: how training pictures are changed; None leaves them as they are.
            sampling: how often training shows a picture: ``natural``, all of them equally; ``balanced``, all classes
                equally, so that the pictures of a rare one return more often.
            workers: processes that decode ahead, for sets too large for memory; others need none.
            limit: learn from this many training pictures only, in proportion of the classes; 100 are among 1000.
            split_seed: which pictures are held out, where the source leaves it open.
            held_out: serve this many pictures of val and of test only, chosen as those of ``limit`` are, and a
                hundredth as many whole photographs, of each the middle; metrics then draw no more pictures either.
        """
        super().__init__()
        self.source = source
        self.image_size = None if image_size is None else int(image_size)
        self.channels = None if channels is None else int(channels)
        self.batch_size = int(batch_size)
        self.augment = augment
        self.sampling = sampling
        self.workers = int(workers)
        self.limit = None if limit is None else int(limit)
        self.split_seed = int(split_seed)
        self.held_out = None if held_out is None else int(held_out)
        self.seed = 0
        self.first_image = 0
        self.captioned = False  # whether training batches carry captions, for a model that reads them
        self._folder: Path | None = None
        self._cache: Path | None = None
        self._splits: dict[str, Pictures] = {}
        self._everything: ImageData | None = None
        self._digests: dict[str, str] = {}
        self._class_names: list[str] = []
        self._attributes: Callable[[], Mapping[str, Sequence[str]]] = dict
        self._captions: Callable[[], Sequence[str]] = list
        self._attribute_data: Callable[[int], AttributeData] | None = None
        self._actions: dict[str, float] = {}
        self._whole: Callable[[str], Iterator[Tensor]] | None = None
        self._refuse_flips()

    def _refuse_flips(self) -> None:
        """Refuse to mirror what may not be; asked again when pictures are wanted, for sources that knew no sooner."""
        for way in ("flip", "transpose"):
            if getattr(self.augment, way, False) and not self.source.flippable:
                raise UserError(
                    f"data.augment.{way}=true would mirror {self.source.name}, which then mean nothing: type false"
                )

    def locate(self, folder: Path, cache: Path) -> None:
        """State where data files lie and where decoded ones may be kept; comes before ``prepare``."""
        self._folder, self._cache = Path(folder), Path(cache)

    def prepare(self) -> None:
        """Find and decode the pictures, split them and check the splits for leaks; a second call does nothing.

        Raises:
            UserError: when data are missing, damaged, too few, or leak between splits.
        """
        if self._splits:
            return
        if self._folder is None or self._cache is None:
            raise RuntimeError("call locate(folder, cache) before prepare()")
        self._refuse_flips()
        found = self.source.load(self._folder, self._cache, self.image_size, self.channels)
        splits = complete_splits(found.parts, found.val, found.test, self.split_seed, self.source.name)
        if self.augment is not None and isinstance(splits["train"], Clips):
            raise UserError(
                f"data.augment changes single pictures, and {self.name} consists of clips: type data.augment=null"
            )
        if self.sampling == "balanced" and splits["train"].labels is None:
            raise UserError(
                f"data.sampling=balanced needs classes, and {self.name} has none: type data.sampling=natural"
            )
        if self.limit is not None:
            train = splits["train"]
            if self.limit > len(train):
                LOG.warning("%s: data.limit=%d, but train holds only %d", self.name, self.limit, len(train))
            chosen = stratified_order(train.labels, len(train), self.split_seed)[: self.limit]
            splits["train"] = train.select(chosen.sort().values)
        # digests are of the pictures as decoded: resizing may round differently on another processor
        self._digests = {split: pictures.digest for split, pictures in splits.items()}
        self._class_names = found.class_names
        self._attributes = functools.cache(found.attributes)
        self._captions = functools.cache(found.captions)
        self._attribute_data = found.attribute_data
        self._actions = dict(found.actions)
        self._whole = found.whole
        in_memory = (TensorPictures, TensorClips)
        self._splits = {
            split: pictures.fitted(self.image_size, self.channels) if isinstance(pictures, in_memory) else pictures
            for split, pictures in splits.items()
        }
        if self.held_out is not None:
            self._everything = copy.copy(self)
            self._everything.held_out, self._everything._everything = None, None
            self._hold_out(splits, self.held_out)

    def _hold_out(self, decoded: Mapping[str, Pictures], count: int) -> None:
        """Keep this many pictures of val and of test."""
        self._splits, self._digests = dict(self._splits), dict(self._digests)
        for split in ("val", "test"):
            held = decoded[split]
            if len(held) > count:
                chosen = stratified_order(held.labels, len(held), self.split_seed)[:count].sort().values
                self._splits[split] = self._splits[split].select(chosen)
                self._digests[split] = held.select(chosen).digest

    def setup(self, stage: str) -> None:
        """Prepare, if nobody has."""
        self.prepare()

    @property
    def name(self) -> str:  # type: ignore[override]  # Lightning declares a variable that it never sets
        """What results call this data set."""
        return self.source.name

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of every picture, or of every frame."""
        return self.pictures("train").shape

    @property
    def frames(self) -> int | None:
        """How many frames each clip has; None where there are single pictures."""
        shown = self.pictures("train")
        return shown.frames if isinstance(shown, Clips) else None

    @property
    def actions(self) -> dict[str, float]:
        """What is done from frame to frame, in order, each with the size of the largest step that training shows.

        A size of 0 is that of an action that is always 0.
        """
        self.prepare()
        return dict(self._actions)

    @property
    def class_names(self) -> list[str]:
        """The names of the labels, in their order; empty when there are none."""
        self.prepare()
        return self._class_names

    @property
    def flippable(self) -> bool:
        """Whether the mirror image of a picture is as likely as the picture."""
        self.prepare()
        return self.source.flippable

    @property
    def split_digests(self) -> dict[str, str]:
        """The sha256 of what each split holds, before resizing; after ``limit`` and ``held_out``."""
        self.prepare()
        return dict(self._digests)

    @property
    def digest(self) -> str:
        """The sha256 over all there is in the splits and the size it is brought to: equal digests, equal data."""
        facts = json.dumps([self.everything.split_digests, list(self.image_shape)], sort_keys=True)
        return hashlib.sha256(facts.encode()).hexdigest()

    def pictures(self, split: str) -> Pictures:
        """Return the pictures of train, val or test."""
        if split not in SPLITS:
            raise UserError(f"there is no split '{split}': type train, val or test{did_you_mean(split, SPLITS)}")
        self.prepare()
        return self._splits[split]

    def whole(self, split: str) -> Iterator[Tensor]:
        """Yield the photographs that a split was cut from, uint8 ``(C, H, W)``, of any size.

        Raises:
            UserError: nothing was cut.
        """
        self.prepare()
        if self._whole is None:
            raise UserError(f"The pictures of {self.name} are not cut from larger ones: type metrics.whole=false.")
        photographs = self._whole(split)
        if self.held_out is None or split == "train":
            return photographs
        side = SIDE * max(self.image_shape[1:])
        return (_middle(one, side) for one in itertools.islice(photographs, max(1, self.held_out // PHOTOGRAPH)))

    @property
    def everything(self) -> "ImageData":
        """The same data with all that is held out, whatever ``held_out`` says."""
        self.prepare()
        return self._everything or self

    @property
    def columns(self) -> list[str]:
        """What the pictures can be grouped by: their label, and whatever the source tells of each."""
        self.prepare()
        return list(dict.fromkeys([*(["label"] if self._class_names else []), *self._attributes()]))

    def groups(self, column: str, split: str) -> tuple[list[str], Tensor]:
        """Return the names of the groups that a column divides the data into, and those of a split's pictures, int64.

        The names are those of all splits, so that a group that a split lacks is not passed over in silence.

        Raises:
            UserError: there is no such column.
        """
        pictures = self.pictures(split)
        if column == "label" and pictures.labels is not None:
            return list(self._class_names), pictures.labels
        columns = self._attributes()
        if column not in columns or pictures.numbers is None:
            if not self.columns:
                raise UserError(
                    f"The pictures of {self.name} cannot be grouped, since nothing is said of them: put them into class"
                    f" folders, or a {TABLE} beside them with the columns file_name and, say, {column}."
                )
            raise UserError(
                f"There is no '{column}' to group the pictures of {self.name} by{did_you_mean(column, self.columns)}:"
                f" type groups=<one of {', '.join(self.columns)}>."
            )
        values = [value or UNSTATED for value in columns[column]]
        names = sorted(set(values), key=_natural)
        codes = {name: code for code, name in enumerate(names)}
        return names, torch.tensor([codes[value] for value in values], dtype=torch.int64)[pictures.numbers]

    def attributes(self, split: str) -> dict[str, list[str]]:
        """Return what is said of each picture of a split, by column; labels are none of it."""
        numbers = self.pictures(split).numbers
        if numbers is None:
            return {}
        return {name: [values[number] for number in numbers.tolist()] for name, values in self._attributes().items()}

    def captions(self, split: str) -> list[str]:
        """Return the caption of each picture of a split; an empty list where there are none."""
        numbers, captions = self.pictures(split).numbers, self._captions()
        return [captions[number] for number in numbers.tolist()] if captions and numbers is not None else []

    @functools.cached_property
    def vocabulary(self) -> list[str]:
        """The words of all training captions, sorted."""
        return Vocabulary.of(self.captions("train")).words

    def attribute_data(self, count: int) -> AttributeData | None:
        """Return pictures to learn attributes from, none of them in a split; None where no more can be made."""
        self.prepare()
        return self._attribute_data(count) if self._attribute_data is not None else None

    def batches(self, split: str, size: int, count: int | None = None) -> Iterator[tuple[Tensor, Tensor | None]]:
        """Yield the pictures of a split once, in order, unchanged, as float in [-1, 1], with labels or None.

        ``count`` stops after that many pictures; the last batch may be smaller than ``size``. Clips are
        ``(b, T, C, H, W)``.
        """
        pictures = self.pictures(split)
        total = len(pictures) if count is None else min(count, len(pictures))
        for start in range(0, total, size):
            indices = torch.arange(start, min(start + size, total))
            labels = None if pictures.labels is None else pictures.labels[indices]
            yield images.from_uint8(pictures.batch(indices)), labels

    def train_dataloader(self) -> Iterable[dict[str, Tensor]]:
        """Return endless batches, uint8, from position ``first_image`` on; this device's part when there are several.

        Where ``captioned``, with captions as the numbers of words (`Vocabulary.tokens`).

        Raises:
            UserError: when the batch cannot be shared out evenly.
        """
        rank, world_size = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        if self.batch_size % world_size:
            raise UserError(
                f"data.batch_size={self.batch_size} cannot be shared by {world_size} devices: type "
                f"data.batch_size={world_size * max(1, round(self.batch_size / world_size))}"
            )
        pictures = self.pictures("train")
        balanced = self.sampling == "balanced"
        tokens = Vocabulary(self.vocabulary).tokens(self.captions("train")) if self.captioned else None
        stream = TrainStream(pictures, self.seed, self.first_image, self.batch_size, rank, world_size, balanced, tokens)
        if not isinstance(pictures, (FilePictures, DrawnClips)) or self.workers == 0:
            return stream
        # a loader draws a seed for its workers; its own generator keeps it from moving the global one
        return DataLoader(
            stream,
            batch_size=None,
            num_workers=self.workers,
            pin_memory=torch.cuda.is_available(),
            generator=torch.Generator().manual_seed(0),
        )

    def on_after_batch_transfer(self, batch: dict[str, Tensor], dataloader_idx: int) -> dict[str, Tensor]:
        """Return the batch with float images in [-1, 1], augmented when training, on the device they are on."""
        pictures = images.from_uint8(batch["images"])
        if self.augment is not None and self.trainer is not None and self.trainer.training:
            pictures = self.augment(pictures)
        return {**batch, "images": pictures}


def _middle(photograph: Tensor, side: int) -> Tensor:
    """Return what is no further from the centre of a picture ``(C, H, W)`` than half of ``side`` pixels."""
    top, left = (max(0, (length - side) // 2) for length in photograph.shape[1:])
    return photograph[:, top : top + side, left : left + side]


def _natural(name: str) -> tuple[bool, float, str]:
    """Return what names are sorted by: numbers by size, then words, then what is not stated."""
    try:
        number = float(name)
    except ValueError:
        number = math.nan
    return (True, float(name == UNSTATED), name) if math.isnan(number) else (False, number, name)
