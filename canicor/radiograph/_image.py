"""What every format becomes, and the refusals every format shares."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from canicor.errors import CanicorError, InvalidArgument, ResourceExhausted

_FIELD = "image"

_SMALLEST_SIDE = 32

# JPEG keeps a grey image's channels within a few steps of each other; a coloured side marker covers less than one
# pixel in a hundred.
_GREY_TOLERANCE = 16 / 255
_COLOURED_SHARE = 0.01

# ITU-R BT.601 luma: gives back the Y that JPEG stored.
_LUMA: NDArray[np.float32] = np.array([0.299, 0.587, 0.114], dtype=np.float32)


# Times the rows and columns that suffice. With fewer, a window that steepens the greys shows the blocks: for a
# real radiograph resized to 224, in a window of 1600 of 4096 values, the mean difference to resizing it whole
# was 2.4 grey levels of 255 with 1 and 0.9 with this.
_DETAIL_LEFT = 1.25

Sufficient = Callable[[int, int, tuple[float, float]], tuple[int, int]]
"""(height, width, pixel aspect) of a radiograph as received -> (rows, columns) that it will be resized to."""

Levels = NDArray[np.uint8] | NDArray[np.float32]
"""Grey levels: uint8 in 0..255 or float32 in 0..1."""


class View(StrEnum):
    """The direction of the beam, as far as the file states it."""

    LATERAL = "lateral"
    VENTRODORSAL = "ventrodorsal"
    """Ventrodorsal or dorsoventral: the beam runs in the sagittal plane."""
    UNKNOWN = "unknown"


@dataclass(frozen=True, eq=False)
class Radiograph:
    """One radiograph as received: neither rotated nor cropped, and reduced only where the caller said how far.

    Attributes:
        levels: [ceil(height / reduction), ceil(width / reduction)] uint8 in 0..255 where the file holds such, else
            float32 in 0..1; bright = dense; not writable.
        pixel_spacing: (row, column) mm from PixelSpacing (0028,0030), else ImagerPixelSpacing (0018,1164);
            None where unknown.
        format: "DICOM", "PNG", "JPEG" or "TIFF".
        view: From ViewPosition (0018,5101), ViewCodeSequence (0054,0220) or SeriesDescription (0008,103E), the
            first of them that names one view.
        stated_aspect: PixelAspectRatio (0028,0034), vertical to horizontal.
        reduction: (rows, columns) as received that one row and column of `levels` is the mean of.
        received: (height, width) as received, where `levels` is reduced.
    """

    levels: Levels
    pixel_spacing: tuple[float, float] | None
    format: str
    view: View
    stated_aspect: tuple[float, float] = (1.0, 1.0)
    reduction: tuple[int, int] = (1, 1)
    received: tuple[int, int] | None = None

    @property
    def pixels(self) -> NDArray[np.float32]:
        """`levels` as float32 in 0..1; not writable."""
        if self.levels.dtype == np.float32:
            return self.levels  # type: ignore[return-value]
        pixels = self.levels.astype(np.float32) / np.float32(255)
        pixels.setflags(write=False)
        return pixels

    @property
    def height(self) -> int:
        """Rows as received."""
        return int((self.received or self.levels.shape)[0])

    @property
    def width(self) -> int:
        """Columns as received."""
        return int((self.received or self.levels.shape)[1])

    @property
    def pixel_aspect(self) -> tuple[float, float]:
        """(row, column) spacing up to a common factor, as `canicor.vhs.measure` takes it; (1, 1) where unknown."""
        return self.pixel_spacing or self.stated_aspect


def refusal(reason: str, message: str) -> InvalidArgument:
    """Returns the error for a file that can never be measured."""
    return InvalidArgument(message, reason=reason, field=_FIELD)


def too_large(limit: int) -> ResourceExhausted:
    """Returns the error for a file beyond what this server decodes."""
    return ResourceExhausted(
        f"The image is too large: send one of at most {limit} pixels.", reason="TOO_LARGE", field=_FIELD
    )


def check_size(height: int, width: int, max_pixels: int) -> None:
    """Refuses what is too large to decode or too small to measure."""
    if height * width > max_pixels:
        raise too_large(max_pixels)
    if min(height, width) < _SMALLEST_SIDE:
        raise refusal(
            "TOO_SMALL",
            f"The image is too small to measure ({width} x {height} pixels): "
            f"both sides must have at least {_SMALLEST_SIDE}.",
        )


def reduction_to(size: tuple[int, int], height: int, width: int) -> tuple[int, int]:
    """Returns by what whole numbers height and width may be divided before they become (rows, columns)."""
    rows, columns = size
    return max(1, int(height / (rows * _DETAIL_LEFT))), max(1, int(width / (columns * _DETAIL_LEFT)))


def reduced(values: NDArray[Any], reduction: tuple[int, int]) -> NDArray[np.float32]:
    """Returns the means of blocks of (rows, columns), those at the far edges of what is left."""
    # Sums of slices, in the narrowest type that holds them: ten times faster than a reshape to four dimensions.
    shape = values.shape
    total: Any = np.float32
    if values.dtype.kind == "u":
        total = np.min_scalar_type(int(values.max()) * reduction[0] * reduction[1])
    for axis, step in enumerate(reduction):
        values = np.moveaxis(values, axis, 0)
        sums = values[::step].astype(total)
        for start in range(1, step):
            part = values[start::step]
            sums[: len(part)] += part
        values = np.moveaxis(sums, 0, axis)
    down, across = (
        np.minimum(step, length - np.arange(0, length, step))
        for step, length in zip(reduction, shape, strict=True)
    )
    means: NDArray[np.float32] = np.divide(values, down[:, np.newaxis], dtype=np.float32)
    means /= across.astype(np.float32)
    return means


def multi_frame(frames: int) -> InvalidArgument:
    """Returns the error for a series in one file."""
    return refusal("MULTI_FRAME", f"The file holds {frames} images: send one radiograph per file.")


@contextmanager
def decoding(file_format: str) -> Iterator[None]:
    """Turns whatever a third-party decoder raises on hostile bytes into one refusal."""
    try:
        yield
    except CanicorError:
        raise
    except MemoryError as error:
        raise ResourceExhausted(
            "The image needs more memory than there is: send a smaller one.", reason="TOO_LARGE", field=_FIELD
        ) from error
    except Exception as error:
        raise refusal(
            "TRUNCATED", f"The {file_format} file is cut off or damaged: send it again, whole, as it was written."
        ) from error


def grey(channels: NDArray[np.float32]) -> NDArray[np.float32]:
    """Returns [height, width] luma of RGB [height, width, 3] in 0..1 whose channels agree.

    Raises:
        InvalidArgument: COLOUR_PHOTOGRAPH: they do not.
    """
    red, green, blue = np.moveaxis(channels, -1, 0)
    chroma = np.maximum(np.maximum(red, green), blue) - np.minimum(np.minimum(red, green), blue)
    if np.mean(chroma > _GREY_TOLERANCE) > _COLOURED_SHARE:
        raise refusal("COLOUR_PHOTOGRAPH", "The image is in colour: send a radiograph, which is grey.")
    # No matrix product: it rounds equal pixels differently by where they stand, which passes for contrast.
    luma: NDArray[np.float32] = red * _LUMA[0] + green * _LUMA[1] + blue * _LUMA[2]
    return luma


def stretched(values: NDArray[np.float32], counts: NDArray[np.bool_] | None = None) -> NDArray[np.float32]:
    """Returns the values scaled to 0..1 from the smallest to the largest that counts."""
    counted = values if counts is None else values[counts]
    low, high = (float(counted.min()), float(counted.max())) if counted.size else (0.0, 0.0)
    if not np.isfinite((low, high)).all():
        raise refusal("NOT_AN_IMAGE", "The image has pixels that are not numbers: all must be finite.")
    if low == high:
        raise no_contrast()
    scaled: NDArray[np.float32] = np.clip((values - low) / (high - low), 0, 1)
    return scaled


def no_contrast() -> InvalidArgument:
    """Returns the error for an image that shows nothing."""
    return refusal(
        "NO_CONTRAST", "All pixels are alike as the file says to show them: send a radiograph with contrast."
    )


def finished(levels: Levels) -> Levels:
    """Returns the levels sealed against writing, having seen that they show something."""
    sealed: Levels = np.require(levels, requirements="C")
    low, high = sealed.min(), sealed.max()
    if not (0 <= low < high <= (255 if sealed.dtype == np.uint8 else 1)):
        raise no_contrast()
    sealed.setflags(write=False)
    return sealed
