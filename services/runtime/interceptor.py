"""What happens around every call, once: who calls, may he, how it ended, how long it took."""

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import aclosing
from contextvars import ContextVar
from types import TracebackType
from typing import Any, NoReturn, Self, TypeAlias

import grpc
import structlog
from prometheus_client import Counter

from canicor.errors import CanicorError, Internal, PermissionDenied
from services.runtime import tracing
from services.runtime.limits import Limits
from services.runtime.metrics import CALL_SECONDS, CALLS
from services.runtime.status import abort
from services.runtime.tokens import Caller, Role, Tokens

PUBLIC_SERVICES = frozenset(
    {"grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection"}
)
"""Answer without a token: probes and tools ask before they hold one, and nothing in them is private."""

_caller: ContextVar[Caller] = ContextVar("caller")
_log = structlog.get_logger("canicor.calls")

Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
Continuation: TypeAlias = "Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]]"


def caller() -> Caller:
    """Returns who makes the call that is being answered."""
    return _caller.get()


class CallInterceptor(grpc.aio.ServerInterceptor):
    """Authenticates, authorises, measures, logs, and turns exceptions into statuses.

    Args:
        tokens: The tokens to know.
        roles: Which roles may call a method, by its full name `/package.Service/Method`. A method that is not
            named is allowed to nobody.
    """

    def __init__(self, tokens: Tokens, roles: Mapping[str, frozenset[Role]]) -> None:
        self._tokens = tokens
        self._roles = roles
        self._wrapped: dict[str, Handler] = {}

    async def intercept_service(
        self, continuation: Continuation, details: grpc.HandlerCallDetails
    ) -> "Handler | None":
        """Wraps the handler of a method, once."""
        if wrapped := self._wrapped.get(details.method):
            return wrapped
        handler = await continuation(details)
        if handler is None or details.method.split("/")[1] in PUBLIC_SERVICES:
            return handler
        allowed = self._roles.get(details.method, frozenset())
        method = _Method(details.method, allowed, takes_stream=handler.request_streaming)
        wrap = self._streaming if handler.response_streaming else self._single
        return self._wrapped.setdefault(details.method, wrap(handler, method))

    # gRPC's types leave out that a handler carries its behaviour.
    def _single(self, handler: Any, method: "_Method") -> Handler:  # noqa: ANN401
        behaviour = handler.stream_unary or handler.unary_unary

        async def answer(request: Any, context: Context) -> Any:  # noqa: ANN401
            async with _Call(self._tokens, method, context) as call:
                return await behaviour(call.counted(request), context)

        wrap = (
            grpc.stream_unary_rpc_method_handler
            if handler.request_streaming
            else grpc.unary_unary_rpc_method_handler
        )
        return wrap(answer, handler.request_deserializer, handler.response_serializer)

    def _streaming(self, handler: Any, method: "_Method") -> Handler:  # noqa: ANN401
        behaviour = handler.stream_stream or handler.unary_stream

        async def answers(request: Any, context: Context) -> AsyncIterator[Any]:  # noqa: ANN401
            async with (
                _Call(self._tokens, method, context) as call,
                aclosing(behaviour(call.counted(request), context)) as stream,
            ):
                async for answer in stream:
                    yield answer
                    call.answered()

        wrap = (
            grpc.stream_stream_rpc_method_handler
            if handler.request_streaming
            else grpc.unary_stream_rpc_method_handler
        )
        return wrap(answers, handler.request_deserializer, handler.response_serializer)


class _Method:
    """What is the same for every call of a method: who may call it, and its metrics."""

    def __init__(self, path: str, allowed: frozenset[Role], *, takes_stream: bool) -> None:
        self.path = path
        self.takes_stream = takes_stream
        self._allowed = allowed
        self._labels = path.split("/")[1:]
        self._seconds = CALL_SECONDS.labels(*self._labels)
        self._counts: dict[str, Counter] = {}

    def admit(self, who: Caller) -> None:
        if not self._allowed & who.roles:
            needed = " or ".join(sorted(self._allowed)) or "no role"
            raise PermissionDenied(f"This call needs the role {needed}.", reason="ROLE_MISSING")

    def count(self, code: str, seconds: float) -> None:
        if code not in self._counts:
            self._counts[code] = CALLS.labels(*self._labels, code)
        self._counts[code].inc()
        self._seconds.observe(seconds)


class _Call:
    """Around one call. A class, since a generator's context manager costs several times as much.

    A request beyond its caller's limits is refused; on a stream it waits, and gRPC's flow control holds back its
    sender. There it counts until it has its answer: each request of a stream has one.
    """

    __slots__ = ("_context", "_limits", "_method", "_name", "_span", "_started", "_taken", "_tokens")

    _limits: Limits
    _name: str | None

    def __init__(self, tokens: Tokens, method: _Method, context: Context) -> None:
        self._tokens = tokens
        self._method = method
        self._context = context
        self._name = None
        self._taken = 0
        self._started = time.perf_counter()

    async def __aenter__(self) -> Self:
        metadata = self._context.invocation_metadata() or ()
        self._span = tracing.begin(self._method.path, metadata)
        try:
            who = self._tokens.caller(_authorization(metadata))
            _caller.set(who)
            self._name, self._limits = who.name, who.limits
            self._method.admit(who)
            if not self._method.takes_stream:
                await self._limits.take()
                self._taken = 1
        except CanicorError as error:
            await self._fail(error)
        return self

    def counted(self, request: Any) -> Any:  # noqa: ANN401
        """Returns the request, or the requests of a stream as its caller's limits let them in."""
        return self._counted(request) if self._method.takes_stream else request

    async def _counted(self, requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
        async for request in requests:
            await self._limits.wait()
            self._taken += 1
            yield request

    def answered(self) -> None:
        """Gives back what one request of a stream took."""
        if self._method.takes_stream and self._taken:
            self._release()

    def _release(self) -> None:
        self._taken -= 1
        self._limits.release()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self._record("OK")
        elif isinstance(error, CanicorError):
            await self._fail(error)
        elif isinstance(error, Exception):
            _log.error("call failed", method=self._method.path, exc_info=error)
            await self._fail(Internal("The server failed; its log says why.", reason="INTERNAL"))
        else:
            self._record("CANCELLED")

    async def _fail(self, error: CanicorError) -> NoReturn:
        self._record(error.status)
        await abort(self._context, error)

    def _record(self, code: str) -> None:
        """Before the caller learns of the end, so that he finds it counted."""
        while self._taken:
            self._release()
        seconds = time.perf_counter() - self._started
        self._method.count(code, seconds)
        _log.info("call", method=self._method.path, code=code, seconds=round(seconds, 4), caller=self._name)
        if self._span:
            tracing.end(self._span, code)


def _authorization(metadata: Iterable[tuple[str, Any]]) -> str | None:
    return next((str(value) for key, value in metadata if key == "authorization"), None)
