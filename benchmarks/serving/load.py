"""Clients: each asks again as soon as it is answered."""

import asyncio
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack

import grpc
import numpy as np
from contestants import Ask, Contestant, Place
from meter import Meter, Row
from radiographs import Radiographs
from raw import raw

WARM_UP_SECONDS = 2.0

MOST_REQUESTS = 100_000
"""Of one measurement: a server that refuses at once must not keep it busy."""

TOLERANCE = 0.1
"""Largest difference of a probability from raw's: room for another decoder or number format, not for a mix-up."""


class Work:
    """What the clients of one measurement ask, and what came of it: seconds of right answers, and failures."""

    def __init__(self, radiographs: Radiographs, expected: Mapping[int, Sequence[float]], seconds: float) -> None:
        self.latencies: list[float] = []
        self.failures: Counter[str] = Counter()
        self._radiographs = radiographs
        self._expected = expected
        self._end = time.perf_counter() + seconds

    def files(self) -> Iterator[tuple[int, bytes]]:
        """Yields radiographs until the time is over."""
        while time.perf_counter() < self._end and len(self.latencies) + self.failures.total() < MOST_REQUESTS:
            yield self._radiographs.next()

    def count(self, index: int, answer: Sequence[float], seconds: float) -> None:
        """Takes the answer to a radiograph."""
        if np.allclose(answer, self._expected[index], rtol=0, atol=TOLERANCE):
            self.latencies.append(seconds)
        else:
            self.failures["WRONG_ANSWER"] += 1


NewWork = Callable[[float], Work]
"""Begins work for so many seconds."""


def measure_raw(
    model: bytes, new_work: NewWork, threads: int, intra_op: int, spinning: bool, seconds: float
) -> Row:
    """Measures decoding and inference in this process, fed from memory."""
    infer = raw(model, intra_op, spinning=spinning)

    def client(work: Work) -> None:
        for index, file in work.files():
            started = time.perf_counter()
            work.count(index, infer(file), time.perf_counter() - started)

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(client, [new_work(WARM_UP_SECONDS)] * threads))
        meter, work = Meter(os.getpid()), new_work(seconds)
        list(pool.map(client, [work] * threads))
        name = f"raw, intra-op {intra_op}{', spinning' if spinning else ''}"
        return meter.row(name, threads, work.latencies, work.failures)


async def measure(
    contestant: Contestant, place: Place, pid: int, new_work: NewWork, clients: int, seconds: float
) -> Row:
    """Measures a running contestant with so many clients at once."""
    async with AsyncExitStack() as connections:
        asks = [await connections.enter_async_context(contestant.connect(place)) for _ in range(clients)]
        warm_up = new_work(WARM_UP_SECONDS)
        await asyncio.gather(*(_client(ask, warm_up) for ask in asks))
        meter, work = Meter(pid), new_work(seconds)
        await asyncio.gather(*(_client(ask, work) for ask in asks))
        return meter.row(contestant.name, clients, work.latencies, work.failures)


async def _client(ask: Ask, work: Work) -> None:
    for index, file in work.files():
        started = time.perf_counter()
        try:
            answer = await ask(file)
        except Exception as error:
            kind = error.code().name if isinstance(error, grpc.aio.AioRpcError) else type(error).__name__
            work.failures[kind] += 1
        else:
            work.count(index, answer, time.perf_counter() - started)
