"""A stream that outlives its server: what it has not answered goes to another, and nothing is lost or doubled."""

import asyncio
import re
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest

from canicor.classifier.v1 import classifier_pb2 as pb
from canicor.classifier.v1.classifier_pb2_grpc import ClassifierServiceStub
from canicor.client import AsyncClassifier, Classifier, channel
from canicor.errors import InvalidArgument, Unavailable
from canicor.model_repository import ModelRepository
from canicor.settings import ClientSettings
from tests import toy_models
from tests.png import noise
from tests.servers import Server, metrics

# So many that most are still on their way when a server stops.
COUNT, FEW = 60, 5


@pytest.fixture
def servers(serve: Callable[..., Server], repository: ModelRepository) -> Iterator[tuple[Server, Server]]:
    """One that serves, and one that is still to start, which share a model."""
    toy_models.push(repository)
    first = serve("classifier")
    second = Server("classifier", first.home, {}, {})
    yield first, second
    second.stop()


def of_both(servers: tuple[Server, Server]) -> ClientSettings:
    addresses = ",".join(server.address for server in servers)
    return servers[0].client_settings(classifier_address=f"ipv4:{addresses}")


def request(picture: bytes, number: int) -> pb.ClassifyRequest:
    return pb.ClassifyRequest(image=picture, request_id=str(number))


def replace(servers: tuple[Server, Server]) -> None:
    first, second = servers
    second.start()
    assert first.terminate() == 0


def has_answered_a_stream(server: Server) -> bool:
    return (
        re.search(r'canicor_grpc_calls_total{code="OK",method="ClassifyStream",.*} 1.0', metrics(server))
        is not None
    )


def test_a_stream_goes_on_with_another_server(servers: tuple[Server, Server]) -> None:
    first, second = servers
    started = threading.Event()

    def requests() -> Iterator[pb.ClassifyRequest]:
        for number in range(COUNT):
            assert number != FEW or started.wait(60)
            yield request(noise(number), number)

    with Classifier(of_both(servers)) as classifier:
        answers = classifier.classify_many(requests())
        seen = [next(answers).request_id for _ in range(FEW)]
        second.start()
        started.set()
        seen += [next(answers).request_id for _ in range(FEW)]
        assert first.terminate() == 0
        seen += [answer.request_id for answer in answers]
    assert sorted(seen, key=int) == [str(number) for number in range(COUNT)]
    assert has_answered_a_stream(second)


async def test_the_same_with_asyncio(servers: tuple[Server, Server]) -> None:
    first, second = servers
    started = asyncio.Event()

    async def requests() -> AsyncIterator[pb.ClassifyRequest]:
        for number in range(COUNT):
            assert number != FEW or await started.wait()
            yield request(noise(number), number)

    async with AsyncClassifier(of_both(servers)) as classifier:
        answers = classifier.classify_many(requests())
        seen = [(await anext(answers)).request_id for _ in range(FEW)]
        await asyncio.to_thread(second.start)
        started.set()
        seen += [(await anext(answers)).request_id for _ in range(FEW)]
        assert await asyncio.to_thread(first.terminate) == 0
        seen += [answer.request_id async for answer in answers]
    assert sorted(seen, key=int) == [str(number) for number in range(COUNT)]
    assert has_answered_a_stream(second)


def test_one_that_waits_for_its_next_request_goes_on_too(servers: tuple[Server, Server], picture: bytes) -> None:
    def requests() -> Iterator[pb.ClassifyRequest]:
        yield request(picture, 0)
        replace(servers)
        yield request(picture, 1)

    with Classifier(of_both(servers)) as classifier:
        answers = [answer.request_id for answer in classifier.classify_many(requests())]
    assert answers == ["0", "1"]


def test_a_server_that_stops_ends_its_streams(servers: tuple[Server, Server], picture: bytes) -> None:
    first, _ = servers
    answered = threading.Event()

    def requests() -> Iterator[pb.ClassifyStreamRequest]:
        yield pb.ClassifyStreamRequest(request=request(picture, 0))
        answered.wait(60)
        first.process.terminate()
        first.process.wait()

    with first.channel() as connection:
        answers = ClassifierServiceStub(connection).ClassifyStream(requests())
        assert next(answers).request_id == "0"
        answered.set()
        with pytest.raises(grpc.RpcError) as ended:
            next(answers)
    assert ended.value.code() == grpc.StatusCode.UNAVAILABLE
    assert "has no answer" in ended.value.details()
    assert first.process.wait() == 0


def test_a_stream_that_a_stopping_server_turns_away_ends() -> None:
    """Where gRPC itself tried it again, it never did, not even at its deadline."""
    turned_away, ended = threading.Event(), threading.Event()

    def turn_away(_: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
        turned_away.set()
        context.abort(grpc.StatusCode.UNAVAILABLE, "The server is stopping.")
        yield b""

    def ask() -> None:
        with channel(f"127.0.0.1:{port}", ClientSettings(token="any")) as asked:
            with pytest.raises(grpc.RpcError) as error:
                list(asked.unary_stream("/canicor.Tests/Watch")(b"", timeout=60))
            assert error.value.code() == grpc.StatusCode.UNAVAILABLE
        ended.set()

    server = grpc.server(ThreadPoolExecutor(1))
    methods = {"Watch": grpc.unary_stream_rpc_method_handler(turn_away)}
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("canicor.Tests", methods)])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    threading.Thread(target=ask, daemon=True).start()
    assert turned_away.wait(60)
    server.stop(None)
    assert ended.wait(60)


def test_without_another_server_the_call_fails(servers: tuple[Server, Server], picture: bytes) -> None:
    first, _ = servers
    with Classifier(first.client_settings()) as classifier:
        answers = classifier.classify_many(request(picture, number) for number in range(COUNT))
        next(answers)
        first.kill()
        with pytest.raises(Unavailable):
            list(answers)


def test_what_is_wrong_is_not_tried_again(servers: tuple[Server, Server], picture: bytes, tmp_path: Path) -> None:
    first, _ = servers
    with (
        Classifier(first.client_settings(token="nobody")) as classifier,
        pytest.raises(Exception, match="token") as refused,
    ):
        list(classifier.classify_many([request(picture, 0)]))
    assert not isinstance(refused.value, InvalidArgument | Unavailable)
