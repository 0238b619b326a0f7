"""Variational autoencoders: latents with a distribution, pictures with a likelihood."""

import math
from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from darkroom.errors import UserError
from darkroom.losses.elbo import capped, kl_from_standard_normal, log_normal, with_free_bits
from darkroom.losses.likelihoods import Gaussian, Likelihood
from darkroom.models.coder import Coder, Halves
from darkroom.models.schedule import Schedule
from darkroom.networks.flow import StandardNormal
from darkroom.numbers import Count, NotNegative, Positive, Supplied, Whole
from darkroom.processes import mean_over_all

WIDEST, NARROWEST = 10.0, -10.0  # bounds of the log-variance of a latent, beyond which numbers overflow


class Vae(Coder):
    """A variational autoencoder (Kingma & Welling 2014; Rezende et al. 2014).

    The encoder gives each latent a mean and a log-variance. The loss is the negative evidence lower bound, in nats a
    picture: the distortion, -E log p(x|z), summed over pixels, plus the rate, KL(q(z|x) || p(z)), summed over latents.

    ``beta`` weighs the rate (Higgins et al. 2017), along ``rate_schedule``, a factor of the share of the budget that is
    spent. With ``free_bits`` the rate of a latent costs nothing below so many nats (Kingma et al. 2016, eq. 15). With
    ``capacity`` the rate is drawn to that many nats with ``capacity_weight`` instead (Burgess et al. 2018), rising
    along the same schedule. ``importance_samples`` above 1 tighten the bound (Burda et al. 2016, IWAE, eq. 8). A
    ``prior`` may be learned along with the rest: a flow.
    """

    outputs_per_latent = 2

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
        beta: NotNegative = 1.0,
        rate_schedule: Schedule | None = None,
        free_bits: NotNegative = 0.0,
        capacity: NotNegative | None = None,
        capacity_weight: Positive = 100.0,
        importance_samples: Count = 1,
        prior: Callable[..., nn.Module] = StandardNormal,
        sampler: str | None = None,
        components: Count = 10,
        flow_steps: Whole = 2000,
        average_half_life: NotNegative = 0,
        average_ramp: NotNegative = 0.1,
        gradient_clip: Positive | None = None,
    ) -> None:
        if importance_samples > 1 and (free_bits or capacity is not None):
            raise UserError(
                "model.importance_samples above 1 bounds the likelihood without splitting off a rate that free_bits or"
                " capacity could treat: type model.importance_samples=1, or leave those out."
            )
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
            prior,
            average_half_life,
            average_ramp,
            gradient_clip,
        )
        normal = isinstance(self.network.prior, StandardNormal)
        if free_bits and not normal:
            raise UserError(
                "model.free_bits counts the rate latent by latent, which a learned prior does not allow: type"
                " model.free_bits=0 or prior@model.prior=normal."
            )
        self.beta, self.rate_schedule = beta, rate_schedule or Schedule()
        self.free_bits, self.capacity, self.capacity_weight = free_bits, capacity, capacity_weight
        self.importance_samples = importance_samples
        self.exact_rate = normal and importance_samples == 1

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> dict[str, Tensor]:
        """Return the loss, and rate and distortion on this batch, in nats a picture."""
        images, labels = batch["images"], self.labels_of(batch)
        count = self.importance_samples
        means, log_variances = self._posterior(self.network, images, labels)
        noise = self.of_this_process(torch.randn, len(images), count, self.code_dim).to(means)
        latents = means[:, None] + (0.5 * log_variances)[:, None].exp() * noise
        flat = latents.flatten(0, 1)
        told = labels.repeat_interleave(count) if labels is not None else None
        likelihood = self.network.likelihood
        distortion = -likelihood.log_prob(self.network.decode(flat, told), images.repeat_interleave(count, dim=0))
        distortion = distortion.view(-1, count)
        weight = self.beta * self.rate_schedule(self.fraction)
        self.count(batch)
        if not self.exact_rate:
            log_prior = self.network.prior.log_prob(flat, self.network.vectors(told)).view(-1, count)
            rate = log_normal(latents, means[:, None], log_variances[:, None]).sum(dim=2) - log_prior
            if self.capacity is not None:
                loss = distortion.mean() + self._capped(rate.mean())
            else:
                # For one sample the bound itself; for more, log of the mean weight (IWAE, eq. 8).
                bounds = torch.logsumexp(-distortion - weight * rate, dim=1) - math.log(count)
                loss = -bounds.mean()
        else:
            rates = kl_from_standard_normal(means, log_variances)
            rate = rates.sum(dim=1)
            if self.capacity is not None:
                loss = distortion.mean() + self._capped(rate.mean())
            elif self.free_bits:
                costs = rates.mean(dim=0)
                loss = distortion.mean() + weight * with_free_bits(costs, mean_over_all(costs), self.free_bits)
            else:
                loss = distortion.mean() + weight * rate.mean()
        curves = {"loss": loss, "rate": rate.mean().detach(), "distortion": distortion.mean().detach()}
        if isinstance(likelihood, Gaussian):
            curves["sigma"] = likelihood.sigma.detach()
        return curves

    def _capped(self, rate: Tensor) -> Tensor:
        assert self.capacity is not None
        wanted = self.capacity * self.rate_schedule(self.fraction)
        return self.capacity_weight * capped(rate, mean_over_all(rate), wanted)

    def _posterior(self, network: Halves, images: Tensor, labels: Tensor | None) -> tuple[Tensor, Tensor]:
        means, log_variances = network.encode(images, labels).chunk(2, dim=1)
        return means, log_variances.clamp(NARROWEST, WIDEST)

    @torch.no_grad()
    def posterior(self, images: Tensor, labels: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the means and log-variances ``(B, latent_dim)`` of the latents of images."""
        self_labels = self._given(labels, len(images))
        return self._posterior(self.inference_network, images.to(self.device), self_labels)

    @torch.no_grad()
    def log_weights(self, images: Tensor, labels: Tensor | None, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Return the two parts ``(B, k)`` of the log-weights of latents drawn by ``noise`` ``(B, k, latent_dim)``.

        log p(x|z), of the values that a file can hold, and log q(z|x) - log p(z), in nats. The first less the second is
        log w of IWAE: its mean is the evidence lower bound, the log of the mean of w the tighter one.
        """
        images, labels = images.to(self.device), self._given(labels, len(images))
        count, network = noise.shape[1], self.inference_network
        means, log_variances = self._posterior(network, images, labels)
        latents = means[:, None] + (0.5 * log_variances)[:, None].exp() * noise.to(means)
        told = labels.repeat_interleave(count) if labels is not None else None
        flat = latents.flatten(0, 1)
        outputs = network.decode(flat, told)
        log_likelihood = network.likelihood.log_mass(outputs, images.repeat_interleave(count, dim=0)).view(-1, count)
        log_posterior = log_normal(latents, means[:, None], log_variances[:, None]).sum(dim=2)
        return log_likelihood, log_posterior - network.prior.log_prob(flat, network.vectors(told)).view(-1, count)

    @torch.no_grad()
    def fitting_latents(self, images: Tensor, labels: Tensor | None, generator: torch.Generator) -> Tensor:
        """Return one draw from the posterior of each image."""
        means, log_variances = self.posterior(images, labels)
        noise = torch.randn(means.shape, generator=generator).to(means)
        return means + (0.5 * log_variances).exp() * noise
