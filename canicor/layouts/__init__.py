"""Labelled radiographs as others lay them out -> rows of a manifest, and back.

| layout | | read and written in |
| --- | --- | --- |
| manifest | a Parquet file; written alone | `canicor.manifest` |
| COCO key points | a JSON file | `coco` |
| CSV | a line for each image | `csv_table` |
| Label Studio | a JSON file of tasks | `label_studio` |
| YOLO pose | `data.yaml` with folders `images` and `labels` | `yolo` |
| DogHeart and CCK (VHSMarker) | folders `Images` and `Labels`, of MATLAB files | `matlab` |
| classes | folders `Small`, `Normal` and `Large`; read alone | `class_folders` |
| images | a folder of them, without labels; read alone | here |

The last three may lie in folders `Train`, `Valid` and `Test`, which state the splits. Files are named relative to
the folder or the file that is given. Needs pyarrow, which the extras `labeling` and `training` bring.
"""

import csv
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import astuple, dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from canicor import manifest, radiograph, store
from canicor.errors import CanicorError, InvalidArgument, Unavailable
from canicor.layouts import class_folders, coco, csv_table, label_studio, matlab, yolo
from canicor.layouts.entries import SPLITS, Copy, Entry, Sample, bad_layout, image_files_below, pixels_of
from canicor.manifest import VHS_ROUNDING, Origin, Row, label_problems
from canicor.vhs import HeartSize, KeyPoints, measure

__all__ = ["FileLayout", "FolderLayout", "Import", "Sample", "Unlabelled", "encode", "read", "write"]

_SUFFIXES = {"DICOM": ".dcm", "JPEG": ".jpg", "PNG": ".png", "TIFF": ".tif"}


class FileLayout(StrEnum):
    """Layouts of one file, which names images by their URLs."""

    MANIFEST = "manifest"
    COCO = "coco"
    CSV = "csv"
    LABEL_STUDIO = "label-studio"


class FolderLayout(StrEnum):
    """Layouts of a folder, which holds the images too."""

    YOLO = "yolo"
    MATLAB = "matlab"


_ENCODERS: dict[FileLayout, Callable[[Sequence[Sample]], bytes]] = {
    FileLayout.MANIFEST: lambda samples: manifest.write(sample.row for sample in samples),
    FileLayout.COCO: coco.encode,
    FileLayout.CSV: csv_table.encode,
    FileLayout.LABEL_STUDIO: label_studio.encode,
}
_WRITERS = {FolderLayout.YOLO: yolo.write, FolderLayout.MATLAB: matlab.write}


@dataclass(frozen=True)
class Unlabelled:
    """An image that has no label.

    Attributes:
        image_url: As `canicor.store.read` takes it; whether there is such an image was not looked at.
        subject_id: The dog; empty where nothing is said.
    """

    image_url: str
    subject_id: str
    origin: Origin


@dataclass(frozen=True)
class Import:
    """What was found.

    Attributes:
        rows: Of a manifest. Their labeller is the one that is stated, else the name of the source.
        problems: A line for each image that could not be taken, and why.
        unlabelled: Images without a label.
    """

    rows: tuple[Row, ...]
    problems: tuple[str, ...]
    unlabelled: tuple[Unlabelled, ...]


def read(source: Path, done: Callable[[int, int], None]) -> Import:
    """Reads images and labels in whichever layout it is.

    Args:
        source: A folder, or a CSV, JSON or YAML file.
        done: Told how many images of how many were read.

    Raises:
        InvalidArgument: BAD_LAYOUT: it is none of them.
        Unavailable: The store of an image does not answer.
    """
    folder = source if source.is_dir() else source.parent
    entries = _entries(source)
    problems = [one for one in entries if isinstance(one, str)]
    stated = [one for one in entries if isinstance(one, Entry)]
    rows: list[Row] = []
    unlabelled: list[Unlabelled] = []
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        taken = threads.map(partial(_taken, folder, source.resolve().name), stated)
        for count, (one, image) in enumerate(zip(stated, taken, strict=True), 1):
            if isinstance(image, Row):
                rows.append(image)
            elif isinstance(image, Unlabelled):
                unlabelled.append(image)
            else:
                problems.append(f"{one.image}: {image}")
            done(count, len(stated))
    return Import(tuple(rows), tuple(problems), tuple(unlabelled))


def encode(samples: Sequence[Sample], layout: FileLayout) -> bytes:
    """Returns a dataset as a file; the same samples give the same bytes.

    Raises:
        InvalidArgument: NO_KEY_POINTS: a sample has a class alone, and the layout holds points.
    """
    return _ENCODERS[layout](samples)


def write(rows: Sequence[Row], layout: FolderLayout, folder: Path, done: Callable[[int, int], None]) -> None:
    """Writes a dataset as a folder that appears whole; the same rows give the same bytes.

    Images are copied as they are and named by their SHA-256, so that each keeps its name as the dataset grows.

    Args:
        rows: With key points, each image once.
        layout: The layout.
        folder: New, or empty.
        done: Told how many images of how many were written.

    Raises:
        InvalidArgument: FOLDER_NOT_EMPTY, NO_KEY_POINTS, DOUBLE_IMAGE, or SPLIT: the layout has no place for it.
        DataLoss: An image is gone, or another one.
        Unavailable: The store of an image does not answer.
    """
    folder = folder.resolve()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InvalidArgument(f"{folder} is no empty folder: name a new one.", reason="FOLDER_NOT_EMPTY")
    if len({row.image_sha256 for row in rows}) < len(rows):
        raise InvalidArgument("An image is there twice: a folder holds each once.", reason="DOUBLE_IMAGE")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as part:
        made = Path(part) / folder.name
        made.mkdir()
        _WRITERS[layout](_copies(rows, done), made)
        made.replace(folder)


def _entries(source: Path) -> list[Entry | str]:
    try:
        if source.is_dir():
            entries = list(_folder(source))
        elif (suffix := source.suffix.lower()) == ".csv":
            entries = list(csv_table.read(source))
        elif suffix == ".json":
            document = json.loads(source.read_bytes())
            reader = label_studio.read if isinstance(document, list) else coco.read
            entries = list(reader(document))
        elif suffix in {".yaml", ".yml"}:
            entries = list(yolo.read(source))
        else:
            raise bad_layout(f"{source} is neither a folder nor a CSV, JSON or YAML file.")
    except (OSError, RecursionError, UnicodeDecodeError, csv.Error, json.JSONDecodeError) as error:
        raise bad_layout(f"{source} can't be read: {error}.") from error
    if not entries and source.is_dir():
        raise bad_layout(f"{source} holds no image, in folders Train, Valid and Test or without.")
    return entries


def _folder(source: Path) -> Iterator[Entry | str]:
    if (source / yolo.FILE).is_file():
        yield from yolo.read(source / yolo.FILE)
        return
    for split, folder in _split_folders(source):
        if matlab.is_one(folder):
            yield from matlab.read(source, folder, split)
        elif class_folders.is_one(folder):
            yield from class_folders.read(source, folder, split)
        else:
            images = image_files_below(folder)
            yield from (Entry(str(one.relative_to(source)), split=split) for one in images)


def _split_folders(source: Path) -> list[tuple[str, Path]]:
    named = {one.name.lower(): one for one in sorted(source.iterdir()) if one.is_dir()}
    return [(SPLITS[name], one) for name, one in named.items() if name in SPLITS] or [("", source)]


def _taken(folder: Path, source: str, one: Entry) -> Row | Unlabelled | str:
    """Returns what becomes of an image, or what is wrong with it or its label."""
    try:
        url = _url(folder, one.image)
        if one.label is None:
            return Unlabelled(url, one.subject, one.origin)
        content = store.read(url)
        image = radiograph.decode(content)
        aspect = image.pixel_aspect[0] / image.pixel_aspect[1]
        if isinstance(one.label, HeartSize):
            key_points, vhs, size = None, None, one.label
        else:
            xy = pixels_of(one.label, image.width, image.height) if one.fractions else one.label
            key_points = KeyPoints.from_array(xy)
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
        labeller=one.labeller or source,
        review_state="pending",
    )
    problems = label_problems(row, (image.height, image.width))
    if one.vhs is not None and vhs is not None and abs(one.vhs - vhs) > VHS_ROUNDING:
        problems.append(f"its VHS is stated as {one.vhs:.2f}, that of its points is {vhs:.2f}")
    return "; ".join(problems) or row


def _url(folder: Path, image: str) -> str:
    """Returns the URL of an image; what a file of others names by its path lies below that file's folder."""
    if "://" in image:
        return image
    path = Path(image)
    if path.parts and not path.is_absolute() and ".." not in path.parts:
        # A NUL, or what is no text, names no file.
        with suppress(ValueError):
            return store.file_url(folder / path)
    raise InvalidArgument(
        "an image is named by its URL, or by its path below the folder of the labels", reason="IMAGE_NAME"
    )


def _copies(rows: Sequence[Row], done: Callable[[int, int], None]) -> Iterator[Copy]:
    for count, row in enumerate(rows, 1):
        content = store.read_checked(row.image_url, row.image_sha256)
        image = radiograph.decode(content)
        name = row.image_sha256 + _SUFFIXES[image.format]
        yield Copy(Sample(row, image.width, image.height), name, content)
        done(count, len(rows))
