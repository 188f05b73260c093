"""Calls to the services: channels that carry the token, TLS and retries, and the classifier's client.

Errors come back as `canicor.errors`, the same classes that the servers raise.

Examples:
    >>> with Classifier() as classifier:
    ...     answer = classifier.classify(Path("thorax.dcm").read_bytes())
"""

import json
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Self, cast

import grpc
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from canicor._calls import CallInterceptor, aio_call_interceptors
from canicor.classifier.v1 import classifier_pb2 as pb
from canicor.classifier.v1.classifier_pb2_grpc import ClassifierServiceStub
from canicor.errors import BY_STATUS, CanicorError, Internal, Unavailable
from canicor.settings import ClientSettings

DEFAULT_DEADLINE = 60.0
"""Seconds that a call may take where the caller says nothing."""

_LARGEST_MESSAGE = 64 * 2**20

# gRPC draws each wait at random up to the backoff (gRFC A6), and only UNAVAILABLE means that nothing was done.
_RETRIES = {
    "methodConfig": [
        {
            "name": [{}],
            "retryPolicy": {
                "maxAttempts": 4,
                "initialBackoff": "0.2s",
                "maxBackoff": "3s",
                "backoffMultiplier": 3,
                "retryableStatusCodes": ["UNAVAILABLE"],
            },
        }
    ]
}
_OPTIONS = [
    ("grpc.max_receive_message_length", _LARGEST_MESSAGE),
    ("grpc.max_send_message_length", _LARGEST_MESSAGE),
    ("grpc.service_config", json.dumps(_RETRIES)),
]


def channel(address: str, settings: ClientSettings) -> grpc.Channel:
    """Returns a channel to a service for blocking stubs.

    Args:
        address: `host:port`.
        settings: Says whether to speak TLS, with which certificates, and holds the token.

    Raises:
        FileNotFoundError: A certificate that the settings name is missing.
    """
    plain = (
        grpc.secure_channel(address, _credentials(settings), _OPTIONS)
        if settings.tls
        else grpc.insecure_channel(address, _OPTIONS)
    )
    return grpc.intercept_channel(plain, CallInterceptor(settings.bearer_token()))


def aio_channel(address: str, settings: ClientSettings) -> grpc.aio.Channel:
    """Returns a channel to a service for asyncio stubs; otherwise as `channel`."""
    interceptors = aio_call_interceptors(settings.bearer_token())
    if settings.tls:
        return grpc.aio.secure_channel(address, _credentials(settings), _OPTIONS, interceptors=interceptors)
    return grpc.aio.insecure_channel(address, _OPTIONS, interceptors=interceptors)


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

    One connection serves any number of threads.

    Args:
        settings: Where the classifier is and how to reach it; from the environment where left out.
        deadline: Seconds that a call may take, retries included.
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

    def classify(self, image: bytes, *, model: str = "", request_id: str = "") -> pb.ClassifyResponse:
        """Classifies one radiograph.

        Args:
            image: The file: DICOM, PNG, JPEG or TIFF.
            model: `NAME` or `NAME/VERSION`; empty for the server's default.
            request_id: Echoed in the answer.

        Raises:
            CanicorError: As `ClassifierService.Classify` documents.
        """
        request = pb.ClassifyRequest(image=image, model=model, request_id=request_id)
        with translated():
            return self._stub.Classify(request, timeout=self._deadline)

    def classify_many(self, requests: Iterable[pb.ClassifyRequest]) -> Iterator[pb.ClassifyStreamResponse]:
        """Classifies radiographs over one stream, without a deadline; answers come as they are ready."""
        with translated():
            yield from self._stub.ClassifyStream(pb.ClassifyStreamRequest(request=one) for one in requests)

    def models(self) -> list[pb.Model]:
        """Returns the models that are loaded."""
        with translated():
            return list(self._stub.ListModels(pb.ListModelsRequest(), timeout=self._deadline).models)


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

    async def classify(self, image: bytes, *, model: str = "", request_id: str = "") -> pb.ClassifyResponse:
        """Classifies one radiograph: see `Classifier.classify`."""
        request = pb.ClassifyRequest(image=image, model=model, request_id=request_id)
        with translated():
            return await self._stub.Classify(request, timeout=self._deadline)

    async def classify_many(
        self, requests: AsyncIterable[pb.ClassifyRequest]
    ) -> AsyncIterator[pb.ClassifyStreamResponse]:
        """Classifies radiographs over one stream: see `Classifier.classify_many`."""
        wrapped = (pb.ClassifyStreamRequest(request=one) async for one in requests)
        with translated():
            async for answer in self._stub.ClassifyStream(wrapped):
                yield answer

    async def models(self) -> list[pb.Model]:
        """Returns the models that are loaded."""
        with translated():
            answer = await self._stub.ListModels(pb.ListModelsRequest(), timeout=self._deadline)
        return list(answer.models)


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
    return kind(
        message,
        reason=info.reason if info else "",
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
