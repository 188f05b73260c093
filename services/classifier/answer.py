"""From a model's output to an answer: class, probabilities, prediction set, VHS, and whether it may stand."""

from dataclasses import dataclass
from enum import StrEnum
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from canicor.bundle import BundleInfo
from canicor.model_input import Placement
from canicor.vhs import (
    BAND_NOTICE,
    HEART_SIZES,
    LARGE_ABOVE,
    PLAUSIBLE_VHS,
    SMALL_BELOW,
    DegenerateKeyPoints,
    HeartSize,
    KeyPoints,
    Measurement,
    heart_size,
    measure,
)

NOT_CLEARED_NOTICE = "Not cleared for diagnosis: a veterinarian must judge the radiograph."
PHANTOM_NOTICE = "This model was trained on phantoms, not on radiographs of dogs."


class ReferralReason(StrEnum):
    """Why an answer is referred to a person."""

    LOW_CONFIDENCE = "LOW_CONFIDENCE"
    NEAR_THRESHOLD = "NEAR_THRESHOLD"
    OUT_OF_DISTRIBUTION = "OUT_OF_DISTRIBUTION"
    IMPLAUSIBLE_KEY_POINTS = "IMPLAUSIBLE_KEY_POINTS"
    IMPLAUSIBLE_VHS = "IMPLAUSIBLE_VHS"
    MODELS_DISAGREE = "MODELS_DISAGREE"


@dataclass(frozen=True)
class Output:
    """What the graph said of one image; the fields of the other kind are None.

    Attributes:
        probabilities: float32 [3], Small, Normal, Large.
        key_points: float32 [6, 2] in pixels of the model's input.
        peaks: float32 [6], 0 to 1.
    """

    probabilities: NDArray[np.float32] | None = None
    key_points: NDArray[np.float32] | None = None
    peaks: NDArray[np.float32] | None = None


@dataclass(frozen=True)
class Referral:
    """One reason to refer, with its figures in a sentence."""

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
    def confidence(self) -> float | None:
        """The probability of `heart_size`."""
        if self.heart_size is None or self.probabilities is None:
            return None
        return self.probabilities[HEART_SIZES.index(self.heart_size)]


def answer(output: Output, info: BundleInfo, placement: Placement, pixel_aspect: tuple[float, float]) -> Answer:
    """Reads a model's output by its bundle's rules.

    Args:
        output: What the graph said.
        info: The bundle's intervals and limits.
        placement: Where the radiograph lies in the model's input.
        pixel_aspect: (row, column) spacing of the radiograph.
    """
    if output.key_points is None or output.peaks is None:
        assert output.probabilities is not None  # noqa: S101
        return _from_probabilities(output.probabilities, info)
    try:
        key_points = KeyPoints.from_array(placement.to_radiograph(output.key_points.astype(np.float64)))
        measurement = measure(key_points, pixel_aspect)
    except DegenerateKeyPoints as error:
        referral = Referral(ReferralReason.IMPLAUSIBLE_KEY_POINTS, error.message)
        return Answer(None, None, (), None, None, None, (referral,))
    return _from_measurement(measurement, key_points, float(output.peaks.min()), info)


def disagreement(first: Answer, second: Answer) -> Referral | None:
    """Returns the referral where two models give one radiograph different classes."""
    if first.heart_size is None or second.heart_size is None or first.heart_size is second.heart_size:
        return None
    message = f"One model says {first.heart_size}, another {second.heart_size}."
    return Referral(ReferralReason.MODELS_DISAGREE, message)


def notices(info: BundleInfo) -> list[str]:
    """Returns what a person must be told with every answer of a model."""
    only_phantoms = set(info.training_origins) == {"phantom"}
    return [NOT_CLEARED_NOTICE, *([PHANTOM_NOTICE] if only_phantoms else []), BAND_NOTICE]


def _from_probabilities(values: NDArray[np.float32], info: BundleInfo) -> Answer:
    small, normal, large = (values.astype(np.float64) / values.sum(dtype=np.float64)).tolist()
    by_size = dict(zip(HEART_SIZES, (small, normal, large), strict=True))
    best = max(by_size, key=by_size.__getitem__)
    prediction_set = _smallest_set(by_size, info.set_probability)
    referrals = [*_uncertain(by_size[best], info), *_ambiguous(prediction_set, info)]
    return Answer(best, (small, normal, large), prediction_set, None, None, None, tuple(referrals))


def _from_measurement(measurement: Measurement, key_points: KeyPoints, peak: float, info: BundleInfo) -> Answer:
    vhs = measurement.vhs
    probabilities = vhs_probabilities(vhs, info.vhs_sigma)
    lower, upper = vhs - info.vhs_half_width, vhs + info.vhs_half_width
    first, last = HEART_SIZES.index(heart_size(lower)), HEART_SIZES.index(heart_size(upper))
    prediction_set = HEART_SIZES[first : last + 1]
    referrals = [
        *_unfamiliar(peak, info),
        *_implausible(vhs),
        *_uncertain(probabilities[HEART_SIZES.index(measurement.heart_size)], info),
        *_ambiguous(prediction_set, info),
    ]
    return Answer(
        measurement.heart_size,
        probabilities,
        prediction_set,
        measurement,
        (lower, upper),
        key_points,
        tuple(referrals),
    )


def vhs_probabilities(vhs: float, sigma: float) -> tuple[float, float, float]:
    """Returns P(Small), P(Normal), P(Large) where the VHS error is normal with this standard deviation."""
    if sigma == 0:
        small, normal, large = (float(heart_size(vhs) is size) for size in HEART_SIZES)
        return small, normal, large
    error = NormalDist(vhs, sigma)
    below_small, below_large = error.cdf(SMALL_BELOW), error.cdf(LARGE_ABOVE)
    return below_small, below_large - below_small, 1 - below_large


def _smallest_set(by_size: dict[HeartSize, float], enough: float) -> tuple[HeartSize, ...]:
    """The classes, best first, until their probabilities reach `enough`; in the order of the classes."""
    chosen: set[HeartSize] = set()
    total = 0.0
    for size in sorted(by_size, key=by_size.__getitem__, reverse=True):
        chosen.add(size)
        total += by_size[size]
        if total >= enough:
            break
    return tuple(size for size in HEART_SIZES if size in chosen)


def _unfamiliar(peak: float, info: BundleInfo) -> list[Referral]:
    limit = info.limits.min_peak
    if peak >= limit:
        return []
    message = f"A key point was found with a strength of {peak:.3f}, below the model's limit of {limit:.3f}."
    return [Referral(ReferralReason.OUT_OF_DISTRIBUTION, message)]


def _implausible(vhs: float) -> list[Referral]:
    lowest, highest = PLAUSIBLE_VHS
    if lowest <= vhs <= highest:
        return []
    message = f"A VHS of {vhs:.1f} lies outside {lowest:g} to {highest:g}: no dog's heart does."
    return [Referral(ReferralReason.IMPLAUSIBLE_VHS, message)]


def _uncertain(probability: float, info: BundleInfo) -> list[Referral]:
    limit = info.limits.min_probability
    if probability >= limit:
        return []
    message = f"The class has a probability of {probability:.3f}, below the model's limit of {limit:.3f}."
    return [Referral(ReferralReason.LOW_CONFIDENCE, message)]


def _ambiguous(prediction_set: tuple[HeartSize, ...], info: BundleInfo) -> list[Referral]:
    if len(prediction_set) < 2:
        return []
    message = f"At {info.coverage:.0%} coverage, {' and '.join(prediction_set)} can't be told apart."
    return [Referral(ReferralReason.NEAR_THRESHOLD, message)]
