"""Style as operations: a picture in the colours, the patches or the learnt strokes of another, or of another kind.

The size of a picture is always kept. What is made at ``size`` pixels, for time or for memory, is brought to full size
with the edges of the original (`darkroom.editing.patches.enlarged`).
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from darkroom import lab, paths
from darkroom.config.nodes import Node
from darkroom.editing import colour, styles
from darkroom.editing.editor import Apply, Editor
from darkroom.editing.patches import Progress, enlarged, resized, stylised
from darkroom.errors import UserError, did_you_mean
from darkroom.metrics.style import LEAST, likeness, summed_up
from darkroom.models.abilities import Stylises, Translates
from darkroom.models.cyclegan import DIRECTIONS
from darkroom.models.model import Model
from darkroom.signatures import attribute
from darkroom.tracking import checkpoints
from darkroom.tracking.store import Store

SIZES = {"patches": 512, "feedforward": 1536, "adain": 1024}  # pixels of the longer side that it is made at
TRANSLATED = 1536
STEPS = 40  # of patches on each scale, where no number is given
SCORED = 512  # pixels of the longer side that a result is compared at
LEARNT = {"feedforward": "style/feedforward", "adain": "style/adain"}  # and what learns it
METHODS = ("patches", "colour", *LEARNT)

Make = Callable[[Tensor], Tensor]


def stylize(config: Node, model: Model | None = None, progress: Progress | None = None) -> Editor:
    """Return what gives pictures a style, by ``method``: patches, colour, feedforward or adain.

    The last two need a run: the one given or named, else the newest that has learnt it. ``progress`` hears of the steps
    of patches.

    Raises:
        UserError: settings that say nothing together, no such style, or no such run.
    """
    method, alpha, size = config["method"], float(config["alpha"]), config["size"]
    if method not in METHODS:
        raise UserError(
            f"method={method} is not known{did_you_mean(str(method), METHODS)}: type one of {', '.join(METHODS)}."
        )
    if not 0 <= alpha <= 1:
        raise UserError(f"alpha={alpha:g} is not possible: give 0, the picture itself, to 1, all of the style.")
    if config["colour"] not in colour.METHODS:
        raise UserError(f"colour={config['colour']} is not known: type one of {', '.join(colour.METHODS)}.")
    found, weights = _styles(config)
    if method == "feedforward":
        if found:
            raise UserError("method=feedforward knows the one style that its run has learnt: leave style= out.")
    elif not found:
        raise UserError(
            f"method={method} needs a style: type style=<picture>, or one of {', '.join(styles.CARRIED)}, which come"
            " with scikit-image."
        )
    if len(found) > 1 and method != "adain":
        raise UserError(f"method={method} takes one style, and {len(found)} were given: type method=adain to mix them.")
    move = colour.METHODS[config["colour"]]
    judged = _judging(found[0], recoloured=method == "colour") if len(found) == 1 else None
    make: Make
    if method == "colour":
        make = _mixing(lambda content: move(content, styles.in_channels(found[0], len(content))).clamp(-1, 1), alpha)
        return Editor(_applied(make, None, alpha, preserve=False), judged=judged, recolours=True)
    if method == "patches":
        steps, levels, seed = config["steps"] or STEPS, int(config["levels"]), int(config["seed"])
        make = _mixing(
            lambda content: stylised(
                content, styles.in_channels(found[0], len(content)), levels, steps, seed, progress
            ),
            alpha,
        )
        return Editor(
            _applied(make, size or SIZES[method], alpha, config["preserve_color"]), judged=judged, recolours=True
        )
    learnt = model if model is not None else _newest(config, method)
    if not isinstance(learnt, Stylises) or learnt.any_style != (method == "adain"):
        raise UserError(
            f"method={method} needs a run that has learnt it, and checkpoint={config['checkpoint']} is a"
            f" {type(learnt).__name__}: train one with darkroom train experiment={LEARNT[method]}."
        )
    stylising, channels = learnt, learnt.image_shape[0]
    if method == "feedforward":
        make = lambda content: stylising.stylise(content[None], alpha=alpha)[0].cpu()  # noqa: E731
    else:
        side = min(learnt.image_shape[1:])
        # In the proportion that squares were cut in: strokes of the width that training showed.
        brought = [resized(one, scale=min(1.0, 4 * side / min(one.shape[1:]))) for one in found]

        def make(content: Tensor) -> Tensor:
            given = [styles.in_channels(one, len(content)) for one in brought]
            return stylising.stylise(content[None], given, alpha, weights)[0].cpu()

    applied = _applied(make, size or SIZES[method], alpha, config["preserve_color"])
    return Editor(applied, channels=channels, judged=judged, recolours=True)


def translate(config: Node, model: Model) -> Editor:
    """Return what turns pictures of one kind into another, with a run of CycleGAN.

    Raises:
        UserError: the run is of something else, or there is no such direction.
    """
    direction = config["direction"] or DIRECTIONS[0]
    if direction not in DIRECTIONS:
        raise UserError(
            f"direction={direction} is not known{did_you_mean(str(direction), DIRECTIONS)}: type one of"
            f" {', '.join(DIRECTIONS)}."
        )
    if not isinstance(model, Translates):
        raise UserError(
            f"checkpoint={config['checkpoint']} is a {type(model).__name__}, which translates nothing: train one with"
            " darkroom train experiment=style/cyclegan data.source.a=<folder> data.source.b=<folder>."
        )
    translating = model
    make = _mixing(lambda content: translating.translate(content[None], direction)[0].cpu(), float(config["alpha"]))
    applied = _applied(make, config["size"] or TRANSLATED, float(config["alpha"]), config["preserve_color"])
    return Editor(applied, channels=model.image_shape[0], recolours=True)


def scores(before: Tensor, after: Tensor, style: Tensor) -> dict[str, float]:
    """Return how much of a picture ``(C, H, W)`` is left and how much of a style has come; beside it, colours alone.

    Names as in `darkroom.metrics.style`, those of the baseline with ``_colour``.
    """
    content, aim = before[None], styles.in_channels(style, len(before))[None]
    start = likeness(content, content, aim)["style_distance"]
    recoloured = colour.linear(before, aim[0]).clamp(-1, 1)[None]
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


def _styles(config: Node) -> tuple[list[Tensor], list[float]]:
    """Return the pictures that were named, and their weights."""
    named = config["style"]
    references: Sequence[str] = [] if named is None else [named] if isinstance(named, str) else list(named)
    weights = [float(weight) for weight in (config["weights"] or [1.0] * len(references))]
    if len(weights) != len(references) or any(weight < 0 for weight in weights) or (weights and not sum(weights)):
        raise UserError(
            f"weights={config['weights']} do not suit {len(references)} styles: give each one number of 0 or more."
        )
    return [styles.picture(reference) for reference in references], weights


def _newest(config: Node, method: str) -> Model:
    """Return the model of the run that is named or, without one, of the newest that has learnt the method."""
    store = Store.open(paths.root(), reading=True)
    reference = config["checkpoint"]
    if reference is None:
        fitting = (
            run.run_id
            for run in store.runs()
            if attribute(run.params.get("model._target_", ""), "any_style") is (method == "adain")
            and store.fetch(run, "checkpoints/best.ckpt") is not None
        )
        reference = next(fitting, None)
    if reference is None:
        raise UserError(
            f"method={method} needs a run that has learnt it, and there is none yet: type darkroom train"
            f" experiment={LEARNT[method]}, or method=patches, which needs none."
        )
    model, _ = lab.restore(checkpoints.locate(reference, store))
    return model


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
            made = colour.linear(made, colours).clamp(-1, 1)
        return made if mask is None else torch.where(mask, made, colours)

    return apply
