"""Whether a model is still asked about radiographs like those that it was validated on.

Each version's newest answers are compared with its bundle's reference, feature by feature, where Prometheus asks;
an answer itself pays a few microseconds.
"""

import threading
from collections import deque
from collections.abc import Iterator
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import ArrayLike, NDArray
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from canicor.bundle import Histogram
from canicor.model_input import Prepared
from canicor.monitoring import FEATURES, input_features, output_features
from services.classifier.answer import Answer, Output
from services.classifier.model import Model

ENOUGH = 100
"""Answers below which nothing is said: chance alone would move a tenth of them by a third."""

# Of a bin that nothing fell into: its logarithm has to exist.
_SMALLEST_SHARE = 1e-4

_LABELS = ("model", "version", "feature")


class Drift(Collector):
    """Keeps each loaded version's newest answers; any thread may call any method.

    A version's answers go when it is unloaded, and a version without a reference has none.

    Args:
        window: Answers kept of a version.
    """

    def __init__(self, window: int) -> None:
        self._window = window
        self._answers: WeakKeyDictionary[Model, deque[tuple[float, ...]]] = WeakKeyDictionary()
        self._changing = threading.Lock()

    def observe(
        self,
        model: Model,
        radiograph: Prepared,
        output: Output,
        said: Answer,
    ) -> None:
        """Takes in one answer.

        Args:
            model: Gave it.
            radiograph: What it was asked about.
            output: What the graph said.
            said: What came of that.
        """
        if model.info.reference is None:
            return
        features = (
            *input_features(radiograph),
            *output_features(
                said.heart_size,
                said.probability,
                None if said.measurement is None else said.measurement.vhs,
                None if output.peaks is None else float(output.peaks.min()),
                None if output.distance is None else float(output.distance),
            ),
        )
        with self._changing:
            answers = self._answers.get(model)
            if answers is None:
                answers = self._answers[model] = deque(maxlen=self._window)
            answers.append(features)

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Compares, for Prometheus."""
        psi = GaugeMetricFamily(
            "canicor_classifier_drift_psi",
            "Population stability index of the newest answers against the bundle's reference: below 0.1 stable, "
            "0.1 to 0.25 watch, above 0.25 drifted.",
            labels=_LABELS,
        )
        ks = GaugeMetricFamily(
            "canicor_classifier_drift_ks",
            "Kolmogorov-Smirnov statistic of the same, at the edges of the reference's bins: 0 alike, 1 apart.",
            labels=_LABELS,
        )
        answers = GaugeMetricFamily(
            "canicor_classifier_drift_answers", "Newest answers that drift is measured over.", labels=_LABELS[:2]
        )
        with self._changing:
            windows = [(model, np.array(kept)) for model, kept in self._answers.items()]
        for model, window in windows:
            if len(window) >= ENOUGH:
                answers.add_metric([model.name, model.version], len(window))
            for feature, histogram, found in _compared(model, window):
                labels = [model.name, model.version, feature]
                psi.add_metric(labels, population_stability_index(histogram.shares, found))
                ks.add_metric(labels, kolmogorov_smirnov(histogram.shares, found))
        yield from (psi, ks, answers)


def population_stability_index(expected: ArrayLike, found: ArrayLike) -> float:
    """Returns the sum over bins of (found - expected) ln(found / expected).

    Source, also of 0.1 and 0.25: Siddiqi, *Credit Risk Scorecards* (2006). An empty bin counts as 0.0001. Chance
    alone gives (bins - 1) (1 / n + 1 / m) on average for n answers and a reference of m images (Yurdakul 2018).

    Args:
        expected: The shares of the bins; they sum to 1.
        found: The same of what is compared.
    """
    one, other = (np.maximum(shares, _SMALLEST_SHARE) for shares in (expected, found))
    return float(((other - one) * np.log(other / one)).sum())


def kolmogorov_smirnov(expected: ArrayLike, found: ArrayLike) -> float:
    """Returns the largest difference between the two cumulative distributions at the edges between the bins.

    Between the edges it may be larger: this is the least that it can be. Arguments as above.
    """
    return float(np.abs(np.cumsum(np.subtract(found, expected))[:-1]).max())


def _compared(model: Model, window: NDArray[np.float64]) -> Iterator[tuple[str, Histogram, NDArray[np.float64]]]:
    """The features that enough of the answers have, each with its reference and the shares found in its bins."""
    assert model.info.reference is not None  # noqa: S101
    for feature, histogram in model.info.reference.features.items():
        if feature not in FEATURES:
            continue
        values = window[:, FEATURES.index(feature)]
        values = values[np.isfinite(values)]
        if len(values) >= ENOUGH:
            bins = np.searchsorted(histogram.edges, values, side="right")
            yield feature, histogram, np.bincount(bins, minlength=len(histogram.shares)) / len(values)
