"""Labels and what reviewers make of them."""

import hashlib
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, Select, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from canicor.errors import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound
from canicor.labeling.v1 import labeling_pb2 as pb
from canicor.measurement.v1 import measurement_pb2 as measurement
from canicor.messages import heart_size_message, key_points_message
from canicor.vhs import KeyPoints, Measurement, measure
from services.labeling import checks, consensus, images, tasks
from services.labeling.tables import TO_ADJUDICATE, TO_CHECK, Image, Label, Review, Task

review_state: ColumnElement[int] = func.coalesce(Review.verdict, pb.REVIEW_STATE_PENDING)
"""Where the review of a label stands, in queries that join reviews from outside."""


@dataclass(frozen=True)
class Outcome:
    """A label as it was placed, and whether this call placed it or a former one under the same `request_id`."""

    label: Label
    new: bool


@dataclass(frozen=True)
class Imported:
    """A label that was placed elsewhere.

    Attributes:
        labeller: Who placed it.
        key_points: Inside the image.
        measured: What follows from them.
    """

    labeller: str
    key_points: KeyPoints
    measured: Measurement


def standing(project: str) -> Select[Image, Label, Review]:
    """Selects the labels of a project that count, rejects too, with reviews: by order of import, then by age.

    A label that was sent back does not count.
    """
    return (
        select(Image, Label, Review)
        .select_from(Image)
        .join(Label, Label.image_id == Image.id)
        .outerjoin(Review, Review.label_id == Label.id)
        .where(Image.project == project, consensus.counts)
        .order_by(Image.position, Label.position)
    )


async def submit(session: AsyncSession, request: pb.SubmitLabelRequest, labeller: str, now: datetime) -> Outcome:
    """Stores six key points and ends the lease, once for each `request_id` of a labeller.

    Raises:
        InvalidArgument: Points are missing, not finite, coincide, or lie outside the image.
        AlreadyExists: Another request came under this `request_id`.
        FailedPrecondition: LEASE_EXPIRED.
    """
    if former := await _former(session, request, labeller):
        return Outcome(former, new=False)
    points = checks.key_points(request.key_points, "key_points")
    task, image = await tasks.finish(session, request.lease_id, labeller, now)
    measured = _measured(points, image, "key_points")
    label = Label(
        image_id=image.id,
        labeller=labeller,
        request_id=request.request_id,
        request_digest=_digest(request),
        key_points=points.xy.tolist(),
        vhs=measured.vhs,
        heart_size=heart_size_message(measured.heart_size),
        time_spent=checks.time_spent(request),
        suggestion_shown=request.suggestion_shown,
        suggested_by=image.suggested_by if request.suggestion_shown and image.suggestion else "",
        comment=request.comment,
        create_time=now,
        adjudication=task.kind == TO_ADJUDICATE,
        check=task.kind == TO_CHECK,
    )
    return await _placed(session, label, image)


async def reject(session: AsyncSession, request: pb.RejectImageRequest, labeller: str, now: datetime) -> Outcome:
    """Stores that an image can't be labelled and ends the lease, once for each `request_id` of a labeller.

    Raises:
        AlreadyExists: Another request came under this `request_id`.
        FailedPrecondition: LEASE_EXPIRED.
    """
    if former := await _former(session, request, labeller):
        return Outcome(former, new=False)
    task, image = await tasks.finish(session, request.lease_id, labeller, now)
    label = Label(
        image_id=image.id,
        labeller=labeller,
        request_id=request.request_id,
        request_digest=_digest(request),
        reject_reason=request.reason,
        comment=request.comment,
        create_time=now,
        adjudication=task.kind == TO_ADJUDICATE,
        check=task.kind == TO_CHECK,
    )
    return await _placed(session, label, image)


def imported(images: Sequence[Image], asked: Sequence[pb.ImportImage]) -> list[Imported | None]:
    """Returns the labels that images are imported with; None for one without.

    Args:
        images: As they were decoded.
        asked: The same, as the request has them.

    Raises:
        InvalidArgument: Points are missing, not finite, coincide, or lie outside the image.
    """
    return [_imported(index, *one) for index, one in enumerate(zip(images, asked, strict=True))]


async def add_imported(
    session: AsyncSession, images: Sequence[Image], found: Sequence[Imported | None], now: datetime
) -> int:
    """Adds labels that images came with, and returns how many are new: nobody labels an image twice.

    Args:
        session: A transaction.
        images: As the project holds them.
        found: The label of each, or None.
        now: The time.
    """
    added = 0
    # All calls lock images in one order, or each could wait for the other.
    pairs = [(image, one) for image, one in zip(images, found, strict=True) if one is not None]
    for image, one in sorted(pairs, key=lambda pair: pair[0].position):
        await session.refresh(image, with_for_update=True)
        his = select(Label.id).where(Label.image_id == image.id, Label.labeller == one.labeller)
        if await session.scalar(his.limit(1)) is not None:
            continue
        await tasks.finish_elsewhere(session, image, one.labeller, now)
        label = Label(
            image_id=image.id,
            labeller=one.labeller,
            # Nobody who labels here comes upon it.
            request_id=uuid.uuid4().hex,
            request_digest="",
            key_points=one.key_points.xy.tolist(),
            vhs=one.measured.vhs,
            heart_size=heart_size_message(one.measured.heart_size),
            create_time=now,
        )
        await _placed(session, label, image)
        added += 1
    return added


async def review(
    session: AsyncSession, request: pb.ReviewLabelRequest, reviewer: str, now: datetime
) -> tuple[Label, Review]:
    """Approves, corrects or sends back a label; what the labeller placed stays beside the correction.

    What was sent back is wanted again, of anybody.

    Raises:
        NotFound: There is no such label.
        FailedPrecondition: It was reviewed already, or a reject is corrected.
        InvalidArgument: The corrected points are not valid, or there is no verdict.
    """
    query = select(Label, Image).join(Image, Image.id == Label.image_id).where(Label.id == request.label_id)
    found = (await session.execute(query.with_for_update())).one_or_none()
    if found is None:
        raise NotFound("There is no label of this id.", reason="NO_SUCH_LABEL", field="label_id")
    label, image = found
    if await session.get(Review, label.id):
        raise FailedPrecondition("The label was reviewed already.", reason="ALREADY_REVIEWED", field="label_id")
    verdict = Review(label_id=label.id, reviewer=reviewer, create_time=now, comment="")
    match request.WhichOneof("verdict"):
        case "approval":
            verdict.verdict = pb.REVIEW_STATE_APPROVED
        case "correction":
            _correct(verdict, label, image, request.correction)
        case "send_back":
            verdict.verdict = pb.REVIEW_STATE_SENT_BACK
            verdict.comment = checks.comment(request.send_back, "send_back")
            done = (Task.image_id == image.id, Task.labeller == label.labeller)
            await session.execute(update(Task).where(*done).values(done=False, labeller=None))
        case _:
            raise InvalidArgument(
                "A review needs a verdict: approval, correction or send_back.",
                reason="VERDICT_MISSING",
                field="verdict",
            )
    session.add(verdict)
    await session.flush()
    await consensus.settle(session, image)
    return label, verdict


async def of_image(session: AsyncSession, image: Image) -> list[pb.Label]:
    """Returns the labels of an image that count, oldest first."""
    query = standing(image.project).where(Image.id == image.id)
    return [message(label, verdict) for _, label, verdict in await session.execute(query)]


async def history(session: AsyncSession, image_id: str) -> list[pb.HistoryEntry]:
    """Returns all labels of an image as they were placed, and their reviews, oldest label first.

    Raises:
        NotFound: There is no such image.
    """
    image = await images.find(session, image_id)
    query = (
        select(Label, Review)
        .outerjoin(Review, Review.label_id == Label.id)
        .where(Label.image_id == image.id)
        .order_by(Label.position)
    )
    return [_entry(label, verdict) for label, verdict in await session.execute(query)]


async def page(
    session: AsyncSession,
    project: str,
    state: pb.ReviewState.ValueType,
    start: int,
    limit: int,
    labeller: str | None = None,
) -> tuple[list[pb.Label], int]:
    """Returns labels of a project, oldest first, and the position of the one after them; 0 where there is none.

    Args:
        session: A transaction.
        project: The project.
        state: Of the labels to list; unspecified for all.
        start: The first label's position, or one before it.
        limit: Most labels to return.
        labeller: Whose; None for everybody's.
    """
    query = (
        select(Label, Review)
        .join(Image, Image.id == Label.image_id)
        .outerjoin(Review, Review.label_id == Label.id)
        .where(Image.project == project, Label.position >= start)
        .order_by(Label.position)
        .limit(limit + 1)
    )
    if state:
        query = query.where(review_state == state, Label.check.is_(False))
    if labeller is not None:
        query = query.where(Label.labeller == labeller)
    rows = list(await session.execute(query))
    after = rows[limit][0].position if len(rows) > limit else 0
    return [message(label, verdict) for label, verdict in rows[:limit]], after


def message(label: Label, verdict: Review | None = None) -> pb.Label:
    """Returns a label as the API shows it, after its review where there is one."""
    shown = pb.Label(
        id=label.id,
        image_id=label.image_id,
        labeller=label.labeller,
        vhs=label.vhs,
        heart_size=label.heart_size,
        reject_reason=label.reject_reason,
        review_state=verdict.verdict if verdict else pb.REVIEW_STATE_PENDING,
        reviewer=verdict.reviewer if verdict else "",
        comment=label.comment,
        suggestion_shown=label.suggestion_shown,
        suggested_by=label.suggested_by,
        adjudication=label.adjudication,
    )
    shown.create_time.FromDatetime(label.create_time)
    if label.time_spent is not None:
        shown.time_spent.FromMicroseconds(label.time_spent)
    if verdict and verdict.vhs and verdict.heart_size:
        shown.vhs, shown.heart_size = verdict.vhs, verdict.heart_size
    if points := consensus.result_of(label, verdict):
        shown.key_points.CopyFrom(key_points_message(points))
    return shown


def _entry(label: Label, verdict: Review | None) -> pb.HistoryEntry:
    placed = message(label)
    if verdict is None:
        return pb.HistoryEntry(label=placed)
    placed.review_state, placed.reviewer = verdict.verdict, verdict.reviewer
    review = pb.Review(
        reviewer=verdict.reviewer, verdict=verdict.verdict, vhs=verdict.vhs or 0.0, comment=verdict.comment
    )
    review.create_time.FromDatetime(verdict.create_time)
    if verdict.key_points:
        review.key_points.CopyFrom(key_points_message(KeyPoints.from_array(verdict.key_points)))
    return pb.HistoryEntry(label=placed, review=review)


async def _placed(session: AsyncSession, label: Label, image: Image) -> Outcome:
    session.add(label)
    await session.flush()
    await consensus.settle(session, image)
    return Outcome(label, new=True)


def _imported(index: int, image: Image, asked: pb.ImportImage) -> Imported | None:
    if not asked.HasField("label"):
        return None
    field = f"images[{index}].label.key_points"
    try:
        points = checks.key_points(asked.label.key_points, field)
        return Imported(asked.label.labeller, points, _measured(points, image, field))
    except InvalidArgument as error:
        error.message = f"images[{index}]: {error.message}"
        raise


def _correct(verdict: Review, label: Label, image: Image, correction: measurement.KeyPoints) -> None:
    if label.key_points is None:
        raise FailedPrecondition(
            "The image was rejected, so there are no points to correct: approve that or send it back.",
            reason="IMAGE_REJECTED",
            field="correction",
        )
    points = checks.key_points(correction, "correction")
    measured = _measured(points, image, "correction")
    verdict.verdict = pb.REVIEW_STATE_CORRECTED
    verdict.key_points = points.xy.tolist()
    verdict.vhs = measured.vhs
    verdict.heart_size = heart_size_message(measured.heart_size)


def _measured(points: KeyPoints, image: Image, field: str) -> Measurement:
    checks.inside(points, image.width, image.height, field)
    try:
        return measure(points, (image.pixel_aspect, 1.0))
    except InvalidArgument as error:
        error.field = field
        raise


async def _former(
    session: AsyncSession, request: pb.SubmitLabelRequest | pb.RejectImageRequest, labeller: str
) -> Label | None:
    query = select(Label).where(Label.labeller == labeller, Label.request_id == request.request_id)
    former = await session.scalar(query)
    if former and former.request_digest != _digest(request):
        raise AlreadyExists(
            "Another label came under this request_id: choose a new one for each label.",
            reason="REQUEST_ID_TAKEN",
            field="request_id",
        )
    return former


def _digest(request: pb.SubmitLabelRequest | pb.RejectImageRequest) -> str:
    content = request.SerializeToString(deterministic=True)
    return hashlib.sha256(request.DESCRIPTOR.full_name.encode() + b"\0" + content).hexdigest()
