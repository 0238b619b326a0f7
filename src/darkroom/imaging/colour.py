"""The colours of one picture, given to another: nothing moves, and what had one colour still has one.

    made = linear(content, style)                     # mean and covariance become the style's
    made = optimal(content, style, seed=0)            # so does the whole cloud of colours
    made = linear(stylised, content)                  # strokes of the style, colours of the content

Pictures are ``(C, H, W)``, of any sizes and one number of channels; values are not clipped.
"""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

CHUNK = 2**20  # pixels recoloured at once, so that a large photograph needs little beside itself
SAMPLE = 2**15  # pixels of a picture that a cloud of colours is known by
KNOTS = 512  # quantiles that a curve of colours goes through
ROUNDS = 16  # of turning the axes and matching along them
NONE = 1e-9  # share of the largest variance below which a direction of colours is taken for one of rounding


def linear(colours: Tensor, style: Tensor) -> Tensor:
    """Return a picture with the mean and the covariance of the style's colours, moved as little as that allows.

    The map is ``A^-1/2 (A^1/2 B A^1/2)^1/2 A^-1/2`` between covariances A and B (Pitié & Kokaram 2007, the linear
    Monge-Kantorovitch solution): optimal transport between two Gaussians. Directions in which the picture has no
    colours, all but one in a grey picture, get none.
    """
    (mean, covariance), (aim, wanted) = moments(colours), moments(style)
    root, inverse = _power(covariance, 0.5), _power(covariance, -0.5)
    turn = inverse @ _power(root @ wanted @ root, 0.5) @ inverse
    return _each(colours, lambda points: (points - mean) @ turn + aim)


def recoloured(images: Tensor, styles: Tensor) -> Tensor:
    """Return images ``(B, C, H, W)`` in the colours of their styles, or of the one there is, linearly, in [-1, 1]."""
    pairs = zip(images, styles.expand(len(images), -1, -1, -1), strict=True)
    return torch.stack([linear(image, style) for image, style in pairs]).clamp(-1, 1)


def optimal(colours: Tensor, style: Tensor, seed: int = 0) -> Tensor:
    """Return a picture whose colours are spread as the style's are (Pitié et al. 2005).

    Along the axes of a colour space that is turned at random again and again, every quantile moves to the one of the
    style; turns depend on the seed. The colours of both are known by a sample; beyond what it holds, a colour moves as
    its nearest in it.
    """
    source, aim = (_sample(picture).double().numpy() for picture in (colours, style))
    ranks = (np.arange(KNOTS) + 0.5) / KNOTS
    draw = np.random.default_rng(seed)
    curves = []
    for _ in range(ROUNDS):
        axes, _ = np.linalg.qr(draw.standard_normal((colours.shape[0],) * 2))
        for axis in axes.T:
            before, after = (np.quantile(points @ axis, ranks) for points in (source, aim))
            curves.append((axis, before, after - before))
            source = source + np.interp(source @ axis, before, after - before)[:, None] * axis
    return _each(colours, lambda points: torch.from_numpy(_moved(points.numpy(), curves)))


METHODS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"linear": linear, "optimal": optimal}


def moments(colours: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean ``(C,)`` and the covariance ``(C, C)`` of a picture's colours, float64."""
    count = colours[0].numel()
    mean = torch.stack([points.sum(dim=0) for points in _chunks(colours)]).sum(dim=0) / count
    squares = [(points - mean).T @ (points - mean) for points in _chunks(colours)]
    return mean, torch.stack(squares).sum(dim=0) / count


def _moved(points: np.ndarray, curves: list[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> np.ndarray:
    for axis, before, step in curves:
        points = points + np.interp(points @ axis, before, step)[:, None] * axis
    return points


def _power(matrix: Tensor, exponent: float) -> Tensor:
    """Return a power of a symmetric matrix without negative eigenvalues; of a zero eigenvalue every power is zero."""
    values, vectors = torch.linalg.eigh(matrix)
    real = values > NONE * values.abs().max()
    powers = torch.where(real, values.clamp(min=torch.finfo(torch.float64).tiny) ** exponent, torch.zeros_like(values))
    power: Tensor = (vectors * powers) @ vectors.T
    return power


def _sample(colours: Tensor) -> Tensor:
    """Return pixels that lie evenly in the picture, ``(n, C)``."""
    points = colours.flatten(1)
    if points.shape[1] > SAMPLE:
        points = points[:, torch.linspace(0, points.shape[1] - 1, SAMPLE).long()]
    return points.T


def _chunks(colours: Tensor) -> Iterator[Tensor]:
    for part in torch.split(colours.flatten(1), CHUNK, dim=1):
        yield part.T.double()


def _each(colours: Tensor, rule: Callable[[Tensor], Tensor]) -> Tensor:
    """Return a picture after a rule from colours ``(n, C)``, float64, to colours."""
    made = torch.empty_like(colours, memory_format=torch.contiguous_format).flatten(1)
    for target, points in zip(torch.split(made, CHUNK, dim=1), _chunks(colours), strict=True):
        target.copy_(rule(points).T)
    return made.view_as(colours)
