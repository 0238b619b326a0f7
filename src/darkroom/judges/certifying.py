"""Does a judge see damage, and the more of it the more there is?

Pictures are damaged in four ways, each at six rising strengths. A judge is certified when, for every way,

- its distance between a picture and the damaged picture ranks the strengths: Spearman's correlation of distance and
  strength, taken for each picture on its own and averaged over pictures, is at least 0.95;
- the same holds of the mean distance between features, which are all that the scores look at;
- the FID of the damaged pictures against the same pictures undamaged rises with every step; on few pictures a step
  may fall by less than the FID between two halves of the undamaged ones, which is what chance alone does to it.

The first is a statement about single pictures and uses every layer (`Judge.distance`), because a network that has
learned to name a picture whatever happens to it hides small damage from its last layer; how well the features alone
rank the strengths of a single picture is stated beside it, and decides nothing.
"""

import math

import numpy as np
import torch
from torch import Tensor

from darkroom.data.contract import Data, Progress
from darkroom.errors import UserError
from darkroom.images import as_jpeg, from_uint8, to_uint8
from darkroom.judges import statistics
from darkroom.judges.certificate import LEAST, STRENGTHS, Certificate, Ranking
from darkroom.judges.judge import Judge

IMAGES = 500  # pictures looked at; of a smaller split all
CHUNK = 100  # pictures that are damaged together; noise depends on it


def damaged(images: Tensor, kind: str, strength: float, seed: int) -> Tensor:
    """Return uint8 ``(N, C, H, W)`` images damaged in one of the ways of `STRENGTHS`, uint8.

    With the same seed the noise is the same but for its amplitude, and a square lies within every larger one.
    """
    from torchvision.transforms.v2 import functional

    side = min(images.shape[2:])
    if kind == "blur":
        sigma = strength * side
        radius = min(math.ceil(3 * sigma), side - 1)  # reflection at the border reaches no further
        return to_uint8(functional.gaussian_blur(from_uint8(images), [2 * radius + 1] * 2, [sigma, sigma]))
    if kind == "noise":
        noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(seed))
        return to_uint8(from_uint8(images) + 2 * strength * noise)
    if kind == "jpeg":
        return torch.stack([as_jpeg(image, round(strength)) for image in images])
    covered = images.clone()
    square = math.ceil(strength * side)
    height, width = images.shape[2:]
    places = torch.rand(len(images), 2, generator=torch.Generator().manual_seed(seed))
    room = torch.tensor([height - square, width - square])
    for image, (top, left) in zip(covered, (places * room).round().int().tolist(), strict=True):
        functional.erase(image, top, left, square, square, torch.tensor(128, dtype=torch.uint8), inplace=True)
    return covered


def seed_of(seed: int, first: int) -> int:
    """Return the seed of the pictures from position ``first`` on."""
    return int(np.random.SeedSequence([seed, first]).generate_state(1)[0])


def certify(
    judge: Judge,
    data: Data,
    split: str = "test",
    images: int = IMAGES,
    seed: int = 0,
    progress: Progress | None = None,
) -> Certificate:
    """Put a judge to the test on the first ``images`` pictures of a split.

    ``seed`` draws noise and the places of squares. Raises `UserError` for a split of fewer than two pictures.
    """
    pictures = data.pictures(split)
    count = min(images, len(pictures))
    if count < 2:
        raise UserError(f"{count} pictures in the {split} split of '{data.name}' certify no judge: expected 2 or more")
    clean: list[Tensor] = []
    distances: dict[tuple[str, float], list[Tensor]] = {}
    features: dict[tuple[str, float], list[Tensor]] = {}
    for indices in torch.split(torch.arange(count), CHUNK):
        batch = pictures.batch(indices)
        seen = judge.seen(batch)
        clean.append(seen.features)
        for kind, (_, strengths) in STRENGTHS.items():
            for strength in strengths:
                other = judge.seen(damaged(batch, kind, strength, seed_of(seed, int(indices[0]))))
                distances.setdefault((kind, strength), []).append(seen.distance(other))
                features.setdefault((kind, strength), []).append(other.features)
        if progress:
            progress(int(indices[-1]) + 1, count)
    reference = torch.cat(clean)
    # Of all the pictures that are asked for every step must rise; fewer are given the benefit of the doubt.
    chance = statistics.frechet(reference[::2], reference[1::2]) if 4 <= count < IMAGES else 0.0

    def ranking(kind: str) -> Ranking:
        unit, strengths = STRENGTHS[kind]
        table = torch.stack([torch.cat(distances[kind, strength]) for strength in strengths], dim=1).double().numpy()
        moved = [torch.cat(features[kind, strength]) for strength in strengths]
        far = torch.stack([(after - reference).norm(dim=1) for after in moved], dim=1).double().numpy()
        correlations = spearman(table)
        return Ranking(
            unit=unit,
            strengths=list(strengths),
            distances=table.mean(axis=0).tolist(),
            low=np.quantile(table, 0.1, axis=0).tolist(),
            high=np.quantile(table, 0.9, axis=0).tolist(),
            spearman=float(correlations.mean()),
            ranked=float((correlations >= LEAST).mean()),
            feature_distances=far.mean(axis=0).tolist(),
            feature_spearman=float(spearman(far).mean()),
            mean_feature_spearman=float(spearman(far.mean(axis=0, keepdims=True))[0]),
            fids=[statistics.frechet(after, reference) for after in moved],
            chance=chance,
        )

    return Certificate(
        data=data.name,
        split=split,
        split_digest=data.split_digests[split],
        images=count,
        seed=seed,
        rankings={kind: ranking(kind) for kind in STRENGTHS},
    )


def spearman(table: np.ndarray) -> np.ndarray:
    """Return Spearman's correlation of each row of ``(n, k)`` with 1, 2, …, k; equal values share their rank.

    A row that is all alike, or not finite, ranks nothing: 0.
    """
    from scipy.stats import rankdata

    finite = np.isfinite(table).all(axis=1)
    ranks = rankdata(np.where(finite[:, None], table, 0.0), axis=1)
    ranks -= ranks.mean(axis=1, keepdims=True)
    order = np.arange(table.shape[1]) - (table.shape[1] - 1) / 2
    size = np.sqrt((ranks**2).sum(axis=1) * (order**2).sum())
    correlations: np.ndarray = (ranks @ order) / np.where(size > 0, size, 1.0)
    return correlations
