"""Six key points -> Vertebral Heart Size -> class.

Source: Buchanan & Bücheler, J Am Vet Med Assoc 206 (1995), for the measure; *Dog Heart X-Ray Classification
using Generated Images* (Kakkar) for the class thresholds, which live here and nowhere else.
"""

from dataclasses import dataclass
from enum import StrEnum
from statistics import NormalDist
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from canicor.errors import InvalidArgument

KEY_POINT_NAMES = ("A", "B", "C", "D", "E", "F")
"""A carina, B apex, C and D ends of the short axis, E cranial edge of T4, F caudal edge of T9."""

VERTEBRAE_SPANNED = 6
"""E to F spans T4 to T9: six vertebrae, the ruler of the measure."""

SMALL_BELOW = 8.2
"""A heart is Small where VHS < 8.2 vertebrae."""

LARGE_ABOVE = 10.0
"""A heart is Large where VHS > 10 vertebrae; 8.2 and 10 themselves are Normal."""

PLAUSIBLE_VHS = (4.0, 20.0)
"""No dog's heart lies outside: 58 published hearts that were measured again reach from 7.2 to 13.9."""

BAND_NOTICE = (
    "Small < 8.2 <= Normal <= 10 < Large are the study's bands; many healthy dogs of some breeds lie above 10."
)

# Below this an axis or the ruler is no line: two clicks on the same pixel.
_SHORTEST_LINE = 1e-6
_NO_IMAGE_IS_SO_LARGE = 1e9


class HeartSize(StrEnum):
    """The three classes."""

    SMALL = "Small"
    NORMAL = "Normal"
    LARGE = "Large"


HEART_SIZES = tuple(HeartSize)
"""The order of classes in every probability vector: Small, Normal, Large."""


def heart_size(vhs: float) -> HeartSize:
    """Returns the class of a VHS given in vertebrae."""
    if vhs < SMALL_BELOW:
        return HeartSize.SMALL
    return HeartSize.LARGE if vhs > LARGE_ABOVE else HeartSize.NORMAL


def class_probabilities(vhs: float, sigma: float) -> tuple[float, float, float]:
    """Returns P(Small), P(Normal), P(Large) of a VHS measured with a normal error of this standard deviation."""
    if sigma == 0:
        small, normal, large = (float(heart_size(vhs) is size) for size in HEART_SIZES)
        return small, normal, large
    error = NormalDist(vhs, sigma)
    below_small, below_large = error.cdf(SMALL_BELOW), error.cdf(LARGE_ABOVE)
    return below_small, below_large - below_small, 1 - below_large


class DegenerateKeyPoints(InvalidArgument):
    """Key points that span no axis or no ruler."""

    def __init__(self, message: str) -> None:
        super().__init__(message, reason="DEGENERATE_KEY_POINTS", field="key_points")


@dataclass(frozen=True)
class KeyPoints:
    """The six points of one radiograph, in its own pixels.

    Attributes:
        xy: float64 [6, 2] in the order A to F; x to the right, y down, pixel centres at integers.
    """

    xy: NDArray[np.float64]

    @classmethod
    def from_array(cls, points: ArrayLike) -> Self:
        """Takes anything that reads as [6, 2] numbers.

        Raises:
            DegenerateKeyPoints: It is not six pairs of finite numbers.
        """
        try:
            xy = np.array(points, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise DegenerateKeyPoints("Key points must be six pairs of numbers (x, y).") from error
        if xy.shape != (len(KEY_POINT_NAMES), 2):
            raise DegenerateKeyPoints(f"Key points must be six pairs (x, y), not an array of shape {xy.shape}.")
        if not (np.abs(xy) < _NO_IMAGE_IS_SO_LARGE).all():
            raise DegenerateKeyPoints("Key points must be finite numbers of pixels.")
        xy.setflags(write=False)
        return cls(xy)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, KeyPoints) and bool(np.array_equal(self.xy, other.xy))

    def __hash__(self) -> int:
        return hash(self.xy.tobytes())

    def outside(self, width: int, height: int) -> list[str]:
        """Returns the names of the points that lie outside an image of this size in pixels."""
        return [
            name
            for name, (x, y) in zip(KEY_POINT_NAMES, self.xy, strict=True)
            if not (-0.5 <= x <= width - 0.5 and -0.5 <= y <= height - 0.5)
        ]


@dataclass(frozen=True)
class Measurement:
    """What six key points say.

    Attributes:
        vhs: Vertebral Heart Size in vertebrae: long axis + short axis.
        long_axis: |AB| in vertebrae.
        short_axis: |CD| in vertebrae.
        heart_size: The class that follows from `vhs`.
    """

    vhs: float
    long_axis: float
    short_axis: float
    heart_size: HeartSize


def measure(key_points: KeyPoints, pixel_spacing: tuple[float, float] = (1.0, 1.0)) -> Measurement:
    """VHS = 6 (|AB| + |CD|) / |EF| in square pixels of the original radiograph.

    Args:
        key_points: In pixels of the radiograph as received, never of a resized one.
        pixel_spacing: (row, column) spacing as in DICOM PixelSpacing (0028,0030), in millimetres or any unit;
            only its ratio matters, and it matters only where pixels are not square.

    Raises:
        DegenerateKeyPoints: An axis or the ruler has no length.
        InvalidArgument: The spacing is not two positive numbers.
    """
    row, column = pixel_spacing
    if not (0 < row < np.inf and 0 < column < np.inf):
        raise InvalidArgument(f"Pixel spacing must be positive, not {row} x {column}.", reason="PIXEL_SPACING")
    a, b, c, d, e, f = key_points.xy * (column, row)
    lines = {
        "long axis A-B": float(np.linalg.norm(b - a)),
        "short axis C-D": float(np.linalg.norm(d - c)),
        "vertebral ruler E-F": float(np.linalg.norm(f - e)),
    }
    for name, length in lines.items():
        if length < _SHORTEST_LINE:
            raise DegenerateKeyPoints(f"The {name} has no length: its two points coincide.")
    long_axis, short_axis, ruler = lines.values()
    vertebra = ruler / VERTEBRAE_SPANNED
    vhs = (long_axis + short_axis) / vertebra
    return Measurement(vhs, long_axis / vertebra, short_axis / vertebra, heart_size(vhs))
