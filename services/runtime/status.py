"""Errors as gRPC statuses with `google.rpc` details."""

import random
from collections.abc import Iterator
from typing import Any, NoReturn

import grpc
from google.protobuf import any_pb2
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from canicor.errors import CanicorError

DOMAIN = "canicor"
"""`google.rpc.ErrorInfo.domain` of every error."""

DETAILS_KEY = "grpc-status-details-bin"
"""Trailing metadata that carries a serialized `google.rpc.Status` (gRPC's richer error model)."""

PUSHBACK_KEY = "grpc-retry-pushback-ms"
"""Trailing metadata that clients with a retry policy for the status obey by themselves (gRFC A6)."""

_SPREAD = 1.5
"""The hint is drawn out up to so many times, lest all who were refused come back at once."""


async def abort(context: "grpc.aio.ServicerContext[Any, Any]", error: CanicorError) -> NoReturn:
    """Ends a call with an error's status, sentence and details."""
    code = grpc.StatusCode[error.status]
    status = status_pb2.Status(code=code.value[0], message=error.message, details=_details(error))
    trailers: list[tuple[str, str | bytes]] = [(DETAILS_KEY, status.SerializeToString())]
    if error.retry_after is not None:
        milliseconds = error.retry_after * 1000 * random.uniform(1, _SPREAD)  # noqa: S311 - nothing secret is drawn
        trailers.append((PUSHBACK_KEY, str(round(milliseconds))))
    await context.abort(code, error.message, tuple(trailers))
    raise AssertionError("abort returned")


def _details(error: CanicorError) -> Iterator[any_pb2.Any]:
    yield _packed(error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=error.metadata))
    if error.field:
        violation = error_details_pb2.BadRequest.FieldViolation(field=error.field, description=error.message)
        yield _packed(error_details_pb2.BadRequest(field_violations=[violation]))
    if error.retry_after is not None:
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromMilliseconds(round(error.retry_after * 1000))
        yield _packed(retry)


def _packed(detail: Message) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(detail)
    return packed
