"""Figures against ones worked out by hand."""

import hashlib

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, balanced_accuracy_score, cohen_kappa_score, f1_score

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
    metrics = key_point_metrics(labelled, found, sigma=0.5, seed=0)
    assert metrics["vhs_mae"].value == pytest.approx(0.5 / 4, abs=1e-5)
    assert metrics["key_point_distance"].value == pytest.approx(0.5 / 6 / 4, abs=1e-5)
    assert metrics["accuracy"].value == pytest.approx(0.75)
    assert metrics["accuracy_small"].value == pytest.approx(0.5)
    assert metrics["accuracy_small"].count == 2
    assert metrics["accuracy_large"].value == 1.0
    assert metrics["vhs_bias"].value == pytest.approx(0.5 / 4, abs=1e-5)
    # Errors 0, 0.5, 0, 0: their standard deviation is 0.5 sqrt(3) / 4.
    spread = 1.96 * 0.5 * 3**0.5 / 4
    limits = [metrics[f"vhs_limit_{end}"].value for end in ("lower", "upper")]
    assert limits == pytest.approx([0.125 - spread, 0.125 + spread], abs=1e-4)
    # Only 8.0 lies within half a vertebra of a threshold.
    assert metrics["vhs_mae_near_8_2"].value == pytest.approx(0.5, abs=1e-5)
    assert "vhs_mae_near_10" not in metrics
    assert metrics["accuracy_near_thresholds"].value == 0.0


def test_class_figures_are_those_of_scikit_learn() -> None:
    rng = np.random.default_rng(3)
    labelled = images(rng.uniform(7.0, 12.0, 60).tolist())
    said = np.where(rng.random(60) < 0.7, labelled.classes, rng.integers(0, 3, 60))
    metrics = class_metrics(labelled, said, np.full(60, 0.7), seed=0)
    wanted = {
        "accuracy": accuracy_score(labelled.classes, said),
        "balanced_accuracy": balanced_accuracy_score(labelled.classes, said),
        "macro_f1": f1_score(labelled.classes, said, average="macro"),
        "quadratic_kappa": cohen_kappa_score(labelled.classes, said, weights="quadratic"),
        "calibration_error": abs(accuracy_score(labelled.classes, said) - 0.7),
    }
    for name, value in wanted.items():
        assert metrics[name].value == pytest.approx(value)
        assert metrics[name].lower < value < metrics[name].upper


def test_the_calibration_error_weighs_each_bin_by_its_images() -> None:
    labelled = images([9.0] * 10)
    said = np.array([1] * 6 + [0] * 4)
    confidence = np.array([0.95] * 4 + [0.55] * 6)
    # Above 0.9: four right of four; below: two right of six.
    wanted = 0.4 * (1.0 - 0.95) + 0.6 * (0.55 - 2 / 6)
    assert class_metrics(labelled, said, confidence, seed=0)["calibration_error"].value == pytest.approx(wanted)


def test_a_class_without_images_has_no_figure() -> None:
    labelled = images([9.0, 9.4])
    metrics = class_metrics(labelled, np.array([1, 2]), np.array([0.9, 0.9]), seed=0)
    assert "accuracy_normal" in metrics
    assert not {"accuracy_small", "accuracy_large"} & metrics.keys()
    assert metrics["accuracy"].value == metrics["balanced_accuracy"].value == 0.5
    assert HEART_SIZES[1] is HeartSize.NORMAL


def test_one_class_alone_has_no_kappa() -> None:
    metrics = class_metrics(images([9.0, 9.4]), np.array([1, 1]), np.array([0.9, 0.9]), seed=0)
    assert "quadratic_kappa" not in metrics
    assert metrics["macro_f1"].value == 1.0


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
