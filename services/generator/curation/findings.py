"""What speaks against an image, in sentences, and what follows from it."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from math import inf
from typing import NamedTuple

from services.generator.curation.settings import CurationSettings


class Code(StrEnum):
    """What is found."""

    EMPTY = "EMPTY"
    """It shows nothing, or is no grey image."""
    EXPOSURE = "EXPOSURE"
    """It is too dark or too bright."""
    CLIPPED = "CLIPPED"
    """Too much of it is black or white."""
    BLURRED = "BLURRED"
    COPY = "COPY"
    """It shows a radiograph of the reference: a patient's image came back."""
    DUPLICATE = "DUPLICATE"
    """It shows what an earlier image of the batch shows."""
    NO_HEART = "NO_HEART"
    """The reading model finds a point nowhere."""
    UNUSUAL = "UNUSUAL"
    """It is like nothing that the reading model learnt from."""
    UNSURE = "UNSURE"
    """The reading model finds other points in the same image made smaller."""
    VHS = "VHS"
    """The heart has a size that no dog's has."""
    ANATOMY = "ANATOMY"
    """The heart lies where, or is shaped as, no dog's is."""


class Verdict(StrEnum):
    """What becomes of an image."""

    ACCEPTED = "ACCEPTED"
    DOUBTFUL = "DOUBTFUL"
    """A person should look at it."""
    REJECTED = "REJECTED"
    """Whoever looks, it is of no use, or must not be used."""


_REJECTED = frozenset({Code.EMPTY, Code.COPY, Code.DUPLICATE})


@dataclass(frozen=True)
class Finding:
    """What speaks against an image.

    Attributes:
        code: For programs.
        message: A sentence: what was measured, and what would be right.
    """

    code: Code
    message: str


class _Gate(NamedTuple):
    """A score, the lowest and highest that may stand, and what others mean."""

    score: str
    code: Code
    limits: Callable[[CurationSettings], tuple[float, float]]
    sentence: str


_GATES = (
    _Gate(
        "contrast",
        Code.EMPTY,
        lambda limits: (limits.curation_least_contrast, inf),
        "Its grey levels deviate by {value:.1f} of 255 from their mean: at least {lowest:g} show something.",
    ),
    _Gate(
        "mean_grey",
        Code.EXPOSURE,
        lambda limits: (limits.curation_darkest, limits.curation_brightest),
        "Its mean grey level is {value:.0f}: {lowest:g} to {highest:g} are usual.",
    ),
    _Gate(
        "black_share",
        Code.CLIPPED,
        lambda limits: (0.0, limits.curation_most_black),
        "{value:.0%} of its pixels are black: {highest:.0%} may be.",
    ),
    _Gate(
        "white_share",
        Code.CLIPPED,
        lambda limits: (0.0, limits.curation_most_white),
        "{value:.0%} of its pixels are white: {highest:.0%} may be.",
    ),
    _Gate(
        "sharpness",
        Code.BLURRED,
        lambda limits: (limits.curation_least_sharpness, inf),
        "Its sharpness is {value:.3f}: at least {lowest:g} is sharp, 0.5 is all slopes.",
    ),
    _Gate(
        "lowest_peak",
        Code.NO_HEART,
        lambda limits: (limits.curation_least_peak, inf),
        "A key point is seen with a peak of {value:.2f} only: {lowest:g} is the least.",
    ),
    _Gate(
        "distance",
        Code.UNUSUAL,
        lambda limits: (0.0, limits.curation_most_distance),
        "It lies {value:.1f} limits away from what the reading model learnt from: {highest:g} is the most.",
    ),
    _Gate(
        "disagreement",
        Code.UNSURE,
        lambda limits: (0.0, limits.curation_most_disagreement),
        "Two passes place the points {value:.2f} vertebrae apart: {highest:g} is the most.",
    ),
    _Gate(
        "vhs",
        Code.VHS,
        lambda limits: (limits.curation_least_vhs, limits.curation_most_vhs),
        "Its VHS is read as {value:.1f}: dogs have {lowest:g} to {highest:g}.",
    ),
)


def verdict(findings: Iterable[Finding]) -> Verdict:
    """Returns what becomes of an image with these findings."""
    codes = {finding.code for finding in findings}
    if codes & _REJECTED:
        return Verdict.REJECTED
    return Verdict.DOUBTFUL if codes else Verdict.ACCEPTED


def findings(scores: Mapping[str, float], limits: CurationSettings) -> Iterator[Finding]:
    """Yields what scores beyond the limits say; a score that was not taken says nothing.

    Args:
        scores: As `Examination.scores`.
        limits: What they are held to.
    """
    for gate in _GATES:
        value = scores.get(gate.score)
        lowest, highest = gate.limits(limits)
        # Written so that a NaN is found too.
        if value is not None and not lowest <= value <= highest:
            yield Finding(gate.code, gate.sentence.format(value=value, lowest=lowest, highest=highest))


def duplicate(index: int, bits: int) -> Finding:
    """What is said of an image that shows what the one at an earlier index shows."""
    return Finding(
        Code.DUPLICATE, f"It shows what image {index} shows: their fingerprints differ in {bits} of 256 bits."
    )
