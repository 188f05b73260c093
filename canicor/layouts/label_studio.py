"""Label Studio's JSON: a list of tasks, each with its `data` and `annotations`.

Sources: https://labelstud.io/guide/task_format and https://labelstud.io/tags/keypointlabels. A point is a result
of the type `keypointlabels`, x and y in percent of the image from its upper left corner. The image is
`data.image`, and the labels are `A` to `F`:

    <View>
      <Image name="image" value="$image"/>
      <KeyPointLabels name="label" toName="image">
        <Label value="A"/> <Label value="B"/> <Label value="C"/>
        <Label value="D"/> <Label value="E"/> <Label value="F"/>
      </KeyPointLabels>
    </View>

What else a manifest has of an image lies in `data`, which may hold anything.
"""

import json
from collections.abc import Iterator, Sequence
from typing import Any

from canicor.layouts.entries import Entry, Sample, bad_layout, fractions_of, numbers, stated_vhs
from canicor.manifest import Origin
from canicor.vhs import KEY_POINT_NAMES

_TYPE = "keypointlabels"
_PERCENT = 100.0

# How large a point is drawn, in percent of the image.
_DRAWN = 0.5


def read(tasks: Any) -> Iterator[Entry | str]:  # noqa: ANN401
    """Yields the images of a list of tasks, and what is wrong with annotations.

    Raises:
        InvalidArgument: BAD_LAYOUT: they are no tasks.
    """
    try:
        for task in tasks:
            yield _entry(task)
    except (AttributeError, IndexError, KeyError, TypeError) as error:
        raise bad_layout("This is no Label Studio file of tasks with data.image and annotations.") from error


def encode(samples: Sequence[Sample]) -> bytes:
    """Returns a list in which each sample is a task with one annotation.

    Raises:
        InvalidArgument: NO_KEY_POINTS: a sample has a class alone.
    """
    return json.dumps([_task(sample) for sample in samples], indent=1).encode()


def _entry(task: dict[str, Any]) -> Entry | str:
    data = task["data"]
    name = str(data["image"])
    annotations = [one for one in task.get("annotations") or () if not one.get("was_cancelled")]
    if len(annotations) > 1:
        return f"{name}: it has {len(annotations)} annotations, not one"
    try:
        return Entry(
            name,
            _fractions(annotations[0]["result"]) if annotations else None,
            fractions=True,
            split=str(data.get("split") or ""),
            subject=str(data.get("subject_id") or ""),
            vhs=stated_vhs(data.get("vhs")),
            origin=Origin(data.get("origin") or Origin.REAL),
            labeller=str(data.get("labeller") or ""),
        )
    except ValueError as error:
        return f"{name}: {error}"


def _fractions(results: list[dict[str, Any]]) -> Any:  # noqa: ANN401
    """Returns the points [6, 2] of an annotation as fractions of the image."""
    placed: dict[str, tuple[Any, Any]] = {}
    for one in results:
        if one["type"] != _TYPE:
            continue
        if one.get("image_rotation"):
            raise ValueError("the image was turned in Label Studio, and its points with it")
        label, *further = one["value"][_TYPE]
        if further:
            raise ValueError(f"point {label} is labelled {', '.join(map(str, further))} too")
        if label in placed:
            raise ValueError(f"point {label} is there twice")
        placed[label] = (one["value"]["x"], one["value"]["y"])
    if missing := [name for name in KEY_POINT_NAMES if name not in placed]:
        raise ValueError(f"points {', '.join(missing)} are missing")
    return numbers([placed[name] for name in KEY_POINT_NAMES], 2) / _PERCENT


def _task(sample: Sample) -> dict[str, object]:
    row = sample.row
    percent = _PERCENT * fractions_of(sample.xy, sample.width, sample.height)
    results = [
        {
            "id": name,
            "type": _TYPE,
            "from_name": "label",
            "to_name": "image",
            "original_width": sample.width,
            "original_height": sample.height,
            "image_rotation": 0,
            "value": {"x": x, "y": y, "width": _DRAWN, _TYPE: [name]},
        }
        for name, (x, y) in zip(KEY_POINT_NAMES, percent.tolist(), strict=True)
    ]
    data = {
        "image": row.image_url,
        "sha256": row.image_sha256,
        "origin": row.origin,
        "subject_id": row.subject_id,
        "split": row.split,
        "pixel_aspect": row.pixel_aspect,
        "vhs": row.vhs,
        "heart_size": row.heart_size,
        "labeller": row.labeller,
        "review_state": row.review_state,
    }
    return {"data": data, "annotations": [{"result": results}]}
