"""`grpc.health.v1`: overall (the empty name), by gRPC service, and by what a service reports, such as models."""

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

NAME = health.SERVICE_NAME


class Health:
    """What probes are told."""

    def __init__(self) -> None:
        self._servicer = health.aio.HealthServicer()

    def register(self, server: grpc.aio.Server) -> None:
        """Adds the servicer to a server; it may be added to several."""
        health_pb2_grpc.add_HealthServicer_to_server(self._servicer, server)

    async def report(self, name: str, *, serving: bool) -> None:
        """Sets the state of a name; a name that was never reported is NOT_FOUND to those who ask."""
        response = health_pb2.HealthCheckResponse
        await self._servicer.set(name, response.SERVING if serving else response.NOT_SERVING)

    async def drain(self) -> None:
        """Tells of every name, from now on, that it does not serve."""
        await self._servicer.enter_graceful_shutdown()
