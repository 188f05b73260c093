"""What a token may ask a second and at once."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from canicor.classifier.v1 import classifier_pb2 as pb
from canicor.classifier.v1.classifier_pb2_grpc import (
    ClassifierServiceServicer,
    ClassifierServiceStub,
    add_ClassifierServiceServicer_to_server,
)
from canicor.client import translated
from canicor.errors import InvalidArgument, ResourceExhausted
from services.runtime.interceptor import CallInterceptor
from services.runtime.tokens import Role, Tokens

SERVICE = "/canicor.classifier.v1.ClassifierService"
ROLES = {f"{SERVICE}/{name}": frozenset({Role.CLASSIFY}) for name in ("Classify", "ClassifyStream")}


class Gated(ClassifierServiceServicer):
    """Answers when its gates are open; refuses what has no image."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.stream_gate = asyncio.Event()
        self.begun = asyncio.Semaphore(0)
        self.at_once = self.most_at_once = 0

    async def Classify(self, request: pb.ClassifyRequest, context: Any) -> pb.ClassifyResponse:
        self.begun.release()
        await self.gate.wait()
        if not request.image:
            raise InvalidArgument("No image.")
        return pb.ClassifyResponse(request_id=request.request_id)

    async def ClassifyStream(
        self, request_iterator: AsyncIterator[pb.ClassifyStreamRequest], context: Any
    ) -> AsyncIterator[pb.ClassifyStreamResponse]:
        answers: asyncio.Queue[pb.ClassifyStreamResponse | None] = asyncio.Queue()
        reading = asyncio.create_task(self._read(request_iterator, answers))
        await self.stream_gate.wait()
        while answer := await answers.get():
            self.at_once -= 1
            yield answer
        await reading

    async def _read(self, requests: AsyncIterator[pb.ClassifyStreamRequest], answers: asyncio.Queue) -> None:
        async for request in requests:
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
            answers.put_nowait(pb.ClassifyStreamResponse(request_id=request.request.request_id))
        answers.put_nowait(None)


@pytest.fixture
async def servicer() -> Gated:
    return Gated()


@pytest.fixture
async def connect(servicer: Gated, tmp_path: Path):
    """Starts a server on which the tokens `limited` and `free` may classify, and connects to it."""
    servers, channels = [], []

    async def start(limits: str) -> ClassifierServiceStub:
        file = tmp_path / "tokens.toml"
        file.write_text(
            "".join(
                f'[[tokens]]\nname = "{token}"\nsha256 = "{hashlib.sha256(token.encode()).hexdigest()}"\n'
                f'roles = ["classify"]\n{limits if token == "limited" else ""}\n'
                for token in ("limited", "free")
            )
        )
        server = grpc.aio.server(interceptors=[CallInterceptor(Tokens.from_file(file), ROLES)])
        add_ClassifierServiceServicer_to_server(servicer, server)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}")
        servers.append(server)
        channels.append(channel)
        return ClassifierServiceStub(channel)

    yield start
    for channel in channels:
        await channel.close(None)
    for server in servers:
        await server.stop(None)


Connect = Callable[[str], Any]


async def classify(stub: ClassifierServiceStub, holder: str = "limited", image: bytes = b"image") -> None:
    with translated():
        await stub.Classify(pb.ClassifyRequest(image=image), metadata=(("authorization", f"Bearer {holder}"),))


def requests(count: int) -> Iterator[pb.ClassifyStreamRequest]:
    for index in range(count):
        yield pb.ClassifyStreamRequest(request=pb.ClassifyRequest(request_id=str(index)))


async def test_refuses_beyond_the_burst(servicer: Gated, connect: Connect) -> None:
    stub = await connect("requests_per_second = 0.01\nburst = 2")
    servicer.gate.set()
    await classify(stub)
    await classify(stub)
    with pytest.raises(ResourceExhausted) as caught:
        await classify(stub)
    assert (caught.value.reason, caught.value.retry_after) == ("RATE_LIMITED", 100.0)
    await classify(stub, "free")


async def test_without_a_burst_a_second_holds_as_many_as_it_may(servicer: Gated, connect: Connect) -> None:
    stub = await connect("requests_per_second = 0.5")
    servicer.gate.set()
    await classify(stub)
    with pytest.raises(ResourceExhausted) as caught:
        await classify(stub)
    assert caught.value.retry_after == 2.0


async def test_refuses_too_many_at_once(servicer: Gated, connect: Connect) -> None:
    stub = await connect("concurrent_requests = 1")
    first = asyncio.create_task(classify(stub))
    await servicer.begun.acquire()
    with pytest.raises(ResourceExhausted) as caught:
        await classify(stub)
    assert caught.value.reason == "TOO_MANY_CONCURRENT"
    assert caught.value.retry_after is not None
    other = asyncio.create_task(classify(stub, "free"))
    servicer.gate.set()
    await asyncio.gather(first, other)
    await classify(stub)


async def test_a_failed_call_gives_its_place_back(servicer: Gated, connect: Connect) -> None:
    stub = await connect("concurrent_requests = 1")
    servicer.gate.set()
    for _ in range(2):
        with pytest.raises(InvalidArgument):
            await classify(stub, image=b"")


async def test_a_stream_is_held_back_and_not_refused(servicer: Gated, connect: Connect) -> None:
    stub = await connect("requests_per_second = 500\nburst = 1\nconcurrent_requests = 2")
    servicer.stream_gate.set()
    stream = stub.ClassifyStream(requests(20), metadata=(("authorization", "Bearer limited"),))
    assert [answer.request_id async for answer in stream] == [str(index) for index in range(20)]


async def test_a_stream_has_no_more_at_once_than_its_token(servicer: Gated, connect: Connect) -> None:
    stub = await connect("concurrent_requests = 2")
    stream = stub.ClassifyStream(requests(20), metadata=(("authorization", "Bearer limited"),))
    servicer.gate.set()
    for _ in range(50):
        await classify(stub, "free")  # meanwhile the server reads of the stream what it may
    servicer.stream_gate.set()
    assert len([answer async for answer in stream]) == 20
    assert servicer.most_at_once <= 2


async def test_the_requests_of_a_stream_count(servicer: Gated, connect: Connect) -> None:
    stub = await connect("requests_per_second = 0.01\nburst = 2")
    servicer.gate.set()
    servicer.stream_gate.set()
    stream = stub.ClassifyStream(metadata=(("authorization", "Bearer limited"),))
    for _ in range(2):
        await stream.write(pb.ClassifyStreamRequest())
        await stream.read()
    with pytest.raises(ResourceExhausted):
        await classify(stub)
    stream.cancel()


async def test_a_stream_that_ends_early_gives_its_places_back(servicer: Gated, connect: Connect) -> None:
    stub = await connect("concurrent_requests = 1")
    servicer.gate.set()
    servicer.stream_gate.set()
    stream = stub.ClassifyStream(metadata=(("authorization", "Bearer limited"),))
    await stream.write(pb.ClassifyStreamRequest())
    await stream.read()
    await stream.write(pb.ClassifyStreamRequest())
    stream.cancel()
    while True:
        try:
            await classify(stub)
        except ResourceExhausted:
            continue
        break
