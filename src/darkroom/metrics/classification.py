"""How well does a model name pictures, and does it know when it does not know?"""

import re
from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from darkroom.errors import UserError
from darkroom.images import from_uint8
from darkroom.metrics.isolation import evaluating
from darkroom.metrics.protocol import Protocol
from darkroom.metrics.scores import Scores
from darkroom.metrics.subjects import Data, Namer, Pictures, Progress

CHUNK = 250  # pictures named at once
CALIBRATION_BINS = 15  # of Guo et al. 2017, arXiv 1706.04599
NAMED_CLASSES = 20  # above this many, the recall of each class is only in the confusion matrix


class Classification:
    """Score a classifier on every picture of a split, in order and as it is.

        scores = Classification().score(model, data, "val")
        scores.values["accuracy"], scores.pictures["confusion"]

    ``accuracy_majority`` is what one gets by always naming the class that is most frequent in training.
    """

    objective = ("accuracy", "max")

    def __init__(self, every: int = 20_000) -> None:
        """Choose the number of training images between two scorings."""
        if every < 1:
            raise UserError(f"metrics.every is {every}: expected a number of images of at least 1")
        self.every = every

    def score(
        self, model: Namer, data: Data, split: str, exact: bool = False, progress: Progress | None = None
    ) -> Scores:
        """Name all pictures of a split; ``exact`` changes nothing, since nothing is estimated.

        Raises `UserError` for data without classes.
        """
        from importlib.metadata import version

        from torchmetrics.classification import (
            MulticlassAccuracy,
            MulticlassCalibrationError,
            MulticlassConfusionMatrix,
            MulticlassF1Score,
            MulticlassPrecision,
            MulticlassRecall,
        )

        pictures, training = data.pictures(split), data.pictures("train")
        classes = len(data.class_names)
        if not classes or pictures.labels is None or training.labels is None:
            raise UserError(f"the data '{data.name}' are not labelled: use metrics=generative or metrics=none")
        # "micro" counts pictures, "macro" counts classes: balanced accuracy is macro recall.
        measures = {
            "accuracy": MulticlassAccuracy(classes, average="micro", sync_on_compute=False),
            "balanced_accuracy": MulticlassRecall(classes, average="macro", sync_on_compute=False),
            "precision": MulticlassPrecision(classes, average="macro", sync_on_compute=False),
            "recall": MulticlassRecall(classes, average="macro", sync_on_compute=False),
            "f1": MulticlassF1Score(classes, average="macro", sync_on_compute=False),
            "calibration_error": MulticlassCalibrationError(
                classes, n_bins=CALIBRATION_BINS, norm="l1", sync_on_compute=False
            ),
        }
        # Only the first process of several scores: waiting for the others would be for ever.
        confusion = MulticlassConfusionMatrix(classes, sync_on_compute=False)
        loss, done = 0.0, 0
        with evaluating(model, model.device):
            for images, labels in _labelled(pictures, pictures.labels):
                logits = model.predict(images.to(model.device)).float().cpu()
                loss += F.cross_entropy(logits.double(), labels, reduction="sum").item()
                # As logits, a batch that happens to lie in [0, 1] would be taken for probabilities.
                shares = logits.softmax(dim=1)
                for measure in (*measures.values(), confusion):
                    measure.update(shares, labels)
                done += len(labels)
                if progress:
                    progress(done, len(pictures))
        table = confusion.compute()
        values = {name: measure.compute().item() for name, measure in measures.items()}
        values["loss"] = loss / done
        usual = torch.bincount(training.labels, minlength=classes).argmax()
        values["accuracy_majority"] = (pictures.labels == usual).double().mean().item()
        if classes <= NAMED_CLASSES:
            present = table.sum(dim=1)
            for index, name in enumerate(data.class_names):
                if present[index]:
                    values[f"recall_{_key(name)}"] = (table[index, index] / present[index]).item()
        channels, height, width = data.image_shape
        protocol: Protocol = {
            "real_images": done,
            "classes": classes,
            "data": data.name,
            "data_digest": data.split_digests[split],
            "split": split,
            "image_size": f"{channels}x{height}x{width}",
            "value_type": "uint8, rounded",
            "calibration_bins": CALIBRATION_BINS,
            "averaged_weights": bool(getattr(model, "averaged", False)),
            "torch": version("torch"),
            "torchmetrics": version("torchmetrics"),
        }
        return Scores(values, protocol, {"confusion": draw_confusion(table.numpy(), data.class_names)})


def _labelled(pictures: Pictures, labels: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    for indices in torch.split(torch.arange(len(pictures)), CHUNK):
        yield from_uint8(pictures.batch(indices)), labels[indices]


def _key(class_name: str) -> str:
    """Return a class name with only what every tracking server takes in the name of a metric."""
    return re.sub(r"[^A-Za-z0-9.-]+", "_", class_name).strip("_") or "unnamed"


def draw_confusion(table: np.ndarray, class_names: list[str]) -> np.ndarray:
    """Return a confusion matrix as a uint8 ``(H, W, 3)`` picture: true classes are rows, named classes columns.

    ``table`` holds counts ``(K, K)``. A cell is the darker the larger its share of the row, on a square root scale, so
    that one mistake in a hundred is visible; up to 30 classes have names and counts in them.
    """
    classes = len(class_names)
    labelled = classes <= 30
    cell = 40 if classes <= 12 else 28 if labelled else max(2, 600 // classes)
    font = ImageFont.load_default(size=13 if cell >= 40 else 10)
    names = [name if len(name) <= 14 else f"{name[:13]}…" for name in class_names]
    margin = int(max(font.getlength(name) for name in names)) + 34 if labelled else 30
    side = margin + classes * cell + 12
    picture = Image.new("RGB", (side, side), "white")
    draw = ImageDraw.Draw(picture)
    rows = table.sum(axis=1, keepdims=True)
    darkness = np.sqrt(table / np.maximum(rows, 1))
    for row in range(classes):
        for column in range(classes):
            left, top = margin + column * cell, margin + row * cell
            ink = np.array([8, 72, 120] if row == column else [176, 48, 32])
            colour = np.round(255 + (ink - 255) * darkness[row, column]).astype(int)
            draw.rectangle((left, top, left + cell - 2, top + cell - 2), fill=(colour[0], colour[1], colour[2]))
            count = int(table[row, column])
            if labelled and count:
                draw.text(
                    (left + cell / 2, top + cell / 2),
                    str(count) if count < 10_000 else f"{count / 1000:.0f}k",
                    fill="white" if darkness[row, column] > 0.55 else "black",
                    font=font,
                    anchor="mm",
                )
    for index, name in enumerate(names if labelled else []):
        centre = margin + index * cell + cell / 2
        draw.text((margin - 6, centre), name, fill="black", font=font, anchor="rm")
        _write_upwards(picture, name, font, centre, margin - 6)
    draw.text((margin + classes * cell / 2, 10), "named", fill="gray", font=font, anchor="mm")
    _write_upwards(picture, "true", font, 10, margin + classes * cell / 2 + 14, "gray")
    return np.asarray(picture)


def _write_upwards(
    picture: Image.Image,
    text: str,
    font: "ImageFont.FreeTypeFont | ImageFont.ImageFont",
    centre: float,
    bottom: float,
    fill: str = "black",
) -> None:
    """Write a text that reads from bottom to top."""
    strip = Image.new("RGB", (int(font.getlength(text)) + 2, 18), "white")
    ImageDraw.Draw(strip).text((0, 9), text, fill=fill, font=font, anchor="lm")
    strip = strip.rotate(90, expand=True)
    picture.paste(strip, (int(centre - strip.width / 2), int(bottom - strip.height)))
