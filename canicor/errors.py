"""Everything that can be wrong with a request, as exceptions.

Each class stands for one gRPC status. Servers turn these into a status with `google.rpc` details
(`services.runtime`); the client turns the status back into the same class, so a caller handles
`NotFound` alike whether the code ran here or behind a socket.
"""

from collections.abc import Mapping
from typing import ClassVar


class CanicorError(Exception):
    """A failure with a sentence that may be shown to the caller.

    Args:
        message: One sentence: what is wrong and what would be right. Never holds patient data or a trace.
        reason: What went wrong, in UPPER_SNAKE_CASE and stable across releases (`google.rpc.ErrorInfo.reason`).
        field: The request field at fault, as a path (`image.content`), where there is one.
        metadata: Further facts for a program to read (`google.rpc.ErrorInfo.metadata`).
        retry_after: Seconds until a retry makes sense (`google.rpc.RetryInfo`), where it does.
    """

    status: ClassVar[str] = "INTERNAL"

    def __init__(
        self,
        message: str,
        *,
        reason: str = "",
        field: str = "",
        metadata: Mapping[str, str] | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason or self.status
        self.field = field
        self.metadata = dict(metadata or {})
        self.retry_after = retry_after


class InvalidArgument(CanicorError, ValueError):
    """The request can never be answered as it stands."""

    status = "INVALID_ARGUMENT"


class NotFound(CanicorError, LookupError):
    """The named resource does not exist."""

    status = "NOT_FOUND"


class AlreadyExists(CanicorError):
    """The same `request_id` came with another request, or the resource exists."""

    status = "ALREADY_EXISTS"


class FailedPrecondition(CanicorError):
    """The request is right, the state of the system is not: no model, an expired lease."""

    status = "FAILED_PRECONDITION"


class ResourceExhausted(CanicorError):
    """Too large, or too many at once."""

    status = "RESOURCE_EXHAUSTED"


class DeadlineExceeded(CanicorError, TimeoutError):
    """The caller's deadline passed."""

    status = "DEADLINE_EXCEEDED"


class Unauthenticated(CanicorError):
    """No token, or one that is not known."""

    status = "UNAUTHENTICATED"


class PermissionDenied(CanicorError):
    """The token is known; its roles do not allow the call."""

    status = "PERMISSION_DENIED"


class Unavailable(CanicorError, ConnectionError):
    """The server is not reachable, or draining; the same call may succeed soon."""

    status = "UNAVAILABLE"


class Unimplemented(CanicorError, NotImplementedError):
    """The API has the call; this server does not answer it."""

    status = "UNIMPLEMENTED"


class DataLoss(CanicorError):
    """Stored bytes are not the ones that were written: a checksum is off."""

    status = "DATA_LOSS"


class Internal(CanicorError):
    """A fault of the server's own. Its message says nothing more; the trace is in the server's log."""

    status = "INTERNAL"


BY_STATUS: Mapping[str, type[CanicorError]] = {
    error.status: error
    for error in (
        InvalidArgument,
        NotFound,
        AlreadyExists,
        FailedPrecondition,
        ResourceExhausted,
        DeadlineExceeded,
        Unauthenticated,
        PermissionDenied,
        Unavailable,
        Unimplemented,
        DataLoss,
        Internal,
    )
}
