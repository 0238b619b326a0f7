"""Ways through latents: from one to another, along one number, towards an attribute.

Latents are ``(..., d)``; wherever so many shares, values or amounts ``(S,)`` are given, latents ``(..., S, d)`` come
back, and ``(..., d)`` for a single number.

    way = slerp(model.encode(one), model.encode(other), torch.linspace(0, 1, 7))
    older = logistic_direction(latents, ages > 60)
    pictures = model.decode(move(model.encode(photos), older, 1.0))
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from darkroom.errors import UserError

Numbers = Tensor | Sequence[float] | float
PARALLEL = 1e-6  # sine of the angle between two latents, below which no arc leads from one to the other
LEAST = 1e-6  # share of a direction's length that must be left once others are held


def lerp(start: Tensor, end: Tensor, shares: Numbers) -> Tensor:
    """Return latents on the straight line from ``start`` (share 0) to ``end`` (share 1); both ends are met exactly."""
    first, second, share = _spread(start, end, shares)
    return (1 - share) * first + share * second


def slerp(start: Tensor, end: Tensor, shares: Numbers) -> Tensor:
    """Return latents on the arc about the origin (Shoemake 1985); lengths go evenly from one to the other.

    On a straight line between two draws from a normal prior the middle is too short to be a draw. Parallel and opposite
    latents have no arc between them, or no single one, and are joined by the straight line. Both ends are met exactly.
    """
    first, second, share = _spread(start.double(), end.double(), shares)
    lengths = [part.norm(dim=-1, keepdim=True) for part in (first, second)]
    safe = [length.clamp(min=torch.finfo(torch.float64).tiny) for length in lengths]
    one, other = first / safe[0], second / safe[1]
    # Exact for small angles too, unlike the arc cosine of a product.
    angle = 2 * torch.atan2((one - other).norm(dim=-1, keepdim=True), (one + other).norm(dim=-1, keepdim=True))
    length = (1 - share) * lengths[0] + share * lengths[1]
    before = ((1 - share) * angle).sin() / angle.sin() * (length / safe[0])
    after = (share * angle).sin() / angle.sin() * (length / safe[1])
    straight = (angle.sin().abs() < PARALLEL) | (lengths[0] == 0) | (lengths[1] == 0)
    way = torch.where(straight, (1 - share) * first + share * second, before * first + after * second)
    return way.to(start.dtype)


def traversal(latents: Tensor, dimension: int, values: Numbers) -> Tensor:
    """Return latents with one of their numbers set to values, all others as they are.

    Raises:
        UserError: they have no such number.
    """
    count = latents.shape[-1]
    if not 0 <= dimension < count:
        raise UserError(f"There is no latent {dimension}: give a number from 0 to {count - 1}.")
    wanted = torch.as_tensor(values, dtype=latents.dtype, device=latents.device)
    moved = _room(latents, wanted).expand(*latents.shape[:-1], *wanted.shape, count).clone()
    moved[..., dimension] = wanted
    return moved


def mean_direction(latents: Tensor, having: Tensor, hold: Tensor | None = None) -> Tensor:
    """Return the mean of the latents ``(N, d)`` that have an attribute less the mean of those that do not, ``(d,)``.

    ``having`` is bool ``(N,)``. Directions ``hold`` ``(K, d)`` are taken out, as by `held`; an amount of 1 always moves
    by the distance between the two means along what is left.

    Raises:
        UserError: all have it or none does, or nothing is left.
    """
    apart = _apart(latents, having)
    direction = apart if hold is None else held(apart, hold.double())
    return direction.to(latents.dtype)


def logistic_direction(latents: Tensor, having: Tensor, hold: Tensor | None = None) -> Tensor:
    """Return the direction in which a logistic regression on latents ``(N, d)`` grows surer of an attribute, ``(d,)``.

    The regression sees standardised latents, and the direction is the steepest one among those: a latent that hardly
    varies hardly moves. ``having`` is bool ``(N,)``, both kinds weigh equally. Directions ``hold`` ``(K, d)`` are taken
    out, as by `held`. Scaled so that an amount of 1 moves by the distance between the means of both kinds along it, as
    that of `mean_direction` is; the same latents give the same direction.

    Raises:
        UserError: all have it or none does, or nothing is left.
    """
    from sklearn.linear_model import LogisticRegression

    apart = _apart(latents, having)
    known = latents.double().cpu()
    spread = known.std(dim=0, correction=0)
    standard = (known - known.mean(dim=0)) / spread.clamp(min=1e-12)
    fitted = LogisticRegression(class_weight="balanced", max_iter=1000).fit(standard.numpy(), having.cpu().numpy())
    direction = torch.from_numpy(fitted.coef_[0]).to(latents.device) * spread.to(latents.device)
    if hold is not None:
        direction = held(direction, hold.double())
    unit = direction / direction.norm().clamp(min=1e-12)
    scaled: Tensor = (apart @ unit) * unit
    return scaled.to(latents.dtype)


def normal(latents: Tensor, scores: Tensor) -> Tensor:
    """Return the unit vector ``(d,)`` across which latents ``(N, d)`` show more of an attribute.

    The normal of the planes on which a linear fit says the same: who moves within them, at right angles to it, leaves
    the attribute alone (Shen et al. 2020, InterFaceGAN). ``scores`` ``(N,)`` are bool, fitted by logistic regression,
    or numbers, fitted by least squares. Unlike directions, which say how pictures that have it differ in all, it says
    what is to be held.

    Raises:
        UserError: all have it or none does, or all numbers are the same.
    """
    known = latents.double().cpu()
    middle, spread = known.mean(dim=0), known.std(dim=0, correction=0).clamp(min=1e-12)
    standard = (known - middle) / spread
    if scores.dtype == torch.bool:
        _apart(latents, scores)
        from sklearn.linear_model import LogisticRegression

        fitted = LogisticRegression(class_weight="balanced", max_iter=1000).fit(standard.numpy(), scores.cpu().numpy())
        across = torch.from_numpy(fitted.coef_[0]) / spread
    else:
        numbers = scores.double().cpu()
        across = torch.linalg.lstsq(standard, (numbers - numbers.mean())[:, None]).solution[:, 0] / spread
    if not across.norm() > 0:
        raise UserError("Nothing in the latents tells more of this attribute from less: name another one.")
    unit: Tensor = across / across.norm()
    return unit.to(latents)


def held(direction: Tensor, hold: Tensor) -> Tensor:
    """Return what is left of a direction ``(d,)`` that moves nothing along any of the directions ``hold`` ``(K, d)``.

    Raises:
        UserError: nothing is.
    """
    if not len(hold):
        return direction
    _, strengths, rows = torch.linalg.svd(hold.double(), full_matrices=False)
    basis = rows[strengths > strengths[0] * 1e-9]
    left: Tensor = direction.double()
    for _ in range(2):  # the second time takes out what rounding left in
        left = left - (left @ basis.T) @ basis
    if left.norm() <= LEAST * direction.norm():
        raise UserError(
            f"A direction among {direction.shape[-1]} latents has nothing left when {len(hold)} others are held: hold"
            " fewer of them."
        )
    return left.to(direction.dtype)


def move(latents: Tensor, direction: Tensor, amounts: Numbers) -> Tensor:
    """Return latents moved along a direction ``(d,)``; an amount of 1 is its whole length."""
    amount = torch.as_tensor(amounts, dtype=latents.dtype, device=latents.device)
    return _room(latents, amount) + amount[..., None] * direction.to(latents)


def _apart(latents: Tensor, having: Tensor) -> Tensor:
    """Return the difference between the means of those that have an attribute and of those that do not, float64."""
    count = int(having.sum())
    if count in (0, len(having)):
        raise UserError(
            f"A direction needs pictures that have an attribute and pictures that do not, and {count} of {len(having)}"
            " have it: give more pictures, or name another attribute."
        )
    having = having.to(latents.device).bool()
    return latents[having].double().mean(dim=0) - latents[~having].double().mean(dim=0)


def _spread(start: Tensor, end: Tensor, shares: Numbers) -> tuple[Tensor, Tensor, Tensor]:
    """Return both ends with room for the shares, and the shares with room for both ends."""
    share = torch.as_tensor(shares, dtype=start.dtype, device=start.device)
    return _room(start, share), _room(end, share), share[..., None]


def _room(latents: Tensor, numbers: Tensor) -> Tensor:
    return latents.reshape(*latents.shape[:-1], *[1] * numbers.ndim, latents.shape[-1])
