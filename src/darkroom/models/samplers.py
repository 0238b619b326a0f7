"""Where latents come from when pictures are drawn: distributions fitted to those of the training pictures.

A decoder only knows the latents that its encoder makes, and these seldom follow the prior. Each sampler turns standard
normal numbers into latents, so that picture i of a seed stays the same picture; all of them are kept in the checkpoint.
"""

import warnings
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from darkroom.networks.flow import Flow

KINDS = ("prior", "gaussian", "mixture", "flow")
FLOOR = 1e-4  # added to variances: a latent that never moves has a density all the same
PER_COMPONENT = 10  # pictures for each latent that a component of a mixture needs, if it is not to learn them by heart
BATCH = 512
RATE = 2e-3


class Gaussian(nn.Module):
    """One normal distribution for each of so many groups of latents, with all covariances."""

    means: Tensor
    factors: Tensor

    def __init__(self, dim: int, groups: int) -> None:
        super().__init__()
        self.register_buffer("means", torch.zeros(groups, dim))
        self.register_buffer("factors", torch.eye(dim).repeat(groups, 1, 1))

    def fit(self, latents: Tensor, groups: Tensor) -> None:
        """Take mean and covariance from latents ``(N, dim)`` of groups ``(N,)``."""
        for group in sorted(set(groups.tolist())):
            part = latents[groups == group].double()
            spread = torch.cov(part.T, correction=0).reshape(part.shape[1], part.shape[1])
            self.means[group] = part.mean(dim=0).float()
            self.factors[group] = torch.linalg.cholesky(spread + FLOOR * torch.eye(len(spread)).double()).float()

    def forward(self, noise: Tensor, groups: Tensor) -> Tensor:
        """Return latents ``(B, dim)`` for standard normal numbers ``(B, dim + 1)``, of which the last is not needed."""
        return self.means[groups] + torch.einsum("bij,bj->bi", self.factors[groups], noise[:, :-1])


class Mixture(nn.Module):
    """A mixture of normal distributions with all covariances for each group (Ghosh et al. 2020, "ex-post density")."""

    weights: Tensor
    means: Tensor
    factors: Tensor

    def __init__(self, dim: int, groups: int, components: int) -> None:
        super().__init__()
        self.register_buffer("weights", torch.full((groups, components), 1 / components))
        self.register_buffer("means", torch.zeros(groups, components, dim))
        self.register_buffer("factors", torch.eye(dim).repeat(groups, components, 1, 1))

    def fit(self, latents: Tensor, groups: Tensor) -> None:
        """Maximise the likelihood of latents ``(N, dim)`` of groups ``(N,)``, from a fixed start."""
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.mixture import GaussianMixture

        for group in sorted(set(groups.tolist())):
            part = latents[groups == group].double().numpy()
            components = min(self.weights.shape[1], max(1, len(part) // (PER_COMPONENT * part.shape[1])))
            mixture = GaussianMixture(components, reg_covar=FLOOR, random_state=0, max_iter=200)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)  # the last step is as good as any before it
                mixture.fit(part)
            self.weights[group], self.means[group] = 0.0, 0.0
            self.factors[group] = torch.eye(part.shape[1])
            self.weights[group, :components] = torch.from_numpy(mixture.weights_).float()
            self.means[group, :components] = torch.from_numpy(mixture.means_).float()
            self.factors[group, :components] = torch.from_numpy(np.linalg.cholesky(mixture.covariances_)).float()

    def forward(self, noise: Tensor, groups: Tensor) -> Tensor:
        """Return latents ``(B, dim)`` for standard normal numbers ``(B, dim + 1)``; the last chooses the component."""
        place = torch.special.ndtr(noise[:, -1:].double()).float()
        steps = self.weights[groups].cumsum(dim=1)
        last = (self.weights[groups] > 0).sum(dim=1) - 1  # rounding may leave the sum of the weights below 1
        chosen = torch.minimum((place > steps).sum(dim=1), last)
        return self.means[groups, chosen] + torch.einsum("bij,bj->bi", self.factors[groups, chosen], noise[:, :-1])


class FlowSampler(nn.Module):
    """A normalising flow, trained on the latents once the networks are (Xiao et al. 2019, generative latent flow)."""

    middle: Tensor
    scale: Tensor

    def __init__(self, dim: int, groups: int, steps: int) -> None:
        super().__init__()
        self.dim, self.groups, self.steps = dim, groups, steps
        self.flow = self._unfitted()
        self.register_buffer("middle", torch.zeros(dim))
        self.register_buffer("scale", torch.ones(dim))

    def _unfitted(self) -> Flow:
        with torch.random.fork_rng(devices=[]):  # so that a sampler more or less changes no network's first weights
            torch.manual_seed(0)
            return Flow(self.dim, self.groups if self.groups > 1 else 0)

    def _condition(self, groups: Tensor) -> Tensor | None:
        return nn.functional.one_hot(groups, self.groups).float() if self.groups > 1 else None

    @torch.enable_grad()
    def fit(self, latents: Tensor, groups: Tensor) -> None:
        """Raise the density of latents ``(N, dim)`` of groups ``(N,)``, always in the same way and from one start."""
        self.flow.load_state_dict(self._unfitted().state_dict())
        self.middle.copy_(latents.mean(dim=0))
        self.scale.copy_((latents.var(dim=0, correction=0) + FLOOR).sqrt())
        standard = (latents - self.middle) / self.scale
        generator = torch.Generator().manual_seed(0)
        parameters = list(self.flow.requires_grad_(True).parameters())
        optimizer = torch.optim.Adam(parameters, lr=RATE, fused=True)
        for step in range(self.steps):
            for setting in optimizer.param_groups:
                setting["lr"] = RATE * 0.5 * (1 + np.cos(np.pi * step / self.steps))
            chosen = torch.randint(len(latents), (BATCH,), generator=generator)
            loss = -self.flow.log_prob(standard[chosen], self._condition(groups[chosen])).mean()
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(parameters, 10.0)
            optimizer.step()
        self.flow.requires_grad_(False)

    def forward(self, noise: Tensor, groups: Tensor) -> Tensor:
        """Return latents ``(B, dim)`` for standard normal numbers ``(B, dim + 1)``, of which the last is not needed."""
        latents: Tensor = self.flow(noise[:, :-1], self._condition(groups)) * self.scale + self.middle
        return latents


class Prior(nn.Module):
    """The standard normal distribution that models are trained towards and few end up following.

    A model whose prior is learned turns these numbers into latents itself.
    """

    def fit(self, latents: Tensor, groups: Tensor) -> None:
        """Nothing is fitted."""

    def forward(self, noise: Tensor, groups: Tensor) -> Tensor:
        """Return the first numbers as they are."""
        return noise[:, :-1]


class Samplers(nn.Module):
    """All samplers of one model, and which of them draws.

    With ``classes`` each class has its own distributions.

        samplers = Samplers(dim=16)
        samplers.fit("mixture", latents, torch.zeros(len(latents), dtype=torch.int64))
        samplers.use("mixture")
        latents = samplers(torch.randn(8, 17), None)
    """

    index: Tensor
    kinds: Any  # by name

    def __init__(self, dim: int, classes: int = 0, components: int = 10, flow_steps: int = 2000) -> None:
        super().__init__()
        groups = max(1, classes)
        self.kinds = nn.ModuleDict(
            {
                "prior": Prior(),
                "gaussian": Gaussian(dim, groups),
                "mixture": Mixture(dim, groups, components),
                "flow": FlowSampler(dim, groups, flow_steps),
            }
        )
        self.requires_grad_(False)
        self.register_buffer("index", torch.zeros((), dtype=torch.int64))

    @property
    def name(self) -> str:
        """Which one draws."""
        return KINDS[int(self.index)]

    def use(self, name: str) -> None:
        """Let another one draw."""
        self.index.fill_(KINDS.index(name))

    def fit(self, name: str, latents: Tensor, groups: Tensor) -> None:
        """Fit one to latents ``(N, dim)`` of classes ``(N,)``, all 0 where there are none; no global state changes."""
        device = self.index.device
        kind = self.kinds[name].cpu()
        kind.fit(latents.float().cpu(), groups.cpu())
        kind.to(device)

    def forward(self, noise: Tensor, labels: Tensor | None) -> Tensor:
        """Return latents ``(B, dim)`` for standard normal numbers ``(B, dim + 1)`` and classes ``(B,)``."""
        groups = labels if labels is not None else torch.zeros(len(noise), dtype=torch.int64, device=noise.device)
        latents: Tensor = self.kinds[self.name](noise, groups)
        return latents
