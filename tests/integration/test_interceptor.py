"""A fault of ours tells the caller nothing but that it is ours."""

from pathlib import Path
from typing import Any

import grpc
import pytest
from structlog.testing import capture_logs

from canicor.classifier.v1 import classifier_pb2 as pb
from canicor.classifier.v1.classifier_pb2_grpc import (
    ClassifierServiceServicer,
    ClassifierServiceStub,
    add_ClassifierServiceServicer_to_server,
)
from services.runtime.interceptor import CallInterceptor
from services.runtime.tokens import Role, Tokens

SERVICE = "/canicor.classifier.v1.ClassifierService"
PATIENT = "Rex"


class Faulty(ClassifierServiceServicer):
    async def Classify(self, request: pb.ClassifyRequest, context: Any) -> pb.ClassifyResponse:
        raise RuntimeError(f"can't measure {PATIENT}")

    async def ClassifyStream(self, request_iterator: Any, context: Any):
        yield pb.ClassifyStreamResponse(request_id="first")
        raise RuntimeError(f"can't measure {PATIENT}")

    async def ListModels(self, request: pb.ListModelsRequest, context: Any) -> pb.ListModelsResponse:
        return pb.ListModelsResponse()


@pytest.fixture
async def stub(tmp_path: Path):
    tokens = Tokens.embedded(tmp_path / "token")
    roles = {f"{SERVICE}/{name}": frozenset({Role.CLASSIFY}) for name in ("Classify", "ClassifyStream")}
    server = grpc.aio.server(interceptors=[CallInterceptor(tokens, roles)])
    add_ClassifierServiceServicer_to_server(Faulty(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield ClassifierServiceStub(channel)
    await server.stop(None)


@pytest.fixture
def metadata(stub: ClassifierServiceStub, tmp_path: Path) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {(tmp_path / 'token').read_text()}"),)


async def test_a_fault_shows_no_detail(stub, metadata) -> None:
    with capture_logs() as logs, pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.Classify(pb.ClassifyRequest(), metadata=metadata)
    assert caught.value.code() is grpc.StatusCode.INTERNAL
    assert PATIENT not in str(caught.value)
    assert any(log["event"] == "call failed" and log["log_level"] == "error" for log in logs)


async def test_a_fault_in_a_stream_comes_after_its_answers(stub, metadata) -> None:
    call = stub.ClassifyStream(iter([]), metadata=metadata)
    assert (await call.read()).request_id == "first"
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call.read()
    assert caught.value.code() is grpc.StatusCode.INTERNAL
    assert PATIENT not in str(caught.value)


async def test_a_call_that_no_role_names_is_for_nobody(stub, metadata) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.ListModels(pb.ListModelsRequest(), metadata=metadata)
    assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED
