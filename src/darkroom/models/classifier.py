"""The eye: a network that names what it sees."""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer

from darkroom.errors import UserError
from darkroom.models.model import Model
from darkroom.models.schedule import Schedule


class Classifier(Model):
    """A network trained with cross-entropy to give each picture one of the data's class names."""

    def __init__(
        self,
        network: Callable[..., nn.Module],
        optimizer: Callable[..., Optimizer],
        schedule: Schedule,
        image_shape: Sequence[int],
        class_names: Sequence[str],
        label_smoothing: float = 0.0,
        gradient_clip: float | None = None,
    ) -> None:
        super().__init__(image_shape, class_names, schedule)
        if len(class_names) < 2:
            raise UserError(
                "A classifier needs pictures with labels of two classes or more, and these data have"
                f" {len(class_names)}: use a folder with one subfolder a class, or another model."
            )
        self.network = network(channels=image_shape[0], classes=len(class_names))
        self.optimizer = optimizer
        self.label_smoothing = label_smoothing
        self.gradient_clip = gradient_clip

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> dict[str, Tensor]:
        """Return the loss and the accuracy on this batch."""
        logits = self.network(batch["images"])
        loss = F.cross_entropy(logits, batch["labels"], label_smoothing=self.label_smoothing)
        self.count(batch)
        return {"loss": loss, "accuracy": (logits.argmax(dim=1) == batch["labels"]).float().mean().detach()}

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Clip the gradient's norm; here it is already unscaled under 16-bit training."""
        if self.gradient_clip:
            nn.utils.clip_grad_norm_(self.parameters(), self.gradient_clip)

    def configure_optimizers(self) -> Optimizer:
        """Return the one optimizer."""
        return self.scheduled(self.optimizer(params=self.network.parameters()))

    @torch.no_grad()
    def predict(self, images: Tensor) -> Tensor:
        """Return class logits ``(B, classes)`` for images in [-1, 1]."""
        logits: Tensor = self.network(images.to(self.device))
        return logits
