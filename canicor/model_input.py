"""Radiograph -> the uint8 input of a model, and the way back for key points.

Pixel centres are at integers in both: x_input = (x_radiograph + 0.5) * scale + offset - 0.5.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import ArrayLike, NDArray

from canicor.radiograph import MAX_PIXELS, Codecs, Radiograph, View, decode
from canicor.resizing import resized


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


@dataclass(frozen=True, eq=False)
class Prepared:
    """A radiograph as one model takes it.

    Attributes:
        pixels: uint8 [height, width] of the input.
        placement: Where the radiograph lies in it.
        received: (height, width) of the radiograph.
        pixel_aspect: Its (row, column) spacing up to a common factor, as `canicor.vhs.measure` takes it.
        view: What its file states.
    """

    pixels: NDArray[np.uint8]
    placement: Placement
    received: tuple[int, int]
    pixel_aspect: tuple[float, float]
    view: View


def read(
    data: bytes,
    height: int,
    width: int,
    rule: ResizeRule,
    *,
    max_pixels: int = MAX_PIXELS,
    codecs: Codecs = Codecs.SAFE,
    header_read: Callable[[int, int], None] = lambda height, width: None,
) -> Prepared:
    """Decodes a radiograph for one model: at no more detail than its input takes.

    Args:
        data: The whole file.
        height: Rows of the input.
        width: Columns of the input.
        rule: What becomes of the aspect.
        max_pixels: As `canicor.radiograph.decode`.
        codecs: As `canicor.radiograph.decode`.
        header_read: Told the radiograph's height and width before any pixel is decoded.

    Raises:
        CanicorError, Unbounded: As `canicor.radiograph.decode`.
    """

    def size(rows: int, columns: int, aspect: tuple[float, float]) -> tuple[int, int]:
        header_read(rows, columns)
        return _size(rows, columns, aspect, (height, width), rule)

    return fit(decode(data, max_pixels=max_pixels, size=size, codecs=codecs), height, width, rule)


def fit(radiograph: Radiograph, height: int, width: int, rule: ResizeRule) -> Prepared:
    """Resizes a radiograph to a model's input, anti-aliased where it shrinks.

    Args:
        radiograph: Of any size.
        height: Rows of the input.
        width: Columns of the input.
        rule: What becomes of the aspect.
    """
    aspect = radiograph.pixel_aspect
    rows, columns = _size(radiograph.height, radiograph.width, aspect, (height, width), rule)
    left, top = (width - columns) // 2, (height - rows) // 2
    levels = resized(radiograph.levels, rows, columns)
    if levels.dtype != np.uint8:
        levels = np.rint(np.clip(levels, 0, 1) * 255)
    pixels = np.zeros((height, width), dtype=np.uint8)
    pixels[top : top + rows, left : left + columns] = levels
    return Prepared(
        pixels=pixels,
        placement=Placement((columns / radiograph.width, rows / radiograph.height), (float(left), float(top))),
        received=(radiograph.height, radiograph.width),
        pixel_aspect=aspect,
        view=radiograph.view,
    )


def _size(
    height: int, width: int, aspect: tuple[float, float], target: tuple[int, int], rule: ResizeRule
) -> tuple[int, int]:
    """Returns the (rows, columns) that a radiograph takes up in an input of (rows, columns)."""
    if rule is ResizeRule.STRETCH:
        return target
    row, column = aspect
    scale = min(target[1] / (width * column), target[0] / (height * row))
    # At least one pixel remains of the thinnest strip.
    return max(1, round(height * row * scale)), max(1, round(width * column * scale))
