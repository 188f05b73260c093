"""What the Python clients do by themselves: repeat, compress, explain."""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from PIL import Image

from canicor.classifier.v1 import classifier_pb2 as pb
from canicor.classifier.v1.classifier_pb2_grpc import (
    ClassifierServiceServicer,
    ClassifierServiceStub,
    add_ClassifierServiceServicer_to_server,
)
from canicor.client import AsyncClassifier, Classifier
from canicor.errors import ResourceExhausted, Unavailable
from canicor.settings import ClientSettings
from services.runtime.interceptor import CallInterceptor
from services.runtime.tokens import Role, Tokens
from tests.servers import Server

METHOD = "/canicor.classifier.v1.ClassifierService/Classify"
RADIOGRAPH = bytes(600_000)
"""As large as one, to a servicer that does not look."""

Serve = Callable[..., Server]
Classify = Callable[[ClientSettings, bytes], Awaitable[pb.ClassifyResponse]]


async def by_asyncio(settings: ClientSettings, image: bytes) -> pb.ClassifyResponse:
    async with AsyncClassifier(settings) as classifier:
        return await classifier.classify(image)


async def by_blocking(settings: ClientSettings, image: bytes) -> pb.ClassifyResponse:
    def classify() -> pb.ClassifyResponse:
        with Classifier(settings) as classifier:
            return classifier.classify(image)

    return await asyncio.to_thread(classify)


both_clients = pytest.mark.parametrize("classify", [by_asyncio, by_blocking])


class Refusing(ClassifierServiceServicer):
    """Refuses its first calls, and answers with how often it was asked."""

    def __init__(self, refusals: int, error: Exception) -> None:
        self.asked = 0
        self._refusals = refusals
        self._error = error

    async def Classify(self, request: pb.ClassifyRequest, context: Any) -> pb.ClassifyResponse:
        self.asked += 1
        if self.asked <= self._refusals:
            raise self._error
        return pb.ClassifyResponse(request_id=str(self.asked))


@asynccontextmanager
async def served(servicer: Refusing, folder: Path) -> AsyncIterator[ClientSettings]:
    file = folder / "tokens.toml"
    digest = hashlib.sha256(b"token").hexdigest()
    file.write_text(f'[[tokens]]\nname = "ward 3"\nsha256 = "{digest}"\nroles = ["classify"]\n')
    interceptor = CallInterceptor(Tokens.from_file(file), {METHOD: frozenset({Role.CLASSIFY})})
    server = grpc.aio.server(interceptors=[interceptor])
    add_ClassifierServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield ClientSettings(home=folder, token="token", classifier_address=f"127.0.0.1:{port}")
    await server.stop(None)


@both_clients
async def test_repeats_a_radiograph_that_found_no_server(tmp_path: Path, classify: Classify) -> None:
    async with served(Refusing(2, Unavailable("Starting.")), tmp_path) as settings:
        assert (await classify(settings, RADIOGRAPH)).request_id == "3"


async def test_calls_go_to_all_servers_that_a_name_stands_for(tmp_path: Path) -> None:
    servicers = [Refusing(0, Unavailable("Never.")) for _ in range(2)]
    async with served(servicers[0], tmp_path) as one, served(servicers[1], tmp_path) as other:
        both = f"ipv4:{one.classifier_address},{other.classifier_address}"
        async with AsyncClassifier(one.model_copy(update={"classifier_address": both})) as classifier:
            # Once it has found both; until then the one that it has found gets all.
            while not all(servicer.asked for servicer in servicers):
                await classifier.classify(RADIOGRAPH)
            before = [servicer.asked for servicer in servicers]
            for _ in range(10):
                await classifier.classify(RADIOGRAPH)
    assert [servicer.asked - asked for servicer, asked in zip(servicers, before, strict=True)] == [5, 5]


@both_clients
async def test_comes_back_when_it_was_told_to(tmp_path: Path, classify: Classify) -> None:
    async with served(Refusing(5, ResourceExhausted("Full.", retry_after=0.01)), tmp_path) as settings:
        assert (await classify(settings, RADIOGRAPH)).request_id == "6"


@both_clients
@pytest.mark.parametrize("hint", [None, 3600.0])
async def test_does_not_wait_without_a_hint_or_beyond_its_deadline(
    tmp_path: Path, classify: Classify, hint: float | None
) -> None:
    servicer = Refusing(1, ResourceExhausted("Full.", reason="QUEUE_FULL", retry_after=hint))
    async with served(servicer, tmp_path) as settings:
        with pytest.raises(ResourceExhausted) as caught:
            await classify(settings, RADIOGRAPH)
    assert (caught.value.reason, caught.value.retry_after, servicer.asked) == ("QUEUE_FULL", hint, 1)


async def test_clients_of_others_obey_the_hint_by_their_own_policy(tmp_path: Path) -> None:
    policy = {
        "maxAttempts": 2,
        "initialBackoff": "3600s",
        "maxBackoff": "3600s",
        "backoffMultiplier": 1,
        "retryableStatusCodes": ["RESOURCE_EXHAUSTED"],
    }
    options = [("grpc.service_config", json.dumps({"methodConfig": [{"name": [{}], "retryPolicy": policy}]}))]
    async with (
        served(Refusing(1, ResourceExhausted("Full.", retry_after=0.01)), tmp_path) as settings,
        grpc.aio.insecure_channel(settings.classifier_address, options) as channel,
    ):
        metadata = (("authorization", "Bearer token"),)
        answer = await ClassifierServiceStub(channel).Classify(pb.ClassifyRequest(), metadata=metadata, timeout=60)
    assert answer.request_id == "2"


@both_clients
@pytest.mark.parametrize("gzip", [False, True])
async def test_says_that_a_file_is_larger_than_the_server_takes(
    serve: Serve, classify: Classify, gzip: bool
) -> None:
    server = serve("classifier", CANICOR_MAX_MESSAGE_BYTES="100000")
    with pytest.raises(ResourceExhausted, match="CANICOR_MAX_MESSAGE_BYTES") as caught:
        await classify(server.client_settings(gzip=gzip), RADIOGRAPH)  # 600 bytes on the way, with gzip
    assert caught.value.reason == "MESSAGE_TOO_LARGE"


class CountingProxy:
    """Between client and server: counts the bytes that go to the server."""

    def __init__(self, address: str) -> None:
        self.sent = 0
        self._host, self._port = address.split(":")
        self._connections: list[asyncio.Task[Any]] = []

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[str]:
        async with await asyncio.start_server(self._connected, "127.0.0.1", 0) as server:
            yield "{}:{}".format(*server.sockets[0].getsockname())
            await asyncio.gather(*self._connections)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        onward, back = await asyncio.open_connection(self._host, self._port)
        self._connections += [
            asyncio.create_task(self._to_server(reader, back)),
            asyncio.create_task(self._copied(onward, writer)),
        ]

    async def _to_server(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.sent += await self._copied(reader, writer)

    async def _copied(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> int:
        count = 0
        while data := await reader.read(2**16):
            count += len(data)
            writer.write(data)
            await writer.drain()
        writer.close()
        return count


@both_clients
@pytest.mark.parametrize("gzip", [False, True])
async def test_compresses_when_asked_to(server: Server, classify: Classify, gzip: bool) -> None:
    tiff = BytesIO()
    Image.fromarray(np.add.outer(np.arange(1000) // 8, np.arange(1000) // 8).astype(np.uint8)).save(tiff, "TIFF")
    proxy = CountingProxy(server.address)
    async with proxy.listening() as address:
        answer = await classify(server.client_settings(classifier_address=address, gzip=gzip), tiff.getvalue())
    assert answer.image_sha256 == hashlib.sha256(tiff.getvalue()).hexdigest()
    assert (proxy.sent < len(tiff.getvalue()) / 4) == gzip
