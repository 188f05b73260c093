"""What probes are told, over a socket."""

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from services.runtime.health import Health

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
SERVICE_UNKNOWN = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN


@pytest.fixture
async def health() -> Health:
    return Health()


@pytest.fixture
async def stub(health: Health):
    server = grpc.aio.server()
    health.register(server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield health_pb2_grpc.HealthStub(channel)
    await server.stop(None)


def asked(name: str) -> health_pb2.HealthCheckRequest:
    return health_pb2.HealthCheckRequest(service=name)


async def test_does_not_serve_until_it_says_so(health: Health, stub) -> None:
    assert (await stub.Check(asked(""))).status == NOT_SERVING
    await health.report("", serving=True)
    assert (await stub.Check(asked(""))).status == SERVING


async def test_an_unknown_name_is_not_found(stub) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.Check(asked("vhs-keypoints"))
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


async def test_a_watch_tells_each_change_and_ends_with_the_drain(health: Health, stub) -> None:
    watch = stub.Watch(asked("vhs-keypoints"))
    assert (await watch.read()).status == SERVICE_UNKNOWN
    for serving, told in ((True, SERVING), (False, NOT_SERVING), (True, SERVING)):
        await health.report("vhs-keypoints", serving=serving)
        assert (await watch.read()).status == told
    await health.drain()
    assert (await watch.read()).status == NOT_SERVING
    assert await watch.read() is grpc.aio.EOF
    assert await watch.code() is grpc.StatusCode.OK


async def test_nothing_serves_again_after_the_drain(health: Health, stub) -> None:
    await health.report("vhs-keypoints", serving=True)
    await health.drain()
    await health.report("vhs-keypoints", serving=True)
    assert (await stub.Check(asked("vhs-keypoints"))).status == NOT_SERVING
