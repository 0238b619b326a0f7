"""Is a model that draws still well? What a few hundred of its pictures and its discriminator's logits say of it.

`vitals` and `overfitting` measure, at one moment; `Health` says what is too much; a `Watch` follows one run by it.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
from torch import Tensor

from darkroom.errors import UserError
from darkroom.judges.statistics import evenness
from darkroom.metrics import neighbours
from darkroom.numbers import Count, NotNegative, Range, Seed, Share, Whole

COLLAPSE, OVERFIT = "mode collapse", "discriminator overfit"
DIVERGENCE, MEMORISATION = "divergence", "memorisation"
POSTERIOR = "posterior collapse"
ADVICE = {
    COLLAPSE: "lower the learning rates, or train with penalty@model.penalty=r1_r2 and model.loss=relativistic",
    OVERFIT: "type augmentation@model.augmentation=diffaugment, raise the penalty, or give more pictures",
    DIVERGENCE: "lower the learning rates, raise the penalty, or train in precision=32",
    MEMORISATION: "give more pictures, type augmentation@model.augmentation=diffaugment, or stop earlier",
    POSTERIOR: "lower model.beta, type model.free_bits=0.1 or schedule@model.rate_schedule=rising, take a likelihood"
    " with a learned sigma, or fewer latents",
}

RISING = ("recall", "coverage", "diversity", "class_entropy")  # the larger the better
FALLING = {"averaged_distance": "what the average draws", "distance": "what is drawn"}  # the smaller the better
FEWEST = 32  # drawn pictures from which anything can be said
LITTLE = 0.2  # of a recall, coverage, diversity or class entropy: too little to be lost
TELLING = 0.5  # nats a picture, below which latents as good as say nothing
IN_USE = 0.25  # share of latents below which most of them are wasted
SMOOTHING = 0.5  # pictures added to every class, so that a class that is not drawn has a finite divergence


@dataclass(frozen=True)
class Reference:
    """What the judge makes of real pictures, against which drawn ones are held."""

    real: neighbours.Manifold  # held out of training
    shares: Tensor  # (K,) of the classes that should be drawn; (0,) where the judge names none
    spread: float  # mean distance of two held-out pictures
    near: float  # distance nearer than which only 1% of held-out pictures have a neighbour among themselves
    train: Tensor  # (m, d) features of training pictures
    apart: Tensor  # (m,) distance of each from the nearest other
    distance: float  # Fréchet distance of as many training pictures from the held-out ones: what no model beats

    @classmethod
    def of(cls, real: Tensor, train: Tensor, shares: Tensor) -> "Reference":
        """Look at ``(n, d)`` features of held-out pictures and ``(m, d)`` of training pictures."""
        nearest = _nearest(real, real, itself=True)[0]
        return cls(
            real=neighbours.manifold(real),
            shares=shares,
            spread=_spread(real),
            near=nearest.quantile(0.01).item(),
            train=train,
            apart=_nearest(train, train, itself=True)[0],
            distance=frechet(train[: len(real)], real) if len(train) > 1 else 0.0,
        )


def vitals(features: Tensor, logits: Tensor, reference: Reference) -> dict[str, float]:
    """Return what can be read off ``(n, d)`` features and ``(n, K)`` logits of drawn pictures.

    ``distance`` (Fréchet, from held-out pictures), ``recall`` and ``coverage`` of these; ``diversity``, the mean
    distance of two pictures as a share of real ones'; ``duplicates``, the share of pictures that have another nearer
    than all but 1% of real ones have; ``copies``, the share that are nearer to a training picture than that is to
    any other, at most half of new pictures (Alaa et al. 2022, arXiv 2102.08921, authenticity); and where the judge
    names classes ``class_entropy``, of the histogram as a share of its maximum, and ``class_divergence``, in nats, of
    the histogram from the one it should be.
    """
    drawn = neighbours.manifold(features)
    compared = neighbours.compare(drawn, reference.real)
    distances, which = _nearest(features, reference.train)
    values = {
        "distance": frechet(features, reference.real.features),
        "precision": compared["precision"],
        "recall": compared["recall"],
        "coverage": compared["coverage"],
        "diversity": _spread(features) / reference.spread,
        "duplicates": (_nearest(features, features, itself=True)[0] < reference.near).double().mean().item(),
        "copies": (distances < reference.apart[which]).double().mean().item(),
    }
    if len(reference.shares):
        counts = torch.bincount(logits.argmax(dim=1), minlength=logits.shape[1]).double()
        values["class_entropy"] = evenness(counts / counts.sum())
        values["class_divergence"] = _divergence(counts, reference.shares)
    return values


def overfitting(train: Tensor, held_out: Tensor, drawn: Tensor) -> float:
    """Return where held-out pictures stand between training pictures, 0, and drawn ones, 1, to a discriminator.

    Logits ``(n,)`` each (Karras et al. 2020, arXiv 2006.06676, equation 1, r_v). 0 when training pictures seem no more
    real than drawn ones, or when the difference is one that chance would make.
    """
    train, held_out, drawn = train.double(), held_out.double(), drawn.double()
    gap, lead = train.mean() - drawn.mean(), train.mean() - held_out.mean()
    error = (train.var() / len(train) + held_out.var() / len(held_out)).sqrt()
    return (lead / gap).item() if gap > 0 and lead > 3 * error else 0.0


def frechet(left: Tensor, right: Tensor) -> float:
    """Return the Fréchet distance of two normal distributions fitted to ``(n, d)`` and ``(m, d)`` features.

    tr (A B)^(1/2) of two covariances is the sum of the singular values of the product of their roots, which a QR
    decomposition of either set of features gives: also when there are fewer pictures than features.
    """
    left, right = left.double(), right.double()
    roots, total = [], (left.mean(dim=0) - right.mean(dim=0)).square().sum()
    for features in (left, right):
        centred = (features - features.mean(dim=0)) / math.sqrt(len(features) - 1)
        total = total + centred.square().sum()
        roots.append(torch.linalg.qr(centred, mode="r").R)
    return max(0.0, float(total - 2 * torch.linalg.svdvals(roots[0] @ roots[1].T).sum()))


def _divergence(counts: Tensor, shares: Tensor) -> float:
    smoothed = counts + SMOOTHING
    drawn = smoothed / smoothed.sum()
    return (drawn * (drawn / shares).log()).sum().item()


def _spread(features: Tensor) -> float:
    return torch.pdist(features.double()).mean().item()


def _nearest(left: Tensor, right: Tensor, itself: bool = False) -> tuple[Tensor, Tensor]:
    """Return the distance of each picture from the nearest on the right, and which that is; not ``itself``."""
    distances = torch.cdist(left, right)
    if itself:
        distances.fill_diagonal_(math.inf)
    found = distances.min(dim=1)
    return found.values.double(), found.indices


@dataclass(frozen=True)
class Finding:
    """What is wrong, since which count of images, and what it was seen by."""

    ailment: str
    since: int
    reason: str
    numberless: bool = False  # something is NaN or infinite, so that nothing can go on from here

    @property
    def advice(self) -> str:
        """What to try."""
        return ADVICE[self.ailment]


class Health:
    """How often a model in training is looked at, what is too much, and what is done then.

    ``every`` is the number of training images between two looks (None: never looked at), ``images`` how many are drawn
    for one. Nothing but values that are not finite counts before ``grace`` images, when all samples look collapsed.
    What is wrong in ``patience`` looks in a row is told; a distance of ``urgent`` times its best, at once, and
    likewise what fell ``urgent`` times as low as is allowed.

    ``worse`` is how many times the best distance so far is a divergence, ``lost`` the share of the best recall,
    coverage, diversity or class entropy so far whose loss is a mode collapse, ``duplicates`` the share of drawn
    pictures that have a double, ``overfit`` the place of held-out pictures between training pictures (0) and drawn
    ones (1) in the discriminator's eyes, ``copies`` the share of drawn pictures that are nearer to a training picture
    than that is to any other. Raises `UserError` for numbers that would say nothing, or alarm at any time.
    """

    def __init__(
        self,
        every: Count | None = 4000,
        images: Count = 500,
        on_collapse: Literal["warn", "stop", "rollback"] = "warn",
        grace: Whole = 8000,
        patience: Count = 2,
        worse: Annotated[float, Range(1, open_low=True)] = 1.5,
        urgent: Annotated[float, Range(1, open_low=True)] = 2.0,
        lost: Share = 0.5,
        duplicates: Share = 0.3,
        overfit: NotNegative = 0.6,
        copies: Share = 0.8,
        seed: Seed = 1,
    ) -> None:
        if patience < 1 or worse <= 1 or urgent <= 1:
            raise UserError(
                f"sentinel.patience={patience}, worse={worse:g} and urgent={urgent:g} would alarm at any time: give 1"
                " look or more, and factors above 1."
            )
        if images < FEWEST:
            raise UserError(f"sentinel.images={images} pictures say nothing of a model: give {FEWEST} or more.")
        self.every, self.images, self.on_collapse, self.seed = every, images, on_collapse, seed
        self.grace, self.patience = grace, patience
        self.worse, self.urgent, self.lost = worse, urgent, lost
        self.duplicates, self.overfit, self.copies = duplicates, overfit, copies


class Watch:
    """Follows one run: remembers its best, counts how often in a row something is wrong, and tells it once.

        findings = watch.look(images_seen, {"distance": 3.1, "recall": 0.8, ...})

    What has been told is told again only after a look at which it was not wrong.
    """

    def __init__(self, health: Health, floor: float = 0.0) -> None:
        """Follow a run whose ``distance`` cannot be expected to fall below ``floor``."""
        self.health, self.floor = health, floor
        self.best: dict[str, float] = {}
        self.rows: dict[str, list[int]] = {}  # ailment -> looks in a row at which it was wrong, and since when
        self.told: list[str] = []

    def look(self, images: int, values: Mapping[str, float]) -> list[Finding]:
        """Take in the values of one look, whichever there are, and return what is to be told now."""
        if broken := self.broken(images, values):
            return broken
        if images < self.health.grace:
            return []
        severe = self._severity(values)
        for name in values:
            if name in RISING:
                self.best[name] = max(values[name], self.best.get(name, 0.0))
            elif name in FALLING:
                self.best[name] = min(values[name], self.best.get(name, math.inf))
        findings = []
        for ailment in ADVICE:
            if ailment not in severe:
                self.rows.pop(ailment, None)
                self.told = [told for told in self.told if told != ailment]
                continue
            reason, urgent = severe[ailment]
            count, since = self.rows.get(ailment, [0, images])
            self.rows[ailment] = [count + 1, since]
            if ailment not in self.told and (urgent or count + 1 >= self.health.patience):
                self.told.append(ailment)
                findings.append(Finding(ailment, since, reason))
        return findings

    def broken(self, images: int, values: Mapping[str, float]) -> list[Finding]:
        """Return a finding if any of these values is no number, and take nothing in."""
        names = [name.replace("_", " ") for name, value in values.items() if not math.isfinite(value)]
        if not names:
            return []
        return [Finding(DIVERGENCE, images, f"{', '.join(names)} became NaN or infinite", numberless=True)]

    def _severity(self, values: Mapping[str, float]) -> dict[str, tuple[str, bool]]:
        """Return what is wrong in these values, why, and whether it cannot wait.

        A collapse takes the pictures away from the real ones too, so it alone is told.
        """
        health, found = self.health, {}
        fallen = [
            (values[name] / self.best[name], name)
            for name in RISING
            if name in values and values[name] < health.lost * self.best.get(name, 0.0) and self.best[name] > LITTLE
        ]
        if fallen:
            share, name = min(fallen)
            said = f"{name.replace('_', ' ')} fell to {values[name]:.2f} from {self.best[name]:.2f}"
            found[COLLAPSE] = said, share < health.lost / health.urgent
        elif (share := values.get("duplicates", 0.0)) > health.duplicates:
            found[COLLAPSE] = f"{share:.0%} of the drawn pictures have a double", False
        # What the average draws is what is used and scored; without one, what the generator draws.
        judged = next((name for name in FALLING if name in values and name in self.best), None)
        if COLLAPSE not in found and judged is not None:
            # Near the floor a distance is mostly noise, so small ones are told apart less strictly.
            times = values[judged] / max(self.best[judged], 2 * self.floor)
            if times > health.worse:
                said = f"{FALLING[judged]} is {values[judged]:.3g} from real pictures, after {self.best[judged]:.3g}"
                found[DIVERGENCE] = said, times > health.urgent
        if (share := values.get("overfitting", 0.0)) > health.overfit:
            said = f"held-out pictures are {share:.0%} of the way from training pictures to drawn ones in its eyes"
            found[OVERFIT] = said, False
        if (share := values.get("copies", 0.0)) > health.copies:
            said = f"{share:.0%} of the drawn pictures are nearer to a training picture than that is to any other"
            found[MEMORISATION] = said, False
        if values.get("rate", TELLING) < TELLING:
            found[POSTERIOR] = f"the latents tell {values['rate']:.2f} nats of a picture", False
        elif (share := values.get("active_share", 1.0)) < IN_USE:
            found[POSTERIOR] = f"{share:.0%} of the latents are in use", False
        return found

    def settle(self) -> None:
        """Forget what was wrong, not the best: the state is that of an earlier moment again."""
        self.rows, self.told = {}, []

    def state_dict(self) -> dict[str, Any]:
        """Return the best so far and what is being counted."""
        return {"best": self.best, "rows": self.rows, "told": self.told}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up the best so far and what was being counted."""
        self.best, self.rows, self.told = dict(state["best"]), dict(state["rows"]), list(state["told"])
