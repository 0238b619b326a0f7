"""The table of operations: what ``darkroom edit`` can do, what each listens to, and which runs can do it.

An operation is a row. Its ``maker`` is named and not imported, so that the table is read without torch.
"""

import importlib
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from darkroom.errors import UserError
from darkroom.models.abilities import Completes, Forecasts, Renders, Repairs, Translates, methods
from darkroom.signatures import attribute, members
from darkroom.tracking.store import RunRecord, Store

Params = Mapping[str, str]  # of a run, by dotted names: "model._target_"
BEST = "checkpoints/best.ckpt"

# What an operation on picture files listens to, whichever it is; `darkroom edit` itself sees to all of it.
OF_FILES = (
    *("strength", "tile", "self_ensemble", "device", "format", "quality", "suffix", "overwrite", "skip_existing"),
    *("reference", "self_test", "compare", "report", "track", "pictures", "seed"),
)
OF_LATENTS = ("steps", "residual", "refine", "labels", "prompt", "truncation", "seed", "paths.data")
OF_MASKS = ("mask", "mask_invert", "mask_grow", "mask_feather")
OF_ALL = ("operation", "input", "output", "trust")


@dataclass(frozen=True)
class Operation:
    """One way to edit.

    ``maker`` is ``module:function``. Where ``files`` is true, ``function(configuration, model)`` returns the
    `darkroom.editing.editor.Editor` of all pictures; else ``function(configuration, model, source)`` returns the
    `darkroom.operations.edited.Edited` of one input. The model is None where ``fits`` is: no run is needed.
    """

    maker: str
    does: str  # what becomes of a picture, a line
    example: str  # what follows "darkroom edit "
    keys: tuple[str, ...] = ()  # what it listens to beside what all of its kind do
    fits: Callable[[Params], bool] | None = None  # whether a run with these parameters can do it; None: none is needed
    train: str = ""  # the experiment that makes such a run
    files: bool = True
    masked: bool = False  # nothing can be done without a mask
    ending: str = ".png"  # of what is made when no output is named

    @property
    def listens(self) -> tuple[str, ...]:
        """Every key that says something to it."""
        shared = (*OF_MASKS, *OF_FILES) if self.files else ()
        checkpoint = ("checkpoint",) if self.fits is not None else ()
        return tuple(dict.fromkeys((*self.keys, *checkpoint, *shared)))

    def make(self) -> Callable[..., Any]:
        """Return what makes the editor, or the sheet."""
        module, _, name = self.maker.partition(":")
        maker: Callable[..., Any] = getattr(importlib.import_module(f"darkroom.operations.{module}"), name)
        return maker


def able(ability: type, **settings: str) -> Callable[[Params], bool]:
    """Return what says whether a run is of a model that can do something, and has these settings."""
    wanted = methods(ability)

    def fits(params: Params) -> bool:
        has = wanted <= members(params.get("model._target_", ""))
        return has and all(params.get(f"model.{key}") == value for key, value in settings.items())

    return fits


def restoring(operation: str) -> Callable[[Params], bool]:
    """Return what says whether a run is of a restorer whose damage this operation undoes."""
    repairs = able(Repairs)

    def fits(params: Params) -> bool:
        damage = params.get("model.degradation._target_", "")
        return repairs(params) and attribute(damage, "operation") == operation

    return fits


def _restorer(operation: str, does: str, train: str, example: str, *keys: str, masked: bool = False) -> Operation:
    return Operation("restoration:restorer", does, example, keys, restoring(operation), train, masked=masked)


OPERATIONS: dict[str, Operation] = {
    "denoise": _restorer(
        *("denoise", "takes noise away", "restorer/denoise_naf"),
        *("operation=denoise input=photos output=clean level=auto", "level"),
    ),
    "deblur": _restorer(
        "deblur", "makes what is blurred sharp", "restorer/deblur", "operation=deblur input=soft.jpg output=sharp.jpg"
    ),
    "deblock": _restorer(
        *("deblock", "takes the blocks of JPEG away", "restorer/deblock"),
        "operation=deblock input=small.jpg output=clean.png",
    ),
    "enhance": _restorer(
        *("enhance", "gives brightness, contrast and colours back", "restorer/enhance"),
        "operation=enhance input=faded.jpg output=fresh.jpg strength=0.7",
    ),
    "repair": _restorer(
        *("repair", "takes scratches and dust away", "restorer/repair"),
        "operation=repair input=old.tif output=mended.tif",
    ),
    "inpaint": _restorer(
        *("inpaint", "fills holes in, where a mask is white", "restorer/inpaint"),
        "operation=inpaint input=photo.png mask=holes.png output=whole.png",
        masked=True,
    ),
    "enlarge": _restorer(
        *("enlarge", "makes a picture two or four times as large", "restorer/enlarge_x4"),
        "operation=enlarge input=small.png output=large.png",
    ),
    "restore": _restorer(
        *("restore", "takes several kinds of damage away at once", "restorer/restore"),
        *("operation=restore input=album output=restored compare=true", "level"),
    ),
    "move": Operation(
        "motion:moved",
        "turns, moves and enlarges what a picture shows, step by step",
        "operation=move input=digit.png rotate=15 frames=10",
        ("frames", "rotate", "right", "down", "zoom"),
        able(Forecasts, conditioning="action"),
        "sequence/transforms_mnist",
        files=False,
        ending=".gif",
    ),
    "continue": Operation(
        "motion:continued",
        "says the frames that follow a film",
        "operation=continue input=film.gif frames=20",
        ("frames", "seed"),
        lambda params: able(Forecasts)(params) and params.get("model.conditioning") != "action",
        "sequence/moving_digits",
        files=False,
        ending=".gif",
    ),
    "complete": Operation(
        "completion:completed",
        "draws what could stand in the hidden half of a picture",
        "operation=complete input=digit.png hide=bottom count=8",
        ("hide", "count", "seed"),
        able(Completes),
        "pixelrnn/digits",
        files=False,
    ),
    "stylize": Operation(
        "style:stylize",
        "gives a picture the style of another",
        "operation=stylize input=photo.jpg style=coffee output=styled.png",
        (
            *("method", "style", "weights", "alpha", "colour", "preserve_color", "levels", "steps", "size", "seed"),
            "checkpoint",
        ),
    ),
    "translate": Operation(
        "style:translate",
        "turns pictures of one kind into another",
        "operation=translate input=photos direction=a_to_b output=painted",
        ("direction", "alpha", "preserve_color", "size"),
        able(Translates),
        "style/cyclegan",
    ),
    "attribute": Operation(
        "latents:attribute",
        "moves a picture towards what labels name, through latents",
        "operation=attribute input=digit.png attribute=slant hold=[class]",
        ("attribute", "range", "hold", "direction", *OF_LATENTS),
        able(Renders),
        "vae/mnist",
        files=False,
    ),
    "interpolate": Operation(
        "latents:interpolate",
        "goes from a picture to another, through latents",
        "operation=interpolate input=digit.png other=another.png",
        ("other", "way", *OF_LATENTS),
        able(Renders),
        "vae/mnist",
        files=False,
    ),
}


def fitting(operation: Operation, records: list[RunRecord], store: Store) -> list[RunRecord]:
    """Return the runs that can do it and have a checkpoint, newest first."""
    if operation.fits is None:
        return []
    return [record for record in records if operation.fits(record.params) and store.fetch(record, BEST) is not None]


def newest(name: str, store: Store) -> tuple[Path, RunRecord]:
    """Return the checkpoint of the newest run that fits an operation, and the run.

    Raises:
        UserError: there is none.
    """
    operation = OPERATIONS[name]
    assert operation.fits is not None
    there = store.database is None or store.database.exists()  # to find none, no store has to be made
    for record in store.runs() if there else []:
        if operation.fits(record.params) and (path := store.fetch(record, BEST)) is not None:
            return path, record
    raise UserError(
        f"operation={name} needs a run that has learnt it, and there is none yet: type darkroom train"
        f" experiment={operation.train}, or name one with checkpoint=<run or .ckpt file>."
    )


def overview(store: Store | None) -> str:
    """Return what can be done, what each operation listens to, and, given a store, which runs can do it."""
    records = store.runs() if store is not None else []
    lines = ["darkroom edit operation=<one of these> input=<picture, pattern or folder> output=<file or folder>", ""]
    for name, operation in OPERATIONS.items():
        lines.append(f"  {name:<12}{operation.does}")
        own = [*operation.keys, *(OF_MASKS if operation.masked else ())]
        if own:
            said = f"listens to {', '.join(own)}"
            lines += textwrap.wrap(said, 98, initial_indent=" " * 14, subsequent_indent=" " * 16)
        if operation.fits is not None:
            able = [] if store is None else fitting(operation, records, store)
            named = ", ".join(f"{record.short_id} {record.name}" for record in able[:3])
            more = f" and {len(able) - 3} more" if len(able) > 3 else ""
            lines.append(
                f"              runs: {named}{more}" if able else f"              train experiment={operation.train}"
            )
        lines.append(f"              darkroom edit {operation.example}")
    lines += [
        "",
        "Operations on picture files also listen to " + ", ".join(OF_MASKS) + ",",
        "  " + ", ".join(OF_FILES[:9]) + ",",
        "  " + ", ".join(OF_FILES[9:]) + ".",
        "",
    ]
    return "\n".join(lines)
