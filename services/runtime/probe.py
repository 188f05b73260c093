"""Asks a server whether it serves, for a health check: `python -m services.runtime.probe HOST:PORT`."""

import sys
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

_SECONDS = 4.0


def serves(address: str) -> bool:
    """Tells whether the server whose port for probes is at `host:port` says so within four seconds."""
    with grpc.insecure_channel(address) as channel:
        # Its types leave out the methods.
        stub: Any = health_pb2_grpc.HealthStub(channel)
        try:
            state = stub.Check(health_pb2.HealthCheckRequest(), timeout=_SECONDS)
        except grpc.RpcError:
            return False
    return bool(state.status == health_pb2.HealthCheckResponse.SERVING)


if __name__ == "__main__":
    sys.exit(not serves(sys.argv[1]))
