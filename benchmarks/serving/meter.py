"""What a measurement took. CPU time comes in ticks of 10 ms: measure for seconds."""

import math
import os
import time
from collections import Counter
from dataclasses import dataclass

import numpy as np
from processes import busy_seconds, usage


@dataclass(frozen=True)
class Row:
    """One measurement.

    Attributes:
        at_once: Requests in flight.
        per_second: Right answers.
        p50: Of the latency of right answers, ms; so is `p99`.
        cpu: CPU time of the server's processes per right answer, ms; for raw, of this process.
        rss: Resident memory of the same processes at the end, MiB; pages they share count for each.
        failures: By gRPC status or kind of error.
        others: Share of the cores, 0 to 1, that was used or stolen by neither the server nor this process.
    """

    name: str
    at_once: int
    per_second: float
    p50: float
    p99: float
    cpu: float
    rss: float
    failures: dict[str, int]
    others: float


class Meter:
    """Counts what a process and those that it started use, from the meter's creation on."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._start = self._now()

    def row(self, name: str, at_once: int, latencies: list[float], failures: Counter[str]) -> Row:
        """Returns the measurement that ends now; latencies are in seconds."""
        seconds, busy, own, cpu = (now - then for now, then in zip(self._now(), self._start, strict=True))
        p50, p99 = np.quantile(latencies or [math.nan], (0.5, 0.99)).tolist()
        return Row(
            name,
            at_once,
            per_second=len(latencies) / seconds,
            p50=1000 * p50,
            p99=1000 * p99,
            cpu=1000 * cpu / len(latencies) if latencies else math.nan,
            rss=usage(self._pid)[1],
            failures=dict(failures),
            others=max(0.0, (busy - own) / (seconds * len(os.sched_getaffinity(0)))),
        )

    def _now(self) -> tuple[float, float, float, float]:
        # This process's family holds the servers.
        return time.perf_counter(), busy_seconds(), usage(os.getpid())[0], usage(self._pid)[0]
