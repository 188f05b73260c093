"""From a model's output to an answer: class, probabilities, prediction set, VHS, and whether it may stand."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from canicor.bundle import BundleInfo
from canicor.model_input import Prepared
from canicor.morphometry import implausible
from canicor.vhs import (
    BAND_NOTICE,
    HEART_SIZES,
    PLAUSIBLE_VHS,
    DegenerateKeyPoints,
    HeartSize,
    KeyPoints,
    Measurement,
    class_probabilities,
    measure,
)

NOT_CLEARED_NOTICE = "Not cleared for diagnosis: a veterinarian must judge the radiograph."
PHANTOM_NOTICE = "This model was trained on phantoms, not on radiographs of dogs."


class ReferralReason(StrEnum):
    """Why an answer is referred to a person."""

    LOW_CONFIDENCE = "LOW_CONFIDENCE"
    NEAR_THRESHOLD = "NEAR_THRESHOLD"
    MODELS_DISAGREE = "MODELS_DISAGREE"
    OUT_OF_DISTRIBUTION = "OUT_OF_DISTRIBUTION"
    IMPLAUSIBLE_KEY_POINTS = "IMPLAUSIBLE_KEY_POINTS"
    IMPLAUSIBLE_VHS = "IMPLAUSIBLE_VHS"


@dataclass(frozen=True)
class Output:
    """What the graph said of one image; what it does not give is None.

    Attributes:
        probabilities: float32 [3], Small, Normal, Large.
        key_points: float32 [6, 2] in pixels of the model's input.
        peaks: float32 [6], 0 to 1.
        distance: float32 [], in standard deviations.
        heat_map: float32 [rows, columns], 0 to 1, where it was asked for.
    """

    probabilities: NDArray[np.float32] | None = None
    key_points: NDArray[np.float32] | None = None
    peaks: NDArray[np.float32] | None = None
    distance: NDArray[np.float32] | None = None
    heat_map: NDArray[np.float32] | None = None


@dataclass(frozen=True)
class Referral:
    """One reason to refer, with its figures in one or more sentences."""

    reason: ReferralReason
    message: str


@dataclass(frozen=True)
class Answer:
    """What is said of one radiograph.

    Attributes:
        heart_size: None where key points were found that span no axis.
        probabilities: Of Small, Normal, Large; they sum to 1.
        prediction_set: Classes that can't be excluded at the bundle's coverage.
        measurement: Where the model gives key points that can be measured.
        vhs_interval: Lower and upper end around the VHS at the bundle's coverage.
        key_points: In pixels of the radiograph.
        referrals: Empty where the answer may stand.
    """

    heart_size: HeartSize | None
    probabilities: tuple[float, float, float] | None
    prediction_set: tuple[HeartSize, ...]
    measurement: Measurement | None
    vhs_interval: tuple[float, float] | None
    key_points: KeyPoints | None
    referrals: tuple[Referral, ...]

    @property
    def probability(self) -> float | None:
        """Of the class."""
        if self.heart_size is None or self.probabilities is None:
            return None
        return self.probabilities[HEART_SIZES.index(self.heart_size)]


def answer(output: Output, info: BundleInfo, radiograph: Prepared) -> Answer:
    """Reads a model's output by its bundle's rules.

    A figure that is no number is beyond its limit.

    Args:
        output: What the graph said.
        info: The bundle's intervals and limits.
        radiograph: The one that was asked about, as the model took it.
    """
    unfamiliar = [*_far(output, info), *_weak(output, info)]
    if output.key_points is None:
        assert output.probabilities is not None  # noqa: S101
        return _from_probabilities(output.probabilities, info, unfamiliar)
    try:
        key_points = KeyPoints.from_array(radiograph.placement.to_radiograph(output.key_points.astype(np.float64)))
        measurement = measure(key_points, radiograph.pixel_aspect)
    except DegenerateKeyPoints as error:
        referral = Referral(ReferralReason.IMPLAUSIBLE_KEY_POINTS, error.message)
        return Answer(None, None, (), None, None, None, (*unfamiliar, referral))
    strange = [*unfamiliar, *_misplaced(key_points, radiograph), *_impossible(measurement.vhs)]
    return _from_measurement(measurement, key_points, info, strange)


def notices(info: BundleInfo) -> list[str]:
    """Returns what a person must be told with every answer of a model."""
    only_phantoms = set(info.training_origins) == {"phantom"}
    return [NOT_CLEARED_NOTICE, *([PHANTOM_NOTICE] if only_phantoms else []), BAND_NOTICE]


def disagreement(measured: Answer, classified: Answer) -> Referral | None:
    """Returns the reason to refer where two models contradict each other about one radiograph.

    They do where no class is in both prediction sets: then one of the two is wrong about what it excludes. That
    each names another class is not enough. Where one's set holds the other's class too, it says itself that it
    can't tell the two apart, and what it can't exclude is no objection.

    Args:
        measured: The key-point model's answer.
        classified: The class model's.

    Returns:
        None also where the key points could not be measured: that is a reason of its own.
    """
    nothing_to_compare = not measured.prediction_set or not classified.prediction_set
    if nothing_to_compare or set(measured.prediction_set) & set(classified.prediction_set):
        return None
    assert measured.measurement is not None  # noqa: S101
    assert measured.vhs_interval is not None  # noqa: S101
    lower, upper = measured.vhs_interval
    message = (
        f"The key-point model says {measured.heart_size} (VHS {measured.measurement.vhs:.1f}, "
        f"{lower:.1f} to {upper:.1f}), the class model {classified.heart_size} "
        f"(probability {classified.probability:.2f}): each excludes what the other says."
    )
    return Referral(ReferralReason.MODELS_DISAGREE, message)


def _from_probabilities(values: NDArray[np.float32], info: BundleInfo, strange: list[Referral]) -> Answer:
    small, normal, large = (values.astype(np.float64) / values.sum(dtype=np.float64)).tolist()
    by_size = dict(zip(HEART_SIZES, (small, normal, large), strict=True))
    best = max(by_size, key=by_size.__getitem__)
    prediction_set = _prediction_set(by_size, info.set_probability)
    referrals = [*strange, *_uncertain(by_size[best], info), *_ambiguous(prediction_set, info)]
    return Answer(best, (small, normal, large), prediction_set, None, None, None, tuple(referrals))


def _from_measurement(
    measurement: Measurement, key_points: KeyPoints, info: BundleInfo, strange: list[Referral]
) -> Answer:
    vhs, size = measurement.vhs, measurement.heart_size
    probabilities = class_probabilities(vhs, info.vhs_sigma)
    by_size = dict(zip(HEART_SIZES, probabilities, strict=True))
    prediction_set = _prediction_set(by_size, info.set_probability)
    interval = (vhs - info.vhs_half_width, vhs + info.vhs_half_width)
    referrals = [*strange, *_uncertain(by_size[size], info), *_ambiguous(prediction_set, info)]
    return Answer(size, probabilities, prediction_set, measurement, interval, key_points, tuple(referrals))


def _prediction_set(by_size: dict[HeartSize, float], limit: float) -> tuple[HeartSize, ...]:
    """Each class where those likelier than it have at most `limit` together; of equals, both or neither."""

    def likelier(size: HeartSize) -> float:
        # Rounding may carry the sum beyond 1, where a limit of 1 lets every class in.
        return min(1.0, sum(probability for probability in by_size.values() if probability > by_size[size]))

    return tuple(size for size in HEART_SIZES if not likelier(size) > limit)


def _far(output: Output, info: BundleInfo) -> Iterator[Referral]:
    limit = info.limits.max_distance
    if limit is None or output.distance is None or output.distance <= limit:
        return
    yield Referral(
        ReferralReason.OUT_OF_DISTRIBUTION,
        f"The picture lies {output.distance:.1f} standard deviations from those that the model knows, beyond its "
        f"limit of {limit:.1f}: perhaps it shows no lateral thorax of a dog.",
    )


def _weak(output: Output, info: BundleInfo) -> Iterator[Referral]:
    if output.peaks is None or (peak := float(output.peaks.min())) >= info.limits.min_peak:
        return
    limit = info.limits.min_peak
    message = f"A key point was found with a strength of {peak:.3f}, below the model's limit of {limit:.3f}."
    yield Referral(ReferralReason.OUT_OF_DISTRIBUTION, message)


def _misplaced(key_points: KeyPoints, radiograph: Prepared) -> Iterator[Referral]:
    height, width = radiograph.received
    outside = key_points.outside(width, height)
    sentences = [f"{name} lies outside the radiograph." for name in outside]
    sentences += implausible(key_points, radiograph.pixel_aspect)
    if sentences:
        yield Referral(ReferralReason.IMPLAUSIBLE_KEY_POINTS, " ".join(sentences))


def _impossible(vhs: float) -> Iterator[Referral]:
    lowest, highest = PLAUSIBLE_VHS
    if not lowest <= vhs <= highest:
        message = f"A VHS of {vhs:.1f} lies outside {lowest:g} to {highest:g}: no dog's heart does."
        yield Referral(ReferralReason.IMPLAUSIBLE_VHS, message)


def _uncertain(probability: float, info: BundleInfo) -> Iterator[Referral]:
    limit = info.limits.min_probability
    if not probability >= limit:
        message = f"The class has a probability of {probability:.3f}, below the model's limit of {limit:.3f}."
        yield Referral(ReferralReason.LOW_CONFIDENCE, message)


def _ambiguous(prediction_set: tuple[HeartSize, ...], info: BundleInfo) -> Iterator[Referral]:
    if len(prediction_set) > 1:
        message = f"At {info.coverage:.0%} coverage, {' and '.join(prediction_set)} can't be told apart."
        yield Referral(ReferralReason.NEAR_THRESHOLD, message)
