"""Where a model has an image's points before anybody placed them: the classifier is asked, image by image."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import structlog
from sqlalchemy import or_, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from canicor.classifier.v1 import classifier_pb2 as classifier
from canicor.client import AsyncClassifier
from canicor.errors import (
    CanicorError,
    DataLoss,
    FailedPrecondition,
    InvalidArgument,
    ResourceExhausted,
)
from canicor.labeling.v1 import labeling_pb2 as pb
from canicor.measurement.v1 import measurement_pb2 as measurement
from canicor.messages import key_points_from, key_points_message
from canicor.settings import ClientSettings
from canicor.vhs import KeyPoints
from services.labeling import images, projects, queue
from services.labeling.metrics import SUGGESTIONS
from services.labeling.tables import OPEN, Image, Project, committed

NONE = "none"
"""In place of a model's name: it was asked, and nothing may be suggested."""

_AT_ONCE = 4
_IDLE = 2.0
_REST = 15.0

# Of the image itself: asked again, it would be the same.
_FINAL = (InvalidArgument, ResourceExhausted, DataLoss)

# Points that the classifier itself does not stand by would have to be moved, each of them.
_DOUBTS = frozenset(
    {
        classifier.REFERRAL_REASON_OUT_OF_DISTRIBUTION,
        classifier.REFERRAL_REASON_IMPLAUSIBLE_KEY_POINTS,
        classifier.REFERRAL_REASON_IMPLAUSIBLE_VHS,
    }
)

_log = structlog.get_logger("canicor.labeling")


@dataclass(frozen=True)
class Suggestion:
    """What a model said of an image.

    Attributes:
        points: Nothing where it has none that it stands by.
        model: NAME/VERSION; NONE where no model gave points.
        vhs: That it reads, in vertebrae; None where it reads none.
        width: Of the interval of that.
    """

    points: KeyPoints | None
    model: str
    vhs: float | None = None
    width: float | None = None


class Suggestions:
    """Asks the classifier for the points of images that wait for labels, in the order of their import.

    Args:
        database: Where images wait, and suggestions are kept.
        settings: The classifier's address, the token to send, and TLS.
    """

    def __init__(self, database: AsyncEngine, settings: ClientSettings) -> None:
        self._database = database
        self._settings = settings

    async def work(self) -> None:
        """Works until it is cancelled; where the classifier does not answer, it tries again."""
        async with AsyncClassifier(self._settings) as model:
            while True:
                try:
                    waiting = await committed(self._database, _waiting)
                    found = await asyncio.gather(*(_suggestion(model, image) for image in waiting))
                    await committed(self._database, partial(_keep, asked=waiting, found=found))
                    for one in found:
                        SUGGESTIONS.labels("points" if one.points else "none").inc()
                    if not waiting:
                        await asyncio.sleep(_IDLE)
                except (CanicorError, SQLAlchemyError, OSError) as error:
                    _log.warning("no suggestions", error=str(error))
                    await asyncio.sleep(_REST)


def message(image: Image, project: Project) -> measurement.KeyPoints | None:
    """Returns what a labeller of the project is shown of a suggestion."""
    if not (project.suggestions and image.suggestion):
        return None
    return key_points_message(KeyPoints.from_array(image.suggestion))


async def _waiting(session: AsyncSession) -> Sequence[Image]:
    """Returns images of which no model was asked yet, of projects that want it for suggestions or their order."""
    by_reading = Project.order.not_in((pb.QUEUE_ORDER_UNSPECIFIED, pb.QUEUE_ORDER_IMPORT))
    wanting = select(Project.name).where(or_(Project.suggestions, by_reading))
    query = select(Image).where(Image.suggested_by == "", Image.state == OPEN, Image.project.in_(wanting))
    return (await session.scalars(query.order_by(Image.position).limit(_AT_ONCE))).all()


async def _suggestion(model: AsyncClassifier, image: Image) -> Suggestion:
    """Asks of one image.

    Raises:
        CanicorError: The classifier can't be asked now.
    """
    try:
        answer = await model.classify(await images.content(image))
    except _FINAL as error:
        _log.info("no suggestion", image=image.id, error=error.message)
        return Suggestion(None, NONE)
    if not answer.HasField("key_points"):
        raise FailedPrecondition("The classifier's model gives no key points.", reason="NO_KEY_POINTS")
    name = f"{answer.model.name}/{answer.model.version}"
    points = key_points_from(answer.key_points)
    doubted = any(one.reason in _DOUBTS for one in answer.referrals)
    usable = not doubted and not points.outside(image.width, image.height)
    vhs = answer.vhs if answer.HasField("vhs") else None
    return Suggestion(points if usable else None, name, vhs and vhs.value, vhs.upper - vhs.lower if vhs else None)


async def _keep(session: AsyncSession, asked: Sequence[Image], found: Sequence[Suggestion]) -> None:
    for image, suggestion in zip(asked, found, strict=True):
        image = await session.merge(image)
        image.suggestion = suggestion.points.xy.tolist() if suggestion.points else None
        image.suggested_by = suggestion.model
        image.read_vhs, image.read_width = suggestion.vhs, suggestion.width
        await session.flush()
        await queue.place(session, await projects.found_or_made(session, image.project), image)
