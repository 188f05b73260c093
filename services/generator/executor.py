"""Runs work in processes of this machine."""

import asyncio
import multiprocessing
import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import ParamSpec, TypeVar

import structlog

from canicor.errors import ResourceExhausted
from services.generator import worker

_Parameters = ParamSpec("_Parameters")
_Result = TypeVar("_Result")

# A worker's death takes the work of its whole pool with it, so the blameless need more tries than one.
_TRIES = 5

_log = structlog.get_logger("canicor.generator")


class LocalExecutor:
    """Worker processes; one that dies is replaced and its work repeated.

    Args:
        workers: How many processes; 0 for one for each core.
    """

    def __init__(self, workers: int) -> None:
        self.workers = workers or os.cpu_count() or 1
        self._pool = self._new_pool()

    async def run(
        self, function: Callable[_Parameters, _Result], *args: _Parameters.args, **kwargs: _Parameters.kwargs
    ) -> _Result:
        """Calls a function of a module in a worker process; it must bear being called again.

        Raises:
            ResourceExhausted: Workers died of it again and again.
        """
        for _ in range(_TRIES):
            pool = self._pool
            try:
                return await asyncio.wrap_future(pool.submit(function, *args, **kwargs))
            except BrokenProcessPool:
                self._replace(pool)
        raise ResourceExhausted(
            f"Worker processes died {_TRIES} times at this work: is there enough memory for this image size?",
            reason="WORKERS_DIED",
        )

    async def close(self) -> None:
        """Lets the workers end what they are at, and ends them."""
        await asyncio.to_thread(self._pool.shutdown, cancel_futures=True)

    def _new_pool(self) -> ProcessPoolExecutor:
        # A fork would copy gRPC's threads' locks in whatever state they are.
        spawn = multiprocessing.get_context("spawn")
        return ProcessPoolExecutor(self.workers, mp_context=spawn, initializer=worker.begin)

    def _replace(self, broken: ProcessPoolExecutor) -> None:
        if self._pool is broken:
            _log.warning("a worker process died; the workers are replaced")
            broken.shutdown(wait=False)
            self._pool = self._new_pool()
