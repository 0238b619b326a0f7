"""Pictures pixel by pixel, each given all before it: drawn, completed, and with a probability that is exact."""

import copy
import inspect
import math
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from darkroom.errors import UserError
from darkroom.images import evenly
from darkroom.losses.likelihoods import LEVELS, bits_per_dim
from darkroom.models.averaged import Averaged
from darkroom.models.coder import CHECKED
from darkroom.models.conditioning import OneHot, refuse_without_labels
from darkroom.models.model import Sampler, Shown
from darkroom.models.picking import drop_improbable, to_uniform
from darkroom.models.schedule import Schedule
from darkroom.numbers import NotNegative, Positive, Range, Supplied


class Parts(nn.Module):
    """An autoregressive network, with what makes a vector of a class."""

    network: Any

    def __init__(self, network: nn.Module, classes: int) -> None:
        super().__init__()
        self.network = network
        self.translator = OneHot(classes) if classes else None

    def condition(self, labels: Tensor | None) -> Tensor | None:
        """Return classes ``(B,)`` as vectors; None for a model that is not conditional."""
        return self.translator(labels) if self.translator is not None and labels is not None else None


class PixelRnn(Averaged, Sampler):
    """An autoregressive model of pixels (van den Oord et al. 2016, Pixel Recurrent Neural Networks, eq. 1 and 2).

    Each value of each channel is one of so many evenly spaced ``levels``, and the network gives the probability of each
    of them: row by row, from the left, of a pixel red, then green, then blue. The loss is the negative log-likelihood
    of the picture, in nats. With 2 levels pictures must be black and white; with 3 to 255 they are rounded to the
    nearest, and the likelihood is that of the rounded picture.

    What is used and scored is the exponential average of the network, unless ``average_half_life`` (images) is 0.
    """

    def __init__(
        self,
        network: Callable[..., nn.Module],
        optimizer: Callable[..., Optimizer],
        schedule: Schedule,
        image_shape: Supplied[Sequence[int]],
        class_names: Supplied[Sequence[str]],
        levels: Annotated[int, Range(2, 256)] = LEVELS,
        conditioning: Literal["none", "class"] = "none",
        average_half_life: NotNegative = 0,
        average_ramp: NotNegative = 0.1,
        gradient_clip: Positive | None = None,
    ) -> None:
        """Choose; ``network`` is a part such as `GatedPixelCnn`, made for a grid of pixels whose codes are levels."""
        refuse_without_labels(conditioning, class_names)
        if "codes" not in inspect.signature(network).parameters:
            raise UserError(
                "model.network knows no grid of pixels, and an autoregressive model needs one: type"
                " network@model.network=gated_pixelcnn, or row_lstm."
            )
        channels, height, width = image_shape
        classes = len(class_names) if conditioning == "class" else 0
        super().__init__(image_shape, class_names, schedule, math.prod(image_shape), classes)
        self.levels = levels
        made = network(size=(height, width * channels), codes=levels, condition_dim=classes)
        self.set_network(Parts(made, classes), optimizer, average_half_life, average_ramp, gradient_clip)

    # --- pictures and codes

    def codes(self, images: Tensor) -> Tensor:
        """Return the levels of pictures in [-1, 1], int64 ``(B, H * W * C)``: the channels of a pixel side by side."""
        levels = ((images + 1) / 2 * (self.levels - 1)).round().long().clamp(0, self.levels - 1)
        return levels.permute(0, 2, 3, 1).flatten(1)

    def pictures(self, codes: Tensor) -> Tensor:
        """Return the pictures ``(B, C, H, W)`` in [-1, 1] that have such levels."""
        channels, height, width = self.image_shape
        grid = codes.view(-1, height, width, channels).permute(0, 3, 1, 2)
        return grid / (self.levels - 1) * 2 - 1

    # --- training

    def init_from_data(self, shown: Shown) -> None:
        """Refuse grey where only black and white have a probability.

        Raises:
            UserError: two levels, and pictures of more.
        """
        pixels = shown.batch(evenly(len(shown), CHECKED))
        if self.levels == 2 and not bool(((pixels == 0) | (pixels == LEVELS - 1)).all()):
            values = torch.bincount(pixels.flatten()).count_nonzero()
            raise UserError(
                f"model.levels=2 knows black and white only, and these pictures hold {values} values: type"
                f" data=mnist_binarised, or model.levels={LEVELS}."
            )

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> dict[str, Tensor]:
        """Return the loss on this batch, in nats a picture, and the same in bits for each value."""
        loss = self._loss(self.network, batch["images"], batch["labels"] if self.classes else None)
        self.count(batch)
        return {"loss": loss, "bits_per_dim": loss.detach() * bits_per_dim(1.0, self.latent_dim)}

    def _loss(self, network: Parts, images: Tensor, labels: Tensor | None) -> Tensor:
        loss: Tensor = -network.network.log_prob(self.codes(images), network.condition(labels)).mean()
        return loss

    def dummy_loss(self, images: Tensor) -> Tensor:
        """Return a number whose differentiation costs what a step costs, made by a copy."""
        labels = torch.zeros(len(images), dtype=torch.int64, device=images.device) if self.classes else None
        return self._loss(copy.deepcopy(self.network), images, labels)

    # --- what it can do

    @torch.no_grad()
    def log_prob(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return how probable pictures ``(B, C, H, W)`` in [-1, 1] are, exactly: nats ``(B,)``.

        Of a conditional model, given the classes ``(B,)``.
        """
        network = self.inference_network
        labels = labels.to(self.device) if labels is not None else None
        found: Tensor = network.network.log_prob(self.codes(images.to(self.device)), network.condition(labels))
        return found

    @torch.no_grad()
    def draw(self, latents: Tensor, labels: Tensor | None) -> Tensor:
        """Return images for standard normal numbers ``(B, H * W * C)``, each of which picks the level of one value."""
        network = self.inference_network
        return self.pictures(network.network.sample(to_uniform(latents), network.condition(labels)))

    def truncated(self, latents: Tensor, truncation: float) -> Tensor:
        """Leave out the least probable levels: those kept have a probability of ``truncation`` together.

        Raises:
            UserError: a truncation above 1.
        """
        return drop_improbable(latents, truncation)

    @torch.no_grad()
    def complete(self, images: Tensor, known: Tensor, seed: int = 0, labels: Tensor | None = None) -> Tensor:
        """Return pictures ``(B, C, H, W)`` in [-1, 1] whose pixels are kept where ``known``, and drawn elsewhere.

        ``known`` is bool, ``(B, 1, H, W)`` or ``(1, 1, H, W)``. Pixels are drawn in the order of the model, each given
        all before it, known or drawn, and none after it: where everything from some place on is hidden, such as the
        lower half, this is a draw from the model's exact conditional distribution. Known pixels that stand after hidden
        ones are kept but had no say in them, so the two may not meet where they touch.

        The completion of the picture at place i depends on it, ``seed`` and i alone. A conditional model is told the
        classes ``(B,)``, or every class in turn.
        """
        count = len(images)
        latents = self.latents(torch.arange(count), seed)
        asked = self.conditions(torch.arange(count), labels)
        known = known.expand(count, 1, *self.image_shape[1:]).to(self.device)
        codes = self.codes(images.to(self.device))
        places = known.expand(-1, self.image_shape[0], -1, -1).permute(0, 2, 3, 1).flatten(1)
        network, drawn = self.inference_network, torch.empty(images.shape, device=self.device)
        for rows in torch.split(torch.arange(count), self.block):

            def block(part: Tensor, rows: Tensor = rows) -> Tensor:
                # Filled up, because the rounding of a product depends on its shape.
                whole = torch.zeros(self.block, *part.shape[1:], dtype=part.dtype)
                whole[: len(rows)] = part[rows.to(part.device)]
                return whole.to(self.device)

            condition = network.condition(None if asked is None else block(asked))
            made = network.network.complete(block(codes), block(places), to_uniform(block(latents)), condition)
            drawn[rows] = self.pictures(made[: len(rows)])
        return torch.where(known, images.to(self.device), drawn)
