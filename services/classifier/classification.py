"""Bytes in, answer out: decodes, resizes, infers and judges off the event loop."""

import asyncio
import hashlib
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import grpc
import numpy as np
from numpy.typing import NDArray

from canicor.errors import DeadlineExceeded, ResourceExhausted
from services.classifier.answer import Answer, answer
from services.classifier.decoding import Decoders
from services.classifier.metrics import ANSWERS, REFERRALS, SHED, STAGE_SECONDS, WAITING
from services.classifier.model import Model

Result = TypeVar("Result")

RETRY_SECONDS = 1.0
"""When to come back after a full queue."""


@dataclass(frozen=True)
class Classification:
    """An answer and what it took.

    Attributes:
        seconds: By stage: `queue`, `decode`, `inference`, `total`.
    """

    answer: Answer
    model: Model
    sha256: str
    seconds: dict[str, float]


class Classifications:
    """Works on a bounded number of radiographs at once, and lets a bounded number wait.

    Args:
        workers: Radiographs worked on at once.
        max_waiting: Requests taken in and not yet answered; beyond, they are refused.
    """

    def __init__(self, workers: int, max_waiting: int) -> None:
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="classify")
        self._decoders = Decoders(workers)
        self._max_waiting = max_waiting
        self._waiting = 0

    async def classify(self, image: bytes, model: Model, time_left: Callable[[], float]) -> Classification:
        """Classifies one radiograph.

        Args:
            image: The file.
            model: Answers.
            time_left: Seconds until the caller gives up, asked before work starts.

        Raises:
            CanicorError: As `canicor.radiograph.decode`; ResourceExhausted where too many wait;
                DeadlineExceeded where no time was left when its turn came.
        """
        work = partial(_classify, self._decoders, image, model, time_left, self._alone, time.perf_counter())
        done = await self._worked(work)
        _count(done)
        return done

    async def infer(
        self, images: NDArray[np.uint8], model: Model, time_left: Callable[[], float]
    ) -> dict[str, NDArray[np.float32]]:
        """Runs a model's graph on prepared inputs.

        Args:
            images: uint8 [N, height, width] of the bundle's input.
            model: Runs.
            time_left: As for `classify`.

        Raises:
            ResourceExhausted, DeadlineExceeded: As `classify`.
        """
        return await self._worked(partial(_infer, images, model, time_left, self._alone))

    def _alone(self) -> bool:
        return self._waiting == 1

    async def _worked(self, work: Callable[[], Result]) -> Result:
        if self._waiting >= self._max_waiting:
            SHED.inc()
            raise ResourceExhausted(
                f"{self._waiting} requests are waiting: try again in {RETRY_SECONDS:g} s.",
                reason="QUEUE_FULL",
                retry_after=RETRY_SECONDS,
            )
        self._waiting += 1
        WAITING.set(self._waiting)
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, work)
        finally:
            self._waiting -= 1
            WAITING.set(self._waiting)

    def close(self) -> None:
        """Waits for the work under way."""
        self._pool.shutdown(cancel_futures=True)
        self._decoders.close()


def time_left(context: "grpc.aio.ServicerContext[Any, Any]") -> Callable[[], float]:
    """Returns what tells how many seconds a call has left; infinite where its caller set no deadline."""

    def left() -> float:
        remaining = context.time_remaining()
        return float("inf") if remaining is None else remaining

    return left


def _infer(
    images: NDArray[np.uint8], model: Model, time_left: Callable[[], float], alone: Callable[[], bool]
) -> dict[str, NDArray[np.float32]]:
    _check_time(time_left)
    return model.infer(images, alone=alone())


def _check_time(time_left: Callable[[], float]) -> None:
    if time_left() <= 0:
        raise DeadlineExceeded("The deadline passed before work on this radiograph began.", reason="DEADLINE")


def _classify(
    decoders: Decoders,
    image: bytes,
    model: Model,
    time_left: Callable[[], float],
    alone: Callable[[], bool],
    arrived: float,
) -> Classification:
    started = time.perf_counter()
    _check_time(time_left)
    radiograph = decoders.read(image, model.info.input, time_left())
    decoded = time.perf_counter()
    output = model.run(radiograph.pixels, alone=alone())
    inferred = time.perf_counter()
    said = answer(output, model.info, radiograph.placement, radiograph.pixel_aspect)
    seconds = {
        "queue": started - arrived,
        "decode": decoded - started,
        "inference": inferred - decoded,
        "total": time.perf_counter() - arrived,
    }
    return Classification(said, model, hashlib.sha256(image).hexdigest(), seconds)


def _count(done: Classification) -> None:
    name, version = done.model.name, done.model.version
    decision = "REFER" if done.answer.referrals else "ACCEPT"
    ANSWERS.labels(name, version, done.answer.heart_size or "", decision).inc()
    for referral in done.answer.referrals:
        REFERRALS.labels(name, referral.reason).inc()
    for stage, seconds in done.seconds.items():
        STAGE_SECONDS.labels(stage).observe(seconds)
