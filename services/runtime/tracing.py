"""Traces of what the server does, by OpenTelemetry. Off unless its own variables name where traces go.

Nothing of OpenTelemetry is imported while it is off.
"""

import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeAlias

from canicor.errors import FailedPrecondition

if TYPE_CHECKING:
    from opentelemetry.trace import Span, Tracer

# OpenTelemetry's specification, "OpenTelemetry Protocol Exporter" and "General SDK Configuration".
_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")

# Of the statuses, those that the semantic conventions for gRPC servers call the server's own fault.
_FAULTS = frozenset({"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"})

Parent: TypeAlias = "Span | None"
"""What a stage belongs to; None while tracing is off."""

_tracer: "Tracer | None" = None


@contextmanager
def exported(service: str) -> Iterator[None]:
    """Sends traces, inside it, to where OpenTelemetry's variables say; with none of them it does nothing.

    Args:
        service: Name of the service; `OTEL_SERVICE_NAME` goes before.

    Raises:
        FailedPrecondition: Traces are asked for, and the extra `tracing` is not installed or the protocol is
            another than http/protobuf.
    """
    if not any(map(os.environ.get, _ENDPOINTS)):
        yield
        return
    protocol = next(filter(None, map(os.environ.get, _PROTOCOLS)), "http/protobuf")
    if protocol != "http/protobuf":
        raise FailedPrecondition(
            f"OTEL_EXPORTER_OTLP_PROTOCOL is {protocol}: traces go by http/protobuf alone.", reason="TRACING"
        )
    try:
        from opentelemetry import trace
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise FailedPrecondition(
            "OTEL_EXPORTER_OTLP_ENDPOINT asks for traces: install canicor[tracing], or leave it unset.",
            reason="TRACING",
        ) from error
    global _tracer
    os.environ.setdefault("OTEL_SERVICE_NAME", f"canicor-{service}")
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    _tracer = trace.get_tracer("canicor")
    try:
        yield
    finally:
        _tracer = None
        provider.shutdown()


def begin(method: str, metadata: Iterable[tuple[str, Any]]) -> "Span | None":
    """Starts the span of a call as part of its caller's trace, and makes it `current`; None while tracing is off.

    Args:
        method: `/package.Service/Method`.
        metadata: The caller's; `traceparent` and `tracestate` count.
    """
    if _tracer is None:
        return None
    from opentelemetry import context, propagate, trace

    name = method.lstrip("/")
    parent = propagate.extract({key: value for key, value in metadata if isinstance(value, str)})
    span = _tracer.start_span(
        name,
        parent,
        kind=trace.SpanKind.SERVER,
        attributes={"rpc.system.name": "grpc", "rpc.method": name},
    )
    # Not detached: each call has a context of its own.
    context.attach(trace.set_span_in_context(span, parent))
    return span


def end(span: "Span", code: str) -> None:
    """Ends the span of a call with its status."""
    from opentelemetry.trace import StatusCode

    span.set_attribute("rpc.response.status_code", code)
    if code in _FAULTS:
        span.set_status(StatusCode.ERROR)
    span.end()


def current() -> Parent:
    """Returns the span of the call that is being answered, for a thread that works for it."""
    if _tracer is None:
        return None
    from opentelemetry import trace

    return trace.get_current_span()


def stage(name: str, started: float, ended: float, parent: Parent = None) -> None:
    """Records a stage of a call, from any thread; does nothing while tracing is off.

    Args:
        name: For example `decode`.
        started: When it began, by `time.perf_counter`, in seconds.
        ended: When it ended, by the same clock.
        parent: The call's span, from `current`; may be left out where the call itself is running.
    """
    if _tracer is None:
        return
    from opentelemetry import trace

    context = trace.set_span_in_context(parent) if parent else None
    _tracer.start_span(name, context, start_time=_epoch_ns(started)).end(_epoch_ns(ended))


def _epoch_ns(counter: float) -> int:
    return time.time_ns() - round((time.perf_counter() - counter) * 1e9)
