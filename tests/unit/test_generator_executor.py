"""Work in other processes, and what becomes of it where they die."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from canicor.errors import FailedPrecondition, InvalidArgument, ResourceExhausted
from services.generator.executors import LocalExecutor, named
from services.generator.worker import Tell


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


def count(tell: Tell, to: int) -> int:
    for number in range(to):
        tell(number)
    return to


async def test_all_that_is_told_is_heard_by_whom_it_is_told(executor):
    heard: tuple[list[int], list[int]] = ([], [])
    calls = (executor.run_and_hear(one.append, count, 3 + index) for index, one in enumerate(heard))
    assert await asyncio.gather(*calls) == [3, 4]
    assert heard == ([0, 1, 2], [0, 1, 2, 3])


def tell_and_refuse(tell: Tell) -> None:
    tell("something")
    refuse()


async def test_an_error_ends_what_is_told(executor):
    with pytest.raises(InvalidArgument, match="No"):
        await executor.run_and_hear(lambda _: None, tell_and_refuse)
    heard: list[int] = []
    assert await executor.run_and_hear(heard.append, count, 2) == 2
    assert heard == [0, 1]


def test_zero_workers_is_one_for_each_core():
    assert LocalExecutor(0).workers == os.cpu_count()


async def test_ray_runs_tells_fails_and_replaces_as_local_processes_do(monkeypatch, tmp_path):
    pytest.importorskip("ray")
    # Else Ray leaves a token in the home folder of whoever runs the tests.
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    executor = named("ray", 2, tmp_path.as_uri())
    try:
        assert executor.workers == 2
        assert await executor.run(os.getpid) != os.getpid()
        heard: tuple[list[int], list[int]] = ([], [])
        calls = (executor.run_and_hear(one.append, count, 3 + index) for index, one in enumerate(heard))
        assert await asyncio.gather(*calls) == [3, 4]
        assert heard == ([0, 1, 2], [0, 1, 2, 3])
        for call in (executor.run(refuse), executor.run_and_hear(lambda _: None, tell_and_refuse)):
            with pytest.raises(InvalidArgument, match="No") as raised:
                await call
            assert (raised.value.reason, raised.value.field) == ("REFUSED", "a.b")
        assert await executor.run(die_once, str(tmp_path / "died")) == 3
        with pytest.raises(ResourceExhausted, match="died 5 times"):
            await executor.run(os._exit, 1)
        assert await executor.run(len, "abc") == 3
    finally:
        await executor.close()


def test_a_node_of_ray_that_is_late_gets_a_second_chance_and_then_a_sentence(monkeypatch, tmp_path):
    ray = pytest.importorskip("ray")
    tries = []

    def late(**_: object) -> None:
        tries.append(1)
        raise Exception("The current node timed out during startup.")

    monkeypatch.setattr(ray, "init", late)
    with pytest.raises(FailedPrecondition, match="Ray can't be reached: The current node timed out"):
        named("ray", 2, tmp_path.as_uri())
    assert len(tries) == 2


def die_once(file: str) -> int:
    """Kills its process the first time, as a machine that is lost would."""
    if not Path(file).exists():
        Path(file).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return 3
