"""The servers' processes: started, watched through /proc (proc(5)), and ended with all that they started."""

import asyncio
import ctypes
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

START_SECONDS, STOP_SECONDS = 120.0, 30.0

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_PR_SET_CHILD_SUBREAPER = 36
"""prctl(2): processes below this one that lose their parent become this one's children, so none gets away."""


class NotRunning(Exception):
    """A server could not be installed or started; the message says why."""


def own(cores: int) -> None:
    """Makes this process, and all it starts, use the first cores and end together; call it first.

    Settings of Canicor's in the environment are dropped: what is measured are the defaults.
    """
    for name in [name for name in os.environ if name.startswith("CANICOR_")]:
        del os.environ[name]
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)
    # So that being stopped ends the servers too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])


@contextmanager
def apart() -> Iterator[Executor]:
    """Yields a helper of this process's own: one process, started afresh, which shares nothing with this one."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as helper:
        try:
            yield helper
        except BaseException:
            # Its work is of no more use, and else it would be waited for.
            for process in multiprocessing.active_children():
                process.terminate()
            raise


@contextmanager
def running(
    command: Sequence[str],
    answers: Callable[[], Awaitable[object]],
    log: Path,
    environment: Mapping[str, str] | None = None,
) -> Iterator[int]:
    """Runs a server until the end of the block, and yields its process id once it answers.

    Args:
        command: Starts it in the foreground.
        answers: Asks it something; raises as long as it does not answer.
        log: Where it writes to.
        environment: What is set beside this process's own.

    Raises:
        NotRunning: It did not come to answer.
    """
    with log.open("wb") as output:
        variables = {**os.environ, **(environment or {})}
        process = subprocess.Popen(command, stdout=output, stderr=output, env=variables, start_new_session=True)
    try:
        if not asyncio.run(_comes_to_answer(process, answers)):
            raise NotRunning(f"did not start: {log.read_text(errors='replace')[-2000:]}")
        yield process.pid
    finally:
        try:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(STOP_SECONDS)
        finally:
            _kill_strangers()
            process.wait()


async def _comes_to_answer(process: subprocess.Popen[bytes], answers: Callable[[], Awaitable[object]]) -> bool:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end and process.poll() is None:
        with suppress(Exception):
            await answers()
            return True
        await asyncio.sleep(0.5)
    return False


def _kill_strangers() -> None:
    """Kills what the server left: our own helpers live in our session, a server and its kin in theirs."""
    end = time.monotonic() + STOP_SECONDS
    while strangers := _strangers():
        if time.monotonic() > end:
            sys.exit(f"These processes can't be ended: {strangers}")
        for pid in strangers:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            with suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
        time.sleep(0.05)


def _strangers() -> list[int]:
    """Returns the processes below this one that live in a session other than ours."""
    return [pid for pid in _family(os.getpid(), _stats()) if _session(pid) not in (None, os.getsid(0))]


def usage(root: int) -> tuple[float, float]:
    """Returns the CPU seconds and resident MiB of a process and all that it started.

    Pages that they share count for each.
    """
    stats = _stats()
    alive = [stats[pid] for pid in _family(root, stats) if pid in stats]
    ticks = sum(int(stat[11]) + int(stat[12]) for stat in alive)
    return ticks / _TICKS, sum(int(stat[21]) for stat in alive) * _PAGE / 2**20


def busy_seconds() -> float:
    """Returns the seconds that our cores were not idle, those stolen by other guests included."""
    cores = {f"cpu{core}" for core in os.sched_getaffinity(0)}
    lines = (line.split() for line in Path("/proc/stat").read_text().splitlines())
    return sum(int(ticks) for line in lines if line[0] in cores for ticks in line[1:4] + line[6:9]) / _TICKS


def _stats() -> dict[int, list[str]]:
    """Returns the fields of each process from its state on."""
    stats: dict[int, list[str]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        # A process may end meanwhile.
        with suppress(OSError):
            stats[int(path.parent.name)] = path.read_text().rpartition(")")[2].split()
    return stats


def _family(root: int, stats: Mapping[int, list[str]]) -> list[int]:
    family = [root]
    for parent in family:
        family += [pid for pid, stat in stats.items() if int(stat[1]) == parent]
    return family


def _session(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except ProcessLookupError:
        return None
