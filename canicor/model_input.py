"""Radiograph -> the uint8 input of a model, and the way back for key points.

Pixel centres are at integers in both: x_input = (x_radiograph + 0.5) * scale + offset - 0.5.
"""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from canicor.radiograph import Radiograph


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
    columns, rows = width, height
    if rule is ResizeRule.LETTERBOX:
        row, column = radiograph.pixel_aspect
        physical_width, physical_height = radiograph.width * column, radiograph.height * row
        scale = min(width / physical_width, height / physical_height)
        # At least one pixel remains of the thinnest strip.
        columns = max(1, round(physical_width * scale))
        rows = max(1, round(physical_height * scale))
    left, top = (width - columns) // 2, (height - rows) // 2
    resized = Image.fromarray(radiograph.pixels).resize((columns, rows), Image.Resampling.BILINEAR)
    canvas = np.zeros((height, width), dtype=np.uint8)
    canvas[top : top + rows, left : left + columns] = np.rint(np.clip(np.asarray(resized), 0, 1) * 255)
    return canvas, Placement((columns / radiograph.width, rows / radiograph.height), (float(left), float(top)))
