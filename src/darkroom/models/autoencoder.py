"""Autoencoders: a picture is squeezed through a few numbers, and has to come out whole."""

from collections.abc import Callable, Sequence
from typing import Literal

from torch import Tensor, nn
from torch.optim import Optimizer

from darkroom.imaging.degradations import Degradation
from darkroom.losses.likelihoods import Gaussian, Likelihood
from darkroom.models.coder import Coder
from darkroom.models.schedule import Schedule
from darkroom.networks.flow import StandardNormal
from darkroom.numbers import Count, NotNegative, Positive, Supplied, Whole


class Autoencoder(Coder):
    """A deterministic autoencoder: plain, regularised, denoising or masked.

    The loss is the negative log-likelihood of the whole picture, summed over pixels, with half of ``latent_weight``
    times the squared length of the latents: with it, and weight decay of the decoder, a regularised autoencoder (Ghosh
    et al. 2020, RAE-L2, eq. 11). With a ``degradation`` the encoder sees a damaged picture and the decoder is to return
    the whole one (Vincent et al. 2008; He et al. 2022).
    """

    def __init__(
        self,
        encoder: Callable[..., nn.Module],
        decoder: Callable[..., nn.Module],
        optimizer: Callable[..., Optimizer],
        schedule: Schedule,
        image_shape: Supplied[Sequence[int]],
        class_names: Supplied[Sequence[str]],
        likelihood: Likelihood | None = None,
        latent_dim: Count = 16,
        conditioning: Literal["none", "class"] = "none",
        latent_weight: NotNegative = 0.0,
        degradation: Degradation | None = None,
        sampler: str | None = None,
        components: Count = 10,
        flow_steps: Whole = 2000,
        average_half_life: NotNegative = 0,
        average_ramp: NotNegative = 0.1,
        gradient_clip: Positive | None = None,
    ) -> None:
        super().__init__(
            encoder,
            decoder,
            likelihood or Gaussian(),
            optimizer,
            schedule,
            image_shape,
            class_names,
            latent_dim,
            conditioning,
            sampler,
            components,
            flow_steps,
            StandardNormal,
            average_half_life,
            average_ramp,
            gradient_clip,
        )
        self.latent_weight = latent_weight
        self.degradation = degradation or Degradation()

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> dict[str, Tensor]:
        """Return the loss and its parts on this batch, a picture."""
        images, labels = batch["images"], self.labels_of(batch)
        shown, _ = self.degradation(images, self.of_this_process)
        latents = self.network.encode(shown, labels)
        likelihood = self.network.likelihood
        distortion = -likelihood.log_prob(self.network.decode(latents, labels), images).mean()
        length = latents.square().sum(dim=1).mean()
        self.count(batch)
        curves = {"loss": distortion + 0.5 * self.latent_weight * length, "distortion": distortion.detach()}
        if isinstance(likelihood, Gaussian):
            curves["sigma"] = likelihood.sigma.detach()
        return curves | {"latent_length": length.detach().sqrt()}

    def restore(self, damaged: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return whole pictures for damaged ones."""
        return self.reconstruct(damaged, labels)
