"""Figures of matplotlib as pixels."""

import io
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def rendered(figure: "Figure") -> np.ndarray:
    """Return a figure as a uint8 ``(H, W, 3)`` picture."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()  # type: ignore[no-untyped-call]
    drawn: np.ndarray = np.asarray(canvas.buffer_rgba())  # type: ignore[no-untyped-call]
    return drawn[:, :, :3].copy()


def as_png(figure: "Figure") -> bytes:
    """Return a figure as what a PNG file holds."""
    content = io.BytesIO()
    Image.fromarray(rendered(figure)).save(content, format="PNG")
    return content.getvalue()
