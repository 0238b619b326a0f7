"""From a reference to living objects: a checkpoint becomes a model, its configuration the data it was trained on."""

import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning_fabric.utilities.exceptions import MisconfigurationException

from darkroom import config as configuration
from darkroom import paths
from darkroom.data.module import ImageData
from darkroom.errors import UserError
from darkroom.metrics.classification import Classification
from darkroom.metrics.features import NoJudge
from darkroom.metrics.generative import Generative
from darkroom.metrics.judge import train_judge
from darkroom.models.model import Model, Sampler
from darkroom.tracking import checkpoints

Node = dict[str, Any]


@dataclass(frozen=True)
class Description:
    """What a checkpoint says of its model: enough to build it again."""

    config: Node
    image_shape: tuple[int, ...]
    class_names: list[str]
    data_digest: str

    def to_dict(self) -> Node:
        """Return plain containers."""
        return {
            "config": self.config,
            "image_shape": list(self.image_shape),
            "class_names": self.class_names,
            "data_digest": self.data_digest,
        }

    @classmethod
    def of(cls, checkpoint: Mapping[str, Any], path: Path) -> "Description":
        """Read the description in a loaded checkpoint.

        Raises:
            UserError: the checkpoint was not made here, or comes from elsewhere and asks for what is no part.
        """
        stored = checkpoint.get("darkroom")
        if not isinstance(stored, dict) or "config" not in stored or "state_dict" not in checkpoint:
            raise UserError(
                f"{path} is not a checkpoint of this lab (it holds no description of its model): name a run, or a"
                " .ckpt file under mlruns/."
            )
        if not path.resolve().is_relative_to(paths.runs()):
            configuration.refuse_strangers(stored["config"], str(path))
        return cls(stored["config"], tuple(stored["image_shape"]), list(stored["class_names"]), stored["data_digest"])

    @property
    def family(self) -> str:
        """The model's class, ``Gan`` say."""
        return str(self.config["model"]["_target_"]).rpartition(".")[2]


def restore(path: Path) -> tuple[Model, Description]:
    """Return the model of a checkpoint, in evaluation mode on the CPU, and its description."""
    checkpoint = checkpoints.load(path)
    description = Description.of(checkpoint, path)
    model = configuration.build(
        description.config["model"], image_shape=description.image_shape, class_names=description.class_names
    )
    assert isinstance(model, Model)
    model.load_state_dict(checkpoint["state_dict"])
    model.seed = description.config["seed"]
    model.images_seen = checkpoint["images_seen"]
    return model.eval(), description


def open_data(node: Node, folder: str | None) -> ImageData:
    """Return prepared data: found, decoded, split and checked.

    Raises:
        UserError: the data are missing or cannot be used.
    """
    data = configuration.build(node)
    assert isinstance(data, ImageData)
    data.locate(paths.data(folder), paths.cache())
    data.prepare()
    return data


@contextmanager
def quiet() -> Iterator[None]:
    """Keep what is only of interest to the log from being logged."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


def check_trainer(node: Node, precision: str) -> None:
    """Refuse devices and precisions that this machine does not have, before a run is made for them.

    Raises:
        UserError: no such device here, or a precision that it cannot train in.
    """
    try:
        with warnings.catch_warnings(action="ignore"), quiet():  # the trainer that trains will say the same
            trainer = configuration.build(node, logger=False, callbacks=[], enable_checkpointing=False)
    except (MisconfigurationException, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split()).rstrip(".!")
        raise UserError(f"The trainer cannot be set up here ({reason}): type trainer=cpu.") from error
    if trainer.precision != node.get("precision") and precision == "16-mixed":
        raise UserError("precision=16-mixed needs a GPU: type precision=bf16-mixed, which trains anywhere.")


def check_fit(metrics: Any, model: Model, data: ImageData) -> None:
    """Refuse metrics that cannot score this model on these data.

    Raises:
        UserError: metrics of drawn pictures for a model that draws none, or of names for one that names none; too few
            pictures for the judge.
    """
    family = type(model).__name__
    if isinstance(metrics, Generative) and not isinstance(model, Sampler):
        raise UserError(f"A {family} draws nothing that metrics=generative could score: type metrics=classification.")
    if isinstance(metrics, Classification) and not hasattr(model, "predict"):
        raise UserError(f"A {family} names nothing that metrics=classification could score: type metrics=generative.")
    if isinstance(metrics, Generative):
        features = metrics.extractor(data).feature_dim
        for key, split in (("images", "val"), ("test_images", "test")):
            if (count := metrics.count(data, split)) <= features:
                raise UserError(
                    f"{count} drawn pictures are too few for the {features} features of the judge: type"
                    f" metrics.{key}={features + 1} or more."
                )


def open_metrics(node: Node, data: ImageData, say: Callable[[str], None]) -> Any:
    """Return the metrics with their judge at hand; one that does not exist yet is taught now, and kept.

    Raises:
        UserError: the metrics cannot score these data.
    """
    metrics = configuration.build(node)
    if isinstance(metrics, Generative):
        try:
            metrics.extractor(data)
        except NoJudge:
            say(f"There is no judge for '{data.name}' yet: teaching one its {len(data.class_names)} classes.")
            judge = train_judge(data)
            kept = judge.save(metrics.cache / "judges")
            say(
                f"It names {judge.upbringing.val_accuracy:.1%} of the validation pictures right, and is kept as {kept}."
            )
            metrics.extractor(data)
    return metrics
