"""The eye: a network that names what it sees."""

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer

from darkroom import images as pictures
from darkroom.errors import UserError
from darkroom.losses.calibration import expected_calibration_error
from darkroom.models import temperature
from darkroom.models.averaged import Averaged
from darkroom.models.explainable import Alternatives, Explainable
from darkroom.models.mixing import Mixing
from darkroom.models.model import Shown, Splits
from darkroom.models.schedule import Schedule
from darkroom.networks.statements import Whitens
from darkroom.numbers import BelowOne, NotNegative, Positive, Share, Supplied

WHITENED = 5000  # training pictures that the first layer is computed from


class Classifier(Averaged):
    """A network trained with cross-entropy to give each picture one of the data's class names.

    Weight decay spares biases and the scales of normalisations. With ``average_half_life`` (images, 0: off) answers
    come from the exponential average of the network, whose memory is, early on, ``average_ramp`` of the images seen.
    ``mixup``, ``cutmix`` and ``mixed`` are explained at `Mixing`. ``class_weights`` makes rare classes count as much as
    frequent ones: a picture of a class weighs in inverse proportion to how many there are.
    """

    class_weight: Tensor
    temperature: Tensor

    def __init__(
        self,
        network: Callable[..., nn.Module],
        optimizer: Callable[..., Optimizer],
        schedule: Schedule,
        image_shape: Supplied[Sequence[int]],
        class_names: Supplied[Sequence[str]],
        label_smoothing: BelowOne = 0.0,
        mixup: NotNegative = 0.0,
        cutmix: NotNegative = 0.0,
        mixed: Share = 1.0,
        class_weights: Literal["none", "balanced"] = "none",
        average_half_life: NotNegative = 0,
        average_ramp: NotNegative = 0.1,
        gradient_clip: Positive | None = None,
    ) -> None:
        super().__init__(image_shape, class_names, schedule)
        if len(class_names) < 2:
            raise UserError(
                "A classifier needs pictures with labels of two classes or more, and these data have"
                f" {len(class_names)}: use a folder with one subfolder a class, or another model."
            )
        own = network(channels=image_shape[0], classes=len(class_names))
        self.set_network(own, optimizer, average_half_life, average_ramp, gradient_clip)
        # Not part of a checkpoint: what is rare is a matter of the data, not of the run.
        self.register_buffer("class_weight", torch.ones(len(class_names)), persistent=False)
        self.register_buffer("temperature", torch.ones(()))  # 1 until training is over
        self.label_smoothing = label_smoothing
        self.mixing = Mixing(len(class_names), mixup, cutmix, mixed)
        self.class_weights = class_weights

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> dict[str, Tensor]:
        """Return the loss and the accuracy on this batch."""
        images, labels = self.mixing(batch["images"], batch["labels"])
        logits = self.network(images).float()
        loss = F.cross_entropy(logits, labels, weight=self.class_weight, label_smoothing=self.label_smoothing)
        self.count(batch)
        likeliest = labels.argmax(dim=1) if labels.ndim == 2 else labels
        return {"loss": loss, "accuracy": (logits.argmax(dim=1) == likeliest).float().mean().detach()}

    def init_from_data(self, shown: Shown) -> None:
        """Whiten with the training pictures if the network asks for it, and count the classes if they are weighted."""
        network: object = self.network
        if isinstance(network, Whitens):
            network.whiten(pictures.from_uint8(shown.batch(pictures.evenly(len(shown), WHITENED))))
            if self.average is not None:
                self.average.load_state_dict(self.network.state_dict())
        if self.class_weights == "balanced":
            assert shown.labels is not None
            counts = torch.bincount(shown.labels, minlength=len(self.class_names)).clamp(min=1)
            self.class_weight.copy_(len(shown) / (len(counts) * counts))

    def dummy_loss(self, images: Tensor) -> Tensor:
        """Return the sum of a copy's logits: forwards and backwards it costs what a step costs."""
        total: Tensor = copy.deepcopy(self.network)(images).float().sum()
        return total

    def on_train_start(self) -> None:
        """Learn from the network's own confidence, whatever it was brought to when earlier training was over."""
        self.temperature.fill_(1.0)
        super().on_train_start()

    @torch.no_grad()
    def conclude(self, splits: Splits, judged: Callable[[], Mapping[str, float]] | None = None) -> dict[str, float]:
        """Fit the temperature on ``val``; return it, and the loss and the calibration error there before and after."""
        self.temperature.fill_(1.0)  # so that one fitted earlier leaves no trace, not even of rounding
        answers = [
            (self.predict(images).double().cpu(), labels)
            for images, labels in splits.batches("val", 250)
            if labels is not None
        ]
        logits, labels = (torch.cat(part) for part in zip(*answers, strict=True))
        self.temperature.fill_(temperature.fit_temperature(logits, labels))
        curves = {"temperature": self.temperature.item()}
        for name, calibrated in (("before", logits), ("after", logits / curves["temperature"])):
            curves[f"loss_{name}"] = F.cross_entropy(calibrated, labels).item()
            curves[f"calibration_error_{name}"] = expected_calibration_error(calibrated.softmax(dim=1), labels)
        return curves

    def migrate(self, state: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return a state with a temperature: as long as there was none, it was 1."""
        full: Any = copy.copy(state)  # and no new dict: torch keeps the versions of modules on this one
        full.setdefault("temperature", torch.ones(()))
        return super().migrate(full)

    def calibration(self) -> float:
        """Return the temperature that logits are divided by."""
        return self.temperature.item()

    def explainable(self) -> list[Explainable]:
        """Return the classes, with the probabilities that are answered."""
        outputs = Alternatives(self.inference_network, self.temperature)
        return [Explainable.of("class", outputs, self.class_names, self.image_shape)]

    @torch.no_grad()
    def predict(self, images: Tensor) -> Tensor:
        """Return calibrated class logits ``(B, classes)`` for images in [-1, 1]."""
        logits: Tensor = self.inference_network(images.to(self.device))
        return logits / self.temperature
