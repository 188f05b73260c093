import numpy as np
import pytest

from canicor.bundle import Limits, ModelKind
from canicor.model_input import Placement
from canicor.vhs import HeartSize
from services.classifier.answer import PHANTOM_NOTICE, Output, ReferralReason, answer, notices, vhs_probabilities
from tests.toy_models import info

SAME = Placement((1.0, 1.0), (0.0, 0.0))
SQUARE = (1.0, 1.0)


def points(vhs: float) -> Output:
    """Key points with this VHS, half of it on each axis, one pixel a vertebra."""
    half = vhs / 2
    xy = np.array([[0, 0], [0, half], [0, 3], [half, 3], [0, 0], [6, 0]], np.float32)
    return Output(key_points=xy, peaks=np.full(6, 0.5, np.float32))


def reasons(output: Output, **bundle: object) -> list[ReferralReason]:
    return [one.reason for one in answer(output, info(**bundle), SAME, SQUARE).referrals]


@pytest.mark.parametrize(
    ("vhs", "size"), [(7.0, HeartSize.SMALL), (9.0, HeartSize.NORMAL), (11.0, HeartSize.LARGE)]
)
def test_class_follows_from_the_points(vhs: float, size: HeartSize) -> None:
    said = answer(points(vhs), info(), SAME, SQUARE)
    assert said.heart_size is size
    assert said.prediction_set == (size,)
    assert said.referrals == ()


def test_pixels_that_are_not_square_are_measured_in_millimetres() -> None:
    xy = np.array([[0, 0], [0, 2.5], [0, 3], [4, 3], [0, 0], [6, 0]], np.float32)
    said = answer(Output(key_points=xy, peaks=np.ones(6, np.float32)), info(), SAME, (2.0, 1.0))
    assert said.measurement is not None
    assert said.measurement.vhs == pytest.approx(9)


@pytest.mark.parametrize(("half_width", "near"), [(0.29, False), (0.31, True)])
def test_near_threshold_exactly_where_the_interval_crosses_it(half_width: float, near: bool) -> None:
    assert reasons(points(8.5), vhs_half_width=half_width) == ([ReferralReason.NEAR_THRESHOLD] if near else [])


def test_a_wide_interval_holds_all_classes() -> None:
    assert answer(points(9.1), info(vhs_half_width=1.5), SAME, SQUARE).prediction_set == tuple(HeartSize)


@pytest.mark.parametrize(("limit", "referred"), [(0.49, False), (0.5, False), (0.51, True)])
def test_weak_peaks_are_out_of_distribution(limit: float, referred: bool) -> None:
    expected = [ReferralReason.OUT_OF_DISTRIBUTION] if referred else []
    assert reasons(points(9), limits=Limits(min_peak=limit)) == expected


@pytest.mark.parametrize(("vhs", "referred"), [(3.9, True), (4.1, False), (19.9, False), (20.1, True)])
def test_no_dog_has_such_a_heart(vhs: float, referred: bool) -> None:
    assert reasons(points(vhs)) == ([ReferralReason.IMPLAUSIBLE_VHS] if referred else [])


@pytest.mark.parametrize("xy", [np.ones((6, 2)), np.full((6, 2), np.nan)], ids=["coincide", "NaN"])
def test_points_that_measure_nothing(xy: np.ndarray) -> None:
    said = answer(Output(key_points=xy.astype(np.float32), peaks=np.ones(6, np.float32)), info(), SAME, SQUARE)
    assert said.heart_size is None
    assert [one.reason for one in said.referrals] == [ReferralReason.IMPLAUSIBLE_KEY_POINTS]


def test_probabilities_follow_from_the_error() -> None:
    small, normal, large = vhs_probabilities(8.2, 0.3)
    assert small == pytest.approx(0.5)
    assert small + normal + large == pytest.approx(1)
    assert vhs_probabilities(8.5, 0.3)[0] == pytest.approx(0.158655, abs=1e-5)  # one standard deviation
    assert vhs_probabilities(8.2, 0) == (0, 1, 0)


@pytest.mark.parametrize(("limit", "referred"), [(0.69, False), (0.71, True)])
def test_low_confidence_of_a_class_model(limit: float, referred: bool) -> None:
    output = Output(probabilities=np.array([0.1, 0.7, 0.2], np.float32))
    found = reasons(output, kind=ModelKind.CLASSIFIER, limits=Limits(min_probability=limit), set_probability=0.6)
    assert found == ([ReferralReason.LOW_CONFIDENCE] if referred else [])


@pytest.mark.parametrize(
    ("enough", "expected"),
    [
        (0.69, (HeartSize.NORMAL,)),
        (0.89, (HeartSize.NORMAL, HeartSize.LARGE)),
        (0.95, (HeartSize.SMALL, HeartSize.NORMAL, HeartSize.LARGE)),
    ],
)
def test_prediction_set_of_a_class_model(enough: float, expected: tuple[HeartSize, ...]) -> None:
    output = Output(probabilities=np.array([0.1, 0.7, 0.2], np.float32))
    said = answer(output, info(ModelKind.CLASSIFIER, set_probability=enough), SAME, SQUARE)
    assert said.prediction_set == expected
    assert said.heart_size is HeartSize.NORMAL


def test_only_phantoms_are_named_as_such() -> None:
    assert PHANTOM_NOTICE in notices(info(training_origins=("phantom",)))
    assert PHANTOM_NOTICE not in notices(info(training_origins=("phantom", "real")))
