"""Histograms against ones worked out by hand."""

import numpy as np
import pytest

from canicor.monitoring import FEATURES, output_features
from canicor.vhs import HeartSize
from training.dataset import Images
from training.reference import histogram, reference


def test_a_tenth_lies_in_each_bin() -> None:
    found = histogram(np.random.default_rng(0).permutation(np.arange(100.0)))
    # A value on an edge lies above it.
    assert found.edges == pytest.approx((9, 19, 29, 39, 49, 59, 69, 79, 89))
    assert found.shares == pytest.approx((0.09, *[0.1] * 8, 0.11))


def test_a_constant_has_a_bin_of_its_own() -> None:
    found = histogram(np.full(50, 1.28))
    assert found.edges == (1.28, np.nextafter(1.28, 2))
    assert found.shares == (0, 1, 0)


def test_three_classes_have_a_bin_each() -> None:
    found = histogram(np.array([0.0] * 20 + [1.0] * 50 + [2.0] * 30))
    bins = [np.searchsorted(found.edges, place, side="right") for place in (0, 1, 2)]
    assert [found.shares[one] for one in bins] == [0.2, 0.5, 0.3]


def test_few_values_make_fewer_bins() -> None:
    assert sum(histogram(np.array([3.0, 1.0])).shares) == 1
    assert sum(histogram(np.array([3.0])).shares) == 1


def test_a_feature_that_no_answer_has_is_left_out() -> None:
    features = np.random.default_rng(0).random((20, 6))
    images = Images((), np.zeros((20, 64, 64), np.uint8), (), np.zeros((20, 6, 2)), np.zeros(20), features)
    answers = [output_features(HeartSize.NORMAL, 0.9, distance=one) for one in np.linspace(5, 9, 20)]
    found = reference(images, answers)
    assert found.count == 20
    assert set(found.features) == set(FEATURES) - {"vhs", "lowest_peak"}
    assert found.features["heart_size"].shares == (0, 1, 0)
