"""Style as operations: a picture in the colours, the patches or the learnt strokes of another, or of another kind.

The size of a picture is always kept. What is made at ``size`` pixels, for time or for memory, is brought to full size
with the edges of the original (`darkroom.imaging.patches.enlarged`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from darkroom.editing.editor import Apply, Editor
from darkroom.errors import UserError
from darkroom.imaging import colour as recolouring
from darkroom.imaging import styles
from darkroom.imaging.patches import enlarged, resized, stylised
from darkroom.metrics.style import LEAST, likeness, summed_up
from darkroom.models.abilities import Stylises, Translates
from darkroom.numbers import Count, NotNegative, OneOf, Range, Seed, Share
from darkroom.operations.operation import FileOperation, Learnt, able

SIZES = {"patches": 512, "feedforward": 1536, "adain": 1024}  # pixels of the longer side that it is made at
TRANSLATED = 1536
SCORED = 512  # pixels of the longer side that a result is compared at
LEARNT = {"feedforward": "style/feedforward", "adain": "style/adain"}  # and what learns it

Make = Callable[[Tensor], Tensor]


@dataclass
class Stylize(FileOperation):
    """Style by ``method``: patches and colour need no run, feedforward and adain one that has learnt them."""

    does = "gives a picture the style of another"
    example = "operation=stylize input=photo.jpg style=coffee output=styled.png"
    needs = Stylises
    optional = True
    train = "style/feedforward"

    method: Annotated[str, OneOf("patches", "colour", "feedforward", "adain")] = "patches"
    style: str | Sequence[str] | None = None  # a picture file, or one that scikit-image carries; of adain also several
    weights: Sequence[NotNegative] | None = None  # of several styles
    alpha: Share = 1.0  # 0: the picture itself; 1: all of the style
    colour: Annotated[str, OneOf("linear", "optimal")] = "linear"  # how colours are brought over
    preserve_color: bool = False  # strokes of the style in the colours of the picture
    levels: Count = 4  # of patches: scales
    steps: Count = 40  # of patches on each scale
    size: Annotated[int, Range(16)] | None = None  # pixels of the longer side that it is made at; None: as SIZES
    seed: Seed = 0  # of patches

    def __post_init__(self) -> None:
        """Read the styles, and refuse settings that say nothing together."""
        method, style, weights = self.method, self.style, self.weights
        given = [] if style is None else [style] if isinstance(style, str) else list(style)
        if method == "feedforward":
            if given:
                raise UserError("method=feedforward knows the one style that its run has learnt: leave style= out.")
        elif not given:
            raise UserError(
                f"method={method} needs a style: type style=<picture>, or one of {', '.join(styles.CARRIED)}, which"
                " come with scikit-image."
            )
        if len(given) > 1 and method != "adain":
            raise UserError(
                f"method={method} takes one style, and {len(given)} were given: type method=adain to mix them."
            )
        if weights is not None and (len(weights) != len(given) or not sum(weights)):
            raise UserError(f"weights={weights} do not suit {len(given)} styles: give each one number of 0 or more.")
        self.styles = [styles.picture(reference) for reference in given]
        if method in LEARNT:
            self.like, self.train = (("any_style", method == "adain"),), LEARNT[method]
        else:
            self.needs = None  # type: ignore[assignment]  # any Operation may need none

    def check(self, run: Learnt) -> None:
        """Refuse a run that has learnt another method."""
        model = run.model
        if not isinstance(model, Stylises) or model.any_style != (self.method == "adain"):
            raise UserError(
                f"method={self.method} needs a run that has learnt it, and checkpoint={run.reference} is a"
                f" {type(model).__name__}: train one with darkroom train experiment={self.train}."
            )

    def editor(self, run: Learnt | None) -> Editor:
        """Return what gives pictures the style."""
        judged = _judging(self.styles[0], recoloured=self.method == "colour") if len(self.styles) == 1 else None
        channels = None
        if self.method == "colour":
            applied = _applied(_mixing(self._recoloured, self.alpha), None, self.alpha, preserve=False)
        else:
            if self.method == "patches":
                make = _mixing(self._patches, self.alpha)
            else:
                model = able(run, Stylises)
                make, channels = self._learnt(model), model.image_shape[0]
            applied = _applied(make, self.size or SIZES[self.method], self.alpha, self.preserve_color)
        return Editor(applied, channels=channels, judged=judged, recolours=True)

    def _recoloured(self, content: Tensor) -> Tensor:
        style = styles.in_channels(self.styles[0], len(content))
        return recolouring.METHODS[self.colour](content, style).clamp(-1, 1)

    def _patches(self, content: Tensor) -> Tensor:
        style = styles.in_channels(self.styles[0], len(content))
        return stylised(content, style, self.levels, self.steps, self.seed, self.progress)

    def _learnt(self, model: Stylises) -> Make:
        if self.method == "feedforward":
            return lambda content: model.stylise(content[None], alpha=self.alpha)[0].cpu()
        side = min(model.image_shape[1:])
        weights = self.weights or [1.0] * len(self.styles)
        # In the proportion that squares were cut in: strokes of the width that training showed.
        brought = [resized(one, scale=min(1.0, 4 * side / min(one.shape[1:]))) for one in self.styles]

        def make(content: Tensor) -> Tensor:
            given = [styles.in_channels(one, len(content)) for one in brought]
            return model.stylise(content[None], given, self.alpha, weights)[0].cpu()

        return make


@dataclass
class Translate(FileOperation):
    """Pictures of one kind as ones of another, with a run of CycleGAN."""

    does = "turns pictures of one kind into another"
    example = "operation=translate input=photos direction=a_to_b output=painted"
    needs = Translates
    train = "style/cyclegan"

    direction: Annotated[str, OneOf("a_to_b", "b_to_a")] = "a_to_b"
    alpha: Share = 1.0  # 0: the picture itself
    preserve_color: bool = False  # keep the colours of the picture
    size: Annotated[int, Range(16)] | None = None  # pixels of the longer side that it is made at; None: TRANSLATED

    def editor(self, run: Learnt | None) -> Editor:
        """Return what translates."""
        model = able(run, Translates)
        make = _mixing(lambda content: model.translate(content[None], self.direction)[0].cpu(), self.alpha)
        applied = _applied(make, self.size or TRANSLATED, self.alpha, self.preserve_color)
        return Editor(applied, channels=model.image_shape[0], recolours=True)


def scores(before: Tensor, after: Tensor, style: Tensor) -> dict[str, float]:
    """Return how much of a picture ``(C, H, W)`` is left and how much of a style has come; beside it, colours alone.

    Names as in `darkroom.metrics.style`, those of the baseline with ``_colour``.
    """
    content, aim = before[None], styles.in_channels(style, len(before))[None]
    start = likeness(content, content, aim)["style_distance"]
    recoloured = recolouring.linear(before, aim[0]).clamp(-1, 1)[None]
    found: dict[str, float] = {}
    for suffix, made in (("", after[None]), ("_colour", recoloured)):
        values = summed_up(likeness(made, content, aim), start)
        found |= {f"{name}{suffix}": value.item() for name, value in values.items()}
    return found


def _judging(style: Tensor, recoloured: bool) -> Callable[[Tensor, Tensor], tuple[dict[str, float], str | None]]:
    """Return what tells how much of a picture is left and how much of a style has come, each a share.

    It warns where colours alone do as well, unless nothing but they was asked for.
    """

    def judged(before: Tensor, after: Tensor) -> tuple[dict[str, float], str | None]:
        longer = max(before.shape[1:])
        if longer > SCORED:
            before, after = (resized(part, scale=SCORED / longer).clamp(-1, 1) for part in (before, after))
        if min(before.shape[1:]) < LEAST:
            return {}, f"it is too narrow for a score, which compares patches of {LEAST}x{LEAST} pixels"
        found = scores(before, after, style)
        said = {
            "ssim": found["content_ssim"],
            "ssim_of_colours_alone": found["content_ssim_colour"],
            "style": found["style_gain"],
            "style_of_colours_alone": found["style_gain_colour"],
        }
        if recoloured or said["style"] > said["style_of_colours_alone"]:
            return said, None
        return said, "method=colour brings as much of this style"

    return judged


def _mixing(make: Make, alpha: float) -> Make:
    """Return what mixes a picture with what is made of it."""
    return lambda content: torch.lerp(content, make(content), alpha)


def _applied(make: Make, size: int | None, alpha: float, preserve: bool) -> Apply:
    """Return an editor's function: at a size of its own, keeping colours, inside a mask alone, as asked."""

    def apply(colours: Tensor, mask: Tensor | None) -> Tensor:
        if alpha == 0:
            return colours
        longer = max(colours.shape[1:])
        if size is not None and longer > size:
            small = resized(colours, scale=size / longer).clamp(-1, 1)
            made = enlarged(make(small), small, colours)
        else:
            made = make(colours)
        if preserve:
            made = recolouring.linear(made, colours).clamp(-1, 1)
        return made if mask is None else torch.where(mask, made, colours)

    return apply
