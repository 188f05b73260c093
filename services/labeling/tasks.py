"""Tasks in the hands of labellers: nobody gets another's while its lease lives, nor an image for a second time."""

import random
import uuid
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, ScalarSelect, and_, exists, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute, aliased

from canicor.errors import FailedPrecondition, NotFound
from canicor.labeling.v1 import labeling_pb2 as pb
from canicor.measurement.v1 import measurement_pb2 as measurement
from services.labeling import images
from services.labeling.tables import TO_ADJUDICATE, TO_CHECK, TO_LABEL, Image, Project, Task

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
    """
    kinds, expires = (TO_ADJUDICATE,) if adjudicate else (TO_LABEL, TO_CHECK), now + duration
    own = (Task.project == project, Task.kind.in_(kinds), Task.leased_by == labeller)
    his = list(await session.scalars(update(Task).where(*own).values(lease_expires=expires).returning(Task)))
    waiting = [task for task in his if task.lease_id not in held]
    if waiting:
        task = min(waiting, key=lambda one: one.position)
    else:
        # All of his are in his hands, fewer than there are slots.
        slot = min({*range(MOST_LEASES)} - {one.slot for one in his})
        taking = _Taking(project, labeller, now, expires, slot)
        checking = None if adjudicate else await _check(session, taking)
        task = checking or await _take(session, taking, kinds[0])
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


async def finish_elsewhere(session: AsyncSession, image: Image, labeller: str, now: datetime) -> None:
    """Counts a label that was placed elsewhere as one that is wanted here; its labeller is done with the image.

    It takes a task that nobody is at. Where there is none it is one label more: nobody loses what he is at.

    Args:
        session: A transaction that holds the image locked.
        image: The image, which the labeller has not labelled.
        labeller: Who placed the label.
        now: The time.
    """
    his = (Task.image_id == image.id, Task.leased_by == labeller)
    await session.execute(update(Task).where(*his).values(lease_id=None, leased_by=None, lease_expires=None))
    wanted = await session.scalar(
        select(Task)
        .where(Task.image_id == image.id, Task.kind == TO_LABEL, Task.done.is_(False), _free(now))
        .order_by(Task.position)
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    task = wanted or Task(project=image.project, image_id=image.id)
    task.lease_id = task.leased_by = task.lease_expires = None
    task.done, task.labeller = True, labeller
    session.add(task)
    await session.flush()


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


@dataclass(frozen=True)
class _Taking:
    """Somebody takes a task that he does not have yet."""

    project: str
    labeller: str
    now: datetime
    expires: datetime
    slot: int

    def lease(self) -> dict[str, object]:
        """Returns what makes a task his."""
        return {
            "lease_id": uuid.uuid4().hex,
            "leased_by": self.labeller,
            "lease_expires": self.expires,
            "slot": self.slot,
        }


async def _check(session: AsyncSession, taking: _Taking) -> Task | None:
    """Hands a labeller a gold image that he has not seen, as often as his project wants it."""
    share = await session.scalar(select(Project.gold_share).where(Project.name == taking.project))
    if not share or random.random() >= share:  # noqa: S311 - no secret
        return None
    image_id = await session.scalar(
        select(Image.id)
        .where(Image.project == taking.project, Image.gold, ~_seen(Image.id, taking.labeller))
        .order_by(Image.position)
        .limit(1)
    )
    if image_id is None:
        return None
    # Nobody else can take it: it is his from the start.
    task = Task(project=taking.project, image_id=image_id, kind=TO_CHECK, **taking.lease())
    session.add(task)
    await session.flush()
    return task


async def _take(session: AsyncSession, taking: _Taking, kind: int) -> Task:
    """Leases a labeller the first open task of a kind."""
    task: Task | None = await session.scalar(
        update(Task).where(Task.position == _first_free(taking, kind)).values(**taking.lease()).returning(Task)
    )
    if task is None:
        what = "label" if kind == TO_LABEL else "decide on"
        raise NotFound(
            f"Project {taking.project!r} has no image left that you could {what}.",
            reason="NO_TASK_LEFT",
            field="project",
        )
    return task


def _free(now: datetime) -> ColumnElement[bool]:
    return or_(Task.lease_expires.is_(None), Task.lease_expires <= now)


def _first_free(taking: _Taking, kind: int) -> ScalarSelect[int]:
    # Part of the statement that takes it, so that no two callers see the same task free; PostgreSQL passes over
    # rows that another call is taking.
    return (
        select(Task.position)
        .where(Task.project == taking.project, Task.kind == kind, Task.done.is_(False))
        .where(_free(taking.now))
        .where(~_seen(Task.image_id, taking.labeller))
        .order_by(Task.rank, Task.position)
        .limit(1)
        .with_for_update(skip_locked=True)
        .scalar_subquery()
    )


def _seen(image_id: ColumnElement[str] | InstrumentedAttribute[str], labeller: str) -> ColumnElement[bool]:
    """Whether somebody has done a task of an image, or has one in hand to check him."""
    other = aliased(Task)
    his = or_(other.labeller == labeller, and_(other.kind == TO_CHECK, other.leased_by == labeller))
    return exists().where(other.image_id == image_id, his)
