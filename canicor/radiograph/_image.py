"""What every format becomes, and the refusals every format shares."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum, StrEnum, auto

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from canicor.errors import CanicorError, InvalidArgument, ResourceExhausted

_FIELD = "image"

_SMALLEST_SIDE = 32

# JPEG keeps a grey image's channels within a few steps of each other; a coloured side marker covers less than one
# pixel in a hundred.
_GREY_TOLERANCE = 16
_COLOURED_SHARE = 0.01
# Cb and Cr so near to neutral put R, G and B no further apart than the tolerance.
_SURELY_GREY = 5

Size = Callable[[int, int, tuple[float, float]], tuple[int, int]]
"""(height, width, pixel aspect) of a radiograph as received -> (rows, columns) to resize it to."""

Levels = NDArray[np.uint8] | NDArray[np.float32]
"""Grey levels: uint8 in 0..255 or float32 in 0..1."""


class View(StrEnum):
    """The direction of the beam, as far as the file states it."""

    LATERAL = "lateral"
    VENTRODORSAL = "ventrodorsal"
    """Ventrodorsal or dorsoventral: the beam runs in the sagittal plane. Such a file is refused."""
    UNKNOWN = "unknown"


class Codecs(Enum):
    """Which decoders may run in this process."""

    BOUNDED = auto()
    """Those whose work is bounded by the pixels that a file states, whatever its bytes."""
    SAFE = auto()
    """All; the one that aborts its process on some damaged files (GDCM) gets a process of its own for each."""
    ALL = auto()
    """All, in a process that may die of it."""


class Unbounded(Exception):
    """The file takes more than `Codecs.BOUNDED`."""


@dataclass(frozen=True, eq=False)
class Radiograph:
    """One radiograph: neither rotated nor cropped, and resized only where the caller said to what.

    Attributes:
        levels: [rows, columns] uint8 in 0..255 where the file holds such, else float32 in 0..1; bright = dense;
            not writable.
        pixel_spacing: (row, column) mm from PixelSpacing (0028,0030), else ImagerPixelSpacing (0018,1164);
            None where unknown.
        format: "DICOM", "PNG", "JPEG" or "TIFF".
        view: From ViewPosition (0018,5101), ViewCodeSequence (0054,0220) or SeriesDescription (0008,103E), the
            first of them that names one view.
        stated_aspect: PixelAspectRatio (0028,0034), vertical to horizontal.
        received: (height, width) as received, where `levels` is resized.
        window: What the file asks to be shown as black and as white, in levels of 0..1 and beyond; only where it
            was decoded with `whole_range` and has a linear window.
    """

    levels: Levels
    pixel_spacing: tuple[float, float] | None
    format: str
    view: View
    stated_aspect: tuple[float, float] = (1.0, 1.0)
    received: tuple[int, int] | None = None
    window: tuple[float, float] | None = None

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


@dataclass(frozen=True)
class Deidentified:
    """A file that says no longer who is on it.

    Attributes:
        content: The file; the same for the same file.
        removed: What it said and does so no longer, each once: `PatientName (0010,0010)` in the order of DICOM's
            tags; `tEXt chunk`, `APP1 segment` or `Artist (315)` in that of a PNG, JPEG or TIFF file.
        states_burned_in: Whether it states that its pixels themselves identify (DICOM's 0028,0301).
    """

    content: bytes
    removed: tuple[str, ...]
    states_burned_in: bool


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


def multi_frame(frames: int) -> InvalidArgument:
    """Returns the error for a series in one file."""
    return refusal("MULTI_FRAME", f"The file holds {frames} images: send one radiograph per file.")


@contextmanager
def decoding(file_format: str) -> Iterator[None]:
    """Turns whatever a third-party decoder raises on hostile bytes into one refusal."""
    try:
        yield
    except (CanicorError, Unbounded):
        raise
    except MemoryError as error:
        raise ResourceExhausted(
            "The image needs more memory than there is: send a smaller one.", reason="TOO_LARGE", field=_FIELD
        ) from error
    except Exception as error:
        raise refusal(
            "TRUNCATED", f"The {file_format} file is cut off or damaged: send it again, whole, as it was written."
        ) from error


def grey(image: Image.Image) -> NDArray[np.uint8]:
    """Returns [height, width] luma of an image in RGB or YCbCr whose channels agree.

    Raises:
        InvalidArgument: COLOUR_PHOTOGRAPH: they do not.
    """
    ycbcr = image if image.mode == "YCbCr" else image.convert("YCbCr")
    luma, blue, red = ycbcr.split()
    if image is not ycbcr:
        # Pillow rounds Y down, and so tells grey from grey.
        luma = image.convert("L")
    if _is_coloured(np.asarray(blue), np.asarray(red)):
        raise refusal("COLOUR_PHOTOGRAPH", "The image is in colour: send a radiograph, which is grey.")
    return np.asarray(luma)


def _is_coloured(blue: NDArray[np.uint8], red: NDArray[np.uint8]) -> bool:
    """Whether too many pixels of these Cb and Cr are coloured."""
    if all(abs(int(end) - 128) <= _SURELY_GREY for one in (blue, red) for end in (one.min(), one.max())):
        return False
    # One number of 16 bits for both: looked up in half the time.
    chroma = blue.astype(np.uint16)
    chroma <<= 8
    chroma |= red
    return bool(np.mean(_COLOURED[chroma]) > _COLOURED_SHARE)


def _coloured() -> NDArray[np.bool_]:
    """Returns [65536], by 256 Cb + Cr: whether R, G and B lie further apart than those of a grey pixel."""
    # ITU-T T.871: what JPEG's colours are made of, less the luma that the three share.
    blue, red = np.mgrid[-128.0:128.0, -128.0:128.0]
    rgb = np.stack([1.402 * red, -0.344136 * blue - 0.714136 * red, 1.772 * blue])
    coloured: NDArray[np.bool_] = np.ptp(rgb, axis=0) > _GREY_TOLERANCE
    return coloured.ravel()


_COLOURED = _coloured()


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
