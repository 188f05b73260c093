"""DogHeart and CCK, as VHSMarker writes them: `Images/NAME.png` and `Labels/NAME.mat` with `six_points` and `VHS`.

Source: https://gen-ai-research.github.io/dog-vhs/. MATLAB counts pixels from 1. Needs SciPy, which the extras
`labeling` and `training` bring.
"""

import io
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from canicor.errors import InvalidArgument
from canicor.layouts.entries import Copy, Entry, image_files, numbers, put

_IMAGES, _LABELS = "Images", "Labels"
_SPLIT_FOLDERS = {"": "", "train": "Train", "validation": "Valid", "test": "Test"}
_FIRST_PIXEL = 1.0

# The header of a MAT-file of level 5 begins with 116 bytes of text.
_HEADER = b"MATLAB 5.0 MAT-file, written by Canicor".ljust(116)


def is_one(folder: Path) -> bool:
    """Tells whether a folder is laid out so."""
    return (folder / _IMAGES).is_dir()


def read(source: Path, folder: Path, split: str) -> Iterator[Entry | str]:
    """Yields the images of a folder, named relative to the source, and what is wrong with labels."""
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    labels = {one.stem: one for one in sorted(folder.glob(f"{_LABELS}/*.mat"))}
    for image in image_files(folder / _IMAGES):
        name = str(image.relative_to(source))
        label = labels.pop(image.stem, None)
        if label is None:
            yield Entry(name, split=split)
            continue
        try:
            stated = loadmat(label)
            points = numbers(stated["six_points"], 2) - _FIRST_PIXEL
            yield Entry(name, points, split=split, vhs=float(np.ravel(stated["VHS"])[0]))
        except (MatReadError, KeyError, IndexError, NotImplementedError, OSError, TypeError, ValueError):
            yield f"{label.relative_to(source)}: no MATLAB file (up to version 7) with six_points and VHS"
    yield from (f"{one.relative_to(source)}: there is no image of this name" for one in labels.values())


def write(images: Iterable[Copy], folder: Path) -> None:
    """Writes images and labels, in folders `Train`, `Valid` and `Test` where they have a split.

    Raises:
        InvalidArgument: An image has no key points, or another split.
    """
    for one in images:
        row = one.sample.row
        if row.split not in _SPLIT_FOLDERS:
            raise InvalidArgument(f"{row.image_url}: there is no split {row.split!r}.", reason="SPLIT")
        within = folder / _SPLIT_FOLDERS[row.split]
        put(within / _IMAGES / one.name, one.content)
        label = {"six_points": one.sample.xy + _FIRST_PIXEL, "VHS": [[row.vhs]]}
        put(within / _LABELS / Path(one.name).with_suffix(".mat").name, _encoded(label))


def _encoded(label: dict[str, object]) -> bytes:
    from scipy.io import savemat

    file = io.BytesIO()
    savemat(file, label)
    # SciPy writes the time of day there: the same label would be other bytes each time.
    return _HEADER + file.getvalue()[len(_HEADER) :]
