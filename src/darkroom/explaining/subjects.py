"""What is explained: pictures from files, from films or from the data of a run."""

import glob
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from darkroom.data.folder import SUFFIXES, picture_files, read_picture
from darkroom.data.module import ImageData
from darkroom.data.videos import read_frames
from darkroom.errors import UserError
from darkroom.explaining import attribution, explanation, sheet
from darkroom.images import from_uint8, to_uint8
from darkroom.models.abilities import Draws, Forecasts
from darkroom.models.model import Model
from darkroom.models.sequence import strip
from darkroom.picture_files.picture import UnreadablePicture


@dataclass(frozen=True)
class Subjects:
    """Pictures ``(B, C, H, W)`` in [-1, 1] to explain, with what is known of them; ``source`` in words."""

    images: Tensor
    labels: Tensor | None
    origins: list[str]
    source: str


def input_files(given: str) -> list[Path]:
    """Return the pictures that a file, a folder or a pattern names, in the order of their paths.

    Raises:
        UserError: there are none.
    """
    source = Path(given).expanduser()
    if source.is_dir():
        found = picture_files(source)
    elif source.is_file():
        found = [source]
    else:
        matches = sorted(map(Path, glob.glob(str(source), recursive=True)))
        found = [match for match in matches if match.is_file() and match.suffix.lower() in SUFFIXES]
    if not found:
        raise UserError(f"input={given} names no picture: give a file, a folder, or a pattern such as 'photos/*.png'.")
    return found


def from_files(sources: list[Path], image_shape: tuple[int, ...], words: str) -> Subjects:
    """Return pictures from files, resized on their shorter side and cropped to the central part.

    Raises:
        UserError: a file is no picture.
    """
    channels, height, width = image_shape
    decoded = []
    for source in sources:
        try:
            decoded.append(read_picture(source, (channels, height, width)))
        except UnreadablePicture as error:
            raise UserError(f"{source} cannot be read as a picture ({error.reason}).") from None
    return Subjects(from_uint8(torch.stack(decoded)), None, [source.name for source in sources], words)


def from_films(sources: list[Path], model: Forecasts, words: str) -> Subjects:
    """Return the first frames of films, as many as the model is shown, side by side.

    Raises:
        UserError: a file cannot be read, or has too few frames.
    """
    channels, height, width = model.image_shape
    films = []
    for source in sources:
        film = read_frames(source, (channels, height, width))
        if len(film) < model.inputs:
            raise UserError(
                f"{source} has {len(film)} frame{'s' if len(film) > 1 else ''}, and this run is shown {model.inputs}."
            )
        films.append(film[: model.inputs])
    return Subjects(strip(from_uint8(torch.stack(films))), None, [source.name for source in sources], words)


def from_data(model: Model, data: ImageData, count: int) -> Subjects:
    """Return the first test pictures, the classes taking turns; of a model that draws, each second one is its own.

    Raises:
        UserError: the data have another shape than the model.
    """
    if tuple(data.image_shape) != model.image_shape:
        raise UserError(
            f"The run has pictures of {size_of(model.image_shape)} and {data.name} has {size_of(data.image_shape)} now:"
            " point paths.data to the data it was trained on, or type input=<pictures>."
        )
    pictures = data.pictures("test")
    indices = explanation.in_turn(pictures.labels, len(pictures), count)
    images = from_uint8(pictures.batch(indices))
    if isinstance(model, Forecasts):
        shown = strip(images[:, : model.inputs])
        return Subjects(
            shown, None, [f"{model.inputs} frame{'s' if model.inputs > 1 else ''}"] * len(shown), f"{data.name} test"
        )
    labels = None if pictures.labels is None else pictures.labels[indices]
    names = ["" if labels is None else f" {data.class_names[label]}" for label in ([] if labels is None else labels)]
    source = f"{data.name} test"
    if not isinstance(model, Draws):
        return Subjects(images, labels, [f"true{name}" for name in names] or ["test"] * len(images), source)
    half = (count + 1) // 2
    images, labels = images[:half], None if labels is None else labels[:half]
    drawn = model.sample(torch.arange(len(images)), seed=0, labels=labels if model.classes else None)
    # As in files: a discriminator must not be helped by what rounding takes away.
    drawn = from_uint8(to_uint8(drawn))
    pairs = torch.stack([images, drawn.cpu()], dim=1).flatten(0, 1)[:count]
    origins = [word for name in names or [""] * len(images) for word in (f"test{name}", f"drawn{name}")]
    asked = None if labels is None else labels.repeat_interleave(2)[:count]
    return Subjects(pairs, asked, origins[:count], f"{source}, each second one drawn")


def sheets(model: Model, data: ImageData, title: str, count: int = 8) -> dict[str, np.ndarray]:
    """Return the sheets of a few test pictures by the name of what they explain; the model stays as it is."""
    drawn = {}
    subjects = from_data(model, data, count)
    images = subjects.images.to(model.device)
    for explainable in (found.ready() for found in model.explainable()):
        names = ["grad_cam", "integrated_gradients"] if explainable.layers else ["integrated_gradients"]
        methods = attribution.chosen(names, explainable)
        targets = explanation.targets_of(explainable, images, subjects.labels, None)
        explained = explanation.explain(explainable, methods, images, targets, subjects.origins)
        drawn[explainable.name] = sheet.draw(explained, f"{explainable.name} by {title}: {subjects.source}")
    return drawn


def size_of(shape: tuple[int, ...]) -> str:
    """Return the size of pictures in words."""
    channels, height, width = shape
    return f"{height}x{width} pixels with {channels} channel{'s' if channels > 1 else ''}"
