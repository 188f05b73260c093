"""What is fitted on the validation split, so that an answer states how sure it is.

Split conformal prediction: Vovk, Gammerman & Shafer, *Algorithmic Learning in a Random World* (2005); prediction
sets: Romano, Sesia & Candès, NeurIPS 2020, without their randomisation, so that they cover what is stated or more.
The coverage is that of all new images together, not of each class, and holds for images that could as well have
been in the split. Temperature: Guo et al., ICML 2017.
"""

import math

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

from canicor.vhs import HEART_SIZES, PLAUSIBLE_VHS

COVERAGE = 0.9
"""What prediction sets and intervals state.

To be raised once models are right more often: each set holds at least one class, and so can't cover less. At 0.95
the model that ships, which is right 92 times in 100, would refer 7 radiographs in 100 as near a threshold.
"""

MIN_PROBABILITY = 0.5
"""Below it the best class is more likely wrong than right."""

REFUSED = 0.02
"""The share of images like those of the split that a limit of strength or distance refuses, at most.

At 0.01 the farthest of some 120 images would set the limit by itself, and where it lies far out, strangers get in:
of 520 pictures that are no thorax, the demo's class model took 22 % on average over splits of that size (standard
deviation 8), at 0.02 it took 14 % (5).
"""

_TEMPERATURES = (0.05, 20.0)


def conformal_quantile(scores: NDArray[np.floating]) -> float:
    """Returns the score that a new image stays within with probability `COVERAGE`, given scores [N] of others.

    Infinite where there are too few to say: of 8 scores the highest is exceeded too often.
    """
    rank = math.ceil((len(scores) + 1) * COVERAGE)
    return float(np.sort(scores)[rank - 1]) if rank <= len(scores) else math.inf


def vhs_half_width(errors: NDArray[np.floating]) -> float:
    """Returns the half width of the VHS interval at `COVERAGE` from errors [N] in vertebrae.

    At most what spans every plausible VHS, which is then all that can be said.
    """
    lowest, highest = PLAUSIBLE_VHS
    return min(conformal_quantile(np.abs(errors)), highest - lowest)


def vhs_sigma(errors: NDArray[np.floating]) -> float:
    """Returns the root mean square of errors [N] in vertebrae: a bias makes answers uncertain as a spread does."""
    return float(np.sqrt(np.square(errors).mean()))


def fit_temperature(logits: NDArray[np.floating], classes: NDArray[np.int64]) -> float:
    """Returns what to divide logits [N, 3] by so that the labelled classes [N] are likeliest.

    The labels count for a little less than certain, by Laplace's rule as in Platt (1999): where every image of a
    small split is classified right, certainty would be likeliest.
    """
    count = len(classes)
    targets = np.full(logits.shape, 1 / (count + len(HEART_SIZES)))
    targets[np.arange(count), classes] *= count + 1

    def cross_entropy(log_temperature: float) -> float:
        scaled = log_softmax(logits / math.exp(log_temperature), axis=1)
        return -float((targets * scaled).sum(axis=1).mean())

    low, high = np.log(_TEMPERATURES)
    return math.exp(float(minimize_scalar(cross_entropy, bounds=(low, high), method="bounded").x))


def set_probability(probabilities: NDArray[np.floating], classes: NDArray[np.int64]) -> float:
    """Returns the probability that those likelier than a class may have together for it to be in a prediction set.

    Sets then hold the labelled class at `COVERAGE`; at 1, where there are too few images to say, they hold all.

    Args:
        probabilities: [N, 3].
        classes: int64 [N], the labelled ones.
    """
    own = probabilities[np.arange(len(classes)), classes]
    likelier = np.where(probabilities > own[:, np.newaxis], probabilities, 0.0).sum(axis=1)
    # A millionth more, because the server adds up what was rounded to float32.
    return min(1.0, conformal_quantile(likelier) + 1e-6)


def smallest_peak(peaks: NDArray[np.floating]) -> float:
    """Returns the limit below which an image's lowest peak is unlike any seen, from peaks [N, 6]."""
    return -_limit(-peaks.min(axis=1))


def largest_distance(distances: NDArray[np.floating], strange: NDArray[np.floating]) -> float:
    """Returns the limit above which an image's distance is unlike any seen.

    It lies half way, as a factor, from where images like those of the split end to where others begin, each but
    for `REFUSED` of them; where the two overlap, at the former.

    Args:
        distances: [N], of the split's images.
        strange: [M], of pictures to be refused.
    """
    own, nearest = _limit(distances), -_limit(-strange)
    return math.sqrt(own * max(own, nearest))


def _limit(scores: NDArray[np.floating]) -> float:
    """Returns the score that a new image exceeds with a probability of at most `REFUSED`.

    With fewer than 49 scores it is their highest, which 1 in N + 1 exceeds: to refuse too much is the safe side.
    """
    rank = math.ceil((len(scores) + 1) * (1 - REFUSED))
    return float(np.sort(scores)[min(rank, len(scores)) - 1])
