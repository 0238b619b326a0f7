"""How well does a model name pictures, and does it know when it does not know?"""

import re
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from darkroom import baselines
from darkroom.data.contract import Data, Pictures, Progress
from darkroom.errors import UserError, did_you_mean
from darkroom.images import from_uint8
from darkroom.isolation import evaluating
from darkroom.losses.calibration import BINS, brier_score, expected_calibration_error
from darkroom.metrics import diagrams
from darkroom.metrics.metric import Metric
from darkroom.metrics.protocol import Protocol
from darkroom.metrics.reliability import Reliability
from darkroom.metrics.scores import Scores
from darkroom.models.abilities import Calibrated, Classifies
from darkroom.numbers import Count

CHUNK = 250  # pictures named at once
OF_CLASSES = ("precision", "recall", "f1")  # what is said of each class apart
NAMED_CLASSES = 20  # above this many, the values of each class are only in the pictures
VIEWS: dict[str, Callable[[Tensor], list[Tensor]]] = {
    "flip": lambda images: [images, images.flip(3)],
    "shift": lambda images: [images, *(_moved(images, pixels) for pixels in (-1, 1))],
}


class Classification(Metric):
    """Score a classifier on every picture of a split, in order and as it is.

        scores = Classification().score(model, data, "val")
        scores.values["accuracy"], scores.pictures["confusion"]

    ``accuracy_majority`` is what one gets by always naming the class that is most frequent in training.
    """

    needs = Classifies
    objective = ("accuracy", "max")

    def __init__(self, every: Count = 20_000, views: Sequence[str] = ()) -> None:
        """Choose the number of training images between two scorings, and what else pictures are looked at as.

        ``views`` are any of ``flip`` (the mirror image too) and ``shift`` (moved by one pixel, up and left, down and
        right): ``accuracy_views`` is then that of the shares averaged over all of them.
        """
        for view in views:
            if view not in VIEWS:
                raise UserError(f"metrics.views has no '{view}': type {' or '.join(VIEWS)}{did_you_mean(view, VIEWS)}")
        self.every = every
        self.views = [view for view in VIEWS if view in views]

    def check(self, model: Classifies, data: Data, splits: Sequence[str]) -> None:
        """Refuse data that cannot be scored so.

        Raises:
            UserError: data without classes, or whose mirror images mean nothing where ``views`` ask for them.
        """
        if not data.class_names or data.pictures("train").labels is None:
            raise UserError(f"the data '{data.name}' are not labelled: use metrics=generative or metrics=none")
        if "flip" in self.views and not data.flippable:
            others = [view for view in self.views if view != "flip"]
            raise UserError(
                f"metrics.views=flip would mirror {data.name}, which then mean nothing: type"
                f" 'metrics.views=[{','.join(others)}]'"
            )

    def score(
        self, model: Classifies, data: Data, split: str, exact: bool = False, progress: Progress | None = None
    ) -> Scores:
        """Name all pictures of a split.

        ``exact``, for the record, adds what takes time and what training need not see: the views, the diagrams, and
        what the confidence was before a ``temperature`` changed it, for a model that has one.

        Raises `UserError` for data that cannot be scored so.
        """
        self.check(model, data, [split])
        pictures, training = data.pictures(split), data.pictures("train")
        assert pictures.labels is not None
        assert training.labels is not None
        classes, labels = len(data.class_names), pictures.labels
        views = self.views if exact else []
        with evaluating(model, model.device):
            logits, averaged = _named(model, pictures, views, progress)
        table, values, each = _measures(logits.softmax(dim=1), labels, classes)
        values |= _confidence(logits, labels)
        temperature = model.calibration() if exact and isinstance(model, Calibrated) else None
        raw = logits * temperature if temperature is not None else None
        if temperature is not None and raw is not None:
            before = _confidence(raw, labels)
            values |= {f"{name}_uncalibrated": before[name] for name in ("calibration_error", "loss")}
            values["temperature"] = temperature
        if views:
            values["accuracy_views"] = (averaged.argmax(dim=1) == labels).double().mean().item()
        usual = torch.bincount(training.labels, minlength=classes).argmax()
        values["accuracy_majority"] = (labels == usual).double().mean().item()
        counts = dict(zip(data.class_names, table.sum(dim=1).tolist(), strict=True))
        by_class = {name: row for name, row in zip(counts, each, strict=True) if counts[name]}
        references = baselines.ending(values, {"majority": "largest class"})
        if classes <= NAMED_CLASSES:
            for column, measure in enumerate(OF_CLASSES):
                values |= {f"{measure}_{_key(name)}": row[column] for name, row in by_class.items()}
            references |= baselines.of_classes(OF_CLASSES, map(_key, by_class))
        drawn = {"confusion": diagrams.draw_confusion(table.numpy(), data.class_names)}
        if exact:
            drawn["classes"] = diagrams.draw_classes(by_class, [counts[name] for name in by_class])
            after = Reliability.of(logits.softmax(dim=1), labels)
            preserve_rng_state = Reliability.of(raw.softmax(dim=1), labels) if raw is not None else None
            drawn["reliability"] = diagrams.draw_reliability(after, preserve_rng_state, values.get("temperature", 1.0))
        protocol = _protocol(model, data, split, len(labels))
        if temperature is not None:
            protocol["calibrated"] = temperature != 1
        if views:
            protocol["views"] = ", ".join(views)
        return Scores(values, protocol, drawn, references=references)


def _named(
    model: Classifies, pictures: Pictures, views: Sequence[str], progress: Progress | None
) -> tuple[Tensor, Tensor]:
    """Return the logits of all pictures, float64 ``(n, K)``, and the class shares averaged over their views."""
    logits, averaged = [], []
    for indices in torch.split(torch.arange(len(pictures)), CHUNK):
        images = from_uint8(pictures.batch(indices)).to(model.device)
        logits.append(model.predict(images).double().cpu())
        if views:
            looks = [images]
            for view in views:
                looks = [made for look in looks for made in VIEWS[view](look)]
            shares = [model.predict(look).double().cpu().softmax(dim=1) for look in looks]
            averaged.append(torch.stack(shares).mean(dim=0))
        if progress:
            progress(int(indices[-1]) + 1, len(pictures))
    return torch.cat(logits), torch.cat(averaged) if averaged else torch.empty(0)


def _moved(images: Tensor, pixels: int) -> Tensor:
    from darkroom.data.augment import shifted  # imports torchvision, which whoever looks once need not wait for

    return shifted(images, torch.full((2, len(images)), pixels, device=images.device))


def _protocol(model: Classifies, data: Data, split: str, count: int) -> Protocol:
    from importlib.metadata import version

    channels, height, width = data.image_shape
    return {
        "real_images": count,
        "classes": len(data.class_names),
        "data": data.name,
        "data_digest": data.split_digests[split],
        "split": split,
        "image_size": f"{channels}x{height}x{width}",
        "value_type": "uint8, rounded",
        "calibration_bins": BINS,
        "torch": version("torch"),
        "torchmetrics": version("torchmetrics"),
    }


def _measures(shares: Tensor, labels: Tensor, classes: int) -> tuple[Tensor, dict[str, float], list[list[float]]]:
    """Return the confusion counts ``(K, K)``, the values over all, and precision, recall and F1 of each class."""
    from torchmetrics.functional import classification as measure

    # "micro" counts pictures, "macro" counts classes: balanced accuracy is macro recall.
    values = {
        "accuracy": measure.multiclass_accuracy(shares, labels, classes, average="micro"),
        "balanced_accuracy": measure.multiclass_recall(shares, labels, classes, average="macro"),
        "precision": measure.multiclass_precision(shares, labels, classes, average="macro"),
        "recall": measure.multiclass_recall(shares, labels, classes, average="macro"),
        "f1": measure.multiclass_f1_score(shares, labels, classes, average="macro"),
    }
    if classes == 2 and 0 < labels.sum() < len(labels):
        values["auroc"] = measure.binary_auroc(shares[:, 1], labels)
    each = [
        measure.multiclass_precision(shares, labels, classes, average="none"),
        measure.multiclass_recall(shares, labels, classes, average="none"),
        measure.multiclass_f1_score(shares, labels, classes, average="none"),
    ]
    table = measure.multiclass_confusion_matrix(shares, labels, classes)
    return table, {name: value.item() for name, value in values.items()}, torch.stack(each, dim=1).tolist()


def _confidence(logits: Tensor, labels: Tensor) -> dict[str, float]:
    """Return what depends on how sure the model is, and not only on what it names."""
    shares = logits.softmax(dim=1)
    return {
        "calibration_error": expected_calibration_error(shares, labels),
        "brier_score": brier_score(shares, labels),
        "loss": F.cross_entropy(logits, labels).item(),
    }


def _key(class_name: str) -> str:
    """Return a class name with only what every tracking server takes in the name of a metric."""
    return re.sub(r"[^A-Za-z0-9.-]+", "_", class_name).strip("_") or "unnamed"
