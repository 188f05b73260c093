"""What the service keeps: projects, images, tasks, labels, reviews.

Labels and reviews are only ever added: a correction lies beside the label that it corrects, and what a labeller
placed stays as he placed it. Enumerations are stored as the API's own numbers, which never change.
"""

import uuid
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import TypeVar

from sqlalchemy import JSON, BigInteger, DateTime, Dialect, ForeignKey, Index, Integer, SmallInteger, String
from sqlalchemy import UniqueConstraint as Unique
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeDecorator

from canicor.labeling.v1 import labeling_pb2 as pb
from canicor.measurement.v1 import measurement_pb2 as measurement

Answer = TypeVar("Answer")

OPEN = 0
LABELLED = 1
REJECTED = 2
DISPUTED = 3

TO_LABEL = 0
TO_ADJUDICATE = 1
TO_CHECK = 2


class Moment(TypeDecorator[datetime]):
    """A point in time, in UTC; SQLite forgets the zone."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Gives the zone back."""
        return value and value.replace(tzinfo=value.tzinfo or UTC)


class Unsigned64(TypeDecorator[int]):
    """0 to 2**64 - 1 in the signed column that every database has."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: int | None, dialect: Dialect) -> int | None:
        """Wraps the upper half to negative numbers."""
        return value - 2**64 if value is not None and value >= 2**63 else value

    def process_result_value(self, value: int | None, dialect: Dialect) -> int | None:
        """Unwraps it."""
        return value if value is None else value % 2**64


# Only a column of the type INTEGER counts up by itself in SQLite.
Position = BigInteger().with_variant(Integer, "sqlite")


class Base(DeclarativeBase):
    """The schema; Alembic keeps databases up to it."""


class Project(Base):
    """How a project's images are labelled; see the API's message of that name."""

    __tablename__ = "labeling_project"

    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    labels_per_image: Mapped[int] = mapped_column(SmallInteger)
    max_disagreement: Mapped[float]
    guidelines: Mapped[str]
    suggestions: Mapped[bool] = mapped_column(default=False)
    gold_share: Mapped[float] = mapped_column(default=0.0)
    order: Mapped[pb.QueueOrder.ValueType] = mapped_column(SmallInteger, default=0)


class Image(Base):
    """An image of a project.

    Attributes:
        position: The order of import.
        state: OPEN while labels are wanted; then LABELLED, REJECTED, or DISPUTED until a reviewer has decided.
        suggestion: Six pairs (x, y) where a model has them; None where none stands by any.
        suggested_by: The model that was asked, NAME/VERSION; empty before.
        read_vhs, read_width: VHS that it reads, and the width of its interval, in vertebrae.
        gold: Whether its points are taken for right, and labellers are checked on it.
    """

    __tablename__ = "labeling_image"
    __table_args__ = (
        Unique("project", "sha256"),
        Index("labeling_image_state", "project", "state"),
        Index("labeling_image_suggestion", "suggested_by", "state", "position"),
        Index("labeling_image_gold", "project", "gold", "position"),
    )

    position: Mapped[int] = mapped_column(Position, primary_key=True)
    id: Mapped[str] = mapped_column(String(32), unique=True, default=lambda: uuid.uuid4().hex)
    project: Mapped[str] = mapped_column(String(64))
    url: Mapped[str]
    sha256: Mapped[str] = mapped_column(String(64))
    width: Mapped[int]
    height: Mapped[int]
    pixel_aspect: Mapped[float]
    origin: Mapped[pb.Origin.ValueType] = mapped_column(SmallInteger)
    subject_id: Mapped[str]
    batch_id: Mapped[str] = mapped_column(default="")
    batch_index: Mapped[int] = mapped_column(BigInteger, default=0)
    batch_seed: Mapped[int] = mapped_column(Unsigned64, default=0)
    state: Mapped[int] = mapped_column(SmallInteger, default=OPEN)
    suggestion: Mapped[list[list[float]] | None] = mapped_column(JSON(none_as_null=True))
    suggested_by: Mapped[str] = mapped_column(default="")
    read_vhs: Mapped[float | None]
    read_width: Mapped[float | None]
    gold: Mapped[bool] = mapped_column(default=False)


class Task(Base):
    """One label that is wanted of an image, and who is at it.

    Attributes:
        position: The order in which they were made.
        rank: The lowest is handed out first, and of the same rank the one that was made first.
        kind: TO_LABEL, of which an image has as many as labels are wanted; TO_ADJUDICATE; or TO_CHECK, which is
            made for a labeller when a gold image is handed to him.
        labeller: Who did it; None while it is open.
        lease_id, leased_by, lease_expires: The last lease that did not end with a label; it may be over.
        slot: Which of the leases that its holder may have at once it is, from 0.
    """

    __tablename__ = "labeling_task"
    __table_args__ = (
        Unique("image_id", "labeller"),
        # Two calls of a labeller at once can't take more than he may hold.
        Unique("project", "kind", "leased_by", "slot"),
        Index("labeling_task_queue", "project", "kind", "done", "rank", "position"),
        # Without it PostgreSQL reads the whole table to learn that somebody has labelled nothing yet.
        Index("labeling_task_labeller", "labeller"),
    )

    position: Mapped[int] = mapped_column(Position, primary_key=True)
    project: Mapped[str] = mapped_column(String(64))
    image_id: Mapped[str] = mapped_column(ForeignKey(Image.id))
    rank: Mapped[float] = mapped_column(default=0.0)
    kind: Mapped[int] = mapped_column(SmallInteger, default=TO_LABEL)
    done: Mapped[bool] = mapped_column(default=False)
    labeller: Mapped[str | None]
    lease_id: Mapped[str | None] = mapped_column(String(32), unique=True)
    leased_by: Mapped[str | None]
    lease_expires: Mapped[datetime | None] = mapped_column(Moment)
    slot: Mapped[int] = mapped_column(SmallInteger, default=0)


class Label(Base):
    """What a labeller said of an image: six points, or that it can't be labelled.

    Attributes:
        position: The order of labelling.
        request_digest: SHA-256 of the request that made it.
        key_points: Six pairs (x, y); None for a reject.
        time_spent: Microseconds, where the labeller's program told.
        adjudication: Whether a reviewer placed it because others disagreed.
        suggested_by: The model whose suggestion was on the screen, NAME/VERSION; empty where none was.
        check: Whether the image was gold: it does not count, for the points are known.
    """

    __tablename__ = "labeling_label"
    __table_args__ = (Unique("labeller", "request_id"),)

    position: Mapped[int] = mapped_column(Position, primary_key=True)
    id: Mapped[str] = mapped_column(String(32), unique=True, default=lambda: uuid.uuid4().hex)
    image_id: Mapped[str] = mapped_column(ForeignKey(Image.id), index=True)
    labeller: Mapped[str]
    request_id: Mapped[str] = mapped_column(String(128))
    request_digest: Mapped[str] = mapped_column(String(64))
    key_points: Mapped[list[list[float]] | None] = mapped_column(JSON(none_as_null=True))
    vhs: Mapped[float] = mapped_column(default=0.0)
    heart_size: Mapped[measurement.HeartSize.ValueType] = mapped_column(SmallInteger, default=0)
    reject_reason: Mapped[pb.RejectReason.ValueType] = mapped_column(SmallInteger, default=0)
    time_spent: Mapped[int | None] = mapped_column(BigInteger)
    suggestion_shown: Mapped[bool] = mapped_column(default=False)
    suggested_by: Mapped[str] = mapped_column(default="")
    check: Mapped[bool] = mapped_column(default=False)
    comment: Mapped[str] = mapped_column(default="")
    create_time: Mapped[datetime] = mapped_column(Moment)
    adjudication: Mapped[bool] = mapped_column(default=False)


class Review(Base):
    """A reviewer's verdict on a label; there is one at most.

    Attributes:
        verdict: APPROVED, CORRECTED or SENT_BACK.
        key_points, vhs, heart_size: What stands instead, where the verdict is CORRECTED.
        comment: Why the image was sent back.
    """

    __tablename__ = "labeling_review"

    label_id: Mapped[str] = mapped_column(ForeignKey(Label.id), primary_key=True)
    reviewer: Mapped[str]
    verdict: Mapped[pb.ReviewState.ValueType] = mapped_column(SmallInteger)
    key_points: Mapped[list[list[float]] | None] = mapped_column(JSON(none_as_null=True))
    vhs: Mapped[float | None]
    heart_size: Mapped[measurement.HeartSize.ValueType | None] = mapped_column(SmallInteger)
    comment: Mapped[str] = mapped_column(default="")
    create_time: Mapped[datetime] = mapped_column(Moment)


async def committed(engine: AsyncEngine, work: Callable[[AsyncSession], Awaitable[Answer]]) -> Answer:
    """Runs work in one transaction and returns its answer.

    Where another call committed the same unique row first, the work runs once more and finds that row.
    """
    try:
        return await _once(engine, work)
    except IntegrityError:
        return await _once(engine, work)


async def _once(engine: AsyncEngine, work: Callable[[AsyncSession], Awaitable[Answer]]) -> Answer:
    async with AsyncSession(engine, expire_on_commit=False) as session, session.begin():
        return await work(session)
