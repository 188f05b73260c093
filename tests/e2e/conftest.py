from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.clinics import Clinic
from tests.servers import Server


@pytest.fixture
def clinic(serve: Callable[..., Server], tokens_file: Path) -> Iterator[Clinic]:
    server = serve("labeling", CANICOR_TOKENS_FILE=str(tokens_file))
    people = Clinic(server, server.home)
    yield people
    people.close()
