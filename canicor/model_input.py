"""Radiograph -> the uint8 input of a model, and the way back for key points.

Pixel centres are at integers in both: x_input = (x_radiograph + 0.5) * scale + offset - 0.5.
"""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from canicor.radiograph import MAX_PIXELS, Radiograph, decode


class ResizeRule(StrEnum):
    """How a radiograph is made to fill a model's input."""

    LETTERBOX = "letterbox"
    """Keeps the physical aspect: non-square pixels become square; centred, padded with 0."""
    STRETCH = "stretch"
    """Fills the input without keeping the aspect, as the study did (600 x 600)."""


@dataclass(frozen=True)
class Placement:
    """Where a radiograph lies in a model's input.

    Attributes:
        scale: (x, y) input pixels per radiograph pixel.
        offset: (x, y) edge of the radiograph's first pixel, from the edge of the input's, in input pixels.
    """

    scale: tuple[float, float]
    offset: tuple[float, float]

    def to_input(self, points: ArrayLike) -> NDArray[np.float64]:
        """Carries [..., 2] (x, y) of the radiograph into the input."""
        return (np.asarray(points, dtype=np.float64) + 0.5) * self.scale + self.offset - 0.5

    def to_radiograph(self, points: ArrayLike) -> NDArray[np.float64]:
        """Carries [..., 2] (x, y) of the input into the radiograph."""
        return (np.asarray(points, dtype=np.float64) + 0.5 - self.offset) / self.scale - 0.5


def read(
    data: bytes, height: int, width: int, rule: ResizeRule, *, max_pixels: int = MAX_PIXELS
) -> tuple[Radiograph, NDArray[np.uint8], Placement]:
    """Decodes a radiograph for one model: at no more detail than its input takes.

    Args:
        data: The whole file.
        height: Rows of the input.
        width: Columns of the input.
        rule: What becomes of the aspect.
        max_pixels: As `canicor.radiograph.decode`.

    Returns:
        The radiograph, reduced as far as the input allows; and as `fit`.

    Raises:
        CanicorError: As `canicor.radiograph.decode`.
    """

    def sufficient(rows: int, columns: int, aspect: tuple[float, float]) -> tuple[int, int]:
        return _resized(rows, columns, aspect, (height, width), rule)

    radiograph = decode(data, max_pixels=max_pixels, sufficient=sufficient)
    return (radiograph, *fit(radiograph, height, width, rule))


def fit(radiograph: Radiograph, height: int, width: int, rule: ResizeRule) -> tuple[NDArray[np.uint8], Placement]:
    """Resizes a radiograph to a model's input, anti-aliased where it shrinks.

    Args:
        radiograph: Of any size.
        height: Rows of the input.
        width: Columns of the input.
        rule: What becomes of the aspect.

    Returns:
        uint8 [height, width], and where the radiograph lies in it.
    """
    rows, columns = _resized(radiograph.height, radiograph.width, radiograph.pixel_aspect, (height, width), rule)
    left, top = (width - columns) // 2, (height - rows) // 2
    across, down = radiograph.width / radiograph.reduction[1], radiograph.height / radiograph.reduction[0]
    resized = Image.fromarray(radiograph.levels).resize(
        (columns, rows), Image.Resampling.BILINEAR, box=(0, 0, across, down)
    )
    levels = np.asarray(resized)
    if levels.dtype != np.uint8:
        levels = np.rint(np.clip(levels, 0, 1) * 255)
    canvas = np.zeros((height, width), dtype=np.uint8)
    canvas[top : top + rows, left : left + columns] = levels
    return canvas, Placement((columns / radiograph.width, rows / radiograph.height), (float(left), float(top)))


def _resized(
    height: int, width: int, aspect: tuple[float, float], target: tuple[int, int], rule: ResizeRule
) -> tuple[int, int]:
    """Returns the (rows, columns) that a radiograph takes up in an input of (rows, columns)."""
    if rule is ResizeRule.STRETCH:
        return target
    row, column = aspect
    scale = min(target[1] / (width * column), target[0] / (height * row))
    # At least one pixel remains of the thinnest strip.
    return max(1, round(height * row * scale)), max(1, round(width * column * scale))
