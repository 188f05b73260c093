# mypy: disable-error-code="assignment,type-arg"
"""What every call of a channel carries: the bearer token, and the trace that it belongs to.

gRPC's own call credentials refuse channels without TLS, which loopback does not need.
"""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Self

import grpc

from canicor import _tracing

if TYPE_CHECKING:
    from opentelemetry.trace import Span

Header = tuple[str, str]


class _Carrier:
    def __init__(self, token: str) -> None:
        self._token: list[Header] = [("authorization", f"Bearer {token}")] if token else []

    def _begin(self, method: str | bytes) -> "tuple[list[Header], Span | None]":
        headers = self._token.copy()
        return headers, _tracing.begin(method, headers)


class _Details(grpc.ClientCallDetails):
    """A call's details with more metadata: gRPC hands them out read-only."""

    def __init__(self, details: Any, headers: list[Header]) -> None:  # noqa: ANN401
        self.method = details.method
        self.timeout = details.timeout
        self.metadata = [*(details.metadata or ()), *headers]
        self.credentials = details.credentials
        self.wait_for_ready = details.wait_for_ready
        self.compression = getattr(details, "compression", None)


class CallInterceptor(
    _Carrier,
    grpc.UnaryUnaryClientInterceptor,
    grpc.UnaryStreamClientInterceptor,
    grpc.StreamUnaryClientInterceptor,
    grpc.StreamStreamClientInterceptor,
):
    """On a blocking channel."""

    def _call(self, continuation: Callable[..., Any], details: grpc.ClientCallDetails, request: Any) -> Any:  # noqa: ANN401
        headers, span = self._begin(details.method)
        call = continuation(_Details(details, headers), request)
        if span:
            call.add_done_callback(lambda call: _tracing.end(span, call.code()))
        return call

    intercept_unary_unary = intercept_unary_stream = intercept_stream_unary = intercept_stream_stream = _call


class WithoutRetriesOfStreams(grpc.Channel):
    """Two blocking channels as one, since gRPC's retries are not for streams.

    With grpcio 1.85, a blocking stream that a stopping server turned away, and that gRPC then tries again in vain,
    may never end, not even at its deadline: of the last attempt, gRPC's core leaves some parts uncompleted. Those
    of asyncio end.

    Args:
        single: For calls of one request and one answer.
        streams: For all others; with `grpc.enable_retries` 0.
    """

    def __init__(self, single: grpc.Channel, streams: grpc.Channel) -> None:
        self._single = single
        self._streams = streams

    def unary_unary(self, *about: Any, **more: Any) -> grpc.UnaryUnaryMultiCallable:  # noqa: ANN401
        return self._single.unary_unary(*about, **more)

    def unary_stream(self, *about: Any, **more: Any) -> grpc.UnaryStreamMultiCallable:  # noqa: ANN401
        return self._streams.unary_stream(*about, **more)

    def stream_unary(self, *about: Any, **more: Any) -> grpc.StreamUnaryMultiCallable:  # noqa: ANN401
        return self._streams.stream_unary(*about, **more)

    def stream_stream(self, *about: Any, **more: Any) -> grpc.StreamStreamMultiCallable:  # noqa: ANN401
        return self._streams.stream_stream(*about, **more)

    def subscribe(self, *about: Any, **more: Any) -> None:  # noqa: ANN401
        self._single.subscribe(*about, **more)

    def unsubscribe(self, *about: Any, **more: Any) -> None:  # noqa: ANN401
        self._single.unsubscribe(*about, **more)

    def close(self) -> None:
        self._single.close()
        self._streams.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _AioCarrier(_Carrier):
    def __init__(self, token: str) -> None:
        super().__init__(token)
        self._ending: set[asyncio.Task[None]] = set()

    async def _call(self, continuation: Callable[..., Any], details: Any, request: Any) -> Any:  # noqa: ANN401
        headers, span = self._begin(details.method)
        metadata = grpc.aio.Metadata(*(details.metadata or ()), *headers)
        call = await continuation(details._replace(metadata=metadata), request)
        if span:
            ending = asyncio.create_task(self._end(span, call))
            self._ending.add(ending)
            ending.add_done_callback(self._ending.discard)
        return call

    async def _end(self, span: "Span", call: grpc.aio.Call) -> None:
        _tracing.end(span, await call.code())


# An asyncio channel takes an interceptor for one kind of call only.
class _UnaryUnary(_AioCarrier, grpc.aio.UnaryUnaryClientInterceptor):
    intercept_unary_unary = _AioCarrier._call


class _UnaryStream(_AioCarrier, grpc.aio.UnaryStreamClientInterceptor):
    intercept_unary_stream = _AioCarrier._call


class _StreamUnary(_AioCarrier, grpc.aio.StreamUnaryClientInterceptor):
    intercept_stream_unary = _AioCarrier._call


class _StreamStream(_AioCarrier, grpc.aio.StreamStreamClientInterceptor):
    intercept_stream_stream = _AioCarrier._call


def aio_call_interceptors(token: str) -> list[grpc.aio.ClientInterceptor]:
    """Returns the same for an asyncio channel."""
    return [kind(token) for kind in (_UnaryUnary, _UnaryStream, _StreamUnary, _StreamStream)]
