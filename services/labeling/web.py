"""The labelling page, and the API as it calls it: JSON over HTTP, beside gRPC.

Each call is handed to the gRPC server over a socket of this machine, as any other caller's: the same tokens,
roles, limits and metrics hold. JSON is protobuf's own (protobuf.dev/programming-guides/json). Streams are gRPC's
alone.
"""

import asyncio
import ssl
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import grpc
import numpy as np
from aiohttp import web
from google.protobuf import json_format
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message_factory import GetMessageClass

from canicor import radiograph
from canicor.client import DEFAULT_DEADLINE, translated
from canicor.errors import CanicorError, FailedPrecondition, InvalidArgument, NotFound, PermissionDenied
from canicor.labeling.v1 import labeling_pb2 as pb
from canicor.morphometry import PLAUSIBLE
from canicor.vhs import BAND_NOTICE, LARGE_ABOVE, SMALL_BELOW
from services.runtime.files import Followed
from services.runtime.settings import ServerSettings, split_address

HTTP_STATUS: Mapping[str, int] = {
    "INVALID_ARGUMENT": 400,
    "FAILED_PRECONDITION": 400,
    "OUT_OF_RANGE": 400,
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "NOT_FOUND": 404,
    "ALREADY_EXISTS": 409,
    "ABORTED": 409,
    "RESOURCE_EXHAUSTED": 429,
    "UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
}
"""By google.rpc.Code's own mapping; any other is 500."""

_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
}
_PAGE_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; connect-src 'self'; img-src 'self'; script-src 'self'; style-src 'self'; "
        "worker-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
# A name in it says what the file holds.
_KEPT_FOREVER = "public, max-age=31536000, immutable"

_LARGEST_LEVEL = 2**16 - 1

_PAGE = Path(__file__).parent / "page" / "built"

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Web:
    """Serves the page at `/`, its images at `/images/ID/pixels`, and a gRPC service's calls at `/api/METHOD`.

    Args:
        service: What is served.
        settings: Where, TLS, and the largest request.
    """

    def __init__(self, service: ServiceDescriptor, settings: ServerSettings) -> None:
        self._service = service
        self._address = settings.http_listen
        self._settings = settings
        self._folder: tempfile.TemporaryDirectory[str]

    def register(self, server: grpc.aio.Server) -> None:
        """Has the gRPC server listen to this one."""
        # Nobody else may look into it.
        self._folder = tempfile.TemporaryDirectory(prefix="canicor-")
        server.add_insecure_port(self._socket)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Listens from entry to exit.

        Raises:
            FailedPrecondition: The address is taken.
        """
        most = self._settings.max_message_bytes
        limit = ("grpc.max_receive_message_length", most)
        with self._folder:
            async with grpc.aio.insecure_channel(self._socket, options=[limit]) as channel:
                application = web.Application(client_max_size=most, middlewares=[_answering_errors])
                calls = _Calls(self._service, channel)
                application.router.add_post("/api/{method}", calls.answer)
                application.router.add_get("/images/{image_id}/pixels", partial(_pixels, calls))
                application.router.add_get("/bands.json", _bands)
                application.router.add_get("/", partial(_file, _PAGE / "index.html"))
                for path in (one for one in _PAGE.rglob("*") if one.is_file()):
                    application.router.add_get(f"/{path.relative_to(_PAGE).as_posix()}", partial(_file, path))
                runner = web.AppRunner(application, access_log=None, handle_signals=False)
                await runner.setup()
                try:
                    await self._listen(runner)
                    yield
                finally:
                    await runner.cleanup()

    async def _listen(self, runner: web.AppRunner) -> None:
        host, port = split_address(self._address)
        try:
            await web.TCPSite(runner, host.strip("[]"), port, ssl_context=self._tls()).start()
        except OSError as error:
            raise FailedPrecondition(
                f"Can't listen on {self._address}: is another server running there?", reason="ADDRESS_TAKEN"
            ) from error

    @property
    def _socket(self) -> str:
        return f"unix:{Path(self._folder.name) / 'api'}"

    def _tls(self) -> ssl.SSLContext | None:
        """Returns what each new connection gets the newest certificate from."""
        certificate, key, authorities = (
            self._settings.tls_certificate,
            self._settings.tls_key,
            self._settings.tls_client_ca,
        )
        if not (certificate and key):
            return None

        def context(_: object) -> ssl.SSLContext:
            made = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            made.load_cert_chain(certificate, key)
            if authorities:
                made.load_verify_locations(authorities)
                made.verify_mode = ssl.CERT_REQUIRED
            return made

        followed = Followed([path for path in (certificate, key, authorities) if path], context)

        def take_newest(handshake: ssl.SSLObject | ssl.SSLSocket, *_: object) -> None:
            handshake.context = followed.current()

        first = followed.current()
        first.sni_callback = take_newest
        return first


class _Calls:
    """The calls of a service over a channel."""

    def __init__(self, service: ServiceDescriptor, channel: grpc.aio.Channel) -> None:
        single = [one for one in service.methods if not (one.client_streaming or one.server_streaming)]
        self._calls = {method.name: self._call(service, method, channel) for method in single}

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Answers one call."""
        name = request.match_info["method"]
        if name not in self._calls:
            raise NotFound(f"There is no call {name}: {', '.join(self._calls)} are there.", reason="NO_SUCH_CALL")
        asked, _ = self._calls[name]
        try:
            message = json_format.Parse(await request.text(), asked())
        except (json_format.ParseError, UnicodeDecodeError) as error:
            raise InvalidArgument(
                f"The request is not the JSON of {name}Request: {error}", reason="BAD_JSON"
            ) from error
        answer = await self.call(request, name, message)
        text = json_format.MessageToJson(answer, always_print_fields_with_no_presence=True, indent=None)
        return web.Response(text=text, content_type="application/json", headers=_HEADERS)

    async def call(self, request: web.Request, name: str, message: Any) -> Any:  # noqa: ANN401
        """Calls the service as whoever sent a request.

        Raises:
            PermissionDenied: CROSS_SITE: another site's page did.
            CanicorError: As the service refuses it.
        """
        _refuse_other_sites(request)
        _, call = self._calls[name]
        header = request.headers.get("Authorization")
        with translated():
            return await call(
                message, metadata=[("authorization", header)] if header else (), timeout=DEFAULT_DEADLINE
            )

    @staticmethod
    def _call(service: ServiceDescriptor, method: MethodDescriptor, channel: grpc.aio.Channel) -> tuple[Any, Any]:
        asked, answered = GetMessageClass(method.input_type), GetMessageClass(method.output_type)
        call = channel.unary_unary(
            f"/{service.full_name}/{method.name}",
            request_serializer=asked.SerializeToString,
            response_deserializer=answered.FromString,
        )
        return asked, call


async def _pixels(calls: _Calls, request: web.Request) -> web.StreamResponse:
    """Answers an image's grey levels row by row, bright = dense.

    Headers say how many, of how many bits, and which shares of their range are black and white at first.
    """
    asked = pb.GetImageRequest(image_id=request.match_info["image_id"])
    answer = await calls.call(request, "GetImage", asked)
    shown = await asyncio.to_thread(radiograph.decode, answer.content, whole_range=True)
    levels = shown.levels
    if levels.dtype != np.uint8:
        levels = np.rint(levels * np.float32(_LARGEST_LEVEL)).astype("<u2")
    rows, columns = levels.shape
    black, white = shown.window or (0.0, 1.0)
    headers = {
        **_HEADERS,
        "Canicor-Bits": str(8 * levels.dtype.itemsize),
        "Canicor-Columns": str(columns),
        "Canicor-Rows": str(rows),
        "Canicor-Pixel-Aspect": str(answer.image.pixel_aspect),
        "Canicor-Black": str(black),
        "Canicor-White": str(white),
    }
    return web.Response(body=levels.tobytes(), content_type="application/octet-stream", headers=headers)


async def _bands(request: web.Request) -> web.StreamResponse:
    """Answers where the classes begin and what is plausible, for these live in the library alone."""
    plausible = {
        figure: {"what": limits.what, "lowest": limits.lowest, "highest": limits.highest, "unit": limits.unit}
        for figure, limits in PLAUSIBLE.items()
    }
    bands = {
        "smallBelow": SMALL_BELOW,
        "largeAbove": LARGE_ABOVE,
        "notice": BAND_NOTICE,
        "plausible": plausible,
    }
    return web.json_response(bands, headers=_HEADERS)


async def _file(path: Path, request: web.Request) -> web.StreamResponse:
    """Answers a file of the page."""
    kept = _KEPT_FOREVER if path.parent.name == "assets" else "no-cache"
    return web.FileResponse(path, headers={**_PAGE_HEADERS, "Cache-Control": kept})


def _refuse_other_sites(request: web.Request) -> None:
    """A browser says whose page sends a request; programs say nothing."""
    origin = request.headers.get("Origin")
    if origin is not None and urlsplit(origin).netloc != request.host:
        raise PermissionDenied("Only this server's own page may call it.", reason="CROSS_SITE")


@web.middleware
async def _answering_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except CanicorError as error:
        return _refusal(HTTP_STATUS.get(error.status, 500), error.status, error)
    except web.HTTPRequestEntityTooLarge as error:
        return _refusal(413, "RESOURCE_EXHAUSTED", CanicorError(f"The request is too large: {error}"))


def _refusal(status: int, code: str, error: CanicorError) -> web.Response:
    body = {"code": code, "message": error.message, "reason": error.reason, "field": error.field}
    return web.json_response(body, status=status, headers=_HEADERS)
