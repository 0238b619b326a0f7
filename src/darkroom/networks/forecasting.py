"""Networks that continue a sequence of images, one image at a time.

All are called alike, whatever is known of the sequence:

    net = Recurrent(channels=1, size=(32, 32), memory=ConvLstm)
    given = torch.ones(B, T - 1, dtype=torch.bool)
    given[:, 5:] = False                       # five frames are shown, the rest is continued from its own forecasts
    forecast = net(frames, given)              # (B, T - 1, C, H, W): what follows frames 0 to T - 2

``given[b, t]`` says whether step ``t`` is shown the true frame ``t``; where it is not, it is shown the forecast made of
it. So teacher forcing is a mask that is true throughout, and a rollout of any length one that ends in false.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from darkroom.errors import UserError
from darkroom.networks.initialisation import scaled
from darkroom.networks.modulation import Modulation
from darkroom.numbers import Count, Supplied

STILL = 4.0  # the logit with which parts stay where they are at first, where those of all shifts are 0
SPREAD = (-8.0, 4.0)  # bounds of log-variances of futures


@dataclass(frozen=True)
class Forecast:
    """Frames ``(B, S, C, H, W)``, those that follow the last S frames shown, not clipped to [-1, 1].

    ``surprise`` is the divergence (nats a sequence, ``(B,)``) of what the true frames said of the latents from what was
    expected; 0 where there are no latents, or where they were drawn.
    """

    frames: Tensor
    surprise: Tensor


class Futures(nn.Module):
    """Several futures of one past: latents of each step, expected from the past or read off the true next frame.

    Denton & Fergus 2018, SVG-LP. In training the latents of a step are drawn from what the next frame says of them,
    afterwards from what the past lets expect.
    """

    def __init__(self, width: int, latents: int) -> None:
        super().__init__()
        self.latents = latents
        self.expected, self.read = nn.GRUCell(2 * width, width), nn.GRUCell(2 * width, width)
        self.of_expected, self.of_read = nn.Linear(width, 2 * latents), nn.Linear(width, 2 * latents)

    def forward(
        self, maps: Tensor, true_maps: Tensor | None, noise: Tensor, state: tuple[Tensor, Tensor] | None
    ) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor]]:
        """Return latents ``(B, latents)``, the divergence ``(B,)`` and the memory, for standard normal ``noise``."""
        hidden, other = (None, None) if state is None else state
        hidden = self.expected(_summary(maps), hidden)
        mean, log_variance = self.of_expected(hidden).to(noise.dtype).chunk(2, dim=1)
        log_variance = log_variance.clamp(*SPREAD)
        if true_maps is None:
            unchanged = hidden if other is None else other
            return mean + (log_variance / 2).exp() * noise, noise.new_zeros(len(noise)), (hidden, unchanged)
        other = self.read(_summary(true_maps), other)
        true_mean, true_log_variance = self.of_read(other).to(noise.dtype).chunk(2, dim=1)
        true_log_variance = true_log_variance.clamp(*SPREAD)
        latents = true_mean + (true_log_variance / 2).exp() * noise
        ratio = true_log_variance - log_variance
        distance = (true_mean - mean).square() / log_variance.exp()
        return latents, 0.5 * (ratio.exp() - ratio - 1 + distance).sum(dim=1), (hidden, other)


def _summary(maps: Tensor) -> Tensor:
    """Return what maps hold on average and at most, ``(B, 2 D)``."""
    return torch.cat([maps.mean(dim=(2, 3)), maps.amax(dim=(2, 3))], dim=1)


class Recurrent(nn.Module):
    """Embed a frame by patches, remember, and say what comes next.

    Squares of ``patch`` pixels become channels, so that the memory works on few pixels and sees far. What comes next is
    said in one of five ways (``output``):

    - ``direct``: its pixels;
    - ``residual``: what changes in the frame before it;
    - ``warp``: where in the last true frame shown each pixel comes from, and what changes in it;
    - ``affine``: the same, of a picture that moves as a whole;
    - ``shift``: by how many pixels each of so many ``parts`` of the frame before moves, as weights of all shifts of up
      to ``reach`` pixels, where these parts are, and what changes (Finn et al. 2016, CDNA). Unlike a way, of which only
      the next pixels tell how to better it, weights learn of every shift at once.

    In a warp the way of a pixel is put together from the steps' ways before the frame is read, by bicubic
    interpolation, so that ten steps blur it no more than one.

    Actions ``(B, A)`` and latents scale and shift what was embedded and what is said.
    """

    places: Tensor
    pixels: Tensor

    def __init__(
        self,
        channels: Supplied[int],
        size: Supplied[Sequence[int]],
        memory: Callable[..., nn.Module],
        width: Count = 64,
        patch: Count = 4,
        output: Literal["direct", "residual", "warp", "affine", "shift"] = "residual",
        parts: Count = 1,
        reach: Count = 3,
        action_dim: Supplied[int] = 0,
        latents: Supplied[int] = 0,
        inputs: Supplied[int] = 1,
    ) -> None:
        """State the frames, ``(height, width)`` in ``size``, and the network's parts.

        Args:
            channels: of a frame.
            size: height and width of a frame.
            memory: what remembers, made with ``inputs`` and ``width`` (see `darkroom.networks.memories`).
            width: maps of the embedding and of the memory.
            patch: pixels a side that become one.
            output: how the next frame is said.
            parts: that move each in its own way, where ``output`` is ``shift``.
            reach: pixels that they move at most in a step.
            action_dim: numbers of an action.
            latents: numbers that are drawn for each step, so that one past has several futures; 0: it has one.
            inputs: frames shown at first; any number is right here.
        """
        super().__init__()
        if output not in ("direct", "residual", "warp", "affine", "shift"):
            raise UserError(
                f"model.network.output={output} is not known: type direct, residual, warp, affine or shift."
            )
        _refuse_remainders(size, patch)
        self.patch, self.output, self.parts, self.reach = patch, output, parts, reach
        numbers = channels * patch**2
        self.register_buffer("places", _places(size[0] // patch, size[1] // patch), persistent=False)
        self.register_buffer("pixels", _places(*size), persistent=False)
        self.embedding = scaled(nn.Conv2d(numbers + 2, width, 3, padding=1), 9 * (numbers + 2))
        self.futures = Futures(width, latents) if latents else None
        told = action_dim + latents
        self.teller = nn.Sequential(nn.Linear(told, width), nn.SiLU()) if told else None
        self.entrance = Modulation(width if told else 0, width)
        self.memory = memory(inputs=width, width=width)
        self.exit = Modulation(width if told else 0, width)
        beside = {"warp": 2, "shift": parts if parts > 1 else 0}.get(output, 0)  # numbers said of each pixel
        said = numbers + beside * patch**2
        self.whole = None
        if output in ("affine", "shift"):
            answer = nn.Linear(width, 6 if output == "affine" else parts * (2 * reach + 1) ** 2)
            nn.init.zeros_(answer.weight)
            nn.init.zeros_(answer.bias)
            if output == "shift":
                with torch.no_grad():
                    answer.bias.view(parts, -1)[:, 2 * reach * (reach + 1)] = STILL
            self.whole = nn.Sequential(nn.Linear((2 + bool(told)) * width, width), nn.SiLU(), answer)
        last = scaled(nn.Conv2d(width, said, 3, padding=1), 9 * width, gain=1.0)
        if output != "direct":  # nothing moves and nothing changes at first
            nn.init.zeros_(last.weight)
        self.head = nn.Sequential(scaled(nn.Conv2d(2 * width, width, 3, padding=1), 18 * width), nn.SiLU(), last)

    def forward(
        self,
        frames: Tensor,
        given: Tensor,
        actions: Tensor | None = None,
        noise: Tensor | None = None,
        informed: bool = False,
    ) -> Forecast:
        """Return what follows each frame, ``(B, S, C, H, W)``, for as many steps S as ``given`` ``(B, S)`` has.

        ``frames`` ``(B, T, C, H, W)`` in [-1, 1], T at least the number of steps with a true frame; ``actions``
        ``(B, S, A)`` say what is done after each. Where there are latents, standard normal ``noise`` ``(B, S,
        latents)`` draws them: from what the past lets expect or, ``informed``, from what the true next frames say of
        them, and then T must be S + 1.
        """
        steps = given.shape[1]
        shown_to_all = given.all(dim=0).tolist()
        shown_to_some = given.any(dim=0).tolist()
        memory: Any = None
        futures: Any = None
        anchor = way = made = torch.empty(0)
        forecasts: list[Tensor] = []
        surprise = frames.new_zeros(len(frames))
        for step in range(steps):
            if shown_to_all[step]:
                frame = frames[:, step]
                anchor, way = frame, frame.new_zeros(len(frame), 2, *frame.shape[2:])
            elif shown_to_some[step]:
                choice = given[:, step, None, None, None]
                frame = torch.where(choice, frames[:, step], made)
                anchor, way = torch.where(choice, frames[:, step], anchor), way * ~choice
            else:
                frame = made
            maps = self._embedded(frame)
            told = [] if actions is None else [actions[:, step]]
            if self.futures is not None:
                assert noise is not None
                true_maps = self._embedded(frames[:, step + 1]) if informed else None
                latents, divergence, futures = self.futures(maps, true_maps, noise[:, step], futures)
                surprise = surprise + divergence
                told.append(latents)
            condition = self.teller(torch.cat(told, dim=1)) if self.teller is not None else None
            maps = self.entrance(maps, condition)
            features, memory = self.memory(maps, memory)
            features = self.exit(features, condition)
            said = F.pixel_shuffle(self.head(torch.cat([features, maps], dim=1)), self.patch).to(frames.dtype)
            if self.output == "shift":
                made = self._shifted(self._whole(features, condition, frames.dtype), said, frame)
            else:
                if self.output == "affine":
                    said = torch.cat([self._motion(self._whole(features, condition, frames.dtype)), said], dim=1)
                made, way = self._next(said, frame, anchor, way)
            forecasts.append(made)
        return Forecast(torch.stack(forecasts, dim=1), surprise)

    def _embedded(self, frame: Tensor) -> Tensor:
        squares = F.pixel_unshuffle(frame, self.patch)
        places = self.places.expand(len(frame), -1, -1, -1)
        maps: Tensor = F.silu(self.embedding(torch.cat([squares, places], dim=1)))
        return maps

    def _whole(self, features: Tensor, condition: Tensor | None, dtype: torch.dtype) -> Tensor:
        """Return what is said of the picture as a whole, ``(B, numbers)``."""
        assert self.whole is not None
        known = [_summary(features), *([] if condition is None else [condition])]
        # Half precision would put pixels at the edge in the wrong place by tenths of a pixel.
        with torch.autocast(features.device.type, enabled=False):
            answer: Tensor = self.whole(torch.cat(known, dim=1).to(dtype))
        return answer

    def _motion(self, answer: Tensor) -> Tensor:
        """Return what all pixels do together, in pixels ``(B, 2, H, W)``: an affine function of their places."""
        # In halves of the picture, so that numbers near 0 suffice for every motion.
        affine = answer.view(-1, 2, 3) * (max(self.pixels.shape[1:]) / 2)
        down, right = self.pixels.to(answer)
        moved: Tensor = affine @ torch.stack([right, down, torch.ones_like(down)]).flatten(1)
        return moved.view(len(moved), 2, *down.shape)

    def _shifted(self, answer: Tensor, said: Tensor, frame: Tensor) -> Tensor:
        """Return the frame with its parts shifted as the answer weighs all shifts, and changed as is said."""
        side = 2 * self.reach + 1
        weights = answer.view(len(frame), self.parts, side**2).softmax(dim=2)
        # Around a frame lies black.
        views = F.unfold(frame + 1, side, padding=self.reach).view(len(frame), -1, side**2, frame[0, 0].numel())
        moved = torch.einsum("bpk,bckn->bpcn", weights, views).view(len(frame), self.parts, *frame.shape[1:]) - 1
        if self.parts == 1:
            return moved[:, 0] + said
        places = said[:, : self.parts].softmax(dim=1)[:, :, None]
        return (places * moved).sum(dim=1) + said[:, self.parts :]

    def _next(self, said: Tensor, frame: Tensor, anchor: Tensor, way: Tensor) -> tuple[Tensor, Tensor]:
        """Return the next frame, and the way from each of its pixels back to the anchor, in pixels ``(B, 2, H, W)``."""
        if self.output == "direct":
            return said, way
        if self.output == "residual":
            return frame + said, way
        step, change = said[:, :2], said[:, 2:]
        way = step + read_at(way, step, "bilinear", "border")
        # Around a frame lies black.
        return read_at(anchor + 1, way, "bicubic", "zeros") - 1 + change, way


def read_at(
    maps: Tensor, way: Tensor, mode: Literal["bilinear", "bicubic"], around: Literal["zeros", "border"]
) -> Tensor:
    """Return maps ``(B, C, H, W)`` where pixel p is read at p plus ``way``, ``(B, 2, H, W)``: pixels right and down."""
    height, width = maps.shape[2:]
    rows = torch.arange(height, device=maps.device, dtype=way.dtype)
    columns = torch.arange(width, device=maps.device, dtype=way.dtype)
    right = (way[:, 0] + columns + 0.5) * (2 / width) - 1
    down = (way[:, 1] + rows[:, None] + 0.5) * (2 / height) - 1
    places = torch.stack([right, down], dim=-1)
    with torch.autocast(maps.device.type, enabled=False):
        return F.grid_sample(maps.to(places.dtype), places, mode, around, align_corners=False)


def _refuse_remainders(size: Sequence[int], patch: int) -> None:
    """Raise `UserError` for patches that do not fill frames of a size."""
    if size[0] % patch or size[1] % patch:
        raise UserError(
            f"model.network.patch={patch} does not divide frames of {size[0]}x{size[1]} pixels: type one that does,"
            " such as 1."
        )


def _places(height: int, width: int) -> Tensor:
    """Return where each pixel of maps is, from -1 to 1, down and right: ``(2, height, width)``."""
    down = torch.linspace(-1, 1, height)[:, None].expand(height, width)
    right = torch.linspace(-1, 1, width).expand(height, width)
    return torch.stack([down, right])


class FlatLstm(nn.Module):
    """The classic: frames are rows of numbers, and long short-term memory continues them (Srivastava et al. 2015).

    Small frames only: weights grow with the number of pixels.
    """

    def __init__(
        self,
        channels: Supplied[int],
        size: Supplied[Sequence[int]],
        width: Count = 512,
        layers: Count = 1,
        output: Literal["direct", "residual"] = "residual",
        action_dim: Supplied[int] = 0,
        inputs: Supplied[int] = 1,
    ) -> None:
        """State the frames, and the width of each layer."""
        super().__init__()
        if output not in ("direct", "residual"):
            raise UserError(f"model.network.output={output} is not known: type direct or residual.")
        self.shape, self.output = (channels, *size), output
        pixels = channels * size[0] * size[1]
        self.embedding = scaled(nn.Linear(pixels + action_dim, width), pixels + action_dim)
        self.cells = nn.ModuleList(nn.LSTMCell(width, width) for _ in range(layers))
        self.head = scaled(nn.Linear(width, pixels), width, gain=1.0)
        if output == "residual":
            nn.init.zeros_(self.head.weight)

    def forward(self, frames: Tensor, given: Tensor, actions: Tensor | None = None) -> Forecast:
        """Return what follows each frame; see `Recurrent`."""
        states: list[Any] = [None] * len(self.cells)
        made = torch.empty(0)
        forecasts: list[Tensor] = []
        for step in range(given.shape[1]):
            choice = given[:, step, None, None, None]
            frame = made if not choice.any() else frames[:, step]
            if choice.any() and not choice.all():
                frame = torch.where(choice, frames[:, step], made)
            numbers = frame.flatten(1)
            if actions is not None:
                numbers = torch.cat([numbers, actions[:, step]], dim=1)
            hidden = F.silu(self.embedding(numbers))
            for index, cell in enumerate(self.cells):
                states[index] = cell(hidden, states[index])
                hidden = states[index][0]
            said = self.head(hidden).to(frames.dtype).unflatten(1, self.shape)
            made = frame + said if self.output == "residual" else said
            forecasts.append(made)
        return Forecast(torch.stack(forecasts, dim=1), frames.new_zeros(len(frames)))


class SimVp(nn.Module):
    """No recurrence: frames are channels, convolutions tell those that follow (Gao et al. 2022; Tan et al. 2023).

    Each frame is encoded by itself, blocks of large depthwise convolutions (Liu et al. 2022, ConvNeXt) work on all of
    them together, each new frame is decoded by itself, with the last frame's finest maps beside it. It is shown
    ``inputs`` frames and says as many; for more it starts again from those.
    """

    def __init__(
        self,
        channels: Supplied[int],
        size: Supplied[Sequence[int]],
        width: Count = 32,
        hidden: Count = 128,
        blocks: Count = 4,
        patch: Count = 4,
        kernel: Count = 7,
        action_dim: Supplied[int] = 0,
        inputs: Supplied[int] = 5,
    ) -> None:
        """State the frames, the maps of one of them (``width``) and of all together (``hidden``)."""
        super().__init__()
        if action_dim:
            raise UserError(
                "SimVP cannot be told what is done to an image: type model.conditioning=none, or"
                " network@model.network=convlstm."
            )
        _refuse_remainders(size, patch)
        self.inputs, self.patch = inputs, patch
        numbers = channels * patch**2
        self.encoder = nn.Sequential(
            scaled(nn.Conv2d(numbers, width, 3, padding=1), 9 * numbers),
            nn.SiLU(),
            scaled(nn.Conv2d(width, width, 3, padding=1), 9 * width),
            nn.SiLU(),
        )
        self.entrance = scaled(nn.Conv2d(inputs * width, hidden, 1), inputs * width, gain=1.0)
        self.blocks = nn.Sequential(*(Block(hidden, kernel) for _ in range(blocks)))
        self.exit = scaled(nn.Conv2d(hidden, inputs * width, 1), hidden, gain=1.0)
        self.decoder = nn.Sequential(
            scaled(nn.Conv2d(2 * width, width, 3, padding=1), 18 * width),
            nn.SiLU(),
            scaled(nn.Conv2d(width, numbers, 3, padding=1), 9 * width, gain=1.0),
        )

    def forward(self, frames: Tensor, given: Tensor, actions: Tensor | None = None) -> Forecast:
        """Return what follows the frames that all are given at first; those that are given later are not looked at.

        Raises:
            UserError: fewer frames are given than it takes.
        """
        shown = int(given.all(dim=0).long().cumprod(dim=0).sum())
        if shown < self.inputs:
            raise UserError(f"This network takes {self.inputs} frames, and {shown} were given: give {self.inputs}.")
        wanted = given.shape[1] - shown + 1
        known = frames[:, shown - self.inputs : shown]
        made: list[Tensor] = []
        while len(made) * self.inputs < wanted:
            known = self._continued(known)
            made.append(known)
        return Forecast(torch.cat(made, dim=1)[:, :wanted], frames.new_zeros(len(frames)))

    def _continued(self, frames: Tensor) -> Tensor:
        """Return as many frames again, ``(B, inputs, C, H, W)``."""
        count = len(frames)
        squares = F.pixel_unshuffle(frames.flatten(0, 1), self.patch)
        maps = self.encoder(squares).unflatten(0, (count, self.inputs))
        together = self.exit(self.blocks(self.entrance(maps.flatten(1, 2)))).unflatten(1, (self.inputs, -1))
        last = maps[:, -1:].expand(-1, self.inputs, -1, -1, -1)
        decoded = self.decoder(torch.cat([together, last], dim=2).flatten(0, 1))
        made = F.pixel_shuffle(decoded, self.patch).to(frames.dtype)
        return made.reshape(count, self.inputs, *made.shape[1:])


class Block(nn.Module):
    """A ConvNeXt block (Liu et al. 2022); at first it changes little."""

    def __init__(self, width: int, kernel: int) -> None:
        super().__init__()
        self.across = nn.Conv2d(width, width, kernel, padding=kernel // 2, groups=width)
        self.normalization = nn.GroupNorm(1, width)
        self.wide = scaled(nn.Conv2d(width, 4 * width, 1), width)
        self.narrow = scaled(nn.Conv2d(4 * width, width, 1), 4 * width, gain=0.1)

    def forward(self, maps: Tensor) -> Tensor:
        """Return maps of the same size."""
        more: Tensor = self.narrow(F.gelu(self.wide(self.normalization(self.across(maps)))))
        return maps + more
