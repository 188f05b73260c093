import asyncio
import math
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from functools import partial

import pytest

from canicor.errors import DeadlineExceeded, ResourceExhausted
from services.classifier.scheduler import Estimate, Job, Scheduler

SECOND_EACH = Estimate()
SECOND_EACH.learn({"queue": 7, "total": 8}, 1)


@pytest.fixture
def scheduler() -> Iterator[Scheduler]:
    made = Scheduler(1, max_waiting=4, max_waiting_bytes=100)
    yield made
    made.close()


@asynccontextmanager
async def busy(scheduler: Scheduler) -> AsyncIterator[Callable[[], None]]:
    """Keeps it busy until the end of the block; what this yields lets it go on before, one step after another."""
    begun = threading.Barrier(scheduler.at_once + 1)
    some, everything = threading.Event(), threading.Event()

    def work(end: threading.Event) -> None:
        begun.wait(30)
        assert end.wait(30)

    ends = [some, *[everything] * (scheduler.at_once - 1)]
    async with asyncio.TaskGroup() as working:
        for end in ends:
            working.create_task(scheduler.run(Job(), partial(work, end)))
        await asyncio.to_thread(begun.wait, 30)
        try:
            yield some.set
        finally:
            some.set()
            everything.set()


async def settled() -> None:
    """Lets the tasks that were made run up to where they wait."""
    for _ in range(3):
        await asyncio.sleep(0)


async def in_order(scheduler: Scheduler, jobs: dict[str, Job]) -> list[str]:
    done: list[str] = []
    async with busy(scheduler) as free:
        tasks = [
            asyncio.ensure_future(scheduler.run(job, lambda name=name: done.append(name)))
            for name, job in jobs.items()
        ]
        await settled()
        free()
        await asyncio.gather(*tasks)
    return done


async def test_the_earliest_deadline_goes_first(scheduler: Scheduler) -> None:
    now = time.monotonic()
    jobs = {
        name: scheduler.admit(0, deadline, Estimate())
        for name, deadline in {"never": math.inf, "late": now + 50, "soon": now + 20}.items()
    }
    assert await in_order(scheduler, jobs) == ["soon", "late", "never"]


async def test_without_a_deadline_a_request_is_not_put_off_for_ever(scheduler: Scheduler) -> None:
    jobs = {
        "never": scheduler.admit(0, math.inf, Estimate()),
        "in an hour": scheduler.admit(0, time.monotonic() + 3600, Estimate()),
    }
    assert await in_order(scheduler, jobs) == ["never", "in an hour"]


async def test_what_is_done_on_the_side_goes_last(scheduler: Scheduler) -> None:
    jobs = {"on the side": Job(time.monotonic() + 1), "asked for": scheduler.admit(0, math.inf, Estimate())}
    assert await in_order(scheduler, jobs) == ["asked for", "on the side"]


async def test_a_cancelled_step_is_never_begun(scheduler: Scheduler) -> None:
    done: list[str] = []
    job = scheduler.admit(0, math.inf, Estimate())
    async with busy(scheduler) as free:
        step = asyncio.ensure_future(scheduler.run(job, lambda: done.append("cancelled")))
        await settled()
        step.cancel()
        with pytest.raises(asyncio.CancelledError):
            await step
        free()
        await scheduler.run(Job(), lambda: done.append("after"))
    assert done == ["after"]
    with pytest.raises(DeadlineExceeded):
        job.check("inference")


async def test_raises_what_the_step_raises(scheduler: Scheduler) -> None:
    with pytest.raises(ZeroDivisionError):
        await scheduler.run(Job(), lambda: 1 // 0)


def test_refuses_beyond_its_places(scheduler: Scheduler) -> None:
    jobs = [scheduler.admit(1, math.inf, SECOND_EACH) for _ in range(4)]
    with pytest.raises(ResourceExhausted) as caught:
        scheduler.admit(1, math.inf, SECOND_EACH)
    assert caught.value.reason == "QUEUE_FULL"
    assert caught.value.retry_after == pytest.approx(4)
    scheduler.release(jobs[0])
    scheduler.admit(1, math.inf, SECOND_EACH)


def test_refuses_beyond_its_bytes_but_never_one_that_is_alone(scheduler: Scheduler) -> None:
    alone = scheduler.admit(1000, math.inf, Estimate())
    with pytest.raises(ResourceExhausted) as caught:
        scheduler.admit(1, math.inf, Estimate())
    assert caught.value.reason == "QUEUE_FULL"
    assert caught.value.retry_after > 0
    scheduler.release(alone)
    scheduler.admit(60, math.inf, Estimate())
    with pytest.raises(ResourceExhausted):
        scheduler.admit(60, math.inf, Estimate())


def test_refuses_at_once_what_would_come_too_late(scheduler: Scheduler) -> None:
    soon = time.monotonic() + 3.5
    scheduler.admit(1, soon, SECOND_EACH)
    scheduler.admit(1, time.monotonic() + 40, SECOND_EACH)
    # One goes before it, of a second, then its own: in time. Behind two it would not be.
    scheduler.admit(1, soon + 0.1, SECOND_EACH)
    with pytest.raises(ResourceExhausted) as caught:
        scheduler.admit(1, soon + 0.2, SECOND_EACH)
    assert caught.value.reason == "BUSY"
    assert caught.value.retry_after == pytest.approx(2)


def test_tries_what_is_alone_whatever_its_deadline(scheduler: Scheduler) -> None:
    scheduler.admit(1, time.monotonic() + 0.01, SECOND_EACH)


def test_one_request_has_all_cores_and_many_have_one_each() -> None:
    scheduler = Scheduler(4, max_waiting=9, max_waiting_bytes=9)
    each = []
    for _ in range(5):
        scheduler.admit(0, math.inf, Estimate())
        each.append(scheduler.cores_each())
    scheduler.close()
    assert each == [4, 2, 1, 1, 1]


def test_a_step_that_takes_longer_than_is_left_is_not_begun() -> None:
    job = Job(time.monotonic() + 5)
    job.check("inference", needs=1)
    with pytest.raises(DeadlineExceeded) as caught:
        job.check("inference", needs=6)
    assert caught.value.reason == "DEADLINE"
    Job().check("inference", needs=1e9)


def test_estimates_follow_what_is_measured() -> None:
    estimate = Estimate()
    estimate.learn({"queue": 9, "decode": 1, "inference": 3, "total": 13}, 2)
    assert (estimate.alone, estimate.share) == (4, 2)
    for _ in range(100):
        estimate.learn({"queue": 0, "decode": 1, "inference": 1, "total": 2}, 2)
    assert estimate.alone == pytest.approx(2, abs=0.01)
