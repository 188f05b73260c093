"""Ray Serve with a replica a core, over its gRPC proxy. `server.py MODEL ADDRESS`."""

import os
import signal
import sys
from pathlib import Path

# Before the import: without them Ray reports to its makers how it is used, leaves a token in the home folder, and
# answers a tenth fewer requests.
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
os.environ["RAY_AUTH_MODE"] = "disabled"
os.environ["RAY_SERVE_THROUGHPUT_OPTIMIZED"] = "1"

import grpc
import numpy as np
import ray
from google.protobuf.wrappers_pb2 import BytesValue
from ray import serve
from ray.serve.config import HTTPOptions, gRPCOptions

from benchmarks.serving.raw import raw

NAME = "efficientnet-b0"
OBJECT_STORE_BYTES = 200 * 2**20


def add_classifier(servicer: object, server: grpc.aio.Server) -> None:
    """Names the method to Ray's proxy, which answers it by a replica's `Classify`."""
    method = grpc.unary_unary_rpc_method_handler(
        lambda *_: None, BytesValue.FromString, BytesValue.SerializeToString
    )
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("benchmark.Classifier", {"Classify": method}),)
    )


# A replica a core. Of 32 clients the default of 5 requests each leaves most to be held back by the proxy.
@serve.deployment(num_replicas=2, ray_actor_options={"num_cpus": 1}, max_ongoing_requests=100)
class Api:
    """Gives the three probabilities of one file."""

    def __init__(self, model: str) -> None:
        self._infer = raw(model, intra_op=1)

    def Classify(self, request: BytesValue) -> BytesValue:  # noqa: N802
        """Answers one request."""
        return BytesValue(value=np.array(self._infer(request.value), np.float32).tobytes())


def main(model: str, port: int) -> None:
    ray.init(
        num_cpus=2,
        include_dashboard=False,
        object_store_memory=OBJECT_STORE_BYTES,
        _node_ip_address="127.0.0.1",
        _temp_dir=str(Path(model).parent / "ray"),
    )
    # By its name as a module: as this script's own it would be unknown to the proxy.
    functions = ["benchmarks.serving.peers.ray.server.add_classifier"]
    serve.start(
        # Its proxy speaks HTTP too, which can't be left out.
        http_options=HTTPOptions(host="127.0.0.1", port=0),
        grpc_options=gRPCOptions(port=port, grpc_servicer_functions=functions),
    )
    serve.run(Api.bind(model), name=NAME)
    signal.pause()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2].rpartition(":")[2]))
