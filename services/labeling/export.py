"""A project's labels as a dataset file. The same labels give the same bytes."""

from itertools import groupby
from operator import itemgetter

from sqlalchemy.ext.asyncio import AsyncSession

from canicor import layouts, manifest
from canicor.errors import FailedPrecondition
from canicor.labeling.v1 import labeling_pb2 as pb
from canicor.layouts import FileLayout, Sample
from services.labeling.consensus import Consensus, consensus
from services.labeling.labels import standing
from services.labeling.tables import LABELLED, Image

_ORIGINS = {
    pb.ORIGIN_REAL: manifest.Origin.REAL,
    pb.ORIGIN_GENERATED: manifest.Origin.GENERATED,
    pb.ORIGIN_PHANTOM: manifest.Origin.PHANTOM,
}
_UNREVIEWED = "pending"

_LAYOUTS = {
    pb.EXPORT_FORMAT_MANIFEST: FileLayout.MANIFEST,
    pb.EXPORT_FORMAT_COCO: FileLayout.COCO,
    pb.EXPORT_FORMAT_CSV: FileLayout.CSV,
    pb.EXPORT_FORMAT_LABEL_STUDIO: FileLayout.LABEL_STUDIO,
}


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
    return layouts.encode(samples, _LAYOUTS[export_format])


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
