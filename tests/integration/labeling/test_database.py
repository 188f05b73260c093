"""Leases and imports on the database itself, at moments of the test's choice."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncEngine

from canicor import errors
from canicor.labeling.v1 import labeling_pb2 as pb
from canicor.messages import key_points_from
from services.labeling import export, images, labels, statistics, tasks
from services.labeling.tables import Base, Image, committed
from services.runtime.database import opened
from tests.clinics import HEIGHT, WIDTH, points

NOW = datetime(2026, 5, 4, 12, tzinfo=UTC)


MIGRATIONS = Path(labels.__file__).parent / "migrations"


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    on_postgresql = request.param == "postgresql"
    return request.getfixturevalue("postgresql") if on_postgresql else f"sqlite:///{tmp_path / 'labeling.db'}"


@pytest.fixture
async def database(url: str) -> AsyncIterator[AsyncEngine]:
    async with opened(url, MIGRATIONS) as engine:
        yield engine


async def add(engine: AsyncEngine, count: int) -> None:
    rows = [
        Image(
            project="hearts",
            url="file:///nowhere",
            sha256=f"{number:064x}",
            width=WIDTH,
            height=HEIGHT,
            pixel_aspect=1.0,
            origin=pb.ORIGIN_REAL,
            subject_id="",
            batch_seed=2**64 - 1,
        )
        for number in range(count)
    ]
    await committed(engine, lambda session: images.add(session, "hearts", rows))


async def lease(engine: AsyncEngine, who: str, now: datetime = NOW) -> pb.Task:
    taken = await committed(
        engine, lambda session: tasks.lease(session, "hearts", who, now, timedelta(seconds=10))
    )
    return tasks.message(*taken)


async def submit(engine: AsyncEngine, who: str, lease_id: str, now: datetime) -> labels.Outcome:
    request = pb.SubmitLabelRequest(request_id=str(now), lease_id=lease_id, key_points=points())
    return await committed(engine, lambda session: labels.submit(session, request, who, now))


async def test_migrations_make_the_tables_that_the_code_states(database: AsyncEngine) -> None:
    def differences(connection: Connection) -> list[object]:
        migrated = MigrationContext.configure(connection, opts={"version_table": "labeling_version"})
        return compare_metadata(migrated, Base.metadata)

    async with database.connect() as connection:
        assert await connection.run_sync(differences) == []


async def test_a_lease_that_ran_out_goes_to_the_next(database: AsyncEngine) -> None:
    await add(database, 1)
    anna = await lease(database, "anna")
    assert anna.image.batch_seed == 2**64 - 1
    assert anna.expire_time.ToDatetime(UTC) == NOW + timedelta(seconds=10)
    with pytest.raises(errors.NotFound):
        await lease(database, "ben", NOW + timedelta(seconds=9.999))
    end = NOW + timedelta(seconds=10)
    with pytest.raises(errors.FailedPrecondition):
        await submit(database, "anna", anna.lease_id, end)
    ben = await lease(database, "ben", end)
    assert (ben.image.id, ben.lease_id != anna.lease_id) == (anna.image.id, True)
    with pytest.raises(errors.FailedPrecondition):
        await submit(database, "anna", anna.lease_id, end)
    assert (await submit(database, "ben", ben.lease_id, end)).label.labeller == "ben"


async def test_a_renewed_lease_lasts_longer(database: AsyncEngine) -> None:
    await add(database, 1)
    first = await lease(database, "anna")
    await lease(database, "anna", NOW + timedelta(seconds=9))
    label = (await submit(database, "anna", first.lease_id, NOW + timedelta(seconds=18))).label
    assert label.create_time == NOW + timedelta(seconds=18)


async def test_many_at_once_share_no_task(database: AsyncEngine) -> None:
    await add(database, 24)
    people = [f"labeller {number}" for number in range(8)] * 3
    taken = await asyncio.gather(*(lease(database, who) for who in people))
    assert len({task.image.id for task in taken}) == 8
    assert len({(who, task.image.id) for who, task in zip(people, taken, strict=True)}) == 8


async def test_the_same_image_imported_twice_at_once_is_one(database: AsyncEngine) -> None:
    await asyncio.gather(*(add(database, 5) for _ in range(4)))
    people = [await lease(database, str(number)) for number in range(5)]
    assert [task.image.sha256 for task in people] == [f"{number:064x}" for number in range(5)]
    with pytest.raises(errors.NotFound):
        await lease(database, "one more")


FIRST = """
INSERT INTO labeling_image VALUES
  (1, 'one', 'hearts', 'file:///1', '01', 80, 60, 1.0, 1, 'rex', '', 0, 0, 1, NULL, NULL, NULL),
  (2, 'two', 'hearts', 'file:///2', '02', 80, 60, 1.0, 1, 'rex', '', 0, 0, 2, NULL, NULL, NULL),
  (3, 'three', 'hearts', 'file:///3', '03', 80, 60, 1.0, 1, 'rex', '', 0, 0, 0, 'held', 'ben', {expires}),
  (4, 'four', 'hearts', 'file:///4', '04', 80, 60, 1.0, 1, 'rex', '', 0, 0, 0, NULL, NULL, NULL);
INSERT INTO labeling_label VALUES
  (1, 'a', 'one', 'ben', 'b1', '', {points}, 7.0, 1, 0, NULL, {no}, '', {now}),
  (2, 'b', 'one', 'anna', 'a1', '', {points}, 9.0, 2, 0, NULL, {no}, 'clear', {now}),
  (3, 'c', 'two', 'anna', 'a2', '', NULL, 0.0, 0, 2, NULL, {no}, '', {now});
INSERT INTO labeling_review VALUES ('a', 'rita', 4, NULL, NULL, NULL, 'look again', {now})
"""
"""Of the first schema: a label that was sent back and its successor, a reject, a lease."""


async def test_a_database_of_the_first_schema_keeps_its_data(url: str) -> None:
    placed = json.dumps(key_points_from(points(9.0)).xy.tolist())
    times = {"now": NOW, "expires": NOW + timedelta(days=1)}
    quoted = {name: f"'{time:%Y-%m-%d %H:%M:%S.%f}'" for name, time in times.items()}
    async with opened(url, MIGRATIONS, "0001") as engine, engine.begin() as connection:
        for statement in FIRST.format(points=f"'{placed}'", no="false", **quoted).split(";"):
            await connection.exec_driver_sql(statement)

    async with opened(url, MIGRATIONS) as engine:
        held = await lease(engine, "ben")
        assert (held.lease_id, held.image.id) == ("held", "three")
        assert (await lease(engine, "anna")).image.id == "four"
        counts = await committed(engine, lambda session: statistics.counts(session, "hearts", NOW))
        assert (counts.image_count, counts.labelled_count, counts.rejected_count) == (4, 1, 1)
        (sample,) = await committed(engine, lambda session: export.dataset(session, "hearts", reviewed_only=False))
        assert (sample.row.vhs, sample.row.labeller) == (pytest.approx(9.0), "anna")
        found, _ = await committed(engine, lambda session: labels.page(session, "hearts", 0, 0, 10))
        assert [(label.id, label.review_state, label.comment) for label in found] == [
            ("a", pb.REVIEW_STATE_SENT_BACK, ""),
            ("b", pb.REVIEW_STATE_PENDING, "clear"),
            ("c", pb.REVIEW_STATE_PENDING, ""),
        ]
