"""Counts of a project."""

from collections import Counter, defaultdict
from datetime import datetime
from statistics import median

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from canicor.labeling.v1 import labeling_pb2 as pb
from canicor.messages import heart_size_message
from canicor.vhs import HEART_SIZES
from services.labeling.labels import review_state, standing
from services.labeling.tables import DISPUTED, LABELLED, OPEN, REJECTED, TO_LABEL, Image, Label, Review, Task

_SIZES = [heart_size_message(size) for size in HEART_SIZES]


async def counts(session: AsyncSession, project: str, now: datetime) -> pb.GetStatisticsResponse:
    """Returns the counts of a project; labels that were sent back and rejects are no labels here."""
    by_state = await session.execute(
        select(Image.state, func.count()).where(Image.project == project).group_by(Image.state)
    )
    images = Counter(dict(by_state.all()))
    leased = await session.scalar(
        select(func.count(Task.image_id.distinct())).where(
            Task.project == project, Task.kind == TO_LABEL, Task.done.is_(False), Task.lease_expires > now
        )
    )
    heart_size = func.coalesce(Review.heart_size, Label.heart_size)
    query = standing(project).where(Label.key_points.is_not(None))
    rows = await session.execute(
        query.with_only_columns(Label.labeller, Label.time_spent, heart_size, review_state)
    )
    labels = list(rows)
    sizes = Counter(size for _, _, size, _ in labels)
    return pb.GetStatisticsResponse(
        image_count=images.total(),
        labelled_count=images[LABELLED],
        rejected_count=images[REJECTED],
        leased_count=leased or 0,
        open_count=images[OPEN] - (leased or 0),
        disputed_count=images[DISPUTED],
        reviewed_count=sum(state != pb.REVIEW_STATE_PENDING for _, _, _, state in labels),
        heart_sizes=[pb.HeartSizeCount(heart_size=size, count=sizes[size]) for size in _SIZES],
        labellers=_labeller_counts([(labeller, spent) for labeller, spent, _, _ in labels]),
    )


async def open_tasks(session: AsyncSession) -> dict[str, int]:
    """Returns how many labels are wanted, leased or not, for each project."""
    rows = await session.execute(
        select(Task.project, func.count().filter(Task.done.is_(False))).group_by(Task.project)
    )
    return dict(rows.all())


def _labeller_counts(labels: list[tuple[str, int | None]]) -> list[pb.LabellerCount]:
    """Counts by name; the median is over the labels whose time is known."""
    times: defaultdict[str, list[int | None]] = defaultdict(list)
    for labeller, spent in labels:
        times[labeller].append(spent)
    result = []
    for labeller in sorted(times):
        count = pb.LabellerCount(labeller=labeller, count=len(times[labeller]))
        if known := [spent for spent in times[labeller] if spent is not None]:
            count.median_time_spent.FromMicroseconds(round(median(known)))
        result.append(count)
    return result
