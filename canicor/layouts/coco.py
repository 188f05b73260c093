"""COCO key points: JSON with `images`, `annotations` and `categories`.

Source: https://cocodataset.org/#format-data. Key points are (x, y, v) in pixels from 0; v = 2 is a point that is
labelled and visible, and skeletons count points from 1. Beside what COCO knows, an image written here has
`sha256`, `subject_id` and `pixel_aspect`, an annotation `vhs`, `heart_size`, `labeller` and `review_state`.
"""

import json
from collections.abc import Iterator, Sequence
from typing import Any

from canicor.layouts.entries import Entry, Sample, bad_layout, numbers, stated_vhs, visible
from canicor.vhs import KEY_POINT_NAMES

_VISIBLE = 2
_SKELETON = [[1, 2], [3, 4], [5, 6]]


def read(document: Any) -> Iterator[Entry | str]:  # noqa: ANN401
    """Yields the images of a document, and what is wrong with annotations.

    Raises:
        InvalidArgument: BAD_LAYOUT: it is no COCO document.
    """
    try:
        annotations: dict[Any, list[dict[str, Any]]] = {one["id"]: [] for one in document["images"]}
        for one in document["annotations"]:
            annotations[one["image_id"]].append(one)
        for image in document["images"]:
            yield _entry(image, annotations[image["id"]])
    except (AttributeError, KeyError, TypeError) as error:
        raise bad_layout("This is no COCO file with images, annotations and key points.") from error


def encode(samples: Sequence[Sample]) -> bytes:
    """Returns a document in which each sample is an image with one annotation.

    Raises:
        InvalidArgument: NO_KEY_POINTS: a sample has a class alone.
    """
    heart = {
        "id": 1,
        "name": "heart",
        "supercategory": "thorax",
        "keypoints": KEY_POINT_NAMES,
        "skeleton": _SKELETON,
    }
    document = {
        "images": [_image(number, sample) for number, sample in enumerate(samples, 1)],
        "annotations": [_annotation(number, sample) for number, sample in enumerate(samples, 1)],
        "categories": [heart],
    }
    return json.dumps(document, indent=1).encode()


def _entry(image: dict[str, Any], annotations: list[dict[str, Any]]) -> Entry | str:
    name, subject = str(image["file_name"]), str(image.get("subject_id") or "")
    if not annotations:
        return Entry(name, subject=subject)
    if len(annotations) > 1:
        return f"{name}: it has {len(annotations)} annotations, not one"
    (annotation,) = annotations
    stated, labeller = annotation["keypoints"], str(annotation.get("labeller") or "")
    try:
        points = visible(numbers(stated, 3))
        return Entry(name, points, subject=subject, vhs=stated_vhs(annotation.get("vhs")), labeller=labeller)
    except ValueError as error:
        return f"{name}: {error}"


def _image(number: int, sample: Sample) -> dict[str, object]:
    row = sample.row
    return {
        "id": number,
        "file_name": row.image_url,
        "width": sample.width,
        "height": sample.height,
        "sha256": row.image_sha256,
        "subject_id": row.subject_id,
        "pixel_aspect": row.pixel_aspect,
    }


def _annotation(number: int, sample: Sample) -> dict[str, object]:
    row, xy = sample.row, sample.xy
    (left, top), (width, height) = xy.min(axis=0).tolist(), (xy.max(axis=0) - xy.min(axis=0)).tolist()
    return {
        "id": number,
        "image_id": number,
        "category_id": 1,
        "keypoints": [value for x, y in xy.tolist() for value in (x, y, _VISIBLE)],
        "num_keypoints": len(xy),
        "bbox": [left, top, width, height],
        "area": width * height,
        "iscrowd": 0,
        "vhs": row.vhs,
        "heart_size": row.heart_size,
        "labeller": row.labeller,
        "review_state": row.review_state,
    }
