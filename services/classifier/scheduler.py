"""Who is worked on next, and who is not: the cores, the deadlines, and the limits of what may wait.

A request that could not be answered in time is refused when it comes, so that its caller can go elsewhere at once;
one whose caller has left, or whose time is over, is dropped before each step. Among those that wait, the earliest
deadline goes first (Liu & Layland, JACM 1973); what is done on the side goes last.
"""

import asyncio
import heapq
import itertools
import math
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar

from canicor.errors import DeadlineExceeded, ResourceExhausted
from services.classifier.metrics import DROPPED, SHED, WAITING, WAITING_BYTES

Result = TypeVar("Result")

PATIENCE = 60.0
"""Seconds after which a request without a deadline is as urgent as one whose deadline has come."""

# Estimates are means over about the last ten; what they leave out is allowed for.
_NEWEST = 0.1
_MARGIN = 1.5
_SHORTEST_RETRY = 0.1


class Estimate:
    """What one request of a kind takes, learnt from those that were answered.

    Attributes:
        share: Seconds of the whole machine: the inverse of what it answers in a second.
        alone: Seconds from start to end.
    """

    def __init__(self) -> None:
        self.share = 0.0
        self.alone = 0.0

    def learn(self, seconds: Mapping[str, float], at_once: int) -> None:
        """Takes one more.

        Args:
            seconds: That it took: `total`, and of these in the `queue`.
            at_once: Requests that are worked on at the same time.
        """
        alone = seconds["total"] - seconds["queue"]
        self.alone = _mixed(self.alone, alone)
        self.share = _mixed(self.share, alone / at_once)


def _mixed(mean: float, newest: float) -> float:
    return mean + _NEWEST * (newest - mean) if mean else newest


class Job:
    """A request under way.

    Attributes:
        deadline: When its caller gives up, in seconds of `time.monotonic`; infinite where he never does.
        abandoned: Whether its caller has left.
        share: As in `Estimate`, when it came.
        size: Bytes that it holds.
    """

    def __init__(self, deadline: float = math.inf, *, size: int = 0, share: float = 0.0) -> None:
        self.deadline = deadline
        self.abandoned = False
        self.size = size
        self.share = share
        self.urgency = min(deadline, time.monotonic() + PATIENCE)

    def check(self, step: str, needs: float = 0.0) -> None:
        """Sees to it that a step is worth its while.

        Args:
            step: Its name, for the metrics.
            needs: Seconds that it takes at least.

        Raises:
            DeadlineExceeded: Nobody waits for it any more, or it would come too late.
        """
        if self.abandoned:
            DROPPED.labels(step, "cancelled").inc()
            raise DeadlineExceeded("The caller has left.", reason="CANCELLED")
        if time.monotonic() + needs >= self.deadline:
            DROPPED.labels(step, "deadline").inc()
            raise DeadlineExceeded(
                f"The deadline could not be met any more before the {step} of this radiograph.", reason="DEADLINE"
            )


@dataclass(order=True)
class _Step:
    """A piece of a job that one core works on."""

    order: tuple[bool, float, int]
    work: Callable[[], Any] | None = field(compare=False)
    done: "Future[Any]" = field(compare=False, default_factory=Future)

    def run(self) -> None:
        work = self.work
        if work is None or not self.done.set_running_or_notify_cancel():
            return
        try:
            self.done.set_result(work())
        except BaseException as error:
            self.done.set_exception(error)


class Scheduler:
    """Shares the cores among requests.

    Args:
        cores: That there are to share.
        max_waiting: Requests taken in and not yet answered; beyond, they are refused.
        max_waiting_bytes: What their radiographs may take up together.
    """

    def __init__(self, cores: int, max_waiting: int, max_waiting_bytes: int) -> None:
        self._cores = cores
        # With one step more than cores, none is idle while a step waits for the interpreter's lock.
        self.at_once = cores + 1
        self._max_waiting = max_waiting
        self._max_waiting_bytes = max_waiting_bytes
        self._jobs: set[Job] = set()
        self._bytes = 0
        self._steps: list[_Step] = []
        self._numbers = itertools.count()
        self._changing = threading.Lock()
        self._threads = ThreadPoolExecutor(self.at_once, thread_name_prefix="classify")

    def admit(self, size: int, deadline: float, estimate: Estimate) -> Job:
        """Takes a request in, until `release`. To be called in the event loop's thread, as the latter.

        Args:
            size: Bytes that it holds.
            deadline: As `Job` has it.
            estimate: Of its kind.

        Raises:
            ResourceExhausted: Too many wait, they hold too many bytes, or it would come too late behind those that
                go before it; says when to come back.
        """
        job = Job(deadline, size=size, share=estimate.share)
        self._check_room(job, estimate.alone)
        self._jobs.add(job)
        self._bytes += size
        self._show()
        return job

    def release(self, job: Job) -> None:
        """Lets a request go that was taken in."""
        self._jobs.remove(job)
        self._bytes -= job.size
        self._show()

    async def run(self, job: Job, work: Callable[[], Result]) -> Result:
        """Has a core do a step of a job, when its turn comes.

        Args:
            job: From `admit`, or one's own for what is done on the side.
            work: The step; not begun where the caller of this is cancelled before.
        """
        step = self._put(job, work, aside=job not in self._jobs)
        try:
            return await asyncio.wrap_future(step.done)
        except asyncio.CancelledError:
            # It stays in the queue until its turn comes, but holds nothing.
            job.abandoned = True
            step.work = None
            raise

    def cores_each(self) -> int:
        """Returns how many cores one request may use now: all where it is alone, one where many are under way."""
        return max(1, self._cores // max(1, len(self._jobs)))

    def close(self) -> None:
        """Ends the threads, after what was begun."""
        self._threads.shutdown()

    def _check_room(self, job: Job, alone: float) -> None:
        ahead = sum(one.share for one in self._jobs if one.urgency <= job.urgency)
        if len(self._jobs) >= self._max_waiting:
            raise self._full(f"{len(self._jobs)} requests are waiting", "QUEUE_FULL", ahead)
        if self._bytes + job.size > self._max_waiting_bytes and self._jobs:
            raise self._full(f"The radiographs that wait take up {self._bytes} bytes", "QUEUE_FULL", ahead)
        if ahead and time.monotonic() + _MARGIN * (ahead + alone) > job.deadline:
            raise self._full(f"{len(self._jobs)} requests are waiting, too many for this deadline", "BUSY", ahead)

    def _full(self, why: str, reason: str, ahead: float) -> ResourceExhausted:
        SHED.labels(reason).inc()
        retry_after = max(_SHORTEST_RETRY, ahead)
        message = f"{why}: try again in {retry_after:.1f} s."
        return ResourceExhausted(message, reason=reason, retry_after=retry_after)

    def _show(self) -> None:
        WAITING.set(len(self._jobs))
        WAITING_BYTES.set(self._bytes)

    def _put(self, job: Job, work: Callable[[], Any], *, aside: bool) -> _Step:
        step = _Step((aside, job.urgency, next(self._numbers)), work)
        with self._changing:
            heapq.heappush(self._steps, step)
        self._threads.submit(self._run_most_urgent)
        return step

    def _run_most_urgent(self) -> None:
        with self._changing:
            step = heapq.heappop(self._steps)
        step.run()
