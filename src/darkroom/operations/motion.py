"""Motion as operations: what a picture shows is moved, and a film goes on."""

import math
from dataclasses import dataclass
from pathlib import Path

import torch

from darkroom.data.videos import read_frames
from darkroom.errors import UserError
from darkroom.images import from_uint8
from darkroom.imaging import motion
from darkroom.metrics import paired
from darkroom.models.abilities import Forecasts
from darkroom.numbers import Count, Positive, Seed
from darkroom.operations.operation import Edited, Learnt, SheetOperation, able


@dataclass
class Move(SheetOperation):
    """Motion as a model of sequences has learnt it, held against bicubic interpolation where that can do the same."""

    does = "turns, moves and enlarges what a picture shows, step by step"
    example = "operation=move input=digit.png rotate=15 frames=10"
    needs = Forecasts
    like = (("conditioning", "action"),)
    train = "sequence/transforms_mnist"
    ending = ".gif"

    frames: Count = 10  # how many are made: the motion is divided among them
    rotate: float = 0.0  # degrees counter-clockwise, all frames together
    right: float = 0.0  # pixels of the size that the run has learnt
    down: float = 0.0
    zoom: Positive = 1.0  # factor

    def __post_init__(self) -> None:
        """Refuse to move nothing."""
        self.total = {"rotate": self.rotate, "right": self.right, "down": self.down, "zoom": math.log(self.zoom)}
        if not any(self.total.values()):
            raise UserError(
                "operation=move was told no motion: type rotate=<degrees>, right=, down=<pixels> or zoom=<factor>."
            )

    def check(self, run: Learnt) -> None:
        """Refuse a run that is told no motion, or not this one."""
        super().check(run)
        model = able(run, Forecasts)
        if not model.actions:
            raise UserError(
                f"checkpoint={run.reference} has not learnt to move what a picture shows: train one with darkroom"
                f" train experiment={self.train}, and name its run."
            )
        unknown = [name for name, size in self.total.items() if size and name not in model.actions]
        if unknown:
            raise UserError(
                f"{unknown[0]}= is no motion that this run has learnt: it knows {', '.join(model.actions)}."
            )
        for name, size in self.total.items():
            most = model.actions.get(name, 0.0)
            if abs(size) / self.frames > most * 1.001 and size:
                raise UserError(
                    f"{name}={getattr(self, name):g} in {self.frames} frames is more a frame than this run has learnt:"
                    f" type frames={math.ceil(abs(size) / most)} or more."
                )

    def edited(self, run: Learnt | None, source: Path) -> Edited:
        """Return the picture and the frames that follow it."""
        model, frames = able(run, Forecasts), self.frames
        picture = read_frames(source, model.image_shape)  # type: ignore[arg-type]  # a model's shape has three numbers
        if len(picture) != 1:
            raise UserError(f"input={source} has {len(picture)} frames: operation=move takes a single picture.")
        still = from_uint8(picture)[None].expand(1, model.inputs, -1, -1, -1)
        steps = torch.tensor([[self.total.get(name, 0.0) / frames for name in model.actions]]).expand(frames, -1)
        standing = torch.zeros(model.inputs - 1, len(model.actions))
        with torch.no_grad():
            made = model.forecast(still, frames, torch.cat([standing, steps])[None])[0].cpu()
        first = still[0, :1]
        film = rows = torch.cat([first, made])
        sentence = "What the picture shows was moved:"
        if tuple(model.actions) == motion.MOTIONS:
            plain = torch.cat([motion.moved(first, way) for way in motion.accumulated(steps[None]).unbind(dim=1)])
            near = paired.psnr(made, plain).clamp(max=100).mean().item()
            rows = torch.cat([film, first, plain])
            sentence = f"What the picture shows was moved, {near:.1f} dB from bicubic interpolation (below it):"
        return Edited(rows, frames + 1, film, sentence)


@dataclass
class Continue(SheetOperation):
    """The future of a film, one of several by its seed where the run knows several."""

    does = "says the frames that follow a film"
    example = "operation=continue input=film.gif frames=20"
    needs = Forecasts
    like = (("conditioning", "none", None),)
    train = "sequence/moving_digits"
    ending = ".gif"

    frames: Count = 10  # how many are made
    seed: Seed = 0  # of the future, where there are several

    def check(self, run: Learnt) -> None:
        """Refuse a run that goes on only as it is told."""
        super().check(run)
        assert isinstance(run.model, Forecasts)
        if run.model.actions:
            raise UserError(
                f"checkpoint={run.reference} goes on only as it is told: type operation=move, or name a run that is"
                " told nothing."
            )

    def edited(self, run: Learnt | None, source: Path) -> Edited:
        """Return the film with the frames that follow it."""
        model = able(run, Forecasts)
        film = read_frames(source, model.image_shape)  # type: ignore[arg-type]  # a model's shape has three numbers
        if len(film) < model.inputs:
            raise UserError(
                f"input={source} has {len(film)} frame{'s' if len(film) > 1 else ''}, and this run goes on from"
                f" {model.inputs}: give a GIF, a video or a folder of {model.inputs} frames or more."
            )
        shown = from_uint8(film)
        with torch.no_grad():
            noise = None
            if model.latents:
                noise = model.noise(torch.zeros(1), len(shown) - 1 + self.frames, self.seed)
            made = model.forecast(shown[None], self.frames, noise=noise)[0].cpu()
        whole = torch.cat([shown, made])
        return Edited(whole, min(len(whole), 10), whole, f"{self.frames} frames follow the {len(shown)} of the film:")
