"""In which order images are labelled, by what a model reads in them: rank, lowest first, then order of import."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import cast

from sqlalchemy import Table, bindparam, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from canicor.labeling.v1 import labeling_pb2 as pb
from canicor.vhs import LARGE_ABOVE, SMALL_BELOW
from services.labeling.tables import Image, Project, Task

UNREAD = 1e9
"""Rank of images that no model has read yet, where the order depends on what it reads: after all others."""

_BAND = 0.5
"""Of VHS, in vertebrae: hearts within one are of a size."""


def first_rank(project: Project) -> float:
    """Returns the rank of an image that was just imported."""
    return UNREAD if reads(project) else 0.0


def reads(project: Project) -> bool:
    """Whether the order depends on what a model reads."""
    return project.order not in (pb.QUEUE_ORDER_UNSPECIFIED, pb.QUEUE_ORDER_IMPORT)


async def place(session: AsyncSession, project: Project, image: Image) -> None:
    """Ranks the tasks of an image that a model has just read."""
    if not reads(project):
        return
    like_it = 0
    if project.order == pb.QUEUE_ORDER_EVEN_SIZES and image.read_vhs is not None:
        low = _BAND * (image.read_vhs // _BAND)
        query = select(func.count()).select_from(Image).where(Image.project == project.name, Image.id != image.id)
        like_it = await session.scalar(query.where(Image.read_vhs >= low, Image.read_vhs < low + _BAND)) or 0
    await _set(session, [(image.id, _rank(project, image, like_it))])


async def place_all(session: AsyncSession, project: Project) -> None:
    """Ranks all tasks of a project anew, for its order was changed."""
    found = await session.scalars(select(Image).where(Image.project == project.name).order_by(Image.position))
    await _set(session, _ranks(project, found.all()))


def _ranks(project: Project, images: Sequence[Image]) -> Iterable[tuple[str, float]]:
    seen: Counter[float | None] = Counter()
    for image in images:
        band = None if image.read_vhs is None else image.read_vhs // _BAND
        yield image.id, _rank(project, image, seen[band])
        seen[band] += 1


def _rank(project: Project, image: Image, like_it: int) -> float:
    """Returns the rank of an image.

    Args:
        project: Whose order it is.
        image: Read by a model, or not.
        like_it: Images with a heart of its size that were read before.
    """
    if not reads(project):
        return 0.0
    if image.read_vhs is None or image.read_width is None:
        return UNREAD
    if project.order == pb.QUEUE_ORDER_UNCERTAIN:
        return -image.read_width
    if project.order == pb.QUEUE_ORDER_NEAR_THRESHOLDS:
        return min(abs(image.read_vhs - border) for border in (SMALL_BELOW, LARGE_ABOVE))
    return float(like_it)


async def _set(session: AsyncSession, ranks: Iterable[tuple[str, float]]) -> None:
    await session.flush()
    tasks = cast(Table, Task.__table__)
    statement = tasks.update().where(tasks.c.image_id == bindparam("of_image")).values(rank=bindparam("to_rank"))
    if rows := [{"of_image": image_id, "to_rank": rank} for image_id, rank in ranks]:
        await (await session.connection()).execute(statement, rows)
