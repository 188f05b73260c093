"""MLServer around a model that works in threads. `server.py MODEL ADDRESS`."""

import asyncio
import sys
from concurrent.futures import ThreadPoolExecutor

from mlserver import MLModel, MLServer, ModelSettings, Settings
from mlserver.settings import ModelParameters
from mlserver.types import InferenceRequest, InferenceResponse, ResponseOutput

from benchmarks.serving.raw import raw

NAME = "efficientnet-b0"

# Threads in its process, where parallel_workers=2 gave as many answers for 10 % more CPU, twice the memory and a
# later p99.
WORKERS = 2


class Model(MLModel):
    """Gives the three probabilities of one file."""

    async def load(self) -> bool:
        """Loads the model."""
        self._infer = raw(self.settings.parameters.uri, intra_op=1)
        self._pool = ThreadPoolExecutor(WORKERS)
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Answers one request."""
        (file,) = payload.inputs[0].data
        probabilities = await asyncio.get_running_loop().run_in_executor(self._pool, self._infer, file)
        output = ResponseOutput(name="probabilities", shape=[1, 3], datatype="FP32", data=probabilities)
        return InferenceResponse(model_name=self.name, outputs=[output])


async def main(model: str, port: int) -> None:
    settings = Settings(
        debug=False, host="127.0.0.1", http_port=0, grpc_port=port, metrics_endpoint=None, parallel_workers=0
    )
    parameters = ModelParameters(uri=model)
    await MLServer(settings).start([ModelSettings(name=NAME, implementation=Model, parameters=parameters)])


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2].rpartition(":")[2])))
