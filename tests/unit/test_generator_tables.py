"""The migrations lead to the tables that the code works with."""

from pathlib import Path

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection

import services.generator
from services.generator.tables import METADATA
from services.runtime.database import opened

MIGRATIONS = Path(services.generator.__file__).parent / "migrations"


def differences(connection: Connection) -> list[object]:
    context = MigrationContext.configure(connection, opts={"version_table": "generator_version"})
    return compare_metadata(context, METADATA)


async def test_migrations_make_the_tables_and_a_second_start_changes_nothing(tmp_path):
    for _ in range(2):
        async with opened(f"sqlite:///{tmp_path / 'a.db'}", MIGRATIONS) as engine, engine.begin() as connection:
            assert await connection.run_sync(differences) == []
