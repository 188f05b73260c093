"""What is stated as 90 % holds for 90 % of new images."""

import numpy as np
import pytest
from scipy.special import softmax

from training import calibration


def test_the_conformal_quantile_is_the_rank_that_the_theory_names() -> None:
    # ceil(0.9 x (99 + 1)) = 90th of 99; with 5 scores the rank is beyond the last one.
    assert calibration.conformal_quantile(np.arange(1.0, 100.0)[::-1]) == 90.0
    assert calibration.conformal_quantile(np.arange(5.0)) == 4.0


def drawn(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities [count, 3] and classes drawn from them."""
    probabilities = softmax(rng.normal(0, 1.5, (count, 3)), axis=1)
    classes = (probabilities.cumsum(axis=1) < rng.random((count, 1))).sum(axis=1)
    return probabilities, classes


def test_prediction_sets_cover_what_they_state() -> None:
    rng = np.random.default_rng(0)
    needed = calibration.set_probability(*drawn(rng, 4000))
    probabilities, classes = drawn(rng, 20000)
    order = np.argsort(-probabilities, axis=1)
    best_first = np.take_along_axis(probabilities, order, axis=1)
    in_set = best_first.cumsum(axis=1) - best_first < needed
    covered = (in_set & (order == classes[:, np.newaxis])).any(axis=1).mean()
    assert covered >= 0.885
    assert in_set.sum(axis=1).mean() < 2.5


def test_the_temperature_undoes_overconfidence() -> None:
    probabilities, classes = drawn(np.random.default_rng(1), 5000)
    assert calibration.fit_temperature(3.0 * np.log(probabilities), classes) == pytest.approx(3.0, rel=0.1)


def test_nearly_all_validation_images_pass_the_peak_limit() -> None:
    peaks = np.random.default_rng(2).random((500, 6))
    assert (peaks.min(axis=1) >= calibration.smallest_peak(peaks)).mean() == pytest.approx(0.99, abs=0.002)
