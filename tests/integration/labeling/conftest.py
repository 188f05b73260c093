"""A clinic that labels."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.clinics import Clinic


@pytest.fixture
def clinic(serve: Callable, tokens_file: Path, database_url: str) -> Iterator[Clinic]:
    server = serve("labeling", CANICOR_TOKENS_FILE=str(tokens_file), CANICOR_DATABASE_URL=database_url)
    people = Clinic(server, server.home)
    yield people
    people.close()
