"""Restoration as operations: a trained restorer edits pictures, beside the classical way to do the same."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
from torch import Tensor

from darkroom.editing.editor import Apply, Editor
from darkroom.errors import UserError
from darkroom.imaging import classical
from darkroom.imaging.degradations import noise_level
from darkroom.models.abilities import Decides, Repairs
from darkroom.numbers import Range
from darkroom.operations.operation import FileOperation, Learnt, able

Level = float | Literal["auto"]


class Restoration(FileOperation):
    """What a restorer has learnt to do: to undo the damage that says of itself so, ``operation``."""

    needs = Repairs

    def editor(self, run: Learnt | None) -> Editor:
        """Return it with the classical way beside it, tried on damage as in training."""
        return editor(able(run, Repairs))

    def check(self, run: Learnt) -> None:
        """Refuse a run that has learnt something else."""
        model = run.model
        if isinstance(model, Repairs) and model.operation != self.name:
            raise UserError(
                f"checkpoint={run.reference} has learnt to {model.operation}: type operation={model.operation}, or name"
                f" a run that has learnt to {self.name}."
            )
        super().check(run)


@dataclass
class LeveledRestoration(Restoration):
    """One whose run may be told how strong the noise is."""

    level: Annotated[float, Range(0, 255)] | Literal["auto"] = "auto"  # deviation in 255ths; auto: it is looked for

    def editor(self, run: Learnt | None) -> Editor:
        """Return it, as far as the run asks for a level told of the noise."""
        return editor(able(run, Repairs), self.level)


class Denoise(LeveledRestoration):
    """Noise."""

    does = "takes noise away"
    example = "operation=denoise input=photos output=clean level=auto"
    like = (("degradation.operation", "denoise"),)
    train = "restorer/denoise_naf"


class Restore(LeveledRestoration):
    """Mixtures."""

    does = "takes several kinds of damage away at once"
    example = "operation=restore input=album output=restored compare=true"
    like = (("degradation.operation", "restore"),)
    train = "restorer/restore"


class Deblur(Restoration):
    """Blur."""

    does = "makes what is blurred sharp"
    example = "operation=deblur input=soft.jpg output=sharp.jpg"
    like = (("degradation.operation", "deblur"),)
    train = "restorer/deblur"


class Deblock(Restoration):
    """JPEG."""

    does = "takes the blocks of JPEG away"
    example = "operation=deblock input=small.jpg output=clean.png"
    like = (("degradation.operation", "deblock"),)
    train = "restorer/deblock"


class Enhance(Restoration):
    """Faded light and colours."""

    does = "gives brightness, contrast and colours back"
    example = "operation=enhance input=faded.jpg output=fresh.jpg strength=0.7"
    like = (("degradation.operation", "enhance"),)
    train = "restorer/enhance"


class Repair(Restoration):
    """Scratches."""

    does = "takes scratches and dust away"
    example = "operation=repair input=old.tif output=mended.tif"
    like = (("degradation.operation", "repair"),)
    train = "restorer/repair"


class Inpaint(Restoration):
    """Holes."""

    does = "fills holes in, where a mask is white"
    example = "operation=inpaint input=photo.png mask=holes.png output=whole.png"
    like = (("degradation.operation", "inpaint"),)
    train = "restorer/inpaint"
    masked = True


class Enlarge(Restoration):
    """Few pixels."""

    does = "makes a picture two or four times as large"
    example = "operation=enlarge input=small.png output=large.png"
    like = (("degradation.operation", "enlarge"),)
    train = "restorer/enlarge_x4"


def editor(model: Repairs, level: Level = "auto") -> Editor:
    """Return what a restorer does to pictures; ``level`` as `LeveledRestoration` takes it.

    Raises:
        UserError: it takes no noise level and was given one.
    """
    leveled, masked = model.leveled, model.masked
    if level != "auto" and not leveled:
        raise UserError(f"level={level} was given, but this run is told no noise level: leave level out, use strength.")

    def at(sigma: float | None, settings: Tensor | None = None) -> Apply:
        def apply(colours: Tensor, mask: Tensor | None) -> Tensor:
            said: dict[str, Any] = {}
            if masked and mask is not None:
                said["mask"] = mask[None]
            if leveled:
                said["level"] = sigma
            if settings is not None:
                said["settings"] = settings
            with torch.no_grad():
                return model.restore(colours[None], **said)[0].cpu()

        return apply

    given = None if level == "auto" else float(level)
    estimated = leveled and level == "auto"

    looking: object = model  # what it is said to be is no bar to its being more

    def tuned(middle: Tensor, small: Tensor) -> tuple[Apply, str]:
        sigma = float(noise_level(middle[None])[0]) if estimated else given
        settings = looking.look(small[None]) if isinstance(looking, Decides) and looking.decides else None
        return at(sigma, settings), f"noise of {sigma:.1f} levels found" if estimated else ""

    rival = next(iter(classical.RIVALS.get(model.operation, ())), None)
    return Editor(
        apply=at(given),
        scale=model.scale,
        channels=model.image_shape[0],
        reach=model.reach,
        multiple=model.multiple,
        masked=masked,
        baseline=None if rival is None else _beside(rival, model.scale),
        baseline_name="" if rival is None else rival.name,
        damage=_damage(model),
        tuned=tuned if estimated or model.decides else None,
        recolours=model.operation in ("enhance", "restore"),
    )


def _beside(rival: classical.Rival, scale: int) -> Apply:
    """Return what needs no training as an editor applies it."""
    return lambda colours, mask: rival.apply(colours, classical.Told(mask, scale=scale))


def _damage(model: Repairs) -> Callable[[Tensor, int], tuple[Tensor, Tensor | None]]:
    """Return what damages a picture as the model was taught, by a seed; with where, if it is told."""

    def damage(picture: Tensor, seed: int) -> tuple[Tensor, Tensor | None]:
        generator = torch.Generator().manual_seed(seed)

        def draw(kind: Callable[..., Tensor], count: int, *shape: int) -> Tensor:
            return kind(count, *shape, generator=generator)

        damaged, seen = model.degradation(picture[None], draw)
        holes = seen[0] < 0.5 if model.masked else None
        return damaged[0], holes

    return damage
