"""A service's database: SQLite by default, PostgreSQL by setting, its schema kept by Alembic.

Needs the extra `database`, which `generator` and `labeling` bring.
"""

import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import structlog
from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import Connection, Dialect, ExceptionContext, event, make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from canicor.errors import FailedPrecondition, Unavailable

_DRIVERS = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+asyncpg", "postgres": "postgresql+asyncpg"}

# How long to wait for a connection; asyncpg's own 60 s are a caller's whole deadline.
_CONNECT_SECONDS = 5.0

RETRY_SECONDS = 1.0
"""When to come back while the database does not answer."""

# PostgreSQL's documentation, appendix A: connection exception, insufficient resources, operator intervention.
_POSTGRESQL_CLASSES = frozenset({"08", "53", "57"})
_SQLITE_CODES = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_READONLY,
    }
)

_log = structlog.get_logger("canicor.database")

_MIGRATING = 0x63616E69636F72
"""The key of PostgreSQL's advisory lock: "canicor" in ASCII."""


@asynccontextmanager
async def opened(url: str, migrations: Path, revision: str = "head") -> AsyncIterator[AsyncEngine]:
    """Opens a database, brings its schema up to date, and closes it at the end.

    Whatever is asked of it while it does not answer raises Unavailable.

    Args:
        url: `sqlite:///file` or `postgresql://user:password@host/name`.
        migrations: The service's Alembic folder; services may share a database, so each keeps a version table
            of its own, named after the folder's parent.
        revision: The schema's; the newest by default.

    Raises:
        FailedPrecondition: The URL names no such database, or its schema is a later version's.
        Unavailable: It does not answer.
    """
    # SQLite changes a table by making it anew, whatever refers to it (sqlite.org/lang_altertable.html).
    migrating = _engine(url, foreign_keys=False)
    try:
        async with migrating.begin() as connection:
            await connection.run_sync(_upgrade, migrations, revision)
    finally:
        await migrating.dispose()
    engine = _engine(url, foreign_keys=True)
    try:
        yield engine
    finally:
        await engine.dispose()


def _engine(url: str, *, foreign_keys: bool) -> AsyncEngine:
    try:
        parsed = make_url(url)
        driver = _DRIVERS[parsed.drivername.partition("+")[0]]
    except (ArgumentError, KeyError) as error:
        raise FailedPrecondition(
            "CANICOR_DATABASE_URL must be sqlite:///FILE or postgresql://USER:PASSWORD@HOST/NAME.",
            reason="DATABASE_URL",
        ) from error
    engine = create_async_engine(parsed.set(drivername=driver), pool_pre_ping=True)
    event.listen(engine.sync_engine, "handle_error", _handle_error)
    event.listen(engine.sync_engine, "do_connect", _connect)
    if driver.startswith("sqlite"):
        if parsed.database:
            Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
        event.listen(engine.sync_engine, "connect", partial(_prepare_sqlite, foreign_keys=foreign_keys))
        event.listen(engine.sync_engine, "begin", _begin_immediately)
    return engine


def _connect(dialect: Dialect, _record: object, args: list[Any], options: dict[str, Any]) -> Any:  # noqa: ANN401
    if dialect.name == "postgresql":
        options.setdefault("timeout", _CONNECT_SECONDS)
    try:
        return dialect.connect(*args, **options)
    except OSError as error:  # no error of a driver yet, so SQLAlchemy hands it on as it is
        raise _unavailable(error) from error


def _handle_error(context: ExceptionContext) -> Unavailable | None:
    error = context.original_exception
    # What is no Exception is a task that was cancelled: SQLAlchemy calls that a disconnect too, but the task must
    # end. A failed ping has SQLAlchemy connect anew, and is no error to anyone.
    if not isinstance(error, Exception) or context.is_pre_ping:
        return None
    return _unavailable(error) if context.is_disconnect or _is_passing(error) else None


def _is_passing(error: BaseException) -> bool:
    state = getattr(error, "sqlstate", None) or ""
    # The primary code is the lowest byte of the extended one (sqlite.org/rescode.html).
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return state[:2] in _POSTGRESQL_CLASSES or code in _SQLITE_CODES


def _unavailable(error: BaseException) -> Unavailable:
    _log.error("the database does not answer", problem=str(error))
    return Unavailable(
        f"The database does not answer: try again in {RETRY_SECONDS:g} s.",
        reason="DATABASE_UNAVAILABLE",
        retry_after=RETRY_SECONDS,
    )


def _prepare_sqlite(connection: Any, _record: object, *, foreign_keys: bool) -> None:  # noqa: ANN401
    # The driver's own BEGIN comes too late to keep two writers apart: SQLAlchemy's docs, "pysqlite transactions".
    connection.isolation_level = None
    cursor = connection.cursor()
    # FULL, because what was answered must survive a power cut, not only a crash.
    held = f"foreign_keys={'ON' if foreign_keys else 'OFF'}"
    for pragma in ("journal_mode=WAL", "synchronous=FULL", held, "busy_timeout=10000"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_immediately(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _upgrade(connection: Connection, migrations: Path, revision: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(migrations).replace("%", "%%"))
    config.attributes["connection"] = connection
    config.attributes["version_table"] = f"{migrations.parent.name}_version"
    if connection.dialect.name == "postgresql":
        # Until the transaction ends: servers that start together would each make the tables.
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_MIGRATING})")
    try:
        command.upgrade(config, revision)
    except CommandError as error:
        raise FailedPrecondition(
            f"The database's schema is not one of this version ({error}): run the version that made it, or bring "
            "back a backup from before the upgrade.",
            reason="SCHEMA",
        ) from error
