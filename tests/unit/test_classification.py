"""Who waits for which work: callers of the same file, and callers that leave."""

import asyncio
import math
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
from prometheus_client import REGISTRY

from canicor.errors import InvalidArgument
from canicor.model_repository import ModelRepository
from canicor.store import file_url
from services.classifier.classification import Classifications
from services.classifier.decoding import Decoders
from services.classifier.drift import Drift
from services.classifier.engines import ENGINES
from services.classifier.models import Loading, Models
from services.classifier.scheduler import Job, Scheduler
from tests import toy_models
from tests.png import png


class Place:
    """A classifier with one core, which is busy until `free` is set."""

    def __init__(self, folder: Path) -> None:
        repository = ModelRepository(file_url(folder))
        toy_models.push(repository)
        self.models = Models(repository, "vhs-keypoints", "", Loading([ENGINES["onnxruntime-fp32"]], 1, 10))
        self.models.follow()
        self.decoders = Decoders(1)
        self.scheduler = Scheduler(1, max_waiting=100, max_waiting_bytes=10**9)
        self.classifications = Classifications(self.scheduler, self.models, self.decoders, Drift(100))
        self.free = threading.Event()

    def ask(self, image: bytes) -> asyncio.Task:
        return asyncio.create_task(self.classifications.classify(image, self.models.get(), math.inf))

    @staticmethod
    def count(name: str) -> float:
        return sum(
            sample.value
            for metric in REGISTRY.collect()
            for sample in metric.samples
            if sample.name == f"canicor_classifier_{name}"
        )


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    place = Place(tmp_path)
    async with asyncio.TaskGroup() as working:
        for _ in range(place.scheduler.at_once):
            working.create_task(place.scheduler.run(Job(), lambda: place.free.wait(30)))
        await settled()
        yield place
        place.free.set()
    place.scheduler.close()
    place.decoders.close()


async def settled() -> None:
    """Lets the tasks that were made run up to where they wait."""
    for _ in range(5):
        await asyncio.sleep(0)


@pytest.fixture
def other_picture() -> bytes:
    return png(np.add.outer(np.arange(128), 2 * np.arange(60)).astype(np.uint8))


async def test_the_same_file_at_the_same_time_is_read_once(
    place: Place, picture: bytes, other_picture: bytes
) -> None:
    answered, shared = place.count("answers_total"), place.count("shared_total")
    tasks = [place.ask(picture) for _ in range(4)] + [place.ask(other_picture)]
    await settled()
    place.free.set()
    first, *others, other = await asyncio.gather(*tasks)
    assert all(one is first for one in others)
    assert other.sha256 != first.sha256
    assert place.count("answers_total") - answered == 2
    assert place.count("shared_total") - shared == 3
    assert await place.ask(picture) is not first


async def test_callers_of_the_same_bad_file_are_all_told(place: Place) -> None:
    tasks = [place.ask(b"no image") for _ in range(3)]
    await settled()
    place.free.set()
    for result in await asyncio.gather(*tasks, return_exceptions=True):
        assert isinstance(result, InvalidArgument)


async def test_the_work_goes_on_for_those_who_stay(place: Place, picture: bytes) -> None:
    leaving, staying = place.ask(picture), place.ask(picture)
    await settled()
    leaving.cancel()
    await settled()
    place.free.set()
    assert (await staying).answer.measurement.vhs == pytest.approx(8.75)
    with pytest.raises(asyncio.CancelledError):
        await leaving


async def test_nothing_is_done_for_those_who_have_left(place: Place, picture: bytes, other_picture: bytes) -> None:
    answered = place.count("answers_total")
    leaving = [place.ask(picture), place.ask(picture)]
    await settled()
    for task in leaving:
        task.cancel()
    staying = place.ask(other_picture)
    place.free.set()
    await staying
    assert place.count("answers_total") - answered == 1
    assert place.count("waiting") == 0
    assert place.count("waiting_bytes") == 0


async def test_whoever_comes_as_the_last_one_leaves_is_answered(place: Place, picture: bytes) -> None:
    leaving = place.ask(picture)
    await settled()
    leaving.cancel()
    coming = place.ask(picture)
    await settled()
    place.free.set()
    assert (await coming).answer.measurement.vhs == pytest.approx(8.75)
    with pytest.raises(asyncio.CancelledError):
        await leaving
