"""Folders `Small`, `Normal` and `Large` with images: classes without key points."""

from collections.abc import Iterator
from pathlib import Path

from canicor.layouts.entries import Entry, image_files
from canicor.vhs import HeartSize

_CLASSES = {size.lower(): size for size in HeartSize}


def is_one(folder: Path) -> bool:
    """Tells whether a folder is laid out so."""
    return any(_classes(folder))


def read(source: Path, folder: Path, split: str) -> Iterator[Entry]:
    """Yields the images of a folder, named relative to the source."""
    for one in _classes(folder):
        for image in image_files(one):
            yield Entry(str(image.relative_to(source)), _CLASSES[one.name.lower()], split=split)


def _classes(folder: Path) -> Iterator[Path]:
    return (one for one in sorted(folder.iterdir()) if one.is_dir() and one.name.lower() in _CLASSES)
