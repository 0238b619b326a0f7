"""Do pictures show what their captions ask for? An eye that knows every attribute says so, attribute by attribute."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from darkroom import digests
from darkroom.data.contract import Data, Progress
from darkroom.data.source import COMBINATION, HELD_OUT, AttributeData
from darkroom.errors import UserError
from darkroom.images import from_uint8
from darkroom.isolation import one_thread, preserve_rng_state
from darkroom.networks.reader import Reader
from darkroom.references import remembered

LESSON = 40_000  # pictures that an eye is taught with
PASSES = 3
BATCH = 128
RATE = 2e-3
LEAST = 0.99  # of the attributes of real pictures that an eye must read right before it may say what others show
CHUNK = 250


class Captioned(Data, Protocol):
    """Data that say in a sentence, and by attributes, what each picture shows."""

    def captions(self, split: str) -> list[str]:
        """Return the caption of each picture of a split."""
        ...

    def attributes(self, split: str) -> dict[str, list[str]]:
        """Return what is said of each picture of a split, by column."""
        ...

    def attribute_data(self, count: int) -> AttributeData | None:
        """Return pictures to learn attributes from; None where no more can be made."""
        ...


class Eye:
    """A small network that reads attributes off pictures, and how well it does so on real ones.

    eye = Eye.of(data, cache)
    eye.read(images)       # {"shape": (n,), "colour": (n,)} int64, of uint8 images
    eye.accuracy           # 0.995
    """

    def __init__(self, net: Reader, names: Mapping[str, list[str]]) -> None:
        self.net = net.eval().requires_grad_(False)
        self.names = {attribute: list(values) for attribute, values in names.items()}
        self.hash = digests.of_tensors(net.state_dict())
        self.accuracy = 0.0

    @classmethod
    def of(cls, data: Captioned, cache: Path, progress: Progress | None = None) -> "Eye | None":
        """Return the eye of some data, taught before or now; None where no lesson can be made.

        Raises:
            UserError: it misreads the real pictures of the test split too often to be believed about others.
        """
        lesson = data.attribute_data(LESSON)
        if lesson is None:
            return None
        key = {
            "names": lesson.names,
            "lesson": digests.of_tensors({"pixels": lesson.pixels, **lesson.targets}),
            "teaching": [PASSES, BATCH, RATE],
        }
        net = reader(lesson)
        net.load_state_dict(remembered(cache / "eyes", "attributes", key, lambda: dict(teach(lesson, progress))))
        eye = cls(net, lesson.names)
        pictures = data.pictures("test")
        right = eye.right(pictures.batch(torch.arange(len(pictures))), data.attributes("test"))
        eye.accuracy = right.mean().item()
        if eye.accuracy < LEAST:
            raise UserError(
                f"The eye for the attributes of '{data.name}' reads only {eye.accuracy:.1%} of them right on the real"
                f" pictures of test, where {LEAST:.0%} are needed: type a larger data.image_size, or metrics=none."
            )
        return eye

    @torch.no_grad()
    def read(self, images: Tensor) -> dict[str, Tensor]:
        """Return what uint8 images ``(n, C, H, W)`` show: the number of a value for each attribute, ``(n,)``."""
        parts = [self.net(from_uint8(part.cpu())) for part in torch.split(images, CHUNK)]
        return {name: torch.cat([part[name].argmax(dim=1) for part in parts]) for name in self.names}

    def right(self, images: Tensor, asked: Mapping[str, Sequence[str]]) -> Tensor:
        """Return which attributes of uint8 images are as asked for, float ``(n, attributes)`` of 1 and 0."""
        seen = self.read(images)
        columns = []
        for name, values in self.names.items():
            numbers = {value: number for number, value in enumerate(values)}
            columns.append(seen[name] == torch.tensor([numbers[value] for value in asked[name]]))
        return torch.stack(columns, dim=1).float()


def reader(lesson: AttributeData) -> Reader:
    """Return the network for a lesson, with new weights; the global random state stays as it is."""
    _, channels, height, width = lesson.pixels.shape
    with preserve_rng_state():
        torch.default_generator.manual_seed(0)
        return Reader((channels, height, width), {name: len(values) for name, values in lesson.names.items()})


def teach(lesson: AttributeData, progress: Progress | None = None) -> dict[str, Tensor]:
    """Return the weights of a reader of these pictures: AdamW with one cycle of its rate, the same wherever it runs."""
    generator = torch.Generator().manual_seed(0)
    net = reader(lesson).train()
    count = len(lesson.pixels)
    steps = max(1, PASSES * count // BATCH)
    optimizer = torch.optim.AdamW(net.parameters(), lr=RATE, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=RATE, total_steps=steps)
    with one_thread():
        for step in range(steps):
            indices = torch.randint(0, count, (BATCH,), generator=generator)
            logits = net(from_uint8(lesson.pixels[indices]))
            losses = [F.cross_entropy(logits[name], lesson.targets[name][indices]) for name in lesson.names]
            optimizer.zero_grad(set_to_none=True)
            torch.stack(losses).sum().backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            if progress:
                progress(min(PASSES * count, (step + 1) * BATCH), PASSES * count)
    return {name: tensor.detach() for name, tensor in net.state_dict().items()}


def obedience(right: Tensor, attributes: Sequence[str], combination: Sequence[str] | None) -> dict[str, float]:
    """Return how much of what was asked for is there, of pictures whose combinations training shows and of others.

    ``right`` is ``(n, attributes)``. ``attribute_accuracy`` is the share of attributes that are as asked for,
    ``prompt_accuracy`` the share of pictures in which all are. ``combination`` is the column that says what was held
    out; without it, everything counts as seen.
    """
    held = torch.tensor([value == HELD_OUT for value in combination or ["" for _ in right]])
    values = {}
    for name, chosen in (("seen", ~held), ("held_out", held)):
        if chosen.any():
            values[f"attribute_accuracy_{name}"] = right[chosen].mean().item()
            values[f"prompt_accuracy_{name}"] = right[chosen].prod(dim=1).mean().item()
    for name, share in zip(attributes, right.mean(dim=0).tolist(), strict=True):
        values[f"accuracy_of_{name}"] = share
    return values


def combinations(asked: Mapping[str, Sequence[str]], count: int) -> list[str] | None:
    """Return whether training shows what each of ``count`` pictures is asked to show, by turns; None if all is."""
    column = asked.get(COMBINATION)
    return [column[index % len(column)] for index in range(count)] if column else None
