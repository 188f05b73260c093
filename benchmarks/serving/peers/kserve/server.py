"""KServe's own gRPC server around a model that works in threads. `server.py MODEL ADDRESS`."""

import asyncio
import sys
from concurrent.futures import ThreadPoolExecutor

import kserve
from kserve import InferOutput, InferRequest, InferResponse

from benchmarks.serving.raw import raw

NAME = "efficientnet-b0"

# Threads, since its `workers` are of the REST server alone. Without them the model would run in the event loop.
WORKERS = 2


class Model(kserve.Model):
    """Gives the three probabilities of one file."""

    def __init__(self, model: str) -> None:
        super().__init__(NAME)
        self._infer = raw(model, intra_op=1)
        self._pool = ThreadPoolExecutor(WORKERS)
        self.ready = True

    async def predict(self, payload: InferRequest, *_: object) -> InferResponse:
        """Answers one request."""
        (file,) = payload.inputs[0].data
        probabilities = await asyncio.get_running_loop().run_in_executor(self._pool, self._infer, file)
        output = InferOutput("probabilities", [1, 3], "FP32", probabilities)
        return InferResponse(payload.id or "", NAME, [output])


if __name__ == "__main__":
    model, address = sys.argv[1:]
    port = int(address.rpartition(":")[2])
    # 0: the REST server, which can't be left out, takes any port.
    server = kserve.ModelServer(http_port=0, grpc_port=port, enable_latency_logging=False)
    server.start([Model(model)])
