"""Starts a service, keeps it running, and drains it on SIGTERM."""

import asyncio
import signal
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Protocol

import grpc
import structlog
from grpc_reflection.v1alpha import reflection
from prometheus_client import start_http_server

from canicor.errors import FailedPrecondition
from canicor.memory import REQUESTS, keep_freed_memory
from services.runtime import health, metrics, tracing
from services.runtime.health import Health
from services.runtime.interceptor import CallInterceptor
from services.runtime.logs import configure
from services.runtime.settings import ServerSettings, split_address
from services.runtime.tokens import Role, Tokens

_log = structlog.get_logger("canicor.server")


class Service(Protocol):
    """What a room under `services/` hands to the server."""

    @property
    def names(self) -> Sequence[str]:
        """Full names of its gRPC services, for health and reflection."""

    @property
    def roles(self) -> Mapping[str, frozenset[Role]]:
        """Which roles may call each method, by its full name."""

    def register(self, server: grpc.aio.Server) -> None:
        """Adds its servicers."""

    def drain(self) -> None:
        """Ends, on SIGTERM, the calls that would outlast the drain by their nature, such as watches."""

    def running(self, health: Health) -> AbstractAsyncContextManager[object]:
        """Starts its own work on entry, and ends it on exit, after the last call; reports to `health` between."""


def run(service: Service, settings: ServerSettings) -> None:
    """Serves until SIGTERM or SIGINT, then lets calls end for `drain_seconds`.

    Raises:
        FailedPrecondition: The address is taken, a file of the settings can't be read, or traces are asked for
            and can't be sent.
    """
    configure(settings.log_format, settings.log_level)
    keep_freed_memory(REQUESTS)
    with tracing.exported(settings.service):
        asyncio.run(_serve(service, settings))


async def _serve(service: Service, settings: ServerSettings) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    server = grpc.aio.server(
        interceptors=[CallInterceptor(_tokens(settings), service.roles)],
        options=[
            ("grpc.max_receive_message_length", settings.max_message_bytes),
            ("grpc.max_send_message_length", settings.max_message_bytes),
            ("grpc.so_reuseport", 0),
        ],
    )
    service.register(server)
    checks = Health()
    checks.register(server)
    reflection.enable_server_reflection([*service.names, health.NAME, reflection.SERVICE_NAME], server)
    _listen(server, settings)
    _show_metrics(settings)
    async with _probed(checks, settings), service.running(checks):
        await server.start()
        for name in ("", *service.names):
            await checks.report(name, serving=True)
        tokens = settings.tokens_file or settings.token_file
        _log.info("serving", service=settings.service, tokens=str(tokens), settings=settings.shown())
        await stop.wait()
        _log.info("draining", service=settings.service, seconds=settings.drain_seconds)
        await checks.drain()
        service.drain()
        await server.stop(settings.drain_seconds)
    _log.info("stopped", service=settings.service)


@asynccontextmanager
async def _probed(checks: Health, settings: ServerSettings) -> AsyncIterator[None]:
    """Answers probes on a port of its own, in the clear, where the settings name one."""
    if not settings.health_listen:
        yield
        return
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    checks.register(server)
    _bind(server, settings.health_listen, f"CANICOR_{settings.service.upper()}_HEALTH_LISTEN")
    await server.start()
    try:
        yield
    finally:
        await server.stop(None)


def _tokens(settings: ServerSettings) -> Tokens:
    if settings.tokens_file:
        return Tokens.from_file(settings.tokens_file)
    return Tokens.embedded(settings.token_file)


def _listen(server: grpc.aio.Server, settings: ServerSettings) -> None:
    credentials = None
    if settings.tls_certificate:
        # Here, so that a server without TLS does not show the expiration of a certificate.
        from services.runtime.certificates import server_credentials

        credentials = server_credentials(settings)
    _bind(server, settings.listen, f"CANICOR_{settings.service.upper()}_LISTEN", credentials)


def _bind(
    server: grpc.aio.Server, address: str, setting: str, credentials: grpc.ServerCredentials | None = None
) -> None:
    split_address(address)
    try:
        if credentials:
            server.add_secure_port(address, credentials)
        else:
            server.add_insecure_port(address)
    except (RuntimeError, OSError) as error:
        raise FailedPrecondition(
            f"Can't listen on {address}: is another server running there? {setting} sets another address.",
            reason="ADDRESS_TAKEN",
        ) from error


def _show_metrics(settings: ServerSettings) -> None:
    host, port = split_address(settings.metrics_listen)
    metrics.watch(settings.home_folder)
    try:
        start_http_server(port, host)
    except OSError as error:
        raise FailedPrecondition(
            f"Can't listen on {settings.metrics_listen} for metrics: "
            f"CANICOR_{settings.service.upper()}_METRICS_LISTEN sets another address.",
            reason="ADDRESS_TAKEN",
        ) from error
