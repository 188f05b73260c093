"""What a measurement took, from /proc (proc(5)). CPU time comes in ticks of 10 ms: measure for seconds."""

import math
import os
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


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
            rss=_usage(self._pid)[1],
            failures=dict(failures),
            others=max(0.0, (busy - own) / (seconds * len(os.sched_getaffinity(0)))),
        )

    def _now(self) -> tuple[float, float, float, float]:
        return time.perf_counter(), _busy_seconds(), _usage(os.getpid())[0], _usage(self._pid)[0]


def _usage(root: int) -> tuple[float, float]:
    """Returns the CPU seconds and resident MiB of a process and all that it started."""
    stats: dict[int, list[str]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        # A process may end meanwhile.
        with suppress(OSError):
            stats[int(path.parent.name)] = path.read_text().rpartition(")")[2].split()
    family = [root]
    for parent in family:
        family += [pid for pid, stat in stats.items() if int(stat[1]) == parent]
    alive = [stats[pid] for pid in family if pid in stats]
    ticks = sum(int(stat[11]) + int(stat[12]) for stat in alive)
    return ticks / _TICKS, sum(int(stat[21]) for stat in alive) * _PAGE / 2**20


def _busy_seconds() -> float:
    """Returns the seconds that our cores were not idle, those stolen by other guests included."""
    cores = {f"cpu{core}" for core in os.sched_getaffinity(0)}
    lines = (line.split() for line in Path("/proc/stat").read_text().splitlines())
    return sum(int(ticks) for line in lines if line[0] in cores for ticks in line[1:4] + line[6:9]) / _TICKS
