"""Manifest -> splits -> arrays a model can be fitted on."""

import itertools
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import Self

import numpy as np
from numpy.typing import NDArray

from canicor import store
from canicor.bundle import InputSpec
from canicor.errors import CanicorError, InvalidArgument, Unavailable
from canicor.manifest import Row, label_problems
from canicor.model_input import Placement, Prepared, read
from canicor.monitoring import input_features
from canicor.vhs import HEART_SIZES, KEY_POINT_NAMES, KeyPoints, measure
from training.checks import refuse, shared_pictures

SPLITS = {"train": 0.7, "validation": 0.1, "test": 0.2}
"""The share of each split, as in the study."""

FEWEST_IMAGES = 20
"""With fewer, the validation split would be one image."""

Progress = Callable[[str, int, int], None]
"""Told what is being done, how much of it is done, and how much there is."""


def counting(progress: Progress, what: str, total: int) -> Callable[[], None]:
    """Returns what is to be called each time that one more of `total` is done."""
    done = itertools.count(1)
    return lambda: progress(what, next(done), total)


@dataclass(frozen=True)
class Images:
    """Labelled images of one split, at a model's input size.

    Attributes:
        rows: Their rows in the manifest.
        pixels: uint8 [N, height, width].
        placements: Where each radiograph lies in its input.
        points: float32 [N, 6, 2] key points in input pixels; NaN where only the class is known.
        classes: int64 [N], index into `HEART_SIZES`.
        features: float64 [N, features], `canicor.monitoring.INPUT_FEATURES` of each.
    """

    rows: tuple[Row, ...]
    pixels: NDArray[np.uint8]
    placements: tuple[Placement, ...]
    points: NDArray[np.float32]
    classes: NDArray[np.int64]
    features: NDArray[np.float64]

    @classmethod
    def load(cls, rows: Sequence[Row], spec: InputSpec, loaded: Callable[[], None]) -> Self:
        """Reads, checks, decodes and fits every image; `loaded` is called after each.

        Raises:
            InvalidArgument: BAD_DATASET, with a list: images are missing, not those that were labelled, or no
                radiographs, or what speaks against their labels.
        """
        prepared: list[Prepared] = []
        problems: list[str] = []
        with ThreadPoolExecutor(os.cpu_count()) as threads:
            for row, one in zip(rows, threads.map(partial(_load, spec), rows), strict=True):
                if isinstance(one, Prepared):
                    prepared.append(one)
                    problems += [f"{row.image_url}: {problem}" for problem in label_problems(row, one.received)]
                else:
                    problems.append(f"{row.image_url}: {one.message}")
                loaded()
        refuse(problems)
        unknown = np.full((len(KEY_POINT_NAMES), 2), np.nan)
        points = [
            one.placement.to_input(row.key_points.xy if row.key_points else unknown)
            for row, one in zip(rows, prepared, strict=True)
        ]
        return cls(
            rows=tuple(rows),
            pixels=np.stack([one.pixels for one in prepared]),
            placements=tuple(one.placement for one in prepared),
            points=np.array(points, dtype=np.float32),
            classes=np.array([HEART_SIZES.index(row.heart_size) for row in rows], dtype=np.int64),
            features=np.array([input_features(one) for one in prepared]),
        )

    def pictures(self) -> Iterator[NDArray[np.uint8]]:
        """Yields each radiograph at the model's detail, uint8 [height, width], without the padding around it."""
        _, height, width = self.pixels.shape
        for pixels, place in zip(self.pixels, self.placements, strict=True):
            left, top = (round(edge) for edge in place.offset)
            yield pixels[top : height - top, left : width - left]

    def of(self, split: str) -> Self:
        """Returns the images of a split."""
        return self.at([number for number, row in enumerate(self.rows) if row.split == split])

    def at(self, members: Sequence[int]) -> Self:
        """Returns some of the images, by their numbers."""
        return replace(
            self,
            rows=tuple(self.rows[number] for number in members),
            pixels=self.pixels[members],
            placements=tuple(self.placements[number] for number in members),
            points=self.points[members],
            classes=self.classes[members],
            features=self.features[members],
        )

    def joined(self, others: Self) -> Self:
        """Returns these images and others of the same size behind them."""
        return replace(
            self,
            rows=self.rows + others.rows,
            pixels=np.concatenate((self.pixels, others.pixels)),
            placements=self.placements + others.placements,
            points=np.concatenate((self.points, others.points)),
            classes=np.concatenate((self.classes, others.classes)),
            features=np.concatenate((self.features, others.features)),
        )

    def __len__(self) -> int:
        return len(self.pixels)

    def key_points_of(self, predicted: NDArray[np.floating]) -> list[KeyPoints]:
        """Carries predictions [N, 6, 2] from input pixels into each radiograph's own."""
        return [
            KeyPoints.from_array(place.to_radiograph(points))
            for place, points in zip(self.placements, predicted, strict=True)
        ]

    def vhs_of(self, predicted: NDArray[np.floating]) -> NDArray[np.float64]:
        """Returns the VHS [N] of predictions [N, 6, 2] in input pixels, measured in the radiographs' pixels."""
        key_points = self.key_points_of(predicted)
        spacings = [(row.pixel_aspect, 1.0) for row in self.rows]
        return np.array([measure(one, spacing).vhs for one, spacing in zip(key_points, spacings, strict=True)])


@dataclass(frozen=True)
class Dataset:
    """The three splits."""

    train: Images
    validation: Images
    test: Images

    @classmethod
    def load(cls, rows: Sequence[Row], spec: InputSpec, progress: Progress) -> Self:
        """Loads the images of rows whose split is filled in.

        Raises:
            InvalidArgument: As `Images.load`; or two splits hold the same radiograph.
        """
        images = Images.load(rows, spec, counting(progress, "Reading images", len(rows)))
        refuse(shared_pictures(images.rows, images.pictures()))
        return cls(*(images.of(one) for one in SPLITS))


def split(rows: Sequence[Row], seed: int) -> list[Row]:
    """Fills in the split where it is empty: `SPLITS` within each class, every dog in one split only.

    A row whose dog is in a split already joins it. An image without a subject is its own dog.

    Args:
        rows: Of a manifest.
        seed: The same rows and seed give the same splits.

    Raises:
        InvalidArgument: There are too few images, a split is unknown, a dog is in two splits, a split comes out
            empty, or a class has no image to train on.
    """
    if len(rows) < FEWEST_IMAGES:
        raise _bad_dataset(f"The manifest holds {len(rows)} images: training needs at least {FEWEST_IMAGES}.")
    dogs: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        dogs[subject(row)].append(row)
    splits = {dog: _stated_split(dog, images) for dog, images in dogs.items()}
    for heart_size in HEART_SIZES:
        members = [dog for dog in sorted(dogs) if _class_of(dogs[dog]) == heart_size]
        _assign(members, dogs, splits, np.random.default_rng([seed, HEART_SIZES.index(heart_size)]))
    filled = [replace(row, split=splits[subject(row)]) for row in rows]
    _check_splits(filled)
    return filled


def subject(row: Row) -> str:
    """Returns the dog; one of its own for an image that names none, shared by its copies."""
    return row.subject_id or f"image {row.image_sha256}"


def _assign(
    members: list[str], dogs: dict[str, list[Row]], splits: dict[str, str], rng: np.random.Generator
) -> None:
    """Gives every dog without a split to the one that is furthest behind its share of the class's images."""
    total = sum(len(dogs[dog]) for dog in members)
    behind = {name: share * total for name, share in SPLITS.items()}
    for dog in members:
        if splits[dog]:
            behind[splits[dog]] -= len(dogs[dog])
    for index in rng.permutation(len(members)):
        dog = members[index]
        if not splits[dog]:
            splits[dog] = max(SPLITS, key=lambda name: behind[name])
            behind[splits[dog]] -= len(dogs[dog])


def _class_of(images: Iterable[Row]) -> str:
    """Returns the class that most of a dog's images have."""
    counts = Counter(row.heart_size for row in images)
    return max(HEART_SIZES, key=lambda heart_size: counts[heart_size])


def _stated_split(dog: str, images: Iterable[Row]) -> str:
    stated = sorted({row.split for row in images} - {""})
    if unknown := set(stated) - set(SPLITS):
        raise _bad_dataset(
            f"The manifest names a split {unknown.pop()!r}: use {', '.join(SPLITS)} or leave it empty."
        )
    if len(stated) > 1:
        raise _bad_dataset(f"Subject {dog!r} is in the splits {' and '.join(stated)}: a dog belongs to one only.")
    return stated[0] if stated else ""


def _check_splits(rows: Iterable[Row]) -> None:
    counts = Counter((row.split, row.heart_size) for row in rows)
    for heart_size in HEART_SIZES:
        if not counts["train", heart_size]:
            raise _bad_dataset(f"There is no {heart_size} heart to train on: label or generate some.")
    for name in SPLITS:
        if not any(counts[name, heart_size] for heart_size in HEART_SIZES):
            raise _bad_dataset(f"The {name} split is empty: label more images, of more dogs.")


def _load(spec: InputSpec, row: Row) -> Prepared | CanicorError:
    try:
        return read(store.read_checked(row.image_url, row.image_sha256), spec.height, spec.width, spec.resize)
    except Unavailable:
        raise
    except CanicorError as error:
        return error


def _bad_dataset(message: str) -> InvalidArgument:
    return InvalidArgument(message, reason="BAD_DATASET", field="manifest")
