"""What is fitted on the validation split, so that an answer states how sure it is.

Split conformal prediction: Vovk, Gammerman & Shafer, *Algorithmic Learning in a Random World* (2005); prediction
sets: Romano, Sesia & Candès, NeurIPS 2020, without their randomisation. Temperature: Guo et al., ICML 2017.
"""

import math

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

COVERAGE = 0.9
"""What prediction sets and intervals state."""

MIN_PROBABILITY = 0.5
"""Below it the best class is more likely wrong than right."""

_PEAK_QUANTILE = 0.01
_TEMPERATURES = (0.05, 20.0)


def conformal_quantile(scores: NDArray[np.floating]) -> float:
    """Returns the score that a new image stays within with probability `COVERAGE`, given scores [N] of others."""
    rank = math.ceil((len(scores) + 1) * COVERAGE)
    return float(np.sort(scores)[min(rank, len(scores)) - 1])


def fit_temperature(logits: NDArray[np.floating], classes: NDArray[np.int64]) -> float:
    """Returns what to divide logits [N, 3] by so that the labelled classes [N] are likeliest."""

    def negative_log_likelihood(log_temperature: float) -> float:
        scaled = log_softmax(logits / math.exp(log_temperature), axis=1)
        return -float(scaled[np.arange(len(classes)), classes].mean())

    low, high = np.log(_TEMPERATURES)
    return math.exp(float(minimize_scalar(negative_log_likelihood, bounds=(low, high), method="bounded").x))


def set_probability(probabilities: NDArray[np.floating], classes: NDArray[np.int64]) -> float:
    """Returns the probability that prediction sets must reach to hold the labelled class at `COVERAGE`.

    A class is in the set where those likelier than it do not reach the figure yet; hence the smallest figure just
    above the quantile of their sum.
    """
    own = probabilities[np.arange(len(classes)), classes]
    likelier = np.where(probabilities > own[:, np.newaxis], probabilities, 0.0).sum(axis=1)
    return min(1.0, conformal_quantile(likelier) + 1e-6)


def smallest_peak(peaks: NDArray[np.floating]) -> float:
    """Returns the limit below which an image's lowest peak is unlike any seen, from peaks [N, 6]."""
    return float(np.quantile(peaks.min(axis=1), _PEAK_QUANTILE))
