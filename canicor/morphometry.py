"""How a heart is shaped and where it lies, in vertebral units, and what of it no dog's heart has.

The frame is the spine's: its origin is E, it runs along E-F and to the side of the spine on which the apex lies.
So right and left laterals give the same figures.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from canicor.vhs import VERTEBRAE_SPANNED, KeyPoints

DEVIATIONS = 5
"""How many standard deviations from the mean are still plausible.

Of the 58 hearts none lies beyond 3.4. Five leave room for breeds that are not among them, for a spread that 58
hearts tell to a tenth only, and for the error of a reader or a model; a distribution of any shape has at most 1 in
25 beyond five (Chebyshev), a normal one 1 in 1.7 million. What lies further out is a point put on another organ.
"""


@dataclass(frozen=True)
class Morphometry:
    """Six key points as seen from the spine: angles in degrees, lengths in vertebrae, shares of 1.

    Attributes:
        axis_angle: Of A-B to E-F; below 90 the apex lies caudal.
        axis_ratio: |CD| / |AB|.
        long_crossing: Where the line through C and D crosses A-B, as a share of the way from A; infinite where the
            two are parallel.
        short_crossing: Where the line through A and B crosses C-D, as a share of the way from C; as above.
        carina_along: Of A, caudal to E.
        carina_ventral: Of A, ventral to the line E-F.
        apex_along: Of B.
        apex_ventral: Of B; never negative.
    """

    axis_angle: float
    axis_ratio: float
    long_crossing: float
    short_crossing: float
    carina_along: float
    carina_ventral: float
    apex_along: float
    apex_ventral: float


@dataclass(frozen=True)
class Limits:
    """A figure of `Morphometry`: its name in a sentence, and its mean and standard deviation over dogs."""

    what: str
    mean: float
    deviation: float
    unit: str

    @property
    def lowest(self) -> float:
        """The smallest value that is plausible."""
        return self.mean - DEVIATIONS * self.deviation

    @property
    def highest(self) -> float:
        """The largest."""
        return self.mean + DEVIATIONS * self.deviation

    def sentence(self, value: float) -> str | None:
        """Returns what is wrong with a value; None where it is plausible."""
        if self.lowest <= value <= self.highest:
            return None
        plausible = f"{self.lowest:.2f} to {self.highest:.2f} are plausible in a dog"
        return f"{self.what} is {value:.2f}{self.unit}: {plausible}."


PLAUSIBLE = {
    "axis_angle": Limits("The angle of the long axis to the spine", 79.8, 8.5, " degrees"),
    "axis_ratio": Limits("The short axis over the long axis", 0.90, 0.09, ""),
    "long_crossing": Limits("The share of the long axis at which the short axis crosses it", 0.34, 0.05, ""),
    "short_crossing": Limits("The share of the short axis at which the long axis crosses it", 0.61, 0.05, ""),
    "carina_along": Limits("The carina's distance caudal to T4", 1.48, 0.62, " vertebrae"),
    "carina_ventral": Limits("The carina's distance ventral to the spine", 2.07, 0.45, " vertebrae"),
    "apex_along": Limits("The apex's distance caudal to T4", 2.32, 1.10, " vertebrae"),
    "apex_ventral": Limits("The apex's distance ventral to the spine", 7.04, 1.00, " vertebrae"),
}
"""By figure, from 58 hearts, measured again from the published key points of the CCK overview figure: the priors
of the phantom."""


def morphometry(key_points: KeyPoints, pixel_spacing: tuple[float, float] = (1.0, 1.0)) -> Morphometry:
    """Measures six key points that `canicor.vhs.measure` can measure.

    Args:
        key_points: In pixels of the radiograph as received.
        pixel_spacing: As for `canicor.vhs.measure`.
    """
    row, column = pixel_spacing
    points = key_points.xy * (column, row)
    spine = points[5] - points[4]
    vertebra = float(np.linalg.norm(spine)) / VERTEBRAE_SPANNED
    along = spine / np.linalg.norm(spine)
    ventral = np.array([-along[1], along[0]])
    if (points[1] - points[4]) @ ventral < 0:
        ventral = -ventral
    a, b, c, d = (points[:4] - points[4]) @ np.stack([along, ventral], axis=1) / vertebra
    long_axis, short_axis = b - a, d - c
    return Morphometry(
        axis_angle=float(np.degrees(np.arctan2(long_axis[1], long_axis[0]))),
        axis_ratio=float(np.linalg.norm(short_axis) / np.linalg.norm(long_axis)),
        long_crossing=_crossing(a, long_axis, c, short_axis),
        short_crossing=_crossing(c, short_axis, a, long_axis),
        carina_along=float(a[0]),
        carina_ventral=float(a[1]),
        apex_along=float(b[0]),
        apex_ventral=float(b[1]),
    )


def implausible(key_points: KeyPoints, pixel_spacing: tuple[float, float] = (1.0, 1.0)) -> list[str]:
    """Returns a sentence for each figure that no dog's heart has; none where all are plausible.

    Args:
        key_points: As for `morphometry`.
        pixel_spacing: As for `canicor.vhs.measure`.
    """
    measured = morphometry(key_points, pixel_spacing)
    sentences = (limits.sentence(getattr(measured, figure)) for figure, limits in PLAUSIBLE.items())
    return [sentence for sentence in sentences if sentence]


def _crossing(
    start: NDArray[np.float64], line: NDArray[np.float64], other: NDArray[np.float64], across: NDArray[np.float64]
) -> float:
    """Returns the share of `line`, from `start`, at which the line through `other` along `across` crosses it."""
    parallel = float(line[0] * across[1] - line[1] * across[0])
    if parallel == 0:
        return float("inf")
    gap = other - start
    return float(gap[0] * across[1] - gap[1] * across[0]) / parallel
