"""Pictures as grids of codes from a dictionary, and a prior that writes such grids."""

import copy
import inspect
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from darkroom.errors import UserError
from darkroom.images import evenly
from darkroom.losses.likelihoods import Gaussian, Likelihood
from darkroom.models.averaged import Averaged
from darkroom.models.coder import CHECKED
from darkroom.models.conditioning import OneHot, refuse_without_labels
from darkroom.models.model import Sampler, Shown
from darkroom.models.picking import drop_improbable, to_uniform
from darkroom.models.schedule import Schedule
from darkroom.networks.codebook import Codebook, perplexity, straight_through
from darkroom.numbers import Count, NotNegative, Positive, Range, Supplied


class Parts(nn.Module):
    """Encoder, codebook, decoder and prior, with what gives the decoder's output a meaning."""

    encoder: Any
    codebook: Any
    decoder: Any
    likelihood: Any
    prior: Any

    def __init__(
        self,
        encoder: nn.Module,
        codebook: Codebook,
        decoder: nn.Module,
        likelihood: Likelihood,
        prior: nn.Module,
        size: tuple[int, int],
        classes: int,
    ) -> None:
        super().__init__()
        self.encoder, self.codebook, self.decoder = encoder, codebook, decoder
        self.likelihood, self.prior, self.size = likelihood, prior, size
        self.translator = OneHot(classes) if classes else None

    def condition(self, labels: Tensor | None) -> Tensor | None:
        """Return classes ``(B,)`` as vectors; None for a model that is not conditional."""
        return self.translator(labels) if self.translator is not None and labels is not None else None

    def vectors(self, images: Tensor) -> Tensor:
        """Return the vector of each place of images, ``(B, h * w, dim)``, row by row."""
        maps: Tensor = self.encoder(images)
        return maps.float().flatten(2).transpose(1, 2)

    def outputs(self, vectors: Tensor) -> Tensor:
        """Return what the decoder says of every pixel, for vectors ``(B, h * w, dim)``."""
        outputs: Tensor = self.decoder(vectors.transpose(1, 2).reshape(len(vectors), -1, *self.size))
        return outputs.float()


class VqVae(Averaged, Sampler):
    """A variational autoencoder with discrete latents (van den Oord et al. 2017), and its prior, in one training.

    The encoder makes a grid of vectors, the size of the picture after so many ``halvings``; each vector is replaced by
    the nearest of so many ``codes``, and the decoder makes the picture of those. The loss, in nats a picture, is the
    negative log-likelihood of the picture, whose gradient passes the replacement straight through, plus ``commitment``
    times the squared distance of vectors from their codes (eq. 3); the codes follow the vectors as running means, whose
    memory is ``codebook_half_life`` images. At the same time a ``prior`` learns what grids there are, from which
    pictures are drawn; neither encoder nor codes know of it.

    A conditional model's prior is told the class; encoder and decoder are not: the codes say it all. What is used and
    scored is the exponential average of the networks, unless ``average_half_life`` (images) is 0.
    """

    def __init__(
        self,
        encoder: Callable[..., nn.Module],
        decoder: Callable[..., nn.Module],
        prior: Callable[..., nn.Module],
        optimizer: Callable[..., Optimizer],
        schedule: Schedule,
        image_shape: Supplied[Sequence[int]],
        class_names: Supplied[Sequence[str]],
        likelihood: Likelihood | None = None,
        codes: Annotated[int, Range(2)] = 256,
        dim: Count = 32,
        halvings: Count = 2,
        commitment: NotNegative = 0.25,
        codebook_half_life: Positive = 10_000,
        conditioning: Literal["none", "class"] = "none",
        average_half_life: NotNegative = 0,
        average_ramp: NotNegative = 0.1,
        gradient_clip: Positive | None = None,
    ) -> None:
        refuse_without_labels(conditioning, class_names)
        most = (min(image_shape[1:]) - 1).bit_length()
        if halvings > max(1, most):
            raise UserError(
                f"model.halvings={halvings} is more than pictures of {min(image_shape[1:])} pixels have:"
                f" type model.halvings={most} or less."
            )
        for name, part in (("encoder", encoder), ("decoder", decoder)):
            if "halvings" not in inspect.signature(part).parameters:
                raise UserError(
                    f"model.{name} knows no grid, and a VQ-VAE needs one: type network@model.{name}=map_{name}."
                )
        likelihood = likelihood or Gaussian()
        shape = tuple(image_shape)
        encode = encoder(image_shape=shape, outputs=dim, halvings=halvings)
        decode = decoder(
            latent_dim=dim, image_shape=shape, outputs=likelihood.outputs(image_shape[0]), halvings=halvings
        )
        size = tuple(-(-side // 2**halvings) for side in shape[1:])
        classes = len(class_names) if conditioning == "class" else 0
        super().__init__(image_shape, class_names, schedule, size[0] * size[1], classes)
        parts = Parts(
            encode,
            Codebook(codes, dim, codebook_half_life),
            decode,
            likelihood,
            prior(size=size, codes=codes, condition_dim=classes),
            (size[0], size[1]),
            classes,
        )
        self.set_network(parts, optimizer, average_half_life, average_ramp, gradient_clip)
        self.commitment = commitment

    # --- training

    def init_from_data(self, shown: Shown) -> None:
        """Refuse pictures that the likelihood does not know."""
        self.network.likelihood.check(shown.batch(evenly(len(shown), CHECKED)))

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> dict[str, Tensor]:
        """Return the loss and its parts on this batch, a picture; move the codes."""
        images, network = batch["images"], self.network
        labels = batch["labels"] if self.classes else None
        vectors, codes, distortion, commitment, prior = self._terms(network, images, labels)
        numbers = self.of_this_process(torch.rand, *codes.shape)
        self.count(batch)
        shares = network.codebook.learn(vectors.detach(), codes, len(images) * self.trainer.world_size, numbers)
        curves = {
            "loss": distortion + self.commitment * commitment + prior,
            "distortion": distortion.detach(),
            "commitment": commitment.detach(),
            "prior": prior.detach() / self.latent_dim,
            "perplexity": perplexity(shares),
        }
        if isinstance(network.likelihood, Gaussian):
            curves["sigma"] = network.likelihood.sigma.detach()
        return curves

    def _terms(
        self, network: Parts, images: Tensor, labels: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Return vectors and codes, and the three parts of the loss: distortion, commitment, the prior's surprise."""
        vectors = network.vectors(images)
        codes = network.codebook.nearest(vectors)
        quantised = network.codebook(codes)
        outputs = network.outputs(straight_through(vectors, quantised))
        distortion = -network.likelihood.log_prob(outputs, images).mean()
        commitment = (vectors - quantised).square().sum(dim=(1, 2)).mean()
        prior = -network.prior.log_prob(codes, network.condition(labels)).mean()
        return vectors, codes, distortion, commitment, prior

    def dummy_loss(self, images: Tensor) -> Tensor:
        """Return a number whose differentiation costs what a step costs, made by a copy."""
        network = copy.deepcopy(self.network)
        labels = torch.zeros(len(images), dtype=torch.int64, device=images.device) if self.classes else None
        *_, distortion, commitment, prior = self._terms(network, images, labels)
        return distortion + commitment + prior

    # --- what it can do

    @property
    def sampler_name(self) -> str:
        """What draws; part of the protocol of every score."""
        return "codes"

    @torch.no_grad()
    def encode(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return the codes ``(B, h * w)``, int64, that stand for images ``(B, C, H, W)``, whatever their class."""
        network = self.inference_network
        codes: Tensor = network.codebook.nearest(network.vectors(images.to(self.device)))
        return codes

    @torch.no_grad()
    def decode(self, codes: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return the images ``(B, C, H, W)`` in [-1, 1] that codes ``(B, h * w)`` stand for, whatever their class."""
        network = self.inference_network
        images: Tensor = network.likelihood.mean(network.outputs(network.codebook(codes.to(self.device))))
        return images.clamp(-1, 1)

    def reconstruct(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return what is left of images after encoding and decoding."""
        return self.decode(self.encode(images))

    @torch.no_grad()
    def draw(self, latents: Tensor, labels: Tensor | None) -> Tensor:
        """Return images for standard normal numbers ``(B, h * w)``, each of which picks one code."""
        return self.decode(self.sample_codes(latents, labels))

    @torch.no_grad()
    def sample_codes(self, latents: Tensor, labels: Tensor | None) -> Tensor:
        """Return the codes ``(B, h * w)`` that the prior makes of such numbers."""
        network = self.inference_network
        codes: Tensor = network.prior.sample(to_uniform(latents), network.condition(labels))
        return codes

    def truncated(self, latents: Tensor, truncation: float) -> Tensor:
        """Leave out the least probable codes: those kept have a probability of ``truncation`` together.

        Raises:
            UserError: a truncation above 1.
        """
        return drop_improbable(latents, truncation)
