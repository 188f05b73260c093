"""Calls to the services: channels that carry the token, TLS and retries, and the classifier's client.

Errors come back as `canicor.errors`, the same classes that the servers raise.

Examples:
    >>> with Classifier() as classifier:
    ...     answer = classifier.classify(Path("thorax.dcm").read_bytes())
"""

import asyncio
import json
import random
import time
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Self, TypeVar, cast

import grpc
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from canicor._calls import CallInterceptor, WithoutRetriesOfStreams, aio_call_interceptors
from canicor._streams import AsyncOutstanding, Outstanding
from canicor.classifier.v1 import classifier_pb2 as pb
from canicor.classifier.v1.classifier_pb2_grpc import ClassifierServiceStub
from canicor.errors import BY_STATUS, CanicorError, Internal, ResourceExhausted, Unavailable
from canicor.settings import ClientSettings

DEFAULT_DEADLINE = 60.0
"""Seconds that a call may take where the caller says nothing."""

# gRPC draws each wait from 0.8 to 1.2 times the backoff (gRFC A6). Both statuses are those of calls that were not
# begun: a server that stops answers CANCELLED to what it has not taken up yet (grpc/grpc#41785).
_SERVICE_CONFIG = {
    # Over all servers that a name stands for, such as the pods of a headless Service; gRPC itself takes the first.
    "loadBalancingConfig": [{"round_robin": {}}],
    "methodConfig": [
        {
            "name": [{}],
            "retryPolicy": {
                "maxAttempts": 4,
                "initialBackoff": "0.2s",
                "maxBackoff": "3s",
                "backoffMultiplier": 3,
                "retryableStatusCodes": ["UNAVAILABLE", "CANCELLED"],
            },
        },
        # Each one goes back by a version more.
        {"name": [{"service": "canicor.classifier.v1.ModelAdminService", "method": "RollBack"}]},
    ],
}
_OPTIONS = [
    # The server says how large a message may be.
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.service_config", json.dumps(_SERVICE_CONFIG)),
    # Where pods are replaced one after another, those that a client knows may all be gone within gRPC's own 30 s.
    ("grpc.dns_min_time_between_resolutions_ms", 1000),
    # gRPC's own longest pause, two minutes, would keep calls from a server that is back after a long outage. It
    # draws up to a fifth more; calls and streams wait longer in all, so that they find a server that is up.
    ("grpc.max_reconnect_backoff_ms", 1000),
    # gRPC repeats no request larger than this, by default 256 KiB: less than most radiographs.
    ("grpc.per_rpc_retry_buffer_size", 256 * 2**20),
]

_STREAM_OPTIONS = [*_OPTIONS, ("grpc.enable_retries", 0)]

_TOO_LARGE = "larger than max"
"""What gRPC itself says of a message beyond the server's limit."""

# Streams in a row that may end without an answer, and the longest pause after the first; at least half of each is
# waited, which makes 1.3 seconds.
_STREAMS, _FIRST_PAUSE = 4, 0.2

_SPREAD = 1.5
"""A server's hint when to come back is drawn out up to so many times, lest all come back at once."""

Response = TypeVar("Response")


def channel(address: str, settings: ClientSettings) -> grpc.Channel:
    """Returns a channel to a service for blocking stubs.

    Args:
        address: `host:port`.
        settings: Says whether to speak TLS, with which certificates, and holds the token.

    Raises:
        FileNotFoundError: A certificate that the settings name is missing.
    """
    single, streams = (_plain_channel(address, settings, options) for options in (_OPTIONS, _STREAM_OPTIONS))
    both = WithoutRetriesOfStreams(single, streams)
    return grpc.intercept_channel(both, CallInterceptor(settings.bearer_token()))


def _plain_channel(address: str, settings: ClientSettings, options: list[tuple[str, Any]]) -> grpc.Channel:
    if settings.tls:
        return grpc.secure_channel(address, _credentials(settings), options, _compression(settings))
    return grpc.insecure_channel(address, options, _compression(settings))


def aio_channel(address: str, settings: ClientSettings) -> grpc.aio.Channel:
    """Returns a channel to a service for asyncio stubs; otherwise as `channel`."""
    interceptors = aio_call_interceptors(settings.bearer_token())
    compression = _compression(settings)
    if settings.tls:
        return grpc.aio.secure_channel(address, _credentials(settings), _OPTIONS, compression, interceptors)
    return grpc.aio.insecure_channel(address, _OPTIONS, compression, interceptors)


@contextmanager
def translated() -> Iterator[None]:
    """Turns the errors of calls inside it into `canicor.errors`.

    Raises:
        CanicorError: Of the class that stands for the call's status.
    """
    try:
        yield
    except grpc.RpcError as error:
        raise _canicor_error(error) from error


class Classifier:
    """The classifier, for programs that block.

    One serves any number of threads; its stream has a connection of its own.

    Args:
        settings: Where the classifier is and how to reach it; from the environment where left out.
        deadline: Seconds that a call may take, retries included: of calls that did not reach the server, and of
            those that it refused with a hint when to come back.
    """

    def __init__(self, settings: ClientSettings | None = None, *, deadline: float = DEFAULT_DEADLINE) -> None:
        settings = settings or ClientSettings()
        self._channel = channel(settings.classifier_address, settings)
        self._stub = ClassifierServiceStub(self._channel)
        self._deadline = deadline

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connection."""
        self._channel.close()

    def classify(
        self,
        image: bytes,
        *,
        model: str = "",
        request_id: str = "",
        explanation: "pb.Explanation.ValueType" = pb.EXPLANATION_UNSPECIFIED,
    ) -> pb.ClassifyResponse:
        """Classifies one radiograph.

        Args:
            image: The file: DICOM, PNG, JPEG or TIFF.
            model: `NAME` or `NAME/VERSION`; empty for the server's default.
            request_id: Echoed in the answer.
            explanation: The picture that `explanation_png` of the answer shows.

        Raises:
            CanicorError: As `ClassifierService.Classify` documents.
        """
        request = pb.ClassifyRequest(image=image, model=model, request_id=request_id, explanation=explanation)
        return self._asked(self._stub.Classify, request)

    def classify_many(self, requests: Iterable[pb.ClassifyRequest]) -> Iterator[pb.ClassifyStreamResponse]:
        """Classifies radiographs over a stream, without a deadline; answers come as they are ready.

        Where a server stops, what it has not answered goes to another over a new stream.

        Args:
            requests: Each with a `request_id` of its own.

        Raises:
            CanicorError: As `ClassifierService.ClassifyStream` documents.
        """
        outstanding = Outstanding(requests)
        while True:
            try:
                for answer in self._stub.ClassifyStream(outstanding.stream()):
                    outstanding.answered(answer.request_id)
                    yield answer
                return
            except grpc.RpcError as error:
                time.sleep(_pause_between_streams(outstanding, error))

    def models(self) -> list[pb.Model]:
        """Returns the models that are loaded."""
        return list(self._asked(self._stub.ListModels, pb.ListModelsRequest()).models)

    def _asked(self, method: Callable[..., Response], request: Message) -> Response:
        end = time.monotonic() + self._deadline
        while True:
            try:
                with translated():
                    return method(request, timeout=end - time.monotonic())
            except ResourceExhausted as error:
                time.sleep(_pause(error, end))


class AsyncClassifier:
    """The classifier, for asyncio; otherwise as `Classifier`."""

    def __init__(self, settings: ClientSettings | None = None, *, deadline: float = DEFAULT_DEADLINE) -> None:
        settings = settings or ClientSettings()
        self._channel = aio_channel(settings.classifier_address, settings)
        self._stub = ClassifierServiceStub(self._channel)
        self._deadline = deadline

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes the connection."""
        await self._channel.close(None)

    async def classify(
        self,
        image: bytes,
        *,
        model: str = "",
        request_id: str = "",
        explanation: "pb.Explanation.ValueType" = pb.EXPLANATION_UNSPECIFIED,
    ) -> pb.ClassifyResponse:
        """Classifies one radiograph: see `Classifier.classify`."""
        request = pb.ClassifyRequest(image=image, model=model, request_id=request_id, explanation=explanation)
        return await self._asked(self._stub.Classify, request)

    async def classify_many(
        self, requests: AsyncIterable[pb.ClassifyRequest]
    ) -> AsyncIterator[pb.ClassifyStreamResponse]:
        """Classifies radiographs over a stream: see `Classifier.classify_many`."""
        async with AsyncOutstanding(requests) as outstanding:
            while True:
                try:
                    async for answer in self._stub.ClassifyStream(outstanding.stream()):
                        outstanding.answered(answer.request_id)
                        yield answer
                    return
                except grpc.RpcError as error:
                    await asyncio.sleep(_pause_between_streams(outstanding, error))

    async def models(self) -> list[pb.Model]:
        """Returns the models that are loaded."""
        return list((await self._asked(self._stub.ListModels, pb.ListModelsRequest())).models)

    async def _asked(self, method: Callable[..., Awaitable[Response]], request: Message) -> Response:
        end = time.monotonic() + self._deadline
        while True:
            try:
                with translated():
                    return await method(request, timeout=end - time.monotonic())
            except ResourceExhausted as error:
                await asyncio.sleep(_pause(error, end))


def _pause(error: ResourceExhausted, end: float) -> float:
    """Returns how many seconds to wait before the call is made again.

    Raises:
        ResourceExhausted: The server gave no hint, or asks for more time than is left.
    """
    if error.retry_after is None:
        raise error
    seconds = error.retry_after * random.uniform(1, _SPREAD)  # noqa: S311 - nothing secret is drawn
    if time.monotonic() + seconds >= end:
        raise error
    return seconds


def _pause_between_streams(outstanding: Outstanding | AsyncOutstanding, error: grpc.RpcError) -> float:
    """Returns how many seconds to wait before another stream takes over.

    Raises:
        CanicorError: None shall: the call failed otherwise than by its server's end, or again and again.
    """
    code = cast(grpc.Call, error).code()
    ended = code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
    failures = outstanding.failed()
    if not ended or failures == _STREAMS:
        raise _canicor_error(error) from error
    longest = _FIRST_PAUSE * 3 ** (failures - 1)
    return random.uniform(longest / 2, longest)  # noqa: S311 - nothing secret is drawn


def _compression(settings: ClientSettings) -> grpc.Compression:
    return grpc.Compression.Gzip if settings.gzip else grpc.Compression.NoCompression


def _credentials(settings: ClientSettings) -> grpc.ChannelCredentials:
    files = (settings.tls_ca, settings.tls_client_key, settings.tls_client_certificate)
    authorities, key, certificate = (file.read_bytes() if file else None for file in files)
    return grpc.ssl_channel_credentials(authorities, key, certificate)


def _canicor_error(error: grpc.RpcError) -> CanicorError:
    call = cast(grpc.Call, error)
    kind = BY_STATUS.get(call.code().name, Internal)
    details = _details(rpc_status.from_call(call))
    info = details.get(error_details_pb2.ErrorInfo)
    request = details.get(error_details_pb2.BadRequest)
    retry = details.get(error_details_pb2.RetryInfo)
    message = call.details() or "The call failed."
    if kind is Unavailable and info is None:
        message = f"No server answers there: start one with `canicor serve`, or correct the address. ({message})"
    reason = info.reason if info else ""
    if kind is ResourceExhausted and info is None and _TOO_LARGE in message:
        reason = "MESSAGE_TOO_LARGE"
        message = (
            "The file is larger than the server takes: send a smaller one, or raise the server's "
            f"CANICOR_MAX_MESSAGE_BYTES. ({message})"
        )
    return kind(
        message,
        reason=reason,
        metadata=info.metadata if info else None,
        field=request.field_violations[0].field if request else "",
        retry_after=retry.retry_delay.ToMilliseconds() / 1000 if retry else None,
    )


def _details(status: status_pb2.Status | None) -> dict[type, Any]:
    found: dict[type, Any] = {}
    for packed in status.details if status else ():
        for kind in (error_details_pb2.ErrorInfo, error_details_pb2.BadRequest, error_details_pb2.RetryInfo):
            detail = kind()
            if packed.Unpack(detail):
                found[kind] = detail
    return found
