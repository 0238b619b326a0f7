"""The health of latents: which of them say anything, and whether they follow the prior.

facts = Facts.of(means, log_variances)      # of the posteriors of many pictures, (N, d) each
facts.active, facts.rates, facts.gap
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from darkroom.figures import rendered
from darkroom.losses.elbo import kl_from_standard_normal

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ACTIVE = 0.01  # variance of a latent's mean over pictures, above which it counts (Burda et al. 2016)
BINS = 40


@dataclass(frozen=True)
class Facts:
    """What the posteriors of many pictures tell together.

    ``active`` says of each latent whether its mean moves from picture to picture (Burda et al. 2016); ``rates`` are the
    mean KL divergences of each from the standard normal, in nats; ``gap`` is the KL divergence of each latent's
    aggregate posterior, taken for normal, from the standard normal one, ``correlation`` the largest between any two;
    ``information`` the part of the rate that tells pictures apart, I(x; z) <= rate - gap (Hoffman & Johnson 2016).
    ``values`` are draws of all posteriors, ``(N, d)``.
    """

    active: Tensor
    rates: Tensor
    gap: Tensor
    correlation: float
    values: Tensor

    @classmethod
    def of(cls, means: Tensor, log_variances: Tensor) -> "Facts":
        """Find them, for posteriors ``(N, d)``."""
        means, log_variances = means.double().cpu(), log_variances.double().cpu()
        rates = kl_from_standard_normal(means, log_variances).mean(dim=0)
        # The aggregate posterior is a mixture of all: its moments are known without drawing.
        middle = means.mean(dim=0)
        variance = means.var(dim=0, correction=0) + log_variances.exp().mean(dim=0)
        gap = kl_from_standard_normal(middle, variance.log())
        noise = torch.randn(means.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        values = means + (0.5 * log_variances).exp() * noise
        correlation = 0.0
        if means.shape[1] > 1:
            between = torch.corrcoef(values.T)
            between.fill_diagonal_(0)
            correlation = between.abs().max().item()
        return cls(means.var(dim=0, correction=0) > ACTIVE, rates, gap, correlation, values)

    @property
    def information(self) -> float:
        """Return at most so many nats that the latents tell of a picture."""
        return (self.rates.sum() - self.gap.sum()).item()

    def numbers(self) -> dict[str, float]:
        """Return what is worth a curve."""
        return {
            "active_units": float(self.active.sum()),
            "active_share": self.active.double().mean().item(),
            "information": self.information,
            "aggregate_gap": self.gap.sum().item(),
            "latent_correlation": self.correlation,
        }


def draw_latents(facts: Facts, sampled: Tensor, title: str) -> np.ndarray:
    """Return a uint8 ``(H, W, 3)`` picture: nats a latent, and the latents of pictures beside the prior.

    ``sampled`` are the latents that drawn pictures are made of, ``(N, d)``.
    """
    from matplotlib.figure import Figure

    order = facts.rates.argsort(descending=True)
    figure = Figure(figsize=(11, 4.6), dpi=100, layout="constrained")
    bars, shapes, pair = figure.subplots(1, 3, width_ratios=[1.3, 1, 1])
    colours = ["#084878" if facts.active[index] else "#c8c8c8" for index in order]
    bars.bar(range(len(order)), facts.rates[order].numpy(), color=colours)
    bars.set_title(f"rate of each latent: {int(facts.active.sum())} of {len(order)} in use", fontsize=10, loc="left")
    bars.set_xlabel("latent, the most telling first")
    bars.set_ylabel("nats")
    _draw_shapes(shapes, facts.values, sampled)
    first, second = int(order[0]), int(order[min(1, len(order) - 1)])
    shown = facts.values[:2000]
    pair.scatter(shown[:, first], shown[:, second], s=3, color="#084878", alpha=0.5, label="of pictures", linewidths=0)
    other = sampled[:2000]
    pair.scatter(
        other[:, first],
        other[:, second],
        s=3,
        color="#b03020",
        alpha=0.5,
        label="that are drawn from",
        linewidths=0,
    )
    pair.set_title(f"latents {first} and {second}", fontsize=10, loc="left")
    pair.legend(frameon=False, fontsize=8, markerscale=3)
    for axes in (bars, shapes, pair):
        axes.spines[["top", "right"]].set_visible(False)
    figure.suptitle(title, fontsize=12)
    return rendered(figure)


def _draw_shapes(axes: "Axes", values: Tensor, sampled: Tensor) -> None:
    """Draw how all numbers of all latents are spread, beside the prior."""
    edges = np.linspace(-4, 4, BINS + 1)
    middles = (edges[1:] + edges[:-1]) / 2
    for numbers, colour, label in ((values, "#084878", "of pictures"), (sampled, "#b03020", "that are drawn from")):
        heights, _ = np.histogram(numbers.flatten().numpy(), bins=edges, density=True)
        axes.step(middles, heights, where="mid", color=colour, label=label)
    axes.plot(middles, np.exp(-0.5 * middles**2) / np.sqrt(2 * np.pi), color="#808080", linestyle=":", label="N(0, 1)")
    axes.set_title("all latents together", fontsize=10, loc="left")
    axes.set_ylim(top=0.6)
    axes.legend(frameon=False, fontsize=8, loc="upper right")
