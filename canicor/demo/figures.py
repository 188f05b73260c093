"""The demo's figures, each with its 95 % interval."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np

_Z = 1.959964
_RESAMPLES = 2000


@dataclass(frozen=True)
class Figure:
    """A measured figure and its 95 % interval."""

    value: float
    lower: float
    upper: float


def share(hits: int, count: int) -> Figure:
    """Returns a share with Wilson's interval (Wilson 1927); `count` is 1 or more."""
    p = hits / count
    middle = (p + _Z**2 / (2 * count)) / (1 + _Z**2 / count)
    half = _Z * sqrt(p * (1 - p) / count + _Z**2 / (4 * count**2)) / (1 + _Z**2 / count)
    return Figure(p, middle - half, middle + half)


def mean(values: Sequence[float]) -> Figure:
    """Returns a mean with its percentile bootstrap interval over 2000 resamples."""
    data = np.asarray(values, dtype=np.float64)
    rng = np.random.default_rng(0)
    means = data[rng.integers(0, len(data), (_RESAMPLES, len(data)))].mean(axis=1)
    lower, upper = np.quantile(means, [0.025, 0.975])
    return Figure(float(data.mean()), float(lower), float(upper))
