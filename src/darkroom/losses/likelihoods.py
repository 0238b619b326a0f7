"""How probable a picture is, given what a decoder says of it: real log-likelihoods, in nats.

A decoder gives so many numbers for each channel of each pixel; a likelihood makes a distribution of them. Pictures are
float in [-1, 1]; distributions are over pixel values in [0, 1], of which a file knows 256.

    likelihood = Gaussian()
    outputs = torch.zeros(8, likelihood.outputs(channels=1), 28, 28)   # what a decoder returns
    likelihood.log_prob(outputs, images)      # (8,) nats, what training raises: here a density
    likelihood.log_mass(outputs, images)      # (8,) nats, of the 256 values of a file: what may be reported
    likelihood.mean(outputs)                  # (8, 1, 28, 28) in [-1, 1], what is shown
"""

import math
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from darkroom.errors import UserError
from darkroom.numbers import Count, Positive, Range
from darkroom.processes import mean_over_all

LEVELS = 256
LEAST_LOG_SIGMA = -6.0  # sigma 0.0025, about half a level: below, a density only measures rounding


class Likelihood(nn.Module):
    """What all likelihoods have in common: pixels are independent once the decoder has spoken."""

    per_channel = 1  # numbers that a decoder gives for each channel of each pixel

    def outputs(self, channels: int) -> int:
        """Return how many channels a decoder must give for pictures of so many."""
        return channels * self.per_channel

    def log_prob(self, outputs: Tensor, images: Tensor) -> Tensor:
        """Return what training raises, summed over pixels: nats ``(B,)``, of outputs ``(B, outputs, H, W)``."""
        raise NotImplementedError

    def log_mass(self, outputs: Tensor, images: Tensor) -> Tensor:
        """Return the log-probability of the values that a file can hold, summed over pixels: nats ``(B,)``."""
        return self.log_prob(outputs, images)

    def mean(self, outputs: Tensor) -> Tensor:
        """Return the expected picture, ``(B, C, H, W)`` in [-1, 1]."""
        raise NotImplementedError

    def check(self, pixels: Tensor) -> None:
        """Refuse uint8 pictures that this distribution does not know.

        Raises:
            UserError: values that have no probability under it.
        """


def bits_per_dim(nats: float, dims: int) -> float:
    """Return negative log-likelihood in bits for each of so many pixel values; 8 for whoever knows nothing."""
    return nats / (dims * math.log(2))


class Bernoulli(Likelihood):
    """Pixels are black or white, and nothing else: for binarised pictures.

    The decoder gives the logit of white. On grey values the same formula is no likelihood (Loaiza-Ganem & Cunningham
    2019), which is why they are refused.
    """

    def __init__(self) -> None:
        super().__init__()

    def log_prob(self, outputs: Tensor, images: Tensor) -> Tensor:
        """Return log-probabilities: nats ``(B,)``."""
        white = (images > 0).to(outputs.dtype)
        return -F.binary_cross_entropy_with_logits(outputs, white, reduction="none").flatten(1).sum(dim=1)

    def mean(self, outputs: Tensor) -> Tensor:
        """Return the probability of white, as grey."""
        return 2 * outputs.sigmoid() - 1

    def check(self, pixels: Tensor) -> None:
        """Refuse grey."""
        if not bool(((pixels == 0) | (pixels == 255)).all()):
            values = torch.bincount(pixels.flatten()).count_nonzero()
            raise UserError(
                f"A Bernoulli likelihood knows black and white only, and these pictures hold {values} values: type"
                " data=mnist_binarised, or likelihood@model.likelihood=gaussian."
            )


class Gaussian(Likelihood):
    """Pixels are normally distributed about the decoder's picture, with one deviation for all of them.

    ``variance=learned`` learns the deviation along with the decoder (Dai & Wipf 2019); ``optimal`` computes it from
    each batch, where it is the root of the mean squared error (Rybkin et al. 2021, sigma-VAE, eq. 9), and keeps the
    running one for what is not trained on; ``fixed`` leaves it at ``sigma``, in units of the range from black to white.
    With 1, which most libraries have without saying so, the KL divergence weighs hundreds of times too much. A
    deviation for every pixel of its own is not offered: its likelihoods are good and its samples are bad.
    """

    log_sigma: Tensor

    def __init__(self, variance: Literal["learned", "optimal", "fixed"] = "learned", sigma: Positive = 0.1) -> None:
        """Choose; ``sigma`` is where learning starts, or where it stays."""
        super().__init__()
        self.variance = variance
        start = torch.tensor(math.log(sigma))
        if variance == "learned":
            # The inverse of the soft lower bound below.
            self.raw = nn.Parameter(LEAST_LOG_SIGMA + torch.log(torch.expm1(start - LEAST_LOG_SIGMA)))
        else:
            self.register_buffer("log_sigma", start)

    @property
    def sigma(self) -> Tensor:
        """The deviation, in units of the range from black to white."""
        return self._log_sigma().exp()

    def _log_sigma(self) -> Tensor:
        if self.variance == "learned":
            return LEAST_LOG_SIGMA + F.softplus(self.raw - LEAST_LOG_SIGMA)
        return self.log_sigma

    def log_prob(self, outputs: Tensor, images: Tensor) -> Tensor:
        """Return log-densities: nats ``(B,)``."""
        errors = (outputs.sigmoid() - (images + 1) / 2).square()
        if self.variance == "optimal" and self.training:
            # Held constant it has the gradient of eq. 9, and is the same however many processes share the batch.
            with torch.no_grad():
                self.log_sigma.copy_((0.5 * mean_over_all(errors.mean()).log()).clamp(min=LEAST_LOG_SIGMA))
        log_sigma = self._log_sigma().to(errors.dtype)
        densities = -0.5 * errors * torch.exp(-2 * log_sigma) - log_sigma - 0.5 * math.log(2 * math.pi)
        return densities.flatten(1).sum(dim=1)

    def log_mass(self, outputs: Tensor, images: Tensor) -> Tensor:
        """Return the probability of the 256 values, each that of all numbers that round to it: nats ``(B,)``."""
        levels = _levels(images)
        middle, sigma = outputs.sigmoid() * (LEVELS - 1), self.sigma.to(outputs.dtype) * (LEVELS - 1)
        low, high = (levels - 0.5 - middle) / sigma, (levels + 0.5 - middle) / sigma
        low = low.masked_fill(levels == 0, -torch.inf)
        high = high.masked_fill(levels == LEVELS - 1, torch.inf)
        return _log_normal_between(low, high).flatten(1).sum(dim=1)

    def mean(self, outputs: Tensor) -> Tensor:
        """Return the decoder's picture."""
        return 2 * outputs.sigmoid() - 1


class LogisticMixture(Likelihood):
    """Each pixel value is rounded from a mixture of logistic distributions (Salimans et al. 2017, PixelCNN++, eq. 2).

    The decoder gives weights, middles and scales of so many ``components`` for each channel; unlike there, the channels
    of a pixel do not look at each other, since the latents have seen all of them.
    """

    def __init__(self, components: Count = 5) -> None:
        super().__init__()
        self.per_channel = 3 * components

    def _parts(self, outputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return log-weights, middles and log-scales, each ``(B, C, K, H, W)``, in levels."""
        weights, middles, scales = _by_channel(outputs, 3, self.per_channel // 3).unbind(dim=2)
        middles = (LEVELS - 1) / 2 * (1 + middles)
        return weights.log_softmax(dim=2), middles, (scales + 2.5).clamp(min=math.log((LEVELS - 1) / 2) - 7.0)

    def log_prob(self, outputs: Tensor, images: Tensor) -> Tensor:
        """Return log-probabilities: nats ``(B,)``."""
        log_weights, middles, log_scales = self._parts(outputs)
        levels = _levels(images).unsqueeze(2)
        inverse = torch.exp(-log_scales)
        low, high = (levels - 0.5 - middles) * inverse, (levels + 0.5 - middles) * inverse
        # Of two sigmoids the difference, exact in logarithms: s(b) - s(a) = s(b) s(-a) (1 - exp(a - b)).
        inner = F.logsigmoid(high) + F.logsigmoid(-low) + torch.log(-torch.expm1(-inverse))
        darkest, lightest = levels == 0, levels == LEVELS - 1
        log_masses = torch.where(
            darkest, F.logsigmoid(high), torch.where(lightest, F.logsigmoid(-low), inner.expand_as(low))
        )
        return torch.logsumexp(log_weights + log_masses, dim=2).flatten(1).sum(dim=1)

    def mean(self, outputs: Tensor) -> Tensor:
        """Return the mean of the middles, which is near that of the rounded values."""
        log_weights, middles, _ = self._parts(outputs)
        expected = (log_weights.exp() * middles.clamp(0, LEVELS - 1)).sum(dim=2)
        return expected / ((LEVELS - 1) / 2) - 1


class Categorical(Likelihood):
    """Each pixel has one of so many evenly spaced values, and any distribution over them.

    The decoder gives a logit for each value of each channel. With fewer than 256 pictures must hold only those.
    """

    def __init__(self, levels: Annotated[int, Range(2, 256)] = LEVELS) -> None:
        super().__init__()
        self.per_channel = levels

    def log_prob(self, outputs: Tensor, images: Tensor) -> Tensor:
        """Return log-probabilities: nats ``(B,)``."""
        logits = _by_channel(outputs, self.per_channel).transpose(1, 2)
        steps = ((images + 1) / 2 * (self.per_channel - 1)).round().long()
        return -F.cross_entropy(logits, steps, reduction="none").flatten(1).sum(dim=1)

    def mean(self, outputs: Tensor) -> Tensor:
        """Return the mean value."""
        shares = _by_channel(outputs, self.per_channel).softmax(dim=2)
        values = torch.linspace(-1, 1, self.per_channel, device=outputs.device, dtype=shares.dtype)
        return torch.einsum("bclhw,l->bchw", shares, values)

    def check(self, pixels: Tensor) -> None:
        """Refuse values between the levels."""
        steps = torch.arange(self.per_channel, dtype=torch.float64) * (LEVELS - 1) / (self.per_channel - 1)
        if not bool(torch.isin(pixels, steps.round().to(torch.uint8)).all()):
            raise UserError(
                f"likelihood.levels={self.per_channel} knows so many values, and these pictures hold others: type"
                f" model.likelihood.levels={LEVELS}."
            )


def _by_channel(outputs: Tensor, *parts: int) -> Tensor:
    """Return outputs ``(B, C * parts, H, W)`` as ``(B, C, *parts, H, W)``."""
    return outputs.reshape(len(outputs), -1, *parts, *outputs.shape[2:])


def _levels(images: Tensor) -> Tensor:
    """Return pictures in [-1, 1] as whole numbers from 0 to 255, still floating."""
    return ((images + 1) * (LEVELS - 1) / 2).round()


def _log_normal_between(low: Tensor, high: Tensor) -> Tensor:
    """Return the log-probability of a standard normal number between two bounds, also far out on either side."""
    # Mirrored so that both bounds are where the cumulative probability is small, and its logarithm exact.
    mirrored = low > 0
    low, high = torch.where(mirrored, -high, low), torch.where(mirrored, -low, high)
    upper, lower = torch.special.log_ndtr(high), torch.special.log_ndtr(low)
    mass: Tensor = upper + torch.log(-torch.expm1(lower - upper))
    return mass
