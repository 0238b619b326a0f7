"""An editor at work on a picture: whatever the picture's channels, bits and size, and whatever memory there is."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from darkroom.editing import masks, tiling
from darkroom.editing.editor import Apply, Editor
from darkroom.editing.masks import Mask
from darkroom.editing.photographs import Levels, Picture
from darkroom.errors import UserError, out_of_memory

LUMINANCE = (0.299, 0.587, 0.114)  # of red, green, blue (BT.601, as JPEG has it)
TILE, TILE_ON_GPU = 512, 1024  # sides of automatic tiles
STRIP = 64  # rows that are rounded to levels at a time
LOOKED_AT = 1024  # pixels of each side of the middle, and of the small copy, that an editor is tuned to

Tile = int | Literal["auto", "none"]


@dataclass(frozen=True)
class Manner:
    """How an editor is applied: what a person may turn, whatever the operation."""

    strength: float = 1.0  # share of the result in what comes out, the rest being the picture itself
    tile: Tile = "auto"
    self_ensemble: bool = False  # the mean of what becomes of the picture turned and mirrored in eight ways


@dataclass(frozen=True)
class Outcome:
    """What became of a picture; the side of the tiles, None when it was edited whole; what tuning found, in words."""

    picture: Picture
    tile: int | None = None
    found: str = ""
    notes: tuple[str, ...] = field(default_factory=tuple)


def edit(
    picture: Picture,
    editor: Editor,
    manner: Manner,
    mask: Mask | None = None,
    name: str = "the picture",
    on_gpu: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Outcome:
    """Return the picture edited, with all that it carries; only some rows of it are held as floats at a time.

    Where ``mask`` has no weight, and where the picture does not show, the levels stay as they are, to the bit.

    Raises:
        UserError: it does not fit into memory however small the tiles, or something other than numbers came out.
    """
    apply, found = tuned(picture, editor)
    applied = adapted(apply, editor, manner)
    scale, most = editor.scale, picture.most
    if scale != 1 and mask is not None:
        raise UserError(f"{name} is made {scale} times as large, which a mask has no part in: leave mask out.")
    weights = _weights(picture, mask, scale)
    side = _side(picture, editor, manner, on_gpu)
    width, height = picture.size
    while True:
        made = picture.levels.copy() if scale == 1 else np.empty(
            (height * scale, width * scale, picture.levels.shape[2]), picture.levels.dtype
        )  # fmt: skip

        def keep(top: int, rows: Tensor, made: Levels = made) -> None:
            if not bool(rows.isfinite().all()):
                raise UserError(f"{name}: what came out is no picture but holds NaN; the run is of no use for it.")
            for some in torch.split(rows, STRIP, dim=1):  # the copies that rounding takes are of these alone
                part = slice(top, top + some.shape[1])
                levels = some.permute(1, 2, 0).numpy().astype(np.float32)
                source = picture.levels[part] if scale == 1 else made[part]
                made[part] = masks.composited(
                    source, (levels + 1) * np.float32(most / 2), None if weights is None else weights[part]
                )
                top = part.stop

        def one(place: tiling.Place) -> Tensor | None:
            rows, columns = slice(place.top, place.top + place.height), slice(place.left, place.left + place.width)
            if weights is not None and not weights[rows, columns].any():
                return None
            holes = None
            if mask is not None:
                holes = torch.from_numpy(_cut(mask.holes[:, :, None], place).copy()).permute(2, 0, 1)
            return applied(_floats(_cut(picture.levels, place), most), holes)

        try:
            with torch.no_grad():
                tiling.tiled(
                    one, keep, height, width, side, editor.reach or 0, editor.multiple, scale, progress
                )  # fmt: skip
            break
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
            if editor.reach is None:
                raise UserError(
                    f"{name} of {width}x{height} pixels does not fit into memory: make it smaller."
                ) from None
            largest = max(width, height)
            side = tiling.smaller(min(side or largest, largest), editor.reach, editor.multiple, name)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
    whole = side is None or max(width, height) <= side
    return Outcome(replace(picture, levels=made, alpha=_alpha(picture, scale)), None if whole else side, found)


def tuned(picture: Picture, editor: Editor) -> tuple[Apply, str]:
    """Return what edits this picture, and what was found in it, in words."""
    if editor.tuned is None:
        return editor.apply, ""
    seen = (
        _seen(_floats(levels, picture.most), editor.channels)
        for levels in (middle(picture.levels, LOOKED_AT), _small(picture.levels, LOOKED_AT))
    )
    return editor.tuned(*seen)


def _small(levels: Levels, side: int) -> Levels:
    """Return a copy of a picture at most ``side`` pixels a side."""
    import cv2

    height, width = levels.shape[:2]
    if max(height, width) <= side:
        return levels
    size = [max(1, round(length * side / max(height, width))) for length in (width, height)]
    made = cv2.resize(levels, (size[0], size[1]), interpolation=cv2.INTER_AREA)
    return np.asarray(made.reshape(size[1], size[0], -1), levels.dtype)


def middle(levels: Levels, side: int, multiple: int = 1) -> Levels:
    """Return the middle of a picture, at most ``side`` pixels a side, and multiples where there are enough."""
    parts = []
    for length in levels.shape[:2]:
        size = min(length, side)
        size = size // multiple * multiple or size
        parts.append(slice((length - size) // 2, (length - size) // 2 + size))
    return levels[parts[0], parts[1]]


def in_channels(levels: Levels, channels: int | None) -> Tensor:
    """Return levels ``(H, W, C)`` as floats ``(channels, H, W)`` in [-1, 1], as an editor of such sees them."""
    return _seen(_floats(levels, int(np.iinfo(levels.dtype).max)), channels)


def adapted(apply: Apply, editor: Editor, manner: Manner) -> Apply:
    """Return what takes grey or colours ``(1 or 3, H, W)`` and returns as many channels, in the asked manner.

    What knows only colours is shown grey as three equal channels, whose mean is taken; what knows only grey edits the
    luminance of colours, whose other part stays.
    """
    inner = _ensembled(apply) if manner.self_ensemble else apply

    def applied(colours: Tensor, holes: Tensor | None) -> Tensor:
        seen = _seen(colours, editor.channels)
        made = inner(seen, holes).float().cpu()
        if manner.strength == 1 and len(seen) == len(colours):
            return made
        base = _enlarged(colours, editor.scale)
        if len(seen) > len(colours):
            made = made.mean(dim=0, keepdim=True)
        elif len(seen) < len(colours):
            made = base + (made - _seen(base, 1))
        return base + manner.strength * (made - base)

    return applied


def _ensembled(apply: Apply) -> Apply:
    """Return the mean of eight: the picture in four turns, and mirrored."""

    def applied(colours: Tensor, holes: Tensor | None) -> Tensor:
        total: Tensor | None = None
        for mirrored in (False, True):
            for turns in range(4):
                seen, marks = (
                    None if part is None else torch.rot90(part.flip(2) if mirrored else part, turns, (1, 2))
                    for part in (colours, holes)
                )
                assert seen is not None
                made = torch.rot90(apply(seen, marks).float(), -turns, (1, 2))
                made = made.flip(2) if mirrored else made
                total = made if total is None else total + made
        assert total is not None
        return total / 8

    return applied


def _seen(colours: Tensor, channels: int | None) -> Tensor:
    """Return colours as so many channels."""
    if channels is None or channels == len(colours):
        return colours
    if channels == 3:
        return colours.expand(3, -1, -1)
    return (colours * torch.tensor(LUMINANCE).view(3, 1, 1)).sum(dim=0, keepdim=True)


def _enlarged(colours: Tensor, scale: int) -> Tensor:
    if scale == 1:
        return colours
    return F.interpolate(colours[None], scale_factor=scale, mode="bicubic", align_corners=False)[0]


def _floats(levels: Levels, most: int) -> Tensor:
    """Return levels ``(H, W, C)`` as floats ``(C, H, W)`` in [-1, 1]."""
    return torch.from_numpy(levels.astype(np.float32)).permute(2, 0, 1) / (most / 2) - 1


def _cut(array: Levels, place: tiling.Place) -> Levels:
    """Return a place of a picture ``(H, W, C)``, mirrored where it hangs over the edge."""
    part = array[place.top : place.top + place.height, place.left : place.left + place.width]
    missing = [(0, size - have) for size, have in zip((place.height, place.width), part.shape[:2], strict=True)]
    if not any(after for _, after in missing):
        return part
    return np.pad(part, [*missing, (0, 0)], mode="reflect")


def _weights(picture: Picture, mask: Mask | None, scale: int) -> masks.Weights | None:
    """Return how much of the edit is taken where; None: all of it everywhere."""
    weights = None if mask is None else mask.weights
    if scale == 1 and picture.alpha is not None and mask is None and not picture.alpha.all():
        weights = (picture.alpha > 0).astype(np.float32)
    return weights


def _side(picture: Picture, editor: Editor, manner: Manner, on_gpu: bool) -> int | None:
    """Return the side of the tiles; None: the picture is edited whole."""
    if editor.reach is None:
        return None
    if manner.tile == "none":
        return None
    if manner.tile == "auto":
        side = max(TILE_ON_GPU if on_gpu else TILE, 4 * editor.reach)
        return -(-side // editor.multiple) * editor.multiple
    return manner.tile


def check_tile(tile: Tile, editor: Editor) -> None:
    """Refuse tiles that this editor cannot work in.

    Raises:
        UserError: they are too small, or it needs to see the picture whole.
    """
    if isinstance(tile, str):
        return
    if editor.reach is None:
        raise UserError(f"tile={tile} was given, but this edit needs to see the picture whole: leave tile out.")
    if tile < (smallest := tiling.least(editor.reach, editor.multiple)):
        raise UserError(
            f"tile={tile} is too small for this run, which looks {editor.reach} pixels around each: type"
            f" tile={smallest} or more, or leave it out."
        )


def _alpha(picture: Picture, scale: int) -> Levels | None:
    """Return the transparency, resized where the picture is."""
    if picture.alpha is None or scale == 1:
        return picture.alpha
    from PIL import Image

    size = (picture.size[0] * scale, picture.size[1] * scale)
    resized = np.asarray(Image.fromarray(picture.alpha.astype(np.float32)).resize(size, Image.Resampling.BICUBIC))
    return np.asarray(np.clip(np.rint(resized), 0, picture.most).astype(picture.alpha.dtype))
