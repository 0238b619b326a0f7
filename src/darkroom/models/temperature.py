"""How sure to be: one number that brings a classifier's confidence to what its accuracy bears out.

Guo et al. 2017, "On Calibration of Modern Neural Networks", arXiv 1706.04599, section 4.2.
"""

import logging
import math
from collections.abc import Callable

import scipy.optimize
import torch
from torch import Tensor

LOG = logging.getLogger(__name__)
LEAST, MOST = 0.01, 100.0  # beyond these a network is certain of everything, or of nothing


def fit_temperature(logits: Tensor, labels: Tensor) -> float:
    """Return the temperature T with which softmax(logits / T) makes the labels most likely.

    Logits ``(n, K)``, labels int64 ``(n,)``; computed in float64, without random numbers. The log-likelihood is concave
    in 1 / T (that of a logistic regression with one weight), so it is largest where its derivative is zero.

    Some pictures bound T on one side only, which is said in a warning. When all are named right, a smaller T is always
    likelier: T stops where the mean confidence is (n + 1) / (n + 2), Laplace's rule of succession for n successes in n
    trials. When they are named no better than by chance, a larger one is: T stops at 100. Logits that are not finite,
    or all alike, say nothing, and T is 1.
    """
    logits = logits.double()
    logits = logits - logits.mean(dim=1, keepdim=True)
    if not torch.isfinite(logits).all() or not logits.any():
        LOG.warning(
            "The confidence was not calibrated: what the network answers on val is not finite, or always alike."
        )
        return 1.0
    count = len(labels)
    of_labels = logits.gather(1, labels[:, None]).mean()
    allowed = (count + 1) / (count + 2)

    def slope(temperature: float) -> float:
        """Return by how much the mean logit that is expected exceeds the mean logit of the labels."""
        shares = (logits / temperature).softmax(dim=1)
        return float((shares * logits).sum(dim=1).mean() - of_labels)

    def excess(temperature: float) -> float:
        """Return by how much the mean confidence exceeds what as many successes as pictures allow."""
        return float((logits / temperature).softmax(dim=1).amax(dim=1).mean()) - allowed

    coldest = _crossing(excess)
    if logits.argmax(dim=1).equal(labels):
        LOG.warning(
            "All %d pictures of val are named right, so none of them says how sure is too sure: the mean confidence was"
            " set to %.4f, what as many successes allow.",
            count,
            allowed,
        )
        return coldest
    temperature = max(_crossing(slope), coldest)
    if temperature == MOST:
        LOG.warning("The pictures of val are named no better than by chance: the network was made unsure of all names.")
    return temperature


def _crossing(falling: Callable[[float], float]) -> float:
    """Return the temperature from `LEAST` to `MOST` where a function that falls with it is zero, or the nearer end."""
    if falling(LEAST) <= 0:
        return LEAST
    if falling(MOST) >= 0:
        return MOST
    return math.exp(scipy.optimize.brentq(lambda log: falling(math.exp(log)), math.log(LEAST), math.log(MOST)))
