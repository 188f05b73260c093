"""Tasks in the hands of labellers: nobody gets another's while its lease lives."""

import uuid
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, ScalarSelect, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from canicor.errors import FailedPrecondition, NotFound
from canicor.labeling.v1 import labeling_pb2 as pb
from services.labeling import images
from services.labeling.tables import OPEN, Image


async def lease(session: AsyncSession, project: str, labeller: str, now: datetime, duration: timedelta) -> Image:
    """Leases a labeller his task again, else the first open one by order of import.

    A lease of his that ran out but that nobody else took counts as his still.

    Raises:
        NotFound: NO_TASK_LEFT.
    """
    expires = now + duration
    image = await _update(session, project, Image.leased_by == labeller, lease_expires=expires)
    if image is None:
        image = await _update(
            session,
            project,
            Image.position == _first_free(project, now),
            lease_id=uuid.uuid4().hex,
            leased_by=labeller,
            lease_expires=expires,
        )
    if image is None:
        raise NotFound(f"Project {project!r} has no image left to label.", reason="NO_TASK_LEFT", field="project")
    return image


async def finish(session: AsyncSession, lease_id: str, labeller: str, now: datetime) -> Image:
    """Ends a live lease and returns its image; the caller sets the image's state in the same transaction.

    Raises:
        FailedPrecondition: LEASE_EXPIRED: it is over or another's.
    """
    query = select(Image).where(Image.lease_id == lease_id).with_for_update()
    image = await session.scalar(query)
    if image is None or image.leased_by != labeller or image.lease_expires is None or image.lease_expires <= now:
        raise FailedPrecondition(
            "The lease is over or another's: lease a task and label that.",
            reason="LEASE_EXPIRED",
            field="lease_id",
        )
    image.lease_id = image.leased_by = image.lease_expires = None
    return image


def message(image: Image) -> pb.Task:
    """Returns a leased image as the API shows it."""
    task = pb.Task(lease_id=image.lease_id or "", image=images.message(image))
    if image.lease_expires is not None:
        task.expire_time.FromDatetime(image.lease_expires)
    return task


async def _update(
    session: AsyncSession, project: str, which: ColumnElement[bool], **values: object
) -> Image | None:
    statement = update(Image).where(Image.project == project, which).values(**values).returning(Image)
    image: Image | None = await session.scalar(statement)
    return image


def _first_free(project: str, now: datetime) -> ScalarSelect[int]:
    # Part of the statement that takes it, so that no two callers see the same task free; PostgreSQL passes over
    # rows that another call is taking.
    return (
        select(Image.position)
        .where(Image.project == project, Image.state == OPEN)
        .where(or_(Image.lease_expires.is_(None), Image.lease_expires <= now))
        .order_by(Image.position)
        .limit(1)
        .with_for_update(skip_locked=True)
        .scalar_subquery()
    )
