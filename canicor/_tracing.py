"""Client spans, in a program that uses OpenTelemetry; one that does not pays nothing for it."""

import sys
from typing import TYPE_CHECKING

import grpc

if TYPE_CHECKING:
    from opentelemetry.trace import Span


def begin(method: str | bytes, headers: list[tuple[str, str]]) -> "Span | None":
    """Starts the span of a call, and adds its context to the headers (W3C Trace Context: `traceparent`).

    Returns:
        None where the program has not imported OpenTelemetry, and so can't have asked for traces.
    """
    if "opentelemetry.trace" not in sys.modules:
        return None
    from opentelemetry import propagate, trace

    # Both names by the semantic conventions for RPC, v1.38: the full name without its leading slash.
    name = (method if isinstance(method, str) else method.decode()).lstrip("/")
    span = trace.get_tracer("canicor").start_span(
        name, kind=trace.SpanKind.CLIENT, attributes={"rpc.system.name": "grpc", "rpc.method": name}
    )
    carrier: dict[str, str] = {}
    propagate.inject(carrier, trace.set_span_in_context(span))
    headers.extend(carrier.items())
    return span


def end(span: "Span", code: grpc.StatusCode) -> None:
    """Ends the span of a call with its status."""
    from opentelemetry.trace import StatusCode

    span.set_attribute("rpc.response.status_code", code.name)
    if code is not grpc.StatusCode.OK:
        span.set_status(StatusCode.ERROR)
    span.end()
