"""What a data set must offer to be learnt from: a name and one `load`."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, runtime_checkable

from torch import Tensor

from darkroom.data.pictures import Pictures

COMBINATION = "combination"  # the column that says whether training shows what a picture shows
SEEN, HELD_OUT = "seen", "held out"  # what stands in it


@dataclass(frozen=True)
class AttributeData:
    """Pictures made to learn attributes from: nothing is held out, and none is in any split."""

    pixels: Tensor  # (N, C, H, W) uint8
    names: dict[str, list[str]]  # the values of every attribute
    targets: dict[str, Tensor]  # which of them each picture has, int64 (N,)


@dataclass(frozen=True)
class Collection:
    """What a source found: one or more parts, named train, val or test.

    A part that the source's authors did not separate is carved out of train later; ``val`` and ``test`` say how much
    of it, as a share of the pictures (below 1) or as a count.

    ``attributes`` is called when pictures are first to be grouped, and returns columns: the value of each picture by
    its number (`Pictures.numbers`), "" where nothing is stated. ``captions`` likewise returns a sentence a picture, and
    none at all where there are no captions. ``attribute_data`` makes as many pictures as asked for, to learn
    attributes from.
    ``whole`` yields the pictures of a split, uint8 ``(C, H, W)`` of any size, of which those in ``parts`` were cut.
    ``actions`` names what is done from frame to frame (`Clips.actions`), in order, each with the size of the largest
    step that training shows.
    """

    parts: dict[str, Pictures]
    class_names: list[str] = field(default_factory=list)
    val: float = 0.1
    test: float = 0.1
    attributes: Callable[[], Mapping[str, Sequence[str]]] = dict
    captions: Callable[[], Sequence[str]] = list
    attribute_data: Callable[[int], AttributeData] | None = None
    actions: Mapping[str, float] = field(default_factory=dict)
    whole: Callable[[str], Iterator[Tensor]] | None = None


@runtime_checkable
class Source(Protocol):
    """A data set that can be found, or made, and decoded."""

    name: str
    flippable: bool  # whether the mirror image of a picture is as likely as the picture

    def load(self, folder: Path, cache: Path, image_size: int | None, channels: int | None) -> Collection:
        """Return the pictures, decoded once, looking for files under ``folder`` and keeping results under ``cache``.

        ``image_size`` and ``channels`` are what the pictures will be brought to. A source with a fixed size may return
        that instead, in memory; one that draws or decodes on request must honour them.

        Raises:
            UserError: when the data are missing, damaged or unusable.
        """
        ...
