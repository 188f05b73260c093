"""Batches and their images as the database keeps them: what is written here survives a crash."""

import hashlib
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from google.protobuf import json_format
from sqlalchemy import Select, func, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from canicor.errors import AlreadyExists, NotFound, ResourceExhausted
from canicor.generator.v1 import generator_pb2 as pb
from services.generator.curation import Conclusion, JudgedImage, Verdict, verdict
from services.generator.plan import image_count, no_such_batch
from services.generator.rows import COUNTS, UNENDED, Batch, BatchState, batch_of, findings_of, image_of, image_row
from services.generator.tables import BATCHES, IMAGES
from services.generator.worker import ImageRecord, utc_now

# Indices whose rows are looked up at once where a batch is taken up.
_BLOCK = 1000


@dataclass(frozen=True)
class Owner:
    """A client who asks for batches.

    Attributes:
        name: On his token.
        most_images: That he may have outstanding.
    """

    name: str
    most_images: int


class Batches:
    """All batches of one database.

    Args:
        engine: Of a database with the tables of `services.generator.tables`.
    """

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def create(
        self, received: pb.CreateBatchRequest, checked: pb.CreateBatchRequest, curation_model: str, owner: Owner
    ) -> tuple[Batch, bool]:
        """Creates a batch, unless the same request did so before.

        Args:
            received: The request as it came, by which it is known again.
            checked: The same with defaults filled in, by which it is worked on.
            curation_model: NAME/VERSION of the model that reads its images; empty for none.
            owner: Who asks, and how much he may ask for.

        Returns:
            The batch, and whether it is new.

        Raises:
            AlreadyExists: Another request came under this id.
            ResourceExhausted: The owner would have more images outstanding than he may.
        """
        digest = hashlib.sha256(received.SerializeToString(deterministic=True)).hexdigest()
        new = {
            "id": uuid.uuid4().hex,
            "request_id": received.request_id,
            "request_sha256": digest,
            "request": json_format.MessageToDict(checked),
            "priority": checked.priority,
            "state": BatchState.QUEUED,
            "image_count": image_count(checked),
            "completed_count": 0,
            "images_per_second": 0.0,
            "error": "",
            "create_time": utc_now(),
            "client": owner.name,
            "curation_model": curation_model,
        }
        try:
            async with self._engine.begin() as connection:
                await connection.execute(insert(BATCHES).values(new))
                # With this batch among them; where it is too much, nothing is written.
                _check_quota(owner, image_count(checked), await _outstanding(connection, owner.name))
                return await _batch(connection, str(new["id"])), True
        except IntegrityError:
            return await self._known(received.request_id, digest), False

    async def get(self, batch_id: str) -> Batch:
        """Returns a batch.

        Raises:
            NotFound: There is none of this id.
        """
        async with self._engine.begin() as connection:
            return await _batch(connection, batch_id)

    async def newest(self, limit: int, before: int = 0) -> list[Batch]:
        """Returns batches, newest first: those with numbers below `before`, or all where it is 0."""
        query = select(BATCHES).order_by(BATCHES.c.number.desc()).limit(limit)
        return await self._all(query.where(BATCHES.c.number < before) if before else query)

    async def unended(self) -> list[Batch]:
        """Returns the batches that wait or are worked on."""
        return await self._all(select(BATCHES).where(BATCHES.c.state.in_(UNENDED)))

    async def count_by_state(self) -> dict[BatchState, int]:
        """Returns how many batches there are in each state."""
        async with self._engine.begin() as connection:
            rows = await connection.execute(select(BATCHES.c.state, func.count()).group_by(BATCHES.c.state))
            return dict.fromkeys(BatchState, 0) | {BatchState(state): count for state, count in rows}

    async def start(self, batch_id: str) -> Batch:
        """Notes that work on a batch begins or is taken up again, unless it has ended."""
        start_time = func.coalesce(BATCHES.c.start_time, utc_now())
        return await self._change(batch_id, state=BatchState.RUNNING, start_time=start_time, images_per_second=0.0)

    async def end(self, batch_id: str, state: BatchState, error: str = "") -> Batch:
        """Ends a batch, unless it has ended."""
        return await self._change(batch_id, state=state, end_time=utc_now(), error=error)

    async def record(self, batch_id: str, images: Sequence[ImageRecord], images_per_second: float) -> Batch | None:
        """Adds images to a batch.

        Returns:
            The batch as it stands now; None where it had ended and took no more.
        """
        async with self._engine.begin() as connection:
            batch = await _batch(connection, batch_id, for_update=True)
            if batch.ended:
                return None
            await connection.execute(insert(IMAGES), [image_row(batch_id, image) for image in images])
            changes = {
                "completed_count": batch.completed_count + len(images),
                "images_per_second": images_per_second,
                "state": BatchState.RUNNING,
            }
            for kind in Verdict:
                count = sum(image.verdict is kind for image in images)
                changes[COUNTS[kind]] = batch.verdicts[kind] + count
            await connection.execute(update(BATCHES).where(BATCHES.c.id == batch_id).values(changes))
            return await _batch(connection, batch_id)

    async def judged(self, batch_id: str) -> list[JudgedImage]:
        """Returns all images of a batch that were looked at, by index."""
        columns = (IMAGES.c.index, IMAGES.c.key, IMAGES.c.fingerprint, IMAGES.c.findings)
        query = select(*columns).where(IMAGES.c.batch_id == batch_id, IMAGES.c.verdict != "")
        async with self._engine.begin() as connection:
            rows = await connection.execute(query.order_by(IMAGES.c.index))
            return [
                JudgedImage(row["index"], row["key"], row["fingerprint"], findings_of(row["findings"]))
                for row in rows.mappings()
            ]

    async def conclude(self, batch_id: str, conclusion: Conclusion) -> Batch:
        """Ends a batch well, with what is said of all of it, unless it has ended."""
        async with self._engine.begin() as connection:
            batch = await _batch(connection, batch_id, for_update=True)
            if batch.ended:
                return batch
            verdicts = Counter(batch.verdicts)
            for index, finding in conclusion.duplicates.items():
                image = (IMAGES.c.batch_id == batch_id) & (IMAGES.c.index == index)
                row = (await connection.execute(select(IMAGES.c.verdict, IMAGES.c.findings).where(image))).one()
                found = (*findings_of(row.findings), finding)
                verdicts[Verdict(row.verdict)] -= 1
                verdicts[verdict(found)] += 1
                changes = {"verdict": verdict(found), "findings": [asdict(one) for one in found]}
                await connection.execute(update(IMAGES).where(image).values(changes))
            ended = {
                "state": BatchState.SUCCEEDED,
                "end_time": utc_now(),
                "report_key": conclusion.report_key,
                "fidelity": conclusion.fidelity,
                **{COUNTS[kind]: verdicts[kind] for kind in Verdict},
            }
            await connection.execute(update(BATCHES).where(BATCHES.c.id == batch_id).values(ended))
            return await _batch(connection, batch_id)

    async def missing(self, batch: Batch, at_once: int) -> AsyncIterator[list[int]]:
        """Yields the indices that have no image yet, in order, at most so many at once."""
        for start in range(0, batch.image_count, _BLOCK):
            stop = min(start + _BLOCK, batch.image_count)
            made = await self._indices(batch.id, start, stop)
            missing = [index for index in range(start, stop) if index not in made]
            for first in range(0, len(missing), at_once):
                yield missing[first : first + at_once]

    async def images(
        self, batch_id: str, limit: int, start: int = 0, verdicts: Sequence[Verdict | None] = ()
    ) -> list[ImageRecord]:
        """Returns the images of a batch that are made, by index.

        Args:
            batch_id: The batch's.
            limit: How many at most.
            start: The first index that may be among them.
            verdicts: Only images of these, None for those that nothing was looked at of; all images for none.
        """
        query = select(IMAGES).where(IMAGES.c.batch_id == batch_id, IMAGES.c.index >= start)
        if verdicts:
            query = query.where(IMAGES.c.verdict.in_([kind or "" for kind in verdicts]))
        async with self._engine.begin() as connection:
            rows = await connection.execute(query.order_by(IMAGES.c.index).limit(limit))
            return [image_of(row) for row in rows.mappings()]

    async def image(self, batch: Batch, index: int) -> ImageRecord:
        """Returns one image.

        Raises:
            NotFound: It is not made yet, or the batch has no such index.
        """
        if not 0 <= index < batch.image_count:
            raise NotFound(
                f"The batch has images 0 to {batch.image_count - 1}, no image {index}.", reason="NO_SUCH_IMAGE"
            )
        images = await self.images(batch.id, 1, index)
        if not images or images[0].index != index:
            raise NotFound(f"Image {index} is not made yet: WatchBatch tells when.", reason="IMAGE_NOT_MADE")
        return images[0]

    async def _known(self, request_id: str, digest: str) -> Batch:
        query = select(BATCHES).where(BATCHES.c.request_id == request_id)
        async with self._engine.begin() as connection:
            row = (await connection.execute(query)).mappings().one()
        if row["request_sha256"] != digest:
            raise AlreadyExists(
                "Another batch was asked for under this request_id: repeat that request, or choose a new id.",
                reason="REQUEST_ID_TAKEN",
                field="request_id",
            )
        return batch_of(row)

    async def _change(self, batch_id: str, **changes: Any) -> Batch:  # noqa: ANN401 - column values
        unended = (BATCHES.c.id == batch_id) & BATCHES.c.state.in_(UNENDED)
        async with self._engine.begin() as connection:
            await connection.execute(update(BATCHES).where(unended).values(changes))
            return await _batch(connection, batch_id)

    async def _indices(self, batch_id: str, start: int, stop: int) -> set[int]:
        query = select(IMAGES.c.index).where(
            IMAGES.c.batch_id == batch_id, IMAGES.c.index >= start, IMAGES.c.index < stop
        )
        async with self._engine.begin() as connection:
            return set((await connection.execute(query)).scalars())

    async def _all(self, query: Select[Any]) -> list[Batch]:
        async with self._engine.begin() as connection:
            return [batch_of(row) for row in (await connection.execute(query)).mappings()]


async def _batch(connection: AsyncConnection, batch_id: str, *, for_update: bool = False) -> Batch:
    query = select(BATCHES).where(BATCHES.c.id == batch_id)
    row = (await connection.execute(query.with_for_update() if for_update else query)).mappings().one_or_none()
    if row is None:
        raise no_such_batch()
    return batch_of(row)


async def _outstanding(connection: AsyncConnection, client: str) -> int:
    """Returns how many images of a client's batches that have not ended are still to be made."""
    missing = func.sum(BATCHES.c.image_count - BATCHES.c.completed_count)
    query = select(missing).where(BATCHES.c.client == client, BATCHES.c.state.in_(UNENDED))
    return (await connection.execute(query)).scalar() or 0


def _check_quota(owner: Owner, asked: int, outstanding: int) -> None:
    if outstanding > owner.most_images:
        raise ResourceExhausted(
            f"{owner.name} has {outstanding - asked} images outstanding and asks for {asked} more; a client may "
            f"have {owner.most_images}: wait until a batch has ended, or cancel one.",
            reason="QUOTA",
        )
