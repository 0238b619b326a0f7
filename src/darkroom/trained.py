"""A trained run, in Python: pictures go in and come out as PIL images, arrays or tensors.

run = darkroom.load("latest")
pictures = run.generate(8, seed=0, labels="0-7")        # as `darkroom generate` would draw them
clean = run.edit("photo.jpg", strength=0.8)             # as `darkroom edit` would write it
run.classify(clean)                                     # {"cat": 0.93, "dog": 0.07}
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, overload

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from darkroom import lab, paths
from darkroom import trust as trusting
from darkroom.data.folder import fitted
from darkroom.editing import applying, masks, photographs
from darkroom.editing.applying import Manner
from darkroom.editing.editor import Editor
from darkroom.editing.photographs import Picture
from darkroom.errors import UserError
from darkroom.images import from_uint8, plain, to_pil, to_uint8
from darkroom.models.abilities import Classifies, Draws, DrawsVariously, Repairs
from darkroom.models.model import Model
from darkroom.operations import restoration
from darkroom.operations.operation import FileOperation, Learnt
from darkroom.picture_files import reading
from darkroom.sampling import choose_sampler, parse_conditions, sample_batches
from darkroom.tracking import checkpoints
from darkroom.tracking.store import Store

Given = str | Path | Image.Image | np.ndarray | Tensor
KINDS = (
    "a path, a PIL image, an array (H, W) or (H, W, C) of uint8, uint16 or floats from 0 to 1, or a tensor (C, H, W) or"
    " (B, C, H, W) of floats from -1 to 1"
)


class Trained:
    """A run that has learnt something: what it is, and what can be asked of it.

    ``model`` is the model itself, in evaluation mode, on the CPU unless it is moved: ``run.model.to("cuda")``.
    """

    def __init__(self, model: Model, description: lab.Description | None, reference: str) -> None:
        self.model, self.description, self.reference = model, description, reference

    @classmethod
    def of(cls, reference: str | Path, trust: str | list[str] | None = None) -> "Trained":
        """Return a run by its id, the first digits of it, its name, latest or best, or a .ckpt file.

        ``trust`` names packages of your own that it may have classes of.

        Raises:
            UserError: there is none, or it asks for what is no part of a model.
        """
        trusting.allow(trust)
        path = checkpoints.locate(str(reference), Store.open(paths.root(), reading=True))
        return cls(*lab.restore(path), str(reference))

    def __repr__(self) -> str:
        return f"Trained({type(self.model).__name__}, {self.reference!r})"

    @overload
    def generate(
        self,
        count: int = ...,
        seed: int = ...,
        labels: Any = ...,
        prompt: Any = ...,
        truncation: float = ...,
        sampler: str | None = ...,
        as_tensor: Literal[False] = ...,
    ) -> list[Image.Image]: ...
    @overload
    def generate(
        self,
        count: int = ...,
        seed: int = ...,
        labels: Any = ...,
        prompt: Any = ...,
        truncation: float = ...,
        sampler: str | None = ...,
        *,
        as_tensor: Literal[True],
    ) -> Tensor: ...
    def generate(
        self,
        count: int = 64,
        seed: int = 0,
        labels: Any = None,
        prompt: Any = None,
        truncation: float = 1.0,
        sampler: str | None = None,
        as_tensor: bool = False,
    ) -> list[Image.Image] | Tensor:
        """Draw pictures, the same that ``darkroom generate`` draws for these settings.

        ``labels`` are classes by name or number, in turn: ``"0-9"``, ``3``, ``["cat", "dog"]``; ``prompt`` is a caption
        or a list of them, ``count`` pictures each. Returned are PIL images or, ``as_tensor``, floats ``(N, C, H, W)``
        in [-1, 1], not rounded to levels.

        Raises:
            UserError: this run draws nothing, or not what it was asked for.
        """
        model = self.model
        if not isinstance(model, Draws):
            raise UserError(f"'{self.reference}' is a {type(model).__name__}, which draws nothing: load a generator.")
        if count < 1:
            raise UserError(f"count={count} is too few: give 1 or more.")
        asked = parse_conditions(model, labels, prompt)
        various: object = model
        usual = various.sampler_name if isinstance(various, DrawsVariously) else None
        choose_sampler(model, sampler)
        try:
            images = torch.cat([part.cpu() for _, part, _ in sample_batches(model, count, seed, asked, truncation)])
        finally:
            choose_sampler(model, usual)
        return images if as_tensor else [to_pil(image) for image in to_uint8(images)]

    def edit(
        self,
        image: Given,
        mask: Given | None = None,
        strength: float = 1.0,
        level: float | Literal["auto"] = "auto",
        tile: int | Literal["auto", "none"] = "auto",
        self_ensemble: bool = False,
        operation: FileOperation | None = None,
        as_tensor: bool = False,
    ) -> Any:
        """Return a picture edited as the run has learnt to, of the kind and the size it came in (times its scale).

        A restorer does what it has learnt; for others ``operation`` is one of `darkroom.operations`, such as
        ``Translate(direction="b_to_a")``.

        A path gives a PIL image. PIL images come back upright, as L, LA, RGB, RGBA or I;16; arrays with the type and
        the channels that they had, of which a second or fourth is transparency and stays; a batch of tensors picture by
        picture. ``as_tensor`` returns floats ``(C, H, W)`` in [-1, 1] of whatever came.

        ``mask`` says where to repair: white, or true; outside it nothing changes. ``strength`` is the share of the
        result, ``level`` the deviation of the noise in 255ths where a run is told it, ``tile`` the side of the tiles
        that large pictures are edited in (tensors never are), ``self_ensemble`` the mean of eight.

        Raises:
            UserError: this run edits no pictures, or it cannot take this one.
        """
        editor = self._editor(operation, level)
        manner = Manner(strength, tile, self_ensemble)
        if not 0 <= strength <= 1:
            raise UserError(f"strength={strength:g} is no share: give 0 (the picture as it is) to 1.")
        applying.check_tile(tile, editor)
        if editor.masked and mask is None:
            raise UserError("This run fills holes: give mask=<a picture, white where to repair>.")
        if isinstance(image, Tensor) or (isinstance(image, np.ndarray) and image.dtype.kind == "f"):
            colours, back = _floats(image)
            made = torch.stack([_applied(part, editor, manner, mask) for part in colours])
            return made[0] if as_tensor and len(made) == 1 else made if as_tensor else back(made)
        picture, give_back = _picture(image)
        marked = None
        if mask is not None:
            marked = _mask(mask)
            masks.check_size(marked, picture, "…")
            masks.check_share(marked, "…")
        made_picture = applying.edit(picture, editor, manner, marked).picture
        return applying.in_channels(made_picture.levels, None) if as_tensor else give_back(made_picture)

    def classify(self, image: Given) -> Any:
        """Return the probability of every class, surest first, ``{"cat": 0.93, …}``; for a batch of tensors a list.

        The picture is resized and cropped to what the run was trained on, as files are.

        Raises:
            UserError: this run names nothing.
        """
        model = self.model
        if not isinstance(model, Classifies):
            raise UserError(
                f"'{self.reference}' is a {type(self.model).__name__}, which names nothing: load a run of"
                " model=classifier."
            )
        shape = model.image_shape
        if isinstance(image, Tensor):
            colours, _ = _floats(image)
            singles = [to_pil(part) for part in to_uint8(colours)]
        else:
            singles = [_pil(image)]
        arrays = [fitted(plain(single), shape).transpose(2, 0, 1).copy() for single in singles]  # type: ignore[arg-type]
        logits = model.predict(from_uint8(torch.from_numpy(np.stack(arrays))))
        found = []
        for shares in logits.softmax(dim=1).cpu():
            order = shares.argsort(descending=True, stable=True).tolist()
            found.append({model.class_names[place]: float(shares[place]) for place in order})
        return found if isinstance(image, Tensor) and image.ndim == 4 else found[0]

    def _editor(self, operation: FileOperation | None, level: float | Literal["auto"]) -> Editor:
        """Return what edits, as the command makes it."""
        if operation is not None:
            run = Learnt(self.model, self.description, self.reference)
            operation.check(run)
            return operation.editor(run)
        if not isinstance(self.model, Repairs):
            raise UserError(
                f"'{self.reference}' is a {type(self.model).__name__}, which restores no pictures: load a run of a"
                " restorer, name an operation, or type darkroom edit for what there is."
            )
        return restoration.editor(self.model, level)


# --- pictures of any kind


def _pil(image: Given) -> Image.Image:
    """Return a picture, not a tensor, as PIL has it, upright."""
    if isinstance(image, str | Path):
        return reading.shown(Path(image).expanduser())
    if isinstance(image, Image.Image):
        return ImageOps.exif_transpose(image)
    if isinstance(image, np.ndarray) and image.dtype.kind == "f":
        return to_pil(to_uint8(_floats(image)[0])[0])
    picture, _ = _picture(image)
    return _to_pil(picture)


def _picture(image: Given) -> tuple[Picture, Callable[[Picture], Any]]:
    """Return a picture of whole levels, and what gives an edited one back as the kind it came in."""
    if isinstance(image, str | Path):
        return photographs.read(Path(image).expanduser()), _to_pil
    if isinstance(image, Image.Image):
        return _of_pil(ImageOps.exif_transpose(image)), _to_pil
    if not isinstance(image, np.ndarray) or image.dtype not in (np.uint8, np.uint16) or image.ndim not in (2, 3):
        what = f"{image.dtype} of {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
        raise UserError(f"A picture cannot be {what}: give {KINDS}.")
    levels = image[:, :, None] if image.ndim == 2 else image
    if levels.shape[2] not in (1, 2, 3, 4) or not levels.size:
        raise UserError(f"An array of {image.shape} is no picture: give (H, W) or (H, W, C) with 1 to 4 channels.")
    clear = levels.shape[2] % 2 == 0
    colours = np.ascontiguousarray(levels[:, :, :-1] if clear else levels)
    alpha = np.ascontiguousarray(levels[:, :, -1]) if clear else None

    def back(picture: Picture) -> np.ndarray:
        made = picture.levels if picture.alpha is None else np.dstack([picture.levels, picture.alpha])
        return made[:, :, 0] if image.ndim == 2 else made

    return Picture(colours, alpha), back


def _of_pil(image: Image.Image) -> Picture:
    """Return a PIL image of any mode as grey or colours, of 8 bits or, of I;16 and I, 16, with what is transparent."""
    if image.mode.startswith("I"):
        levels = np.asarray(image).astype(np.int64)
        if levels.min() < 0 or levels.max() > 65535:
            raise UserError(f"A PIL image of mode {image.mode} with levels beyond 0 to 65535 has no white: scale it.")
        return Picture(levels.astype(np.uint16)[:, :, None])
    if image.mode == "F":
        raise UserError("A PIL image of mode F has no agreed white: give an array of floats from 0 to 1.")
    grey = image.mode in ("1", "L", "LA")
    kept = image.convert(("LA" if grey else "RGBA") if image.has_transparency_data else "L" if grey else "RGB")
    levels = np.asarray(kept).reshape(kept.height, kept.width, -1)
    if not kept.has_transparency_data:
        return Picture(levels.copy())
    return Picture(levels[:, :, :-1].copy(), levels[:, :, -1].copy())


def _to_pil(picture: Picture) -> Image.Image:
    """Return a picture as L, LA, RGB, RGBA or I;16; other 16-bit ones, which PIL cannot hold, with 8 bits."""
    levels, alpha = picture.levels, picture.alpha
    if levels.dtype == np.uint16 and (levels.shape[2] == 3 or alpha is not None):
        levels = np.rint(levels / 257).astype(np.uint8)
        alpha = None if alpha is None else np.rint(alpha / 257).astype(np.uint8)
    return to_pil(levels if alpha is None else np.dstack([levels, alpha]))


def _floats(image: Tensor | np.ndarray) -> tuple[Tensor, Callable[[Tensor], Any]]:
    """Return floats ``(B, C, H, W)`` in [-1, 1], and what gives edited ones back as what they were."""
    if isinstance(image, Tensor):
        if not image.is_floating_point() or image.ndim not in (3, 4) or image.shape[-3] not in (1, 3):
            raise UserError(f"A tensor of {tuple(image.shape)}, {image.dtype}, is no picture: give {KINDS}.")
        _within(image, -1)

        def back(made: Tensor) -> Tensor:
            made = made.to(image.device, image.dtype)
            return made if image.ndim == 4 else made[0]

        return image.detach().cpu().float().reshape(-1, *image.shape[-3:]), back
    if image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] not in (1, 3)):
        raise UserError(
            f"An array of {image.shape} floats is no picture: give (H, W) or (H, W, C) with 1 or 3 channels."
        )
    _within(image, 0)
    levels = image[:, :, None] if image.ndim == 2 else image
    colours = torch.from_numpy(np.ascontiguousarray(levels.transpose(2, 0, 1)).astype(np.float32)) * 2 - 1

    def back_to_array(made: Tensor) -> np.ndarray:
        array: np.ndarray = ((made[0].permute(1, 2, 0).numpy() + 1) / 2).astype(image.dtype)
        return array[:, :, 0] if image.ndim == 2 else array

    return colours[None], back_to_array


def _within(image: Tensor | np.ndarray, least: int) -> None:
    """Refuse values that are of another convention."""
    low, high = float(image.min()), float(image.max())
    if not (least <= low and high <= 1):
        raise UserError(
            f"This picture has values from {low:g} to {high:g}, and floats from {least} to 1 were expected: divide by"
            " its white, or give uint8 or uint16."
        )


def _mask(mask: Given) -> masks.Mask:
    """Return where to repair."""
    if isinstance(mask, Tensor):
        holes = mask.detach().cpu().reshape(mask.shape[-2:]).numpy() > 0.5
    elif isinstance(mask, np.ndarray) and mask.dtype == np.bool_:
        holes = mask
    elif isinstance(mask, np.ndarray) and mask.dtype.kind == "f":
        holes = mask >= 0.5
    else:
        holes = masks.white(_picture(mask)[0])
    return masks.shaped(holes)


def _applied(colours: Tensor, editor: Editor, manner: Manner, mask: Given | None) -> Tensor:
    """Return floats ``(C, H, W)`` edited whole and not rounded; outside the mask they are what they were."""
    apply = editor.apply
    if editor.tuned is not None:
        apply, _ = editor.tuned(colours, colours)
    holes = None
    if mask is not None:
        marked = _mask(mask)
        if marked.holes.shape != colours.shape[1:]:
            raise UserError(
                f"The mask is {marked.holes.shape} and the picture {tuple(colours.shape[1:])}: give one size."
            )
        masks.check_share(marked, "…")
        holes = torch.from_numpy(marked.holes)[None]
    made = applying.adapted(apply, editor, manner)(colours, holes).clamp(-1, 1)
    return made if holes is None else torch.where(holes, made, colours)
