"""The peers' clients: one connection each, shared with no other client, which repeats no failed call."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import aiohttp
import grpc
import numpy as np
from contestants import CHANNEL_OPTIONS, DEADLINE, Ask, Place
from google.protobuf.wrappers_pb2 import BytesValue
from model import NAME

from canicor.classifier.v1 import open_inference_pb2 as pb
from canicor.classifier.v1.open_inference_pb2_grpc import GRPCInferenceServiceStub


@asynccontextmanager
async def bytes_service(place: Place) -> AsyncIterator[Ask]:
    """The least that gRPC can do: the file as a BytesValue, float32 [3] as another."""
    async with grpc.aio.insecure_channel(place.address, CHANNEL_OPTIONS) as channel:
        call = channel.unary_unary(
            "/benchmark.Classifier/Classify", BytesValue.SerializeToString, BytesValue.FromString
        )

        async def ask(file: bytes) -> Sequence[float]:
            # Ray Serve finds its application by this name.
            response = await call(BytesValue(value=file), timeout=DEADLINE, metadata=(("application", NAME),))
            return np.frombuffer(response.value, np.float32).tolist()

        yield ask


@asynccontextmanager
async def open_inference(place: Place) -> AsyncIterator[Ask]:
    """The Open Inference Protocol v2: the file as a BYTES tensor, float32 [3] as FP32."""
    tensor = pb.ModelInferRequest.InferInputTensor
    async with grpc.aio.insecure_channel(place.address, CHANNEL_OPTIONS) as channel:
        stub = GRPCInferenceServiceStub(channel)

        async def ask(file: bytes) -> Sequence[float]:
            contents = pb.InferTensorContents(bytes_contents=[file])
            request = pb.ModelInferRequest(
                model_name=NAME, inputs=[tensor(name="image", datatype="BYTES", shape=[1], contents=contents)]
            )
            response = await stub.ModelInfer(request, timeout=DEADLINE)
            if response.raw_output_contents:
                return np.frombuffer(response.raw_output_contents[0], np.float32).tolist()
            return list(response.outputs[0].contents.fp32_contents)

        yield ask


@asynccontextmanager
async def http(place: Place) -> AsyncIterator[Ask]:
    """HTTP/1.1, kept alive: the file as the body, three numbers as JSON."""
    timeout = aiohttp.ClientTimeout(total=DEADLINE)
    headers = {"Content-Type": "application/octet-stream"}
    async with aiohttp.ClientSession(timeout=timeout, headers=headers, raise_for_status=True) as session:

        async def ask(file: bytes) -> Sequence[float]:
            async with session.post(f"http://{place.address}/predict", data=file) as response:
                return [float(value) for value in await response.json()]

        yield ask
