"""A version in the shadow: it scores what production has answered, on cores that are free, and answers nobody."""

import asyncio

import structlog

from canicor.errors import CanicorError
from services.classifier.decoding import Decoders
from services.classifier.metrics import SHADOW_ANSWERS, SHADOW_DROPPED, SHADOW_VHS_DIFFERENCE
from services.classifier.model import Model
from services.classifier.models import Models
from services.classifier.reading import Classification, Reading
from services.classifier.scheduler import Job, Scheduler

_log = structlog.get_logger("canicor.shadow")

_MOST_WAITING = 16
"""Radiographs kept for the shadow while no core is free; what comes beyond is not scored."""


class Shadow:
    """Scores beside production.

    Args:
        scheduler: Gives what is done here the cores that nobody else wants.
        models: Says which version is in the shadow of which.
        decoders: Decode.
    """

    def __init__(self, scheduler: Scheduler, models: Models, decoders: Decoders) -> None:
        self._scheduler = scheduler
        self._models = models
        self._decoders = decoders
        self._waiting: set[asyncio.Task[None]] = set()

    def score(self, image: bytes, done: Classification) -> None:
        """Has a radiograph scored that production has answered; returns at once."""
        candidate = self._models.in_shadow_of(done.model)
        if candidate is None:
            return
        if len(self._waiting) >= _MOST_WAITING:
            SHADOW_DROPPED.inc()
            return
        task = asyncio.create_task(self._score(image, candidate, done))
        self._waiting.add(task)
        task.add_done_callback(self._waiting.discard)

    async def _score(self, image: bytes, candidate: Model, done: Classification) -> None:
        job = Job()
        reading = Reading(image, [candidate], job, self._decoders)
        try:
            other = await self._scheduler.run(job, lambda: reading.at_one_go(cores=1))
        except CanicorError as error:
            _log.warning("not scored in the shadow", model=candidate.name, error=error.message)
        except Exception:
            _log.exception("not scored in the shadow", model=candidate.name)
        else:
            _compare(done, other)


def _compare(done: Classification, other: Classification) -> None:
    name, version = other.model.name, other.model.version
    SHADOW_ANSWERS.labels(name, version, other.answer.heart_size or "", done.answer.heart_size or "").inc()
    if done.answer.measurement and other.answer.measurement:
        difference = other.answer.measurement.vhs - done.answer.measurement.vhs
        SHADOW_VHS_DIFFERENCE.labels(name, version).observe(difference)
