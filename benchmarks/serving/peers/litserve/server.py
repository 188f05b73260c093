"""LitServe with a process a core. `server.py MODEL ADDRESS`."""

import sys
from typing import Annotated

import litserve
from fastapi import Body

from benchmarks.serving.raw import raw


class Api(litserve.LitAPI):
    """Gives the three probabilities of one file."""

    def setup(self, device: str) -> None:
        """Loads the model in a worker."""
        self._infer = raw(sys.argv[1], intra_op=1)

    def decode_request(self, request: Annotated[bytes, Body()]) -> bytes:
        """Takes the body as it is: JSON would cost its decoding."""
        return request

    def predict(self, file: bytes) -> list[float]:
        """Infers."""
        return self._infer(file)

    def encode_response(self, output: list[float]) -> list[float]:
        """Goes out as JSON."""
        return output


if __name__ == "__main__":
    # Of the two queues ZeroMQ's was the faster; a second HTTP server took from the models what it gave.
    server = litserve.LitServer(Api(), accelerator="cpu", workers_per_device=2, fast_queue=True)
    server.run(
        host="127.0.0.1",
        port=sys.argv[2].rpartition(":")[2],
        num_api_servers=1,
        log_level="warning",
        generate_client_file=False,
    )
