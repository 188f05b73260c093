"""YOLO pose: `data.yaml`, images in `images`, and for each a text file with its points in `labels`.

Source: https://docs.ultralytics.com/datasets/pose. A line is an object: its class, centre, width and height of its
box, then x, y and v of each point, where v may be left out for all. All of it is in fractions of the image's width
and height from its upper left corner. Needs PyYAML, which the extras `labeling` and `training` bring.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path, PurePath
from typing import Any

from canicor.errors import InvalidArgument
from canicor.layouts.entries import (
    Copy,
    Entry,
    Sample,
    bad_layout,
    fractions_of,
    image_files_below,
    numbers,
    put,
    visible,
)
from canicor.vhs import KEY_POINT_NAMES

FILE = "data.yaml"

_IMAGES, _LABELS = "images", "labels"
_SPLITS = {"train": "train", "val": "validation", "test": "test"}
_SPLIT_FOLDERS = {split: key for key, split in _SPLITS.items()}
_BEFORE_POINTS = 5
_VISIBLE = 2


def read(source: Path) -> Iterator[Entry | str]:
    """Yields the images that a `data.yaml` names, and what is wrong with labels.

    Folders are looked for beside the file, whatever its `path` says: that is where they were on another machine.

    Raises:
        InvalidArgument: BAD_LAYOUT: it is no such file.
        OSError, UnicodeDecodeError: It can't be read.
    """
    root = source.parent
    columns, folders = _dataset(source)
    for folder, split in folders.items():
        if not (root / folder).is_dir():
            raise bad_layout(f"{source} names a folder {folder} that is not beside it.")
        for file in image_files_below(root / folder):
            image = file.relative_to(root)
            label = root / _label_of(image)
            lines = label.read_text(encoding="utf-8").splitlines() if label.is_file() else []
            yield _entry(str(image), [line for line in lines if line.strip()], columns, split)


def write(images: Iterable[Copy], folder: Path) -> None:
    """Writes `data.yaml`, images and labels; images without a split are for training and validation both.

    Raises:
        InvalidArgument: An image has no key points or another split, or only some have one.
    """
    splits = set()
    for one in images:
        split = one.sample.row.split
        if split and split not in _SPLIT_FOLDERS:
            raise InvalidArgument(f"{one.sample.row.image_url}: there is no split {split!r}.", reason="SPLIT")
        within = _SPLIT_FOLDERS.get(split, "")
        put(folder / _IMAGES / within / one.name, one.content)
        put(folder / _LABELS / within / Path(one.name).with_suffix(".txt").name, _line(one.sample))
        splits.add(split)
    if len(splits) > 1 and "" in splits:
        raise InvalidArgument("Some images have a split and some have none: split all or none.", reason="SPLIT")
    put(folder / FILE, _data_yaml(splits))


def _dataset(source: Path) -> tuple[int, dict[PurePath, str]]:
    """Returns how many numbers a point has, and the folders of images with their splits."""
    import yaml

    try:
        stated = yaml.safe_load(source.read_text(encoding="utf-8"))
        points, columns = stated["kpt_shape"]
        # Exports of Roboflow name folders beside the file as if they were beside its folder.
        named = [
            (PurePath(stated[key].removeprefix("../")), split) for key, split in _SPLITS.items() if stated.get(key)
        ]
    except (yaml.YAMLError, AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
        raise bad_layout(
            f"{source} is no data.yaml of YOLO pose with kpt_shape and the folders train, val and test."
        ) from error
    if points != len(KEY_POINT_NAMES) or columns not in (2, 3):
        raise bad_layout(f"{source} is of {points} key points, not {len(KEY_POINT_NAMES)}.")
    folders: dict[PurePath, str] = {}
    for folder, split in named:
        if folder.is_absolute() or ".." in folder.parts:
            raise bad_layout(f"{source} names a folder {folder} that is not beside it.")
        # Training and validation alike is no split.
        folders[folder] = "" if folder in folders else split
    return columns, folders


def _label_of(image: PurePath) -> PurePath:
    """Returns the label's path: the image's, with `labels` for the last folder `images`."""
    parts = list(image.parent.parts)
    if _IMAGES in parts:
        parts[len(parts) - 1 - parts[::-1].index(_IMAGES)] = _LABELS
    return PurePath(*parts, image.name).with_suffix(".txt")


def _entry(image: str, lines: list[str], columns: int, split: str) -> Entry | str:
    if not lines:
        return Entry(image, split=split)
    if len(lines) > 1:
        return f"{image}: it has {len(lines)} objects, not one"
    try:
        points = numbers(lines[0].split()[_BEFORE_POINTS:], columns)
        return Entry(image, visible(points) if columns > 2 else points, fractions=True, split=split)
    except ValueError as error:
        return f"{image}: {error}"


def _line(sample: Sample) -> bytes:
    points = fractions_of(sample.xy, sample.width, sample.height)
    low, high = points.min(axis=0), points.max(axis=0)
    box = [*((low + high) / 2).tolist(), *(high - low).tolist()]
    flagged = [value for x, y in points.tolist() for value in (x, y, _VISIBLE)]
    return (" ".join(map(repr, [0, *box, *flagged])) + "\n").encode()


def _data_yaml(splits: set[str]) -> bytes:
    import yaml

    if "" in splits:
        folders = dict.fromkeys(("train", "val"), _IMAGES)
    else:
        folders = {key: f"{_IMAGES}/{key}" for key, split in _SPLITS.items() if split in splits}
    stated: dict[str, Any] = {
        **folders,
        "kpt_shape": [len(KEY_POINT_NAMES), 3],
        # Each point stays itself in a mirror.
        "flip_idx": list(range(len(KEY_POINT_NAMES))),
        "names": {0: "heart"},
    }
    written: str = yaml.safe_dump(stated, sort_keys=False, default_flow_style=None)
    return written.encode()
