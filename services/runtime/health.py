"""`grpc.health.v1`: overall (the empty name), by gRPC service, and by what a service reports, such as models."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, TypeAlias

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

NAME = health.SERVICE_NAME

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"

_Response = health_pb2.HealthCheckResponse


class Health(health_pb2_grpc.HealthServicer):
    """What probes are told: not to serve, until something is reported.

    grpcio-health-checking's own servicer says from the start that the server serves, and keeps watches open while
    it drains, so that a drain with a watch lasts to its very end.
    """

    def __init__(self) -> None:
        self._states: dict[str, int] = {"": _Response.NOT_SERVING}
        self._draining = False
        self._changed = asyncio.Condition()

    def register(self, server: grpc.aio.Server) -> None:
        """Adds itself to a server; it may be added to several."""
        health_pb2_grpc.add_HealthServicer_to_server(self, server)

    async def report(self, name: str, *, serving: bool) -> None:
        """Sets the state of a name; a name that was never reported is NOT_FOUND to those who ask."""
        if not self._draining:
            await self._set({name: _Response.SERVING if serving else _Response.NOT_SERVING})

    async def drain(self) -> None:
        """Tells of every name, from now on, that it does not serve, and ends all watches."""
        self._draining = True
        await self._set(dict.fromkeys(self._states, _Response.NOT_SERVING))

    async def _set(self, states: dict[str, int]) -> None:
        async with self._changed:
            self._states |= states
            self._changed.notify_all()

    async def Check(self, request: health_pb2.HealthCheckRequest, context: Context) -> _Response:  # noqa: N802
        """Tells the state of a name."""
        if request.service not in self._states:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"Nothing here is called {request.service!r}.")
        return _Response(status=self._states[request.service])

    async def Watch(  # noqa: N802
        self, request: health_pb2.HealthCheckRequest, context: Context
    ) -> AsyncIterator[_Response]:
        """Tells the state of a name at each change."""
        told = None
        while True:
            if (state := self._state(request.service)) != told:
                told = state
                yield _Response(status=state)
            elif self._draining:
                return
            else:
                async with self._changed:
                    # Asked once more, now that nothing can change before the wait.
                    if self._state(request.service) == told and not self._draining:
                        await self._changed.wait()

    def _state(self, name: str) -> int:
        return self._states.get(name, _Response.SERVICE_UNKNOWN)
