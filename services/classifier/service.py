"""The classifier's RPCs: checks the request, hands it on, answers."""

import asyncio
import contextlib
import time
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, ClassVar, TypeAlias

import grpc
import structlog
from prometheus_client import REGISTRY

from canicor.classifier.v1 import classifier_pb2 as pb
from canicor.classifier.v1 import model_admin_pb2 as admin_pb
from canicor.classifier.v1 import open_inference_pb2
from canicor.classifier.v1.classifier_pb2_grpc import (
    ClassifierServiceServicer,
    add_ClassifierServiceServicer_to_server,
)
from canicor.classifier.v1.model_admin_pb2_grpc import (
    ModelAdminServiceServicer,
    add_ModelAdminServiceServicer_to_server,
)
from canicor.classifier.v1.open_inference_pb2_grpc import add_GRPCInferenceServiceServicer_to_server
from canicor.errors import CanicorError, InvalidArgument, Unavailable
from canicor.model_repository import Alias, ModelRepository
from services.classifier import explanation, open_inference
from services.classifier.audit import AuditLog
from services.classifier.classification import Classifications, deadline_of
from services.classifier.decoding import Decoders
from services.classifier.drift import Drift
from services.classifier.messages import classify_response, model_message, status_message
from services.classifier.metrics import STAGE_SECONDS
from services.classifier.models import Loading, Models
from services.classifier.scheduler import Scheduler
from services.classifier.settings import ClassifierSettings
from services.runtime import tracing
from services.runtime.health import Health
from services.runtime.requests import LONGEST_ID, page_limit, page_start, page_token
from services.runtime.tokens import Role

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"

_log = structlog.get_logger("canicor.classifier")

_CLASSIFIER = "canicor.classifier.v1.ClassifierService"
_ADMIN = "canicor.classifier.v1.ModelAdminService"
_OPEN_INFERENCE = open_inference_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"]
_CLASSIFY = frozenset({Role.CLASSIFY, Role.ADMIN})
_ADMINISTER = frozenset({Role.ADMIN})


class ClassifierService:
    """The classifier as the server runs it.

    Args:
        settings: The repository to serve from, and how.
    """

    names = (_CLASSIFIER, _ADMIN, _OPEN_INFERENCE.full_name)
    roles: ClassVar[Mapping[str, frozenset[Role]]] = {
        **{f"/{_CLASSIFIER}/{rpc}": _CLASSIFY for rpc in ("Classify", "ClassifyStream", "ListModels", "GetModel")},
        **{
            f"/{_ADMIN}/{rpc}": _ADMINISTER
            for rpc in ("LoadModel", "UnloadModel", "SetAlias", "SetShadow", "RollBack")
        },
        f"/{_ADMIN}/GetModelStatus": _CLASSIFY,
        **{f"/{_OPEN_INFERENCE.full_name}/{method.name}": _CLASSIFY for method in _OPEN_INFERENCE.methods},
    }

    def __init__(self, settings: ClassifierSettings) -> None:
        self._settings = settings
        repository = ModelRepository.of(settings)
        loading = Loading(settings.chosen_engines, settings.worker_count, settings.slowest_inference)
        self._models = Models(repository, settings.default_model, settings.second_model, loading)
        self._scheduler = Scheduler(settings.worker_count, settings.max_waiting, settings.max_waiting_bytes)
        self._decoders = Decoders(settings.worker_count)
        self._drift = Drift(settings.drift_window)
        self._classifications = Classifications(self._scheduler, self._models, self._decoders, self._drift)
        self._audit = AuditLog(settings.audit_file)
        self._reported: set[str] = set()
        self._draining = asyncio.Event()

    def register(self, server: grpc.aio.Server) -> None:
        """Adds its servicers."""
        classifier = _Classifier(
            self._models, self._classifications, self._audit, self._settings.worker_count, self._draining
        )
        add_ClassifierServiceServicer_to_server(classifier, server)
        add_ModelAdminServiceServicer_to_server(_ModelAdmin(self._models), server)
        protocol = open_inference.OpenInference(self._models, self._classifications, self._audit)
        add_GRPCInferenceServiceServicer_to_server(protocol, server)

    def drain(self) -> None:
        """Has streams take no more requests; every call ends with the answers to what it took."""
        self._draining.set()

    @asynccontextmanager
    async def running(self, health: Health) -> AsyncIterator[None]:
        """Loads what is in production, and follows the aliases until the end."""
        await self._follow_once(health)
        following = asyncio.create_task(self._follow(health))
        REGISTRY.register(self._drift)
        try:
            yield
        finally:
            REGISTRY.unregister(self._drift)
            following.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await following
            self._scheduler.close()
            self._decoders.close()
            self._audit.close()

    async def _follow(self, health: Health) -> None:
        while True:
            await asyncio.sleep(self._settings.reload_seconds)
            try:
                await self._follow_once(health)
            except Exception:
                # What is served stays, and the next turn may succeed: to end here would end all reloads, unseen.
                _log.exception("aliases not followed")

    async def _follow_once(self, health: Health) -> None:
        """Follows the aliases, and reports each model as `NAME`, where it is in production, and `NAME/VERSION`."""
        await asyncio.to_thread(self._models.follow)
        loaded = self._models.loaded()
        now = {f"{model.name}/{model.version}" for model in loaded}
        now |= {model.name for model in loaded if self._models.aliases(model)}
        for name in self._reported ^ now:
            await health.report(name, serving=name in now)
        self._reported = now


class _Classifier(ClassifierServiceServicer):
    def __init__(
        self,
        models: Models,
        classifications: Classifications,
        audit: AuditLog,
        in_flight: int,
        draining: asyncio.Event,
    ) -> None:
        self._models = models
        self._classifications = classifications
        self._audit = audit
        self._in_flight = in_flight
        self._draining = draining

    async def Classify(self, request: pb.ClassifyRequest, context: Context) -> pb.ClassifyResponse:
        return await self._answer(request, context)

    async def ClassifyStream(
        self, request_iterator: AsyncIterator[pb.ClassifyStreamRequest], context: Context
    ) -> AsyncIterator[pb.ClassifyStreamResponse]:
        answers: asyncio.Queue[pb.ClassifyStreamResponse | None] = asyncio.Queue()
        # A slot is taken until its answer is sent: neither a fast sender nor a slow reader fills memory.
        slots = asyncio.Semaphore(2 * self._in_flight)
        reading = asyncio.create_task(self._read(request_iterator, answers, slots, context))
        try:
            while (answer := await answers.get()) is not None:
                yield answer
                slots.release()
            if await reading:
                raise Unavailable(
                    "The server is stopping: send what has no answer to another, by a stream of its own.",
                    reason="DRAINING",
                )
        finally:
            reading.cancel()

    async def ListModels(self, request: pb.ListModelsRequest, context: Context) -> pb.ListModelsResponse:
        limit, start = page_limit(request.page_size), page_start(request.page_token)
        models = self._models.loaded()
        end = start + limit
        return pb.ListModelsResponse(
            models=[model_message(model, self._models.aliases(model)) for model in models[start:end]],
            next_page_token=page_token(end) if end < len(models) else "",
        )

    async def GetModel(self, request: pb.GetModelRequest, context: Context) -> pb.GetModelResponse:
        model = self._models.get(request.model)
        return pb.GetModelResponse(model=model_message(model, self._models.aliases(model), with_card=True))

    async def _answer(self, request: pb.ClassifyRequest, context: Context) -> pb.ClassifyResponse:
        request_id = _checked_id(request.request_id)
        model = self._models.get(request.model)
        explanation.check(request.explanation, model)
        heat_map = request.explanation == pb.EXPLANATION_HEAT_MAP
        deadline = deadline_of(context)
        done = await self._classifications.classify(request.image, model, deadline, heat_map=heat_map)
        self._audit.write(done, request_id)
        picture = b""
        if request.explanation != pb.EXPLANATION_UNSPECIFIED:
            picture = await asyncio.to_thread(explanation.draw, request.explanation, request.image, done)
        encoding = time.perf_counter()
        response = classify_response(done, request_id, picture)
        encoded = time.perf_counter()
        STAGE_SECONDS.labels("encode").observe(encoded - encoding)
        tracing.stage("encode", encoding, encoded)
        return response

    async def _read(
        self,
        requests: AsyncIterator[pb.ClassifyStreamRequest],
        answers: asyncio.Queue[pb.ClassifyStreamResponse | None],
        slots: asyncio.Semaphore,
        context: Context,
    ) -> bool:
        """Has requests answered as they come, and tells whether the drain came before their end."""

        async def work(request: pb.ClassifyRequest) -> None:
            answers.put_nowait(await self._answer_in_stream(request, context))

        draining = asyncio.create_task(self._draining.wait())
        try:
            async with asyncio.TaskGroup() as working:
                while True:
                    coming = asyncio.ensure_future(anext(requests, None))
                    await asyncio.wait({coming, draining}, return_when=asyncio.FIRST_COMPLETED)
                    if not coming.done():
                        coming.cancel()
                        return True
                    if (message := coming.result()) is None:
                        return False
                    await slots.acquire()
                    working.create_task(work(message.request))
        finally:
            draining.cancel()
            answers.put_nowait(None)

    async def _answer_in_stream(self, request: pb.ClassifyRequest, context: Context) -> pb.ClassifyStreamResponse:
        try:
            if not request.request_id:
                raise InvalidArgument(
                    "On a stream every request needs a request_id.",
                    reason="REQUEST_ID",
                    field="request.request_id",
                )
            response = await self._answer(request, context)
        except CanicorError as error:
            code: int = grpc.StatusCode[error.status].value[0]
            failure = pb.StreamError(code=code, message=error.message, reason=error.reason)
            return pb.ClassifyStreamResponse(request_id=request.request_id, error=failure)
        return pb.ClassifyStreamResponse(request_id=request.request_id, response=response)


class _ModelAdmin(ModelAdminServiceServicer):
    def __init__(self, models: Models) -> None:
        self._models = models

    async def LoadModel(self, request: admin_pb.LoadModelRequest, context: Context) -> admin_pb.LoadModelResponse:
        name, version = _checked_reference(request.model)
        model = await asyncio.to_thread(self._models.load, name, version)
        return admin_pb.LoadModelResponse(model=model_message(model, self._models.aliases(model)))

    async def UnloadModel(
        self, request: admin_pb.UnloadModelRequest, context: Context
    ) -> admin_pb.UnloadModelResponse:
        name, version = _checked_reference(request.model)
        await asyncio.to_thread(self._models.unload, name, version)
        return admin_pb.UnloadModelResponse()

    async def SetAlias(self, request: admin_pb.SetAliasRequest, context: Context) -> admin_pb.SetAliasResponse:
        name, version = _checked_reference(request.model)
        await asyncio.to_thread(self._models.set_alias, name, _checked_alias(request.alias), version)
        return admin_pb.SetAliasResponse(model=request.model)

    async def SetShadow(self, request: admin_pb.SetShadowRequest, context: Context) -> admin_pb.SetShadowResponse:
        if request.version:
            _checked_reference(pb.ModelReference(name=request.name, version=request.version))
        await asyncio.to_thread(self._models.set_shadow, request.name, request.version)
        return admin_pb.SetShadowResponse(version=request.version)

    async def RollBack(self, request: admin_pb.RollBackRequest, context: Context) -> admin_pb.RollBackResponse:
        version = await asyncio.to_thread(self._models.roll_back, request.name)
        return admin_pb.RollBackResponse(model=pb.ModelReference(name=request.name, version=version))

    async def GetModelStatus(
        self, request: admin_pb.GetModelStatusRequest, context: Context
    ) -> admin_pb.GetModelStatusResponse:
        statuses = await asyncio.to_thread(self._models.statuses, request.name)
        return admin_pb.GetModelStatusResponse(statuses=[status_message(one) for one in statuses])


def _checked_id(request_id: str) -> str:
    if len(request_id) > LONGEST_ID:
        raise InvalidArgument(
            f"request_id may have at most {LONGEST_ID} characters.", reason="REQUEST_ID", field="request_id"
        )
    return request_id or str(uuid.uuid4())


def _checked_reference(reference: pb.ModelReference) -> tuple[str, str]:
    if not reference.name or not reference.version.isdecimal():
        raise InvalidArgument(
            "model needs a name and a version, a whole number.", reason="MODEL_REFERENCE", field="model"
        )
    return reference.name, reference.version


def _checked_alias(alias: str) -> Alias:
    if alias not in (Alias.PRODUCTION, Alias.CANDIDATE):
        raise InvalidArgument(
            "alias must be 'production' or 'candidate'; SetShadow sets the shadow.",
            reason="UNKNOWN_ALIAS",
            field="alias",
        )
    return Alias(alias)
