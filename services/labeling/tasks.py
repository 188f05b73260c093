"""Tasks in the hands of labellers: nobody gets another's while its lease lives, nor an image for a second time."""

import uuid
from collections.abc import Collection, Iterable
from datetime import datetime, timedelta

from sqlalchemy import ScalarSelect, exists, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from canicor.errors import FailedPrecondition, NotFound
from canicor.labeling.v1 import labeling_pb2 as pb
from canicor.measurement.v1 import measurement_pb2 as measurement
from services.labeling import images
from services.labeling.tables import TO_ADJUDICATE, TO_LABEL, Image, Task

MOST_LEASES = 5
"""Of a labeller in a project: what he is at, and what is fetched ahead of him."""


async def lease(
    session: AsyncSession,
    project: str,
    labeller: str,
    now: datetime,
    duration: timedelta,
    *,
    held: Collection[str] = (),
    adjudicate: bool = False,
) -> tuple[Task, Image]:
    """Leases a labeller the first of his tasks again that he does not name, else the first open one.

    All of his leases are renewed; one that ran out but that nobody else took counts as his still.

    Args:
        session: A transaction.
        project: Where.
        labeller: Who.
        now: The time.
        duration: How long it stays his.
        held: Leases that he has in hand, fewer than `MOST_LEASES`.
        adjudicate: Whether the task is to decide between labels.

    Raises:
        NotFound: NO_TASK_LEFT.
        FailedPrecondition: TOO_MANY_LEASES: he holds `MOST_LEASES`.
    """
    kind, expires = TO_ADJUDICATE if adjudicate else TO_LABEL, now + duration
    own = (Task.project == project, Task.kind == kind, Task.leased_by == labeller)
    his = list(await session.scalars(update(Task).where(*own).values(lease_expires=expires).returning(Task)))
    waiting = [task for task in his if task.lease_id not in held]
    if waiting:
        task = min(waiting, key=lambda one: one.position)
    else:
        task = await _take(session, project, kind, labeller, now, expires, {one.slot for one in his})
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


def message(
    task: Task,
    image: Image,
    found: Iterable[pb.Label] = (),
    suggestion: measurement.KeyPoints | None = None,
) -> pb.Task:
    """Returns a leased task as the API shows it.

    Args:
        task: Leased.
        image: Its image.
        found: The labels to decide between.
        suggestion: Where a model has the points.
    """
    shown = pb.Task(lease_id=task.lease_id or "", image=images.message(image), labels=found, suggestion=suggestion)
    if task.lease_expires is not None:
        shown.expire_time.FromDatetime(task.lease_expires)
    return shown


async def _take(
    session: AsyncSession,
    project: str,
    kind: int,
    labeller: str,
    now: datetime,
    expires: datetime,
    taken: Collection[int],
) -> Task:
    """Leases a labeller the first open task, in a slot that is not taken."""
    slot = next((one for one in range(MOST_LEASES) if one not in taken), None)
    if slot is None:
        raise FailedPrecondition(
            f"You hold {MOST_LEASES} images: label one of them.", reason="TOO_MANY_LEASES", field="held_lease_ids"
        )
    task: Task | None = await session.scalar(
        update(Task)
        .where(Task.position == _first_free(project, kind, labeller, now))
        .values(lease_id=uuid.uuid4().hex, leased_by=labeller, lease_expires=expires, slot=slot)
        .returning(Task)
    )
    if task is None:
        what = "label" if kind == TO_LABEL else "decide on"
        raise NotFound(
            f"Project {project!r} has no image left that you could {what}.",
            reason="NO_TASK_LEFT",
            field="project",
        )
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
