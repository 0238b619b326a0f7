"""From a reference to living objects: a checkpoint becomes a model, its configuration the data it was trained on."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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


def check_fit(metrics: Any, model: Model) -> None:
    """Refuse metrics that cannot score this model.

    Raises:
        UserError: metrics of drawn pictures for a model that draws none, or of names for one that names none.
    """
    family = type(model).__name__
    if isinstance(metrics, Generative) and not isinstance(model, Sampler):
        raise UserError(f"A {family} draws nothing that metrics=generative could score: type metrics=classification.")
    if isinstance(metrics, Classification) and not hasattr(model, "predict"):
        raise UserError(f"A {family} names nothing that metrics=classification could score: type metrics=generative.")


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
