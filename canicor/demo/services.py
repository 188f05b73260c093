"""The three services as processes of this machine, and channels to them."""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc

from canicor.classifier.v1.model_admin_pb2_grpc import ModelAdminServiceStub
from canicor.client import Classifier, channel
from canicor.errors import FailedPrecondition
from canicor.generator.v1.generator_pb2_grpc import GeneratorServiceStub
from canicor.labeling.v1.labeling_pb2_grpc import LabelingServiceStub
from canicor.settings import ClientSettings

START_SECONDS = 60
STOP_SECONDS = 30


@dataclass(frozen=True)
class Services:
    """Clients of the running services."""

    generator: GeneratorServiceStub
    labeling: LabelingServiceStub
    admin: ModelAdminServiceStub
    classifier: Classifier


@contextmanager
def started(settings: ClientSettings, log: Path) -> Iterator[None]:
    """Runs `canicor serve all` until the end of the block.

    Args:
        settings: Where the services will be.
        log: Takes what they print.

    Raises:
        FailedPrecondition: They do not start, for example because others run already.
    """
    with log.open("wb") as output:
        command = [sys.executable, "-m", "canicor.cli", "serve", "all"]
        process = subprocess.Popen(command, stdout=output, stderr=output)
    try:
        for address in _addresses(settings):
            _wait(address, process, log)
        yield
    finally:
        process.terminate()
        process.wait(STOP_SECONDS)


@contextmanager
def connected(settings: ClientSettings) -> Iterator[Services]:
    """Gives clients of the services that the settings name, until the end of the block."""
    with ExitStack() as open_channels:
        generator, labeling, classifier = (
            open_channels.enter_context(channel(address, settings)) for address in _addresses(settings)
        )
        yield Services(
            GeneratorServiceStub(generator),
            LabelingServiceStub(labeling),
            ModelAdminServiceStub(classifier),
            open_channels.enter_context(Classifier(settings)),
        )


def _addresses(settings: ClientSettings) -> tuple[str, str, str]:
    return settings.generator_address, settings.labeling_address, settings.classifier_address


def _wait(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    with grpc.insecure_channel(address, [("grpc.max_reconnect_backoff_ms", 500)]) as probe:
        ready = grpc.channel_ready_future(probe)
        while time.monotonic() < deadline and process.poll() is None:
            try:
                ready.result(timeout=0.5)
            except grpc.FutureTimeoutError:
                continue
            return
    errors = [line for line in log.read_text().splitlines() if "error" in line]
    why = errors[0] if errors else f"{log} says more."
    raise FailedPrecondition(f"The services did not start. {why}", reason="NOT_STARTED")
