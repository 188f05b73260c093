"""A project's labels as a dataset file. The same labels give the same bytes."""

import csv
import io
import json
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter

from sqlalchemy.ext.asyncio import AsyncSession

from canicor import manifest
from canicor.errors import FailedPrecondition
from canicor.labeling.v1 import labeling_pb2 as pb
from canicor.vhs import KEY_POINT_NAMES
from services.labeling.consensus import Consensus, consensus
from services.labeling.labels import standing
from services.labeling.tables import LABELLED, Image

_ORIGINS = {
    pb.ORIGIN_REAL: manifest.Origin.REAL,
    pb.ORIGIN_GENERATED: manifest.Origin.GENERATED,
    pb.ORIGIN_PHANTOM: manifest.Origin.PHANTOM,
}
_UNREVIEWED = "pending"

# https://cocodataset.org/#format-data: v = 2 is a point that is labelled and visible, skeletons count from 1.
_VISIBLE = 2
_SKELETON = [[1, 2], [3, 4], [5, 6]]


@dataclass(frozen=True)
class Sample:
    """A labelled image of a dataset.

    Attributes:
        row: Its row of the manifest, not yet split.
        width, height: Of the image in pixels.
    """

    row: manifest.Row
    width: int
    height: int


async def dataset(session: AsyncSession, project: str, *, reviewed_only: bool) -> list[Sample]:
    """Returns the labelled images of a project, by order of import.

    Args:
        session: A transaction.
        project: The project.
        reviewed_only: Only images of whose labels a reviewer has seen each.

    Raises:
        FailedPrecondition: There is none.
    """
    rows = await session.execute(standing(project).where(Image.state == LABELLED))
    samples = [
        _sample(image, consensus(image, [(label, review) for _, label, review in group]))
        for image, group in groupby(rows, key=itemgetter(0))
    ]
    if reviewed_only:
        samples = [sample for sample in samples if sample.row.review_state != _UNREVIEWED]
    if not samples:
        kind = "reviewed label" if reviewed_only else "label"
        raise FailedPrecondition(
            f"Project {project!r} has no {kind} to export.", reason="NO_LABELS", field="project"
        )
    return samples


def encode(samples: list[Sample], export_format: pb.ExportFormat.ValueType) -> bytes:
    """Returns a dataset as a file."""
    if export_format == pb.EXPORT_FORMAT_COCO:
        return _coco(samples)
    if export_format == pb.EXPORT_FORMAT_CSV:
        return _csv(samples)
    return manifest.write(sample.row for sample in samples)


def digest(samples: list[Sample]) -> str:
    """Returns the dataset's digest: its manifest's, whatever the format."""
    return manifest.digest(sample.row for sample in samples)


def _sample(image: Image, said: Consensus) -> Sample:
    row = manifest.Row(
        image_url=image.url,
        image_sha256=image.sha256,
        origin=_ORIGINS[image.origin],
        batch_id=image.batch_id,
        batch_index=image.batch_index,
        batch_seed=image.batch_seed,
        subject_id=image.subject_id,
        split="",
        key_points=said.key_points,
        pixel_aspect=image.pixel_aspect,
        vhs=said.measured.vhs,
        heart_size=said.measured.heart_size,
        labeller=", ".join(said.labellers),
        review_state=said.review_state,
    )
    return Sample(row, image.width, image.height)


def _csv(samples: list[Sample]) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, manifest.SCHEMA.names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(manifest.records(sample.row for sample in samples))
    return text.getvalue().encode()


def _coco(samples: list[Sample]) -> bytes:
    heart = {
        "id": 1,
        "name": "heart",
        "supercategory": "thorax",
        "keypoints": KEY_POINT_NAMES,
        "skeleton": _SKELETON,
    }
    document = {
        "images": [_coco_image(number, sample) for number, sample in enumerate(samples, 1)],
        "annotations": [_coco_annotation(number, sample.row) for number, sample in enumerate(samples, 1)],
        "categories": [heart],
    }
    return json.dumps(document, indent=1).encode()


def _coco_image(number: int, sample: Sample) -> dict[str, object]:
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


def _coco_annotation(number: int, row: manifest.Row) -> dict[str, object]:
    assert row.key_points is not None  # noqa: S101 - `dataset` leaves out what has none
    xy = row.key_points.xy
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
