"""What the labels of one image say together, and whether a reviewer has to decide between them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sqlalchemy import and_, func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from canicor.labeling.v1 import labeling_pb2 as pb
from canicor.vhs import KeyPoints, Measurement, measure
from services.labeling import projects
from services.labeling.tables import (
    DISPUTED,
    LABELLED,
    OPEN,
    REJECTED,
    TO_ADJUDICATE,
    TO_LABEL,
    Image,
    Label,
    Review,
    Task,
)

Standing = tuple[Label, Review | None]
"""A label that counts, rejects too, and its review."""

counts = and_(Label.check.is_(False), or_(Review.verdict.is_(None), Review.verdict != pb.REVIEW_STATE_SENT_BACK))
"""Whether a label counts, in queries that join reviews from outside."""


@dataclass(frozen=True)
class Consensus:
    """What the labels of an image come to.

    Attributes:
        key_points: Each point the mean of where the labels have it.
        measured: What follows from these.
        labellers: Who placed them, by name.
        review_state: `pending` until a reviewer has seen each label; then `approved`, or `corrected` where he
            moved points of any. `adjudicated` where he decided between labels that disagreed.
    """

    key_points: KeyPoints
    measured: Measurement
    labellers: Sequence[str]
    review_state: str


async def settle(session: AsyncSession, image: Image) -> None:
    """Sets an image's state by its labels; where they disagree, a reviewer gets the task to decide.

    Args:
        session: A transaction that holds the image locked.
        image: The image.
    """
    query = select(Label, Review).outerjoin(Review, Review.label_id == Label.id)
    rows = await session.execute(query.where(Label.image_id == image.id, counts))
    labels = deciding([(label, review) for label, review in rows])
    wanted = select(func.count()).where(Task.image_id == image.id, Task.kind == TO_LABEL, Task.done.is_(False))
    if any(label.adjudication for label, _ in labels) or not await session.scalar(wanted):
        project = await projects.found_or_made(session, image.project)
        image.state = _state(image, labels, project.max_disagreement)
    else:
        image.state = OPEN
    decision = await session.scalar(
        select(Task).where(Task.image_id == image.id, Task.kind == TO_ADJUDICATE, Task.done.is_(False))
    )
    if image.state == DISPUTED and decision is None:
        session.add(Task(project=image.project, image_id=image.id, kind=TO_ADJUDICATE))
    elif image.state != DISPUTED and decision is not None:
        await session.delete(decision)
    await session.flush()


def deciding(labels: Sequence[Standing]) -> Sequence[Standing]:
    """Returns the labels that decide: a reviewer's who saw the others alone, else all."""
    return [one for one in labels if one[0].adjudication] or labels


def consensus(image: Image, labels: Sequence[Standing]) -> Consensus:
    """Returns what labels of an image come to that agree.

    Args:
        image: Labelled.
        labels: Those that count, none of them a reject but where another decides.
    """
    rows = deciding(labels)
    placed = [points for one in rows if (points := result_of(*one)) is not None]
    points = KeyPoints.from_array(np.mean([one.xy for one in placed], axis=0))
    labellers = [label.labeller for label, _ in rows]
    return Consensus(points, measure(points, (image.pixel_aspect, 1.0)), labellers, _review_state(rows))


def result_of(label: Label, review: Review | None) -> KeyPoints | None:
    """Returns the points that count: the reviewer's before the labeller's; None for a reject."""
    placed = (review and review.key_points) or label.key_points
    return KeyPoints.from_array(placed) if placed else None


def _state(image: Image, labels: Sequence[Standing], max_disagreement: float) -> int:
    results = [result_of(*one) for one in labels]
    vhs = [measure(points, (image.pixel_aspect, 1.0)).vhs for points in results if points is not None]
    if not vhs:
        return REJECTED
    agree = len(vhs) == len(results) and max(vhs) - min(vhs) <= max_disagreement
    return LABELLED if agree else DISPUTED


def _review_state(labels: Sequence[Standing]) -> str:
    if any(label.adjudication for label, _ in labels):
        return "adjudicated"
    if any(review is None for _, review in labels):
        return "pending"
    corrected = any(review is not None and review.verdict == pb.REVIEW_STATE_CORRECTED for _, review in labels)
    return "corrected" if corrected else "approved"
