"""What else changes when a picture is edited? Readers say what pictures show, before and after.

readers = [Named.by_judge(judge), Moments.of(real)]
leakage = measure(read(readers, before), read(readers, after), "class", 7)
leakage.moved, leakage.leaked, leakage.ratio       # 0.81 0.22 0.27
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from darkroom.errors import UserError
from darkroom.images import from_uint8
from darkroom.judges.eye import CHUNK, Eye
from darkroom.judges.judge import Extractor

Reading = dict[str, Tensor]  # (B, K) probabilities of the K values of each attribute
CLASS = "class"
COARSE = 16  # pixels a side that a linear reader sees
KNOTS = (1 / 6, 1 / 2, 5 / 6)  # the quantiles of real pictures that stand for little, medium and much


class Reader(Protocol):
    """Whoever says what pictures show."""

    names: Mapping[str, Sequence[str]]  # the values of each attribute

    def __call__(self, pictures: Tensor) -> Reading:
        """Return the probability of every value of every attribute, ``(B, K)``, of uint8 pictures ``(B, C, H, W)``."""
        ...


class Named:
    """A frozen network that names what pictures show: the judge of a data set, or the eye for its attributes."""

    def __init__(self, names: Mapping[str, Sequence[str]], logits: Callable[[Tensor], Mapping[str, Tensor]]) -> None:
        self.names, self.logits = names, logits

    @classmethod
    def by_judge(cls, judge: Extractor) -> "Named":
        """Return a reader of classes."""
        return cls({CLASS: judge.class_names}, lambda pictures: {CLASS: judge.logits(pictures)})

    @classmethod
    def by_eye(cls, eye: Eye) -> "Named":
        """Return a reader of all attributes that an eye knows."""
        return cls(eye.names, lambda pictures: eye.net(from_uint8(pictures.cpu())))

    @classmethod
    def by_examples(cls, pictures: Tensor, values: Mapping[str, Tensor], names: Mapping[str, Sequence[str]]) -> "Named":
        """Return a reader of attributes that nobody else reads, as far as a linear one can, from uint8 pictures.

        ``values`` ``(N,)`` are the number of the value that each picture has. Logistic regressions on pixels, of
        pictures reduced to ``COARSE`` pixels a side: they see what is where, and no shape that moves.
        """
        from sklearn.linear_model import LogisticRegression

        seen = _coarse(pictures)
        fitted = {name: LogisticRegression(max_iter=200).fit(seen.numpy(), values[name].numpy()) for name in names}

        def logits(pictures: Tensor) -> dict[str, Tensor]:
            return {name: _log_shares(model, _coarse(pictures), len(names[name])) for name, model in fitted.items()}

        return cls(names, logits)

    @torch.no_grad()
    def __call__(self, pictures: Tensor) -> Reading:
        """Return probabilities."""
        parts = [self.logits(part) for part in torch.split(pictures, CHUNK)]
        return {name: torch.cat([part[name].softmax(dim=1).cpu() for part in parts]) for name in self.names}


def _coarse(pictures: Tensor) -> Tensor:
    """Return uint8 pictures ``(B, C, H, W)`` as few numbers, float32 ``(B, d)`` in [-1, 1]."""
    size = min(COARSE, pictures.shape[2]), min(COARSE, pictures.shape[3])
    return F.adaptive_avg_pool2d(from_uint8(pictures.cpu()), size).flatten(1)


def _log_shares(model: Any, seen: Tensor, count: int) -> Tensor:
    """Return the log-probabilities ``(B, count)``; values that no example had have next to none."""
    found = torch.full((len(seen), count), -30.0)
    found[:, torch.from_numpy(model.classes_)] = torch.from_numpy(model.predict_log_proba(seen.numpy())).float()
    return found


class Moments:
    """Stroke and slant of any picture, by the moments of its brightness: no network, no lesson.

    ``stroke`` is the mean brightness, the mass of a white stroke on black; ``slant`` how far a row lies to the right of
    the row below it, as the second moments have it (upright is 0, a digit written by hand often 0.2). A number is read
    as little, medium or much by where it stands among real pictures, ``knots`` (their 1/6, 1/2 and 5/6 quantiles), and
    between two knots as partly the one, partly the other.

    Some of what they call leakage is rightly so: a 1 has less ink than the 8 that it was made from.
    """

    names: Mapping[str, Sequence[str]] = {
        "stroke": ("light", "medium", "heavy"),
        "slant": ("to the left", "medium", "to the right"),
    }

    def __init__(self, knots: Mapping[str, Tensor]) -> None:
        self.knots = knots

    @classmethod
    def of(cls, pictures: Tensor) -> "Moments":
        """Take the knots from real pictures, uint8 ``(N, C, H, W)``."""
        shares = torch.tensor(KNOTS, dtype=torch.float64)
        return cls({name: values.quantile(shares) for name, values in moments(pictures).items()})

    def __call__(self, pictures: Tensor) -> Reading:
        """Return how far each value applies."""
        return {name: _partly(values, self.knots[name]) for name, values in moments(pictures).items()}


def moments(pictures: Tensor) -> dict[str, Tensor]:
    """Return ``stroke``, from 0 to 1, and ``slant``, pixels to the right per pixel up, float64 ``(B,)`` each."""
    light = pictures.double().mean(dim=1).cpu() / 255
    _, height, width = light.shape
    mass = light.sum(dim=(1, 2)).clamp(min=1e-12)
    down = torch.arange(height, dtype=torch.float64)[None, :, None]
    across = torch.arange(width, dtype=torch.float64)[None, None, :]
    middle_down = (light * down).sum(dim=(1, 2)) / mass
    middle_across = (light * across).sum(dim=(1, 2)) / mass
    down, across = down - middle_down[:, None, None], across - middle_across[:, None, None]
    together = (light * down * across).sum(dim=(1, 2))
    spread = (light * down.square()).sum(dim=(1, 2)).clamp(min=1e-12)
    return {"stroke": light.mean(dim=(1, 2)), "slant": -together / spread}


def _partly(values: Tensor, knots: Tensor) -> Tensor:
    """Return how far each number is each knot, ``(B, K)``: 1 at a knot, in proportion between two, rows add up to 1."""
    between = (knots[1:] - knots[:-1]).clamp(min=1e-12)
    past = ((values[:, None] - knots[:-1]) / between).clamp(0, 1)  # how far from each knot to the next
    ones = torch.ones(len(values), 1, dtype=past.dtype)
    return torch.cat([ones, past], dim=1) - torch.cat([past, 0 * ones], dim=1)


def read(readers: Sequence[Reader], pictures: Tensor) -> Reading:
    """Return what all readers say of uint8 pictures ``(B, C, H, W)``; where two read the same, the first counts."""
    found: Reading = {}
    for reader in readers:
        found = reader(pictures) | found
    return found


@dataclass(frozen=True)
class Leakage:
    """What an edit changed, over all pictures.

    ``moved`` is how much probability the wanted value gained, at most 1; ``changes`` are the mean total-variation
    distances between before and after of each attribute, from 0 (all stays) to 1; ``leaked`` is their mean over all but
    the wanted one. What cannot be read is not a number.
    """

    moved: float
    leaked: float
    changes: dict[str, float]

    @property
    def ratio(self) -> float:
        """How much leaks for what is gained; infinite where nothing is."""
        if math.isnan(self.moved):
            return math.nan
        return self.leaked / self.moved if self.moved > 0 else math.inf


def measure(before: Reading, after: Reading, attribute: str, value: Tensor | int) -> Leakage:
    """Compare what is read of pictures before and after an edit that wanted an attribute to take a value.

    ``value`` is its number, one for all pictures or int64 ``(B,)``.

    Raises:
        UserError: the readings are of different pictures or attributes.
    """
    changed = changes(before, after)
    others = [change for name, change in changed.items() if name != attribute]
    moved = math.nan
    if attribute in before:
        gained = after[attribute].double() - before[attribute].double()
        wanted = torch.as_tensor(value).expand(len(gained))
        moved = gained.gather(1, wanted[:, None]).mean().item()
    return Leakage(moved, sum(others) / len(others) if others else math.nan, changed)


def changes(before: Reading, after: Reading) -> dict[str, float]:
    """Return the mean total-variation distance between before and after of each attribute, from 0 to 1.

    Raises:
        UserError: the readings are of different pictures or attributes.
    """
    sizes = [{name: tuple(shares.shape) for name, shares in reading.items()} for reading in (before, after)]
    if sizes[0] != sizes[1]:
        raise UserError(
            f"Before an edit {sizes[0]} was read and after it {sizes[1]}: give the same pictures to the same readers."
        )
    return {
        name: 0.5 * (after[name].double() - before[name].double()).abs().sum(dim=1).mean().item() for name in before
    }


def probability_of_neither(way: Tensor, start: Tensor, end: Tensor) -> float:
    """Return how probable it is that a picture between two others shows what neither of them shows, from 0 to 1.

    ``way`` are probabilities ``(B, K)`` of pictures in between, ``start`` and ``end`` the values of the two, ``(B,)``.
    """
    of_start = way.gather(1, start[:, None]).squeeze(1)
    of_end = way.gather(1, end[:, None]).squeeze(1)
    kept = torch.where(start == end, of_start, of_start + of_end)
    return (1 - kept.double()).mean().item()
