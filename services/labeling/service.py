"""`canicor.labeling.v1.LabelingService`: each call checked, run in one transaction, and answered."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import grpc
import structlog
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from canicor.errors import PermissionDenied
from canicor.labeling.v1 import labeling_pb2 as pb
from canicor.labeling.v1.labeling_pb2_grpc import LabelingServiceServicer, add_LabelingServiceServicer_to_server
from canicor.measurement.v1 import measurement_pb2 as measurement
from canicor.settings import ClientSettings
from canicor.store import Store
from services.labeling import (
    agreement,
    checks,
    export,
    images,
    labels,
    projects,
    statistics,
    suggestions,
    tasks,
)
from services.labeling.batches import Generator
from services.labeling.metrics import LABELS, LEASES, OPEN_TASKS, REJECTS
from services.labeling.settings import LabelingSettings
from services.labeling.suggestions import Suggestions
from services.labeling.tables import TO_LABEL, committed
from services.labeling.web import Web
from services.runtime.database import opened
from services.runtime.health import Health
from services.runtime.interceptor import caller
from services.runtime.requests import checked_request_id, page_limit, page_start, page_token
from services.runtime.tokens import Role

CHUNK = 256 * 2**10
"""Bytes in each part of an export but the last."""

_MIGRATIONS = Path(__file__).parent / "migrations"
_COUNT_EVERY = 15.0

_NAME = "canicor.labeling.v1.LabelingService"
_ANY = frozenset({Role.LABEL, Role.REVIEW, Role.MANAGE})
_REVIEW = frozenset({Role.REVIEW, Role.MANAGE})
_MANAGE = frozenset({Role.MANAGE})

Answer = TypeVar("Answer")
Context = Any

_log = structlog.get_logger("canicor.labeling")


class LabelingService(LabelingServiceServicer):
    """Hands radiographs to people, reviews and exports what they place."""

    names = (_NAME,)
    roles: ClassVar[dict[str, frozenset[Role]]] = {
        f"/{_NAME}/{method}": allowed
        for method, allowed in {
            "SetProject": _MANAGE,
            "GetProject": _ANY,
            "ListProjects": _ANY,
            "ImportImages": _MANAGE,
            "ImportBatch": _MANAGE,
            "DeleteImages": _MANAGE,
            "LeaseTask": _ANY,
            "SubmitLabel": _ANY,
            "RejectImage": _ANY,
            "ReviewLabel": _REVIEW,
            "SetGold": _MANAGE,
            "ListLabels": _ANY,
            "GetImage": _ANY,
            "GetHistory": _REVIEW,
            "ExportDataset": _MANAGE,
            "GetAgreement": _ANY,
            "GetProgress": _ANY,
            "GetStatistics": _ANY,
        }.items()
    }

    def __init__(self, settings: LabelingSettings) -> None:
        self._settings = settings
        self._objects = Store(settings.image_store)
        self._web = Web(pb.DESCRIPTOR.services_by_name["LabelingService"], settings)
        self._database: AsyncEngine
        self._generator: Generator

    def register(self, server: grpc.aio.Server) -> None:
        """Adds the servicer, and what pages are answered over."""
        add_LabelingServiceServicer_to_server(self, server)
        self._web.register(server)

    def drain(self) -> None:
        """Ends nothing: every call ends with its answer."""

    @asynccontextmanager
    async def running(self, health: Health) -> AsyncIterator[None]:
        """Holds the database and the connection to the generator, works beside the calls, and answers pages."""
        settings = ClientSettings(
            home=self._settings.home,
            classifier_address=self._settings.classifier_address,
            generator_address=self._settings.generator_address,
        )
        async with opened(self._settings.database, _MIGRATIONS) as self._database:
            self._generator = Generator(settings)
            suggesting = Suggestions(self._database, settings)
            beside = [asyncio.create_task(work) for work in (self._count_open_tasks(), suggesting.work())]
            try:
                async with self._web.running():
                    yield
            finally:
                for work in beside:
                    work.cancel()
                await asyncio.gather(*beside, return_exceptions=True)
                await self._generator.close()

    async def SetProject(self, request: pb.SetProjectRequest, context: Context) -> pb.SetProjectResponse:
        """Makes a project, or changes how its images are labelled."""
        asked = checks.whole_project(request.project)

        kept = await self._committed(lambda session: projects.put(session, asked))
        return pb.SetProjectResponse(project=projects.message(kept))

    async def GetProject(self, request: pb.GetProjectRequest, context: Context) -> pb.GetProjectResponse:
        """Returns a project."""
        name = checks.project(request.name)
        found = await self._committed(lambda session: projects.find(session, name))
        return pb.GetProjectResponse(project=projects.message(found))

    async def ListProjects(self, request: pb.ListProjectsRequest, context: Context) -> pb.ListProjectsResponse:
        """Lists all projects by name."""
        found = await self._committed(projects.everything)
        who = caller()
        asking = pb.Caller(name=who.name, roles=sorted(who.roles))
        return pb.ListProjectsResponse(projects=map(projects.message, found), caller=asking)

    async def ImportImages(self, request: pb.ImportImagesRequest, context: Context) -> pb.ImportImagesResponse:
        """Adds images as tasks of a project, with the labels that they come with."""
        project = checks.project(request.project)
        asked = checks.images(request.images)
        decoded = await images.decoded(self._objects, project, asked)
        rows = [image.row for image in decoded]
        placed = labels.imported(rows, asked)
        await images.keep(self._objects, decoded)

        async def imported(session: AsyncSession) -> tuple[images.Added, int]:
            added = await images.add(session, project, rows)
            return added, await labels.add_imported(session, added.images, placed, _now())

        added, label_count = await self._committed(imported)
        return pb.ImportImagesResponse(
            added_count=added.new,
            known_count=added.known,
            image_ids=[image.id for image in added.images],
            added_label_count=label_count,
            deidentifications=images.deidentifications(decoded),
        )

    async def ImportBatch(self, request: pb.ImportBatchRequest, context: Context) -> pb.ImportBatchResponse:
        """Adds the images of a generator's batch; each page is kept even where a later one fails."""
        project = checks.project(request.project)
        answer = pb.ImportBatchResponse()
        found = self._generator.pages(project, request.batch_id, with_doubtful=request.with_doubtful)
        async with aclosing(found) as pages:
            async for rows in pages:
                added = await self._committed(partial(images.add, project=project, images=rows))
                answer.added_count += added.new
                answer.known_count += added.known
        return answer

    async def DeleteImages(self, request: pb.DeleteImagesRequest, context: Context) -> pb.DeleteImagesResponse:
        """Deletes images, their labels and their files."""
        project = checks.project(request.project)
        ids, subject_id = checks.deleted(request)
        count = await self._committed(
            lambda session: images.delete(session, self._objects, project, ids, subject_id)
        )
        _log.info("images deleted", project=project, count=count, by=caller().name)
        return pb.DeleteImagesResponse(deleted_count=count)

    async def LeaseTask(self, request: pb.LeaseTaskRequest, context: Context) -> pb.LeaseTaskResponse:
        """Hands the caller one image to label, or to decide on."""
        project = checks.project(request.project)
        duration = checks.lease_duration(request, self._settings.lease_seconds)
        held = checks.held_leases(request.held_lease_ids)
        if request.adjudicate and not caller().roles & _REVIEW:
            raise PermissionDenied("Only a reviewer decides where labels disagree.", reason="ROLE_MISSING")
        name = caller().name

        async def leased(session: AsyncSession) -> pb.Task:
            task, image = await tasks.lease(
                session, project, name, _now(), duration, held=held, adjudicate=request.adjudicate
            )
            if request.adjudicate:
                return tasks.message(task, image, found=await labels.of_image(session, image))
            of_project = await projects.found_or_made(session, project)
            shown = suggestions.message(image, of_project) if task.kind == TO_LABEL else None
            return tasks.message(task, image, suggestion=shown)

        task = await self._committed(leased)
        LEASES.inc()
        return pb.LeaseTaskResponse(task=task)

    async def SubmitLabel(self, request: pb.SubmitLabelRequest, context: Context) -> pb.SubmitLabelResponse:
        """Stores the six key points for a leased task."""
        checked_request_id(request.request_id)
        checks.identifier(request.lease_id, "lease_id")
        checks.comment(request.comment)
        name = caller().name
        outcome = await self._committed(lambda session: labels.submit(session, request, name, _now()))
        if outcome.new:
            LABELS.labels(measurement.HeartSize.Name(outcome.label.heart_size)).inc()
        return pb.SubmitLabelResponse(label=labels.message(outcome.label))

    async def RejectImage(self, request: pb.RejectImageRequest, context: Context) -> pb.RejectImageResponse:
        """Rejects a leased image with a reason."""
        checked_request_id(request.request_id)
        checks.identifier(request.lease_id, "lease_id")
        checks.comment(request.comment)
        reason = checks.reject_reason(request)
        name = caller().name
        outcome = await self._committed(lambda session: labels.reject(session, request, name, _now()))
        if outcome.new:
            REJECTS.labels(pb.RejectReason.Name(reason)).inc()
        return pb.RejectImageResponse(label=labels.message(outcome.label))

    async def ReviewLabel(self, request: pb.ReviewLabelRequest, context: Context) -> pb.ReviewLabelResponse:
        """Approves, corrects or sends back a label."""
        checks.identifier(request.label_id, "label_id")
        name = caller().name
        reviewed = await self._committed(lambda session: labels.review(session, request, name, _now()))
        return pb.ReviewLabelResponse(label=labels.message(*reviewed))

    async def SetGold(self, request: pb.SetGoldRequest, context: Context) -> pb.SetGoldResponse:
        """Makes a labelled image gold, or an ordinary one again."""
        image_id = checks.identifier(request.image_id, "image_id")
        await self._committed(lambda session: images.set_gold(session, image_id, gold=request.gold))
        return pb.SetGoldResponse()

    async def ListLabels(self, request: pb.ListLabelsRequest, context: Context) -> pb.ListLabelsResponse:
        """Lists labels of a project, oldest first; to a labeller his own."""
        project = checks.project(request.project)
        state = checks.review_state(request.review_state)
        start, limit = page_start(request.page_token), page_limit(request.page_size)
        whose = _whose()
        page, after = await self._committed(
            lambda session: labels.page(session, project, state, start, limit, whose)
        )
        return pb.ListLabelsResponse(labels=page, next_page_token=page_token(after) if after else "")

    async def GetImage(self, request: pb.GetImageRequest, context: Context) -> pb.GetImageResponse:
        """Returns one image with its bytes."""
        image_id = checks.identifier(request.image_id, "image_id")
        image = await self._committed(lambda session: images.find(session, image_id))
        return pb.GetImageResponse(image=images.message(image), content=await images.content(image))

    async def GetHistory(self, request: pb.GetHistoryRequest, context: Context) -> pb.GetHistoryResponse:
        """Returns every label of an image as it was placed, and what became of it."""
        image_id = checks.identifier(request.image_id, "image_id")
        entries = await self._committed(lambda session: labels.history(session, image_id))
        return pb.GetHistoryResponse(entries=entries)

    async def ExportDataset(
        self, request: pb.ExportDatasetRequest, context: Context
    ) -> AsyncIterator[pb.ExportDatasetResponse]:
        """Streams a project's labelled images as a dataset file in parts."""
        project = checks.project(request.project)
        export_format = checks.export_format(request.format)
        samples = await self._committed(
            lambda session: export.dataset(session, project, reviewed_only=request.reviewed_only)
        )
        content = await asyncio.to_thread(export.encode, samples, export_format)
        last = (len(content) - 1) // CHUNK * CHUNK
        for start in range(0, last, CHUNK):
            yield pb.ExportDatasetResponse(chunk=content[start : start + CHUNK])
        yield pb.ExportDatasetResponse(
            chunk=content[last:],
            digest=await asyncio.to_thread(export.digest, samples),
            row_count=len(samples),
        )

    async def GetAgreement(self, request: pb.GetAgreementRequest, context: Context) -> pb.GetAgreementResponse:
        """Returns how far labellers agree; to a labeller, how far others agree with him."""
        project = checks.project(request.project)
        whose = _whose()
        found = await self._committed(lambda session: agreement.placed(session, project))
        answer = await asyncio.to_thread(agreement.agreement, found, whose)
        if whose is None:
            checked = await self._committed(lambda session: agreement.checked(session, project))
            answer.gold.extend(await asyncio.to_thread(agreement.against_gold, checked))
        return answer

    async def GetProgress(self, request: pb.GetProgressRequest, context: Context) -> pb.GetProgressResponse:
        """Tells the caller how far he is."""
        project, since = checks.project(request.project), checks.since(request)
        name = caller().name
        return await self._committed(lambda session: statistics.progress(session, project, name, since))

    async def GetStatistics(self, request: pb.GetStatisticsRequest, context: Context) -> pb.GetStatisticsResponse:
        """Returns the counts of a project."""
        project = checks.project(request.project)
        return await self._committed(lambda session: statistics.counts(session, project, _now()))

    async def _committed(self, work: Callable[[AsyncSession], Awaitable[Answer]]) -> Answer:
        return await committed(self._database, work)

    async def _count_open_tasks(self) -> None:
        while True:
            try:
                for project, count in (await self._committed(statistics.open_tasks)).items():
                    OPEN_TASKS.labels(project).set(count)
            except (SQLAlchemyError, OSError):
                _log.exception("open tasks could not be counted")
            await asyncio.sleep(_COUNT_EVERY)


def _whose() -> str | None:
    """Whose labels the caller may see: a labeller his own, a reviewer everybody's."""
    return None if caller().roles & _REVIEW else caller().name


def _now() -> datetime:
    return datetime.now(UTC)
