"""Images on their way in and out, as every layout has them."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from canicor.errors import InvalidArgument
from canicor.manifest import Origin, Row
from canicor.vhs import KEY_POINT_NAMES, HeartSize

SPLITS = {
    "train": "train",
    "valid": "validation",
    "val": "validation",
    "validation": "validation",
    "test": "test",
    "test_images": "test",
}
"""What others call a split, in small letters -> what a manifest calls it."""

_SUFFIXES = frozenset({".bmp", ".dcm", ".dicom", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ""})

# A pixel's centre lies at integers, so the image begins half a pixel before the first.
_EDGE = 0.5


@dataclass(frozen=True, eq=False)
class Entry:
    """An image, and what a layout states about it.

    Attributes:
        image: A URL, or a path relative to the layout's folder.
        label: Its class, or its six points [6, 2] (x, y); None where it has no label.
        fractions: Whether the points are fractions of the image, as `fractions_of` gives them, and not pixels.
        split: As a manifest has it; empty where nothing is said.
        subject: The dog; empty where nothing is said.
        vhs: As it is stated, in vertebrae.
        labeller: Who placed the points; empty where nothing is said.
    """

    image: str
    label: HeartSize | NDArray[np.float64] | None = None
    fractions: bool = False
    split: str = ""
    subject: str = ""
    vhs: float | None = None
    origin: Origin = Origin.REAL
    labeller: str = ""


@dataclass(frozen=True)
class Sample:
    """A labelled image of a dataset.

    Attributes:
        row: Its row of the manifest.
        width, height: Of the image in pixels.
    """

    row: Row
    width: int
    height: int

    @property
    def xy(self) -> NDArray[np.float64]:
        """Its key points: float64 [6, 2] in pixels.

        Raises:
            InvalidArgument: NO_KEY_POINTS: only its class is known.
        """
        if self.row.key_points is None:
            raise InvalidArgument(
                f"{self.row.image_url} has a class and no key points: write a manifest or CSV.",
                reason="NO_KEY_POINTS",
            )
        return self.row.key_points.xy


@dataclass(frozen=True)
class Copy:
    """An image that a folder is to hold.

    Attributes:
        sample: What is known of it.
        name: Of its file.
        content: The file, byte for byte as it was labelled.
    """

    sample: Sample
    name: str
    content: bytes


def numbers(values: object, columns: int) -> NDArray[np.float64]:
    """Returns what a file states of six points as float64 [6, columns].

    Raises:
        ValueError: It is something else; the message goes behind the image's name.
    """
    try:
        found = np.array(values, dtype=np.float64)
    except (OverflowError, TypeError, ValueError) as error:
        raise ValueError("its key points are not all numbers") from error
    if found.size != columns * len(KEY_POINT_NAMES):
        raise ValueError(f"it has {found.size // columns} key points, not {len(KEY_POINT_NAMES)}")
    return found.reshape(-1, columns)


def visible(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns points without their flags: [6, 3] (x, y, v) -> [6, 2].

    Raises:
        ValueError: A flag is 0: the point is not labelled.
    """
    if not points[:, 2].all():
        raise ValueError("not all of its key points are labelled")
    return points[:, :2]


def stated_vhs(value: Any) -> float | None:  # noqa: ANN401
    """Returns a VHS as a file states it; None where it does not.

    Raises:
        ValueError: It is no number.
    """
    if value is None or value == "":
        return None
    try:
        return float(value)
    except (OverflowError, TypeError, ValueError) as error:
        raise ValueError("its VHS is no number") from error


def fractions_of(xy: NDArray[np.float64], width: int, height: int) -> NDArray[np.float64]:
    """Returns pixels [n, 2] as fractions of an image from its upper left corner: 0 to 1 from edge to edge."""
    return (xy + _EDGE) / (width, height)


def pixels_of(fractions: NDArray[np.float64], width: int, height: int) -> NDArray[np.float64]:
    """Returns fractions [n, 2] of an image as pixels; the inverse of `fractions_of`."""
    return fractions * (width, height) - _EDGE


def image_files(folder: Path) -> Iterator[Path]:
    """Yields what may be images in a folder, by name."""
    return (one for one in sorted(folder.iterdir()) if _may_be_image(one))


def image_files_below(folder: Path) -> Iterator[Path]:
    """Yields what may be images in a folder and the folders in it, by path."""
    return (one for one in sorted(folder.rglob("*")) if _may_be_image(one))


def put(file: Path, content: bytes) -> None:
    """Writes a file, and makes its folder where there is none."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)


def bad_layout(message: str) -> InvalidArgument:
    """Returns the refusal of a source that is not laid out as it has to be."""
    return InvalidArgument(message, reason="BAD_LAYOUT", field="source")


def _may_be_image(file: Path) -> bool:
    return file.suffix.lower() in _SUFFIXES and not file.name.startswith(".") and file.is_file()
