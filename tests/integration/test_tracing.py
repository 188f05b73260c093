"""Traces, sent to a receiver that speaks OpenTelemetry's protocol."""

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from canicor.client import Classifier
from canicor.model_repository import ModelRepository
from tests import toy_models
from tests.servers import Server

ROOT = Path(__file__).parents[2]
CLASSIFY = "canicor.classifier.v1.ClassifierService/Classify"

PROGRAM = """
import asyncio, sys
from pathlib import Path
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from canicor.client import AsyncClassifier, Classifier
from canicor.errors import CanicorError

provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter()))
trace.set_tracer_provider(provider)

async def classify(image):
    async with AsyncClassifier() as classifier:
        await classifier.classify(image)

with trace.get_tracer("ward").start_as_current_span("study"):
    image = Path(sys.argv[2]).read_bytes()
    if sys.argv[1] == "asyncio":
        asyncio.run(classify(image))
    else:
        with Classifier() as classifier:
            try:
                classifier.classify(image)
            except CanicorError:
                pass
provider.shutdown()
"""


def text(attributes: Iterable[KeyValue], key: str) -> str:
    return next(one.value.string_value for one in attributes if one.key == key)


class Receiver:
    """Keeps the spans that it is sent, by the name of the service that sent them."""

    def __init__(self) -> None:
        self.spans: list[tuple[str, Span]] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                request = ExportTraceServiceRequest()
                request.ParseFromString(self.rfile.read(int(self.headers["content-length"])))
                for resource in request.resource_spans:
                    names = [
                        one.value.string_value for one in resource.resource.attributes if one.key == "service.name"
                    ]
                    receiver.spans += [(names[0], span) for scope in resource.scope_spans for span in scope.spans]
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def named(self, name: str, service: str = "canicor-classifier") -> list[Span]:
        return [span for sender, span in self.spans if (sender, span.name) == (service, name)]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.close()


@pytest.fixture
def traced(serve: Callable[..., Server], repository: ModelRepository, receiver: Receiver) -> Server:
    toy_models.push(repository)
    return serve("classifier", OTEL_EXPORTER_OTLP_ENDPOINT=receiver.url)


def run(program: str, server: Server, receiver: Receiver, file: Path) -> None:
    environment = {
        **os.environ,
        "CANICOR_HOME": str(server.home),
        "CANICOR_CLASSIFIER_ADDRESS": server.address,
        "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url,
        "OTEL_SERVICE_NAME": "ward",
        "PYTHONPATH": str(ROOT),
    }
    subprocess.run([sys.executable, "-c", PROGRAM, program, str(file)], env=environment, check=True)


@pytest.mark.parametrize("program", ["blocking", "asyncio"])
def test_one_trace_from_the_client_to_each_stage(
    traced: Server, receiver: Receiver, picture: bytes, tmp_path: Path, program: str
) -> None:
    (tmp_path / "picture.png").write_bytes(picture)
    run(program, traced, receiver, tmp_path / "picture.png")
    assert traced.terminate() == 0
    (study,) = receiver.named("study", "ward")
    (asked,) = receiver.named(CLASSIFY, "ward")
    (answered,) = receiver.named(CLASSIFY)
    stages = [span for name in ("queue", "decode", "inference", "encode") for span in receiver.named(name)]
    assert (asked.kind, answered.kind) == (Span.SPAN_KIND_CLIENT, Span.SPAN_KIND_SERVER)
    assert {span.trace_id for span in (asked, answered, *stages)} == {study.trace_id}
    assert (asked.parent_span_id, answered.parent_span_id) == (study.span_id, asked.span_id)
    assert {span.parent_span_id for span in stages} == {answered.span_id}
    edges = [answered.start_time_unix_nano]
    for span in stages:
        edges += [span.start_time_unix_nano, span.end_time_unix_nano]
    slack = 1_000_000  # two clocks meet here: one for the time of day, one for durations
    assert all(later >= earlier - slack for earlier, later in pairwise(edges))
    assert edges[-1] <= answered.end_time_unix_nano + slack


def test_a_refused_call_is_the_callers_error_alone(traced: Server, receiver: Receiver, tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    run("blocking", traced, receiver, tmp_path / "empty")
    traced.terminate()
    (asked,), (answered,) = receiver.named(CLASSIFY, "ward"), receiver.named(CLASSIFY)
    for span in (asked, answered):
        assert text(span.attributes, "rpc.response.status_code") == "INVALID_ARGUMENT"
    assert asked.status.code == asked.status.STATUS_CODE_ERROR
    assert answered.status.code == answered.status.STATUS_CODE_UNSET


def test_a_caller_without_traces_gets_a_trace_of_its_own(
    traced: Server, receiver: Receiver, picture: bytes
) -> None:
    with Classifier(traced.client_settings()) as classifier:
        classifier.classify(picture)
    traced.terminate()
    (answered,) = receiver.named(CLASSIFY)
    assert not answered.parent_span_id


def test_imports_nothing_while_it_is_off() -> None:
    code = """
import sys, canicor.client, services.classifier.service, services.runtime.server
with services.runtime.tracing.exported("classifier"):
    services.runtime.tracing.stage("decode", 0.0, 1.0)
sys.exit(any(name.startswith("opentelemetry") for name in sys.modules))
"""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("OTEL_")}
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, env=environment)


def test_says_that_the_extra_is_missing(serve: Callable[..., Server], receiver: Receiver, tmp_path: Path) -> None:
    hidden = tmp_path / "without" / "opentelemetry"
    hidden.mkdir(parents=True)
    (hidden / "__init__.py").write_text("raise ModuleNotFoundError('opentelemetry')\n")
    with pytest.raises(AssertionError, match=r"install canicor\[tracing\]") as caught:
        serve(
            "classifier",
            OTEL_EXPORTER_OTLP_ENDPOINT=receiver.url,
            PYTHONPATH=os.pathsep.join([str(hidden.parent), str(ROOT)]),
        )
    assert "Traceback" not in str(caught.value)


def test_says_which_protocol_it_speaks(serve: Callable[..., Server], receiver: Receiver) -> None:
    with pytest.raises(AssertionError, match="http/protobuf alone"):
        serve("classifier", OTEL_EXPORTER_OTLP_ENDPOINT=receiver.url, OTEL_EXPORTER_OTLP_PROTOCOL="grpc")
