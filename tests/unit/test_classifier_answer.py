"""An answer stands or is referred exactly as its bundle states."""

import numpy as np
import pytest

from canicor.bundle import Limits, ModelKind
from canicor.model_input import Placement, Prepared
from canicor.radiograph import View
from canicor.vhs import HeartSize
from services.classifier.answer import (
    PHANTOM_NOTICE,
    Answer,
    Output,
    Referral,
    ReferralReason,
    answer,
    disagreement,
    notices,
)
from tests.hearts import heart
from tests.toy_models import info

WIDTH, HEIGHT = 640, 480
SAME = Placement((1.0, 1.0), (0.0, 0.0))
CORNER = (150, 80)
"""Where E lies; a vertebra has 30 pixels."""


def radiograph(aspect: tuple[float, float] = (1.0, 1.0), placement: Placement = SAME) -> Prepared:
    return Prepared(np.zeros((HEIGHT, WIDTH), np.uint8), placement, (HEIGHT, WIDTH), aspect, View.UNKNOWN)


def points(xy: np.ndarray, peak: float = 0.5, distance: float | None = None) -> Output:
    distances = None if distance is None else np.float32(distance)
    return Output(key_points=xy.astype(np.float32), peaks=np.full(6, peak, np.float32), distance=distances)


def found(vhs: float = 9.0, **changes: float) -> Output:
    """Key points of a heart with this VHS."""
    return points(heart(vhs) * 30 + CORNER, **changes)


def probabilities(*values: float, distance: float | None = None) -> Output:
    distances = None if distance is None else np.float32(distance)
    return Output(probabilities=np.array(values, np.float32), distance=distances)


def say(output: Output, **bundle: object) -> Answer:
    return answer(output, info(**bundle), radiograph())


def classify(*values: float, **bundle: object) -> Answer:
    return say(probabilities(*values), **{"kind": ModelKind.CLASSIFIER, **bundle})


def reasons(said: Answer) -> list[ReferralReason]:
    return [one.reason for one in said.referrals]


class TestKeyPoints:
    @pytest.mark.parametrize(
        ("vhs", "size"), [(7.0, HeartSize.SMALL), (9.0, HeartSize.NORMAL), (11.0, HeartSize.LARGE)]
    )
    def test_class_follows_from_the_points(self, vhs: float, size: HeartSize) -> None:
        said = say(found(vhs))
        assert said.heart_size is size
        assert said.prediction_set == (size,)
        assert said.referrals == ()

    def test_pixels_that_are_not_square_are_measured_in_millimetres(self) -> None:
        squeezed = points((heart(9) * 30 + CORNER) * (1, 0.5))
        said = answer(squeezed, info(), radiograph((2.0, 1.0)))
        assert said.measurement is not None
        assert said.measurement.vhs == pytest.approx(9)
        assert said.referrals == ()

    @pytest.mark.parametrize(("limit", "near"), [(0.93, False), (0.94, True)])
    def test_near_threshold_exactly_where_the_set_holds_two_classes(self, limit: float, near: bool) -> None:
        # 0.3 above 8.2 at a standard deviation of 0.2: Normal with a probability of 0.933.
        said = say(found(8.5), set_probability=limit)
        assert said.prediction_set == ((HeartSize.SMALL, HeartSize.NORMAL) if near else (HeartSize.NORMAL,))
        assert reasons(said) == ([ReferralReason.NEAR_THRESHOLD] if near else [])

    def test_the_interval_is_as_wide_as_the_bundle_says(self) -> None:
        assert say(found(9.1), vhs_half_width=1.5).vhs_interval == pytest.approx((7.6, 10.6))

    @pytest.mark.parametrize(("vhs", "referred"), [(3.9, True), (4.1, False), (19.9, False), (20.1, True)])
    def test_no_dog_has_such_a_heart(self, vhs: float, referred: bool) -> None:
        said = say(found(vhs))
        assert (ReferralReason.IMPLAUSIBLE_VHS in reasons(said)) is referred

    @pytest.mark.parametrize("xy", [np.ones((6, 2)), np.full((6, 2), np.nan)], ids=["coincide", "NaN"])
    def test_points_that_measure_nothing(self, xy: np.ndarray) -> None:
        said = say(points(xy, peak=0.1), limits=Limits(min_peak=0.2))
        assert said.heart_size is None
        assert said.probability is None
        assert reasons(said) == [ReferralReason.OUT_OF_DISTRIBUTION, ReferralReason.IMPLAUSIBLE_KEY_POINTS]

    @pytest.mark.parametrize(
        ("x", "outside"), [(-0.4, False), (-0.6, True), (WIDTH - 0.6, False), (WIDTH - 0.4, True)]
    )
    def test_a_point_outside_the_radiograph_is_named(self, x: float, outside: bool) -> None:
        xy = heart(9) * 30
        # C is the leftmost of the six, F the rightmost.
        name, outermost = ("F", xy[5, 0]) if x > 100 else ("C", xy[2, 0])
        said = say(points(xy + np.array([x - outermost, 80])))
        expected = [Referral(ReferralReason.IMPLAUSIBLE_KEY_POINTS, f"{name} lies outside the radiograph.")]
        assert list(said.referrals) == (expected if outside else [])

    def test_points_in_the_padding_of_the_input_are_outside(self) -> None:
        said = answer(found(9), info(), radiograph(placement=Placement((1.0, 1.0), (0.0, 100.0))))
        assert reasons(said) == [ReferralReason.IMPLAUSIBLE_KEY_POINTS]

    def test_a_geometry_that_no_dog_has_is_named_with_its_figures(self) -> None:
        said = say(points(heart(9, axis_angle=130, axis_ratio=0.4) * 30 + CORNER))
        (referral,) = said.referrals
        assert referral.reason is ReferralReason.IMPLAUSIBLE_KEY_POINTS
        assert "angle of the long axis to the spine is 130.00 degrees" in referral.message
        assert "short axis over the long axis is 0.40" in referral.message


class TestClasses:
    @pytest.mark.parametrize(("limit", "referred"), [(0.69, False), (0.7, False), (0.71, True)])
    def test_low_confidence(self, limit: float, referred: bool) -> None:
        said = classify(0.1, 0.7, 0.2, limits=Limits(min_probability=limit - 1e-7), set_probability=0.6)
        assert reasons(said) == ([ReferralReason.LOW_CONFIDENCE] if referred else [])

    @pytest.mark.parametrize(
        ("limit", "expected"),
        [
            (0.69, (HeartSize.NORMAL,)),
            (0.7 + 1e-6, (HeartSize.NORMAL, HeartSize.LARGE)),
            (0.89, (HeartSize.NORMAL, HeartSize.LARGE)),
            (0.91, tuple(HeartSize)),
        ],
    )
    def test_prediction_set(self, limit: float, expected: tuple[HeartSize, ...]) -> None:
        said = classify(0.1, 0.7, 0.2, set_probability=limit)
        assert said.prediction_set == expected
        assert said.heart_size is HeartSize.NORMAL
        assert (ReferralReason.NEAR_THRESHOLD in reasons(said)) is (len(expected) > 1)

    def test_equals_are_in_the_set_together(self) -> None:
        assert classify(0.4, 0.4, 0.2, set_probability=0.1).prediction_set == (HeartSize.SMALL, HeartSize.NORMAL)
        assert classify(0.2, 0.6, 0.2, set_probability=0.5).prediction_set == (HeartSize.NORMAL,)

    @pytest.mark.parametrize("values", [(0, 1, 0), (1e-9, 1 - 1e-9, 0), (0.3, 0.4, 0.3)])
    def test_a_limit_of_one_lets_every_class_in(self, values: tuple[float, ...]) -> None:
        assert classify(*values, set_probability=1.0).prediction_set == tuple(HeartSize)

    def test_what_is_no_number_is_referred(self) -> None:
        said = classify(np.nan, np.nan, np.nan)
        assert ReferralReason.LOW_CONFIDENCE in reasons(said)


class TestUnfamiliarPictures:
    @pytest.mark.parametrize(("limit", "referred"), [(0.49, False), (0.5, False), (0.51, True)])
    def test_weak_peaks(self, limit: float, referred: bool) -> None:
        said = say(found(), limits=Limits(min_peak=limit))
        assert reasons(said) == ([ReferralReason.OUT_OF_DISTRIBUTION] if referred else [])

    @pytest.mark.parametrize("kind", ModelKind)
    @pytest.mark.parametrize(("limit", "referred"), [(12.4, True), (12.5, False), (12.6, False)])
    def test_far_from_what_the_model_knows(self, kind: ModelKind, limit: float, referred: bool) -> None:
        key_points = kind is ModelKind.KEYPOINTS
        output = found(distance=12.5) if key_points else probabilities(0.0, 1.0, 0.0, distance=12.5)
        said = say(output, kind=kind, limits=Limits(max_distance=limit))
        assert reasons(said) == ([ReferralReason.OUT_OF_DISTRIBUTION] if referred else [])
        assert all("12.5" in one.message and "12.4" in one.message for one in said.referrals)

    def test_a_distance_that_is_no_number_is_referred(self) -> None:
        said = say(found(distance=np.nan), limits=Limits(max_distance=5))
        assert reasons(said) == [ReferralReason.OUT_OF_DISTRIBUTION]

    def test_without_a_limit_any_distance_stands(self) -> None:
        assert say(found(distance=1e6)).referrals == ()


def test_every_reason_is_given_at_once() -> None:
    said = say(
        points(heart(20.5, axis_angle=130) * 30 + CORNER, peak=0.1, distance=9),
        vhs_half_width=20,
        vhs_sigma=50,
        limits=Limits(min_probability=0.9, min_peak=0.2, max_distance=8),
    )
    assert reasons(said) == [
        ReferralReason.OUT_OF_DISTRIBUTION,
        ReferralReason.OUT_OF_DISTRIBUTION,
        ReferralReason.IMPLAUSIBLE_KEY_POINTS,
        ReferralReason.IMPLAUSIBLE_VHS,
        ReferralReason.LOW_CONFIDENCE,
        ReferralReason.NEAR_THRESHOLD,
    ]


class TestDisagreement:
    def test_two_that_exclude_each_other(self) -> None:
        referral = disagreement(say(found(9.2)), classify(0.01, 0.04, 0.95))
        assert referral == Referral(
            ReferralReason.MODELS_DISAGREE,
            "The key-point model says Normal (VHS 9.2, 8.9 to 9.5), the class model Large (probability 0.95): "
            "each excludes what the other says.",
        )

    def test_the_same_class(self) -> None:
        assert disagreement(say(found(9.2)), classify(0.01, 0.95, 0.04)) is None

    @pytest.mark.parametrize(("limit", "disagree"), [(0.59, True), (0.61, False)])
    def test_one_that_can_not_tell_does_not_contradict(self, limit: float, disagree: bool) -> None:
        classified = classify(0.1, 0.3, 0.6, set_probability=limit)
        assert classified.heart_size is HeartSize.LARGE
        assert (disagreement(say(found(9.2)), classified) is not None) is disagree

    def test_a_measurement_near_the_threshold_does_not_contradict(self) -> None:
        classified = classify(0.01, 0.04, 0.95)
        assert disagreement(say(found(9.9)), classified) is None

    def test_points_that_measure_nothing_are_no_opinion(self) -> None:
        assert disagreement(say(points(np.ones((6, 2)))), classify(0.01, 0.04, 0.95)) is None


def test_only_phantoms_are_named_as_such() -> None:
    assert PHANTOM_NOTICE in notices(info(training_origins=("phantom",)))
    assert PHANTOM_NOTICE not in notices(info(training_origins=("phantom", "real")))
