"""Runs work on a Ray cluster: an actor for each GPU, or for each core where there are none."""

import asyncio
import logging
import os
import queue
import signal
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any, Concatenate

from canicor.errors import FailedPrecondition, ResourceExhausted
from canicor.memory import FILMS, keep_freed_memory
from services.generator.executors.executor import TRIES, Parameters, Result
from services.generator.worker import Tell

# Before the import: else Ray reports to its makers how it is used.
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"

try:
    import ray
    from ray.exceptions import RayActorError, RayTaskError
except ModuleNotFoundError as error:
    raise FailedPrecondition(
        "CANICOR_EXECUTOR=ray needs Ray: pip install 'canicor[generator,ray]'.", reason="NO_RAY"
    ) from error


class RayExecutor:
    """Actors on the cluster that RAY_ADDRESS names, or on this machine. See `Executor`.

    Args:
        workers: How many; 0 for one for each GPU of the cluster, without any for each core.
        store_url: Of the store that they write to.
        gpus: That each asks for; None for 1 where the cluster has any, else 0.

    Raises:
        FailedPrecondition: The cluster can't be reached, or has several machines and the store is a folder of one.
    """

    def __init__(self, workers: int, store_url: str, gpus: float | None = None) -> None:
        # Ray would end the process at once at a SIGTERM, which is the server's to answer.
        before = signal.getsignal(signal.SIGTERM)
        try:
            _start()
        finally:
            signal.signal(signal.SIGTERM, before)
        machines = sum(node["Alive"] for node in ray.nodes())  # type: ignore[no-untyped-call]
        if machines > 1 and store_url.startswith("file:"):
            ray.shutdown()
            raise FailedPrecondition(
                f"Ray has {machines} machines and the store is a folder: set CANICOR_STORE_URL to s3://, gs:// or "
                "az://.",
                reason="STORE_URL",
            )
        resources = ray.cluster_resources()  # type: ignore[no-untyped-call]
        there = int(resources.get("GPU", 0))
        self.workers = workers or there or int(resources["CPU"])
        # Ray starts a dead actor anew, elsewhere where its machine is gone, and repeats what it was at.
        each = min(1, there) if gpus is None else gpus
        maker = ray.remote(num_cpus=1, num_gpus=each, max_restarts=-1, max_task_retries=TRIES - 1)(_Maker)
        self._idle: asyncio.Queue[Any] = asyncio.Queue()
        for _ in range(self.workers):
            self._idle.put_nowait(maker.remote())

    async def run(
        self, function: Callable[Parameters, Result], *args: Parameters.args, **kwargs: Parameters.kwargs
    ) -> Result:
        """See `Executor`."""
        async with self._maker() as maker:
            result: Result = await maker.call.remote(function, args, kwargs)
            return result

    async def run_and_hear(
        self,
        listener: Callable[[Any], None],
        function: Callable[Concatenate[Tell, Parameters], Result],
        *args: Parameters.args,
        **kwargs: Parameters.kwargs,
    ) -> Result:
        """See `Executor`."""
        async with self._maker() as maker:
            async for part in maker.tell.options(num_returns="streaming").remote(function, args, kwargs):
                ended, what = await part
                if ended:
                    result: Result = what
                    return result
                listener(what)
            raise _died()

    async def close(self) -> None:
        """See `Executor`."""
        ray.shutdown()

    @asynccontextmanager
    async def _maker(self) -> AsyncIterator[Any]:
        """Waits for an idle actor; what goes wrong in it is raised as it was there."""
        maker = await self._idle.get()
        try:
            yield maker
        except RayActorError as error:
            raise _died() from error
        except RayTaskError as error:
            raise error.cause from None
        finally:
            self._idle.put_nowait(maker)


def _start() -> None:
    """Joins the cluster, or starts one on this machine.

    Raises:
        FailedPrecondition: That can't be done.
    """
    # A node of its own has 30 s to start, which a busy machine may miss.
    of_its_own = not os.environ.get("RAY_ADDRESS")
    for may_fail in (of_its_own, False):
        try:
            ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.WARNING)
            return
        except Exception as error:
            ray.shutdown()
            if not may_fail:
                said = str(error).partition("\n")[0] or type(error).__name__
                raise FailedPrecondition(f"Ray can't be reached: {said}", reason="RAY_UNREACHABLE") from error


class _Maker:
    """What runs in an actor's process."""

    def __init__(self) -> None:
        keep_freed_memory(FILMS)

    def call(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> object:
        return function(*args, **kwargs)

    def tell(
        self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Iterator[tuple[bool, object]]:
        """Yields what the function tells, and at last what it returns, marked by True."""
        told: queue.SimpleQueue[tuple[bool, object]] = queue.SimpleQueue()
        failures: list[BaseException] = []

        def work() -> None:
            try:
                told.put((True, function(lambda what: told.put((False, what)), *args, **kwargs)))
            except BaseException as error:
                failures.append(error)
                told.put((True, None))

        threading.Thread(target=work, daemon=True).start()
        while not (one := told.get())[0]:
            yield one
        if failures:
            raise failures[0]
        yield one


def _died() -> ResourceExhausted:
    return ResourceExhausted(
        f"Worker processes died {TRIES} times at this work: is there enough memory for this image size?",
        reason="WORKERS_DIED",
    )
