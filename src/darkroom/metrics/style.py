"""How much of the content is left, how much of the style has come, and is that more than colours alone would bring?"""

import typing
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from darkroom import baselines
from darkroom import images as convention
from darkroom.data.contract import Data, Progress
from darkroom.errors import UserError
from darkroom.figures import rendered
from darkroom.imaging.colour import recoloured
from darkroom.isolation import evaluating
from darkroom.losses.patches import SIZE, directions, patch_distance
from darkroom.losses.structure import luminance
from darkroom.metrics import paired
from darkroom.metrics.metric import Metric
from darkroom.metrics.protocol import of_pictures
from darkroom.metrics.scores import Scores
from darkroom.models.abilities import Stylises
from darkroom.numbers import Count

SCALES = (1.0, 0.5, 0.25)  # of the picture, at which patches are compared
DIRECTIONS = 64  # of patches, held out: they come from a source that no optimisation draws from
PATCHES = 2**12  # of a picture that are compared at a scale
LEVELS = 127.5  # of a file in a pixel's unit
LEAST = SIZE  # pixels of a side, below which it holds no patch to compare
CHUNK = 50  # pictures made at once
SHOWN = 8  # pictures on a sheet
ALPHAS = (0.0, 0.25, 0.5, 0.75, 1.0)
BESIDE = {"content": "as it was", "colour": "colours alone", "style": "style itself"}  # by the last word of a name
DRAWN = ("style_distance", "content_ssim")  # what is drawn of the curve over alpha
FAINT = 1e-6  # variance of edges below which there are none


class Style(Metric):
    """Give held-out pictures a style, and compare the results with the pictures and with the style.

        metric = Style()
        metric.score(model, data, "test", exact=True).values["style_gain"]     # 0: none of it came, 1: all

    A model that takes any style is given other held-out pictures for styles, none of which it has learnt from. Beside
    it stand the pictures as they are (``content``), in the style's colours by a linear map (``colour``), and, for the
    most there is, the style itself (``style``).
    """

    needs = Stylises
    objective: tuple[str, str] | None = ("balance", "max")

    def __init__(self, every: Count = 10_000, images: Count = 100, test_images: Count = 400) -> None:
        """Choose after how many training images to score, and how many pictures of val and of test."""
        self.every, self.images, self.test_images = every, images, test_images

    def check(self, model: Stylises, data: Data, splits: Sequence[str]) -> None:
        """Refuse a split whose one picture has no other for a style.

        Raises:
            UserError: that is so.
        """
        for split in splits:
            most = self.test_images if split == "test" else self.images
            if (count := min(most, len(data.pictures(split)))) < 2 and model.style is None:
                raise UserError(
                    f"{count} picture of {split} has no other one for a style: hold out more, type"
                    f" data.source.{split}=2 or more."
                )

    def score(
        self, model: Stylises, data: Data, split: str, exact: bool = False, progress: Progress | None = None
    ) -> Scores:
        """Score held-out pictures; ``exact`` takes more of them, the baselines, and a curve over ``alpha``."""
        held_out = data.pictures(split)
        count = min(self.test_images if exact else self.images, len(held_out))
        self.check(model, data, [split])
        makers: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"": self._maker(model, 1.0)}
        if exact:
            makers |= {"_content": lambda contents, _: contents, "_colour": recoloured, "_style": _fitted}
            makers |= {f"_at_{alpha:g}": self._maker(model, alpha) for alpha in ALPHAS[1:-1]}
        sums: dict[str, float] = {}
        with evaluating(model, model.device):
            for indices in torch.split(convention.evenly(len(held_out), count), CHUNK):
                contents, styles = self._pairs(model, held_out, indices)
                start = likeness(contents, contents, styles)["style_distance"]
                for suffix, maker in makers.items():
                    found = likeness(convention.as_saved(maker(contents, styles)), contents, styles)
                    for name, value in summed_up(found, start).items():
                        if suffix.startswith("_at_") and name not in DRAWN:
                            continue
                        sums[f"{name}{suffix}"] = sums.get(f"{name}{suffix}", 0.0) + value.sum().item()
                if progress:
                    progress(int(indices[-1]) + 1, len(held_out))
            pictures = {"stylised": self._sheet(model, held_out)}
        values = {name: total / count for name, total in sums.items()}
        if exact:
            pictures["alpha"] = curve(
                {alpha: _at(values, alpha) for alpha in ALPHAS},
                {"colours alone": _named(values, "_colour"), "the style itself": _named(values, "_style")},
            )
        protocol = of_pictures(data, split, count, model) | {
            "styles": "its own" if model.style is not None else "other pictures of the split",
            "value_type": "uint8, rounded",
            "directions": DIRECTIONS,
        }
        return Scores(values, protocol, pictures, references=baselines.ending(values, BESIDE))

    def _maker(self, model: Stylises, alpha: float) -> Callable[[Tensor, Tensor], Tensor]:
        def make(contents: Tensor, styles: Tensor) -> Tensor:
            given = None if model.style is not None else styles.to(model.device)
            return model.stylise(contents.to(model.device), given, alpha).cpu()

        return make

    def _pairs(self, model: Stylises, held_out: typing.Any, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Return pictures and a style for each: the model's, or the picture half the split further on."""
        contents = convention.from_uint8(held_out.batch(indices))
        if model.style is not None:
            return contents, model.style.cpu()[None].expand(len(contents), -1, -1, -1)
        others = (indices + max(1, len(held_out) // 2)) % len(held_out)
        return contents, convention.from_uint8(held_out.batch(others))

    def _sheet(self, model: Stylises, held_out: typing.Any) -> np.ndarray:
        """Return rows of contents, styles, contents in the style's colours, and results."""
        chosen = convention.evenly(len(held_out), SHOWN)
        contents, styles = self._pairs(model, held_out, chosen)
        made = self._maker(model, 1.0)(contents, styles)
        rows = torch.cat([contents, _fitted(contents, styles), recoloured(contents, styles), made])
        return convention.sheet(convention.to_uint8(rows), columns=len(chosen), least=96)


def likeness(images: Tensor, contents: Tensor, styles: Tensor) -> dict[str, Tensor]:
    """Return how like its content and how like its style each picture is, ``(B,)`` by name.

    Images and contents are ``(B, C, H, W)`` in [-1, 1], styles ``(B, C, h, w)``, brought to their shorter side.

    - ``content_ssim``: SSIM of brightness, at most 1.
    - ``content_edges``: correlation of the strength of brightness edges (Sobel), at most 1.
    - ``style_distance``: sliced Wasserstein distance of 7x7 patches at three scales, in 255 levels times the length of
      a patch's direction, which is 1.
    - ``colour_distance``: the same of single pixels, in levels.
    """
    grey, content = luminance(images), luminance(contents)
    scale = min(images.shape[2:]) / min(styles.shape[2:])
    fitted = scaled(styles, scale)
    return {
        "content_ssim": paired.ssim(grey, content),
        "content_edges": _correlation(_edges(grey), _edges(content)),
        "style_distance": _patches(images, fitted),
        "colour_distance": _distance(images, fitted, held_out_directions(DIRECTIONS, images.shape[1], 1)),
    }


def summed_up(found: Mapping[str, Tensor], start: Tensor) -> dict[str, Tensor]:
    """Return the likeness with ``style_gain`` and ``balance``; ``start`` is the content's own style distance.

    ``style_gain`` is the share of that distance that is gone, ``balance`` the root of it times what of SSIM is left:
    0 for the content itself and for what shows nothing of it.
    """
    gain = 1 - found["style_distance"] / start.clamp(min=FAINT)
    balance = (gain.clamp(min=0) * found["content_ssim"].clamp(min=0)).sqrt()
    return {**found, "style_gain": gain, "balance": balance}


def curve(made: Mapping[float, Mapping[str, float]], beside: Mapping[str, Mapping[str, float]]) -> np.ndarray:
    """Return a diagram of content against style over ``alpha``, with what needs no network beside it."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.6, 4.4), dpi=110, layout="constrained")
    axes = figure.subplots()
    styles = [point["style_distance"] for point in made.values()]
    axes.plot(styles, [point["content_ssim"] for point in made.values()], "o-", color="#084878", label="over alpha")
    for alpha, point in made.items():
        axes.annotate(f" {alpha:g}", (point["style_distance"], point["content_ssim"]), fontsize=9)
    for (name, point), mark in zip(beside.items(), ("s", "*"), strict=True):
        axes.plot([point["style_distance"]], [point["content_ssim"]], mark, label=name, markersize=8)
    axes.invert_xaxis()
    axes.set_xlabel("patches: levels from the style (right: nearer)")
    axes.set_ylabel("SSIM of brightness with the content")
    axes.legend(frameon=False, fontsize=9)
    return rendered(figure)


def _at(values: Mapping[str, float], alpha: float) -> dict[str, float]:
    return _named(values, {0.0: "_content", 1.0: ""}.get(alpha, f"_at_{alpha:g}"))


def _named(values: Mapping[str, float], suffix: str) -> dict[str, float]:
    return {name: values[f"{name}{suffix}"] for name in DRAWN}


def _fitted(contents: Tensor, styles: Tensor) -> Tensor:
    """Return the styles in the shape of the contents: enlarged until they cover it, the middle of them."""
    height, width = contents.shape[2:]
    covering = scaled(styles, max(height / styles.shape[2], width / styles.shape[3]))
    top, left = (covering.shape[2] - height) // 2, (covering.shape[3] - width) // 2
    return covering[:, :, top : top + height, left : left + width]


def _patches(images: Tensor, styles: Tensor) -> Tensor:
    """Return the mean distance of patches over the scales at which both have some."""
    filters = held_out_directions(DIRECTIONS, images.shape[1])
    found: list[Tensor] = []
    for scale in SCALES:
        one, other = scaled(images, scale), scaled(styles, scale)
        if found and min(*one.shape[2:], *other.shape[2:]) < 2 * SIZE:
            break
        found.append(_distance(one, other, filters))
    return torch.stack(found).mean(dim=0)


def _distance(images: Tensor, others: Tensor, filters: Tensor) -> Tensor:
    stride = int(np.ceil(np.sqrt(max(images[0, 0].numel(), others[0, 0].numel()) / PATCHES)))
    pairs = zip(torch.split(images, 1), torch.split(others, 1), strict=True)
    return torch.cat([patch_distance(one, other, filters, stride) for one, other in pairs]) * LEVELS


def held_out_directions(count: int, channels: int, size: int = SIZE) -> Tensor:
    """Return directions ``(count, C, size, size)`` that nothing was optimised along: that draws from torch."""
    drawn = np.random.default_rng([count, channels, size]).standard_normal((count, channels * size * size))
    unit = drawn / np.linalg.norm(drawn, axis=1, keepdims=True)
    return torch.from_numpy(unit.astype(np.float32)).view_as(directions(count, channels, size))


def scaled(images: Tensor, scale: float) -> Tensor:
    """Return images ``(B, C, H, W)`` brought by a scale, bicubic with antialiasing."""
    size = [max(1, round(side * scale)) for side in images.shape[2:]]
    if size == list(images.shape[2:]):
        return images
    return F.interpolate(images, size=size, mode="bicubic", antialias=True, align_corners=False).clamp(-1, 1)


def _edges(grey: Tensor) -> Tensor:
    """Return the length of the Sobel gradient ``(B, 1, H-2, W-2)``."""
    across = torch.tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]], dtype=grey.dtype)
    kernels = torch.stack([across, across.T])[:, None]
    return F.conv2d(grey, kernels).square().sum(dim=1, keepdim=True).sqrt()


def _correlation(first: Tensor, second: Tensor) -> Tensor:
    one, other = (part.double().flatten(1) for part in (first, second))
    one, other = one - one.mean(dim=1, keepdim=True), other - other.mean(dim=1, keepdim=True)
    covariance = (one * other).mean(dim=1)
    return (covariance + FAINT) / ((one.square().mean(dim=1) + FAINT) * (other.square().mean(dim=1) + FAINT)).sqrt()
