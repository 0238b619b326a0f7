"""Do pictures of one kind become ones of another, and come back as they were?"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from darkroom import baselines
from darkroom import images as convention
from darkroom.data.contract import Data, Progress
from darkroom.errors import UserError
from darkroom.imaging.colour import linear
from darkroom.isolation import evaluating
from darkroom.losses.patches import SIZE, distance, projected
from darkroom.losses.structure import luminance
from darkroom.metrics import paired
from darkroom.metrics.metric import Metric
from darkroom.metrics.protocol import of_pictures
from darkroom.metrics.scores import Scores
from darkroom.metrics.style import LEVELS, held_out_directions, scaled
from darkroom.models.abilities import Translates
from darkroom.numbers import Count

CHUNK = 50  # pictures translated at once
SHOWN = 8  # pictures on a sheet, of each kind
SCALES = (1.0, 0.5)  # at which patches are compared
STRIDE = 2  # every so-manieth patch, each way
MOST = 100.0  # decibels that a picture which comes back unharmed counts
WAYS = (("a_to_b", "b_to_a"), ("b_to_a", "a_to_b"))


class Translation(Metric):
    """Translate held-out pictures of both kinds, and translate them back.

    - ``distance``: sliced Wasserstein distance of the patches of all results from those of all held-out pictures of the
      kind wanted, at two scales, in levels; mean of both ways. Beside it what it is of the pictures as they are
      (``content``), recoloured by the linear map between both kinds (``colour``), and of training pictures of the kind
      wanted (``oracle``): nobody gets below that.
    - ``cycle_psnr``: of pictures that came back, in decibels.
    - ``content_ssim``: of the brightness of results and pictures.
    """

    needs = Translates
    objective: tuple[str, str] | None = ("distance", "min")

    def __init__(self, every: Count = 10_000, images: Count = 100, test_images: Count = 400) -> None:
        """Choose after how many training images to score, and how many pictures of each kind of val and of test."""
        self.every, self.images, self.test_images = every, images, test_images

    def check(self, model: object, data: Data, splits: Sequence[str]) -> None:
        """Refuse a split without pictures of both kinds.

        Raises:
            UserError: that is so.
        """
        for split in splits:
            for kind in (0, 1):
                _indices(data, split, kind)

    def score(
        self, model: Translates, data: Data, split: str, exact: bool = False, progress: Progress | None = None
    ) -> Scores:
        """Translate; ``exact`` takes more pictures, and scores what stands beside."""
        count = self.test_images if exact else self.images
        kinds = [_of_kind(data, split, kind, count) for kind in (0, 1)]
        values: dict[str, float] = {}
        rows = []
        with evaluating(model, model.device):
            for kind, (there, back) in enumerate(WAYS):
                given, wanted = kinds[kind], kinds[1 - kind]
                made = _translated(model, given, there)
                returned = _translated(model, made, back)
                rows += [part[convention.evenly(len(given), SHOWN)] for part in (given, made, returned)]
                made = convention.as_saved(made)
                found = {
                    "distance": apart(made, wanted),
                    "cycle_psnr": paired.psnr(returned, given).clamp(max=MOST).mean().item(),
                    "content_ssim": paired.ssim(luminance(made), luminance(given)).mean().item(),
                }
                if exact:
                    found["distance_content"] = apart(given, wanted)
                    found["distance_colour"] = apart(_recoloured(given, wanted), wanted)
                    found["distance_oracle"] = apart(_of_kind(data, "train", 1 - kind, len(wanted)), wanted)
                for name, value in found.items():
                    values[name] = values.get(name, 0.0) + value / 2
                    values[f"{name}_{there}"] = value
                if progress:
                    progress(kind + 1, 2)
        values = {name: value for name, value in values.items() if not _apart_of_baseline(name)}
        protocol = of_pictures(data, split, sum(map(len, kinds)), model) | {"value_type": "uint8, rounded"}
        most = max(map(len, rows))
        blank = [torch.cat([row, row.new_zeros(most - len(row), *row.shape[1:])]) for row in rows]
        drawn = convention.sheet(convention.to_uint8(torch.cat(blank)), columns=most, least=96)
        beside = {"content": "as it was", "colour": "colours alone", "oracle": "real train images"}
        return Scores(values, protocol, {"translated": drawn}, references=baselines.ending(values, beside))


def apart(images: Tensor, others: Tensor) -> float:
    """Return how far the patches of all images together are from those of all others, in levels."""
    found: list[float] = []
    for scale in SCALES:
        one, other = scaled(images, scale), scaled(others, scale)
        if found and min(*one.shape[2:], *other.shape[2:]) < 2 * SIZE:
            break
        filters = held_out_directions(64, images.shape[1])
        first, second = (_cloud(part, filters) for part in (one, other))
        found.append(distance(first, second).item() * LEVELS)
    return float(np.mean(found))


def _cloud(images: Tensor, filters: Tensor) -> Tensor:
    """Return the patches of all images along each direction, in ascending order, ``(1, K, n)``."""
    return projected(images, filters, STRIDE).transpose(0, 1).flatten(1).sort(dim=1).values[None]


def _apart_of_baseline(name: str) -> bool:
    """Say whether a value is that of a baseline in one direction: the mean of both is enough."""
    return any(mark in name for mark in ("_content_", "_colour_", "_oracle_")) and not name.startswith("content")


def _of_kind(data: Data, split: str, kind: int, count: int) -> Tensor:
    indices = _indices(data, split, kind)
    return convention.from_uint8(data.pictures(split).batch(indices[convention.evenly(len(indices), count)]))


def _indices(data: Data, split: str, kind: int) -> Tensor:
    """Return where the pictures of a kind are in a split."""
    pictures = data.pictures(split)
    if pictures.labels is None:
        raise UserError(f"The pictures of {data.name} are of no kind: type data=two_folders.")
    indices = (pictures.labels == kind).nonzero()[:, 0]
    if not len(indices):
        raise UserError(
            f"There is no picture of {data.class_names[kind]} in {split}: hold out more, type"
            f" data.source.{split}=<more>."
        )
    return indices


def _translated(model: Translates, images: Tensor, direction: str) -> Tensor:
    parts = torch.split(images, CHUNK)
    return torch.cat([model.translate(part.to(model.device), direction).cpu() for part in parts])


def _recoloured(images: Tensor, others: Tensor) -> Tensor:
    """Return all images after the one linear map from all their colours to all of the others'."""
    first, second = (part.transpose(0, 1).flatten(2) for part in (images, others))  # (C, B, HW): one long picture
    return convention.as_saved(
        linear(first, second).view(images.shape[1], len(images), *images.shape[2:]).transpose(0, 1)
    )
