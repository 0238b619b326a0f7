"""The one convention for pictures.

Inside the lab an image is float, ``(C, H, W)`` or ``(B, C, H, W)``, in [-1, 1]; at its borders (files, metrics, the
dashboard) it is uint8 in [0, 255]. Nothing else is passed around.
"""

import io
import math
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from darkroom import files


def to_uint8(images: Tensor) -> Tensor:
    """Return float images in [-1, 1] as uint8, rounded to the nearest level and clamped."""
    return images.detach().float().add(1).mul(127.5).round_().clamp_(0, 255).to(torch.uint8)


def from_uint8(images: Tensor) -> Tensor:
    """Return uint8 images as float32 in [-1, 1]; ``to_uint8`` undoes it exactly."""
    return images.float().div_(127.5).sub_(1)


def sheet(images: Tensor, columns: int | None = None, gap: int = 2, least: int = 48) -> np.ndarray:
    """Return a contact sheet of uint8 ``(B, C, H, W)`` images as a uint8 ``(H, W, 3)`` array.

    Small pictures are enlarged by whole factors (nearest neighbour) until their longer side has ``least`` pixels, so
    that a person sees pixels and not a blur.
    """
    count, channels, height, width = images.shape
    columns = columns or math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    scale = max(1, math.ceil(least / max(height, width)))
    pictures = images.cpu().numpy().transpose(0, 2, 3, 1).repeat(scale, axis=1).repeat(scale, axis=2)
    if channels == 1:
        pictures = pictures.repeat(3, axis=3)
    cell_height, cell_width = height * scale + gap, width * scale + gap
    canvas = np.full((rows * cell_height + gap, columns * cell_width + gap, 3), 32, dtype=np.uint8)
    for index, picture in enumerate(pictures):
        top, left = (index // columns) * cell_height + gap, (index % columns) * cell_width + gap
        canvas[top : top + height * scale, left : left + width * scale] = picture
    return canvas


def as_jpeg(image: Tensor, quality: int) -> Tensor:
    """Return one uint8 image ``(C, H, W)`` as it comes out of a JPEG file of a quality from 1 to 95."""
    buffer = io.BytesIO()
    to_pil(image).save(buffer, format="JPEG", quality=quality)
    with Image.open(buffer) as saved:
        array = np.asarray(saved)
    return torch.from_numpy(array.reshape(*array.shape[:2], -1).transpose(2, 0, 1).copy())


def to_pil(image: Tensor | np.ndarray) -> Image.Image:
    """Return one uint8 image, ``(C, H, W)`` tensor or ``(H, W[, C])`` array, as a PIL image."""
    array = image.cpu().numpy().transpose(1, 2, 0) if isinstance(image, Tensor) else image
    return Image.fromarray(array[:, :, 0] if array.ndim == 3 and array.shape[2] == 1 else array)


def save_png(path: Path, image: Tensor | np.ndarray) -> None:
    """Write one uint8 image as a PNG file."""
    buffer = io.BytesIO()
    to_pil(image).save(buffer, format="PNG")
    files.write(path, buffer.getvalue(), durable=False)
