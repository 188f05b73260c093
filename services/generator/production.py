"""Works through the batches: highest priority first, then oldest, a bounded number of images at a time."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import ParamSpec, TypeVar

import structlog

from canicor.errors import CanicorError, Unavailable
from canicor.pipeline import Computing
from canicor.pipeline_repository import Pipelines
from canicor.store import Store
from services.generator.batches import Batches
from services.generator.changes import Changes
from services.generator.curation import Curation
from services.generator.executors import Executor
from services.generator.metrics import BATCHES, count_image, count_verdicts
from services.generator.rows import Batch, BatchState
from services.generator.targets import Targets
from services.generator.worker import ImageRecord, Work, conclude_batch, make_and_store

_Parameters = ParamSpec("_Parameters")
_Result = TypeVar("_Result")

# Images in one piece of work: what a worker that dies takes with it, and what one transaction writes down.
_PIECE = 8

# Seconds until batches are taken up again where the database did not answer.
_PAUSE = 2.0

_log = structlog.get_logger("canicor.generator")


@dataclass
class _Job:
    """A batch that is worked on in this run of the server."""

    batch: Batch
    targets: Targets
    missing: AsyncIterator[list[int]]
    began: float = 0.0
    made: int = 0

    @property
    def turn(self) -> tuple[int, int]:
        """The lowest is worked on first."""
        return -self.batch.request.priority, self.batch.number

    def rate(self) -> float:
        return self.made / max(time.monotonic() - self.began, 1e-9)


class Production:
    """Makes what the batches in the database ask for.

    Args:
        batches: Where batches and their images are written down.
        changes: Told of each change.
        executor: Where images are made.
        store_url: Where images are stored.
        pipelines: What batches may name.
        curation: How images are judged; the model is each batch's own.
        computing: How text-to-image pipelines compute them.
    """

    def __init__(
        self,
        batches: Batches,
        changes: Changes,
        executor: Executor,
        store_url: str,
        pipelines: Pipelines,
        curation: Curation,
        computing: Computing,
    ) -> None:
        self._batches = batches
        self._changes = changes
        self._executor = executor
        self._store_url = store_url
        self._pipelines = pipelines
        self._curation = curation
        self._computing = computing
        self._jobs: dict[str, _Job] = {}
        self._more = asyncio.Event()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Takes up every batch that has not ended, and works until exit."""
        task = asyncio.create_task(self._produce_for_ever())
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def add(self, batch: Batch) -> None:
        """Takes up a new batch."""
        self._take_up(batch)
        await self._count_batches()

    async def cancel(self, batch_id: str) -> Batch:
        """Stops a batch; one that has ended stays as it is.

        Raises:
            NotFound: There is none of this id.
        """
        return await self._end(batch_id, BatchState.CANCELLED)

    async def _produce_for_ever(self) -> None:
        while True:
            try:
                await self._produce()
            except Exception:
                _log.exception("production stopped; batches are taken up again", seconds=_PAUSE)
            await asyncio.sleep(_PAUSE)

    async def _produce(self) -> None:
        """What the database says is all that a run starts from, so that one which fails loses nothing."""
        self._jobs.clear()
        for batch in await self._batches.unended():
            self._take_up(batch)
        await self._count_batches()
        # One piece more than there are workers, so that none waits while another is written down.
        free = asyncio.Semaphore(self._executor.workers + 1)
        async with asyncio.TaskGroup() as group:
            while True:
                await free.acquire()
                job, indices = await self._next_piece()
                piece = group.create_task(self._work(job, indices))
                piece.add_done_callback(lambda _: free.release())

    def _take_up(self, batch: Batch) -> None:
        missing = self._batches.missing(batch, _PIECE)
        self._jobs.setdefault(batch.id, _Job(batch, Targets(batch.request.portions), missing))
        self._more.set()

    async def _next_piece(self) -> tuple[_Job, list[int]]:
        """Returns what to do next: images of a batch, or none where only its conclusion is missing."""
        while True:
            while self._jobs:
                job = min(self._jobs.values(), key=lambda job: job.turn)
                if not job.began:
                    await self._begin(job)
                indices = await anext(job.missing, None)
                if indices:
                    return job, indices
                self._jobs.pop(job.batch.id, None)
                if job.batch.completed_count == job.batch.image_count:
                    return job, []
            self._more.clear()
            await self._more.wait()

    async def _begin(self, job: _Job) -> None:
        job.began = time.monotonic()
        await self._batches.start(job.batch.id)
        self._changes.tell(job.batch.id)
        await self._count_batches()

    async def _work(self, job: _Job, indices: list[int]) -> None:
        """Makes some images, and after the last of a batch says what is to be said of it."""
        if not indices or await self._make(job, indices):
            await self._conclude(job)

    async def _make(self, job: _Job, indices: list[int]) -> bool:
        """Returns whether these were the last."""
        batch, request = job.batch, job.batch.request
        images = tuple((index, job.targets.of(index)) for index in indices)
        work = Work(
            request.seed, images, request.options, self._pipelines, self._computing, self._curation_of(batch)
        )
        made = await self._run(batch, make_and_store, work, batch.id, self._store_url)
        if made is None:
            return False
        job.made += len(made)
        now = await self._batches.record(batch.id, made, job.rate())
        if now is None:
            await asyncio.to_thread(_discard, self._store_url, made)
            return False
        self._changes.tell(batch.id)
        for image in made:
            count_image(request.options.backend, image.seconds)
        return now.completed_count == now.image_count

    async def _conclude(self, job: _Job) -> None:
        batch = job.batch
        images = await self._batches.judged(batch.id)
        curation, key = self._curation_of(batch), f"generated/{batch.id}/report.html"
        conclusion = await self._run(batch, conclude_batch, _facts(batch), images, curation, key)
        if conclusion is None:
            return
        end = await self._batches.conclude(batch.id, conclusion)
        if end.state is BatchState.SUCCEEDED:
            count_verdicts(end.verdicts)
        self._changes.tell(batch.id)
        await self._count_batches()

    async def _run(
        self,
        batch: Batch,
        function: Callable[_Parameters, _Result],
        *args: _Parameters.args,
        **kwargs: _Parameters.kwargs,
    ) -> _Result | None:
        """Calls a function in a worker; where that can't be done, the batch fails and nothing is returned."""
        try:
            return await self._executor.run(function, *args, **kwargs)
        except CanicorError as error:
            await self._end(batch.id, BatchState.FAILED, error.message)
        except Exception:
            _log.exception("a batch can't be made", batch=batch.id)
            await self._end(batch.id, BatchState.FAILED, "The server failed to make images; its log says why.")
        return None

    def _curation_of(self, batch: Batch) -> Curation:
        return self._curation.with_model(batch.curation_model)

    async def _end(self, batch_id: str, state: BatchState, error: str = "") -> Batch:
        batch = await self._batches.end(batch_id, state, error)
        self._jobs.pop(batch_id, None)
        self._changes.tell(batch_id)
        await self._count_batches()
        return batch

    async def _count_batches(self) -> None:
        for state, count in (await self._batches.count_by_state()).items():
            BATCHES.labels(state.lower()).set(count)


def _facts(batch: Batch) -> dict[str, str]:
    """What the report says of a batch at its head."""
    options = batch.request.options
    facts = {
        "batch": batch.id,
        "name": batch.request.display_name,
        "images": str(batch.image_count),
        "seed": str(batch.request.seed),
        "backend": options.backend,
        "model": options.model,
        "prompt": options.prompt,
        "read by": batch.curation_model,
    }
    return {name: fact for name, fact in facts.items() if fact}


def _discard(store_url: str, images: list[ImageRecord]) -> None:
    """Removes images of a batch that ended while they were made."""
    store = Store(store_url)
    with suppress(Unavailable):
        for image in images:
            store.delete(image.key)
            store.delete(image.key.removesuffix("png") + "json")
