"""The least there is: grpc.aio before two threads of ONNX Runtime. `server.py MODEL ADDRESS`."""

import asyncio
import sys
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
from google.protobuf.wrappers_pb2 import BytesValue

from benchmarks.serving.raw import raw

# One thread a core: one thread with intra-op 2 gives fewer answers a second.
WORKERS = 2


async def main(model: str, address: str) -> None:
    infer = raw(model, intra_op=1)
    pool = ThreadPoolExecutor(WORKERS)

    def answer(file: bytes) -> bytes:
        return np.array(infer(file), np.float32).tobytes()

    async def classify(request: BytesValue, _: grpc.aio.ServicerContext) -> BytesValue:
        return BytesValue(value=await asyncio.get_running_loop().run_in_executor(pool, answer, request.value))

    method = grpc.unary_unary_rpc_method_handler(classify, BytesValue.FromString, BytesValue.SerializeToString)
    server = grpc.aio.server()
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("benchmark.Classifier", {"Classify": method}),)
    )
    server.add_insecure_port(address)
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2]))
