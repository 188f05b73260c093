"""DICOM's greyscale pipeline (PS3.3 C.11, PS3.4 N.2.1): stored pixels -> modality values -> 0..1."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.multival import MultiValue

from canicor.radiograph._image import stretched
from canicor.resizing import resized, resized_as_shown

# Stored values of up to 16 bits are looked up; a wider range is computed pixel by pixel.
_LARGEST_TABLE = 2**16

# A tenth of a grey level of 255: what a clip that falls between two stored values may be moved by.
_STRAIGHT = 0.1 / 255


def greyscale(dataset: Dataset, stored: NDArray[Any], size: tuple[int, int] | None) -> NDArray[np.float32]:
    """Returns stored pixels [rows, columns] as they are to be shown: 0..1, bright = dense, padding black.

    Args:
        dataset: Says how they are to be shown.
        stored: Integers [rows, columns].
        size: (rows, columns) to resize them to, None for none.
    """
    low, high = int(stored.min()), int(stored.max())
    if high - low >= _LARGEST_TABLE:
        shown = _shown(dataset, stored)
        return resized(shown, *size) if size else shown
    table = np.zeros(high - low + 1, dtype=np.float32)
    values = _values(dataset, stored, low, high)
    table[values - low] = _shown(dataset, values.astype(stored.dtype))

    def looked_up(pixels: NDArray[Any]) -> NDArray[np.float32]:
        shown: NDArray[np.float32] = table[np.subtract(pixels, low, dtype=np.int32)]
        return shown

    if not size:
        return looked_up(stored)
    ramp = _Ramp.of(table)
    return ramp.resized(stored, low, high, size) if ramp else resized_as_shown(stored, looked_up, *size)


def take_window(dataset: Dataset, stored: NDArray[Any]) -> tuple[float, float] | None:
    """Takes a linear window out of a data set, and returns where it lies.

    Args:
        dataset: Says how its pixels are to be shown.
        stored: Integers [rows, columns].

    Returns:
        What is black and what is white, as shares of the range from the darkest to the brightest pixel that is not
        padding; below 0 or above 1 where the window is wider. None where no window applies, or a curved one.
    """
    window = _Window.first_of(dataset)
    if dataset.get("VOILUTSequence") or window is None or not (ends := window.ends):
        return None
    values = _modality_values(dataset, stored)[~_padding(dataset, stored)]
    low, high = (float(values.min()), float(values.max())) if values.size else (0.0, 0.0)
    if not low < high:
        return None
    del dataset.WindowCenter, dataset.WindowWidth
    black, white = ((end - low) / (high - low) for end in ends)
    return (1 - white, 1 - black) if dataset.PhotometricInterpretation == "MONOCHROME1" else (black, white)


def _values(dataset: Dataset, stored: NDArray[Any], low: int, high: int) -> NDArray[np.int64]:
    """Returns the values to look up: the stored ones where padding leaves gaps, for they set the scale."""
    values = np.arange(low, high + 1)
    if dataset.get("PixelPaddingValue") is None:
        return values
    there = np.zeros(len(values), dtype=np.bool_)
    for row in stored:
        there[np.subtract(row, low, dtype=np.int32)] = True
    return values[there]


@dataclass(frozen=True)
class _Ramp:
    """A straight line from one entry of a table to another, flat before and after."""

    first: int
    last: int
    start: np.float32
    end: np.float32

    @classmethod
    def of(cls, table: NDArray[np.float32]) -> Self | None:
        """Returns the ramp that a table is, None where it is none."""
        start, end = table[0], table[-1]
        if start == end:
            return None
        first = int(np.argmax(table != start)) - 1
        last = len(table) - int(np.argmax(table[::-1] != end))
        ramp = cls(first, last, start, end)
        straight = ramp.levels(np.clip(np.arange(len(table)), first, last) - first, last - first)
        return ramp if np.abs(straight - table).max() <= _STRAIGHT else None

    def resized(self, stored: NDArray[Any], low: int, high: int, size: tuple[int, int]) -> NDArray[np.float32]:
        """Resizes first: what a straight line shows of a mean is the mean of what it shows.

        Args:
            stored: [rows, columns].
            low: The smallest of them, which the table's first entry is for.
            high: The largest of them.
            size: (rows, columns).
        """
        first, last = low + self.first, low + self.last
        step = 0xFFFF // (last - first)

        def rises(strip: NDArray[Any]) -> NDArray[np.uint16]:
            if low < first or last < high:
                strip = np.clip(strip, first, last)
            # Modulo 2^16, which no rise exceeds; then as fine as 16 bits allow.
            values = strip.astype(np.uint16, copy=False) - np.uint16(first & 0xFFFF)
            values *= np.uint16(step)
            return values

        return self.levels(resized_as_shown(stored, rises, *size), step * (last - first))

    def levels(self, rises: NDArray[Any], whole: int) -> NDArray[np.float32]:
        """Returns what is shown at so much of the whole rise."""
        shown = rises * ((self.end - self.start) / np.float32(whole)) + self.start
        clipped: NDArray[np.float32] = np.clip(shown, 0, 1, dtype=np.float32)
        return clipped


def _shown(dataset: Dataset, stored: NDArray[Any]) -> NDArray[np.float32]:
    padding = _padding(dataset, stored)
    values = _modality_values(dataset, stored)
    voi = _Lut.first_of(dataset, "VOILUTSequence") or _Window.first_of(dataset)
    shown = voi.shown(values) if voi else stretched(values, ~padding)
    if dataset.PhotometricInterpretation == "MONOCHROME1":
        shown = 1 - shown
    shown[padding] = 0
    return shown


def _modality_values(dataset: Dataset, stored: NDArray[Any]) -> NDArray[np.float32]:
    lut = _Lut.first_of(dataset, "ModalityLUTSequence")
    if lut:
        return lut.looked_up(stored)
    slope, intercept = dataset.get("RescaleSlope"), dataset.get("RescaleIntercept")
    values = stored.astype(np.float32)
    return values if slope is None else values * float(slope) + float(intercept or 0)


def _padding(dataset: Dataset, stored: NDArray[Any]) -> NDArray[np.bool_]:
    """Returns where PixelPaddingValue (0028,0120), or its range to (0028,0121), stands instead of the animal."""
    if dataset.get("PixelPaddingValue") is None:
        return np.zeros(stored.shape, dtype=np.bool_)
    # Both are US or SS as PixelRepresentation says, which many writers get wrong: the bits are what counts.
    ends = [dataset.PixelPaddingValue, dataset.get("PixelPaddingRangeLimit", dataset.PixelPaddingValue)]
    first, last = sorted(np.array([int(end) for end in ends]).astype(stored.dtype))
    return np.asarray((stored >= first) & (stored <= last))


@dataclass(frozen=True)
class _Lut:
    """A lookup table: PS3.3 C.11.1.1.1 and C.11.2.1.1. pydicom's own wraps around beyond 8-bit input."""

    first: int
    table: NDArray[np.float32]
    bits: int

    @classmethod
    def first_of(cls, dataset: Dataset, keyword: str) -> Self | None:
        sequence = dataset.get(keyword)
        if not sequence:
            return None
        entries, first, bits = (int(number) for number in sequence[0].LUTDescriptor)
        entries = entries or 2**16
        data = sequence[0].LUTData
        if isinstance(data, bytes):
            _, little = dataset.original_encoding
            packed = len(data) < 2 * entries
            data = np.frombuffer(data, np.uint8 if packed else np.dtype("<u2" if little else ">u2"))
        return cls(first, np.array(data, dtype=np.float32)[:entries], bits)

    def looked_up(self, values: NDArray[Any]) -> NDArray[np.float32]:
        index = np.clip(values.astype(np.float64) - self.first, 0, len(self.table) - 1)
        return np.take(self.table, index.astype(np.intp))

    def shown(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        shown: NDArray[np.float32] = np.clip(self.looked_up(values) / (2**self.bits - 1), 0, 1)
        return shown


@dataclass(frozen=True)
class _Window:
    """A window in modality values: PS3.3 C.11.2.1.2 and C.11.2.1.3, with an output of 0..1."""

    center: float
    width: float
    function: str

    @classmethod
    def first_of(cls, dataset: Dataset) -> Self | None:
        center, width = _number(dataset.get("WindowCenter")), _number(dataset.get("WindowWidth"))
        function = str(dataset.get("VOILUTFunction") or "LINEAR").strip()
        if center is None or width is None or not (np.isfinite(center) and 0 < width < np.inf):
            return None
        return cls(center, width, function)

    @property
    def ends(self) -> tuple[float, float] | None:
        """The values between which a linear window rises; None for another, and for a step."""
        # PS3.3 C.11.2.1.2.1 and C.11.2.1.3.2.
        exact = self.function == "LINEAR_EXACT"
        center, width = (self.center, self.width) if exact else (self.center - 0.5, self.width - 1)
        return None if self.function == "SIGMOID" or width <= 0 else (center - width / 2, center + width / 2)

    def shown(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        center, width = np.float32(self.center), np.float32(self.width)
        if self.function == "SIGMOID":
            # exp() of +-50 is 0 or 1 beside 1 in float32 already.
            falling: NDArray[np.float32] = np.exp(np.clip(-4 * (values - center) / width, -50, 50))
            return np.reciprocal(1 + falling)
        if self.function != "LINEAR_EXACT":
            center, width = center - np.float32(0.5), width - 1
        if width <= 0:
            return (values > center).astype(np.float32)
        ramp: NDArray[np.float32] = np.clip((values - center) / width + np.float32(0.5), 0, 1)
        return ramp


def _number(value: Any) -> float | None:  # noqa: ANN401
    """Returns the first of what may be several values."""
    if isinstance(value, MultiValue):
        value = value[0] if value else None
    return None if value is None else float(value)
