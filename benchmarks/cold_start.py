"""Seconds from the start of the classifier's container to its first SERVING: `python -m benchmarks.cold_start`.

Of the image as it is tagged, with the model that ships, without rights and with a new volume each time. Needs a
Docker engine.
"""

import argparse
import sys
import time
from statistics import median

import docker
import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.servers import free_port

_SOON = [("grpc.initial_reconnect_backoff_ms", 20), ("grpc.max_reconnect_backoff_ms", 50)]


def seconds(engine: docker.DockerClient, image: str) -> float:
    port = free_port()
    container = engine.containers.create(
        image,
        environment={"CANICOR_ALLOW_INSECURE": "true"},
        read_only=True,
        cap_drop=["ALL"],
        security_opt=["no-new-privileges:true"],
        tmpfs={"/tmp": ""},  # noqa: S108
        ports={8480: ("127.0.0.1", port)},
    )
    try:
        began = time.perf_counter()
        container.start()
        with grpc.insecure_channel(f"127.0.0.1:{port}", _SOON) as channel:
            request = health_pb2.HealthCheckRequest()
            states = health_pb2_grpc.HealthStub(channel).Watch(request, wait_for_ready=True, timeout=60)
            next(state for state in states if state.status == health_pb2.HealthCheckResponse.SERVING)
        return time.perf_counter() - began
    finally:
        container.remove(force=True, v=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="Times the classifier's cold start.")
    parser.add_argument("--image", default="canicor-classifier", help="default: %(default)s")
    parser.add_argument("--rounds", type=int, default=5, help="default: %(default)s")
    asked = parser.parse_args()
    engine = docker.from_env()
    taken = [seconds(engine, asked.image) for _ in range(asked.rounds)]
    print(f"from start to SERVING: {median(taken):.1f} s ({min(taken):.1f} to {max(taken):.1f})")
    sys.exit(median(taken) > 5)


if __name__ == "__main__":
    main()
