"""A generator to call, and its stub."""

from collections.abc import Callable, Iterator

import pytest

from canicor.generator.v1.generator_pb2_grpc import GeneratorServiceStub
from tests.servers import Server


@pytest.fixture
def generator(serve: Callable[..., Server], database_url: str) -> Server:
    return serve("generator", CANICOR_WORKERS="2", CANICOR_DATABASE_URL=database_url)


@pytest.fixture
def stub(generator: Server) -> Iterator[GeneratorServiceStub]:
    with generator.channel() as channel:
        yield GeneratorServiceStub(channel)
