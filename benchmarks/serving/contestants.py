"""The servers that are measured. One more is one more `Contestant` in `CONTESTANTS`."""

import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import grpc

from canicor.classifier.v1 import classifier_pb2 as pb
from canicor.classifier.v1.classifier_pb2_grpc import ClassifierServiceStub
from canicor.settings import ClientSettings

DEADLINE = 30.0
"""Seconds that one request may take."""

Ask = Callable[[bytes], Awaitable[Sequence[float]]]
"""Sends one radiograph and returns its three probabilities."""


@dataclass(frozen=True)
class Place:
    """Where a contestant runs: `model.push` fills the folder, and it listens on the address."""

    folder: Path
    address: str


@dataclass(frozen=True)
class Contestant:
    """A server to measure.

    Attributes:
        name: With its version.
        command: Starts it in the foreground.
        connect: Opens a connection that is shared with no other client and repeats no failed call.
    """

    name: str
    command: Callable[[Place], list[str]]
    connect: Callable[[Place], AbstractAsyncContextManager[Ask]]


def free_address() -> str:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{listener.getsockname()[1]}"


def _canicor_command(place: Place) -> list[str]:
    variables = {
        "CANICOR_HOME": place.folder,
        "CANICOR_CLASSIFIER_LISTEN": place.address,
        "CANICOR_CLASSIFIER_METRICS_LISTEN": free_address(),
    }
    settings = [f"{name}={value}" for name, value in variables.items()]
    return ["env", *settings, sys.executable, "-m", "canicor.cli", "serve", "classifier"]


@asynccontextmanager
async def _canicor_connection(place: Place) -> AsyncIterator[Ask]:
    metadata = (("authorization", f"Bearer {ClientSettings(home=place.folder).bearer_token()}"),)
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0)]
    async with grpc.aio.insecure_channel(place.address, options) as channel:
        stub = ClassifierServiceStub(channel)

        async def ask(file: bytes) -> Sequence[float]:
            response = await stub.Classify(pb.ClassifyRequest(image=file), timeout=DEADLINE, metadata=metadata)
            said = response.probabilities
            return said.small, said.normal, said.large

        yield ask


CONTESTANTS = (Contestant(f"Canicor {version('canicor')}", _canicor_command, _canicor_connection),)
