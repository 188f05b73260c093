"""Radiographs in, answers out: each read when its turn comes, the same file at the same time only once."""

import asyncio
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import grpc
import numpy as np
from numpy.typing import NDArray

from services.classifier.decoding import Decoders
from services.classifier.drift import Drift
from services.classifier.engines import Outputs
from services.classifier.metrics import ANSWERS, CONFIDENCE, REFERRALS, SHARED, STAGE_SECONDS
from services.classifier.model import Model
from services.classifier.models import Models
from services.classifier.reading import Classification, Reading
from services.classifier.scheduler import Job, Scheduler
from services.classifier.shadow import Shadow

# Enough of a file to tell it from others before the whole of it is compared.
_TAIL = 4096


@dataclass
class _Work:
    """The work on one file by one model, which any number of callers wait for."""

    image: bytes
    job: Job
    task: "asyncio.Task[Classification]"
    callers: int = 0

    async def result(self, deadline: float) -> Classification:
        self.callers += 1
        self.job.deadline = max(self.job.deadline, deadline)
        try:
            return await asyncio.shield(self.task)
        finally:
            self.callers -= 1
            if not self.callers:
                self.task.cancel()


class Classifications:
    """Classifies radiographs.

    Args:
        scheduler: Shares out the cores.
        models: Says who is asked beside a model.
        decoders: Decode.
        drift: Is told of every answer.
    """

    def __init__(self, scheduler: Scheduler, models: Models, decoders: Decoders, drift: Drift) -> None:
        self._scheduler = scheduler
        self._models = models
        self._decoders = decoders
        self._drift = drift
        self._shadow = Shadow(scheduler, models, decoders)
        self._under_way: dict[tuple[Any, ...], list[_Work]] = {}

    async def classify(
        self, image: bytes, model: Model, deadline: float, *, heat_map: bool = False
    ) -> Classification:
        """Classifies one radiograph.

        Args:
            image: The file.
            model: Answers.
            deadline: When the caller gives up, in seconds of `time.monotonic`; infinite for never.
            heat_map: Return the heat map of a model that gives it.

        Raises:
            CanicorError: As `canicor.radiograph.decode`; ResourceExhausted where too many wait, or it would come
                too late; DeadlineExceeded where no time was left when its turn came.
        """
        key = (model, heat_map, len(image), image[-_TAIL:])
        # Work without callers is being cancelled: their last one has just left.
        same = (one for one in self._under_way.get(key, ()) if one.callers and one.image == image)
        work = next(same, None)
        if work is None:
            work = self._begun(image, model, deadline, heat_map)
            self._under_way.setdefault(key, []).append(work)
            work.task.add_done_callback(partial(self._ended, key, work))
        else:
            SHARED.inc()
        return await work.result(deadline)

    async def infer(
        self, images: NDArray[np.uint8], model: Model, names: Sequence[str], deadline: float
    ) -> Outputs:
        """Runs a model's graph on prepared inputs.

        Args:
            images: uint8 [N, height, width] of the bundle's input.
            model: Runs.
            names: Of the outputs wanted; those that an answer needs where empty.
            deadline: As for `classify`.

        Raises:
            ResourceExhausted, DeadlineExceeded: As `classify`.
        """

        def run() -> Outputs:
            job.check("inference", model.plan.seconds)
            return model.infer(images, names, cores=self._scheduler.cores_each())

        job = self._scheduler.admit(images.nbytes, deadline, model.estimate)
        try:
            return await self._scheduler.run(job, run)
        finally:
            self._scheduler.release(job)

    def _begun(self, image: bytes, model: Model, deadline: float, heat_map: bool) -> _Work:
        job = self._scheduler.admit(len(image), deadline, model.estimate)
        models = [model, *self._models.beside(model)]
        reading = Reading(image, models, job, self._decoders, heat_map=heat_map)
        return _Work(image, job, asyncio.create_task(self._classified(image, reading)))

    def _ended(self, key: tuple[Any, ...], work: _Work, task: "asyncio.Task[Classification]") -> None:
        self._scheduler.release(work.job)
        self._under_way[key].remove(work)
        if not self._under_way[key]:
            del self._under_way[key]
        if not task.cancelled():
            # Looked at, even where the last caller has just left.
            task.exception()

    async def _classified(self, image: bytes, reading: Reading) -> Classification:
        if any(one.batches for one in reading.models):
            done = await self._step_by_step(reading)
        else:
            done = await self._scheduler.run(reading.job, partial(self._at_one_go, reading))
        done.model.estimate.learn(done.seconds, max(self._scheduler.at_once, done.model.plan.batch))
        _count(done)
        self._shadow.score(image, done)
        return done

    def _at_one_go(self, reading: Reading) -> Classification:
        done = reading.at_one_go(self._scheduler.cores_each())
        reading.tell(self._drift, done.answer)
        return done

    async def _step_by_step(self, reading: Reading) -> Classification:
        """Leaves the core to others while a GPU works."""
        await self._scheduler.run(reading.job, reading.decode)
        for model in reading.models:
            if model.batches:
                outputs = model.submit(reading.pixels(model), reading.job)
                reading.take(model, await asyncio.wrap_future(outputs))
            else:
                await self._scheduler.run(reading.job, partial(reading.infer, model, 1))
        done = reading.judge()
        reading.tell(self._drift, done.answer)
        return done


def deadline_of(context: "grpc.aio.ServicerContext[Any, Any]") -> float:
    """Returns when a call's caller gives up, in seconds of `time.monotonic`; infinite where he never does."""
    remaining = context.time_remaining()
    return math.inf if remaining is None else time.monotonic() + remaining


def _count(done: Classification) -> None:
    name, version, said = done.model.name, done.model.version, done.answer
    decision = "REFER" if said.referrals else "ACCEPT"
    ANSWERS.labels(name, version, said.heart_size or "", decision).inc()
    if said.probability is not None:
        CONFIDENCE.labels(name, version).observe(said.probability)
    for referral in said.referrals:
        REFERRALS.labels(name, referral.reason).inc()
    for stage, seconds in done.seconds.items():
        STAGE_SECONDS.labels(stage).observe(seconds)
