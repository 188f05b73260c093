"""What a server must have to be measured, and Canicor as one. Others are in `peer_servers.py`."""

import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

import grpc

from canicor.classifier.v1 import classifier_pb2 as pb
from canicor.classifier.v1.classifier_pb2_grpc import ClassifierServiceStub
from canicor.settings import ClientSettings

DEADLINE = 30.0
"""Seconds that one request may take."""

CHANNEL_OPTIONS = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0)]
"""A connection of its own for each client, and no call that is made twice."""

Ask = Callable[[bytes], Awaitable[Sequence[float]]]
"""Sends one radiograph and returns its three probabilities."""


@dataclass(frozen=True)
class Place:
    """Where a contestant runs.

    Attributes:
        home: A folder of its own: for Canicor, CANICOR_HOME with the model in production.
        model: The ONNX file.
        address: Where it listens.
    """

    home: Path
    model: Path
    address: str


@dataclass(frozen=True)
class Launch:
    """What starts a server in the foreground, and what is set in its environment."""

    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)


Connect = Callable[[Place], AbstractAsyncContextManager[Ask]]
"""Opens a connection that is shared with no other client and repeats no failed call."""


@dataclass(frozen=True)
class Contestant:
    """A server to measure.

    Attributes:
        key: Chooses it on the command line.
        name: With its version.
        launch: How it is started; installs it first where that takes more. Raises `processes.NotRunning`.
        connect: How it is asked.
    """

    key: str
    name: str
    launch: Callable[[Place], Launch]
    connect: Connect


def free_address() -> str:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{listener.getsockname()[1]}"


def canicor_launch(place: Place, **settings: str) -> Launch:
    """Starts the classifier.

    Args:
        place: Its home, and where it listens.
        settings: Settings of its own beside those, by their names in the environment.
    """
    environment = {
        "CANICOR_HOME": str(place.home),
        "CANICOR_CLASSIFIER_LISTEN": place.address,
        "CANICOR_CLASSIFIER_METRICS_LISTEN": free_address(),
        **settings,
    }
    return Launch([sys.executable, "-m", "canicor.cli", "serve", "classifier"], environment)


@asynccontextmanager
async def _canicor_connection(place: Place) -> AsyncIterator[Ask]:
    metadata = (("authorization", f"Bearer {ClientSettings(home=place.home).bearer_token()}"),)
    async with grpc.aio.insecure_channel(place.address, CHANNEL_OPTIONS) as channel:
        stub = ClassifierServiceStub(channel)

        async def ask(file: bytes) -> Sequence[float]:
            response = await stub.Classify(pb.ClassifyRequest(image=file), timeout=DEADLINE, metadata=metadata)
            said = response.probabilities
            return said.small, said.normal, said.large

        yield ask


def _launch_in_32_bits(place: Place) -> Launch:
    return canicor_launch(place, CANICOR_ENGINES='["onnxruntime-fp32"]')


_NAME = f"Canicor {version('canicor')}"

CANICOR = Contestant("canicor", _NAME, canicor_launch, _canicor_connection)
CANICOR_FP32 = Contestant("canicor-fp32", f"{_NAME}, ONNX Runtime alone", _launch_in_32_bits, _canicor_connection)
"""With the engine that raw and the other servers have, where by itself it takes the fastest."""
