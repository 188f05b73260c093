"""The generator's RPCs: messages in, messages out."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeAlias

import grpc

from canicor.errors import FailedPrecondition, Unavailable
from canicor.generator.v1 import generator_pb2 as pb
from canicor.generator.v1.generator_pb2_grpc import (
    GeneratorServiceServicer,
    add_GeneratorServiceServicer_to_server,
)
from canicor.model_repository import ModelRepository
from canicor.pipeline_repository import Pipelines
from canicor.store import Store, read_checked
from services.generator import executors
from services.generator.backends import Preview
from services.generator.batches import Batches, Owner
from services.generator.changes import Changes
from services.generator.curation import Curation, CurationSettings, reading_model
from services.generator.executors import Executor
from services.generator.messages import batch_message, image_message, preview_message, verdict_from
from services.generator.metrics import count_image
from services.generator.plan import checked_batch, checked_batch_id, checked_few
from services.generator.production import Production
from services.generator.settings import GeneratorSettings
from services.generator.targets import target_from
from services.generator.worker import ImageRecord, Work, make
from services.runtime.database import opened
from services.runtime.health import Health
from services.runtime.interceptor import caller
from services.runtime.requests import page_limit, page_start, page_token
from services.runtime.tokens import Role

NAME = pb.DESCRIPTOR.services_by_name["GeneratorService"].full_name

_MIGRATIONS = Path(__file__).parent / "migrations"
_MAKERS = frozenset({Role.GENERATE})
_READERS = frozenset({Role.GENERATE, Role.LABEL, Role.REVIEW})
_MAKING = frozenset({"CreateBatch", "CancelBatch", "Generate"})

# Seconds between two answers to one who watches: changes that come faster are told together.
_WATCH_PAUSE = 0.1

_Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"


class GeneratorService(GeneratorServiceServicer):
    """Generates radiographs; see `canicor.generator.v1` for what each call does and how it fails.

    Args:
        settings: Says where everything lies.

    Raises:
        FailedPrecondition: The store can't be shared with worker processes.
        InvalidArgument: The store's URL names no store.
    """

    names: Sequence[str] = (NAME,)
    roles: Mapping[str, frozenset[Role]] = {
        f"/{NAME}/{method.name}": _MAKERS if method.name in _MAKING else _READERS
        for method in pb.DESCRIPTOR.services_by_name["GeneratorService"].methods
    }

    _batches: Batches
    _executor: Executor
    _production: Production

    def __init__(self, settings: GeneratorSettings) -> None:
        if settings.image_store.startswith("memory:"):
            raise FailedPrecondition(
                "The generator's processes can't share a memory store: set CANICOR_STORE_URL to file:///, s3://, "
                "gs:// or az://.",
                reason="STORE_URL",
            )
        self._settings = settings
        self._pipelines = Pipelines.of(settings)
        self._store = Store(settings.image_store)
        self._changes = Changes()
        self._draining = False

    def register(self, server: grpc.aio.Server) -> None:
        """Adds the servicer."""
        add_GeneratorServiceServicer_to_server(self, server)

    @asynccontextmanager
    async def running(self, health: Health) -> AsyncIterator[None]:
        """Opens the database, starts the workers and takes up the batches; ends all of it on exit."""
        async with opened(self._settings.database, _MIGRATIONS) as engine:
            self._batches = Batches(engine)
            self._executor = executors.named(
                self._settings.executor,
                self._settings.workers,
                self._settings.image_store,
                self._settings.ray_gpus,
            )
            self._production = Production(
                self._batches,
                self._changes,
                self._executor,
                self._settings.image_store,
                self._pipelines,
                Curation(
                    settings=CurationSettings(
                        **self._settings.model_dump(include=set(CurationSettings.model_fields))
                    ),
                    model="",
                    models=self._settings.models,
                    shipped_model=self._settings.shipped_model,
                    store_url=self._settings.image_store,
                ),
                self._settings.computing,
            )
            try:
                async with self._production.running():
                    yield
            finally:
                await self._executor.close()

    def drain(self) -> None:
        """Ends every watch: a batch may take days."""
        self._draining = True
        self._changes.tell_all()

    async def CreateBatch(self, request: pb.CreateBatchRequest, context: _Context) -> pb.CreateBatchResponse:
        """Writes a batch down and starts work on it."""
        settings = self._settings
        checked = await asyncio.to_thread(checked_batch, request, settings.generator_backend, self._pipelines)
        model = await asyncio.to_thread(reading_model, settings.curation_model, ModelRepository.of(settings))
        owner = Owner(caller().name, settings.client_images)
        batch, is_new = await self._batches.create(request, checked, model, owner)
        if is_new:
            await self._production.add(batch)
        return pb.CreateBatchResponse(batch=batch_message(batch, self._store))

    async def GetBatch(self, request: pb.GetBatchRequest, context: _Context) -> pb.GetBatchResponse:
        """Reads one batch."""
        batch = await self._batches.get(checked_batch_id(request.batch_id))
        return pb.GetBatchResponse(batch=batch_message(batch, self._store))

    async def ListBatches(self, request: pb.ListBatchesRequest, context: _Context) -> pb.ListBatchesResponse:
        """Reads a page of batches; its token is the number of the last."""
        limit = page_limit(request.page_size)
        batches = await self._batches.newest(limit + 1, page_start(request.page_token))
        answer = pb.ListBatchesResponse(batches=[batch_message(batch, self._store) for batch in batches[:limit]])
        if len(batches) > limit:
            answer.next_page_token = page_token(batches[limit - 1].number)
        return answer

    async def WatchBatch(
        self, request: pb.WatchBatchRequest, context: _Context
    ) -> AsyncIterator[pb.WatchBatchResponse]:
        """Reads a batch at each change until it has ended."""
        batch_id = checked_batch_id(request.batch_id)
        while True:
            change = self._changes.next(batch_id)
            batch = await self._batches.get(batch_id)
            yield pb.WatchBatchResponse(batch=batch_message(batch, self._store))
            if batch.ended:
                return
            if not self._draining:
                await change.wait()
            if self._draining:
                raise Unavailable("The generator is stopping: watch again.", reason="DRAINING")
            await asyncio.sleep(_WATCH_PAUSE)

    async def CancelBatch(self, request: pb.CancelBatchRequest, context: _Context) -> pb.CancelBatchResponse:
        """Ends a batch that has not ended."""
        batch = await self._production.cancel(checked_batch_id(request.batch_id))
        return pb.CancelBatchResponse(batch=batch_message(batch, self._store))

    async def ListImages(self, request: pb.ListImagesRequest, context: _Context) -> pb.ListImagesResponse:
        """Reads a page of images; its token is the index of the next."""
        limit, start = page_limit(request.page_size), page_start(request.page_token)
        batch = await self._batches.get(checked_batch_id(request.batch_id))
        verdicts = [verdict_from(verdict) for verdict in request.verdicts]
        images = await self._batches.images(batch.id, limit + 1, start, verdicts)
        answer = pb.ListImagesResponse(
            images=[self._stored_image(batch.id, batch.request.options.backend, image) for image in images[:limit]]
        )
        if len(images) > limit:
            answer.next_page_token = page_token(images[limit].index)
        return answer

    async def GetImage(self, request: pb.GetImageRequest, context: _Context) -> pb.GetImageResponse:
        """Reads one image and checks its bytes."""
        batch = await self._batches.get(checked_batch_id(request.batch_id))
        image = await self._batches.image(batch, request.index)
        message = self._stored_image(batch.id, batch.request.options.backend, image)
        content = await asyncio.to_thread(read_checked, message.url, message.sha256)
        return pb.GetImageResponse(image=message, content=content)

    async def Generate(self, request: pb.GenerateRequest, context: _Context) -> AsyncIterator[pb.GenerateResponse]:
        """Makes a few images in the workers, each as a piece of its own, and tells what is ready or seen of it."""
        checked = await asyncio.to_thread(checked_few, request, self._settings.generator_backend, self._pipelines)
        target, backend = target_from(checked.portion), checked.options.backend
        works = [
            Work(
                checked.seed,
                ((index, target),),
                checked.options,
                self._pipelines,
                computing=self._settings.computing,
            )
            for index in range(checked.portion.count)
        ]
        ready: asyncio.Queue[pb.GenerateResponse | None] = asyncio.Queue()

        def seen(preview: Preview) -> None:
            image = preview_message(preview.index, target, backend)
            ready.put_nowait(pb.GenerateResponse(image=image, content=preview.png, progress=preview.progress))

        async def made(work: Work) -> None:
            for image, content in await self._executor.run_and_hear(seen, make, work):
                count_image(backend, image.seconds)
                message = image_message(image, backend)
                ready.put_nowait(pb.GenerateResponse(image=message, content=content, progress=1.0))

        pieces = [asyncio.ensure_future(made(work)) for work in works]
        all_made = asyncio.gather(*pieces)
        all_made.add_done_callback(lambda _: ready.put_nowait(None))
        try:
            while response := await ready.get():
                yield response
            await all_made
        finally:
            for piece in pieces:
                piece.cancel()

    def _stored_image(self, batch_id: str, backend: str, image: ImageRecord) -> pb.Image:
        return image_message(image, backend, batch_id, self._store.url(image.key))
