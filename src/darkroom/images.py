"""The one convention for pictures.

Inside the lab an image is float, ``(C, H, W)`` or ``(B, C, H, W)``, in [-1, 1]; at its borders (files, metrics, the
dashboard) it is uint8 in [0, 255]. Nothing else is passed around.
"""

import io
import math
import textwrap
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from darkroom import files


def to_uint8(images: Tensor) -> Tensor:
    """Return float images in [-1, 1] as uint8, rounded to the nearest level and clamped."""
    return images.detach().float().add(1).mul(127.5).round_().clamp_(0, 255).to(torch.uint8)


def from_uint8(images: Tensor) -> Tensor:
    """Return uint8 images, or floats on the same scale, as float32 in [-1, 1]; of uint8 ``to_uint8`` is the reverse."""
    return images.to(torch.float32, copy=True).div_(127.5).sub_(1)


def as_saved(images: Tensor) -> Tensor:
    """Return images in [-1, 1] as they would come out of a file: clipped, and rounded to 256 levels."""
    return from_uint8(to_uint8(images))


def evenly(total: int, count: int) -> Tensor:
    """Return the places of ``count`` of ``total`` pictures, or of all, from the first to the last."""
    return torch.linspace(0, total - 1, min(total, count)).round().long()


def sheet(images: Tensor, columns: int | None = None, gap: int = 2, least: int = 48) -> np.ndarray:
    """Return a contact sheet of uint8 ``(B, C, H, W)`` images as a uint8 ``(H, W, 3)`` array.

    Small pictures are enlarged by whole factors (nearest neighbour) until their longer side has ``least`` pixels, so
    that a person sees pixels and not a blur.
    """
    count, _, height, width = images.shape
    columns = columns or math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    scale = max(1, math.ceil(least / max(height, width)))
    cell_height, cell_width = height * scale + gap, width * scale + gap
    canvas = np.full((rows * cell_height + gap, columns * cell_width + gap, 3), 32, dtype=np.uint8)
    for index, picture in enumerate(enlarged(images, scale)):
        top, left = (index // columns) * cell_height + gap, (index % columns) * cell_width + gap
        canvas[top : top + height * scale, left : left + width * scale] = picture
    return canvas


def enlarged(images: Tensor | np.ndarray, scale: int) -> np.ndarray:
    """Return uint8 images enlarged by a whole factor, without smoothing, as an array ``(B, H, W, 3)``.

    They are a tensor ``(B, C, H, W)`` or an array ``(B, H, W, C)``.
    """
    array = images.cpu().numpy().transpose(0, 2, 3, 1) if isinstance(images, Tensor) else images
    array = array.repeat(scale, axis=1).repeat(scale, axis=2)
    return array.repeat(3, axis=3) if array.shape[3] == 1 else array


def captioned_sheet(images: Tensor, captions: Sequence[str], across: int = 2, columns: int = 8) -> np.ndarray:
    """Return a contact sheet of uint8 ``(B, C, H, W)`` images in blocks, each under the caption it shares.

    Images that follow one another with the same caption are a block, ``columns`` wide; blocks lie ``across`` to a row.
    """
    starts = [index for index, caption in enumerate(captions) if index == 0 or caption != captions[index - 1]]
    sizes = [end - start for start, end in zip(starts, [*starts[1:], len(captions)], strict=True)]
    alone = max(sizes) == 1
    blocks = [
        sheet(part, columns=min(columns, max(sizes)), least=96 if alone else 48)
        for part in torch.split(images.cpu(), sizes)
    ]
    if alone:
        across = columns
    font = ImageFont.load_default(11)
    assert isinstance(font, ImageFont.FreeTypeFont)
    width, height = max(block.shape[1] for block in blocks), max(block.shape[0] for block in blocks)
    letters = max(8, int(width / font.getlength("a") * 1.05))
    texts = [textwrap.wrap(captions[start], letters) or [""] for start in starts]
    line, gap = 14, 6
    above = line * max(map(len, texts)) + 2
    rows = math.ceil(len(blocks) / across)
    canvas = Image.new("RGB", (across * (width + gap) + gap, rows * (height + above + gap) + gap), (32, 32, 32))
    draw = ImageDraw.Draw(canvas)
    for index, (block, text) in enumerate(zip(blocks, texts, strict=True)):
        left, top = gap + (index % across) * (width + gap), gap + (index // across) * (height + above + gap)
        draw.multiline_text((left + 2, top), "\n".join(text), fill=(230, 230, 230), font=font, spacing=2)
        canvas.paste(Image.fromarray(block), (left, top + above))
    return np.asarray(canvas)


def as_jpeg(image: Tensor, quality: int) -> Tensor:
    """Return one uint8 image ``(C, H, W)`` as it comes out of a JPEG file of a quality from 1 to 95."""
    buffer = io.BytesIO()
    to_pil(image).save(buffer, format="JPEG", quality=quality)
    with Image.open(buffer) as saved:
        array = np.asarray(saved)
    return torch.from_numpy(array.reshape(*array.shape[:2], -1).transpose(2, 0, 1).copy())


def plain(picture: Image.Image) -> Image.Image:
    """Return a picture of any mode as L or RGB: 16 bits become 8, what is transparent shows white."""
    if picture.mode.startswith("I") or picture.mode == "F":
        levels = np.asarray(picture).astype(np.float64)
        if picture.mode == "F" and levels.max() <= 1:
            levels = levels * 255  # floating-point scans range from 0 to 1 or from 0 to 255
        elif picture.mode != "F":
            levels = levels / 257  # 65535 / 255
        return Image.fromarray(np.clip(np.rint(levels), 0, 255).astype(np.uint8))
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        white = Image.new("RGBA", picture.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, picture).convert("RGB")
    return picture.convert("L" if picture.mode in ("1", "L") else "RGB")


def to_pil(image: Tensor | np.ndarray) -> Image.Image:
    """Return one uint8 image, ``(C, H, W)`` tensor or ``(H, W[, C])`` array, as a PIL image."""
    array = image.cpu().numpy().transpose(1, 2, 0) if isinstance(image, Tensor) else image
    return Image.fromarray(array[:, :, 0] if array.ndim == 3 and array.shape[2] == 1 else array)


def save_png(path: Path, image: Tensor | np.ndarray) -> None:
    """Write one uint8 image as a PNG file."""
    buffer = io.BytesIO()
    to_pil(image).save(buffer, format="PNG")
    files.write(path, buffer.getvalue(), durable=False)


def save_gif(path: Path, frames: np.ndarray, seconds: float = 0.2) -> None:
    """Write uint8 frames ``(T, H, W, C)`` as an animation that runs for ever, each shown for so many ``seconds``."""
    first, *others = (to_pil(frame) for frame in frames)
    buffer = io.BytesIO()
    # Every frame in full: what Pillow leaves out as unchanged, other programs take for changed.
    first.save(
        buffer, format="GIF", save_all=True, append_images=others, duration=round(seconds * 1000), loop=0, disposal=2
    )
    files.write(path, buffer.getvalue(), durable=False)
