"""Projects: how their images are labelled."""

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from canicor.errors import NotFound
from canicor.labeling.v1 import labeling_pb2 as pb
from services.labeling import queue
from services.labeling.tables import Project

LABELS_PER_IMAGE = 1

MAX_DISAGREEMENT = 0.5
"""In vertebrae: about what two readers of like experience differ by (Hansson et al. 2005)."""


async def put(session: AsyncSession, project: pb.Project) -> Project:
    """Makes a project, or changes one; what is not set is as usual."""
    former = await session.get(Project, project.name)
    order = former.order if former else project.order
    kept = await session.merge(
        Project(
            name=project.name,
            labels_per_image=project.labels_per_image or LABELS_PER_IMAGE,
            max_disagreement=project.max_disagreement or MAX_DISAGREEMENT,
            guidelines=project.guidelines,
            suggestions=project.suggestions,
            gold_share=project.gold_share,
            order=project.order,
        )
    )
    if kept.order != order:
        await queue.place_all(session, kept)
    return kept


async def found_or_made(session: AsyncSession, name: str) -> Project:
    """Returns a project, made as usual where there is none."""
    return await session.get(Project, name) or await put(session, pb.Project(name=name))


async def find(session: AsyncSession, name: str) -> Project:
    """Returns a project.

    Raises:
        NotFound: There is none of this name.
    """
    project = await session.get(Project, name)
    if project is None:
        raise NotFound(f"There is no project {name!r}.", reason="NO_SUCH_PROJECT", field="name")
    return project


async def everything(session: AsyncSession) -> Sequence[Project]:
    """Returns all projects, by name."""
    return (await session.scalars(select(Project).order_by(Project.name))).all()


def message(project: Project) -> pb.Project:
    """Returns a project as the API shows it."""
    return pb.Project(
        name=project.name,
        labels_per_image=project.labels_per_image,
        max_disagreement=project.max_disagreement,
        guidelines=project.guidelines,
        suggestions=project.suggestions,
        gold_share=project.gold_share,
        order=project.order,
    )
