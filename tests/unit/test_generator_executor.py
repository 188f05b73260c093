"""Work in other processes, and what becomes of it where they die."""

import os
from collections.abc import AsyncIterator

import pytest

from canicor.errors import InvalidArgument, ResourceExhausted
from services.generator.executor import LocalExecutor


@pytest.fixture
async def executor() -> AsyncIterator[LocalExecutor]:
    executor = LocalExecutor(1)
    yield executor
    await executor.close()


async def test_work_runs_in_another_process(executor):
    assert await executor.run(os.getpid) != os.getpid()


async def test_work_that_kills_its_worker_ends_with_a_sentence_and_spares_what_follows(executor):
    with pytest.raises(ResourceExhausted, match="died 5 times"):
        await executor.run(os._exit, 1)
    assert await executor.run(len, "abc") == 3


def refuse() -> None:
    raise InvalidArgument("No", reason="REFUSED", field="a.b")


async def test_an_error_keeps_what_it_says(executor):
    with pytest.raises(InvalidArgument, match="No") as raised:
        await executor.run(refuse)
    assert (raised.value.reason, raised.value.field) == ("REFUSED", "a.b")


def test_zero_workers_is_one_for_each_core():
    assert LocalExecutor(0).workers == os.cpu_count()
