"""Counts of a project."""

from collections import Counter, defaultdict
from datetime import datetime
from statistics import median
from typing import NamedTuple

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from canicor.labeling.v1 import labeling_pb2 as pb
from canicor.messages import heart_size_message
from canicor.vhs import HEART_SIZES, PLAUSIBLE_VHS
from services.labeling.labels import review_state, standing
from services.labeling.tables import DISPUTED, LABELLED, OPEN, REJECTED, TO_LABEL, Image, Label, Review, Task

_SIZES = [heart_size_message(size) for size in HEART_SIZES]


_MOST_DAYS = 60
_VHS_STEP = 0.5


class _Done(NamedTuple):
    """What is counted of a label or a reject."""

    labeller: str
    time_spent: int | None
    create_time: datetime
    placed: bool
    heart_size: int
    vhs: float
    review_state: int


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
    columns = (
        Label.labeller,
        Label.time_spent,
        Label.create_time,
        Label.key_points.is_not(None),
        func.coalesce(Review.heart_size, Label.heart_size),
        func.coalesce(Review.vhs, Label.vhs),
        review_state,
    )
    done = [_Done(*row) for row in await session.execute(standing(project).with_only_columns(*columns))]
    labels = [one for one in done if one.placed]
    sizes = Counter(one.heart_size for one in labels)
    days = Counter(one.create_time.date().isoformat() for one in done)
    return pb.GetStatisticsResponse(
        image_count=images.total(),
        labelled_count=images[LABELLED],
        rejected_count=images[REJECTED],
        leased_count=leased or 0,
        open_count=images[OPEN] - (leased or 0),
        disputed_count=images[DISPUTED],
        reviewed_count=sum(one.review_state != pb.REVIEW_STATE_PENDING for one in labels),
        heart_sizes=[pb.HeartSizeCount(heart_size=size, count=sizes[size]) for size in _SIZES],
        labellers=_labeller_counts([(one.labeller, one.time_spent) for one in labels]),
        days=[pb.DayCount(date=day, count=days[day]) for day in sorted(days)[-_MOST_DAYS:]],
        vhs_histogram=_histogram([one.vhs for one in labels]),
        vhs_histogram_start=PLAUSIBLE_VHS[0],
        vhs_histogram_step=_VHS_STEP,
    )


async def progress(session: AsyncSession, project: str, labeller: str, since: datetime) -> pb.GetProgressResponse:
    """Returns how far a labeller is; what was sent back since counts too: it was done."""
    query = select(Label.time_spent, Label.key_points.is_not(None)).join(Image, Image.id == Label.image_id)
    his = (Image.project == project, Label.labeller == labeller, Label.create_time >= since)
    done = list(await session.execute(query.where(*his)))
    wanted = await session.scalar(
        select(func.count()).where(Task.project == project, Task.kind == TO_LABEL, Task.done.is_(False))
    )
    answer = pb.GetProgressResponse(done_count=len(done), open_count=wanted or 0)
    if known := [spent for spent, placed in done if placed and spent is not None]:
        answer.median_time_spent.FromMicroseconds(round(median(known)))
    return answer


async def open_tasks(session: AsyncSession) -> dict[str, int]:
    """Returns how many labels are wanted, leased or not, for each project."""
    rows = await session.execute(
        select(Task.project, func.count().filter(Task.done.is_(False))).group_by(Task.project)
    )
    return dict(rows.all())


def _histogram(vhs: list[float]) -> list[int]:
    """Counts by steps of VHS; what no dog has is counted with the nearest that one has."""
    low, high = PLAUSIBLE_VHS
    places = Counter(int((min(max(one, low), high) - low) / _VHS_STEP) for one in vhs)
    return [places[place] for place in range(max(places, default=-1) + 1)]


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
