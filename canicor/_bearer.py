# mypy: disable-error-code="assignment,type-arg"
"""The bearer token on every call of a channel.

gRPC's own call credentials refuse channels without TLS, which loopback does not need.
"""

from collections.abc import Callable
from typing import Any

import grpc


class _WithToken:
    def __init__(self, token: str) -> None:
        self._header = ("authorization", f"Bearer {token}")


class _Details(grpc.ClientCallDetails):
    """A call's details with more metadata: gRPC hands them out read-only."""

    def __init__(self, details: Any, header: tuple[str, str]) -> None:  # noqa: ANN401
        self.method = details.method
        self.timeout = details.timeout
        self.metadata = [*(details.metadata or ()), header]
        self.credentials = details.credentials
        self.wait_for_ready = details.wait_for_ready
        self.compression = getattr(details, "compression", None)


class BearerInterceptor(
    _WithToken,
    grpc.UnaryUnaryClientInterceptor,
    grpc.UnaryStreamClientInterceptor,
    grpc.StreamUnaryClientInterceptor,
    grpc.StreamStreamClientInterceptor,
):
    """Adds the token on a blocking channel."""

    def _call(self, continuation: Callable[..., Any], details: grpc.ClientCallDetails, request: Any) -> Any:  # noqa: ANN401
        return continuation(_Details(details, self._header), request)

    intercept_unary_unary = intercept_unary_stream = intercept_stream_unary = intercept_stream_stream = _call


class _AioWithToken(_WithToken):
    async def _call(self, continuation: Callable[..., Any], details: Any, request: Any) -> Any:  # noqa: ANN401
        metadata = grpc.aio.Metadata(*(details.metadata or ()), self._header)
        return await continuation(details._replace(metadata=metadata), request)


# An asyncio channel takes an interceptor for one kind of call only.
class _UnaryUnary(_AioWithToken, grpc.aio.UnaryUnaryClientInterceptor):
    intercept_unary_unary = _AioWithToken._call


class _UnaryStream(_AioWithToken, grpc.aio.UnaryStreamClientInterceptor):
    intercept_unary_stream = _AioWithToken._call


class _StreamUnary(_AioWithToken, grpc.aio.StreamUnaryClientInterceptor):
    intercept_stream_unary = _AioWithToken._call


class _StreamStream(_AioWithToken, grpc.aio.StreamStreamClientInterceptor):
    intercept_stream_stream = _AioWithToken._call


def aio_bearer_interceptors(token: str) -> list[grpc.aio.ClientInterceptor]:
    """Returns what adds the token on an asyncio channel."""
    return [kind(token) for kind in (_UnaryUnary, _UnaryStream, _StreamUnary, _StreamStream)]
