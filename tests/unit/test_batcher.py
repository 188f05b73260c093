import threading
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, Future

import numpy as np
import pytest

from canicor.errors import DeadlineExceeded
from services.classifier.batcher import Batcher
from services.classifier.engines import Outputs

NAMES = ("mean", "shape")


class Gpu:
    """Runs batches one after the other, each when it is let; tells their sizes."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.begun = threading.Semaphore(0)
        self.let = threading.Semaphore(0)

    def run(self, images: np.ndarray, names: Sequence[str]) -> Outputs:
        self.sizes.append(len(images))
        self.begun.release()
        assert self.let.acquire(timeout=30)
        if images.max() == 255:
            raise RuntimeError("out of memory")
        return {"mean": images.mean(axis=(1, 2), dtype=np.float32), "shape": np.ones((len(images), 2), np.float32)}


@pytest.fixture
def gpu() -> Gpu:
    return Gpu()


def image(grey: int) -> np.ndarray:
    return np.full((4, 4), grey, np.uint8)


def submit_while_busy(
    batcher: Batcher, gpu: Gpu, greys: Sequence[int], check: Callable[[], None] = lambda: None
) -> list["Future[Outputs]"]:
    """Submits one image, and the others while it runs."""
    first = batcher.submit(image(greys[0]), NAMES, lambda: None)
    assert gpu.begun.acquire(timeout=30)
    return [first, *(batcher.submit(image(grey), NAMES, check) for grey in greys[1:])]


def let_all(gpu: Gpu) -> None:
    for _ in range(20):
        gpu.let.release()


def test_takes_what_gathered_while_it_was_busy(gpu: Gpu) -> None:
    futures = submit_while_busy(Batcher(gpu.run, 3), gpu, [10, 20, 30, 40, 50])
    let_all(gpu)
    assert [float(future.result(30)["mean"][0]) for future in futures] == [10, 20, 30, 40, 50]
    assert gpu.sizes == [1, 3, 1]


def test_gives_each_the_outputs_it_wants(gpu: Gpu) -> None:
    batcher = Batcher(gpu.run, 8)
    let_all(gpu)
    assert set(batcher.submit(image(1), ["shape"], lambda: None).result(30)) == {"shape"}
    assert batcher.submit(image(1), NAMES, lambda: None).result(30)["shape"].shape == (1, 2)


def test_leaves_out_those_that_nobody_waits_for(gpu: Gpu) -> None:
    futures = submit_while_busy(Batcher(gpu.run, 8), gpu, [10, 20, 30])
    assert futures[1].cancel()
    let_all(gpu)
    assert futures[2].result(30)["mean"][0] == 30
    with pytest.raises(CancelledError):
        futures[1].result(30)
    assert gpu.sizes == [1, 1]


def test_leaves_out_those_that_would_come_too_late(gpu: Gpu) -> None:
    def too_late() -> None:
        raise DeadlineExceeded("too late")

    futures = submit_while_busy(Batcher(gpu.run, 8), gpu, [10, 20], check=too_late)
    let_all(gpu)
    with pytest.raises(DeadlineExceeded):
        futures[1].result(30)
    assert gpu.sizes == [1]


def test_a_failure_reaches_all_of_the_batch_and_no_other(gpu: Gpu) -> None:
    batcher = Batcher(gpu.run, 8)
    futures = submit_while_busy(batcher, gpu, [10, 20, 255])
    let_all(gpu)
    assert futures[0].result(30)["mean"][0] == 10
    for future in futures[1:]:
        with pytest.raises(RuntimeError, match="memory"):
            future.result(30)
    assert batcher.submit(image(7), NAMES, lambda: None).result(30)["mean"][0] == 7
