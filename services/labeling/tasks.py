"""Tasks in the hands of labellers: nobody gets another's while its lease lives, nor an image for a second time."""

import uuid
from collections.abc import Iterable
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, ScalarSelect, exists, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from canicor.errors import FailedPrecondition, NotFound
from canicor.labeling.v1 import labeling_pb2 as pb
from services.labeling import images
from services.labeling.tables import TO_ADJUDICATE, TO_LABEL, Image, Task


async def lease(
    session: AsyncSession,
    project: str,
    labeller: str,
    now: datetime,
    duration: timedelta,
    *,
    adjudicate: bool = False,
) -> tuple[Task, Image]:
    """Leases a labeller his task again, else the first open one.

    A lease of his that ran out but that nobody else took counts as his still.

    Raises:
        NotFound: NO_TASK_LEFT.
    """
    kind, expires = TO_ADJUDICATE if adjudicate else TO_LABEL, now + duration
    own = (Task.project == project, Task.kind == kind, Task.leased_by == labeller)
    task = await _update(session, *own, lease_expires=expires)
    if task is None:
        task = await _update(
            session,
            Task.position == _first_free(project, kind, labeller, now),
            lease_id=uuid.uuid4().hex,
            leased_by=labeller,
            lease_expires=expires,
        )
    if task is None:
        raise NotFound(
            f"Project {project!r} has no image left that you could {'decide on' if adjudicate else 'label'}.",
            reason="NO_TASK_LEFT",
            field="project",
        )
    image = await session.scalar(select(Image).where(Image.id == task.image_id))
    assert image is not None  # noqa: S101 - a foreign key
    return task, image


async def finish(session: AsyncSession, lease_id: str, labeller: str, now: datetime) -> tuple[Task, Image]:
    """Ends a live lease, and its task with it; the image is locked until the transaction ends.

    Raises:
        FailedPrecondition: LEASE_EXPIRED: it is over or another's.
    """
    # The image before its tasks, as a review does: or each could wait for the other.
    owning = select(Image).join(Task, Task.image_id == Image.id).where(Task.lease_id == lease_id)
    image = await session.scalar(owning.with_for_update(of=Image))
    task = await session.scalar(select(Task).where(Task.lease_id == lease_id).with_for_update())
    if task is None or task.leased_by != labeller or task.lease_expires is None or task.lease_expires <= now:
        raise FailedPrecondition(
            "The lease is over or another's: lease a task and label that.",
            reason="LEASE_EXPIRED",
            field="lease_id",
        )
    task.lease_id = task.leased_by = task.lease_expires = None
    task.done, task.labeller = True, labeller
    assert image is not None  # noqa: S101 - a task has one
    return task, image


def message(task: Task, image: Image, found: Iterable[pb.Label] = ()) -> pb.Task:
    """Returns a leased task as the API shows it.

    Args:
        task: Leased.
        image: Its image.
        found: The labels to decide between.
    """
    shown = pb.Task(lease_id=task.lease_id or "", image=images.message(image), labels=found)
    if task.lease_expires is not None:
        shown.expire_time.FromDatetime(task.lease_expires)
    return shown


async def _update(session: AsyncSession, *which: ColumnElement[bool], **values: object) -> Task | None:
    task: Task | None = await session.scalar(update(Task).where(*which).values(**values).returning(Task))
    return task


def _first_free(project: str, kind: int, labeller: str, now: datetime) -> ScalarSelect[int]:
    # Part of the statement that takes it, so that no two callers see the same task free; PostgreSQL passes over
    # rows that another call is taking.
    other = aliased(Task)
    return (
        select(Task.position)
        .where(Task.project == project, Task.kind == kind, Task.done.is_(False))
        .where(or_(Task.lease_expires.is_(None), Task.lease_expires <= now))
        .where(~exists().where(other.image_id == Task.image_id, other.labeller == labeller))
        .order_by(Task.position)
        .limit(1)
        .with_for_update(skip_locked=True)
        .scalar_subquery()
    )
