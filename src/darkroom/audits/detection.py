"""Can a detector tell drawn pictures from real ones, and those of generators that it never saw?

A detector is a classifier of the two classes of `data.detection`. Positive is drawn; the evidence for it is the
difference of the two logits, which, unlike a probability, never rounds to one.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision.transforms.v2 import functional

from darkroom.audits import fairness
from darkroom.data.detection import CLASS_NAMES, GENERATED, REAL, Gallery, Painter, RealOrGenerated
from darkroom.data.module import ImageData
from darkroom.data.pictures import TensorPictures
from darkroom.data.splits import stratified_order
from darkroom.errors import UserError
from darkroom.figures import rendered
from darkroom.images import as_jpeg, from_uint8
from darkroom.isolation import evaluating
from darkroom.metrics.protocol import Protocol
from darkroom.models.abilities import Classifies

ACCUSED = 0.01  # the share of real pictures that may be taken for drawn when `caught` is read off
RELIABLE = 0.9  # the AUC that the whole interval must lie above before a detector is said to recognise anything
BY_HEART = 0.05  # how far from 0.5 the AUC between real pictures may lie before it is spoken of
SHOWN = 16  # pictures of each kind on the sheet
AT_ONCE = 250  # pictures judged at a time

Floats = NDArray[np.float64]
Kind = Literal["trained on", "never seen", "control", "changed alike"]


def is_detector(class_names: Sequence[str]) -> bool:
    """Say whether a model of these classes tells real pictures from drawn ones."""
    return list(class_names) == CLASS_NAMES


def evidence(model: Classifies, pixels: Tensor) -> Floats:
    """Return how sure a detector is that uint8 pictures are drawn, as log-odds ``(n,)``; 0 is undecided."""
    with evaluating(model, model.device):
        parts = [
            model.predict(from_uint8(part).to(model.device)).double().cpu() for part in torch.split(pixels, AT_ONCE)
        ]
    logits = torch.cat(parts)
    return (logits[:, GENERATED] - logits[:, REAL]).numpy()


@dataclass(frozen=True)
class Row:
    """How well one heap of pictures is told from another.

    ``values``, ``low`` and ``high`` hold ``auroc``; ``accuracy`` at even odds, both kinds weighing the same; and
    ``caught``, the share of the drawn pictures that is recognised when one real picture in a hundred is accused.
    """

    name: str
    kind: Kind
    generated: int
    real: int
    values: dict[str, float]
    low: dict[str, float]
    high: dict[str, float]

    @property
    def reliable(self) -> bool:
        """Whether it is safe to say that these pictures are recognised."""
        return self.low["auroc"] >= RELIABLE

    @property
    def spoken(self) -> str:
        """The area under the curve with its interval, for a sentence."""
        return f"AUC {self.values['auroc']:.3f}, {self.low['auroc']:.3f} to {self.high['auroc']:.3f}"

    def to_dict(self) -> dict[str, object]:
        """Return plain containers."""
        numbers = {name: [self.values[name], self.low[name], self.high[name]] for name in self.values}
        return {"name": self.name, "kind": self.kind, "generated": self.generated, "real": self.real, **numbers}


@dataclass(frozen=True)
class DetectorAudit:
    """What a detector was found to be good for: rows, a verdict in words, a protocol and a sheet of its errors."""

    rows: list[Row]
    verdict: str
    protocol: Protocol = field(default_factory=dict)
    pictures: dict[str, NDArray[np.uint8]] = field(default_factory=dict)

    def to_dict(self) -> dict[str, object]:
        """Return plain containers."""
        return {"verdict": self.verdict, "rows": [row.to_dict() for row in self.rows], "protocol": self.protocol}


def measured(drawn: Floats, real: Floats) -> Callable[[Floats], Floats]:
    """Return what gives ``auroc``, ``accuracy`` and ``caught`` when picture ``i``, drawn ones first, counts w_i times.

    The ROC curve is sorted once for all weights ``(n,)``; pictures with equal evidence share a point of it. NaN where
    one kind has no weight.
    """
    both = np.concatenate([drawn, real])
    order = np.argsort(-both, kind="stable")
    ordered = both[order]
    is_drawn = order < len(drawn)
    ends = np.flatnonzero(np.append(np.diff(ordered) != 0, True))

    def measure(weights: Floats) -> Floats:
        weighted = weights[order]
        of_drawn, of_real = weighted * is_drawn, weighted * ~is_drawn
        if not of_drawn.any() or not of_real.any():
            return np.full(3, np.nan)
        found, accused = (np.append(0, kind.cumsum()[ends]) / kind.sum() for kind in (of_drawn, of_real))
        suspected = ordered > 0
        accuracy = (of_drawn @ suspected / of_drawn.sum() + of_real @ ~suspected / of_real.sum()) / 2
        return np.array([np.trapezoid(found, accused), accuracy, found[accused <= ACCUSED].max()])

    return measure


def compare(name: str, kind: Kind, drawn: Floats, real: Floats, resamples: int, confidence: float, seed: int) -> Row:
    """Return a row from the evidence for pictures of both kinds, with bootstrap intervals over the pictures.

    Where nothing at all was mistaken every resample says so too, and the interval would have no length; there it
    reaches as far as Jeffreys' does for as many successes in a row as there are pictures of the rarer kind.
    """
    measure, count = measured(drawn, real), len(drawn) + len(real)
    values = measure(np.ones(count))

    def resampled(indices: NDArray[np.int64]) -> Floats:
        return measure(np.bincount(indices, minlength=count).astype(np.float64))

    low, high = fairness.bootstrap(resampled, count, resamples, confidence, seed)
    rarer = min(len(drawn), len(real))
    sure = fairness.share(rarer, rarer, confidence).low
    low = np.where(values == 1, np.minimum(low, sure), low)
    high = np.where(values == 0, np.maximum(high, 1 - sure), high)
    names = ("auroc", "accuracy", "caught")
    as_dicts = [dict(zip(names, map(float, numbers), strict=True)) for numbers in (values, low, high)]
    return Row(name, kind, len(drawn), len(real), *as_dicts)


def audit_detector(
    model: Classifies,
    data: ImageData,
    others: Sequence[Painter | Gallery] = (),
    images: int = 10_000,
    resamples: int = 1000,
    confidence: float = 0.95,
    seed: int = 1,
) -> DetectorAudit:
    """Try a detector on what it has not seen: new seeds of its generator, other generators, changed pictures.

    Real are the test pictures of ``data``, at most ``images``, and as many are drawn with ``seed`` by every generator,
    asked for the same classes. A folder has no seeds: of the detector's own its test pictures are taken. Both kinds are
    changed alike in the rows on robustness, for a picture of unknown origin may be a changed real one.

    Raises:
        UserError: data of another kind, a seed of which the detector has seen pictures, or its own generator as one
            that it never saw.
    """
    source = data.source
    if not isinstance(source, RealOrGenerated):
        raise UserError(
            f"A detector is audited on the data it was trained on, and {data.name} are others: leave out data=."
        )
    data.prepare()
    own = source.forger
    assert own is not None
    if isinstance(own, Painter) and (split := next((s for s, used in source.seeds.items() if used == seed), None)):
        raise UserError(
            f"seed={seed} is what the {split} pictures of this detector were drawn with: type another, such as"
            f" seed={max(source.seeds.values()) + 1}."
        )
    for other in others:
        if isinstance(own, Painter) and isinstance(other, Painter) and other.weights == own.weights:
            raise UserError(
                f"generators= names {other.name}, which this detector was trained on: name others, or none, since its"
                " own is tried in any case."
            )
    known, real = source.real_pictures("train"), source.real_pictures("test")
    if len(real) > images:
        real = real.select(torch.arange(images))

    def judged(pixels: Tensor) -> tuple[Tensor, Floats]:
        pixels = TensorPictures(pixels).fitted(data.image_size, data.channels).pixels
        return pixels, evidence(model, pixels)

    def drawn(forger: Painter | Gallery) -> Tensor:
        if isinstance(forger, Painter):
            return forger.draw(len(real), seed, source.classes_for(forger, real))
        return forger.pixels[stratified_order(None, len(forger.pixels), seed)[: len(real)]]

    settings = (resamples, confidence, seed)
    real_pixels, of_real = judged(real.pixels)
    if isinstance(own, Painter):
        own_pixels, of_own = judged(drawn(own))
    else:
        test = data.pictures("test")
        assert test.labels is not None
        held_out = test.batch(torch.nonzero(test.labels == GENERATED).flatten()[: len(real)])
        own_pixels, of_own = held_out, evidence(model, held_out)
    rows = [compare(f"new pictures of {own.name}", "trained on", of_own, of_real, *settings)]
    for other in others:
        kin = "same networks" if other.family == own.family else "other networks"
        name = f"{other.name} ({kin})" if isinstance(other, Painter) else f"{other.name} (a folder)"
        rows.append(compare(name, "never seen", judged(drawn(other))[1], of_real, *settings))
    of_known = judged(known.pixels[: len(real)])[1]
    rows.append(compare("real test against real train pictures", "control", of_real, of_known, *settings))
    for name, change in CHANGES.items():
        of_changed, of_real_changed = (evidence(model, change(pixels)) for pixels in (own_pixels, real_pixels))
        rows.append(compare(name, "changed alike", of_changed, of_real_changed, *settings))
    channels, height, width = data.image_shape
    protocol: Protocol = {
        "data": data.name,
        "data_digest": data.split_digests["test"],
        "split": "test",
        "generator": own.name,
        "generator_weights": own.weights if isinstance(own, Painter) else "a folder",
        "real_images": len(real),
        "image_size": f"{channels}x{height}x{width}",
        "value_type": "uint8, rounded",
        "resamples": resamples,
        "confidence": confidence,
        "seed": seed,
    }
    sheet = draw_errors(own_pixels, of_own, real_pixels, of_real)
    return DetectorAudit(rows, verdict(rows), protocol, {"errors": sheet})


def _jpeg(pixels: Tensor) -> Tensor:
    return torch.stack([as_jpeg(picture, 75) for picture in pixels])


def _blurred(pixels: Tensor) -> Tensor:
    blurred: Tensor = functional.gaussian_blur(pixels, [5, 5], [0.6, 0.6])
    return blurred


def _reduced_and_enlarged(pixels: Tensor) -> Tensor:
    size = list(pixels.shape[2:])
    bicubic = functional.InterpolationMode.BICUBIC
    smaller = functional.resize(pixels, [max(1, round(side * 0.75)) for side in size], bicubic, antialias=True)
    enlarged: Tensor = functional.resize(smaller, size, bicubic, antialias=True)
    return enlarged


CHANGES: dict[str, Callable[[Tensor], Tensor]] = {
    "after JPEG of quality 75": _jpeg,
    "after a blur of 0.6 pixels": _blurred,
    "after reducing to 3/4 and back": _reduced_and_enlarged,
}


def verdict(rows: Sequence[Row]) -> str:
    """Return in words what a detector may be used for."""
    own = next(row for row in rows if row.kind == "trained on")
    others = [row for row in rows if row.kind == "never seen"]
    failed, passed = [row for row in others if not row.reliable], [row for row in others if row.reliable]
    if own.reliable:
        said = [f"Recognises {own.name} ({own.spoken})"]
        if passed:
            said.append(f"and of {_listed(passed)}, never seen")
        if failed:
            said.append(f"but fails on {_listed(failed)}: do not use it to judge pictures of unknown origin")
        elif passed:
            said.append("which is no proof for generators beyond those")
        else:
            said.append(
                "and nothing is known of other generators: name some with generators=[<run>,<folder>] before it judges"
                " pictures of unknown origin"
            )
        sentences = [", ".join(said)]
    else:
        sentences = [
            f"Does not reliably recognise even {own.name} ({own.spoken}): do not use it to judge"
            " pictures; train it longer or on more of them, unless they are indeed that good"
        ]
    weak = [row for row in rows if row.kind == "changed alike" and not row.reliable]
    if own.reliable and weak:
        sentences.append(f"It loses them {_listed(weak)}: what it looks for does not survive that")
    for row in rows:
        beyond = row.low["auroc"] > 0.5 + BY_HEART or row.high["auroc"] < 0.5 - BY_HEART
        if row.kind == "control" and beyond:
            sentences.append(
                f"It tells the real pictures that it was trained on from others ({row.spoken}, expected 0.5), so it has"
                " learnt some by heart: give it more real pictures, or data.augment"
            )
    return ". ".join(sentences) + "."


def _listed(rows: Sequence[Row]) -> str:
    return " and ".join(f"{row.name} ({row.spoken})" for row in rows)


def draw_errors(drawn: Tensor, of_drawn: Floats, real: Tensor, of_real: Floats) -> NDArray[np.uint8]:
    """Return a sheet, uint8 ``(H, W, 3)``: the drawn pictures that pass best for real, the real ones that pass worst.

    Below each stands how sure the detector is that it is drawn.
    """
    from matplotlib.figure import Figure

    columns = SHOWN // 2
    tall = drawn.shape[2] / drawn.shape[3]  # pictures are one wide, with room between them and for words below
    right, down = 1.08, tall + 0.24
    width, height = columns * right, 2 * (2 * down + 0.3)
    heaps = (
        ("Drawn pictures that pass best for real", drawn, of_drawn, np.argsort(of_drawn, kind="stable")),
        ("Real pictures that pass worst", real, of_real, np.argsort(-of_real, kind="stable")),
    )
    figure = Figure(figsize=(1.1 * width, 1.1 * height), dpi=100, facecolor="white")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.axis("off")
    for half, (title, pixels, odds, order) in enumerate(heaps):
        top = half * height / 2
        axes.text(0, top + 0.17, title, fontsize=11, va="center")
        for place, index in enumerate(order[:SHOWN].tolist()):
            left, upper = place % columns * right, top + 0.3 + place // columns * down
            picture = pixels[index].permute(1, 2, 0).numpy()
            picture = picture if picture.shape[2] == 3 else picture[..., 0]
            box = (left, left + 1, upper + tall, upper)
            axes.imshow(picture, "gray", vmin=0, vmax=255, extent=box, aspect="auto", interpolation="nearest")
            axes.text(left + 0.5, upper + tall + 0.1, _sure(odds[index]), fontsize=8, ha="center", va="center")
    axes.set(xlim=(-0.04, width - 0.04), ylim=(height, 0))
    return rendered(figure)


def _sure(log_odds: float) -> str:
    """Return a probability as people read it: ``drawn: 3%``."""
    percent = 100 / (1 + math.exp(-min(max(log_odds, -30.0), 30.0)))
    return f"{percent:.1f}% drawn" if 0.1 <= percent <= 99.9 else "<0.1% drawn" if percent < 50 else ">99.9% drawn"
