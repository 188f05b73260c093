"""What speaks against an image, in sentences, and what follows from it."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

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
    for score, code, lowest, highest, sentence in _gates(limits):
        value = scores.get(score)
        # Written so that a NaN is found too.
        if value is not None and not lowest <= value <= highest:
            yield Finding(code, sentence.format(value))


def duplicate(index: int, bits: int) -> Finding:
    """What is said of an image that shows what the one at an earlier index shows."""
    return Finding(
        Code.DUPLICATE, f"It shows what image {index} shows: their fingerprints differ in {bits} of 256 bits."
    )


def _gates(limits: CurationSettings) -> Iterator[tuple[str, Code, float, float, str]]:
    """Yields score, code, lowest and highest that may stand, and what is said of others."""
    most = float("inf")
    contrast = limits.curation_least_contrast
    yield (
        "contrast",
        Code.EMPTY,
        contrast,
        most,
        f"Its grey levels deviate by {{:.1f}} of 255 from their mean: at least {contrast:g} show something.",
    )
    darkest, brightest = limits.curation_darkest, limits.curation_brightest
    yield (
        "mean_grey",
        Code.EXPOSURE,
        darkest,
        brightest,
        f"Its mean grey level is {{:.0f}}: {darkest:g} to {brightest:g} are usual.",
    )
    for colour, limit in (("black", limits.curation_most_black), ("white", limits.curation_most_white)):
        sentence = f"{{:.0%}} of its pixels are {colour}: {limit:.0%} may be."
        yield f"{colour}_share", Code.CLIPPED, 0.0, limit, sentence
    sharp = limits.curation_least_sharpness
    yield (
        "sharpness",
        Code.BLURRED,
        sharp,
        most,
        f"Its sharpness is {{:.3f}}: at least {sharp:g} is sharp, 0.5 is all slopes.",
    )
    peak = limits.curation_least_peak
    yield (
        "lowest_peak",
        Code.NO_HEART,
        peak,
        most,
        f"A key point is seen with a peak of {{:.2f}} only: {peak:g} is the least.",
    )
    distance = limits.curation_most_distance
    yield (
        "distance",
        Code.UNUSUAL,
        0.0,
        distance,
        f"It lies {{:.1f}} limits away from what the reading model learnt from: {distance:g} is the most.",
    )
    apart = limits.curation_most_disagreement
    yield (
        "disagreement",
        Code.UNSURE,
        0.0,
        apart,
        f"Two passes place the points {{:.2f}} vertebrae apart: {apart:g} is the most.",
    )
    smallest, largest = limits.curation_least_vhs, limits.curation_most_vhs
    yield (
        "vhs",
        Code.VHS,
        smallest,
        largest,
        f"Its VHS is read as {{:.1f}}: dogs have {smallest:g} to {largest:g}.",
    )
