"""Runs work in processes of this machine."""

import asyncio
import itertools
import multiprocessing
import os
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from multiprocessing.queues import SimpleQueue
from typing import Any, Concatenate

import structlog

from canicor.errors import ResourceExhausted
from services.generator import worker
from services.generator.executors.executor import TRIES, Parameters, Result
from services.generator.worker import END, Tell, Told, telling

_log = structlog.get_logger("canicor.generator")


class LocalExecutor:
    """Worker processes of this machine. See `Executor`.

    Args:
        workers: How many processes; 0 for one for each core.
    """

    def __init__(self, workers: int) -> None:
        self.workers = workers or os.cpu_count() or 1
        self._listeners: dict[int, Callable[[Any], None]] = {}
        self._calls = itertools.count()
        self._pool = self._new_pool()

    async def run(
        self, function: Callable[Parameters, Result], *args: Parameters.args, **kwargs: Parameters.kwargs
    ) -> Result:
        """See `Executor`."""
        for _ in range(TRIES):
            pool = self._pool
            try:
                return await asyncio.wrap_future(pool.submit(function, *args, **kwargs))
            except BrokenProcessPool:
                self._replace(pool)
        raise ResourceExhausted(
            f"Worker processes died {TRIES} times at this work: is there enough memory for this image size?",
            reason="WORKERS_DIED",
        )

    async def run_and_hear(
        self,
        listener: Callable[[Any], None],
        function: Callable[Concatenate[Tell, Parameters], Result],
        *args: Parameters.args,
        **kwargs: Parameters.kwargs,
    ) -> Result:
        """See `Executor`."""
        call, loop, ended = next(self._calls), asyncio.get_running_loop(), asyncio.Event()

        def hear(told: object) -> None:
            loop.call_soon_threadsafe(ended.set) if told is END else loop.call_soon_threadsafe(listener, told)

        self._listeners[call] = hear
        try:
            result = await self.run(partial(telling, Told(call), function, *args, **kwargs))
            # It comes by another way than what was told before it.
            await ended.wait()
            return result
        finally:
            del self._listeners[call]

    async def close(self) -> None:
        """See `Executor`."""
        await asyncio.to_thread(self._pool.shutdown, cancel_futures=True)

    def _new_pool(self) -> ProcessPoolExecutor:
        # A fork would copy gRPC's threads' locks in whatever state they are.
        spawn = multiprocessing.get_context("spawn")
        # One for each pool: a worker that is killed while it tells leaves the lock of its queue taken for ever.
        told: SimpleQueue[tuple[int, Any]] = spawn.SimpleQueue()
        threading.Thread(target=self._pass_on, args=(told,), daemon=True).start()
        return ProcessPoolExecutor(self.workers, mp_context=spawn, initializer=worker.begin, initargs=(told,))

    def _pass_on(self, told: "SimpleQueue[tuple[int, Any]]") -> None:
        while True:
            call, what = told.get()
            listener = self._listeners.get(call)
            if listener:
                listener(what)

    def _replace(self, broken: ProcessPoolExecutor) -> None:
        if self._pool is broken:
            _log.warning("a worker process died; the workers are replaced")
            broken.shutdown(wait=False)
            self._pool = self._new_pool()
