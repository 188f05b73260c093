"""What happens around every call, once: who calls, may he, how it ended, how long it took."""

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing, asynccontextmanager
from contextvars import ContextVar
from typing import Any, TypeAlias

import grpc
import structlog

from canicor.errors import CanicorError, Internal, PermissionDenied
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

    async def intercept_service(
        self, continuation: Continuation, details: grpc.HandlerCallDetails
    ) -> "Handler | None":
        """Wraps the handler of a call."""
        handler = await continuation(details)
        if handler is None or details.method.split("/")[1] in PUBLIC_SERVICES:
            return handler
        return self._streaming(handler, details) if handler.response_streaming else self._single(handler, details)

    # gRPC's types leave out that a handler carries its behaviour.
    def _single(self, handler: Any, details: grpc.HandlerCallDetails) -> Handler:  # noqa: ANN401
        behaviour = handler.stream_unary or handler.unary_unary

        async def answer(request: Any, context: Context) -> Any:  # noqa: ANN401
            async with self._around(details, context):
                return await behaviour(request, context)

        wrap = (
            grpc.stream_unary_rpc_method_handler
            if handler.request_streaming
            else grpc.unary_unary_rpc_method_handler
        )
        return wrap(answer, handler.request_deserializer, handler.response_serializer)

    def _streaming(self, handler: Any, details: grpc.HandlerCallDetails) -> Handler:  # noqa: ANN401
        behaviour = handler.stream_stream or handler.unary_stream

        async def answers(request: Any, context: Context) -> AsyncIterator[Any]:  # noqa: ANN401
            async with self._around(details, context), aclosing(behaviour(request, context)) as stream:
                async for answer in stream:
                    yield answer

        wrap = (
            grpc.stream_stream_rpc_method_handler
            if handler.request_streaming
            else grpc.unary_stream_rpc_method_handler
        )
        return wrap(answers, handler.request_deserializer, handler.response_serializer)

    @asynccontextmanager
    async def _around(self, details: grpc.HandlerCallDetails, context: Context) -> AsyncIterator[None]:
        started = time.perf_counter()
        failure: CanicorError | None = None
        code = "CANCELLED"
        try:
            self._admit(details)
            yield
            code = "OK"
        except CanicorError as error:
            failure, code = error, error.status
        except Exception:
            _log.exception("call failed", method=details.method)
            failure = Internal("The server failed; its log says why.", reason="INTERNAL")
            code = failure.status
        finally:
            # Before the caller learns of the end, so that he finds it counted.
            _record(details.method, code, time.perf_counter() - started)
        if failure is not None:
            await abort(context, failure)

    def _admit(self, details: grpc.HandlerCallDetails) -> None:
        authorization = dict(details.invocation_metadata or ()).get("authorization")
        who = self._tokens.caller(str(authorization) if authorization else None)
        _caller.set(who)
        allowed = self._roles.get(details.method, frozenset())
        if not allowed & who.roles:
            needed = " or ".join(sorted(allowed)) or "no role"
            raise PermissionDenied(f"This call needs the role {needed}.", reason="ROLE_MISSING")


def _record(path: str, code: str, seconds: float) -> None:
    _, service, method = path.split("/")
    CALLS.labels(service, method, code).inc()
    CALL_SECONDS.labels(service, method).observe(seconds)
    who = _caller.get(None)
    _log.info("call", method=path, code=code, seconds=round(seconds, 4), caller=who.name if who else None)
