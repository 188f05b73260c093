"""How inputs and answers are spread over the validation split: what a server measures drift against."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from canicor.bundle import Histogram, Reference
from canicor.monitoring import INPUT_FEATURES, OUTPUT_FEATURES
from training.dataset import Images

_BINS = 10
"""As the population stability index has them by custom."""


def reference(images: Images, answers: Iterable[tuple[float, ...]]) -> Reference:
    """Returns the histograms of everything that is known of these images.

    Args:
        images: The split.
        answers: What `canicor.monitoring.output_features` returns for each.
    """
    names = (*INPUT_FEATURES, *OUTPUT_FEATURES)
    values = np.column_stack([images.features, np.array(list(answers))])
    features = {
        name: histogram(column[np.isfinite(column)])
        for name, column in zip(names, values.T, strict=True)
        if np.isfinite(column).any()
    }
    return Reference(count=len(images), features=features)


def histogram(values: NDArray[np.float64]) -> Histogram:
    """Returns bins that hold a tenth of the values [N] each, as nearly as they can.

    A value that two or more tenths would end at, such as an aspect that all images have, gets a bin of its own, so
    that both less and more than it show.
    """
    tenths = np.quantile(values, np.arange(1, _BINS) / _BINS, method="inverted_cdf")
    ends, times = np.unique(tenths, return_counts=True)
    edges = np.union1d(ends, np.nextafter(ends[times > 1], np.inf))
    counts = np.bincount(np.searchsorted(edges, values, side="right"), minlength=len(edges) + 1)
    return Histogram(edges=tuple(edges.tolist()), shares=tuple((counts / len(values)).tolist()))
