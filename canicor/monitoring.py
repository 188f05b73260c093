"""The features of a model's inputs and answers that are watched for drift.

Training records how they are spread over the validation split, the classifier how they are spread over what it was
sent lately: both take them from here, in the order of `FEATURES`, so that what is compared is the same.
"""

import math

import numpy as np
from numpy.typing import NDArray

from canicor.model_input import Prepared
from canicor.vhs import HEART_SIZES, HeartSize

INPUT_FEATURES = ("mean_grey", "grey_deviation", "black_share", "white_share", "sharpness", "aspect_ratio")
OUTPUT_FEATURES = ("heart_size", "probability", "vhs", "lowest_peak", "distance")
FEATURES = (*INPUT_FEATURES, *OUTPUT_FEATURES)

# Grey levels that show nothing; some, because JPEG ripples.
_BLACK, _WHITE = 4, 251

# Pixels looked at, down and across: enough for a share of 1 % to be seen, in a few microseconds.
_ROWS, _COLUMNS = 32, 64
_GRADIENT_ROWS = 16

_LEVELS = np.arange(256.0)
_MOMENTS = np.stack(
    [np.ones(256), _LEVELS, _LEVELS**2, _LEVELS <= _BLACK, _LEVELS >= _WHITE], axis=1, dtype=np.float64
)


def input_features(radiograph: Prepared) -> tuple[float, ...]:
    """Returns the `INPUT_FEATURES` of a radiograph as a model sees it; padding does not count.

    Args:
        radiograph: As the model takes it.

    Returns:
        Mean and standard deviation of the grey levels (0 to 255); the shares of pixels that are black and white;
        sharpness, the root mean square of the difference between neighbours in a row, in grey levels; and the
        radiograph's width over its height, in square pixels.
    """
    height, width = radiograph.received
    left, top = (round(edge) for edge in radiograph.placement.offset)
    columns = round(radiograph.placement.scale[0] * width)
    rows = round(radiograph.placement.scale[1] * height)
    shown = radiograph.pixels[top : top + rows, left : left + columns]
    some = shown[:: -(-rows // _ROWS), :: -(-columns // _COLUMNS)]
    count, total, squares, black, white = (np.bincount(some.ravel(), minlength=256) @ _MOMENTS).tolist()
    mean = total / count
    down, across = radiograph.pixel_aspect
    return (
        mean,
        math.sqrt(max(squares / count - mean * mean, 0.0)),
        black / count,
        white / count,
        _sharpness(shown[:: -(-rows // _GRADIENT_ROWS)]),
        width * across / (height * down),
    )


def output_features(
    heart_size: HeartSize | None,
    probability: float | None = None,
    vhs: float | None = None,
    lowest_peak: float | None = None,
    distance: float | None = None,
) -> tuple[float, ...]:
    """Returns the `OUTPUT_FEATURES` of an answer, NaN for what it does not have.

    Args:
        heart_size: The class; its feature is the place in `HEART_SIZES`.
        probability: Of the class.
        vhs: In vertebrae.
        lowest_peak: Of the six heat maps.
        distance: The graph's output of that name.
    """
    place = None if heart_size is None else HEART_SIZES.index(heart_size)
    values = (place, probability, vhs, lowest_peak, distance)
    return tuple(math.nan if value is None else float(value) for value in values)


def _sharpness(rows: NDArray[np.uint8]) -> float:
    grey = rows.astype(np.float32)
    steps = (grey[:, 1:] - grey[:, :-1]).ravel()
    return math.sqrt(float(steps @ steps) / max(steps.size, 1))
