"""One running Canicor classifier, and what it says of itself."""

import threading
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Self

import grpc
from clients import Target
from contestants import Place, canicor_launch, free_address
from grpc_health.v1 import health_pb2, health_pb2_grpc
from model import NAME, push, repository_of
from processes import running, usage
from prometheus_client.parser import text_string_to_metric_families

from canicor.model_repository import ModelRepository
from canicor.settings import ClientSettings

ANSWERS = "canicor_classifier_answers_total"
STAGES = "canicor_classifier_stage_seconds_count"


@dataclass(frozen=True)
class Classifier:
    """A server of its own process, folder and repository.

    Attributes:
        home: CANICOR_HOME.
        side: Rows and columns of its model's input.
        pid: Of its first process.
    """

    home: Path
    side: int
    address: str
    metrics_address: str
    pid: int

    @property
    def target(self) -> Target:
        """Where clients find it."""
        return Target(self.address, ClientSettings(home=self.home).bearer_token())

    @property
    def repository(self) -> ModelRepository:
        """Where it looks for models."""
        return repository_of(self.home)

    def push(self, model: bytes) -> str:
        """Puts a new version in production, in the repository, and returns it."""
        return push(self.repository, model, self.side)

    def metric(self, name: str, **labels: str) -> float:
        """Returns a sample of its metrics page, summed over labels that are not given; 0 where there is none."""
        with urllib.request.urlopen(f"http://{self.metrics_address}/metrics") as page:
            families = list(text_string_to_metric_families(page.read().decode()))
        samples = (sample for family in families for sample in family.samples if sample.name == name)
        return sum(sample.value for sample in samples if labels.items() <= sample.labels.items())

    def cpu(self) -> float:
        """Returns the CPU seconds that it has used."""
        return usage(self.pid)[0]


@contextmanager
def serving(model: bytes, side: int, **settings: str) -> Iterator[Classifier]:
    """Runs a classifier with one model in production, and with settings by their names in the environment."""
    with TemporaryDirectory() as folder:
        home = Path(folder)
        place = Place(home, home / "model.onnx", free_address())
        push(repository_of(home), model, side)
        metrics = free_address()
        launch = canicor_launch(place, CANICOR_CLASSIFIER_METRICS_LISTEN=metrics, **settings)

        async def answers() -> None:
            async with grpc.aio.insecure_channel(place.address) as channel:
                check = health_pb2_grpc.HealthStub(channel).Check
                state = await check(health_pb2.HealthCheckRequest(service=NAME))
                if state.status != health_pb2.HealthCheckResponse.SERVING:
                    raise ConnectionError(f"{NAME} is not served yet")

        with running(launch.command, answers, home / "log", launch.environment) as pid:
            yield Classifier(home, side, place.address, metrics, pid)


class Memory:
    """Samples the resident memory of a process and those that it started, in a thread, until the end of the block.

    Args:
        pid: The process.
        every: Seconds between two samples.
    """

    def __init__(self, pid: int, every: float) -> None:
        self._pid, self._every = pid, every
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.samples: list[tuple[float, float]] = []
        """(time.perf_counter, MiB)."""

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while True:
            self.samples.append((time.perf_counter(), usage(self._pid)[1]))
            if self._stop.wait(self._every):
                return

    def between(self, start: float, end: float) -> Sequence[float]:
        """Returns the MiB sampled in a span of time."""
        return [mib for moment, mib in self.samples if start <= moment <= end]

    def median(self, start: float, end: float) -> float:
        """Returns the median MiB of a span of time that holds a sample."""
        return median(self.between(start, end))
