"""Resizing, anti-aliased, as Pillow does it."""

from collections.abc import Callable
from enum import Enum
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

try:
    import cykooz_resizer as cykooz
except ImportError:  # It has no wheels for Linux on ARM: Pillow gives the same, four times slower.
    cykooz = None

# Rows; of 2500 pixels in 16 bits, they fit into a core's cache.
_STRIP = 250


class Filter(Enum):
    """How pixels are weighed, by Pillow's names; the value is cykooz's name."""

    BOX = "box"
    BILINEAR = "bilinear"  # a triangle
    BICUBIC = "catmull_rom"


Pixels = TypeVar("Pixels", bound=NDArray[Any])
"""[height, width] of uint8, uint16 or float32."""


def resized(
    pixels: Pixels,
    rows: int,
    columns: int,
    extent: tuple[float, float] | None = None,
    by: Filter = Filter.BILINEAR,
) -> Pixels:
    """Resizes a grey image.

    Args:
        pixels: [height, width].
        rows: Of the result.
        columns: Of the result.
        extent: (down, across) how much of the image, from its first pixel's edge, becomes the result; all of it
            without.
        by: The filter.

    Returns:
        [rows, columns] of the same type, or the image itself where it has that size; not to be written to.
    """
    down, across = extent or pixels.shape
    if pixels.shape == (rows, columns) == (down, across):
        return pixels
    resize = _by_cykooz if cykooz else _by_pillow
    return resize(pixels, rows, columns, float(down), float(across), by)


def resized_as_shown(
    pixels: NDArray[Any], shown: Callable[[NDArray[Any]], Pixels], rows: int, columns: int
) -> Pixels:
    """Resizes what an image is turned into, without a second image of its size: strip by strip.

    Args:
        pixels: [height, width].
        shown: Turns some of its rows into what is resized, pixel by pixel.
        rows: Of the result.
        columns: Of the result.
    """
    strips = (shown(pixels[top : top + _STRIP]) for top in range(0, len(pixels), _STRIP))
    # The filter is separable: first within rows, then within columns.
    joined: Any = np.concatenate([resized(strip, len(strip), columns) for strip in strips])
    return resized(joined, rows, columns)  # type: ignore[no-any-return]


def _by_cykooz(pixels: Pixels, rows: int, columns: int, down: float, across: float, by: Filter) -> Pixels:
    types = cykooz.PixelType
    pixel_type = {"B": types.U8, "H": types.U16, "f": types.F32}[pixels.dtype.char]
    height, width = pixels.shape
    source = cykooz.ImageData(width, height, pixel_type, pixels.tobytes())
    target = cykooz.ImageData(columns, rows, pixel_type)
    filtering = cykooz.ResizeAlg.convolution(cykooz.FilterType[by.value])
    options = cykooz.ResizeOptions(filtering, crop_box=cykooz.CropBox(0, 0, across, down))
    cykooz.Resizer().resize(source, target, options)
    made: Any = np.frombuffer(target.get_buffer(), pixels.dtype).reshape(rows, columns)
    return made  # type: ignore[no-any-return]


def _by_pillow(pixels: Pixels, rows: int, columns: int, down: float, across: float, by: Filter) -> Pixels:
    # Pillow resizes no 16-bit integers.
    image = Image.fromarray(pixels.astype(np.float32) if pixels.dtype == np.uint16 else pixels)
    made: Any = np.asarray(image.resize((columns, rows), Image.Resampling[by.name], box=(0, 0, across, down)))
    return made if made.dtype == pixels.dtype else np.rint(made).astype(pixels.dtype)  # type: ignore[no-any-return]
