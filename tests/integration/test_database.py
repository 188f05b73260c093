"""A database that does not answer."""

import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import grpc
import pytest
from sqlalchemy import text

from canicor.client import translated
from canicor.errors import Unavailable
from canicor.generator.v1 import generator_pb2
from canicor.generator.v1.generator_pb2_grpc import GeneratorServiceStub
from canicor.labeling.v1 import labeling_pb2
from canicor.labeling.v1.labeling_pb2_grpc import LabelingServiceStub
from services import labeling
from services.runtime.database import opened
from tests.clinics import token_of
from tests.servers import PostgreSQL, Server, running_postgresql

MIGRATIONS = Path(labeling.__file__).parent / "migrations"


@pytest.fixture
def database() -> Iterator[PostgreSQL]:
    """A PostgreSQL server that a test may stop."""
    with running_postgresql() as server:
        yield server


def list_batches(channel: grpc.Channel) -> Any:
    return GeneratorServiceStub(channel).ListBatches(generator_pb2.ListBatchesRequest())


def list_labels(channel: grpc.Channel) -> Any:
    return LabelingServiceStub(channel).ListLabels(labeling_pb2.ListLabelsRequest(project="ward-3"))


@pytest.mark.parametrize(("service", "ask"), [("generator", list_batches), ("labeling", list_labels)])
def test_a_stopped_database_is_unavailable_until_it_is_back(
    serve: Callable[..., Server], database: PostgreSQL, service: str, ask: Callable[[grpc.Channel], Any]
) -> None:
    server = serve(service, CANICOR_DATABASE_URL=database.new_database())
    with server.channel() as channel, translated():
        ask(channel)
        database.stop()
        with pytest.raises(Unavailable) as caught, translated():
            ask(channel)
        assert (caught.value.reason, caught.value.retry_after) == ("DATABASE_UNAVAILABLE", 1.0)
        assert str(database.folder) not in caught.value.message
        database.start()
        ask(channel)
    assert "call failed" not in server.log.read_text()


@pytest.mark.parametrize("url", ["postgresql://canicor@/canicor?host={folder}", "sqlite:///{folder}"])
def test_says_at_the_start_that_the_database_does_not_answer(
    serve: Callable[..., Server], tmp_path: Path, url: str
) -> None:
    with pytest.raises(AssertionError, match="The database does not answer"):
        serve("labeling", CANICOR_DATABASE_URL=url.format(folder=tmp_path))


def test_servers_that_start_together_make_the_tables_once(
    serve: Callable[..., Server], database: PostgreSQL, tokens_file: Path
) -> None:
    settings = {"CANICOR_DATABASE_URL": database.new_database(), "CANICOR_TOKENS_FILE": str(tokens_file)}
    with ThreadPoolExecutor() as threads:
        starting = [threads.submit(serve, "labeling", **settings) for _ in range(3)]
    for server in (one.result() for one in starting):
        with server.channel(token=token_of("rita")) as channel, translated():
            assert not list_labels(channel).labels


async def test_a_file_that_another_process_keeps_locked(tmp_path: Path) -> None:
    file = tmp_path / "labeling.db"
    async with opened(f"sqlite:///{file}", MIGRATIONS) as engine:
        async with engine.begin() as connection:
            await connection.execute(text("PRAGMA busy_timeout = 0"))
        with closing(sqlite3.connect(file)) as other:
            other.execute("BEGIN EXCLUSIVE")
            with pytest.raises(Unavailable):
                async with engine.begin():
                    pass
        async with engine.begin():
            pass


async def test_a_fault_of_ours_stays_one(tmp_path: Path) -> None:
    async with opened(f"sqlite:///{tmp_path / 'labeling.db'}", MIGRATIONS) as engine, engine.begin() as connection:
        with pytest.raises(Exception, match="no such table") as caught:
            await connection.execute(text("SELECT * FROM nowhere"))
    assert not isinstance(caught.value, Unavailable)


def test_a_schema_of_a_later_version_is_not_touched(serve: Callable[..., Server], tmp_path: Path) -> None:
    file = tmp_path / "labeling.db"
    serve("labeling", CANICOR_DATABASE_URL=f"sqlite:///{file}").terminate()
    with closing(sqlite3.connect(file)) as database:
        database.execute("UPDATE labeling_version SET version_num = '9999'")
        database.commit()
    before = file.read_bytes()
    with pytest.raises(AssertionError, match=r"not one of this version .*9999"):
        serve("labeling", CANICOR_DATABASE_URL=f"sqlite:///{file}")
    assert file.read_bytes() == before
