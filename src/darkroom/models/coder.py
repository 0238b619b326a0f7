"""What all models have in common that turn pictures into latents and back."""

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from darkroom.errors import UserError, did_you_mean
from darkroom.images import evenly
from darkroom.isolation import eval_mode
from darkroom.losses.likelihoods import Likelihood
from darkroom.models.averaged import Averaged
from darkroom.models.conditioning import OneHot, refuse_without_labels
from darkroom.models.explainable import Explainable
from darkroom.models.model import Sampler, Shown, Splits
from darkroom.models.samplers import KINDS, Samplers
from darkroom.models.schedule import Schedule

FITTED = 60_000  # training pictures whose latents samplers are fitted to in the end
SKETCHED = 20_000  # of them before a score while training; with 5000 the sharper of two states looks the worse
ENOUGH = 5000  # fewer than this, and a prior is the safer guess (Chadebec & Allassonnière 2021)
CHECKED = 2000  # training pictures that are looked at for values that a likelihood does not know
EXPLAINED = 8  # latents that are explained
TYPICAL = 512  # latents drawn to find out what is usual
LOGISTIC = 1.702  # the logistic function of so many times x is the normal distribution's, to within 0.01


class Halves(nn.Module):
    """An encoder and a decoder, with what gives the decoder's output a meaning and the latents a distribution."""

    encoder: Any
    decoder: Any
    likelihood: Any
    prior: Any

    def __init__(
        self, encoder: nn.Module, decoder: nn.Module, likelihood: Likelihood, prior: nn.Module, classes: int
    ) -> None:
        super().__init__()
        self.encoder, self.decoder, self.likelihood, self.prior = encoder, decoder, likelihood, prior
        self.translator = OneHot(classes) if classes else None

    def vectors(self, labels: Tensor | None) -> Tensor | None:
        """Return classes ``(B,)`` as vectors; None for a model that is not conditional."""
        return self.translator(labels) if self.translator is not None and labels is not None else None

    def encode(self, images: Tensor, labels: Tensor | None) -> Tensor:
        """Return what the encoder says of images ``(B, C, H, W)``."""
        codes: Tensor = self.encoder(images, self.vectors(labels))
        return codes.float()

    def decode(self, latents: Tensor, labels: Tensor | None) -> Tensor:
        """Return what the decoder says of every pixel, for latents ``(B, d)``."""
        outputs: Tensor = self.decoder(latents, self.vectors(labels))
        return outputs.float()


class Coder(Averaged, Sampler):
    """A model that encodes pictures as latents ``(B, latent_dim)`` and decodes them again.

    Pictures are drawn by decoding latents from one of its ``samplers``: while it trains from a mixture fitted before
    every score, after training from the one whose pictures have the best score on val, or from the ``sampler`` that
    was asked for. What is used and scored is the exponential average of the networks, unless ``average_half_life``
    (images) is 0.
    """

    outputs_per_latent = 1

    def __init__(
        self,
        encoder: Callable[..., nn.Module],
        decoder: Callable[..., nn.Module],
        likelihood: Likelihood,
        optimizer: Callable[..., Optimizer],
        schedule: Schedule,
        image_shape: Sequence[int],
        class_names: Sequence[str],
        latent_dim: int,
        conditioning: Literal["none", "class"],
        sampler: str | None,
        components: int,
        flow_steps: int,
        prior: Callable[..., nn.Module],
        average_half_life: float,
        average_ramp: float,
        gradient_clip: float | None,
    ) -> None:
        refuse_without_labels(conditioning, class_names)
        if sampler is not None and sampler not in KINDS:
            raise UserError(
                f"model.sampler={sampler} is not known{did_you_mean(sampler, KINDS)}: type one of {', '.join(KINDS)},"
                " or null for the best on val."
            )
        classes = len(class_names) if conditioning == "class" else 0
        # One number more for a picture, by which a mixture chooses the component.
        super().__init__(image_shape, class_names, schedule, latent_dim + 1, classes)
        self.code_dim = latent_dim
        shared = {"image_shape": tuple(image_shape), "condition_dim": classes}
        halves = Halves(
            encoder(outputs=self.outputs_per_latent * latent_dim, **shared),
            decoder(latent_dim=latent_dim, outputs=likelihood.outputs(image_shape[0]), **shared),
            likelihood,
            prior(dim=latent_dim, condition_dim=classes),
            classes,
        )
        self.set_network(halves, optimizer, average_half_life, average_ramp, gradient_clip)
        self.samplers = Samplers(latent_dim, classes, components, flow_steps)
        self.sampler = sampler

    # --- training

    def init_from_data(self, shown: Shown) -> None:
        """Refuse pictures that the likelihood does not know."""
        self.network.likelihood.check(shown.batch(evenly(len(shown), CHECKED)))

    def labels_of(self, batch: Mapping[str, Any]) -> Tensor | None:
        """Return the classes of a batch, for a model that is told them."""
        return batch["labels"] if self.classes else None

    def dummy_loss(self, images: Tensor) -> Tensor:
        """Return a number whose differentiation costs what a step costs, made by a copy."""
        network = copy.deepcopy(self.network)
        labels = torch.zeros(len(images), dtype=torch.int64, device=images.device) if self.classes else None
        latents = network.encode(images, labels)[:, : self.code_dim]
        total: Tensor = network.likelihood.log_prob(network.decode(latents, labels), images).sum()
        return total

    # --- what it can do

    @property
    def sampler_name(self) -> str:
        """Which sampler draws; part of the protocol of every score."""
        return self.samplers.name

    @torch.no_grad()
    def encode(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return the latents ``(B, latent_dim)`` that stand for images ``(B, C, H, W)``, without randomness."""
        with eval_mode(self):
            said: Tensor = self.inference_network.encode(images.to(self.device), self._given(labels, len(images)))
        return said[:, : self.code_dim]

    @torch.no_grad()
    def decode(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return the images ``(B, C, H, W)`` in [-1, 1] that latents ``(B, latent_dim)`` stand for."""
        return self.rendered(latents.to(self.device), self.vectors(self._given(labels, len(latents)))).clamp(-1, 1)

    def vectors(self, labels: Tensor | None) -> Tensor | None:
        """Return classes ``(B,)`` as the vectors ``(B, D)`` that the decoder is given; None where it is told none."""
        vectors: Tensor | None = self.inference_network.vectors(labels)
        return vectors

    def rendered(self, latents: Tensor, vectors: Tensor | None) -> Tensor:
        """Return the images of latents under such vectors, differentiably and not clamped."""
        with eval_mode(self):
            outputs = self.inference_network.decoder(latents, vectors).float()
            images: Tensor = self.inference_network.likelihood.mean(outputs)
        return images

    def reconstruct(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return what is left of images after encoding and decoding."""
        return self.decode(self.encode(images, labels), labels)

    def _given(self, labels: Tensor | None, count: int) -> Tensor | None:
        """Return the classes on this device; a conditional model that is not told takes them in turn."""
        if not self.classes:
            return None
        if labels is None:
            labels = torch.arange(count) % self.classes
        return labels.to(self.device)

    @torch.no_grad()
    def draw(self, latents: Tensor, labels: Tensor | None) -> Tensor:
        """Return images for standard normal numbers ``(B, latent_dim + 1)``, by way of the sampler in use."""
        return self.decode(self.sample_latents(latents, labels), labels)

    @torch.no_grad()
    def sample_latents(self, noise: Tensor, labels: Tensor | None) -> Tensor:
        """Return the latents ``(B, latent_dim)`` that the sampler in use makes of such numbers."""
        codes: Tensor = self.samplers(noise, labels)
        if self.samplers.name == "prior":
            codes = self.inference_network.prior(codes, self.inference_network.vectors(labels))
        return codes

    def latents(self, indices: Tensor, seed: int) -> Tensor:
        """Return standard normal numbers; the last ones, by which a mixture chooses, are spread evenly over indices.

        Where multiples of the root of 2 fall between 0 and 1 (Kronecker's sequence): among 2000 pictures chance alone
        would miss the share of a class by 7%, and FID be anywhere between 0.07 and 0.18 on MNIST.
        """
        drawn = super().latents(indices, seed)
        places = (indices.cpu().double() * math.sqrt(2) + 0.5 + seed * math.sqrt(3)) % 1
        drawn[:, -1] = torch.special.ndtri(places.clamp(1e-9, 1 - 1e-9)).float()
        return drawn

    def typical(self, count: int) -> Tensor:
        """Return latents ``(count, latent_dim)`` that pictures are drawn from, always the same ones."""
        indices = torch.arange(count)
        labels = self.conditions(indices)
        told = labels.to(self.device) if labels is not None else None
        return self.sample_latents(self.latents(indices, 0).to(self.device), told)

    def truncated(self, latents: Tensor, truncation: float) -> Tensor:
        """Scale what moves within a component, not what chooses it."""
        scale = torch.full((self.latent_dim,), truncation)
        scale[-1] = 1.0
        return latents * scale

    def explainable(self) -> list[Explainable]:
        """Return the latents that matter most to the picture, each as how unusually large it is (`LatentOutputs`)."""
        return [_explainable_latents(self)]

    def use_sampler(self, name: str) -> None:
        """Draw with another sampler.

        Raises:
            UserError: there is no such sampler.
        """
        if name not in KINDS:
            hint = " (the standard normal one is called prior)" if name == "normal" else did_you_mean(name, KINDS)
            raise UserError(f"sampler={name} is not known{hint}: type one of {', '.join(KINDS)}.")
        self.samplers.use(name)

    # --- samplers

    def fitting_latents(self, images: Tensor, labels: Tensor | None, generator: torch.Generator) -> Tensor:
        """Return the latents of images that samplers are to imitate, ``(B, latent_dim)``."""
        return self.encode(images, labels)

    def ready(self, splits: Splits) -> None:
        """Fit the sampler that draws while training; a flow would take too long."""
        name = self.sampler if self.sampler in ("prior", "gaussian", "mixture") else "mixture"
        if name != "prior":
            self.samplers.fit(name, *self._latents_of_training(splits, SKETCHED))
        self.samplers.use(name)

    def conclude(self, splits: Splits, judged: Callable[[], Mapping[str, float]] | None = None) -> dict[str, float]:
        """Fit every sampler and use the one that was asked for, or whose pictures have the lowest FID on val.

        Return the FID of each. Without a judge of pictures a mixture is used, or the prior on few pictures.
        """
        latents, groups = self._latents_of_training(splits, FITTED)
        curves: dict[str, float] = {}
        for name in KINDS:
            self.samplers.fit(name, latents, groups)
            self.samplers.use(name)
            values = judged() if judged is not None else {}
            if "fid" in values:
                curves[f"fid_{name}"] = values["fid"]
        fallback = "mixture" if len(latents) >= ENOUGH else "prior"
        best = min(curves, key=lambda name: curves[name]).removeprefix("fid_") if curves else fallback
        self.samplers.use(self.sampler or best)
        return curves | {"sampler": float(KINDS.index(self.samplers.name))}

    def _latents_of_training(self, splits: Splits, most: int) -> tuple[Tensor, Tensor]:
        """Return latents ``(N, latent_dim)`` of training pictures and their classes, 0 where there are none."""
        generator = torch.Generator().manual_seed(0)
        latents, groups = [], []
        for images, labels in splits.batches("train", 500, most):
            latents.append(self.fitting_latents(images, labels, generator).cpu())
            given = labels if self.classes and labels is not None else torch.zeros(len(images), dtype=torch.int64)
            groups.append(given.cpu())
        return torch.cat(latents), torch.cat(groups)


class LatentOutputs(nn.Module):
    """The means of some latents, in typical deviations from the typical mean.

    Scaled so that the sigmoid of an output is about the share of typical latents, those that pictures are drawn from,
    that lie below it: 0.5 is usual, 0.98 unusually much, 0.02 unusually little. (Divided by the posterior's own
    deviation, often a tenth of that, nearly every latent of every picture would be at 0 or 1.) A model that wants to
    be told the class is told a tenth of each of ten.
    """

    chosen: Tensor
    middle: Tensor
    deviation: Tensor

    def __init__(self, halves: Halves, chosen: Tensor, middle: Tensor, deviation: Tensor, classes: int) -> None:
        super().__init__()
        self.encoder, self.translator, self.classes = halves.encoder, halves.translator, classes
        self.register_buffer("chosen", chosen)
        self.register_buffer("middle", middle[chosen])
        self.register_buffer("deviation", deviation[chosen])

    def forward(self, images: Tensor, targets: Tensor | None = None) -> Tensor:
        """Return all outputs, ``(B, K)``, or that of the target of each picture, ``(B,)``."""
        told = None
        if self.translator is not None:
            every = self.translator(torch.arange(self.classes, device=images.device))
            told = every.mean(dim=0).expand(len(images), -1)
        codes = self.encoder(images, told)
        outputs: Tensor = LOGISTIC * (codes[:, self.chosen].float() - self.middle) / self.deviation
        return outputs if targets is None else outputs.gather(1, targets[:, None]).squeeze(1)


def _explainable_latents(model: Coder) -> Explainable:
    """Return the latents that change the decoded picture most, up to 8, the strongest first."""
    middle, deviation = _moments(model)
    chosen = _sensitivity(model, middle, deviation).argsort(descending=True)[:EXPLAINED]
    outputs = LatentOutputs(model.inference_network, chosen, middle, deviation, model.classes)
    names = [f"latent {number}" for number in chosen.tolist()]
    return Explainable.of("latent", outputs, names, model.image_shape, exclusive=False)


@torch.no_grad()
def _moments(model: Coder) -> tuple[Tensor, Tensor]:
    """Return the mean and the deviation ``(d,)`` of the latents that pictures are drawn from."""
    latents = model.typical(TYPICAL)
    return latents.mean(dim=0), latents.std(dim=0, correction=0).clamp(min=1e-6)


def _sensitivity(model: Coder, middle: Tensor, deviation: Tensor) -> Tensor:
    """Return the mean squared change of the picture when a latent goes from one deviation below to one above, ``(d,)``.

    All others are at their mean; of a model that is told the class, the mean over classes.
    """
    steps = torch.diag(deviation)
    labels: Sequence[int | None] = range(model.classes) if model.classes else [None]
    changes = []
    for label in labels:
        told = None if label is None else torch.full((len(middle),), label)
        changes.append((model.decode(middle + steps, told) - model.decode(middle - steps, told)).square())
    return torch.stack(changes).mean(dim=(0, 2, 3, 4))
