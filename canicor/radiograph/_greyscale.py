"""DICOM's greyscale pipeline (PS3.3 C.11, PS3.4 N.2.1): stored pixels -> modality values -> 0..1."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.multival import MultiValue

from canicor.radiograph._image import stretched


def greyscale(dataset: Dataset, stored: NDArray[Any]) -> NDArray[np.float32]:
    """Returns stored pixels [rows, columns] as they are to be shown: 0..1, bright = dense, padding black."""
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
