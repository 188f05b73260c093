"""Clients of Canicor in a process of their own, so that what they cost can be told.

`closed`, `paced` and `burst` are submitted to `processes.apart()`. Times are of `time.perf_counter`, on Linux one
clock for all processes (CLOCK_MONOTONIC).
"""

import asyncio
import hashlib
import itertools
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
import numpy as np
from contestants import CHANNEL_OPTIONS
from google.rpc import error_details_pb2, status_pb2
from load import TOLERANCE
from radiographs import OK, Radiographs, Sample

from canicor.classifier.v1 import classifier_pb2 as pb
from canicor.classifier.v1.classifier_pb2_grpc import ClassifierServiceStub

CHANNELS = 8
"""Connections, as from so many hospitals: each takes its share of the calls."""

WRONG_ANSWER, MIXED_UP, ABANDONED = "WRONG_ANSWER", "MIXED_UP", "ABANDONED"

_DETAILS = "grpc-status-details-bin"


@dataclass(frozen=True)
class Target:
    """A classifier: where it listens, and the token that it takes."""

    address: str
    token: str


@dataclass(frozen=True)
class Plan:
    """What is sent, and what comes back if all is right.

    Attributes:
        samples: In the order in which they are sent, over and over.
        truth: What each version says of each sample, by the sample's index; versions start at 1 and take turns.
        deadline: Seconds that a call may take.
        impatient: Each so-many-th call is given up by its client; 0 for none.
        patience: Seconds after which that happens.
    """

    samples: Sequence[Sample]
    truth: Sequence[Mapping[int, Sequence[float]]]
    deadline: float
    impatient: int = 0
    patience: float = 0.0


@dataclass(frozen=True)
class Outcome:
    """How one call ended.

    Attributes:
        sample: Its name.
        expected: The status that its sample should end with.
        impatient: Whether its client gave it no more than the plan's patience.
        sent: When, on the clock of `time.perf_counter`.
        seconds: From there to its end.
        status: A gRPC status, or `WRONG_ANSWER`, `MIXED_UP` (another's answer), `ABANDONED` (by the client).
        hinted: Whether the server said when to come back (google.rpc.RetryInfo).
        version: The model's that answered.
    """

    request_id: str
    sample: str
    expected: str
    impatient: bool
    sent: float
    seconds: float
    status: str
    hinted: bool = False
    version: str = ""

    @property
    def ended(self) -> float:
        """When it ended, on the same clock."""
        return self.sent + self.seconds

    @property
    def as_expected(self) -> bool:
        """Whether it ended as its sample should, or was given up by an impatient client."""
        return self.status == self.expected or (self.impatient and self.status == ABANDONED)


@dataclass
class Calls:
    """What a run of clients did.

    Attributes:
        start: On the clock of `time.perf_counter`; so is `end`, before which the last call was sent.
        cpu: CPU seconds of the clients' process.
        lateness: For paced calls, seconds that each was sent after its time.
    """

    start: float
    end: float
    cpu: float = 0.0
    outcomes: list[Outcome] = field(default_factory=list)
    lateness: list[float] = field(default_factory=list)

    def statuses(self) -> Counter[str]:
        """Counts the calls by status."""
        return Counter(outcome.status for outcome in self.outcomes)

    def per_second(self, status: str = OK) -> float:
        """Returns the calls a second that ended with a status between start and end."""
        inside = sum(one.status == status and one.ended <= self.end for one in self.outcomes)
        return inside / (self.end - self.start)


Send = Callable[[], Coroutine[Any, Any, Outcome]]


def closed(target: Target, plan: Plan, clients: int, seconds: float) -> Calls:
    """Runs clients that each call again as soon as they are answered."""

    async def client(send: Send, calls: Calls) -> None:
        while time.perf_counter() < calls.end:
            calls.outcomes.append(await send())

    async def run(send: Send, calls: Calls) -> None:
        await asyncio.gather(*(client(send, calls) for _ in range(clients)))

    return asyncio.run(_calls(target, plan, seconds, run))


def paced(target: Target, plan: Plan, rate: float, seconds: float) -> Calls:
    """Calls so often a second, whatever becomes of the calls before (open loop)."""

    async def run(send: Send, calls: Calls) -> None:
        async with asyncio.TaskGroup() as group:
            sent: list[asyncio.Task[Outcome]] = []
            for number in range(round(rate * seconds)):
                due = calls.start + number / rate
                await asyncio.sleep(max(0.0, due - time.perf_counter()))
                calls.lateness.append(time.perf_counter() - due)
                sent.append(group.create_task(send()))
        calls.outcomes += [task.result() for task in sent]

    return asyncio.run(_calls(target, plan, seconds, run))


def burst(target: Target, plan: Plan, count: int) -> Calls:
    """Makes so many calls at once."""

    async def run(send: Send, calls: Calls) -> None:
        calls.outcomes += await asyncio.gather(*(send() for _ in range(count)))

    return asyncio.run(_calls(target, plan, plan.deadline, run))


async def _calls(
    target: Target, plan: Plan, seconds: float, run: Callable[[Send, Calls], Awaitable[None]]
) -> Calls:
    async with _sender(target, plan) as send:
        cpu = time.process_time()
        start = time.perf_counter()
        calls = Calls(start, start + seconds)
        await run(send, calls)
        calls.cpu = time.process_time() - cpu
        return calls


@asynccontextmanager
async def _sender(target: Target, plan: Plan) -> AsyncIterator[Send]:
    """Yields what makes one call after the other and never raises; no call is repeated."""
    radiographs = Radiographs(plan.samples)
    numbers = itertools.count(1)
    metadata = (("authorization", f"Bearer {target.token}"),)
    async with AsyncExitStack() as stack:
        opened = [grpc.aio.insecure_channel(target.address, CHANNEL_OPTIONS) for _ in range(CHANNELS)]
        channels = [await stack.enter_async_context(channel) for channel in opened]
        await asyncio.gather(*(channel.channel_ready() for channel in channels))
        stubs = itertools.cycle([ClassifierServiceStub(channel) for channel in channels])

        async def send() -> Outcome:
            index, file = radiographs.next()
            number = next(numbers)
            impatient = bool(plan.impatient) and number % plan.impatient == 0
            sample, request_id = plan.samples[index], f"{radiographs.first}-{number}"
            request = pb.ClassifyRequest(image=file, request_id=request_id)
            sent = time.perf_counter()
            call = next(stubs).Classify(request, timeout=plan.deadline, metadata=metadata)
            hinted, version = False, ""
            try:
                response = await (asyncio.wait_for(call, plan.patience) if impatient else call)
            except grpc.aio.AioRpcError as error:
                status, hinted = error.code().name, _is_hinted(error)
            except TimeoutError:
                status = ABANDONED
            else:
                version = response.model.version
                status = _status(response, request, plan.truth, index)
            seconds = time.perf_counter() - sent
            return Outcome(
                request_id, sample.name, sample.status, impatient, sent, seconds, status, hinted, version
            )

        yield send


def _status(
    response: pb.ClassifyResponse,
    request: pb.ClassifyRequest,
    truth: Sequence[Mapping[int, Sequence[float]]],
    index: int,
) -> str:
    """Says whether an answer is that of the version that it names to the radiograph that was sent."""
    if response.request_id != request.request_id or (
        response.image_sha256 != hashlib.sha256(request.image).hexdigest()
    ):
        return MIXED_UP
    if index not in truth[0]:
        return OK
    said = response.probabilities
    probabilities = np.array((said.small, said.normal, said.large))
    differences = [float(np.abs(probabilities - version[index]).max()) for version in truth]
    named = (int(response.model.version) - 1) % len(truth)
    is_nearest = min(differences) == differences[named]
    return OK if is_nearest and differences[named] <= TOLERANCE else WRONG_ANSWER


def _is_hinted(error: grpc.aio.AioRpcError) -> bool:
    for key, value in error.trailing_metadata() or ():
        if key == _DETAILS:
            details = status_pb2.Status.FromString(value).details
            return any(detail.Is(error_details_pb2.RetryInfo.DESCRIPTOR) for detail in details)
    return False
