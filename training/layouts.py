"""Labelled radiographs as others lay them out -> rows of a manifest.

- DogHeart and CCK (VHSMarker): `Images/NAME.png` and `Labels/NAME.mat`, a MATLAB file with `six_points` and `VHS`.
- Folders `Small`, `Normal` and `Large` with images: classes without key points.
- CSV: a line for each image with its `file` or `image_url` and its points, `a_x` to `f_y`; where there are,
  `subject_id`, `split`, `vhs` and `origin`.
- COCO key points (JSON, https://cocodataset.org/#format-data), as the labelling service exports them.

The first two may lie in folders `Train`, `Valid` and `Test`, which state the splits. Files are named relative to
the folder or the file that is given.
"""

import csv
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.io import loadmat
from scipy.io.matlab import MatReadError

from canicor import radiograph, store
from canicor.errors import CanicorError, InvalidArgument, Unavailable
from canicor.manifest import Origin, Row
from canicor.vhs import KEY_POINT_NAMES, HeartSize, KeyPoints, measure
from training.checks import VHS_ROUNDING, label_problems

_SPLITS = {
    "train": "train",
    "valid": "validation",
    "val": "validation",
    "validation": "validation",
    "test": "test",
    "test_images": "test",
}
_IMAGES, _LABELS = "Images", "Labels"
_CLASSES = {size.lower(): size for size in HeartSize}
_SUFFIXES = frozenset({".bmp", ".dcm", ".dicom", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ""})

# MATLAB counts pixels from 1.
_FIRST_PIXEL = 1.0


@dataclass(frozen=True)
class Import:
    """What was found.

    Attributes:
        rows: Of a manifest.
        problems: A line for each image that could not be taken, and why.
        unlabelled: How many images have no label.
    """

    rows: tuple[Row, ...]
    problems: tuple[str, ...]
    unlabelled: int


@dataclass(frozen=True)
class _Labelled:
    """An image and what is stated about it."""

    image: str  # a URL, or a path relative to the layout's folder
    label: HeartSize | NDArray[np.float64]  # its class, or its six points (x, y)
    split: str = ""
    subject: str = ""
    vhs: float | None = None
    origin: Origin = Origin.REAL


# A labelled image, what is wrong with one, or None for one without a label.
_Found = _Labelled | str | None


def read(source: Path, done: Callable[[int, int], None]) -> Import:
    """Reads images and labels in whichever layout it is.

    Args:
        source: A folder, a CSV file or a JSON file.
        done: Told how many images of how many were read.

    Raises:
        InvalidArgument: BAD_LAYOUT: it is none of them.
    """
    folder = source if source.is_dir() else source.parent
    found = _layout(source)
    taken: list[Row] = []
    problems = [one for one in found if isinstance(one, str)]
    labelled = [one for one in found if isinstance(one, _Labelled)]
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        rows = threads.map(partial(_row, folder, source.name), labelled)
        for count, (one, row) in enumerate(zip(labelled, rows, strict=True), 1):
            if isinstance(row, Row):
                taken.append(row)
            else:
                problems.append(f"{one.image}: {row}")
            done(count, len(labelled))
    return Import(tuple(taken), tuple(problems), found.count(None))


def _layout(source: Path) -> list[_Found]:
    try:
        if source.is_dir():
            return [one for split, folder in _split_folders(source) for one in _folder(source, folder, split)]
        if source.suffix.lower() == ".csv":
            return list(_csv(source))
        if source.suffix.lower() == ".json":
            return list(_coco(source))
    except (OSError, UnicodeDecodeError, csv.Error, json.JSONDecodeError) as error:
        raise _bad_layout(f"{source} can't be read: {error}.") from error
    raise _bad_layout(f"{source} is neither a folder nor a CSV or JSON file.")


def _split_folders(source: Path) -> list[tuple[str, Path]]:
    named = {one.name.lower(): one for one in sorted(source.iterdir()) if one.is_dir()}
    return [(_SPLITS[name], one) for name, one in named.items() if name in _SPLITS] or [("", source)]


def _folder(source: Path, folder: Path, split: str) -> Iterator[_Found]:
    if (folder / _IMAGES).is_dir():
        return _matlab(source, folder, split)
    classes = [one for one in sorted(folder.iterdir()) if one.is_dir() and one.name.lower() in _CLASSES]
    if classes:
        return (
            _Labelled(str(image.relative_to(source)), _CLASSES[one.name.lower()], split)
            for one in classes
            for image in _images(one)
        )
    raise _bad_layout(
        f"{folder} holds neither {_IMAGES} and {_LABELS} nor folders {', '.join(HeartSize)}, "
        "in folders Train, Valid and Test or without."
    )


def _images(folder: Path) -> Iterable[Path]:
    return (one for one in sorted(folder.iterdir()) if one.is_file() and one.suffix.lower() in _SUFFIXES)


def _matlab(source: Path, folder: Path, split: str) -> Iterator[_Found]:
    labels = {one.stem: one for one in folder.glob(f"{_LABELS}/*.mat")}
    for image in _images(folder / _IMAGES):
        name = str(image.relative_to(source))
        label = labels.pop(image.stem, None)
        if label is None:
            yield None
            continue
        try:
            stated = loadmat(label)
            points = np.asarray(stated["six_points"], dtype=np.float64) - _FIRST_PIXEL
            yield _Labelled(name, points, split, vhs=float(np.ravel(stated["VHS"])[0]))
        except (MatReadError, KeyError, IndexError, NotImplementedError, OSError, TypeError, ValueError):
            yield f"{label.relative_to(source)}: no MATLAB file (up to version 7) with six_points and VHS"
    yield from (f"{one.relative_to(source)}: there is no image of this name" for one in labels.values())


def _csv(source: Path) -> Iterator[_Found]:
    columns = [f"{name}_{axis}".lower() for name in KEY_POINT_NAMES for axis in "xy"]
    with source.open(newline="") as file:
        table = csv.DictReader(file)
        header = [name.lower() for name in table.fieldnames or ()]
        table.fieldnames = header
        if not {"file", "image_url"} & set(header) or not set(columns) <= set(header):
            raise _bad_layout(f"{source} needs columns file or image_url, and {', '.join(columns)}.")
        for line in table:
            image = line.get("image_url") or line.get("file") or ""
            coordinates = [line[column] for column in columns]
            if not any(coordinates):
                yield None
                continue
            split = (line.get("split") or "").lower()
            try:
                points = np.array(coordinates, dtype=np.float64).reshape(-1, 2)
                vhs = float(line["vhs"]) if line.get("vhs") else None
                origin = Origin(line.get("origin") or Origin.REAL)
            except ValueError as error:
                yield f"{image or f'line {table.line_num}'}: {error}"
                continue
            yield _Labelled(image, points, _SPLITS.get(split, split), line.get("subject_id") or "", vhs, origin)


def _coco(source: Path) -> Iterator[_Found]:
    document = json.loads(source.read_text())
    try:
        annotations: dict[Any, list[dict[str, Any]]] = {one["id"]: [] for one in document["images"]}
        for one in document["annotations"]:
            annotations[one["image_id"]].append(one)
        for image in document["images"]:
            yield _coco_image(image, annotations[image["id"]])
    except (AttributeError, KeyError, TypeError) as error:
        raise _bad_layout(f"{source} is no COCO file with images, annotations and key points.") from error


def _coco_image(image: dict[str, Any], annotations: list[dict[str, Any]]) -> _Found:
    name = image["file_name"]
    if not annotations:
        return None
    if len(annotations) > 1:
        return f"{name}: it has {len(annotations)} annotations, not one"
    (annotation,) = annotations
    numbers = annotation["keypoints"]
    if len(numbers) != 3 * len(KEY_POINT_NAMES):
        return f"{name}: it has {len(numbers) // 3} key points, not {len(KEY_POINT_NAMES)}"
    points = np.array(numbers, dtype=np.float64).reshape(-1, 3)
    if not points[:, 2].all():
        return f"{name}: not all of its key points are labelled"
    return _Labelled(name, points[:, :2], subject=image.get("subject_id", ""), vhs=annotation.get("vhs"))


def _row(folder: Path, labeller: str, one: _Labelled) -> Row | str:
    """Returns the row, or what is wrong with the image or its label."""
    try:
        url = one.image if "://" in one.image else store.file_url(folder / one.image)
        content = store.read(url)
        image = radiograph.decode(content)
        aspect = image.pixel_aspect[0] / image.pixel_aspect[1]
        if isinstance(one.label, HeartSize):
            key_points, vhs, size = None, None, one.label
        else:
            key_points = KeyPoints.from_array(one.label)
            vhs, _, _, size = astuple(measure(key_points, image.pixel_aspect))
    except Unavailable:
        raise
    except CanicorError as error:
        return error.message
    row = Row(
        image_url=url,
        image_sha256=hashlib.sha256(content).hexdigest(),
        origin=one.origin,
        batch_id="",
        batch_index=0,
        batch_seed=0,
        subject_id=one.subject,
        split=one.split,
        key_points=key_points,
        pixel_aspect=aspect,
        vhs=vhs,
        heart_size=size,
        labeller=labeller,
        review_state="pending",
    )
    problems = label_problems(row, (image.height, image.width))
    if one.vhs is not None and vhs is not None and abs(one.vhs - vhs) > VHS_ROUNDING:
        problems.append(f"its VHS is stated as {one.vhs:.2f}, that of its points is {vhs:.2f}")
    return "; ".join(problems) or row


def _bad_layout(message: str) -> InvalidArgument:
    return InvalidArgument(message, reason="BAD_LAYOUT", field="source")
