"""Figures against ones worked out by hand."""

import hashlib

import numpy as np
import pytest

from canicor.manifest import Origin, Row
from canicor.model_input import Placement
from canicor.vhs import HEART_SIZES, HeartSize, KeyPoints, measure
from training.dataset import Images
from training.evaluation import class_metrics, key_point_metrics, mean_with_interval, share_with_interval


def points_of(vhs: float) -> list[list[float]]:
    """A ruler of 120 pixels, so a vertebra is 20; the long axis is 5 vertebrae, the short one the rest."""
    return [[50, 50], [50, 150], [0, 100], [20 * (vhs - 5), 100], [40, 20], [160, 20]]


def images(vhs: list[float]) -> Images:
    """Radiographs twice as large as the input."""
    rows = []
    for number, one in enumerate(vhs):
        key_points = KeyPoints.from_array(points_of(one))
        measured = measure(key_points)
        name = f"dog-{number}"
        sha256 = hashlib.sha256(name.encode()).hexdigest()
        origin, size = Origin.PHANTOM, measured.heart_size
        rows.append(Row("", sha256, origin, "", 0, 0, name, "test", key_points, 1.0, measured.vhs, size, "", ""))
    placement = Placement((0.5, 0.5), (0.0, 0.0))
    return Images(
        rows=tuple(rows),
        pixels=np.zeros((len(rows), 96, 128), dtype=np.uint8),
        placements=(placement,) * len(rows),
        points=np.array([placement.to_input(row.key_points.xy) for row in rows], dtype=np.float32),
        classes=np.array([HEART_SIZES.index(row.heart_size) for row in rows]),
        features=np.zeros((len(rows), 6)),
    )


def test_key_point_figures_are_those_worked_out_by_hand() -> None:
    labelled = images([7.0, 8.0, 9.0, 11.0])
    found = labelled.points.copy()
    # D of the second: 10 radiograph pixels = half a vertebra further right, VHS 8.5 instead of 8: Normal.
    found[1, 3, 0] += 5
    metrics = key_point_metrics(labelled, found, seed=0)
    assert metrics["vhs_mae"].value == pytest.approx(0.5 / 4, abs=1e-5)
    assert metrics["key_point_distance"].value == pytest.approx(0.5 / 6 / 4, abs=1e-5)
    assert metrics["accuracy"].value == pytest.approx(0.75)
    assert metrics["accuracy_small"].value == pytest.approx(0.5)
    assert metrics["accuracy_small"].count == 2
    assert metrics["accuracy_large"].value == 1.0


def test_a_class_without_images_has_no_figure() -> None:
    labelled = images([9.0, 9.5])
    metrics = class_metrics(labelled, np.array([1, 2]), seed=0)
    assert metrics.keys() == {"accuracy", "accuracy_normal"}
    assert metrics["accuracy"].value == 0.5
    assert HEART_SIZES[1] is HeartSize.NORMAL


def test_the_interval_of_a_share_is_that_of_the_binomial() -> None:
    values = np.array([1.0] * 320 + [0.0] * 80)
    metric = mean_with_interval(values, [str(i) for i in range(400)], seed=0)
    # 0.8 -+ 1.96 sqrt(0.8 x 0.2 / 400)
    assert (metric.lower, metric.upper) == pytest.approx((0.761, 0.839), abs=0.005)
    assert (metric.value, metric.count) == (pytest.approx(0.8), 400)


def test_ten_images_of_one_dog_count_as_one() -> None:
    values = np.repeat([1.0] * 32 + [0.0] * 8, 10)
    dogs = [str(i // 10) for i in range(400)]
    metric = mean_with_interval(values, dogs, seed=0)
    # 0.8 -+ 1.96 sqrt(0.8 x 0.2 / 40)
    assert (metric.lower, metric.upper) == pytest.approx((0.676, 0.924), abs=0.03)


def test_a_share_of_all_has_a_width_too() -> None:
    # Wilson: for n of n the lower end is n / (n + 1.96^2).
    metric = share_with_interval(np.ones(50, dtype=bool))
    assert (metric.value, metric.upper, metric.count) == (1, 1, 50)
    assert metric.lower == pytest.approx(50 / (50 + 1.96**2), abs=1e-4)
