"""A service's database: SQLite by default, PostgreSQL by setting, its schema kept by Alembic.

Needs the extra `database`, which `generator` and `labeling` bring.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, event, make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from canicor.errors import FailedPrecondition

_DRIVERS = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+asyncpg", "postgres": "postgresql+asyncpg"}


@asynccontextmanager
async def opened(url: str, migrations: Path) -> AsyncIterator[AsyncEngine]:
    """Opens a database, brings its schema up to date, and closes it at the end.

    Args:
        url: `sqlite:///file` or `postgresql://user:password@host/name`.
        migrations: The service's Alembic folder; services may share a database, so each keeps a version table
            of its own, named after the folder's parent.

    Raises:
        FailedPrecondition: The URL names no such database.
    """
    engine = _engine(url)
    try:
        async with engine.begin() as connection:
            await connection.run_sync(_upgrade, migrations)
        yield engine
    finally:
        await engine.dispose()


def _engine(url: str) -> AsyncEngine:
    try:
        parsed = make_url(url)
        driver = _DRIVERS[parsed.drivername.partition("+")[0]]
    except (ArgumentError, KeyError) as error:
        raise FailedPrecondition(
            "CANICOR_DATABASE_URL must be sqlite:///FILE or postgresql://USER:PASSWORD@HOST/NAME.",
            reason="DATABASE_URL",
        ) from error
    engine = create_async_engine(parsed.set(drivername=driver), pool_pre_ping=True)
    if driver.startswith("sqlite"):
        if parsed.database:
            Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
        event.listen(engine.sync_engine, "connect", _prepare_sqlite)
        event.listen(engine.sync_engine, "begin", _begin_immediately)
    return engine


def _prepare_sqlite(connection: Any, _record: object) -> None:  # noqa: ANN401
    # The driver's own BEGIN comes too late to keep two writers apart: SQLAlchemy's docs, "pysqlite transactions".
    connection.isolation_level = None
    cursor = connection.cursor()
    # FULL, because what was answered must survive a power cut, not only a crash.
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "busy_timeout=10000"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_immediately(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _upgrade(connection: Connection, migrations: Path) -> None:
    config = Config()
    config.set_main_option("script_location", str(migrations).replace("%", "%%"))
    config.attributes["connection"] = connection
    config.attributes["version_table"] = f"{migrations.parent.name}_version"
    command.upgrade(config, "head")
